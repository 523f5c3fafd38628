"""What was taken for what: counts, shares, orders, votes and joint classes, against scikit-learn and by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from core.analysis.confusion import ConfusionMatrix, confusion, confusion_order, judge
from core.errors import InputError
from core.series_vote import vote

PLANES, SEQUENCES = ["axial", "coronal"], ["T1", "T2", "FLAIR"]


def made_rows(n=240, names=SEQUENCES, seed=0, patients=6, series=24):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.ones(len(names)), n)
    of = np.sort(rng.integers(0, series, n))
    words = np.array(names, object)
    # A series has one truth; a patient several.
    return pd.DataFrame({
        "key": [f"1.{at}:0" for at in range(n)], "SeriesInstanceUID": [f"1.{one}" for one in of],
        "PatientID": [f"P{one % patients}" for one in of], "y_true": words[of % len(names)],
        "y_pred": words[proba.argmax(axis=1)], "y_proba": list(proba),
    })  # fmt: skip


def test_confusion_counts_by_hand():
    matrix = confusion(["a", "a", "b", "b", "b"], ["a", "b", "b", "b", "a"], ["a", "b", "c"])
    assert matrix.counts.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert (matrix.accuracy, matrix.majority) == (0.6, 0.6)
    assert matrix.balanced_accuracy == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_confusion_of_nothing_is_not_a_number():
    matrix = confusion([], [], ["a"])
    assert np.isnan([matrix.accuracy, matrix.balanced_accuracy, matrix.majority]).all()


def test_word_outside_the_classes_is_a_bug():
    with pytest.raises(KeyError):
        confusion(["z"], ["a"], ["a"])


def test_counts_are_those_of_scikit_learn():
    rows = made_rows()
    judged = judge([rows], [SEQUENCES])
    expected = metrics.confusion_matrix(rows["y_true"], rows["y_pred"], labels=list(judged.classes))
    np.testing.assert_array_equal(judged.matrix.counts, expected)
    assert judged.matrix.balanced_accuracy == pytest.approx(
        metrics.balanced_accuracy_score(rows["y_true"], rows["y_pred"])
    )
    for of, normalize in (("truth", "true"), ("answer", "pred")):
        np.testing.assert_allclose(
            judged.matrix.shares(of), metrics.confusion_matrix(rows["y_true"], rows["y_pred"], labels=judged.classes,
                                                               normalize=normalize)
        )  # fmt: skip


def test_shares_of_nothing_are_no_numbers():
    shares = ConfusionMatrix(("a", "b"), np.array([[2, 0], [0, 0]])).shares("truth")
    assert shares[0].tolist() == [1, 0] and np.isnan(shares[1]).all()


@pytest.mark.parametrize(("unit", "column"), [("series", "SeriesInstanceUID"), ("patients", "PatientID")])
def test_votes_are_those_of_the_series_vote(unit, column):
    rows = made_rows()
    judged = judge([rows], [SEQUENCES], unit)
    found = {}
    for number, at in enumerate(judged.at):
        found[rows[column][at], rows["y_true"][at]] = (
            judged.classes[judged.true[number]], judged.classes[judged.named[number]], judged.p[number],
            judged.slices[number],
        )  # fmt: skip
    expected = {}
    for (group, truth), part in rows.groupby([column, "y_true"]):
        mean = vote(np.stack(part["y_proba"]))
        expected[group, truth] = truth, SEQUENCES[mean.argmax()], pytest.approx(mean.max()), len(part)
    assert found == expected
    assert judged.slices.sum() == len(rows) and judged.matrix.counts.sum() == len(expected)


def test_middle_slice_stands_for_a_series():
    rows = made_rows(9, series=1)
    assert judge([rows], [SEQUENCES], "series").at.tolist() == [4]


@pytest.mark.parametrize("unit", ["slices", "series", "patients"])
def test_joint_answers_are_right_where_both_are(unit):
    sequence, plane = made_rows(), made_rows(names=PLANES, seed=1)
    plane = plane.assign(SeriesInstanceUID=sequence["SeriesInstanceUID"], PatientID=sequence["PatientID"])
    joint = judge([plane, sequence], [PLANES, SEQUENCES], unit)
    if unit == "slices":
        right = (plane["y_true"] == plane["y_pred"]) & (sequence["y_true"] == sequence["y_pred"])
        assert joint.matrix.accuracy == pytest.approx(right.mean())
        sure = plane["y_proba"].map(max) * sequence["y_proba"].map(max)
        np.testing.assert_allclose(joint.p, sure)
    assert set(joint.classes) <= {f"{p}-{s}" for p in PLANES for s in SEQUENCES}
    truth = plane["y_true"] + "-" + sequence["y_true"]
    assert [joint.classes[one] for one in joint.true] == truth[joint.at].tolist()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.sampled_from(["slices", "series", "patients"]))
def test_cells_hold_everybody_once_and_surest_first(seed, n, unit):
    judged = judge([made_rows(n, seed=seed)], [SEQUENCES], unit)
    everybody = []
    for i, true in enumerate(judged.classes):
        for j, named in enumerate(judged.classes):
            members = judged.members(true, named)
            assert len(members) == judged.matrix.counts[i, j]
            assert (np.diff(judged.p[members]) <= 0).all()
            everybody.extend(members)
    assert sorted(everybody) == list(range(len(judged.true)))


def test_nobody_stands_in_a_cell_that_is_none():
    judged = judge([made_rows()], [SEQUENCES])
    assert judged.members("T1", "knee").size == 0 == judged.members("", "").size


def test_slices_without_numbers_have_no_vote():
    rows = made_rows(40, series=4)
    rows.at[0, "y_proba"] = np.full(3, np.nan)
    judged = judge([rows], [SEQUENCES], "series")
    assert judged.unanswered == 1 and judged.slices.sum() == 39 and np.isfinite(judged.p).all()
    slices = judge([rows], [SEQUENCES])
    members = slices.members(rows["y_true"][0], rows["y_pred"][0])
    assert members[-1] == 0 and slices.unanswered == 0


def test_nothing_is_judged_as_nothing():
    for unit in ("slices", "series", "patients"):
        judged = judge([made_rows().iloc[:0]], [SEQUENCES], unit)
        assert judged.classes == () and np.isnan(judged.matrix.accuracy)


def test_other_words_are_refused():
    rows = made_rows()
    matrix = judge([rows], [SEQUENCES]).matrix
    for wrong in (
        lambda: judge([rows], [SEQUENCES], "voxels"), lambda: judge([rows, rows[:5]], [SEQUENCES] * 2),
        lambda: matrix.shares("both"), lambda: matrix.ordered("size"),
    ):  # fmt: skip
        with pytest.raises(InputError):
            wrong()


def test_orders_keep_every_cell():
    counts = np.random.default_rng(0).integers(0, 50, (7, 7))
    matrix = ConfusionMatrix(tuple("abcdefg"), counts)
    for by in ("name", "frequency", "confusion"):
        other = matrix.ordered(by)
        place = [matrix.classes.index(name) for name in other.classes]
        assert sorted(place) == list(range(7))
        np.testing.assert_array_equal(other.counts, counts[np.ix_(place, place)])
    assert (np.diff(matrix.ordered("frequency").counts.sum(axis=1)) <= 0).all()


def test_classes_that_are_confused_stand_together():
    rng = np.random.default_rng(3)
    counts, pairs = np.diag(np.full(20, 100)), rng.permutation(20).reshape(10, 2)
    for one, other in pairs:
        counts[one, other] = 30
    order = confusion_order(counts).tolist()
    assert all(abs(order.index(one) - order.index(other)) == 1 for one, other in pairs)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_classes_and_no_mistakes_have_an_order(n):
    assert sorted(confusion_order(np.eye(n, dtype=int))) == list(range(n))
