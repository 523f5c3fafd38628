"""What leaves a run for other tools: rows that fit together, and nobody's name."""

import io
import json
import sys
import zipfile
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from core import cohort, runs
from core.cohorts.slice_table import COLUMNS, Cohort, typed
from core.errors import CoreError, InputError, RunError, SourceUnavailable
from core.publishing import exports, model_card, registry
from core.settings import get_settings

N = 7


@pytest.fixture
def run(workspace, finished, monkeypatch):
    """An evaluated run of two heads over seven slices of a cohort that is here."""
    run = finished("two-heads", "dual")
    zeros = {column: 0 for column, kind in COLUMNS.items() if kind == "int64"}
    rows = [{**zeros, "path": f"Lovelace/{n}.dcm", "shown_path": f"P/{n}.dcm", "PatientID": f"P-{n % 3}",
             "SOPInstanceUID": f"1.{n}", "SeriesInstanceUID": "1", "plane": "axial"} for n in range(N)]  # fmt: skip
    folder = workspace / "cohorts" / "made"
    rejected = pd.DataFrame({"path": [], "shown_path": [], "reason": [], "file_size": [], "file_mtime_ns": []})
    cohort.write(Cohort("made", folder, folder, "folder", typed(rows, COLUMNS), rejected, "2024-01-01T00:00:00"))
    monkeypatch.setattr("core.thumbnails.sprites", lambda made, rows, size: np.stack(
        [np.full((size, size), 10 * int(uid.split(".")[1]), np.uint8) for uid in rows["SOPInstanceUID"]]))  # fmt: skip
    parts = []
    for head, names in run.card()["classes"].items():
        proba = np.random.default_rng(0).dirichlet(np.ones(len(names)), N).astype(np.float32)
        parts.append(pd.DataFrame({
            "path": [f"P/{n}.dcm" for n in range(N)], "frame": 0, "SOPInstanceUID": [f"1.{n}" for n in range(N)],
            "SeriesInstanceUID": "1", "PatientID": [f"P-{n % 3}" for n in range(N)], "split": "test", "cohort": "made",
            "head": head, "y_true": pd.array([names[0]] * (N - 1) + [None], dtype="str"),
            "y_pred": [names[at] for at in proba.argmax(axis=1)], "y_proba": list(proba),
        }))  # fmt: skip
    pd.concat(parts, ignore_index=True).to_parquet(run.folder / "predictions.parquet")
    np.save(run.folder / "embeddings.npy", np.arange(N * 4, dtype=np.float32).reshape(N, 4))
    (run.folder / "scores.json").write_text(json.dumps({
        "accuracy": 0.5, "split": "test", "heads": {"plane": {"test": {"accuracy": 0.5, "balanced_accuracy": 0.4,
        "majority": 0.6, "ece": 0.1, "slices": N, "patients": 3}}}}))  # fmt: skip
    lines = [{"stage": "head", "epoch": n, "seconds": n, "loss": 1 / n, "val_loss": float("nan")} for n in (1, 2)]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def test_predictions_are_a_row_a_slice_with_a_column_a_class(run):
    table = pd.read_csv(io.BytesIO(exports.predictions_csv(run)))
    assert len(table) == N and table["path"].tolist() == [f"P/{n}.dcm" for n in range(N)]
    for head, names in run.card()["classes"].items():
        columns = [f"{head}_p_{name}" for name in names]
        np.testing.assert_allclose(table[columns].sum(axis=1), 1, atol=2e-4)
        np.testing.assert_allclose(table[columns].max(axis=1), table[f"{head}_p"])
        assert [names[at] for at in table[columns].to_numpy().argmax(axis=1)] == table[f"{head}_pred"].tolist()
    assert table["plane_true"].isna().tolist() == [False] * (N - 1) + [True]
    assert "path" not in pd.read_csv(io.BytesIO(exports.predictions_csv(run, paths=False)))


