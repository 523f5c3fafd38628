"""Explain's slice view: maps of a whole series come by and by, what is chosen is asked for, and failures say why."""

import json
import struct
import threading
import time
from typing import ClassVar

import numpy as np
import pytest
from test_pages import SECRET, FakeWorker, no_tensorflow, open_page, settled, small, words

from core import inference, runs
from core.cohort import slice_keys
from core.errors import InputError
from core.explanations import map_desk
from core.explanations.question import METHOD_WORDS
from pages.shared.components import slice_viewer

__all__ = ["no_tensorflow", "small"]


class Asked(FakeWorker):
    """Notes what maps it is asked for; a spread with passes, as the real one."""

    questions: ClassVar[list] = []

    def explain(self, bundle, images, question):
        Asked.questions.append(question)
        maps = super().explain(bundle, images, question)
        return maps if not question.passes else map_desk.map_store.Maps(
            maps.heat, maps.targets, maps.layer, maps.layers, maps.heat / 2
        )  # fmt: skip


@pytest.fixture
def sent(small, monkeypatch):
    """Give what the viewer was sent last; every test starts with desks and a store of its own."""
    Asked.questions = []
    monkeypatch.setattr(inference, "get_worker", Asked)
    monkeypatch.setattr(inference, "get_explainer", Asked)
    map_desk._desk.cache_clear()
    # What another test has made must not come from disk.
    monkeypatch.setattr(map_desk.map_store, "_recipe", lambda: str(time.monotonic_ns()))
    message = {}

    def component(**values):
        (length,) = struct.unpack_from("<I", values["data"])
        message.update(json.loads(values["data"][4 : 4 + length]), data=values["data"])

    monkeypatch.setattr(slice_viewer, "_component", component)
    return message


def key_of(made, at: int = 0) -> str:
    return slice_keys(made.table).iloc[at]


def open_slice(small, **address):
    return open_page("explain", cohort="small", slice=key_of(small), **address)


def test_the_whole_series_is_made_and_the_slice_that_is_looked_at_is_sent(small, sent):
    text = settled(open_slice(small))
    assert "all 3 maps" in text and SECRET not in text
    (heat_set,) = sent["heat_sets"]
    assert sorted(heat_set["ready"]) == [0, 1, 2] and set(heat_set["names"].values()) == {"T1"}
    assert [one["index"] for one in sent["heats"]] == [sent["index"]]
    assert [panel["kind"] for panel in sent["panels"]] == ["image", "overlay", "heat"]


def test_a_map_that_is_waited_for_need_not_wait_for_the_badge_before(small, sent, monkeypatch):
    go_on = threading.Event()

    def slow(self, *asked):
        assert go_on.wait(30)
        return super(Asked, self).badge(*asked)

    monkeypatch.setattr(Asked, "badge", slow)
    app = open_slice(small)
    assert "Checking whether this map may be believed" in settled(app)
    badges, client = map_desk.badges_desk(), app.session_state["explain-client"]
    assert badges.waiting(client).n == 1
    explain = Asked.explain
    monkeypatch.setattr(Asked, "explain", lambda self, *asked: go_on.wait(30) and explain(self, *asked))
    next(box for box in app.main.selectbox if box.label == "Method").select("layer_cam").run()
    assert "Checked as soon as the map is there" in words(app) and badges.waiting(client).n == 0
    go_on.set()


def test_layers_come_without_a_map_of_their_own(small, sent):
    app = open_slice(small)
    settled(app)
    assert app.main.selectbox[3].options == ["first", "last"]
    assert {question.layer for question in Asked.questions} == {None}
    app.main.selectbox[3].select("first").run()
    settled(app)
    assert Asked.questions[-1].layer == "first"


def test_what_is_chosen_is_asked_for(small, sent):
    settled(open_slice(small, x_class="T2", x_against="T1", x_method="layer_cam"))
    question = Asked.questions[-1]
    assert (question.target, question.against, question.method) == ("T2", "T1", "layer_cam")
    assert sent["heat_sets"][0]["names"]["0"] == "T2 rather than T1"


def test_a_link_holds_short_names_and_not_the_words_on_the_page(small, sent):
    app = open_slice(small)
    method = next(box for box in app.main.selectbox if box.label == "Method")
    method.select("layer_cam").run()
    next(box for box in app.main.selectbox if box.label == "Passes").select(8).run()
    assert app.query_params["x_method"] == "layer_cam" and app.query_params["x_passes"] == "8"
    settled(open_slice(small, x_method="layer_cam", x_passes="8"))
    assert (Asked.questions[-1].method, Asked.questions[-1].passes) == ("layer_cam", 8)
    next(box for box in app.main.selectbox if box.label == "Method").select("grad_cam").run()
    assert "x_method" not in app.query_params
    app = open_slice(small, x_method="nonsense")
    assert next(box for box in app.main.selectbox if box.label == "Method").value == "grad_cam" and not app.exception


