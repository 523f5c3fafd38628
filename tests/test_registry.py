"""The model: promoted, checked each time it is read, and what Study makes of models of any kind."""

import json
import shutil
import time

import keras
import numpy as np
import pandas as pd
import pytest

from core import bundle, classify, inference, runs, studies
from core.errors import CoreError, RunError
from core.labelling import model_answers
from core.models import BUILDERS
from core.publishing import registry
from core.settings import get_settings
from core.vocabulary import VERDICTS

CLASSES = {"plane": ["axial", "coronal", "sagittal"], "sequence": ["T1", "T2"]}


def test_without_a_promotion_it_is_the_shipped_model(workspace):
    model = registry.current()
    assert (model.id, model.note, model.promoted) == (runs.SHIPPED, "", "")
    assert model.heads == ("plane", "sequence") and len(model.sha256) == 64


def test_a_promoted_run_is_the_model_until_the_shipped_one_is_again(workspace, finished):
    run = finished()
    promoted = registry.promote(run.id)
    assert promoted == registry.current() and promoted.id == run.id and promoted.promoted.startswith("20")
    assert json.loads((workspace / "model.json").read_text())["sha256"] == run.card()["sha256"]
    assert registry.promote(runs.SHIPPED).id == registry.current().id == runs.SHIPPED
    assert not (workspace / "model.json").exists()


def gone(run):
    shutil.rmtree(run.folder)


def altered(run):
    with (run.bundle / "model.keras").open("ab") as file:
        file.write(b"x")


def trained_anew(run):
    card = run.card()
    shutil.rmtree(run.bundle)
    keras.utils.set_random_seed(7)
    bundle.save(BUILDERS["transfer"](run.config, card["classes"]), card, run.bundle)


def without_model(run):
    (run.bundle / "model.keras").unlink()


def without_card(run):
    (run.bundle / "card.json").unlink()


def stated(text):
    (get_settings().workspace / "model.json").write_text(text)


@pytest.mark.parametrize(
    ("happens", "words"),
    [
        (gone, "There is no run 'a-run'"),
        (altered, "not the file that its card describes"),
        (trained_anew, "trained anew"),
        (without_model, "no model.keras"),
        (without_card, "no trained model"),
        (lambda run: run.update(state="queued"), "is queued"),
        (lambda run: stated("{"), "''"),
        (lambda run: stated("[1]"), "''"),
        (lambda run: stated('{"run": "../x", "sha256": 1, "promoted": 2}'), "There is no run"),
    ],
)
def test_what_cannot_be_used_any_more_falls_back_and_says_so(workspace, happens, words, finished):
    run = finished()
    registry.promote(run.id)
    happens(run)
    model = registry.current()
    assert model.id == runs.SHIPPED and model.bundle == registry.WEIGHTS_DIR
    assert "so the shipped model answers" in model.note and words in model.note


def test_what_cannot_answer_is_not_promoted(workspace, finished):
    run = finished()
    registry.promote(run.id)
    for change, words in ((lambda: run.update(state="failed"), "failed"), (lambda: altered(run), "not the file")):
        run.update(state="done")
        change()
        with pytest.raises(CoreError, match=words):
            registry.promote(run.id)
    siamese = finished("pairs", "siamese")
    (siamese.bundle / "jury.npz").unlink()
    with pytest.raises(RunError, match="no jury"):
        registry.promote(siamese.id)
    with pytest.raises(RunError, match="no run"):
        registry.promote("../../etc")


def test_who_names_no_model_gets_the_promoted_one(workspace, finished):
    run = finished()
    registry.promote(run.id)

    class Made:
        folder, created = workspace / "cohorts" / "made", "2024"

    assert registry.find().id == run.id
    assert model_answers.answers_of(Made).model == run.id
    assert model_answers.answers_of(Made, runs.SHIPPED).model == runs.SHIPPED


# Study


