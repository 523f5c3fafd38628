"""Pairs: counts against a slow loop, rates against scikit-learn, and only pairs of different patients."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from core.analysis import analyses
from core.explanations import pair_figures, pairs
from core.explanations.jury import unit
from core.runs import Run


@pytest.fixture(scope="module")
def slices():
    """Slices of 3 classes and 8 patients, each class around a direction of its own."""
    rng = np.random.default_rng(0)
    classes, patients = rng.integers(0, 3, 160), np.arange(160) % 8
    vectors = unit(rng.normal(0, 0.5, (160, 6)) + np.eye(6)[classes]).astype(np.float32)
    return vectors, classes, patients


@pytest.fixture(scope="module")
def counted(slices):
    return pairs.count(*slices)


def every_pair(vectors, classes, patients):
    one, other = np.triu_indices(len(classes), 1)
    apart = patients[one] != patients[other]
    one, other = one[apart], other[apart]
    return (vectors[one] * vectors[other]).sum(axis=1), classes[one] == classes[other]


def test_each_pair_of_different_patients_counts_once(slices, counted):
    cosine, same = every_pair(*slices)
    assert counted.counts.sum(axis=(1, 2, 3)).tolist() == [(~same).sum(), same.sum()]
    assert np.trace(counted.counts.sum(axis=(0, 3))) == 0
    # A cosine falls into the bin that holds it, up to the fine grid's step.
    found, _ = np.histogram(cosine, counted.edges)
    assert np.abs(np.cumsum(found) - np.cumsum(counted.counts.sum(axis=(0, 1, 2)))).max() <= 25


def test_tiles_change_nothing(slices, counted, monkeypatch):
    monkeypatch.setattr(pairs, "_TILE", 7)
    small = pairs.count(*slices)
    np.testing.assert_array_equal(small.partners, counted.partners)
    # A product of another shape may round the last bit otherwise.
    assert np.abs(small.counts.sum(axis=(1, 2)) - counted.counts.sum(axis=(1, 2))).max() <= 2


def test_rates_are_those_of_scikit_learn(slices, counted):
    cosine, same = every_pair(*slices)
    fpr, tpr, limits = roc_curve(same, cosine)
    at = np.argmin(np.abs(fpr - (1 - tpr)))
    judged = pairs.judge(counted, n_draws=20)
    assert judged["eer"] == pytest.approx((fpr[at] + 1 - tpr[at]) / 2, abs=0.003)
    assert judged["threshold"] == pytest.approx(limits[at], abs=0.005)
    assert judged["auc"] == pytest.approx(roc_auc_score(same, cosine), abs=0.002)
    np.testing.assert_allclose(judged["tpr"], np.interp(pairs.GRID, fpr, tpr), atol=0.03)


def test_equal_error_rate_by_hand():
    # Different pairs at 0, 1, 2, 3 and same pairs at 2, 3, 4, 5, a bin each: above 2 lie half of the different and all
    # of the same, above 3 a quarter and three quarters.
    counts = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1]], float)
    rate, place = pairs.equal_error(*pairs.roc(counts))
    assert rate == pytest.approx(0.25) and place == pytest.approx(3)
    apart = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], float)
    assert pairs.equal_error(*pairs.roc(apart))[0] == pytest.approx(0)
    assert pairs.equal_error(*pairs.roc(apart[::-1]))[0] == pytest.approx(1)


def test_interval_draws_patients_and_holds_the_estimate(counted):
    judged = pairs.judge(counted, n_draws=100)
    low, high = judged["eer_interval"]
    assert low < judged["eer"] < high and high - low < 0.3
    assert (judged["tpr_low"] <= judged["tpr_high"]).all()
    again = pairs.judge(counted, n_draws=100)
    assert again["eer_interval"] == judged["eer_interval"]


def test_two_patients_have_no_interval(slices):
    vectors, classes, patients = slices
    kept = patients < 2
    judged = pairs.judge(pairs.count(vectors[kept], classes[kept], patients[kept]), n_draws=10)
    assert 0 <= judged["eer"] <= 1 and np.isnan(judged["eer_interval"]).all()


def test_worst_pairs_cross_patients_and_repeat_nothing(slices, counted):
    vectors, classes, patients = slices
    series = np.arange(160) // 4
    found = pairs.worst(counted, series, most=5)
    assert [kind for kind, *_ in found] == ["different"] * 5 + ["same"] * 5
    for kind in ("different", "same"):
        mine = [(one, other, cosine) for k, one, other, cosine in found if k == kind]
        cosines = [cosine for *_, cosine in mine]
        assert cosines == sorted(cosines, reverse=kind == "different")
        members = [row for one, other, _ in mine for row in (one, other)]
        assert len(set(members)) == 10
        for one, other, cosine in mine:
            assert patients[one] != patients[other] and (classes[one] == classes[other]) == (kind == "same")
            assert cosine == pytest.approx(float(vectors[one] @ vectors[other]), abs=1e-5)
    cosine, same = every_pair(*slices)
    assert found[0][3] == pytest.approx(cosine[~same].max(), abs=1e-5)
    assert found[5][3] == pytest.approx(cosine[same].min(), abs=1e-5)


def write_run(folder, vectors, labels, patients, split="test"):
    (folder / "bundle").mkdir()
    card = {"name": "x", "kind": "siamese", "classes": {"sequence": ["a", "b", "c"]}, "sha256": "0"}
    (folder / "bundle" / "card.json").write_text(json.dumps(card))
    n = len(labels)
    pd.DataFrame({
        "SOPInstanceUID": [f"1.{at}" for at in range(n)], "frame": 0,
        "SeriesInstanceUID": [f"s{at}" for at in range(n)], "PatientID": patients, "split": split,
        "head": "sequence", "y_true": labels,
        "y_pred": "a", "y_proba": [[1.0, 0.0, 0.0]] * n,
    }).to_parquet(folder / "predictions.parquet")  # fmt: skip
    np.save(folder / "embeddings.npy", vectors)
    return Run("x", folder)


def test_a_run_keeps_its_pairs_and_they_can_be_drawn(tmp_path, slices):
    vectors, classes, patients = slices
    labels = np.array(["a", "b", "c"], object)[classes]
    labels[3] = None
    vectors = vectors.copy()
    vectors[5], vectors[6] = np.nan, 0
    run = write_run(tmp_path, vectors, labels, [f"P-{p}" for p in patients])
    pairs.write(run, lambda share, message: None)
    facts = json.loads((analyses.folder(run) / pairs.FILE).read_text())["heads"]["sequence"]
    assert facts["why_not"] == "" and facts["slices"] == 157 and facts["of"] == 159 and facts["patients"] == 8
    table = pd.read_parquet(analyses.folder(run) / pairs.TABLE)
    assert not {3, 5, 6} & (set(table["one"]) | set(table["other"]))
    assert len(pair_figures.roc(facts).data) == 4 and len(pair_figures.histogram(facts).data) == 2
    assert sum(facts["histogram"]["same"]) == pytest.approx(1, abs=0.01)


def test_thinned_where_there_is_too_much(tmp_path, slices, monkeypatch):
    vectors, classes, patients = slices
    monkeypatch.setattr(pairs, "MOST_SLICES", 50)
    monkeypatch.setattr(pairs, "MOST_PATIENTS", 4)
    run = write_run(tmp_path, vectors, np.array(["a", "b", "c"])[classes], [f"P-{p}" for p in patients])
    pairs.write(run, lambda share, message: None)
    facts = json.loads((analyses.folder(run) / pairs.FILE).read_text())["heads"]["sequence"]
    assert facts["slices"] == 50 and facts["of"] == 160 and facts["patients"] == 4


@pytest.mark.parametrize(("labels", "patients", "said"), [
    (list("abab"), ["P"] * 4, "fewer than two"),
    (list("aaaa"), list("pqrs"), "none of two"), (list("abc"), list("pqr"), "no pairs of one class"),
    ([None] * 4, list("pqrs"), "fewer than two"),
])  # fmt: skip
def test_runs_without_pairs_say_so(tmp_path, labels, patients, said):
    run = write_run(tmp_path, np.eye(len(labels), 4, dtype=np.float32), labels, patients)
    pairs.write(run, lambda share, message: None)
    facts = json.loads((analyses.folder(run) / pairs.FILE).read_text())["heads"]["sequence"]
    assert said in facts["why_not"]
