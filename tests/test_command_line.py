"""``python -m core``: what each command prints, writes and answers; bad input ends in one line and status 2."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from core import bundle, cohort, demo, inference, jobs, runs
from core.__main__ import main
from core.config import RunConfig
from core.settings import get_settings

CLASSES = {"plane": ["axial", "coronal"], "sequence": ["T1", "T2"]}


@pytest.fixture
def folder(workspace, tmp_path, make_slice):
    """Five patients with a T1 and a T2 series of three slices each, a picture of them, and a note."""
    root, rng = tmp_path / "export", np.random.default_rng(0)
    for patient, t2, number in np.ndindex(5, 2, 3):
        pixels = (200 + 600 * t2 + 100 * rng.random((32, 32))).astype("<u2")
        pixels[:4] = 0
        make_slice(root / f"Doe-{patient}" / f"{t2}-{number}.dcm", pixels, PatientID=f"Doe-{patient}",
                   SeriesInstanceUID=f"1.{patient}.{t2}", SOPInstanceUID=f"1.{patient}.{t2}.{number}",
                   InstanceNumber=number, ImagePositionPatient=[0, 0, 5 * number],
                   SeriesDescription="AX T2" if t2 else "AX T1", RepetitionTime=4000 if t2 else 500,
                   EchoTime=100 if t2 else 12)  # fmt: skip
    (root / "note.txt").write_text("no image")
    return root


class Worker:
    def predict(self, bundle_folder, images):
        proba = np.tile(np.array([[0.75, 0.25]], np.float32), (len(images), 1))
        return inference.Prediction(dict.fromkeys(CLASSES, proba), CLASSES, np.zeros((len(images), 1), np.float32))


@pytest.fixture
def model(monkeypatch):
    card = {"classes": CLASSES, "input_shape": [32, 32, 1], "unsure_below": {}}
    monkeypatch.setattr(bundle, "read_card", lambda folder: card)
    monkeypatch.setattr(inference, "get_worker", Worker)
    monkeypatch.setattr(inference, "get_explainer", Worker)


def one_line(capsys) -> str:
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if "%  " not in line]
    assert len(lines) == 1, said.err
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "COMMAND"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["index", "/no/such/place"], "There is no file or folder"),
        (["classify", "/no/such/place"], "There is no file or folder"),
        (["classify", ".", "--model", "nobody"], "There is no run 'nobody'"),
        (["train"], "Say what to train"),
        (["train", "no.json"], "There is no configuration file no.json"),
        (["train", "--kind", "transfer", "--epochs", "0"], "epochs must lie between"),
        (["train", "--kind", "transfer", "--backbone", "ResNet50", "--weights", "slicescope"], "no slicescope weights"),
        (["evaluate", "nobody"], "There is no run 'nobody'"),
        (["explain", "nobody", ".", "--out", "x.png"], "There is no run 'nobody'"),
        (["explain", "nobody", ".", "--out", "x.jpg"], "written as .png"),
        (["explain", "shipped", ".", "--out", "x.png", "--head", "colour"], "--head must be one of plane, sequence"),
        (["explain", "shipped", ".", "--out", "x.png", "--against", "T9"], "--against must be one of T1, T1CE"),
        (["explain", "shipped", ".", "--out", "x.png", "--method", "magic"], "invalid choice: 'magic'"),
        (["demo", "--out", "/proc/nowhere"], "cannot be written"),
        (["demo", "--out", "there", "--patients", "0"], "1 to 100 patients"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, says, workspace, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    line = one_line(capsys)
    assert says in line and line.startswith("slicescope: ")


def test_index_makes_a_cohort_a_table_and_a_manifest(folder, tmp_path, capsys):
    table, manifest = tmp_path / "cohort.parquet", tmp_path / "mri-images.json"
    assert main(["index", str(folder), "--name", "mine", "--out", str(table), "--manifest", str(manifest)]) == 0
    said = capsys.readouterr().out
    assert "31 files in, 30 with 30 slices, 1 rejected" in said
    assert "note.txt: It is not a DICOM file" in said
    assert cohort.list_cohorts() == ["mine"]
    written = pd.read_parquet(table)
    assert len(written) == 30 and not written.astype(str).apply(lambda c: c.str.contains("Doe")).any().any()
    assert len(json.loads(manifest.read_text())) == 30


def test_index_takes_a_label_table_says_what_did_not_fit_and_gives_one_back(folder, tmp_path, capsys):
    given, out = tmp_path / "labels.csv", tmp_path / "out.csv"
    given.write_text("SeriesInstanceUID,sequence\n1.0.0,T1KM\n1.1.1,hello\n9.9,T2\n")
    assert main(["index", str(folder), "--name", "mine", "--labels", str(given), "--labels-out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "labels.csv: 2 of 3 rows matched, 3 labels changed." in said
    assert "Keys that match nothing (1): 9.9" in said and "Words that nobody knows (1): hello (1)" in said
    assert pd.read_csv(out)["sequence"].value_counts().to_dict() == {"T2": 15, "T1": 12, "T1CE": 3}
    assert main(["index", str(folder), "--name", "mine", "--labels", str(out)]) == 0
    assert "30 of 30 rows matched, 0 labels changed." in capsys.readouterr().out
    given.write_text("age\n1\n")
    assert main(["index", str(folder), "--name", "mine", "--labels", str(given)]) == 2
    assert "The label table labels.csv cannot be used. It needs a column path" in one_line(capsys)


def test_index_without_a_name_does_not_name_the_cohort_after_the_folder(folder):
    assert main(["index", str(folder / "Doe-1")]) == 0
    (name,) = cohort.list_cohorts()
    assert name.startswith("folder-") and "Doe" not in name


def test_index_refuses_a_name_that_is_another_folders(folder, tmp_path, capsys):
    assert main(["index", str(folder), "--name", "mine"]) == 0
    capsys.readouterr()
    assert main(["index", str(folder / "Doe-1"), "--name", "mine"]) == 2
    assert "of another folder" in one_line(capsys)


def test_classify_writes_both_tables_with_paths_relative_to_the_folder(folder, model, tmp_path):
    slices, series = tmp_path / "slices.csv", tmp_path / "series.csv"
    assert main(["classify", str(folder), "--out", str(slices), "--series-out", str(series)]) == 0
    table = pd.read_csv(slices)
    assert len(table) == 30 and set(table["sequence"]) == {"T1"} and set(table["sequence_p"]) == {0.75}
    # A folder that names the patient is not shown, and nothing else of the path is lost.
    assert table["path"].str.fullmatch(r"P-[0-9a-f]{10}/[01]-[012]\.dcm").all()
    assert len(pd.read_csv(series)) == 10


def test_interrupted_classify_leaves_no_table(folder, model, tmp_path, monkeypatch, capsys):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Worker, "predict", interrupted)
    assert main(["classify", str(folder), "--out", str(tmp_path / "slices.csv")]) == 130
    assert "interrupted" in one_line(capsys)
    assert not list(tmp_path.glob("*.csv*")) and not list(tmp_path.glob(".*"))


def test_train_reads_a_configuration_and_options_override_it(workspace, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(jobs, "submit", lambda config, **_: asked.append(config) or runs.create_run(config, "asked"))
    path = tmp_path / "config.json"
    path.write_text(RunConfig("a name", "bayesian", "mine", label="plane").to_json())
    assert main(["train", str(path), "--epochs", "3", "--no-wait"]) == 0
    assert main(["train", "--kind", "dual", "--backbone", "ResNet50", "--cohort", "other", "--no-wait"]) == 0
    assert asked[0] == RunConfig("a name", "bayesian", "mine", label="plane", epochs=3)
    assert asked[1] == RunConfig("dual", "dual", "other", backbone="ResNet50", weights="imagenet")


def test_runs_of_an_empty_workspace(workspace, capsys):
    assert main(["runs"]) == 0
    assert "No run yet" in capsys.readouterr().out


@pytest.mark.slow
def test_train_evaluate_explain_and_runs_end_to_end(folder, tmp_path, capsys):
    assert main(["index", str(folder), "--name", "mine"]) == 0
    capsys.readouterr()
    options = ["--kind", "transfer", "--weights", "none", "--image-size", "32", "--epochs", "2", "--mc-samples", "3"]
    options += ["--cohort", "mine", "--name", "first try"]
    assert main(["train", *options]) == 2
    assert "nearly equal to one of another part" in capsys.readouterr().err
    assert main(["train", *options, "--dismiss-leaks", "pictures that are drawn alike"]) == 0
    said = capsys.readouterr().out
    run_id = said.split()[1]
    assert "Finished first try" in said and "sequence, test: accuracy" in said
    assert main(["evaluate", run_id]) == 0
    figure = tmp_path / "why.png"
    why = ["explain", run_id, str(folder), "--out", str(figure), "--class", "T2"]
    assert main([*why, "--against", "T1", "--method", "layer_cam", "--passes", "2", "--seed", "3"]) == 0
    assert "drawn for T2 rather than T1" in capsys.readouterr().out
    assert Image.open(figure).size[0] > 1000
    assert main(["runs"]) == 0
    listed = capsys.readouterr().out
    assert f"{run_id}  done" in listed and "accuracy" in listed


@pytest.mark.slow
def test_demo_writes_files_and_what_they_show(workspace, tmp_path, capsys):
    out = tmp_path / "phantoms"
    assert main(["demo", "--out", str(out), "--patients", "1", "--seed", "3"]) == 0
    labels = pd.read_csv(out / "labels.csv")
    assert len(labels) == 8 and set(labels["plane"]) == {"axial", "coronal", "sagittal"}
    assert len(list(out.rglob("*.dcm"))) > 150
    assert main(["demo", "--out", str(out), "--patients", "1"]) == 2
    assert "not an empty folder" in one_line(capsys)


@pytest.mark.slow
def test_demo_cohort_has_the_labels_of_its_recipe_and_is_made_once(workspace):
    assert not demo.ready()
    made = demo.make_cohort(n_patients=1, random_state=3)
    by_series = made.table.groupby("SeriesInstanceUID")[["plane", "sequence"]].first()
    assert sorted(by_series["sequence"]) == sorted(["T1", "T1CE", "T2", "FLAIR"] * 2)
    assert by_series["plane"].value_counts().to_dict() == {"axial": 4, "coronal": 2, "sagittal": 2}
    assert not made.table["sequence"].isna().any()
    stamp = (get_settings().cohorts_dir / demo.COHORT / "cohort.parquet").stat().st_mtime_ns
    demo.make_cohort(n_patients=1, random_state=3)
    assert (get_settings().cohorts_dir / demo.COHORT / "cohort.parquet").stat().st_mtime_ns == stamp
