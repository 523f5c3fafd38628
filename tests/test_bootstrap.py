"""The bootstrap by patient does what copying drawn patients' slices would do, and its intervals mean something."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.comparing.bootstrap import Bootstrap, bootstrap_totals, patient_bootstrap, patient_totals
from core.errors import InputError

SLICES = st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(-5, 5)), min_size=1, max_size=40)


def naive_draws(groups, values, n_draws, random_state, of) -> np.ndarray:
    """Draw patients with the same generator, and copy their slices one by one."""
    names = sorted(set(groups))
    rng = np.random.default_rng(random_state)
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), n_draws)
    answers = []
    for drawn in times:
        copied = []
        for name, n in zip(names, drawn, strict=True):
            for _ in range(n):
                copied += [value for group, value in zip(groups, values, strict=True) if group == name]
        answers.append(of(np.array(copied)))
    return np.array(answers)


@settings(max_examples=50, deadline=None)
@given(SLICES, st.integers(0, 1000))
def test_it_is_the_same_as_copying_the_slices_of_drawn_patients(slices, seed):
    groups, values = zip(*slices, strict=True)
    made = patient_bootstrap(groups, np.array(values), n_draws=20, random_state=seed)
    np.testing.assert_allclose(made.draws, naive_draws(groups, values, 20, seed, np.mean), atol=1e-9)
    assert made.estimate == pytest.approx(np.mean(values), abs=1e-9) and made.patients == len(set(groups))


@settings(max_examples=25, deadline=None)
@given(SLICES)
def test_a_statistic_of_several_sums_is_drawn_the_same_way(slices):
    groups, values = zip(*slices, strict=True)
    columns = np.column_stack([values, np.square(values)])
    made = patient_bootstrap(
        groups, columns, lambda sums, n: sums[:, 1] / n - (sums[:, 0] / n) ** 2, n_draws=15, random_state=3
    )
    np.testing.assert_allclose(made.draws, naive_draws(groups, values, 15, 3, np.var), atol=1e-6)


@given(st.permutations(range(12)))
def test_the_order_of_slices_says_nothing(order):
    groups, values = np.array(list("aabbbccddddd")), np.arange(12.0)
    one = patient_bootstrap(groups, values, n_draws=30)
    other = patient_bootstrap(groups[list(order)], values[list(order)], n_draws=30)
    np.testing.assert_allclose(one.draws, other.draws)


def test_slices_of_one_patient_do_not_narrow_the_interval():
    rng = np.random.default_rng(0)
    means = rng.random(20)
    few, many = (
        patient_bootstrap(np.repeat(np.arange(20).astype(str), n), np.repeat(means, n)).interval() for n in (1, 100)
    )
    np.testing.assert_allclose(few, many)


def test_interval_is_that_of_the_central_limit_theorem_where_it_holds():
    rng = np.random.default_rng(1)
    values = rng.normal(size=400)
    low, high = patient_bootstrap(np.arange(400).astype(str), values, n_draws=4000).interval()
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.08)
    assert low < values.mean() < high


def test_interval_covers_what_it_should_with_patients_that_differ():
    """Of 200 cohorts of 40 patients with 10 slices each, about 95 % of intervals hold the truth; by slice, few do."""
    rng = np.random.default_rng(2)
    held, held_by_slice = 0, 0
    for _ in range(200):
        p = np.repeat(rng.beta(2, 2, 40), 10)
        right = (rng.random(400) < p).astype(float)
        for groups, by_slice in ((np.repeat(np.arange(40), 10).astype(str), False), (np.arange(400).astype(str), True)):
            low, high = patient_bootstrap(groups, right, n_draws=400).interval()
            if by_slice:
                held_by_slice += low <= 0.5 <= high
            else:
                held += low <= 0.5 <= high
    assert 178 <= held <= 199
    assert held_by_slice < 160


def test_paired_difference_uses_the_same_draws():
    groups = list("aabbcc")
    one, other = patient_bootstrap(groups, np.arange(6.0)), patient_bootstrap(groups, np.arange(6.0) + 2)
    difference = other - one
    np.testing.assert_allclose(difference.draws, 2)
    assert [float(end) for end in difference.interval()] == pytest.approx([2, 2])
    with pytest.raises(InputError, match="same patients and draws"):
        _ = one - patient_bootstrap(list("aabb"), np.arange(4.0))


def test_one_patient_has_no_interval():
    made = patient_bootstrap(["a", "a"], np.array([0.0, 1.0]))
    assert made.estimate == 0.5 and np.isnan(made.interval()).all()


def test_draws_that_say_nothing_are_left_out():
    made = Bootstrap(np.array(0.5), np.array([np.nan, 0.0, 1.0]), 3)
    assert made.interval(0.5)[0] == 0.25


def test_totals_are_sums_by_patient_and_cell():
    patients, cells, weights = np.array([1, 0, 1, 1]), np.array([0, 2, 0, 1]), np.array([0.5, 1, 2, 4])
    assert patient_totals(patients, cells, 3).tolist() == [[0, 0, 1], [2, 1, 0]]
    assert patient_totals(patients, cells, 3, weights).tolist() == [[0, 0, 1], [2.5, 4, 0]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: patient_bootstrap([], np.array([])),
        lambda: patient_bootstrap(["a"], np.array([1.0, 2.0])),
        lambda: bootstrap_totals(np.zeros((0, 3)), lambda drawn: drawn),
        lambda: bootstrap_totals(np.ones((2, 3)), lambda drawn: drawn, n_draws=0),
    ],
)
def test_nothing_to_draw_from_is_refused(make):
    with pytest.raises(InputError, match="received"):
        make()


def test_what_no_draw_can_judge_has_no_interval_and_no_warning():
    draws = np.array([[0.0, np.nan], [1.0, np.nan], [np.nan, np.nan]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = Bootstrap(np.array([0.5, np.nan]), draws, patients=3).interval()
    np.testing.assert_allclose([low[0], high[0]], [0.025, 0.975])
    assert np.isnan([low[1], high[1]]).all()
