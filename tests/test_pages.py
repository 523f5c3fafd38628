"""Every page, run by Streamlit's AppTest over a small workspace; TensorFlow never enters this process."""

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core import cohort, inference, runs, studies
from core.analysis import analyses
from core.cohorts.similar import Embeddings
from core.config import RunConfig
from core.explanations.badge import Badge
from core.explanations.question import Maps
from core.settings import get_settings
from pages.shared import cached

PROJECT = Path(__file__).resolve().parent.parent
PAGES = ["study", "browse", "train", "errors", "explain"]
CLASSES = ["T1", "T2"]
SECRET = "Lovelace"


def keywords_of(patient: int, series: int, number: int) -> dict:
    """Keywords of one slice; odd series are T2."""
    t2 = series % 2
    return {
        "PatientID": f"{SECRET}-{patient}", "PatientName": SECRET, "StudyInstanceUID": f"1.2.{patient}",
        "SeriesInstanceUID": f"1.2.{patient}.{series}", "SOPInstanceUID": f"1.2.{patient}.{series}.{number}",
        "SeriesDescription": f"AX {'T2' if t2 else 'T1'}", "InstanceNumber": number,
        "ImagePositionPatient": [0, 0, 5 * number], "RepetitionTime": 5000 if t2 else 500,
        "EchoTime": 100 if t2 else 12,
    }  # fmt: skip


def write_run(made: cohort.Cohort, run_id: str, kind: str, with_samples: bool) -> None:
    """Write the folder of a finished run, as an evaluation leaves it; every fifth answer is wrong."""
    run = runs.create_run(RunConfig(f"{kind} run", kind, made.name), run_id)
    rng = np.random.default_rng(0)
    table = made.table.reset_index(drop=True)
    true = [CLASSES.index(name) for name in table["sequence"]]
    samples = rng.dirichlet([1, 1], (len(table), 20))
    for row, label in enumerate(true):
        samples[row, :, label if row % 5 else 1 - label] += 3
    samples /= samples.sum(axis=-1, keepdims=True)
    proba = samples.mean(axis=1)
    columns = ["path", "frame", "SOPInstanceUID", "PatientID", "SeriesInstanceUID", "split"]
    predictions = table[columns].assign(
        cohort=made.name, head="sequence", y_true=table["sequence"],
        y_pred=[CLASSES[at] for at in proba.argmax(axis=1)], y_proba=list(proba),
    )  # fmt: skip
    predictions.to_parquet(run.folder / "predictions.parquet")
    if with_samples:
        np.savez(run.folder / "mc_samples.npz", sequence=samples)
    run.bundle.mkdir()
    card = {"name": run_id, "kind": kind, "classes": {"sequence": CLASSES}, "input_shape": [64, 64, 1],
            "cam_layer": "last", "sha256": "0", "temperature": {}, "unsure_below": {}, "scores": {}}  # fmt: skip
    (run.bundle / "card.json").write_text(json.dumps(card))
    lines = [{"stage": "head", "epoch": e, "loss": 1 / e, "val_loss": 1 / e, "accuracy": 0.5} for e in (1, 2, 3)]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run.update(state="done", progress=1.0)


@pytest.fixture(scope="module", autouse=True)
def no_tensorflow():
    """Make every import of TensorFlow or Keras an error, also where another test file has imported it before."""
    heavy = ("tensorflow", "keras", "tf_keras_vis", "core.learning.fitting", "core.models", "core.backend_tensorflow")
    with pytest.MonkeyPatch.context() as patch:
        for name in {*heavy, *(name for name in sys.modules if name.startswith(heavy))}:
            patch.setitem(sys.modules, name, None)
        yield


@pytest.fixture(scope="module")
def small(tmp_path_factory, make_dataset):
    """A workspace with a cohort of 5 patients, two finished runs and a failed one."""
    folder = tmp_path_factory.mktemp("workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLICESCOPE_WORKSPACE", str(folder))
        get_settings.cache_clear()
        rng = np.random.default_rng(0)
        for patient, series, number in np.ndindex(5, 2, 3):
            path = folder / "raw" / f"{SECRET}{patient}" / f"{series}-{number}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 1000, (32, 32)).astype("<u2")
            make_dataset(pixels, **keywords_of(patient, series, number)).save_as(path, enforce_file_format=True)
        (folder / "raw" / "note.txt").write_text("no image")
        made = cohort.write(cohort.scan(folder / "raw", "small"))
        write_run(made, "shipped", "bayesian", with_samples=True)
        write_run(made, "plain", "transfer", with_samples=False)
        for run_id in ("shipped", "plain"):
            run = runs.read_run(run_id)
            np.save(run.folder / "embeddings.npy", np.random.default_rng(1).normal(2, 1, (len(made.table), 5)))
            analyses.write(run)
        runs.create_run(RunConfig("broken", "transfer", "small"), "broken", state="failed", message="No luck.")
        yield made
    get_settings.cache_clear()


