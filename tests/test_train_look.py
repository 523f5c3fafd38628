"""The look before a start as the page draws it: Start waits for it, and an alarm is dismissed by box and reason."""

import time

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core import cohort, runs
from core.cohorts import default_split
from core.config import RunConfig
from core.learning import pace_measure
from core.settings import PROJECT_DIR
from pages.shared import train_look

PACE = pace_measure.Measured("CPU", 5, 2, 2, 10, 1, 4, 100, 3, 1, 4, 500, 0.1)


@pytest.fixture
def copied(workspace, tmp_path, make_dataset, monkeypatch):
    """A cohort in which each of three patients has the pictures of another; nothing starts and nothing is measured."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 900, (3, 2, 6, 6)).astype("<u2")
    for patient, twin, number in np.ndindex(3, 2, 2):
        name, uid = f"P{patient}{'T' if twin else ''}", f"1.{patient}.{number}.{twin}"
        path = tmp_path / "raw" / f"{uid}.dcm"
        path.parent.mkdir(exist_ok=True)
        make_dataset(
            np.kron(coarse[patient, number], np.ones((8, 8), "<u2")), PatientID=name, StudyInstanceUID=name,
            SeriesInstanceUID=uid, SOPInstanceUID=uid, RepetitionTime=(500, 5000)[number], EchoTime=(12, 100)[number],
            SeriesDescription=("AX T1", "AX T2")[number],
        ).save_as(path, enforce_file_format=True)  # fmt: skip
    made = cohort.write(cohort.scan(tmp_path / "raw", "copied"))
    monkeypatch.setattr("core.jobs.ensure_dispatcher", lambda: None)
    monkeypatch.setattr(pace_measure, "known", lambda config: PACE)
    return made


def words(app: AppTest) -> str:
    return " ".join(
        str(element.value) for kind in ("caption", "error", "warning", "markdown") for element in app.get(kind)
    )


def run_until(app: AppTest, text: str) -> AppTest:
    deadline = time.monotonic() + 30
    while text not in words(app):
        assert time.monotonic() < deadline and not app.exception, words(app)
        time.sleep(0.1)
        app.run()
    return app


def start_button(app: AppTest):
    return next(button for button in app.button if button.label == "Start training")


def open_train(name: str) -> AppTest:
    app = AppTest.from_file(str(PROJECT_DIR / "app.py"), default_timeout=60)
    app.query_params["cohort"] = name
    app.run()
    return app.switch_page("pages/train.py").run()


def test_an_alarm_is_dismissed_by_box_and_reason(copied):
    app = run_until(open_train("copied"), "This split leaks")
    assert start_button(app).disabled
    next(box for box in app.checkbox if box.key.startswith("dismiss-")).check().run()
    assert start_button(app).disabled
    app.text_input(key=next(box.key for box in app.text_input if box.label == "Why it does not matter")).set_value(
        "copies on purpose"
    ).run()
    assert not start_button(app).disabled
    start_button(app).click().run()
    assert not app.exception
    (run,) = runs.list_runs()
    assert "copies on purpose" in (run.folder / "preflight.json").read_text()


def test_what_cannot_work_cannot_be_started(copied):
    for path in copied.root.glob("*.dcm"):
        path.unlink()
    app = open_train("copied")
    assert "are gone" in words(app) and start_button(app).disabled


def test_a_clean_split_is_started_at_once(copied):
    people = copied.table.groupby("PatientID")["path"].first().str.split(".").str[1]
    part = people.map({"0": "train", "1": "validation", "2": "test"})
    default_split.save_default_split(copied, copied.table["PatientID"].map(part), {})

    def page():
        import streamlit as st

        from pages.shared import cached

        config = st.session_state["config"]
        allowed = st.session_state["look"].draw(cached.open_cohort("copied"), config)
        st.caption(f"allowed {allowed}")

    app = AppTest.from_function(page, default_timeout=60)
    app.session_state["config"] = RunConfig("x", "transfer", "copied", split="cohort")
    app.session_state["look"] = train_look
    run_until(app.run(), "allowed True")
    assert "Nothing stands on both sides" in words(app)
    facts = " ".join(str(element.proto.body) for element in app.get("html"))
    assert "measured on this machine" in facts and "GiB" in facts
