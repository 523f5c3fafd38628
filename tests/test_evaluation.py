"""What an evaluation leaves in a run's folder: rows that fit together, numbers that can be checked by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from core import batches, bundle, cohort, evaluation, runs
from core.cohorts.slice_table import COLUMNS, Cohort, typed
from core.config import RunConfig
from core.errors import CohortError, RunError
from core.explanations.jury import Jury

SIZE = 32
PLANES = ("axial", "coronal", "sagittal")
CLASSES = {"plane": list(PLANES), "sequence": ["T1", "T2"]}


def fake_inputs(made, rows, size, report=None):
    """One grey value a sequence, and noise of its own for each slice."""
    rng = np.random.default_rng(1)
    level = rows["sequence"].map({"T1": 0.3, "T2": 0.7}).fillna(0.5).to_numpy()
    return np.clip(level[:, None, None] + rng.normal(0, 0.1, (len(rows), size, size)), 0, 1).astype(np.float32)


@pytest.fixture
def made(workspace, monkeypatch):
    """A cohort of 6 patients with 6 labelled slices each, one of them without a sequence."""
    monkeypatch.setattr(batches, "grey_inputs", fake_inputs)
    monkeypatch.setattr("core.thumbnails.sprites", lambda made, rows, size: np.zeros((len(rows), size, size), np.uint8))
    zeros = {column: 0 for column, kind in COLUMNS.items() if kind == "int64"}
    rows = [
        {**zeros, "path": f"Doe/{patient}-{number}.dcm", "shown_path": f"P/{patient}-{number}.dcm",
         "PatientID": f"P-{patient}", "SOPInstanceUID": f"1.{patient}.{number}", "SeriesInstanceUID": f"1.{patient}",
         "plane": PLANES[number % 3], "sequence": [None, "T1", "T2"][1 + number % 2 if number else 0]}
        for patient in range(6) for number in range(6)
    ]  # fmt: skip
    folder = workspace / "cohorts" / "made"
    rejected = pd.DataFrame({"path": [], "shown_path": [], "reason": [], "file_size": [], "file_mtime_ns": []})
    return cohort.write(Cohort("made", folder, folder, "folder", typed(rows, COLUMNS), rejected, "2024-01-01T00:00:00"))


def finished(made: Cohort, kind: str = "dual", reverse: bool = False) -> runs.Run:
    """A run with a random network: patients 0 and 1 in training, 2 and 3 in validation, 4 and 5 in test."""
    import keras

    from core.models import BUILDERS

    classes = CLASSES if kind == "dual" else {"sequence": CLASSES["sequence"]}
    config = RunConfig(f"a {kind}", kind, "made", weights="none", image_size=SIZE, mc_samples=4)
    run = runs.create_run(config, f"a-{kind}")
    keras.utils.set_random_seed(0)
    bundle.save(BUILDERS[kind](config, classes), {"name": "a", "kind": kind, "classes": classes}, run.bundle)
    split = made.table.assign(
        path=made.table["shown_path"],
        split=[("train", "validation", "test")[int(patient[-1]) // 2] for patient in made.table["PatientID"]],
    )[["path", "frame", "SOPInstanceUID", "SeriesInstanceUID", "PatientID", "split"]]
    (split[::-1] if reverse else split).to_parquet(run.folder / "split.parquet", index=False)
    return run


def test_rows_of_all_files_fit_together(made):
    run = finished(made)
    scores = evaluation.evaluate(run)
    table, split = run.predictions(), run.split()
    assert len(table) == 2 * len(split)
    for head, names in CLASSES.items():
        part = table[table["head"] == head].reset_index(drop=True)
        pd.testing.assert_series_equal(part["SOPInstanceUID"], split["SOPInstanceUID"])
        proba = np.stack(part["y_proba"].to_list())
        np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
        assert part["y_pred"].tolist() == [names[at] for at in proba.argmax(axis=1)]
        with np.load(run.folder / "mc_samples.npz") as samples:
            assert samples[head].shape == (len(split), 4, len(names))
    assert len(run.embeddings()) == len(split)
    assert run.scores() == json.loads(json.dumps(scores))


def test_order_of_the_split_does_not_change_who_gets_which_answer(made, monkeypatch):
    one = finished(made)
    evaluation.evaluate(one, calibrate=False)
    there = one.predictions()
    forth = dict(zip(there["SOPInstanceUID"] + there["head"], there["y_true"], strict=True))
    run = finished(made, reverse=True)
    evaluation.evaluate(run, calibrate=False)
    back = run.predictions()
    again = dict(zip(back["SOPInstanceUID"] + back["head"], back["y_true"], strict=True))
    assert {k: v for k, v in forth.items() if isinstance(v, str)} == {
        k: v for k, v in again.items() if isinstance(v, str)
    }


def test_slice_without_a_label_is_answered_but_not_counted(made):
    run = finished(made)
    scores = evaluation.evaluate(run)
    table = run.predictions()
    unknown = table[(table["head"] == "sequence") & table["y_true"].isna()]
    assert len(unknown) == 6 and unknown["y_pred"].notna().all()
    assert scores["heads"]["sequence"]["test"]["slices"] == 10
    assert scores["heads"]["plane"]["test"]["slices"] == 12


def test_scores_are_those_of_the_predictions(made):
    run = finished(made)
    scores = evaluation.evaluate(run)
    table = run.predictions()
    means = []
    for head in CLASSES:
        part = table[(table["head"] == head) & (table["split"] == "test") & table["y_true"].notna()]
        right = part["y_true"] == part["y_pred"]
        assert scores["heads"][head]["test"]["accuracy"] == pytest.approx(right.mean())
        assert scores["heads"][head]["test"]["majority"] == pytest.approx(
            part["y_true"].value_counts().max() / len(part)
        )
        assert scores["heads"][head]["test"]["patients"] == 2
        means.append(right.mean())
    assert (scores["accuracy"], scores["split"]) == (pytest.approx(np.mean(means)), "test")


def test_calibration_is_fitted_on_validation_alone_and_kept_in_the_card(made, monkeypatch):
    seen = []
    real = evaluation.calibration.fit_temperature
    monkeypatch.setattr(
        evaluation.calibration, "fit_temperature", lambda proba, y: seen.append(len(y)) or real(proba, y) + 0.5
    )
    run = finished(made)
    evaluation.evaluate(run)
    card = run.card()
    assert seen == [12, 10]
    assert all(value != 1.0 for value in card["temperature"].values())
    assert set(card["unsure_below"]) == set(CLASSES) and "made" in card["scores"]


def test_without_calibration_the_card_stays(made):
    run = finished(made)
    before = (run.bundle / "card.json").read_bytes()
    evaluation.evaluate(run, calibrate=False)
    assert (run.bundle / "card.json").read_bytes() == before


def with_references(made: Cohort) -> runs.Run:
    """A Siamese run whose training has chosen four slices for its jury."""
    run = finished(made, "siamese")
    rows = made.table[made.table["sequence"].notna()].iloc[:4]
    rng = np.random.default_rng(0)
    references = rows.assign(
        path=rows["shown_path"], label=rows["sequence"], cohort="made",
        embedding=[rng.normal(size=64).astype(np.float32).tolist() for _ in range(4)],
    )  # fmt: skip
    columns = ["path", "frame", "SOPInstanceUID", "SeriesInstanceUID", "PatientID", "cohort", "label", "embedding"]
    references[columns].to_parquet(run.folder / "references.parquet", index=False)
    return run


def test_siamese_run_gets_its_jury(made):
    run = with_references(made)
    rows = made.table[made.table["sequence"].notna()].iloc[:4]
    evaluation.evaluate(run)
    jury = Jury.load(run.bundle)
    assert jury.labels == tuple(rows["sequence"]) and jury.keys[0] == f"{rows['SOPInstanceUID'].iloc[0]}:0"
    np.testing.assert_allclose(np.linalg.norm(jury.embeddings, axis=1), 1, atol=1e-5)
    assert set(run.predictions()["y_pred"]) <= {"T1", "T2"}


def test_cohort_that_lost_slices_is_named(made):
    run = finished(made)
    split = run.split()
    pd.concat([split, split.iloc[:2].assign(SOPInstanceUID=["9.9", "9.8"])]).to_parquet(run.folder / "split.parquet")
    with pytest.raises(CohortError, match="2 of the 38 slices of run a-dual are no longer in cohort made"):
        evaluation.evaluate(run)


def test_run_without_a_model_is_refused(made):
    with pytest.raises(RunError, match="has no trained model"):
        evaluation.evaluate(runs.create_run(RunConfig("x", "dual", "made"), "empty"))


def test_no_real_path_reaches_the_run_folder(made):
    run = finished(made)
    evaluation.evaluate(run)
    assert not run.predictions()["path"].str.contains("Doe").any()


def test_accuracy_has_an_interval_by_patient(made):
    run = finished(made)
    scores = evaluation.evaluate(run)
    table = run.predictions()
    judged = table[(table["split"] == "test") & table["y_true"].notna()]
    right = (judged["y_true"] == judged["y_pred"]).groupby([judged["PatientID"], judged["head"]]).mean()
    # Of two patients a fourth of the draws takes each of them twice, so the interval reaches from one to the other.
    of_patient = right.groupby(level="PatientID").mean()
    assert len(of_patient) == 2
    assert scores["accuracy_interval"] == pytest.approx([of_patient.min(), of_patient.max()])
