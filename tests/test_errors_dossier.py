"""Map, label issues and dossier on pages: with their analyses, and for a run of before there were any."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from test_pages import FakeWorker, no_tensorflow, open_page, small, words  # noqa: F401

from core import cohort, inference, runs
from core.analysis import analyses, embedding_map, neighbours
from core.analysis.judgements import said_of
from core.labelling import label_queue


@pytest.fixture
def judged(small, monkeypatch):  # noqa: F811
    """The shipped run with a map, neighbours and three doubtful labels."""
    monkeypatch.setattr(inference, "get_worker", FakeWorker)
    monkeypatch.setattr(inference, "get_explainer", FakeWorker)
    run = runs.read_run("shipped")
    rows = run.predictions()
    np.save(run.folder / "embeddings.npy", np.random.default_rng(0).normal(size=(len(rows), 4)).astype(np.float32))
    folder = analyses.folder(run)
    folder.mkdir(exist_ok=True)
    for module in (embedding_map, neighbours):
        module.write(run, lambda share, message: None)
    at = np.flatnonzero(rows["split"] == "test")[:3]
    pd.DataFrame({
        "head": "sequence", "at": at, "given": rows["y_true"].iloc[at].to_numpy(), "suggested": "T2", "score": 0.1,
        "p_suggested": 0.9, "suspected": True,
    }).to_parquet(folder / "label_issues.parquet")  # fmt: skip
    facts = {"sequence": {"judged": len(rows), "patients": 5, "left_out": ["PD"]}}
    (folder / "label_issues.json").write_text(json.dumps(facts))
    yield run, rows.iloc[at]
    shutil.rmtree(folder)
    (small.folder / cohort.LOG_NAME).unlink(missing_ok=True)


def everywhere(app) -> str:
    """Everything that is written, also in the dialog, which is no part of the page's main column."""
    found = [element for kind in ("html", "markdown", "caption") for element in app.get(kind)]
    return "\n".join(str(getattr(one, "value", None) or getattr(one.proto, "body", "")) for one in found)


def key_of(row) -> str:
    return f"{row['SOPInstanceUID']}:{row['frame']}"


@pytest.fixture
def before(small):  # noqa: F811
    """A run as it was evaluated before there were analyses."""
    plain = runs.read_run("plain").folder
    folder = shutil.copytree(plain, plain.with_name("before"), ignore=shutil.ignore_patterns("analyses"))
    yield
    shutil.rmtree(folder)


@pytest.mark.parametrize("view, sentence", [("Map", "no map yet"), ("Label issues", "have not been judged")])
def test_a_run_of_before_says_how_to_have_it_made(before, view, sentence):
    assert sentence in words(app := open_page("errors", run="before", view=view))
    assert "core evaluate before" in words(app)


def test_label_issues_become_a_queue_and_forget_what_was_looked_at(small, judged):  # noqa: F811
    _, rows = judged
    app = open_page("errors", run="shipped", view="Label issues")
    assert [metric.value for metric in app.metric[:2]] == ["3", "0"]
    assert "too few patients to be judged: PD" in words(app)
    app.text_input(key="issues_queue").input("doubtful").run()
    next(button for button in app.button if button.label.startswith("Make a Label queue")).click().run()
    assert label_queue.read_queue(small, "doubtful") == [key_of(row) for _, row in rows.iterrows()]
    cohort.append_label(small, key_of(rows.iloc[0]), "sequence", "T1", "T2", "Ada")
    app = open_page("errors", run="shipped", view="Label issues")
    assert [metric.value for metric in app.metric[:2]] == ["3", "1"]


def test_a_link_to_a_kind_of_doubtful_labels_outlives_their_number(judged):
    run, _ = judged
    file = analyses.folder(run) / "label_issues.parquet"
    table = pd.read_parquet(file)
    table["given"], table["suggested"] = ["T1", "T1", "T2"], ["T2", "T2", "T1"]
    table.to_parquet(file)
    app = open_page("errors", run="shipped", view="Label issues", issue="T1|T2")
    kind = next(one for one in app.selectbox if one.label == "Kind")
    assert kind.value == "T1|T2" and kind.options == ["any (3)", "T1 → T2 (2)", "T2 → T1 (1)"]
    kind.set_value("any").run()
    assert "issue" not in app.query_params
    app = open_page("errors", run="shipped", view="Label issues", issue="T1 → T2 (2)")
    assert next(one for one in app.selectbox if one.label == "Kind").value == "any"


def test_a_map_has_all_points_and_an_area_finds_what_lies_in_it(judged):
    run, _ = judged
    app = open_page("errors", run="shipped", view="Map", area="-99 -99 99 -99 99 99 -99 99")
    assert f"{len(run.predictions())} slices of 5 patients" in words(app)
    for nonsense in ("1 2 3", "a b c d e f", "nan nan 1 1 2 2"):
        assert "Nothing chosen" in words(open_page("errors", run="shipped", view="Map", area=nonsense))


def test_the_dossier_takes_down_what_is_said_and_takes_it_back(small, judged):  # noqa: F811
    _, rows = judged
    row = rows.iloc[0]
    app = open_page("errors", run="shipped", view="Label issues", slice=key_of(row))
    assert "1 of 3" in everywhere(app)
    assert app.button(key="say-ambiguous").disabled
    app.text_input(key="labeller").input("Ada").run()
    app.button(key="say-ambiguous").click().run()
    said = said_of(cohort.read_log(small), key_of(row), row["SeriesInstanceUID"])
    assert [one.words for one in said] == ["ambiguous"] and said[0].by == "Ada"
    assert "ambiguous" in everywhere(app)
    app.selectbox(key="right-sequence").select("FLAIR").run()
    app.button(key="right-keep").click().run()
    assert cohort.read("small").table.set_index("SOPInstanceUID").at[row["SOPInstanceUID"], "sequence"] == "FLAIR"
    assert "the run was judged by" in everywhere(app)
    newest = said_of(cohort.read_log(small), key_of(row), row["SeriesInstanceUID"])[0]
    app.button(key=f"undo-{newest.id}").click().run()
    assert cohort.read("small").table.set_index("SOPInstanceUID").at[row["SOPInstanceUID"], "sequence"] != "FLAIR"


def test_the_dossier_shows_neighbours_of_a_test_slice(judged):
    run, rows = judged
    kept = neighbours.read(run).of(int(rows.index[0]))[0]
    app = open_page("errors", run="shipped", slice=key_of(rows.iloc[0]), dossier="Nearest in training")
    assert f"The {len(kept)} nearest" in everywhere(app)
