"""Runs side by side: numbers by hand on small cases, the same slices for all, and refusals that say why."""

import json
import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn import metrics

from core import runs
from core.__main__ import main
from core.comparing import compare_figures, compare_report
from core.comparing.compare import McNemar, compare, told_apart
from core.comparing.patient_scores import SCORES
from core.config import RunConfig
from core.errors import RunError

CLASSES = ["T1", "T2", "FLAIR"]


def finished(run_id: str, rows: pd.DataFrame, classes: dict | None = None, **config) -> runs.Run:
    """A finished run with just these predictions; of the test part and the sequence where they do not say."""
    classes = classes or {"sequence": CLASSES}
    run = runs.create_run(RunConfig(config.pop("name", run_id), "transfer", "made", **config), run_id)
    rows = {"head": "sequence", "split": "test", "frame": 0, "cohort": "made", "p": 0.8} | dict(rows.items())
    table = pd.DataFrame(rows)
    names = table["head"].map(classes)
    table["y_proba"] = [
        [p if name == said else (1 - p) / (len(of) - 1) for name in of]
        for p, said, of in zip(table.pop("p"), table["y_pred"], names, strict=True)
    ]
    table.to_parquet(run.folder / "predictions.parquet")
    run.bundle.mkdir()
    card = {"name": run_id, "kind": "transfer", "classes": classes, "sha256": "0"}
    (run.bundle / "card.json").write_text(json.dumps(card))
    run.update(state="done")
    return run