class FakeWorker:
    """Answers like the inference worker, without a model."""

    pid = None

    def predict(self, bundle, images):
        proba = np.tile(np.array([[0.8, 0.2]], np.float32), (len(images), 1))
        return inference.Prediction({"sequence": proba}, {"sequence": CLASSES}, np.zeros((len(images), 4), np.float32))

    def explain(self, bundle, images, question):
        heat = np.linspace(0, 1, images.size, dtype=np.float32).reshape(images.shape)
        return Maps(heat, (question.target or CLASSES[0],) * len(images), question.layer or "last", ("first", "last"))

    def layers(self, bundle, head):
        return "first", "last"

    def badge(self, bundle, images, question):
        values = {"model": 0.1, "decision": 0.5, "head": 0.1, "stable": 0.99}
        return [Badge.of(question.target or CLASSES[0], values)] * len(images)


def open_page(name: str, **address: str) -> AppTest:
    """Run a page as a link would open it."""
    app = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=60)
    sidebar = {key: address.pop(key) for key in ("cohort", "run") if key in address}
    for key, value in sidebar.items():
        app.query_params[key] = value
    app.run()
    for key, value in address.items():
        app.query_params[key] = value
    app.switch_page(f"pages/{name}.py").run()
    assert not app.exception, app.exception[0].message
    return app


def words(app: AppTest) -> str:
    """Everything that is written on the page."""
    texts = []
    for block in (app.main, app.sidebar):
        for kind in ("html", "markdown", "caption", "error", "warning", "success", "subheader"):
            texts += [
                str(getattr(element, "value", None) or getattr(element.proto, "body", ""))
                for element in block.get(kind)
            ]
    return "\n".join(texts)


@pytest.mark.parametrize("name", PAGES)
def test_page_says_what_it_is_not_for(small, name):
    app = open_page(name)
    assert f"<h1>{name.capitalize()}</h1>" in words(app)
    assert "Not for clinical use" in words(app)
    assert SECRET not in words(app)


@pytest.mark.parametrize("name", PAGES)
def test_page_of_an_empty_workspace_says_what_to_do(workspace, name):
    app = open_page(name)
    assert not app.error
    assert {"study": "Drop the files", "browse": "No cohort yet", "train": "No cohort", "errors": "No finished run",
            "explain": "No finished run"}[name] in words(app)  # fmt: skip


def test_browse_opens_with_the_cohort_at_a_glance(small):
    app = open_page("browse")
    assert [metric.value for metric in app.metric[:4]] == ["5", "5", "10", "30"]
    assert len(app.get("plotly_chart")) == 4
    assert "What is missing" in words(app) and "coronal T1" in words(app)
    assert "note.txt" in app.dataframe[0].value.to_string()


def test_browse_filters_by_the_address(small):
    assert "30 slices in 10 series of 5 patients" in words(open_page("browse", view="Series"))
    app = open_page("browse", view="Slices", in_sequence="T2")
    assert "15 slices in 5 series of 5 patients" in words(app)
    app.text_input(key="text").set_value("t1").run()
    assert "Nothing fits these filters" in words(app)
    assert "30 slices" in words(open_page("browse", view="Series", timing="nonsense~1", in_plane="axial"))
    app = open_page("browse", view="Series", timing="500~500~12~12")
    assert "15 slices in 5 series" in words(app) and "TR 500 ms · TE 12 ms" in words(app)
    next(button for button in app.button if button.label == "Clear the filters").click().run()
    assert "30 slices in 10 series of 5 patients" in words(app)


def test_browse_saves_what_fits_as_a_cohort_and_as_a_queue(small):
    app = open_page("browse", cohort="small", view="Series", in_sequence="T2")
    app.text_input[1].set_value("part")
    next(button for button in app.button if button.label == "Save").click().run()
    assert "Cohort part has 15 slices" in words(app)
    assert set(cohort.read("part").table["sequence"]) == {"T2"} and cohort.read("part").origin["cohort"] == "small"
    app.text_input[2].set_value("todo")
    next(button for button in app.button if button.label == "Hand over").click().run()
    assert len(json.loads((small.folder / "queues" / "todo.json").read_text())["keys"]) == 15
    next(button for button in app.button if button.label == "Hand over").click().run()
    assert "has a queue 'todo' already" in app.error[0].value
    shutil.rmtree(small.folder.parent / "part")