@pytest.fixture
def dropped(workspace, make_slice, tmp_path):
    """A study of one T1 series of three slices."""
    rng = np.random.default_rng(0)
    for number in range(3):
        make_slice(tmp_path / "one" / f"{number}.dcm", rng.integers(0, 900, (16, 16), "uint16"),
                   SOPInstanceUID=f"1.1.{number}", SeriesInstanceUID="1.1", InstanceNumber=number,
                   ImagePositionPatient=[0, 0, 5 * number])  # fmt: skip
    return studies.create_from_folder(tmp_path / "one")


class LocalWorker:
    """Answers in this process what the child would answer."""

    def predict(self, folder, images):
        return inference.predict_local(folder, images)


def labelled(study: studies.Study) -> dict:
    studies.start(study)
    deadline = time.monotonic() + 60
    while (status := study.status)["state"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert status["state"] == "done", status["message"]
    return status


@pytest.mark.parametrize(
    ("kind", "label", "heads"),
    [
        ("transfer", "plane", ["plane"]),
        ("transfer", "sequence", ["sequence"]),
        ("transfer", "plane-sequence", ["plane", "sequence"]),
        ("dual", "sequence", ["plane", "sequence"]),
        ("bayesian", "sequence", ["sequence"]),
        ("siamese", "plane", ["plane"]),
        ("siamese", "plane-sequence", ["plane", "sequence"]),
    ],
)
def test_study_is_labelled_by_a_model_of_any_kind(dropped, monkeypatch, kind, label, heads, finished):
    monkeypatch.setattr(inference, "get_worker", LocalWorker)
    run = finished("the-run", kind, label)
    registry.promote(run.id)
    status = labelled(dropped)
    assert (status["model"], status["heads"], status["kind"]) == (run.id, heads, kind)
    assert status["sha256"] == run.card()["sha256"] and status["model_name"] == "the-run" and status["promoted"]
    slices, series = dropped.table("slices"), dropped.table("series")
    assert len(slices) == 3 and slices["entropy"].between(0, np.log(3) + 1e-6).all()
    ((row,),) = (list(series.itertuples()),)
    for answer in studies.answers(row, status["heads"]):
        known = answer.head in heads
        assert (answer.image is not None) == known == (answer.p == answer.p)
        assert answer.image is None or answer.image in {*CLASSES["plane"], *CLASSES["sequence"]}
        assert answer.verdict in VERDICTS
        assert known or answer.verdict == "header_only"
    assert sum(studies.counts(series, heads).values()) <= len(heads)


def test_study_says_when_another_model_has_become_the_one(dropped, monkeypatch, finished):
    monkeypatch.setattr(inference, "get_worker", LocalWorker)
    first, second = finished("first"), finished("second", seed=3)
    registry.promote(first.id)
    labelled(dropped)
    assert studies.newer_model(dropped) is None
    registry.promote(second.id)
    assert studies.newer_model(dropped).id == second.id
    labelled(dropped)
    assert studies.newer_model(dropped) is None
    gone(second)
    assert studies.newer_model(dropped).id == runs.SHIPPED


def test_study_of_before_there_was_a_choice_is_offered_to_the_model(dropped):
    path = dropped.folder / "study.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "state": "done", "model": "shipped"}))
    assert studies.newer_model(dropped).id == runs.SHIPPED


def test_series_agrees_when_all_that_the_model_can_tell_agrees():
    series = pd.DataFrame({"plane_verdict": ["agree"], "sequence_verdict": ["header_only"]})
    assert studies.counts(series, ["plane"])["agree"] == 1
    assert studies.counts(series)["agree"] == 0


def test_classify_asks_the_promoted_model(workspace, dropped, monkeypatch, finished):
    from core import cohort

    monkeypatch.setattr(inference, "get_worker", LocalWorker)
    registry.promote(finished("plane-run").id)
    slices, _, _ = classify.classify(cohort.scan(dropped.files, "study"))
    assert slices["sequence"].isna().all() and slices["plane"].notna().all()
