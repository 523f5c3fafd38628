"""Scores by class: against scikit-learn, by hand, and for what has nothing to be judged by."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from core.analysis import class_scores
from core.comparing.bootstrap import patient_bootstrap

NAMES = ["a", "b", "c"]


def made_rows(n=600, patients=20, names=NAMES, seed=0, decimals=3):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, len(names), n)
    proba = rng.dirichlet(np.ones(len(names)), n)
    proba[np.arange(n), true] += rng.choice([0.0, 0.6], n)
    proba = np.round(proba / proba.sum(axis=1, keepdims=True), decimals)
    return pd.DataFrame({
        "PatientID": [f"P{at % patients}" for at in range(n)], "y_true": np.array(names, object)[true],
        "y_pred": np.array(names, object)[proba.argmax(axis=1)], "y_proba": list(proba),
    })  # fmt: skip


def test_scores_are_those_of_scikit_learn():
    rows = made_rows()
    table = class_scores.score(rows, NAMES, "head", "test").table
    p, r, f1, support = metrics.precision_recall_fscore_support(rows["y_true"], rows["y_pred"], labels=NAMES)
    np.testing.assert_allclose(table["precision"], p)
    np.testing.assert_allclose(table["recall"], r)
    np.testing.assert_allclose(table["f1"], f1)
    assert table["support"].tolist() == support.tolist() and table["patients"].tolist() == [20] * 3
    proba = np.stack(rows["y_proba"])
    for at, name in enumerate(NAMES):
        is_it = rows["y_true"] == name
        assert table["auroc"][at] == pytest.approx(metrics.roc_auc_score(is_it, proba[:, at]))
        assert table["ap"][at] == pytest.approx(metrics.average_precision_score(is_it, proba[:, at]))
    for measure in class_scores.MEASURES:
        low, value, high = (table[f"{measure}{end}"] for end in ("_low", "", "_high"))
        assert ((low < value) & (value < high)).all() and (high - low < 0.25).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40))
def test_areas_are_those_of_scikit_learn_with_ties(slices):
    is_it, p = np.array([one for one, _ in slices]), np.array([p for _, p in slices]) / 6
    if is_it.all() or not is_it.any():
        assert np.isnan(class_scores.auroc(is_it, p))
        return
    area, ap = class_scores.auroc(is_it, p), class_scores.average_precision(is_it, p)
    assert area == pytest.approx(metrics.roc_auc_score(is_it, p))
    assert ap == pytest.approx(metrics.average_precision_score(is_it, p))
    # With a bin for each score, nothing is lost in bins.
    place = 6 - np.round(p * 6).astype(int)
    counts = np.concatenate([np.bincount(place[kind], minlength=7) for kind in (is_it, ~is_it)])[None]
    np.testing.assert_allclose(class_scores.areas_of_bins(counts), [[area, ap]])


def test_intervals_of_recall_are_those_of_the_patient_bootstrap():
    rows = made_rows()
    of_a = rows[rows["y_true"] == "a"]
    table = class_scores.score(rows, NAMES, "head", "test").table
    # Every patient shows the class, so a bootstrap of its slices alone draws the same patients.
    alone = patient_bootstrap(of_a["PatientID"], (of_a["y_pred"] == "a").to_numpy(float)).interval()
    assert [table["recall_low"][0], table["recall_high"][0]] == pytest.approx([float(end) for end in alone], abs=0.02)


def test_binned_intervals_are_those_of_sorting_anew():
    rows = made_rows(400, patients=25, decimals=6)
    table = class_scores.score(rows, NAMES, "head", "test").table
    rng, proba = np.random.default_rng(1), np.stack(rows["y_proba"])[:, 0]
    is_it, patient = (rows["y_true"] == "a").to_numpy(), rows["PatientID"].to_numpy()
    members = [np.flatnonzero(patient == one) for one in np.unique(patient)]
    drawn = [np.concatenate([members[at] for at in rng.integers(0, 25, 25)]) for _ in range(500)]
    for measure, of in (("auroc", metrics.roc_auc_score), ("ap", metrics.average_precision_score)):
        ends = np.percentile([of(is_it[one], proba[one]) for one in drawn], [2.5, 97.5])
        np.testing.assert_allclose([table[f"{measure}_low"][0], table[f"{measure}_high"][0]], ends, atol=0.015)


def test_curves_are_thin_and_keep_their_area():
    rows = made_rows(20_000, decimals=9)
    made = class_scores.score(rows, NAMES, "head", "test")
    for name in NAMES:
        roc = made.curves[(made.curves["name"] == name) & (made.curves["curve"] == "roc")]
        assert (
            len(roc) <= 160
            and roc[["x", "y"]].iloc[0].tolist() == [0, 0]
            and roc[["x", "y"]].iloc[-1].tolist() == [1, 1]
        )
        area = made.table.set_index("name")["auroc"][name]
        assert np.trapezoid(roc["y"], roc["x"]) == pytest.approx(area, abs=0.002)


def test_one_class_only_has_no_curve():
    rows = made_rows()
    rows = rows[rows["y_true"] == "a"]
    made = class_scores.score(rows, NAMES, "head", "test")
    assert made.table["auroc"].isna().all() and made.curves.empty
    assert made.table["recall"].notna().tolist() == [True, False, False]


def test_one_patient_tells_of_nobody_else():
    table = class_scores.score(made_rows(patients=1), NAMES, "head", "test").table
    assert table["recall"].notna().all() and table["recall_low"].isna().all() and table["auroc_low"].isna().all()


def test_probabilities_that_are_not_numbers_are_left_out_of_the_order():
    rows = made_rows()
    known = class_scores.score(rows, NAMES, "head", "test").table
    rows = pd.concat([rows, rows.iloc[:5].assign(y_proba=[np.full(3, np.nan)] * 5)], ignore_index=True)
    table = class_scores.score(rows, NAMES, "head", "test").table
    assert table["auroc"].tolist() == known["auroc"].tolist() and table["support"].sum() == 605


def test_strange_names_and_forty_classes():
    names = [f"<b>{at}|…</b>" for at in range(40)]
    table = class_scores.score(made_rows(2000, names=names), names, "head", "test").table
    assert table["name"].tolist() == names and table["f1"].notna().all()