def test_projector_files_fit_together(run, tmp_path):
    assert exports.write_projector(run, tmp_path / "out") == [
        "vectors.tsv", "metadata.tsv", "sprite.png", "projector_config.pbtxt"]  # fmt: skip
    vectors = np.loadtxt(tmp_path / "out" / "vectors.tsv", delimiter="\t")
    np.testing.assert_allclose(vectors, run.embeddings())
    metadata = pd.read_csv(tmp_path / "out" / "metadata.tsv", sep="\t", keep_default_na=False)
    assert len(metadata) == N and metadata["PatientID"].tolist() == [f"P-{n % 3}" for n in range(N)]
    assert metadata["plane_true"].iloc[-1] == "none"
    with Image.open(tmp_path / "out" / "sprite.png") as sheet:
        tiles = np.asarray(sheet).reshape(3, 64, 3, 64).swapaxes(1, 2).reshape(9, 64, 64)
    assert tiles[:N, 5, 5].tolist() == [10 * n for n in range(N)] and tiles[N:].max() == 0
    assert "single_image_dim: 64" in (tmp_path / "out" / "projector_config.pbtxt").read_text()
    with zipfile.ZipFile(io.BytesIO(exports.projector_zip(run))) as pack:
        assert len(pack.namelist()) == 4
        assert not any(b"Lovelace" in pack.read(name) for name in pack.namelist())


def test_of_many_slices_some_are_taken_evenly_and_without_a_cohort_there_is_no_sprite(run):
    files = exports.projector_files(run, most=3)
    assert np.loadtxt(io.BytesIO(files["vectors.tsv"]), delimiter="\t")[:, 0].tolist() == [0, 12, 24]
    for path in (get_settings().cohorts_dir / "made").iterdir():
        path.unlink()
    files = exports.projector_files(run)
    assert "sprite.png" not in files and b"sprite" not in files["projector_config.pbtxt"]


def test_a_folder_that_cannot_be_written_and_a_run_without_an_evaluation(run, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written"):
        exports.write_projector(run, tmp_path / "file" / "out")
    (run.folder / "predictions.parquet").unlink()
    with pytest.raises(RunError, match=r"predictions\.parquet"):
        exports.predictions_csv(run)


# MLflow


class FakeClient:
    """Keeps what it is told; knows no experiment yet."""

    def __init__(self, tracking_uri):
        self.told = {"uri": tracking_uri, "metrics": [], "params": {}, "tags": {}, "texts": {}, "artifacts": []}
        FakeClient.last = self.told

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name, artifact_location):
        assert artifact_location is None
        return f"number of {name}"

    def create_run(self, experiment, run_name):
        self.told.update(experiment=experiment, name=run_name)
        return SimpleNamespace(info=SimpleNamespace(run_id="abc"))

    def log_batch(self, run_id, metrics=(), params=(), tags=()):
        self.told["metrics"] += metrics
        self.told["params"] |= dict(params)
        self.told["tags"] |= dict(tags)

    def log_artifacts(self, run_id, folder, name):
        self.told["artifacts"].append((folder, name))

    def log_text(self, run_id, text, name):
        self.told["texts"][name] = text

    def set_terminated(self, run_id):
        self.told["ended"] = run_id


@pytest.fixture
def fake_mlflow(monkeypatch):
    modules = {name: ModuleType(name) for name in ("mlflow", "mlflow.entities", "mlflow.exceptions", "mlflow.tracking")}
    for name in ("Metric", "Param", "RunTag"):
        setattr(modules["mlflow.entities"], name, lambda *parts: parts)
    modules["mlflow.exceptions"].MlflowException = type("MlflowException", (Exception,), {})
    modules["mlflow.tracking"].MlflowClient = FakeClient
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


def test_mlflow_is_told_configuration_curves_scores_and_model(run, fake_mlflow):
    assert exports.log_to_mlflow(run, "http://tracker") == "abc"
    told = FakeClient.last
    assert (told["uri"], told["name"], told["experiment"]) == ("http://tracker", run.id, "number of slicescope")
    assert told["params"]["kind"] == "dual" and told["tags"]["model_sha256"] == run.card()["sha256"]
    losses = [(step, value) for key, value, _, step in told["metrics"] if key == "loss"]
    assert losses == [(1, 1.0), (2, 0.5)]
    assert ("test_plane_accuracy", 0.5) in [(key, value) for key, value, _, _ in told["metrics"]]
    assert "val_loss" not in [key for key, *_ in told["metrics"]]
    assert told["artifacts"] == [(str(run.bundle), "bundle")] and told["ended"] == "abc"
    assert told["texts"]["CARD.md"].startswith("# Model card")


def test_what_mlflow_cannot_take_is_said(run, fake_mlflow, monkeypatch):
    def broken(self, *args, **named):
        raise OSError("no space\nlong trace")

    monkeypatch.setattr(FakeClient, "create_run", broken)
    with pytest.raises(SourceUnavailable, match=r"MLflow could not take the run: no space\. Check"):
        exports.log_to_mlflow(run, "http://tracker")


