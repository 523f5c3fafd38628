"""Whether a model knew: measures, detection and thresholds against what can be worked out otherwise."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from core import calibration, runs
from core.analysis import (
    analyses,
    calibration_report,
    class_thresholds,
    conformal,
    doubt,
    novelty_report,
    series_report,
)
from core.analysis.judged import Judged, judged
from core.config import RunConfig


def passes(seed, n=6, t=5, c=4, sharp=1.0):
    return np.random.default_rng(seed).dirichlet([sharp] * c, (n, t))


@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(1, 7), st.floats(0.05, 20))
@settings(max_examples=60, deadline=None)
def test_measures_keep_their_bounds(seed, c, t, sharp):
    p = passes(seed, 6, t, c, sharp)
    made = doubt.measures(p.mean(axis=1), p)
    assert list(made) == list(doubt.MEASURES)
    top = np.log(c) + 1e-6
    assert all((made[name] >= 0).all() and (made[name] <= top).all() for name in list(made)[:3])
    assert (made["expected_entropy"] <= made["predictive_entropy"] + 1e-6).all()
    assert (made["variation_ratio"] <= 1 - 1 / c + 1e-6).all()
    assert (made["least_confidence"] <= 1 - 1 / c + 1e-6).all()


def test_measures_in_pieces_are_those_of_the_whole(monkeypatch):
    p = passes(1, 100)
    whole = doubt.measures(p.mean(axis=1), p)
    monkeypatch.setattr(doubt, "_AT_ONCE", 7)
    for name, values in doubt.measures(p.mean(axis=1), p).items():
        np.testing.assert_allclose(values, whole[name], atol=1e-7)


def test_probabilities_that_are_no_numbers_stay_none():
    p = passes(2)
    p[3] = np.nan
    made = doubt.measures(p.mean(axis=1), p)
    assert all(np.isnan(values[3]) and np.isfinite(np.delete(values, 3)).all() for values in made.values())
    assert doubt.risk_order(made["predictive_entropy"])[-1] == 3


@given(st.integers(0, 10_000), st.sampled_from([3, 40, 3000]))
@settings(max_examples=30, deadline=None)
def test_detection_is_the_area_of_scikit_learn(seed, levels):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, levels, 400) / levels
    wrong = rng.random(400) < 0.1 + 0.5 * values
    found = doubt.detection(values, wrong, rng.integers(0, 12, 400).astype(str))
    assert found["auroc"] == pytest.approx(roc_auc_score(wrong, values))
    assert found["low"] < found["auroc"] < found["high"]


def test_interval_of_detection_is_that_of_patients_drawn_one_by_one():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(15), 40)
    values = rng.random(600) + 0.3 * rng.random(15)[patient]
    wrong = rng.random(600) < 0.05 + 0.4 * values * rng.random(15)[patient]
    found = doubt.detection(values, wrong, patient.astype(str))
    draws = []
    for _ in range(1500):
        rows = np.concatenate([np.flatnonzero(patient == one) for one in rng.integers(0, 15, 15)])
        draws.append(roc_auc_score(wrong[rows], values[rows]))
    np.testing.assert_allclose([found["low"], found["high"]], np.percentile(draws, [2.5, 97.5]), atol=0.012)
    assert not found["few"]


def test_nothing_to_detect_where_all_is_right_and_one_patient_has_no_interval():
    values = np.linspace(0, 1, 10)
    assert np.isnan(doubt.detection(values, np.zeros(10, bool), ["a"] * 10)["auroc"])
    alone = doubt.detection(values, values > 0.5, ["a"] * 10)
    assert alone["auroc"] == 1 and np.isnan(alone["low"]) and alone["few"]


def test_histogram_counts_every_answer_once():
    rng = np.random.default_rng(0)
    values, wrong = np.append(rng.random(99), np.nan), rng.random(100) < 0.3
    made = doubt.histogram(values, wrong)
    assert sum(made["right"]) + sum(made["wrong"]) == 99
    assert sum(made["wrong"]) == wrong[:99].sum()


def told(proba, y, split, patients=None) -> Judged:
    n, c = proba.shape
    rows = pd.DataFrame({"split": split, "PatientID": patients if patients is not None else np.arange(n).astype(str)})
    return Judged("sequence", [f"class {at}" for at in range(c)], rows, proba.astype(np.float32), y)


def drawn(n=4000, seed=0):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet([0.4, 0.4, 0.4], n)
    return proba, np.array([rng.choice(3, p=row) for row in proba])


def test_thresholds_are_chosen_on_validation_and_reach_on_test_what_was_asked():
    proba, y = drawn(16_000)
    split = np.where(np.arange(len(y)) % 2, "validation", "test")
    facts = class_thresholds.choose(told(proba, y, split))
    assert list(facts["targets"]) == ["0.9", "0.95", "0.99"]
    for fact in facts["targets"]["0.95"]:
        number = int(fact["class"][-1])
        mine = (split == "validation") & (proba.argmax(axis=1) == number)
        expected = calibration.fit_threshold(proba[mine].astype(np.float32), y[mine], 0.95, least=0.0)
        assert fact["threshold"] == pytest.approx(expected) and not fact["few"]
        assert fact["validation"]["accuracy"] >= 0.95
        assert fact["test"]["accuracy"] == pytest.approx(0.95, abs=0.03)
    kept, named, accuracy = class_thresholds.overall(facts["targets"]["0.95"], "test")
    assert named == 8000 and 0 < kept < named and accuracy == pytest.approx(0.95, abs=0.02)
    # What test slices are does not move a threshold.
    other = class_thresholds.choose(told(proba, np.where(split == "test", (y + 1) % 3, y), split))
    assert [fact["threshold"] for fact in other["targets"]["0.9"]] == [
        fact["threshold"] for fact in facts["targets"]["0.9"]
    ]


def test_run_without_validation_chooses_nothing_and_few_slices_are_called_few():
    proba, y = drawn(200)
    facts = class_thresholds.choose(told(proba, y, "test"))
    assert facts["targets"] == {} and "no validation slices" in facts["why_not"]
    few = class_thresholds.choose(told(proba, y, "validation", np.repeat(["a", "b"], 100)))
    assert all(fact["few"] and fact["test"] is None for fact in few["targets"]["0.9"])


@pytest.fixture
def run(workspace):
    """A run's folder as an evaluation leaves it: two heads, one answer of which is no number."""
    rng = np.random.default_rng(0)
    classes = {"plane": ["axial", "coronal"], "sequence": ["T1", "T2 <b>", "a/b"]}
    made = runs.create_run(RunConfig("x", "dual", "gone", image_size=32), "judged")
    made.bundle.mkdir()
    card = {"name": "x", "kind": "dual", "classes": classes, "sha256": "0", "temperature": {"plane": 1.5}}
    (made.bundle / "card.json").write_text(json.dumps(card))
    n, parts, samples = 90, [], {}
    for head, names in classes.items():
        samples[head] = rng.dirichlet([0.3] * len(names), (n, 6)).astype(np.float16)
        proba = samples[head].mean(axis=1, dtype=float)
        y = np.array([rng.choice(len(names), p=row / row.sum()) for row in proba])
        true = [None if row % 10 == 0 else names[at] for row, at in enumerate(y)]
        proba[5] = np.nan if head == "plane" else proba[5]
        parts.append(
            pd.DataFrame(
                {
                    "path": "p", "frame": 0, "SOPInstanceUID": [f"1.{at}" for at in range(n)],
                    "SeriesInstanceUID": [f"2.{at // 5}" for at in range(n)],
                    "PatientID": [f"P-{at // 10}" for at in range(n)],
                    "split": np.repeat(["train", "validation", "test"], n // 3), "cohort": "gone", "head": head,
                    "y_true": pd.array(true, dtype="str"), "y_pred": [names[at] for at in proba.argmax(axis=1)],
                    "y_proba": list(proba),
                }
            )
        )  # fmt: skip
    pd.concat(parts, ignore_index=True).to_parquet(made.folder / "predictions.parquet", index=False)
    np.savez_compressed(made.folder / "mc_samples.npz", **samples)
    np.save(made.folder / "embeddings.npy", rng.normal(2, 1, (n, 12)).astype(np.float32))
    return made


@pytest.fixture
def ours_alone(monkeypatch):
    """Only the analyses of this file's subject: others look into the cohort, which is gone."""
    modules = (doubt, calibration_report, conformal, novelty_report, series_report)
    monkeypatch.setattr(analyses, "ANALYSES", tuple((module.__name__, module.write) for module in modules))


def test_every_analysis_copes_with_gaps(run, ours_alone):
    said = []
    analyses.write(run, lambda share, message: said.append(share))
    assert said == sorted(said)
    folder = analyses.folder(run)
    values = pd.read_parquet(folder / doubt.VALUES_FILE)
    table = run.predictions()
    assert len(values) == len(table) and values.iloc[5].isna().all() and not values.iloc[6:].isna().any(axis=None)
    facts = json.loads((folder / doubt.FILE).read_text())
    assert facts["plane"]["not_numbers"] == 1 and facts["sequence"]["passes"] == 6
    one = facts["sequence"]["parts"]["test"]["predictive_entropy"]
    part = table[(table["head"] == "sequence") & (table["split"] == "test") & table["y_true"].notna()]
    wrong = part["y_true"] != part["y_pred"]
    assert (one["wrong"], one["right"]) == (wrong.sum(), (~wrong).sum())
    assert one["auroc"] == pytest.approx(roc_auc_score(wrong, values["predictive_entropy"][part.index]))
    assert all(json.loads(path.read_text()) is not None for path in folder.glob("*.json"))


def test_without_passes_there_are_measures_of_the_probabilities_alone(run):
    (run.folder / "mc_samples.npz").unlink()
    doubt.write(*ready(run))
    assert list(pd.read_parquet(analyses.folder(run) / doubt.VALUES_FILE)) == list(doubt.WITHOUT_PASSES)


def test_one_class_and_no_truth(run, ours_alone):
    table = run.predictions()
    table = table[table["head"] == "plane"].assign(y_true=pd.array([None] * 90, dtype="str"))
    table.to_parquet(run.folder / "predictions.parquet", index=False)
    analyses.write(run)
    assert json.loads((analyses.folder(run) / doubt.FILE).read_text())["plane"]["parts"] == {}
    one_class = table.assign(y_true="axial", y_pred="axial", y_proba=[np.array([1.0])] * 90)
    one_class.to_parquet(run.folder / "predictions.parquet", index=False)
    (run.folder / "mc_samples.npz").unlink()
    card = json.loads((run.bundle / "card.json").read_text())
    (run.bundle / "card.json").write_text(json.dumps({**card, "classes": {"plane": ["axial"]}}))
    analyses.write(run)
    assert json.loads((analyses.folder(run) / doubt.FILE).read_text())["plane"]["parts"]["test"]


def ready(run):
    analyses.folder(run).mkdir(exist_ok=True)
    return run, lambda share, message: None


def test_judged_leaves_out_what_nobody_knows(run):
    plane, sequence = judged(run)
    assert (plane.temperature, sequence.temperature) == (1.5, 1.0)
    assert plane.parts() == ["train", "validation", "test"]
    assert plane.known("test").sum() == 27 and plane.patients(plane.known("test")) == 3
    assert not plane.sound[5] and not plane.right[5]
