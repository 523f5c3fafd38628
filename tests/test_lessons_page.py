"""Lessons on the Train page, and one lesson from the command line to its figures."""

import re
import time
from dataclasses import replace

import numpy as np
import pytest
from test_lessons import CONFIG, finish, made  # noqa: F401
from test_train_queue import html, open_train, press

from core import cohort, jobs, runs
from core.__main__ import main
from core.comparing import run_notes
from core.learning import lessons
from core.settings import get_settings
from pages.shared import tasks, train_look


def words(app) -> str:
    kinds = ("markdown", "caption", "warning", "error", "info")
    return "\n".join([html(app), *(str(one.value) for kind in kinds for one in getattr(app.main, kind))])


def labels(app) -> list[str]:
    return [one.label for one in app.button]


def test_without_lessons_the_way_to_the_form_is_shown(made):  # noqa: F811
    app = open_train(view="Lessons")
    assert "No lesson yet" in words(app)
    press(app, "Open the form")
    assert "Honest versus naive" in labels(app) and "Learning curve" in labels(app)


def test_an_address_opens_a_lesson_and_a_wrong_one_is_said(made):  # noqa: F811
    naive, curve = lessons.start_naive(CONFIG), lessons.start_curve(CONFIG)
    app = open_train(view="Lessons", lesson=naive.id)
    assert app.dataframe[0].value["Lesson"].tolist() == ["Learning curve", "Honest versus naive"]
    assert app.dataframe[0].value["State"].tolist() == ["queued, 0 of 4 done", "queued, 0 of 2 done"]
    assert "Trains it twice" in words(app) and "Cancel all" in labels(app)
    assert "4 patients" not in words(app)
    assert "10, 25, 50 and 100 %" in words(open_train(view="Lessons", lesson=curve.id))
    said = words(open_train(view="Lessons", lesson="../../etc"))
    assert "There is no lesson" in said and "Pick a lesson" in said


def test_progress_ends_with_the_runs(made, monkeypatch):  # noqa: F811
    lesson = lessons.start_naive(replace(CONFIG, name="a *star* [x](y)"))
    monkeypatch.setattr(runs, "alive", lambda status: True)
    runs.read_run(lesson.runs[0]).update(state="running", progress=0.4, message="Epoch 2 of 5")
    app = open_train(view="Lessons", lesson=lesson.id)
    bars = [str(one.proto) for one in app.main.get("progress")]
    assert len(bars) == 2 and "Epoch 2 of 5" in bars[0] and "queued" in bars[1] and "a \\\\*star" in bars[0]
    finish(lesson.runs[0], {"test": 0.5})
    finish(lesson.runs[1], {"test": 1.0, "unseen": 0.75})
    app = open_train(view="Lessons", lesson=lesson.id)
    assert not app.main.get("progress") and "Cancel all" not in labels(app)
    said = words(app)
    assert "By its own test the naive model names 100.0 %" in said and "2 patients only" in said
    assert len(app.get("plotly_chart")) == 1
    assert app.dataframe[1].value["accuracy (%)"].tolist() == ["100.0", "75.0", "50.0"]


def test_a_curve_is_drawn_while_its_runs_wait(made):  # noqa: F811
    lesson = lessons.start_curve(CONFIG)
    finish(lesson.runs[0], {"test": 0.5})
    app = open_train(view="Lessons", lesson=lesson.id)
    assert "a curve begins with the next run" in words(app) and len(app.main.get("progress")) == 4
    for run_id in lesson.runs[1:]:
        finish(run_id, {"test": 0.75})
    app = open_train(view="Lessons", lesson=lesson.id)
    assert "accuracy did not change" in words(app) and "A power law" in words(app)
    press(app, "Compare them")
    assert app.session_state["view"] == "Compare" and app.query_params["runs"] in (
        ",".join(lesson.runs), [",".join(lesson.runs)],
    )  # fmt: skip