def test_browse_sorts_by_likeness(small, monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(
        "core.cohorts.similar.known", lambda made: Embeddings(rng.random((len(made.table), 3), np.float32))
    )
    app = open_page("browse", cohort="small", view="Slices", like=key_of(small, 0))
    assert "Most like" in words(app) and "as the shipped model sees it" in words(app)
    next(button for button in app.button if button.label == "Usual order").click().run()
    assert "Most like" not in words(app)


def test_browse_splits_checks_and_saves(small):
    app = open_page("browse", cohort="small", view="Splits", of="Another")
    held = small.table["PatientID"].iloc[0]
    app.multiselect(key="hold").set_value([held]).run()
    next(button for button in app.button if button.label == "Check patients and pixels").click().run()
    deadline = time.monotonic() + 30
    while not any("pictures were compared" in one.value for one in app.success) and time.monotonic() < deadline:
        app.run()
    assert "No: no patient, no equal picture" in app.success[0].value
    next(button for button in app.button if button.label == "Save as the default").click().run()
    assert not app.exception
    table = cohort.read("small").table
    assert set(table.loc[table["PatientID"] == held, "split"]) == {"test"}
    seen = cached.open_cohort("small").table
    assert set(seen.loc[seen["PatientID"] == held, "split"]) == {"test"}
    (small.folder / "split.json").unlink()


def test_browse_opens_the_slice_of_the_address(small):
    app = open_page("browse", slice=key_of(small, 0))
    assert "Back to the grid" in [button.label for button in app.button]
    assert "Axial, because the slice normal lies 0° from the head–foot axis." in words(app)
    assert "from the feet to the head" in words(app)
    assert SECRET not in words(app)


def test_browse_lists_the_header_and_names_nobody_unless_asked(small):
    app = open_page("browse", slice=key_of(small, 0), panel="Header")
    assert not app.toggle(key="identity").value
    table = app.dataframe[0].value
    assert SECRET not in table.to_string() and "RepetitionTime" in table.to_string()
    app.text_input(key="header-search").set_value(f"patientname {SECRET}").run()
    assert app.dataframe[0].value.empty
    app.text_input(key="header-search").set_value("echotime").run()
    assert app.dataframe[0].value["name"].tolist() == ["EchoTime"]
    app.text_input(key="header-search").set_value("").run()
    app.toggle(key="identity").set_value(True).run()
    assert SECRET in app.dataframe[0].value.to_string()
    assert "mind who sees this screen" in words(app)
    assert "identity" not in app.query_params


def test_browse_puts_another_series_of_the_study_beside(small):
    first = small.table.iloc[0]
    study = small.table[small.table["StudyInstanceUID"] == first["StudyInstanceUID"]]
    (other,) = set(study["SeriesInstanceUID"]) - {first["SeriesInstanceUID"]}
    app = open_page("browse", slice=key_of(small, 0), beside=other)
    box = next(box for box in app.main.selectbox if box.label == "Beside it")
    assert box.value == other and box.options == ["axial · T2 · AX T2 (3)"]
    assert app.query_params["beside"] == other
    assert not open_page("browse", slice=key_of(small, 0), beside="no.such.series").exception


def test_browse_refuses_a_folder_outside_the_roots(small, monkeypatch):
    monkeypatch.setenv("SLICESCOPE_INDEX_ROOTS", "/srv/allowed")
    get_settings.cache_clear()
    app = open_page("browse", view="Index a folder")
    app.text_input[0].set_value("/etc")
    app.text_input[1].set_value("evil")
    next(button for button in app.button if button.label == "Index").click().run()
    monkeypatch.undo()
    get_settings.cache_clear()
    assert "only folders under /srv/allowed" in app.error[0].value


def test_browse_applies_a_label_table_and_takes_it_back(small):
    before = cohort.read("small").table["sequence"]
    app = open_page("browse", view="Export")
    app.file_uploader[0].set_value(("mine.csv", b"SeriesInstanceUID,sequence\n1.2.0.0,T1KM\n9.9,T2\n", "text/csv"))
    next(button for button in app.button if button.label == "Apply it to this cohort").click().run()
    assert "1 of 2 rows matched, 3 labels changed" in app.success[0].value
    assert "match nothing" in app.warning[0].value
    assert (cohort.read("small").table["sequence"] == "T1CE").sum() == 3
    next(button for button in app.button if button.label == "Undo").click().run()
    assert "Undone" in app.success[0].value and not [b for b in app.button if b.label == "Undo"]
    pd.testing.assert_series_equal(cohort.read("small").table["sequence"], before)
    app.file_uploader[0].set_value(("mine.csv", b"age\n1\n", "text/csv"))
    next(button for button in app.button if button.label == "Apply it to this cohort").click().run()
    assert "cannot be used" in app.error[0].value


def key_of(made: cohort.Cohort, row: int) -> str:
    return cohort.slice_key(made.table.iloc[row])


def test_train_shows_the_split_and_queues_a_run(small, monkeypatch):
    asked = []

    def submit(config, **looked):
        asked.append(config)
        assert looked["found"].clean and not looked["dismissed"]
        return runs.create_run(config, "asked")

    monkeypatch.setattr("core.jobs.submit", submit)
    monkeypatch.setattr("core.learning.pace_measure.known", lambda config: None)
    monkeypatch.setattr("core.learning.pace_measure.measure", lambda config: None)
    app = open_page("train", cohort="small")
    deadline = time.monotonic() + 30
    while "Nothing stands on both sides" not in words(app):
        assert time.monotonic() < deadline, words(app)
        app.run()
    next(button for button in app.button if button.label == "Start training").click().run()
    assert not app.exception
    assert asked[0].cohort == "small" and asked[0].kind == "transfer"
    asked[0].validate()
    assert "asked" in words(app)


def test_train_lists_ended_runs_with_their_message(small):
    app = open_page("train", view="Runs", followed="broken")
    assert "No luck." in words(app)


@pytest.mark.parametrize("run", ["shipped", "plain"])
def test_errors_shows_exactly_the_slices_of_a_cell(small, run):
    table = runs.read_run(run).predictions()
    here = table[(table["split"] == "test")]
    expected = int(((here["y_true"] == "T1") & (here["y_pred"] == "T1")).sum())
    app = open_page("errors", run=run, cell="T1|T1")
    assert f"{expected} slices of T1 named rightly" in words(app)
    accuracy = 100 * (here["y_true"] == here["y_pred"]).mean()
    shown = {metric.label: metric.value for metric in app.metric}
    assert (shown["Accuracy"], shown["Majority baseline"]) == (f"{accuracy:.1f} %", "50.0 %")


def test_errors_opens_a_slice_with_its_histogram(small):
    table = runs.read_run("shipped").predictions()
    row = table[table["split"] == "test"].iloc[0]
    address = {"cell": f"{row['y_true']}|{row['y_pred']}", "slice": f"{row['SOPInstanceUID']}:{row['frame']}"}
    app = open_page("errors", **address)
    assert len(app.get("plotly_chart")) == 1
    assert "Mutual information" in [metric.label for metric in app.metric]


def test_errors_draws_accuracy_against_the_share_kept(small):
    app = open_page("errors", view="Uncertainty", kept="80")
    assert len(app.get("plotly_chart")) == 3
    assert "Accuracy on what is kept" in [metric.label for metric in app.metric]
    n = int((runs.read_run("shipped").predictions()["split"] == "test").sum())
    assert f"**{n - round(0.8 * n)}** go to a person" in words(app)
    fewer = open_page("errors", view="Uncertainty", kept="100")
    assert "Everything is kept" in words(fewer)


@pytest.mark.parametrize("run", ["shipped", "plain"])
@pytest.mark.parametrize("view", ["Calibration", "Strange slices", "Series"])
def test_errors_draws_what_was_worked_out(small, run, view):
    app = open_page("errors", run=run, view=view)
    assert app.get("plotly_chart") and app.metric
    assert "Not worked out yet" not in words(app)


@pytest.mark.parametrize("view", ["Uncertainty", "Calibration", "Strange slices", "Series"])
def test_errors_says_how_to_have_it_worked_out(small, view):
    folder = analyses.folder(runs.read_run("plain"))
    away = folder.rename(folder.with_name("away"))
    try:
        app = open_page("errors", run="plain", view=view)
        assert "python -m core evaluate plain" in words(app)
    finally:
        away.rename(folder)


def test_errors_survives_nonsense_in_the_address(small):
    app = open_page("errors", cell="nothing|here", slice="1.2.3:0", page="-4")
    assert "No cell chosen" in words(app)


def settled(app: AppTest) -> str:
    """Look again until the model has answered and the maps are made; gives the page's words."""
    deadline = time.monotonic() + 30
    while "the model says" not in words(app) or app.main.get("progress"):
        assert time.monotonic() < deadline and not app.exception, words(app)
        time.sleep(0.05)
        app.run()
    return words(app)


def test_explain_draws_a_slice_of_the_cohort(small, monkeypatch):
    monkeypatch.setattr(inference, "get_worker", FakeWorker)
    monkeypatch.setattr(inference, "get_explainer", FakeWorker)
    app = open_page("explain", cohort="small", slice=key_of(small, 0))
    labels = ["Head", "Class", "Rather than", "Layer", "Method", "Passes"]
    assert [box.label for box in app.main.selectbox] == labels
    assert "80 %" in settled(app)
    assert app.get("download_button")


def test_explain_offers_mistakes_first_when_no_slice_is_named(small):
    assert "A slice of this run" in words(open_page("explain"))


def test_explain_names_an_unknown_slice(small):
    app = open_page("explain", cohort="small", slice="9.9.9:0")
    assert "has no slice '9.9.9:0'" in app.error[0].value


def answer(made, model="shipped", workers=1, report=None):
    """Answers like `core.classify.classify`, without a model: T1 everywhere."""
    table = made.table
    verdict = np.where(table["sequence"] == "T1", "agree", "disagree")
    slices = table[["path", "frame", "SeriesInstanceUID"]].assign(
        plane="axial", plane_p=0.9, sequence="T1", sequence_p=0.8, t1_family_p=0.9, entropy=0.3,
        header_plane=table["plane"], header_sequence=table["sequence"], plane_verdict="agree", sequence_verdict=verdict,
    )  # fmt: skip
    series = slices.groupby("SeriesInstanceUID", sort=False).first().reset_index().assign(n=3)
    report(len(table), len(table))
    return slices, series, made.rejected


def wait_for(study: studies.Study) -> None:
    deadline = time.monotonic() + 30
    while study.status["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.05)


def test_study_is_read_and_shown(small, monkeypatch):
    monkeypatch.setattr("core.classify.classify", answer)
    study = studies.create((path.name, path.open("rb")) for path in (small.root / f"{SECRET}1").iterdir())
    studies.start(study)
    wait_for(study)
    assert study.status["state"] == "done", study.status
    app = open_page("study", study=study.id)
    assert [metric.value for metric in app.metric] == ["2", "6", "1", "1", "0", "0"]
    assert "disagree" in words(app) and "AX T2" in words(app)
    assert SECRET not in words(app)
    assert [button.label for button in app.button].count("Explain this slice") == 2
    monkeypatch.setattr(inference, "get_worker", FakeWorker)
    monkeypatch.setattr(inference, "get_explainer", FakeWorker)
    assert "the model says" in settled(open_page("explain", study=study.id, item="0"))


def test_failed_study_says_why(small, monkeypatch):
    from core.errors import BundleError

    def refuse(made, model="shipped", workers=1, report=None):
        raise BundleError("There is no model.")

    monkeypatch.setattr("core.classify.classify", refuse)
    study = studies.create([("a.dcm", (small.root / small.table["path"].iloc[0]).open("rb"))])
    studies.start(study)
    wait_for(study)
    assert "There is no model." in open_page("study", study=study.id).error[0].value


def test_unknown_study_is_answered(small):
    assert "There is no study" in open_page("study", study="0" * 16).warning[0].value


def test_study_table_is_one_row_a_series():
    uids = ["1", "1", "1", "2"]
    slices = pd.DataFrame({"path": list("abcd"), "frame": 0, "SeriesInstanceUID": uids})
    series = pd.DataFrame({"SeriesInstanceUID": ["2", "1"]})
    facts = dict.fromkeys((*studies.FACTS, *studies.PLACES), "") | {"SeriesDescription": None, "shown_path": "x/y"}
    table = slices[["path", "frame"]].assign(**facts).assign(image_number=[3, 1, 2, 1])
    joined, rows = studies.with_facts(slices, series, table)
    assert rows["title"].tolist() == ["y", "y"]
    assert joined.iloc[rows["middle"]]["path"].tolist() == ["d", "c"]
