"""Uncertainty measures against hand-made cases, and what must hold for any probabilities."""

import numpy as np
import pytest

from core import uncertainty
from core.errors import InputError

MEASURES = (
    uncertainty.predictive_entropy, uncertainty.expected_entropy, uncertainty.mutual_information,
    uncertainty.variation_ratio,
)  # fmt: skip


def passes(n, t, c, concentration, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(c, concentration), (n, t))


@pytest.mark.parametrize("concentration", [0.01, 0.3, 5.0])
def test_bounds(concentration):
    p = passes(200, 30, 7, concentration)
    total, expected = uncertainty.predictive_entropy(p), uncertainty.expected_entropy(p)
    assert (expected >= 0).all() and (total <= np.log(7) + 1e-12).all()
    # Entropy is concave, so the mean's is never below the mean of entropies.
    assert (total >= expected - 1e-12).all()
    np.testing.assert_allclose(uncertainty.mutual_information(p), np.maximum(total - expected, 0))
    ratio = uncertainty.variation_ratio(p)
    assert (ratio >= 0).all() and (ratio <= 1 - 1 / 7 + 1e-12).all()


def test_passes_that_agree_hold_no_information_about_the_model():
    p = np.repeat(passes(50, 1, 4, 1.0), 20, axis=1)
    assert uncertainty.mutual_information(p).max() < 1e-12
    assert uncertainty.variation_ratio(p).max() == 0
    np.testing.assert_allclose(uncertainty.predictive_entropy(p), -(p[:, 0] * np.log(p[:, 0])).sum(axis=1))


def test_kinds_of_doubt_are_told_apart():
    """Blurred pictures and strange ones give the same total, but not the same parts."""
    blurred = np.full((1, 10, 2), 0.5)
    strange = np.tile(np.eye(2), (1, 5, 1))
    both = np.concatenate([blurred, strange])
    np.testing.assert_allclose(uncertainty.predictive_entropy(both), np.log(2))
    np.testing.assert_allclose(uncertainty.mutual_information(both), [0, np.log(2)])


@pytest.mark.parametrize("measure", MEASURES)
def test_no_slice_is_no_error(measure):
    assert measure(np.empty((0, 5, 3))).shape == (0,)


@pytest.mark.parametrize("shape", [(4, 3), (4, 0, 3)])
@pytest.mark.parametrize("measure", MEASURES)
def test_wrong_shape_is_refused(measure, shape):
    with pytest.raises(InputError, match="slices, passes, classes"):
        measure(np.zeros(shape))


def test_risk_coverage_counts_from_the_surest():
    rng = np.random.default_rng(1)
    correct, doubt = rng.random(300) < 0.8, rng.random(300)
    coverage, accuracy = uncertainty.risk_coverage(correct, doubt)
    assert coverage[-1] == 1 and accuracy[-1] == pytest.approx(correct.mean())
    surest = np.argsort(doubt)[:100]
    assert coverage[99] == pytest.approx(1 / 3) and accuracy[99] == pytest.approx(correct[surest].mean())


def test_ties_do_not_depend_on_the_order_of_slices():
    correct = np.array([True, True, False, False])
    forwards = uncertainty.risk_coverage(correct, np.zeros(4))[1]
    backwards = uncertainty.risk_coverage(correct[::-1], np.zeros(4))[1]
    np.testing.assert_allclose(forwards, 0.5)
    np.testing.assert_allclose(backwards, 0.5)


def test_risk_coverage_refuses_unequal_lengths():
    with pytest.raises(InputError, match="equal length"):
        uncertainty.risk_coverage(np.ones(3, bool), np.zeros(4))
    assert [len(a) for a in uncertainty.risk_coverage(np.empty(0, bool), np.empty(0))] == [0, 0]
