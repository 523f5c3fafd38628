"""The Errors page's views of stress and position, and what can be taken away, over a small workspace."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest
from test_pages import SECRET, FakeWorker, no_tensorflow, open_page, small, words

from core import inference, runs
from core.analysis import analyses, positions, stress
from core.publishing import exports
from pages.shared import errors_take_away

__all__ = ["no_tensorflow", "small"]

#: View, key of the address, and two names that it may hold with the words that are shown; the first is the usual one.
LINKS = [
    ("Matrix", "unit", {"slices": "Slices", "patients": "Patients"}),
    ("Matrix", "shares", {"counts": "Counts", "answer": "Of the answer"}),
    ("Matrix", "order", {"name": "Name", "confusion": "Confusion"}),
    ("Uncertainty", "measure", {"predictive_entropy": "Predictive entropy", "variation_ratio": "Variation ratio"}),
    ("Uncertainty", "target", {"0.95": "95 %", "0.99": "99 %"}),
    ("Calibration", "level", {"0.9": "90 %", "0.99": "99 %"}),
    ("Stress", "stress_change", {"noise": "Noise", "blur": "Blur"}),
]


@pytest.fixture(scope="module")
def measured(small):
    """The small workspace, with the bench and the places of its shipped run."""
    run = runs.read_run("shipped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "get_worker", FakeWorker)
        patch.setattr(inference, "get_explainer", FakeWorker)
        stress.work(run, 5)
    positions.write(run, lambda share, message: None)
    return run


def test_stress_is_offered_with_a_start(small):
    app = open_page("errors", view="Stress", run="plain")
    assert "Not measured yet" in words(app)
    assert [button.label for button in app.button if "bench" in button.label] == ["Start the bench"]


def test_stress_draws_curves_sentences_and_a_slice_at_each_strength(measured):
    app = open_page("errors", view="Stress", run="shipped", stress_change="noise")
    assert len(app.get("plotly_chart")) == 1
    text = words(app)
    assert "an SNR of" in text or "loses nothing" in text
    assert text.count("data:image/png") == 6 and "T1 80 %" in text and SECRET not in text


def choice(app, word: str):
    """The widget that offers a word."""
    return next(one for kind in ("selectbox", "button_group") for one in app.get(kind) if word in one.options)


@pytest.mark.parametrize("view, key, words_of", LINKS, ids=[key for _, key, _ in LINKS])
def test_a_link_holds_names_and_not_the_words_that_are_shown(measured, view, key, words_of):
    (usual, _), (name, word) = words_of.items()
    app = open_page("errors", view=view, run="shipped", **{key: name})
    assert choice(app, word).value == name
    choice(app, word).set_value(usual).run()
    assert key not in app.query_params
    choice(app, word).set_value(name).run()
    assert not app.exception and app.query_params[key] in (name, [name])
    # A link of before, and one that somebody has mistyped.
    for strange in (word, "<b>"):
        app = open_page("errors", view=view, run="shipped", **{key: strange})
        assert choice(app, word).value == usual and not app.error


def test_a_link_holds_the_slice_of_the_bench_by_its_key(measured):
    answers = pd.read_parquet(analyses.folder(measured) / "stress.parquet")
    key = answers["key"].iloc[-1]
    app = open_page("errors", view="Stress", run="shipped", stress_slice=key)
    assert app.selectbox(key="stress_slice-picked").value == key


def test_a_running_bench_is_followed(measured, monkeypatch):
    running = {"state": "running", "message": "3 of 9", "done": 3, "total": 9}
    monkeypatch.setattr(stress, "status", lambda run: running)
    app = open_page("errors", view="Stress", run="shipped")
    assert "Cancel" in [button.label for button in app.button] and not app.get("plotly_chart")


def test_position_says_what_is_missing(measured):
    positions.write(measured, lambda share, message: None)
    plain = analyses.folder(runs.read_run("plain"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analyses, "folder", lambda run: plain.with_name("none") if run.id == "plain" else plain)
        assert "python -m core evaluate plain" in words(open_page("errors", view="Position", run="plain"))
    # Its stacks have three slices.
    assert "No stack to look along" in words(open_page("errors", view="Position", run="shipped"))


def test_position_draws_where_mistakes_are(measured):
    made = pd.DataFrame({
        "SOPInstanceUID": [f"s{at}" for at in range(20)], "frame": 0, "SeriesInstanceUID": "1", "stack": 1,
        "image_number": np.arange(20), "plane": "axial", "PatientID": ["A", "B"] * 10,
    })  # fmt: skip
    given = made[["SOPInstanceUID", "frame", "PatientID"]].assign(
        split="test", head="sequence", y_true=["T1"] * 20, y_pred=["T2"] + ["T1"] * 19
    )
    placed = positions.place(given, made)
    positions.by_bin(placed).to_parquet(analyses.folder(measured) / "positions.parquet")
    positions.pairs(placed).to_parquet(analyses.folder(measured) / "position_pairs.parquet")
    app = open_page("errors", view="Position", run="shipped")
    assert len(app.get("plotly_chart")) == 2
    assert "axial: 75 % right in the fifth of the stack towards the feet" in words(app)


def test_tables_and_predictions_go_away_without_paths(measured):
    with zipfile.ZipFile(io.BytesIO(errors_take_away.tables_zip(measured))) as pack:
        assert {"stress.csv", "stress_curves.csv", "positions.csv"} <= set(pack.namelist())
        table = pd.read_csv(pack.open("stress.csv"))
        assert "y_proba" not in table and "path" not in table
        assert SECRET not in pack.read("stress.csv").decode()
    table = pd.read_parquet(io.BytesIO(exports.predictions_parquet(measured)))
    csv = pd.read_csv(io.BytesIO(exports.predictions_csv(measured)))
    assert list(table) == list(csv) and {"SOPInstanceUID", "frame", "SeriesInstanceUID", "PatientID"} <= set(table)
    np.testing.assert_allclose(table["sequence_p"], csv["sequence_p"], atol=5e-5)
