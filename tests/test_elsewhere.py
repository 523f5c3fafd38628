"""A model judged on another cohort: every slice is a test, but for people that it has learnt from."""

import dataclasses
import sys

import pytest
from test_evaluation import finished, made, with_references  # noqa: F401

from core import bundle, cohort, evaluation, jobs, runs
from core.analysis import elsewhere
from core.errors import CohortError


@pytest.fixture
def run(made):  # noqa: F811
    return done(finished(made))


def done(run):
    run.update(state="done")
    return run


@pytest.fixture
def other(made):  # noqa: F811
    """Another cohort of the same six people, as far as their names go."""
    folder = made.folder.with_name("other")
    return cohort.write(dataclasses.replace(made, name="other", folder=folder, root=folder))


def test_every_slice_is_a_test_but_for_people_of_the_training(run, other):
    judged = elsewhere.judge(run, "other")
    assert judged.status["state"] == "done" and judged.id != run.id
    table = judged.predictions()
    assert set(table["split"]) == {"test"} and set(table["cohort"]) == {"other"}
    # Patients 0 to 3 were learnt from or tuned on; 4 and 5 have six slices each.
    assert sorted(table["PatientID"].unique()) == ["P-4", "P-5"]
    assert (table["head"] == "plane").sum() == 12
    # What the model is does not change: it is not calibrated on what it is judged by.
    before, after = bundle.read_card(run.bundle), bundle.read_card(judged.bundle)
    assert after["sha256"] == before["sha256"] and after["temperature"] == before["temperature"]
    assert judged.config.cohort == "other" and judged.config.name.endswith("on other")


def test_one_that_waits_is_judged_by_the_command(run, other, monkeypatch):
    monkeypatch.setattr(jobs, "ensure_dispatcher", lambda: None)
    waiting = elsewhere.queue(run, "other")
    assert waiting.status["state"] == "queued" and jobs.queue() == [waiting]
    assert waiting.status["command"] == list(elsewhere.COMMAND)
    monkeypatch.setattr(sys, "argv", ["elsewhere", str(waiting.folder)])
    assert elsewhere.main() == 0
    assert waiting.status["state"] == "done" and "12 slices" in waiting.status["message"]
    assert waiting.scores()["split"] == "test"


def test_a_siamese_model_brings_its_jury_along(made, other):  # noqa: F811
    run = done(with_references(made))
    evaluation.evaluate(run)
    judged = elsewhere.judge(run, "other")
    assert (judged.bundle / "jury.npz").read_bytes() == (run.bundle / "jury.npz").read_bytes()
    assert not judged.predictions().empty


def test_a_cohort_of_strangers_to_its_classes_is_refused(run, other):
    cohort.write(dataclasses.replace(other, table=other.table.assign(plane=None, sequence=None)))
    with pytest.raises(CohortError, match="no slice that this model can be judged by"):
        elsewhere.judge(run, "other")
    assert [one.id for one in runs.list_runs()] == [run.id]
