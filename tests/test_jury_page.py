"""The Jury and Pairs views of the Explain page, run by AppTest over the small workspace."""

import json

import numpy as np
import pytest
from test_pages import SECRET, FakeWorker, key_of, no_tensorflow, open_page, small, words

from core import inference, runs
from core.analysis import analyses
from core.explanations import juries, jury_making, pairs
from core.publishing import registry
from pages.shared import tasks

__all__ = ["no_tensorflow", "small"]


class Worker(FakeWorker):
    """Sees each picture's brightness."""

    def predict(self, bundle, images):
        answer = super().predict(bundle, images)
        bright = images.mean(axis=(1, 2))
        return inference.Prediction(answer.heads, answer.classes, np.stack([bright, 1 - bright], 1).astype(np.float32))

    def explain(self, bundle, images, question, partner=None):
        assert partner is not None and partner.shape == images.shape[1:]
        return super().explain(bundle, images, question)


@pytest.fixture
def called(small, monkeypatch):
    """A jury of the plain run of the small workspace."""
    monkeypatch.setattr(inference, "get_worker", Worker)
    monkeypatch.setattr(inference, "get_explainer", Worker)
    made = jury_making.make("five", registry.find("plain"), small, by="patient", size=2)
    juries.save(made)
    yield made
    for name in juries.names("plain"):
        juries.remove(name, "plain")


def test_a_run_without_jury_says_how_to_get_one(small):
    assert "No jury yet" in words(open_page("explain", view="Jury", run="plain"))


def test_a_jury_asks_for_a_slice(called, small):
    app = open_page("explain", view="Jury", run="plain", cohort="small")
    assert "A slice of this run" in words(app) and "4 references of" in words(app)


def test_vote_margin_and_those_who_voted(called, small):
    app = open_page("explain", view="Jury", run="plain", cohort="small", slice=key_of(small, 0))
    text = words(app)
    assert "The jury says" in text and "Margin to the next class" in text and "Those who voted" in text
    assert len(app.get("plotly_chart")) == 2 and SECRET not in text
    app = open_page("explain", view="Jury", run="plain", cohort="small", slice=key_of(small, 0), vote="nearest")
    assert "The 1 who voted, and the others" in words(app) and not app.exception


def test_a_link_opens_its_jury_whatever_jury_is_made_later(called, small):
    app = open_page("explain", view="Jury", run="plain", cohort="small")
    assert app.query_params["jury"] == "five"
    juries.save(jury_making.make("earlier", registry.find("plain"), small, by="patient", size=1))
    app = open_page("explain", view="Jury", run="plain", cohort="small", jury=app.query_params["jury"])
    box = next(box for box in app.main.selectbox if box.label == "Jury")
    assert box.options == ["earlier", "five"] and box.value == "five"
    box.select("earlier").run()
    assert app.query_params["jury"] == "earlier"


def test_a_reference_stands_beside_the_slice(called, small):
    app = open_page("explain", view="Jury", run="plain", cohort="small", slice=key_of(small, 0),
                    partner=called.jury.keys[0])  # fmt: skip
    assert not app.exception and "Cosine similarity" in words(app) and "The slice" in words(app)


def test_a_jury_is_deleted_when_asked_twice(called, small):
    app = open_page("explain", view="Jury", run="plain", cohort="small", slice=key_of(small, 0))
    next(button for button in app.button if button.label == "Delete").click().run()
    assert juries.names("plain") == [] and "No jury yet" in words(app)


def test_another_models_jury_says_so_and_can_be_deleted(called, small, monkeypatch):
    path = runs.read_run("plain").bundle / "card.json"
    kept = path.read_text()
    try:
        path.write_text(json.dumps({**json.loads(kept), "sha256": "f" * 64}))
        app = open_page("explain", view="Jury", run="plain", cohort="small")
        assert "was made for another model" in app.error[0].value
        assert "Delete" in [button.label for button in app.button]
    finally:
        path.write_text(kept)


def test_a_jury_is_made_on_the_page(small, monkeypatch):
    monkeypatch.setattr(inference, "get_worker", Worker)
    app = open_page("explain", view="Jury", run="plain", cohort="small", new="true")
    assert "Pick a few slices" in words(app)
    fields = {field.label: field for field in app.main.text_input}
    fields["Name of the jury"].set_value("no good name")
    call = next(button for button in app.button if button.label == "Call it")
    call.click().run()
    assert "A jury's name has" in app.error[0].value
    next(field for field in app.main.text_input if field.label == "Name of the jury").set_value("drawn")
    next(box for box in app.main.selectbox if box.label == "Other references").set_value("patient")
    next(button for button in app.button if button.label == "Call it").click().run()
    for _ in range(100):
        if "is called" in words(app):
            break
        app.run()
    assert juries.names("plain") == ["drawn"]
    next(button for button in app.button if button.label == "Use it").click().run()
    assert tasks.get(("jury", "plain")) is None and "Choose a slice" in words(app)
    juries.remove("drawn", "plain")


@pytest.fixture
def tested(small):
    """The plain run, all of whose patients are of the test part."""
    run = runs.read_run("plain")
    run.predictions().assign(split="test").to_parquet(run.folder / "predictions.parquet")
    return run


def test_pairs_are_drawn_and_one_is_opened(called, small, tested):
    run = tested
    pairs.write(run, lambda share, message: None)
    app = open_page("explain", view="Pairs", run="plain", cohort="small")
    assert "Equal error rate" in [metric.label for metric in app.metric] and len(app.get("plotly_chart")) == 2
    assert "not trained on pairs" in words(app)
    keys = f"{key_of(small, 0)}|{key_of(small, 1)}"
    app = open_page("explain", view="Pairs", run="plain", cohort="small", pair=keys)
    assert not app.exception and "The pair" in words(app) and "Cosine similarity" in words(app)
    assert not open_page("explain", view="Pairs", run="plain", cohort="small", pair="nonsense").exception


def test_pairs_of_an_old_run_are_compared_on_demand(small, tested):
    folder = analyses.folder(tested)
    for name in (pairs.FILE, pairs.TABLE):
        (folder / name).unlink(missing_ok=True)
    app = open_page("explain", view="Pairs", run="plain", cohort="small")
    assert "not compared yet" in words(app)
    next(button for button in app.button if button.label == "Compare pairs").click().run()
    for _ in range(100):
        if app.metric:
            break
        app.run()
    assert (folder / pairs.FILE).exists() and app.metric
