"""Votes of series and places in stacks."""

import numpy as np
import pandas as pd
import pytest

from core import runs
from core.analysis import series_report
from core.analysis.judged import Judged
from core.config import RunConfig
from core.series_vote import vote


def told() -> Judged:
    rows = pd.DataFrame(
        {
            "split": ["test"] * 5 + ["train"] * 2,
            "SeriesInstanceUID": ["a", "b", "a", "a", "b", "a", "c"],
            "PatientID": ["P1", "P2", "P1", "P1", "P2", "P1", "P3"],
            "y_true": ["T1", "T2", "T1", "T2", "T2", "T1", "T1"],
        }
    )
    proba = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [np.nan, np.nan]])
    return Judged("sequence", ["T1", "T2"], rows, proba, np.array([0, 1, 0, 1, 1, 0, 0]))


def test_series_vote_part_by_part_with_the_mean_and_the_commonest_truth():
    one = told()
    table = series_report.votes(one)
    assert list(zip(table["split"], table["SeriesInstanceUID"], strict=True)) == [
        ("test", "a"), ("test", "b"), ("train", "a"),
    ]  # fmt: skip
    assert table["y_true"].tolist() == ["T1", "T2", "T1"] and table["y_pred"].tolist() == ["T1", "T2", "T2"]
    assert table["slices"].tolist() == [3, 2, 1]
    np.testing.assert_allclose(table["slices_right"], [1 / 3, 0.5, 0])
    np.testing.assert_allclose(table["p"].iloc[0], vote(one.proba[[0, 2, 3]]).max())


def test_scores_of_slices_and_series():
    one = told()
    part = series_report._part(one, series_report.votes(one), "test", np.linspace(0, 1, 7))
    assert part["slices"]["accuracy"] == pytest.approx(2 / 5) and part["slices"]["n"] == 5
    assert part["series"]["accuracy"] == 1.0 and part["series"]["n"] == 2
    assert part["mixed"] == 1 and sum(part["along"]["all"]) == 5 and sum(part["along"]["right"]) == 2


def test_place_in_a_stack_is_a_share_of_the_way(workspace, monkeypatch):
    table = pd.DataFrame(
        {
            "SOPInstanceUID": list("abcdef"), "frame": 0, "SeriesInstanceUID": ["1"] * 5 + ["2"],
            "stack": [1, 1, 1, 2, 2, 1], "image_number": [3, 1, 2, 1, 2, 1],
        }
    )  # fmt: skip
    monkeypatch.setattr("core.cohort.read", lambda name: type("Made", (), {"table": table}))
    run = runs.create_run(RunConfig("x", "dual", "made"), "x")
    rows = pd.DataFrame({"SOPInstanceUID": list("fedcbaz"), "frame": 0})
    np.testing.assert_array_equal(series_report.positions(run, rows), [np.nan, 1, 0, 0.5, 0, 1, np.nan])


def test_place_is_unknown_where_the_cohort_is_gone(workspace):
    run = runs.create_run(RunConfig("x", "dual", "gone"), "x")
    rows = pd.DataFrame({"SOPInstanceUID": list("ab"), "frame": 0})
    assert np.isnan(series_report.positions(run, rows)).all()
