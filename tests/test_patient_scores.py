"""Scores from sums by patient are those of scikit-learn and of `core.calibration`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from core import calibration
from core.comparing.patient_scores import SCORES, bootstrap_scores, score_totals, scores_of

CLASSES = 4


def answers(seed: int, n: int, n_patients: int):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.full(CLASSES, 0.4), n)
    # Not every class need occur.
    y_true = rng.choice(rng.permutation(CLASSES)[: rng.integers(1, CLASSES + 1)], n)
    patients = np.unique(rng.integers(0, n_patients, n), return_inverse=True)[1]
    return proba, y_true, proba.argmax(axis=1), patients


def expected(proba, y_true, y_pred) -> list[float]:
    # Balanced accuracy by hand: scikit-learn warns of classes that are named and do not occur.
    recalls = [np.mean(y_pred[y_true == name] == name) for name in np.unique(y_true)]
    return [
        metrics.accuracy_score(y_true, y_pred), np.mean(recalls),
        metrics.f1_score(y_true, y_pred, average="macro", zero_division=0), calibration.ece(proba, y_true),
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 80), st.integers(1, 9))
def test_scores_are_those_of_scikit_learn(seed, n, n_patients):
    proba, y_true, y_pred, patients = answers(seed, n, n_patients)
    totals = score_totals(patients, y_true, y_pred, proba.max(axis=1), CLASSES)
    (found,) = scores_of(totals.sum(axis=0, keepdims=True), CLASSES)
    np.testing.assert_allclose(found, expected(proba, y_true, y_pred), atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_each_draw_is_scored_as_if_its_slices_had_been_copied(seed):
    proba, y_true, y_pred, patients = answers(seed, 50, 6)
    totals = score_totals(patients, y_true, y_pred, proba.max(axis=1), CLASSES)
    made = bootstrap_scores(totals, CLASSES, n_draws=8, random_state=seed)
    n_patients = patients.max() + 1
    times = np.random.default_rng(seed).multinomial(n_patients, np.full(n_patients, 1 / n_patients), 8)
    for drawn, found in zip(times, made.draws, strict=True):
        rows = np.concatenate([np.tile(np.flatnonzero(patients == p), n) for p, n in enumerate(drawn)]).astype(int)
        np.testing.assert_allclose(found, expected(proba[rows], y_true[rows], y_pred[rows]), atol=1e-9)


def test_balanced_accuracy_agrees_with_scikit_learn_where_all_classes_occur():
    y_true, y_pred = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 0, 2])
    totals = score_totals(np.zeros(6, int), y_true, y_pred, np.full(6, 0.7), 3)
    found = scores_of(totals, 3)[0, SCORES.index("balanced accuracy")]
    assert found == pytest.approx(metrics.balanced_accuracy_score(y_true, y_pred))


def test_nothing_to_score_is_not_a_number():
    assert np.isnan(scores_of(np.zeros((1, 9 + 15)), 3)).all()
