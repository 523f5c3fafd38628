"""Doubtful labels: what was made wrong is found, nobody judges their own patient, and odd runs are survived."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.label_issues import spoil
from core.analysis import analyses, label_issues
from core.config import RunConfig
from core.runs import create_run


def blobs(n=600, classes=3, patients=12, seed=0):
    rng = np.random.default_rng(seed)
    y, groups = rng.integers(0, classes, n), rng.integers(0, patients, n)
    vectors = rng.normal(size=(n, 8)) + 4 * np.eye(classes, 8)[y] + rng.normal(size=(patients, 8))[groups]
    return vectors.astype(np.float32), y, groups


@pytest.mark.parametrize("seed", range(3))
def test_labels_that_were_made_wrong_come_first(seed):
    vectors, y, groups = blobs(seed=seed)
    spoilt, bad = spoil(y, np.arange(len(y)), seed)
    order, score, suspected = label_issues.rank(label_issues.out_of_sample(vectors, spoilt, groups, 3), spoilt)
    assert bad[order[: bad.sum()]].mean() > 0.85
    assert bad[order[suspected]].sum() > 0.7 * bad.sum()
    assert sorted(order.tolist()) == list(range(len(y)))
    assert (np.diff(score[suspected]) >= 0).all() and not suspected[suspected.sum() :].any()


def test_no_patient_is_judged_by_itself():
    # Each patient has a direction of its own and one class: only a head that saw the patient could know it.
    groups = np.repeat(np.arange(10), 20)
    y = groups % 2
    vectors = np.eye(10)[groups] * 10
    proba = label_issues.out_of_sample(vectors, y, groups, 2)
    assert (proba.argmax(axis=1) == y).mean() < 0.7
    assert np.allclose(proba.sum(axis=1), 1)


def test_slices_that_nobody_can_judge_are_left_out():
    vectors, y, groups = blobs(classes=2)
    y[:5] = -1
    y[groups == 0] = 2  # a class of one patient
    vectors[7] = np.nan
    proba = label_issues.out_of_sample(vectors, y, groups, 3)
    alone = (y == 2) | (y < 0)
    assert np.isnan(proba[alone]).all() and np.isfinite(proba[~alone]).all()
    order, _, _ = label_issues.rank(proba, y)
    assert set(order.tolist()) == set(np.flatnonzero(~alone).tolist())


@pytest.mark.parametrize("y, groups", [([0, 0, 0], [0, 1, 2]), ([0, 1, 0], [0, 0, 0]), ([-1, -1, -1], [0, 1, 2])])
def test_one_class_one_patient_and_no_label_have_no_issues(y, groups):
    proba = label_issues.out_of_sample(np.eye(3), np.array(y), np.array(groups), 2)
    assert np.isnan(proba).all()
    assert [len(part) for part in label_issues.rank(proba, np.array(y))] == [0, 0, 0]


def test_a_run_keeps_its_doubtful_labels(workspace):
    vectors, y, groups = blobs()
    spoilt, bad = spoil(y, np.arange(len(y)), 0)
    names = ["T1 <b>", "T2|x", "FLAIR", "nobody's"]
    run = create_run(RunConfig("li", "plane", "c"), "li")
    labels = np.array(names, object)[spoilt]
    labels[:3] = None
    table = pd.DataFrame({"head": "sequence", "PatientID": groups.astype(str), "y_true": labels, "split": "test"})
    one = table.assign(head="one", y_true=names[0])
    pd.concat([table, one]).to_parquet(run.folder / "predictions.parquet")
    np.save(run.folder / "embeddings.npy", vectors)
    run.bundle.mkdir()
    card = {"classes": {"sequence": names, "one": names}, "kind": "plane", "input_shape": [8, 8, 1], "sha256": "0",
            "cam_layer": "", "name": "li", "temperature": {}, "unsure_below": {}, "scores": {}}  # fmt: skip
    (run.bundle / "card.json").write_text(json.dumps(card))
    assert label_issues.read(run, "sequence") is None
    analyses.folder(run).mkdir()
    label_issues.write(run, lambda share, message: None)
    kept = label_issues.read(run, "sequence")
    assert kept.judged == 597 and kept.patients == 12 and kept.left_out == ()
    found = kept.table[kept.table["suspected"]]
    assert bad[found["at"]].mean() > 0.8 and (found["given"] != found["suggested"]).all()
    np.testing.assert_array_equal(found["given"], labels[found["at"]])
    alone = label_issues.read(run, "one")
    assert alone.table.empty and alone.judged == 0