def test_without_the_extra_one_sentence_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setitem(sys.modules, "mlflow.entities", None)
    with pytest.raises(SourceUnavailable, match=r'pip install "slicescope\[mlflow\]"'):
        exports.log_to_mlflow(run, "http://tracker")


def test_a_real_mlflow_reads_the_run_back(run, tmp_path):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    name = exports.log_to_mlflow(run, uri)
    client = MlflowClient(tracking_uri=uri)
    there = client.get_run(name)
    assert there.data.params["kind"] == "dual" and "mlflow.user" not in there.data.tags
    assert [point.value for point in client.get_metric_history(name, "loss")] == [1.0, 0.5]
    assert there.info.status == "FINISHED"
    assert list(tmp_path.glob("mlruns/*/artifacts/CARD.md"))
    assert {path.path for path in client.list_artifacts(name, "bundle")} == {"bundle/card.json", "bundle/model.keras"}


# The card


def test_card_tells_what_the_run_knows(run):
    facts = model_card.data_facts(
        pd.DataFrame({"split": ["train", "train", "test"], "PatientID": ["P1", "P1", "P2"],
                      "Manufacturer": ["ACME", "ACME", None], "MagneticFieldStrength": [1.5, None, 3.0]}), "made",
    )  # fmt: skip
    from core import bundle

    scores = {"made": {"plane": {"test": {"accuracy": 0.5, "accuracy_interval": [0.4, 0.6], "majority": 0.3,
                                          "ece": 0.02, "slices": 1234, "patients": 3}}}}  # fmt: skip
    bundle.update_card(
        run.bundle, data=facts, scores=scores, split_hash="abc123", limits=["Only | a [test](http://x)."]
    )
    text = model_card.markdown(*model_card.of(run.id))
    for words in ("| made, test | plane | 0.500 (0.400 to 0.600) | – | 0.300 | 0.020 | 1,234 | 3 |", "abc123",
                  "ACME 2, unknown 1", "1.5 1, unknown 1, 3.0 1", "| train | 1 | 2 |", "95 % intervals", run.id,
                  "Not for clinical use", r"Only \| a \[test\](http://x).", "the plane and the sequence"):  # fmt: skip
        assert words in text, words
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        f"## {title}" for title in ("The model", "Intended use", "Not for", "What it can say", "Data",
                                    "How it was trained", "Scores", "Calibration", "Limits", "Versions")]  # fmt: skip


def test_card_of_the_shipped_model_and_of_one_that_was_not_judged(run):
    text = model_card.markdown(*model_card.of("shipped"))
    assert "| real | plane | 0.9" in text and "make weights" in text and "set_apart" not in text
    assert "not judged on any data" in model_card.markdown(*model_card.of(run.id))
    with pytest.raises(CoreError, match="no run"):
        model_card.of("nothing")


# The command line


def test_commands_do_what_the_page_does(run, tmp_path, capsys, monkeypatch):
    from core.__main__ import main

    assert main(["runs", "promote", run.id]) == 0 and registry.current().id == run.id
    assert main(["runs", "card"]) == 0
    assert f"- Run: {run.id}" in capsys.readouterr().out
    out = tmp_path / "model.zip"
    assert main(["runs", "export", run.id, "--out", str(out), "--predictions"]) == 0
    with zipfile.ZipFile(out) as pack:
        assert "predictions.csv" in pack.namelist()
    assert main(["runs", "projector", run.id, "--out", str(tmp_path / "projector")]) == 0
    assert (tmp_path / "projector" / "vectors.tsv").exists()
    monkeypatch.setattr(
        "core.publishing.model_zip.admit", lambda path, report: report(1, 1) or SimpleNamespace(id=path.stem)
    )
    assert main(["runs", "import", str(out)]) == 0
    assert "Imported as run model" in capsys.readouterr().out
    assert main(["runs", "promote", "shipped"]) == 0 and registry.current().id == runs.SHIPPED
    for words in (["promote", "nothing"], ["export", "nothing", "--out", str(out)], ["card", "../x"]):
        assert main(["runs", *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert main(["runs", "export", run.id, "--out", str(out / "x.zip")]) == 2
    assert "cannot be written" in capsys.readouterr().err
