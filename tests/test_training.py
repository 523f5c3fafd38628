"""Training: each kind learns something real in seconds, and a run folder tells what happened."""

import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pandas as pd
import pytest

from core import batches, bundle, cohort, runs, training
from core.cohorts.slice_table import COLUMNS, Cohort, typed
from core.config import KINDS, RunConfig
from core.errors import ConfigError, WeightsUnavailable
from core.models import BUILDERS, parts
from core.settings import PROJECT_DIR, get_settings

SIZE = 32
PLANES, SEQUENCES = ("axial", "coronal", "sagittal"), ("T1", "T2")


def picture(plane: str, sequence: str, rng: np.random.Generator) -> np.ndarray:
    """Draw stripes whose direction is the plane and whose brightness is the sequence."""
    row, column = np.mgrid[:SIZE, :SIZE] + rng.uniform(0, 6)
    ramp = {"axial": row, "coronal": column, "sagittal": row + column}[plane]
    level = {"T1": 0.3, "T2": 0.7}[sequence] + rng.normal(0, 0.03)
    return np.clip(level + 0.2 * np.sin(ramp) + rng.normal(0, 0.02, (SIZE, SIZE)), 0, 1).astype(np.float32)


def write_cohort(name: str = "made", patients: int = 10, planes=PLANES) -> None:
    zeros = {column: 0 for column, kind in COLUMNS.items() if kind == "int64"}
    rows = []
    for patient in range(patients):
        for number, (plane, sequence) in enumerate((p, s) for p in planes for s in SEQUENCES):
            uid = f"1.{patient}.{number}"
            rows.append({
                **zeros, "path": f"{uid}.dcm", "shown_path": f"{uid}.dcm", "PatientID": f"P-{patient}",
                "SOPInstanceUID": uid, "SeriesInstanceUID": uid, "plane": plane, "sequence": sequence,
            })  # fmt: skip
    rows.append({**rows[0], "SOPInstanceUID": "1.99", "plane": None, "sequence": "LOCALIZER"})
    folder = get_settings().cohorts_dir / name
    folder.mkdir(parents=True)
    rejected = pd.DataFrame({"path": [], "shown_path": [], "reason": [], "file_size": [], "file_mtime_ns": []})
    cohort.write(Cohort(name, folder, folder, "folder", typed(rows, COLUMNS), rejected, "2024-01-01T00:00:00"))


def fake_inputs(made, rows, size, report=None):
    drawn = [
        picture(row.plane, row.sequence, np.random.default_rng([number, 5]))
        for number, row in enumerate(rows.itertuples())
    ]
    if report:
        report(len(drawn), len(drawn))
    return np.stack(drawn)


