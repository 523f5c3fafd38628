"""The queue as the Train page shows it, and every button of a run."""

import json
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core import jobs, runs
from core.comparing import run_notes
from core.config import RunConfig
from pages.shared import run_actions

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def nobody_dispatches(workspace, monkeypatch):
    monkeypatch.setattr(jobs, "ensure_dispatcher", lambda: None)


def made(run_id, state, name="planes", **status):
    config = RunConfig(name, "transfer", "phantom", epochs=5)
    return runs.create_run(config, run_id, state=state, queued=runs.now(), **status)


@pytest.fixture
def running(monkeypatch):
    """A run that runs, with two epochs behind it, and a log that would like to be HTML."""
    monkeypatch.setattr(runs, "alive", lambda status: True)
    run = made("first", "running", "<i>mine</i>", progress=0.4, message="Epoch 2 of 5", devices=["cpu"])
    lines = [{"stage": "head", "epoch": epoch, "loss": 1.0, "val_loss": 1.0, "accuracy": 0.5} for epoch in (1, 2)]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run.folder / "log.txt").write_text("<script>alert(1)</script>\n")
    return run


def open_train(**address):
    app = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=60)
    app.run()
    for key, value in address.items():
        app.query_params[key] = value
    app.switch_page("pages/train.py").run()
    assert not app.exception, app.exception[0].message
    return app


def html(app):
    return "\n".join(element.proto.body for element in app.main.get("html"))


def press(app, label, key=None):
    next(one for one in app.button if one.label == label and key in (None, one.key)).click().run()
    assert not app.exception, app.exception[0].message


def test_the_queue_shows_who_runs_and_who_waits(running):
    made("second", "queued", estimate_s=90)
    made("third", "queued")
    text = html(open_train(view="Queue", followed="third"))
    assert "&lt;i&gt;mine&lt;/i&gt;" in text and "<i>mine" not in text
    assert "<dt>Epochs left</dt><dd>3</dd>" in text and "<dt>Device</dt><dd>cpu</dd>" in text
    assert "memory" in text
    second, third = (text.index(f"<b>{position}</b>") for position in (1, 2))
    assert text.index("second") > second and text.index("third · ") > third
    assert text.count("start not known yet") == 2 and "takes about 90 s" in text
    assert text.count("followed</span>") == 1


def test_curves_and_the_log_of_a_running_run_are_there(running):
    app = open_train(view="Queue")
    assert len(app.get("plotly_chart")) == 1
    assert [element.value for element in app.get("progress")] or len(app.get("progress")) == 1
    assert "<script>" not in html(app)


def test_a_waiting_run_is_cancelled_and_a_running_one_is_asked_to_end(running, monkeypatch):
    waiting = made("second", "queued")
    app = open_train(view="Queue")
    press(app, "Cancel", "cancel-second")
    assert waiting.status["state"] == "cancelled"
    asked = []
    monkeypatch.setattr(jobs, "cancel", asked.append)
    press(app, "Cancel", "cancel-first")
    deadline = time.monotonic() + 10
    while not asked and time.monotonic() < deadline:
        time.sleep(0.02)
    assert asked == ["first"]
    running.update(cancelling=True)
    (button,) = [one for one in open_train(view="Queue").button if one.key == "cancel-first"]
    assert button.disabled and button.label == "Cancelling"


def test_with_nothing_queued_the_page_says_what_to_do_and_shows_what_was_followed():
    made("ended", "failed", message="No luck.")
    app = open_train(view="Queue", followed="ended")
    assert "Nothing is queued" in app.main.markdown[0].value
    assert "No luck." in [caption.value for caption in app.main.caption]
    assert not open_train(view="Queue", followed="nobody").exception


@pytest.mark.parametrize(("label", "resume"), [("Resume", True), ("Retry", False)])
def test_a_broken_run_is_queued_again(label, resume):
    run = made("ended", "cancelled", progress=0.5)
    app = open_train(view="Runs", followed="ended")
    press(app, label)
    assert (run.status["state"], run.status["resume"]) == ("queued", resume)
    assert app.session_state["view"] == "Queue"


def test_a_done_run_opens_elsewhere_and_is_not_trained_again_in_place():
    made("ended", "done")
    labels = [button.label for button in open_train(view="Runs", followed="ended").button]
    assert {"Open in Errors", "Open in Explain", "Name and notes", "Trash"} <= set(labels)
    assert not {"Retry", "Resume", "Cancel"} & set(labels)


def test_name_tags_and_note_are_changed_and_only_what_was_changed_is_written():
    run = made("ended", "done")
    press(app := open_train(view="Runs", followed="ended"), "Name and notes")
    shown = run_notes.read(run)
    assert [one.value for one in app.text_input if one.label != "Words"] == ["planes", ""] and app.text_area[
        0
    ].value == ""
    # Somebody else is quicker with the tags.
    run_notes.tag(run, ["theirs"])
    run_actions.save(run, shown, "<b>mine</b>", "", "why\n<b>so</b>")
    assert run_notes.read(run) == run_notes.Notes("<b>mine</b>", "why\n<b>so</b>", ("theirs",))
    text = html(open_train(view="Runs", followed="ended"))
    assert "&lt;b&gt;mine" in text and "&lt;b&gt;so" in text and "theirs" in text and "<b>so" not in text


def test_a_run_goes_to_the_trash_comes_back_and_is_deleted_for_good():
    run = made("ended", "done")
    app = open_train(view="Runs", followed="ended")
    press(app, "Trash")
    assert runs.list_runs() == [] and "No run yet" in app.main.markdown[0].value
    press(app, "Put back")
    assert runs.list_runs() == [run]
    press(open_train(view="Runs", followed="ended"), "Trash")
    app = open_train(view="Runs")
    press(app, "Delete for good")
    assert run_notes.list_trash() == [] and runs.list_runs() == []


def test_the_shipped_run_has_no_button_that_it_would_refuse():
    made(runs.SHIPPED, "done")
    app = open_train(view="Runs", followed=runs.SHIPPED)
    assert "Trash" not in [button.label for button in app.button]
    press(app, "Name and notes")
    assert next(one for one in app.text_input if one.label == "Name").disabled