def slices(n_patients: int = 4, each: int = 6, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n = n_patients * each
    return pd.DataFrame({
        "PatientID": [f"P-{at // each}" for at in range(n)], "SOPInstanceUID": [f"1.{at}" for at in range(n)],
        "y_true": rng.choice(CLASSES, n),
    })  # fmt: skip


def answered(rows: pd.DataFrame, right: float, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(rows)) > right
    others = [CLASSES[(CLASSES.index(name) + 1) % 3] for name in rows["y_true"]]
    return rows.assign(y_pred=np.where(wrong, others, rows["y_true"]), p=rng.uniform(0.4, 0.99, len(rows)))


def test_flips_mcnemar_and_difference_by_hand(workspace):
    rows = pd.DataFrame({
        "PatientID": ["a", "a", "b", "b", "c", "c"], "SOPInstanceUID": list("123456"),
        "y_true": ["T1", "T1", "T2", "T2", "FLAIR", "FLAIR"],
    })  # fmt: skip
    first = finished("first", rows.assign(y_pred=["T2", "T2", "T2", "T1", "FLAIR", "T1"]))
    other = finished(
        "other", rows.assign(y_pred=["T1", "T1", "T1", "T1", "FLAIR", "FLAIR"], p=[0.6, 0.9, 0.8, 0.8, 0.8, 0.7])
    )
    (head,) = compare([first, other]).heads
    assert head.mcnemar(1) == McNemar(mended=3, broken=1)
    # Of four fair coins, three or more one way: 2 * (4 + 1) / 16.
    assert head.mcnemar(1).p == pytest.approx(10 / 16)
    mended = head.flips(1, mended=True)
    assert mended["key"].tolist() == ["2:0", "6:0", "1:0"]  # the surest first
    assert mended.iloc[1][["y_true", "y_first", "y_other"]].tolist() == ["FLAIR", "T1", "FLAIR"]
    assert head.flips(1, mended=False)["key"].tolist() == ["3:0"]
    assert head.scores[0].estimate[0] == pytest.approx(2 / 6) and head.scores[1].estimate[0] == pytest.approx(4 / 6)
    difference = head.difference(1)
    assert difference.estimate[0] == pytest.approx(2 / 6)
    # Patient a gains two of two, b loses one, c gains one; no draw can be outside.
    low, high = (end[0] for end in difference.interval())
    assert -0.5 <= low < high <= 1.0
    assert set(np.round(difference.draws[:, 0] * 6).astype(int)) <= set(range(-3, 7))


@pytest.mark.parametrize(("mended", "broken"), [(0, 0), (0, 6), (5, 5), (30, 12), (1, 2000)])
def test_mcnemar_is_the_exact_binomial_test(mended, broken):
    n, least = mended + broken, min(mended, broken)
    expected = min(1.0, 2 * binom.cdf(least, n, 0.5)) if n else 1.0
    assert McNemar(mended, broken).p == pytest.approx(expected)


def test_scores_are_of_the_slices_that_both_have(workspace):
    rows = slices()
    first = answered(rows, 0.9, 1).assign(split=["test"] * 20 + ["train"] * 4)
    other = answered(rows.iloc[::-1].iloc[:-2], 0.6, 2)  # in another order, and without the first two slices
    (head,) = compare([finished("first", first), finished("other", other)]).heads
    assert len(head.slices) == 18 and head.tested == (20, 22) and head.patients == 4
    by_key = other.set_index("SOPInstanceUID").loc[head.slices["key"].str.removesuffix(":0")]
    assert head.y_pred[1].tolist() == by_key["y_pred"].tolist()
    y_true, y_pred = by_key["y_true"], by_key["y_pred"]
    expected = {
        "accuracy": metrics.accuracy_score(y_true, y_pred),
        "balanced accuracy": metrics.balanced_accuracy_score(y_true, y_pred),
        "macro F1": metrics.f1_score(y_true, y_pred, average="macro"),
    }
    for score, value in expected.items():
        assert head.scores[1].estimate[SCORES.index(score)] == pytest.approx(value)
    np.testing.assert_array_equal(head.confusion(1).counts, metrics.confusion_matrix(y_true, y_pred, labels=CLASSES))


def test_a_run_compared_with_itself_differs_in_nothing(workspace):
    rows = answered(slices(), 0.8, 1)
    made = compare([finished("one", rows), finished("two", rows, random_state=5)])
    (head,) = made.heads
    assert (head.difference(1).draws == 0).all() and head.mcnemar(1).p == 1.0
    assert "could be nothing" in compare_report.sentence(head, made.names, 1)


def test_slices_labelled_anew_between_the_evaluations_are_left_out(workspace):
    rows = answered(slices(), 1.0, 1)
    changed = rows.copy()
    changed.loc[0, "y_true"] = "T1" if rows.loc[0, "y_true"] != "T1" else "T2"
    changed.loc[1, "y_true"] = None
    made = compare([finished("one", rows), finished("two", changed)])
    (head,) = made.heads
    assert head.relabelled == 1 and len(head.slices) == 22 and head.tested == (24, 23)
    assert "1 more were labelled anew" in compare_report.basis(head, made.names)


def test_only_the_settings_that_differ_are_listed(workspace):
    rows = answered(slices(), 1.0, 1)
    made = compare([finished("one", rows), finished("two", rows, epochs=7, fractions=(0.5, 0.25, 0.25))])
    assert made.configuration.to_dict("index") == {
        "epochs": {"one": "20", "two": "7"}, "fractions": {"one": "0.6, 0.2, 0.2", "two": "0.5, 0.25, 0.25"},
    }  # fmt: skip


def test_a_head_that_only_one_has_is_said_and_the_other_compared(workspace):
    rows = answered(slices(), 1.0, 1)
    two = pd.concat([rows.assign(head="plane", y_true="axial", y_pred="axial"), rows.assign(head="sequence")])
    both = {"plane": ["axial", "coronal"], "sequence": CLASSES}
    made = compare([finished("one", rows), finished("two", two.reset_index(drop=True), both)])
    assert [head.head for head in made.heads] == ["sequence"] and made.left_out == ("one does not name the plane.",)


@pytest.mark.parametrize(
    ("change", "classes", "says"),
    [
        ({}, {"sequence": ["T1", "T2"]}, "did not learn the same classes of sequence .FLAIR, T1, T2 against T1, T2"),
        ({"split": "validation"}, None, "test parts have no sequence slice in common.*split: cohort"),
        ({"SOPInstanceUID": "other"}, None, "no sequence slice in common"),
        ({"y_true": "FLAIR"}, None, "labelled anew between the evaluations. Evaluate them again"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(workspace, change, classes, says):
    rows = answered(slices(), 1.0, 1).assign(y_true="T1", y_pred="T1")
    with pytest.raises(RunError, match=f"one and two cannot be compared.*{says}"):
        compare([finished("one", rows), finished("two", rows.assign(**change), classes)])


def test_one_run_twice_is_no_comparison(workspace):
    run = finished("one", answered(slices(), 1.0, 1))
    with pytest.raises(RunError, match="takes 2 to 6 different runs; received one, one"):
        compare([run, run])


def test_a_run_without_a_model_is_refused(workspace):
    with pytest.raises(RunError, match="has no trained model"):
        compare([finished("one", answered(slices(), 1, 1)), runs.create_run(RunConfig("x", "dual", "made"), "empty")])


def test_training_on_test_patients_is_said(workspace):
    rows = answered(slices(), 1.0, 1)
    neighbours = rows.assign(SOPInstanceUID=rows["SOPInstanceUID"] + ".1", split="train")
    naive = pd.concat([rows.assign(split="test"), neighbours], ignore_index=True)
    assert compare([finished("one", rows), finished("naive", naive)]).leaks == (
        "naive was trained on 4 of its test patients, so its scores flatter it.",
    )


def test_few_patients_are_no_proof(workspace):
    rows = slices(n_patients=3)
    made = compare([finished("bad", answered(rows, 0.0, 1)), finished("good", answered(rows, 1.0, 1))])
    assert "too few to count on" in compare_report.sentence(made.heads[0], made.names, 1)
    assert "3 patients only" in compare_report.caution(made.heads[0])
    rows = slices(n_patients=12)
    made = compare([finished("worse", answered(rows, 0.0, 1)), finished("better", answered(rows, 1.0, 1))])
    assert "would hardly turn that round" in compare_report.sentence(made.heads[0], made.names, 1)
    assert not compare_report.caution(made.heads[0])
    rows = slices(n_patients=1)
    made = compare([finished("a", answered(rows, 0.0, 1)), finished("b", answered(rows, 1.0, 1))])
    assert "One patient tells nothing" in compare_report.sentence(made.heads[0], made.names, 1)
    assert "nan" not in compare_report.text(made)


def test_runs_of_one_name_are_told_apart(workspace):
    assert told_apart(["a", "a"], ["a-1-beef", "a-2-cafe"]) == ("a (beef)", "a (cafe)")


def test_a_run_has_one_colour_in_every_figure(workspace):
    rows = slices()
    made = compare([finished(name, answered(rows, right, 1)) for name, right in (("a", 0.5), ("b", 0.7), ("c", 0.9))])
    lines = pd.DataFrame({"loss": [1, 0.5], "val_loss": [1, 0.6], "accuracy": [0.5, 0.6], "val_accuracy": [0.5, 0.5]})
    (head,) = made.heads
    curves = compare_figures.curves([lines, pd.DataFrame(), lines], made.names, "sequence")
    dots = compare_figures.intervals(head, made.names)
    colour_of = {trace.y[0]: trace.marker.color for trace in dots.data}
    assert len(set(colour_of.values())) == 3
    assert {trace.name: trace.line.color for trace in curves.data} == {name: colour_of[name] for name in "ac"}
    matrix = compare_figures.matrix_difference(head, 2, made.names)
    shown = head.confusion(2).counts - head.confusion(0).counts
    np.testing.assert_array_equal(matrix.data[0].customdata, shown)
    # More right answers and fewer mistakes are both good.
    assert (np.sign(matrix.data[0].z) == np.sign(np.where(np.eye(3), shown, -shown))).all()


def test_command_prints_what_the_page_shows(workspace, capsys):
    rows = slices()
    finished("first", answered(rows, 0.6, 1), name="mine")
    finished("second", answered(rows, 0.9, 2), name="mine", epochs=3)
    assert main(["runs", "compare", "first", "second"]) == 0
    said = capsys.readouterr().out
    for words in ("mine (irst)", "epochs", "24 test slices of 4 patients", "95 % interval by patient", "McNemar"):
        assert words in said
    assert main(["runs", "compare", "first", "third"]) == 2
    assert "There is no run 'third'" in capsys.readouterr().err


@pytest.mark.slow
def test_fifty_thousand_predictions_are_compared_in_a_second(workspace):
    rows = slices(n_patients=300, each=167)
    found = [finished("one", answered(rows, 0.9, 1)), finished("two", answered(rows, 0.92, 2))]
    times = []
    for _ in range(3):
        start = time.process_time()
        compare(found)
        times.append(time.process_time() - start)
    # Of the processor, which a busy machine does not stretch; 0.4 s when this was written.
    assert min(times) < 1.5, times
