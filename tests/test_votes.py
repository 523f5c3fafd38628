"""Rules of votes by cases worked out by hand, and by what must hold whatever the references say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from core.errors import InputError
from core.explanations.jury import Jury, unit
from core.explanations.votes import VOTES, Vote, deliberate, fit_margin, vote

LABELS = np.array([0, 0, 0, 1, 1])
#: The most alike is of class 0, the three most alike are two of class 1, the means are 0.5 and 0.75.
COSINES = np.array([[0.9, 0.4, 0.2, 0.8, 0.7]])


def test_mean_compares_classes_by_all_their_references():
    said = vote(COSINES, LABELS, 2)
    np.testing.assert_allclose(said.scores, [[0.5, 0.75]])
    assert said.winner[0] == 1 and said.margin[0] == pytest.approx(0.25) and said.counted.all()


def test_nearest_hears_one_reference():
    said = vote(COSINES, LABELS, 2, "nearest")
    np.testing.assert_allclose(said.scores, [[0.9, 0.8]])
    assert said.winner[0] == 0 and said.margin[0] == pytest.approx(0.1)
    assert said.counted.tolist() == [[True, False, False, False, False]]


def test_majority_counts_the_k_most_alike():
    said = vote(COSINES, LABELS, 2, "majority", 3)
    np.testing.assert_allclose(said.scores, [[1 / 3, 2 / 3]])
    assert said.winner[0] == 1 and said.margin[0] == pytest.approx(1 / 3)
    assert said.counted.tolist() == [[True, False, False, True, True]]


def test_of_equally_many_votes_those_win_that_are_more_alike_and_the_margin_is_nothing():
    said = vote(np.array([[0.5, -0.9, -0.9, 0.6, -0.9]]), LABELS, 2, "majority", 2)
    assert said.winner[0] == 1 and said.margin[0] == 0
    # One vote more counts more than any likeness.
    said = vote(np.array([[-0.9, -0.9, -0.95, 1.0, -1.0]]), LABELS, 2, "majority", 3)
    assert said.winner[0] == 0


def test_a_reference_that_must_not_be_asked_has_no_say():
    hidden = COSINES.copy()
    hidden[0, 3] = np.nan
    np.testing.assert_allclose(vote(hidden, LABELS, 2).scores, [[0.5, 0.7]])
    assert not vote(hidden, LABELS, 2, "majority", 5).counted[0, 3]
    nobody = vote(np.full((1, 5), np.nan), LABELS, 2, "nearest")
    assert nobody.margin[0] == 0 and not nobody.counted.any()


def test_a_class_without_references_never_wins():
    for rule in VOTES:
        assert vote(-COSINES, LABELS, 3, rule, 3).winner[0] != 2


@pytest.mark.parametrize(("rule", "k"), [("loudest", 5), ("majority", 0)])
def test_refusals(rule, k):
    with pytest.raises(InputError, match="A vote is by mean, majority, nearest"):
        vote(COSINES, LABELS, 2, rule, k)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(VOTES)),
    arrays.arrays(float, (4, 6), elements=st.floats(-1, 1, width=16)),
    st.permutations(range(6)),
    st.integers(1, 8),
)
def test_what_holds_for_every_vote(rule, cosines, order, k):
    labels = np.array([0, 1, 2, 0, 1, 2])
    said = vote(cosines, labels, 3, rule, k)
    assert (said.margin >= 0).all()
    np.testing.assert_allclose(said.probabilities(2.0).sum(axis=1), 1)
    ranked = np.sort(said.scores, axis=1)
    np.testing.assert_allclose(said.margin, ranked[:, -1] - ranked[:, -2], atol=1e-12)
    if rule == "majority":
        assert (said.counted.sum(axis=1) == min(k, 6)).all()
        return
    # Nobody cares in which order references sit.
    shuffled = vote(cosines[:, order], labels[list(order)], 3, rule, k)
    np.testing.assert_allclose(shuffled.scores, said.scores, atol=1e-12)


def test_margin_that_keeps_an_accuracy():
    margin = np.array([0.4, 0.1, 0.3, 0.2, 0.2])
    right = np.array([True, False, True, True, False])
    assert fit_margin(margin, right, 0.6) == 0.0
    # Both answers at 0.2 go together: without the wrong one at 0.1, 3 of 4 are right.
    assert fit_margin(margin, right, 0.7) == 0.2
    assert fit_margin(margin, right, 0.8) == 0.3
    assert fit_margin(margin, ~right, 0.9) is None
    assert fit_margin(np.empty(0), np.empty(0, bool), 0.9) is None


def test_a_lucky_few_do_not_set_the_margin():
    margin, right = np.arange(100) / 100, np.arange(100) >= 97
    assert fit_margin(margin, right, 0.95) is None


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(float, 20, elements=st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9])),
    arrays.arrays(bool, 20),
    st.floats(0.5, 1),
)
def test_margin_does_what_was_asked(margin, right, target):
    found = fit_margin(margin, right, target)
    lower = [one for one in {0.0, *margin} if found is None or one < found]
    if found is not None:
        assert right[margin >= found].mean() >= target
    # No lower margin would have done.
    assert all(right[margin >= one].mean() < target for one in lower if (margin >= one).sum() >= 1)


def test_verdict_is_sorted_and_says_who_counted():
    embeddings = unit(np.array([[1, 0.1], [1, 0], [0.1, 1], [0, 1]], np.float32))
    made = Jury(("FLAIR", "T1"), ("FLAIR", "FLAIR", "T1", "T1"), tuple("abac"), ("1:0", "2:0", "3:0", "4:0"),
                embeddings, np.arange(36, dtype=np.uint8).reshape(4, 3, 3))  # fmt: skip
    verdict = deliberate(made, np.array([2.0, 0.0]), "majority", k=3)
    assert verdict.winner == "FLAIR" and verdict.margin == pytest.approx(1 / 3)
    assert (np.diff(verdict.similarities) <= 0).all() and verdict.similarities[0] == pytest.approx(1)
    assert verdict.keys == ("2:0", "1:0", "3:0", "4:0") and verdict.patients == ("b", "a", "a", "c")
    assert verdict.counted.tolist() == [True, True, True, False]
    np.testing.assert_array_equal(verdict.pictures[0], np.arange(9, 18).reshape(3, 3))
    # By mean, with the card's temperature, it says what the run says.
    proba = made.probabilities(np.array([2.0, 0.0])) ** (1 / 1.7)
    assert list(deliberate(made, np.array([2.0, 0.0]), temperature=1.7).votes.values()) == pytest.approx(
        (proba / proba.sum()).tolist(), rel=1e-4
    )


def test_vote_of_means_has_a_margin():
    said = Vote.of(np.array([[0.2, 0.9], [0.5, 0.5]]))
    assert said.winner.tolist() == [1, 0] and said.margin.tolist() == pytest.approx([0.7, 0.0])