def test_what_came_to_nothing_is_said(made):  # noqa: F811
    lesson = lessons.start_naive(CONFIG)
    runs.read_run(lesson.runs[0]).update(state="failed", message="No luck.")
    jobs.cancel(lesson.runs[1])
    run_notes.trash(lesson.runs[1])
    app = open_train(view="Lessons", lesson=lesson.id)
    assert "is failed: No luck\\." in words(app) and "is gone" in words(app)
    assert "ended, 0 of 2 done" in app.dataframe[0].value["State"].tolist()
    press(app, "Delete the lesson")
    assert lessons.list_lessons() == [] and runs.read_run(lesson.runs[0])
    assert "No lesson yet" in words(open_train(view="Lessons"))


def test_cancel_all(made):  # noqa: F811
    lesson = lessons.start_curve(CONFIG)
    press(open_train(view="Lessons", lesson=lesson.id), "Cancel all")
    task = tasks.get(("cancel", lesson.id))
    for _ in range(100):
        if task.finished:
            break
        time.sleep(0.05)
    assert {member.state for member in lessons.members(lesson)} == {"cancelled"}


def test_the_form_starts_a_lesson_and_opens_it(made, monkeypatch):  # noqa: F811
    monkeypatch.setattr(train_look, "draw", lambda made, config: True)
    monkeypatch.setattr(train_look, "answers", lambda made, config: {"found": None, "dismissed": ""})
    app = open_train(view="New run", cohort="made")
    press(app, "Learning curve")
    (lesson,) = lessons.list_lessons()
    assert lesson.kind == "curve" and lesson.config.preset == "quick"
    assert app.session_state["view"] == "Lessons" and "10, 25, 50 and 100 %" in words(app)
    assert lesson.id in str(app.query_params["lesson"])


def stripes(folder, make_dataset, patients: int = 6, slices: int = 4) -> None:
    """Index bright and dark pictures of some patients, each of whom has a pattern of their own."""
    for patient, t2, number in np.ndindex(patients, 2, slices):
        rng = np.random.default_rng([patient, t2, number])
        own = np.kron(np.random.default_rng(patient).integers(0, 300, (6, 6)), np.ones((8, 8)))
        pixels = (own + 100 + 400 * t2 + rng.integers(0, 200, own.shape)).astype("<u2")
        uid = f"1.{patient}.{t2}"
        path = folder / f"P{patient}" / f"{t2}-{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        make_dataset(
            pixels, PatientID=f"P{patient}", StudyInstanceUID=f"1.{patient}", SeriesInstanceUID=uid,
            SOPInstanceUID=f"{uid}.{number}", InstanceNumber=number, ImagePositionPatient=[0, 0, 5 * number],
            RepetitionTime=5000 if t2 else 500, EchoTime=100 if t2 else 12,
            SeriesDescription="AX T2" if t2 else "AX T1",
        ).save_as(path, enforce_file_format=True)  # fmt: skip
    cohort.write(cohort.scan(folder, "made"))


@pytest.mark.slow
def test_a_lesson_from_the_command_line_to_its_figures(workspace, tmp_path, make_dataset, capsys):
    stripes(tmp_path / "raw", make_dataset)
    flags = ["--kind", "transfer", "--label", "sequence", "--cohort", "made", "--image-size", "32", "--epochs", "2",
             "--mc-samples", "2", "--augment-views", "0", "--dismiss-leaks", "drawn pictures are alike"]  # fmt: skip
    assert main(["lesson", "naive", *flags]) == 0
    said = capsys.readouterr().out
    (lesson,) = lessons.list_lessons()
    assert [member.state for member in lessons.members(lesson)] == ["done", "done"]
    naive = runs.read_run(lesson.runs[1])
    assert set(naive.predictions()["split"]) == {"train", "validation", "test", "unseen"}
    assert "unseen" not in naive.scores()["heads"]["sequence"] and "unseen" not in str(naive.card()["scores"])
    assert any("test patients are also those it learnt from" in limit for limit in naive.card()["limits"])
    assert re.search(r"Naive, on people it never saw +\d+\.\d", said) and "have their very neighbour" in said
    assert str(get_settings().workspace) not in said