@pytest.fixture
def made(workspace, monkeypatch):
    """A cohort whose pixels are drawn, and an evaluation that only notes that it was asked."""
    asked = []
    monkeypatch.setattr(batches, "grey_inputs", fake_inputs)
    monkeypatch.setattr("core.evaluation.evaluate", lambda run, report=None: asked.append(run.folder))
    write_cohort()
    return asked


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A network that has seen stripes of other patients, as the shipped weights have seen phantoms."""
    x, truth = fresh(40, seed=1)
    classes = {"plane": list(PLANES), "sequence": list(SEQUENCES)}
    y = [np.array([names.index(word) for word in truth[head]]) for head, names in classes.items()]
    keras.utils.set_random_seed(1)
    model = BUILDERS["dual"](RunConfig("x", "dual", "c", weights="none", image_size=SIZE, dropout=0.1), classes)
    model.compile(keras.optimizers.Adam(3e-3), ["sparse_categorical_crossentropy"] * 2)
    model.fit(x[..., None], y, epochs=12, batch_size=32, verbose=0)
    path = tmp_path_factory.mktemp("weights") / "start.keras"
    model.save(path)
    return str(path)


def config(kind: str, **changes) -> RunConfig:
    values = {"label": "plane", "image_size": SIZE, "epochs": 12, "batch_size": 16, "learning_rate": 3e-3,
              "augment_views": 1, "dropout": 0.1, "jury_size": 3}  # fmt: skip
    return RunConfig("test", kind, "made", **{**values, **changes})


def new_run(tmp_path):
    folder = get_settings().runs_dir / "test-run"
    folder.mkdir(parents=True)
    return folder


def accuracies(folder, x, truth) -> dict[str, float]:
    """Share of right answers on slices of no patient, a head."""
    model, card = bundle.load(folder / "bundle"), bundle.read_card(folder / "bundle")
    if card["kind"] == "siamese":
        references = pd.read_parquet(folder / "references.parquet")
        jury = np.stack(references["embedding"])
        mine = parts.encoder_of(model).predict(x[..., None], verbose=0)
        cosine = (mine / np.linalg.norm(mine, axis=1)[:, None]) @ (jury / np.linalg.norm(jury, axis=1)[:, None]).T
        ((head, names),) = card["classes"].items()
        score = np.stack([cosine[:, (references["label"] == name).to_numpy()].mean(axis=1) for name in names], axis=1)
        return {head: float(np.mean(np.array(names)[score.argmax(axis=1)] == truth[head]))}
    out = model.predict(x[..., None], verbose=0)
    out = out if isinstance(out, list) else [out]
    return {
        head: float(np.mean(np.array(names)[proba.argmax(axis=1)] == truth[head]))
        for (head, names), proba in zip(card["classes"].items(), out, strict=True)
    }


def fresh(n: int = 10, seed: int = 99):
    rng = np.random.default_rng(seed)
    wanted = [(plane, sequence) for plane in PLANES for sequence in SEQUENCES] * n
    x = np.stack([picture(plane, sequence, rng) for plane, sequence in wanted])
    return x, {"plane": np.array([p for p, _ in wanted]), "sequence": np.array([s for _, s in wanted])}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_beats_the_majority_from_stored_features(made, start, tmp_path, kind):
    folder = new_run(tmp_path)
    told = []
    card = training.train(config(kind, weights=start), folder, lambda done, message: told.append((done, message)))
    x, truth = fresh()
    for head, accuracy in accuracies(folder, x, truth).items():
        majority = 1 / len(set(truth[head]))
        assert accuracy > majority + 0.25, (head, accuracy)
    assert made == [folder]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 13))
    assert {"stage", "loss", "val_loss", "accuracy", "val_accuracy"} <= set(lines[0])
    assert {line["stage"] for line in lines} == {"head"}
    assert list((folder / "tensorboard").rglob("events.out.*"))
    split = pd.read_parquet(folder / "split.parquet")
    assert len(split) == 60  # the localizer without a plane is nobody's
    assert split.groupby("PatientID")["split"].nunique().max() == 1
    assert set(split["split"]) == {"train", "validation", "test"}
    assert card["split_hash"]
    if kind == "siamese":
        references = pd.read_parquet(folder / "references.parquet")
        assert references["label"].value_counts().to_dict() == dict.fromkeys(PLANES, 3)
        learnt_from = set(split.loc[split["split"] == "train", "PatientID"])
        assert set(references["PatientID"]) <= learnt_from
        assert references.groupby("label")["PatientID"].nunique().min() == 3


@pytest.mark.parametrize("kind", ["dual", "siamese"])
def test_without_weights_the_whole_network_learns_and_may_be_fine_tuned(made, tmp_path, kind):
    folder = new_run(tmp_path)
    # Batches are few: at 9 epochs one seed in five had not settled yet.
    training.train(config(kind, weights="none", epochs=16, fine_tune_epochs=2, augment_views=0), folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["whole"] * 16 + ["fine-tuning"] * 2
    x, truth = fresh()
    for head, accuracy in accuracies(folder, x, truth).items():
        assert accuracy > 1 / len(set(truth[head])) + 0.15, (head, accuracy)


def test_a_second_run_takes_features_from_the_store_and_gives_the_same_model(made, start, tmp_path, monkeypatch):
    first = new_run(tmp_path)
    training.train(config("dual", weights=start, epochs=2), first)
    stores = sorted(get_settings().features_dir.rglob("*.chunk"))
    assert stores
    second = first.with_name("again")
    second.mkdir()
    training.train(config("dual", weights=start, epochs=2), second)
    assert sorted(get_settings().features_dir.rglob("*.chunk")) == stores
    x, _ = fresh(1)
    answers = [bundle.load(folder / "bundle").predict(x[..., None], verbose=0) for folder in (first, second)]
    for one, two in zip(*answers, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_cancelling_keeps_the_best_so_far(made, start, tmp_path):
    folder = new_run(tmp_path)
    stop = []

    def report(done, message):
        if "epoch 3 of" in message:
            stop.append(True)

    with pytest.raises(training.Cancelled, match="best of 3 epochs is kept"):
        training.train(config("transfer", weights=start), folder, report, lambda: bool(stop))
    assert made == []
    bundle.load(folder / "bundle")
    with pytest.raises(training.Cancelled, match="goes on after epoch 3"):
        training.train(config("transfer", weights=start), folder, None, lambda: True)
    untouched = folder.with_name("untouched")
    untouched.mkdir()
    with pytest.raises(training.Cancelled, match="before anything"):
        training.train(config("transfer", weights=start), untouched, None, lambda: True)


def test_what_cannot_work_is_refused_in_words(made, tmp_path):
    folder = new_run(tmp_path)
    write_cohort("flat", planes=("axial",))
    with pytest.raises(ConfigError, match=r"1 classes of plane \(axial\)"):
        training.train(RunConfig("x", "transfer", "flat", label="plane", weights="none"), folder)
    with pytest.raises(WeightsUnavailable, match=r"gone\.keras"):
        training.train(config("transfer", weights="gone.keras"), folder)
    with pytest.raises(ConfigError, match="batch_size"):
        training.train(config("transfer", batch_size=0), folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "forest"}, "kind must be one of"),
        ({"name": " "}, "name must be"),
        ({"weights": "imagenet"}, "no imagenet weights for the backbone slicescope"),
        ({"backbone": "ResNet50"}, "no slicescope weights for the backbone ResNet50"),
        ({"weights": "model.h5"}, "ends in .keras"),
        ({"dropout": 1.0}, "dropout must lie between 0 and 0.95"),
        ({"epochs": 2.5}, "epochs must be a whole number"),
        ({"fractions": (0.5, 0.5, 0.5)}, "sum to 1"),
    ],
)
def test_configurations_are_checked(changes, words):
    with pytest.raises(ConfigError, match=words):
        RunConfig(**{"name": "x", "kind": "transfer", "cohort": "c", **changes}).validate()


def test_configurations_are_read_from_json(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"name": "x", "kind": "dual", "cohort": "c", "fractions": [0.8, 0.1, 0.1]}')
    assert RunConfig.from_json(path) == RunConfig("x", "dual", "c", fractions=(0.8, 0.1, 0.1))
    for text, words in (("{", "not JSON"), ("[]", "object"), ('{"name": "x"}', "lacks kind"),
                        ('{"name": "x", "kind": "dual", "cohort": "c", "lr": 1}', "Unknown .* lr")):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            RunConfig.from_json(text)


# The process


def run_main(monkeypatch, folder) -> int:
    monkeypatch.setattr(sys, "argv", ["core.training", str(folder)])
    before = signal.getsignal(signal.SIGTERM)
    try:
        return training.main()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_process_leaves_its_outcome_in_the_status(made, start, monkeypatch):
    run = runs.create_run(config("transfer", weights=start, epochs=2))
    assert run_main(monkeypatch, run.folder) == 0
    status = runs.read_run(run.id).status
    assert (status["state"], status["progress"]) == ("done", 1.0)
    assert len(run.metrics()) == 2


def test_a_failure_is_one_sentence_with_the_traceback_in_the_log(made, start, monkeypatch):
    run = runs.create_run(config("transfer", weights="gone.keras"))
    assert run_main(monkeypatch, run.folder) == 1
    status = runs.read_run(run.id).status
    assert status["state"] == "failed"
    assert "There is no weights file gone.keras" in status["message"]
    assert "Traceback" not in status["message"]
    assert "WeightsUnavailable" in (run.folder / "log.txt").read_text()

    def broken(*args):
        raise ZeroDivisionError("boom")

    monkeypatch.setattr("core.evaluation.evaluate", broken)
    run = runs.create_run(config("transfer", weights=start, epochs=1))
    assert run_main(monkeypatch, run.folder) == 1
    assert "ZeroDivisionError: boom" in runs.read_run(run.id).status["message"]


def test_a_terminated_process_keeps_the_best_so_far(made, start):
    run = runs.create_run(config("bayesian", weights=start, epochs=5000))
    code = f"""
import sys
sys.path.insert(0, "tests")
import test_training as t
from core import batches, training
batches.grey_inputs = t.fake_inputs
sys.argv = ["core.training", {str(run.folder)!r}]
sys.exit(training.main())
"""
    environment = {**os.environ, "SLICESCOPE_WORKSPACE": str(get_settings().workspace)}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT_DIR, env=environment)
    try:
        deadline = time.monotonic() + 60
        while not (run.folder / "metrics.jsonl").exists():
            assert process.poll() is None, "the process ended early"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.terminate()
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
    status = runs.read_run(run.id).status
    assert status["state"] == "cancelled"
    assert "is kept" in status["message"]
    bundle.load(run.folder / "bundle")