def test_the_true_class_is_each_slices_own(small, sent):
    settled(open_slice(small, x_class="true"))
    label = small.table.iloc[0]["sequence"]
    assert {question.target for question in Asked.questions} == {label}


def test_slow_maps_are_made_of_the_slice_that_is_looked_at_until_all_are_asked_for(small, sent):
    app = open_slice(small, x_method="occlusion")
    assert "slow" in settled(app)
    (heat_set,) = sent["heat_sets"]
    assert heat_set["ready"] == [sent["index"]]
    assert set(heat_set["failed"].values()) == {"This map is made when you ask for all."}
    next(button for button in app.button if button.label == "Make all 3").click().run()
    settled(app)
    assert len(sent["heat_sets"][0]["ready"]) == 3


def test_passes_have_a_fourth_picture(small, sent):
    app = open_slice(small)
    app.main.selectbox[5].select(8).run()
    settled(app)
    assert [panel["name"] for panel in sent["panels"]][3] == "Spread, 0 to 0.5"
    assert len(sent["heat_sets"]) == 2 and Asked.questions[-1].passes == 8


@pytest.mark.parametrize(("show", "n"), [("Methods", len(METHOD_WORDS)), ("Classes", 2), ("Neighbours", 5)])
def test_grids_have_a_tile_each(small, sent, show, n):
    settled(open_slice(small, x_show=show))
    overlays = [panel for panel in sent["panels"] if panel["kind"] == "overlay"]
    assert len(overlays) == n and sent["per_row"] > 0
    if show == "Classes":
        assert {question.target for question in Asked.questions} == {"T1", "T2"}
    if show == "Neighbours":
        assert [panel["offset"] for panel in overlays] == [-2, -1, 0, 1, 2]


def test_a_refused_map_says_why_and_can_be_tried_again(small, sent, monkeypatch):
    def refuse(self, bundle, images, question):
        raise InputError("This model has no convolution.")

    monkeypatch.setattr(Asked, "explain", refuse)
    app = open_slice(small)
    settled(app)
    assert "This model has no convolution." in app.warning[0].value
    assert set(sent["heat_sets"][0]["failed"].values()) == {"This model has no convolution."}
    monkeypatch.undo()
    monkeypatch.setattr(inference, "get_worker", Asked)
    monkeypatch.setattr(inference, "get_explainer", Asked)
    monkeypatch.setattr(slice_viewer, "_component", lambda **values: None)
    next(button for button in app.button if button.label == "Try again").click().run()
    assert "all 3 maps" in settled(app) and not app.warning


def test_cancelled_maps_stay_unmade(small, sent, monkeypatch):
    slow = Asked.explain

    def slowly(self, bundle, images, question):
        time.sleep(0.4)
        return slow(self, bundle, images, question)

    monkeypatch.setattr(Asked, "explain", slowly)
    app = open_slice(small)
    next(button for button in app.button if button.label == "Cancel").click().run()
    assert "Stopped" in settled(app)
    time.sleep(0.5)
    app.run()
    assert "Stopped" in words(app) and len(Asked.questions) <= 1


def test_a_run_without_a_bundle_says_so(small, sent):
    run = runs.read_run("plain")
    card = run.bundle / "card.json"
    kept = card.read_bytes()
    card.unlink()
    try:
        app = open_slice(small, run="plain")
        assert "There is no model card" in app.error[0].value
    finally:
        card.write_bytes(kept)


def test_a_rerun_is_quick(small, sent):
    app = open_slice(small)
    settled(app)
    from pages.shared import explain_controls, explain_grid, series

    one = series.in_cohort("small", key_of(small))
    run = runs.read_run("shipped")
    choice = explain_controls.Choice(explain_controls.Question("sequence"), False, "One map")
    sheets = []
    for _ in range(20):
        started = time.process_time()
        sheets.append(explain_grid.sheet_of(run, one, choice, map_desk.map_store.stamp(run.bundle)))
        sheets[-1].sets(set(sheets[-1].asks))
        sheets[-1] = time.process_time() - started
    assert np.median(sheets) < 0.02


def test_without_a_label_there_is_no_true_class(small, sent, monkeypatch):
    from pages.shared.series import Series

    monkeypatch.setattr(Series, "truth", lambda self, head: [None, "T2", "SWI"])
    settled(open_slice(small, x_class="true"))
    (heat_set,) = sent["heat_sets"]
    assert heat_set["ready"] == [1] and set(heat_set["failed"]) == {"0", "2"}
    assert all("no true class" in why for why in heat_set["failed"].values())
