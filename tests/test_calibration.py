"""Calibration on data whose truth is known, and the series vote."""

import numpy as np
import pytest
from scipy.special import softmax

from core import calibration, series_vote
from core.errors import InputError


def drawn(n=4000, c=5, seed=0):
    """Calibrated probabilities and labels drawn from them."""
    rng = np.random.default_rng(seed)
    proba = softmax(rng.normal(0, 1.5, (n, c)), axis=1)
    return proba, np.array([rng.choice(c, p=row) for row in proba])


@pytest.mark.parametrize("distortion", [0.4, 1.0, 3.0])
def test_finds_the_temperature_that_was_applied(distortion):
    proba, y = drawn()
    wrong = calibration.apply_temperature(proba, 1 / distortion)
    assert calibration.fit_temperature(wrong, y) == pytest.approx(distortion, rel=0.08)


def test_scaling_lowers_the_error_and_keeps_the_answers():
    proba, y = drawn()
    bold = calibration.apply_temperature(proba, 0.3)
    fixed = calibration.apply_temperature(bold, calibration.fit_temperature(bold, y))
    assert calibration.ece(bold, y) > 0.1
    assert calibration.ece(fixed, y) < 0.02
    np.testing.assert_array_equal(bold.argmax(axis=1), fixed.argmax(axis=1))
    np.testing.assert_allclose(fixed.sum(axis=1), 1, atol=1e-6)


def test_same_as_dividing_logits():
    logits = np.random.default_rng(3).normal(0, 4, (20, 6))
    scaled = calibration.apply_temperature(softmax(logits, axis=1), 2.5)
    np.testing.assert_allclose(scaled, softmax(logits / 2.5, axis=1), atol=1e-6)


def test_probabilities_of_nought_and_one_stay_finite():
    hard = np.eye(3)
    temperature = calibration.fit_temperature(hard, np.array([0, 1, 0]))
    assert np.isfinite(temperature)
    assert np.isfinite(calibration.apply_temperature(hard, temperature)).all()


@pytest.mark.parametrize("temperature", [0, -1, float("nan")])
def test_impossible_temperature_is_refused(temperature):
    with pytest.raises(InputError, match="above 0"):
        calibration.apply_temperature(np.array([[0.5, 0.5]]), temperature)


def test_reliability_bins():
    proba = np.column_stack([[0.62, 0.68, 0.95, 1.0], [0.38, 0.32, 0.05, 0.0]])
    bins = calibration.reliability(proba, np.array([0, 1, 0, 0]), n_bins=10)
    assert bins.count.tolist() == [0] * 6 + [2, 0, 0, 2]
    assert bins.accuracy[6] == 0.5 and bins.accuracy[9] == 1.0
    assert bins.ece == pytest.approx(0.5 * abs(0.65 - 0.5) + 0.5 * abs(0.975 - 1.0))


def test_nothing_to_fit_on():
    none, y = np.empty((0, 3)), np.empty(0, int)
    assert calibration.fit_temperature(none, y) == 1.0
    assert calibration.fit_threshold(none, y) == 0.5
    assert np.isnan(calibration.ece(none, y))


def test_threshold_gives_the_accuracy_it_promises():
    proba, y = drawn()
    threshold = calibration.fit_threshold(proba, y, target=0.85)
    kept = proba.max(axis=1) >= threshold
    right = (proba.argmax(axis=1) == y)[kept]
    assert 0.85 <= right.mean() < 0.88  # the lowest that does, so not far above
    assert 0.5 < threshold < 1


def test_threshold_is_never_below_one_half_and_gives_up_when_nothing_helps():
    perfect = np.tile([0.4, 0.3, 0.3], (50, 1))
    assert calibration.fit_threshold(perfect, np.zeros(50, int)) == 0.5
    assert calibration.fit_threshold(np.tile([0.99, 0.01], (50, 1)), np.array([0, 1] * 25)) == 1.0


def test_series_vote_is_the_mean_and_beats_the_loudest_slice():
    proba = np.array([[0.99, 0.01], [0.3, 0.7], [0.1, 0.9]])
    assert series_vote.vote(proba).argmax() == 1
    names, voted = series_vote.vote_by(proba, ["b", "a", "a"])
    assert names == ["b", "a"]
    np.testing.assert_allclose(voted, [[0.99, 0.01], [0.2, 0.8]])


def test_vote_of_nobody():
    with pytest.raises(InputError, match="at least one slice"):
        series_vote.vote(np.empty((0, 2)))
    names, voted = series_vote.vote_by(np.empty((0, 2)), [])
    assert names == [] and voted.shape == (0, 2)


def test_caution_warms_the_temperature_and_the_threshold_is_fitted_on_what_it_makes():
    rng = np.random.default_rng(0)
    proba = rng.dirichlet([0.3, 0.3, 0.3], 4000)
    y = np.array([rng.choice(3, p=p) for p in proba])
    temperature, below = calibration.fit(proba, y)
    warm, warm_below = calibration.fit(proba, y, caution=1.5)
    assert warm == pytest.approx(1.5 * temperature)
    assert temperature == pytest.approx(1, abs=0.1)
    assert below == calibration.fit_threshold(calibration.apply_temperature(proba, temperature), y)
    assert warm_below == calibration.fit_threshold(calibration.apply_temperature(proba, warm), y) < below


@pytest.mark.parametrize("n", [10, 100, 1000])
def test_perfect_validation_does_not_make_later_answers_certain(n):
    shy = np.tile([0.9, 0.06, 0.04], (n, 1))
    temperature = calibration.fit_temperature(shy, np.zeros(n, int))
    said = calibration.apply_temperature(shy, temperature)[0, 0]
    # After n right answers of n: the rule of succession, (n + 1) / (n + 2), and not 100 %.
    assert said == pytest.approx((n + 1) / (n + 2), abs=0.35 / n)
    assert 0.2 <= temperature <= 20


def test_scaling_back_gives_what_the_network_said():
    proba, _ = drawn(500)
    there = calibration.apply_temperature(proba, 2.7)
    np.testing.assert_allclose(calibration.apply_temperature(there, 1 / 2.7), proba, atol=1e-5)


def test_brier_by_hand():
    proba = np.array([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5]])
    assert calibration.brier(proba, np.array([0, 2])) == pytest.approx((0.09 + 0.04 + 0.01 + 0 + 0.25 + 0.25) / 2)
    assert np.isnan(calibration.brier(proba[:0], np.empty(0, int)))
