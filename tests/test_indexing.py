"""Indexing from the page: it says how far it is, and can be stopped."""

import threading

import pytest
from streamlit.testing.v1 import AppTest

from core import cohort
from core.errors import InputError
from pages.shared import indexing


@pytest.fixture
def scans(monkeypatch):
    """Give the scans of this process, none yet."""
    monkeypatch.setattr(indexing, "_scans", {})
    return indexing._scans


def wait() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("index-"):
            thread.join(60)


def test_a_scan_that_is_stopped_says_so_and_the_next_one_ends_well(scans, workspace, make_slice, tmp_path, monkeypatch):
    for number in range(3):
        make_slice(tmp_path / "data" / f"{number}.dcm")
    reached, go, real = threading.Event(), threading.Event(), cohort.index

    def held(*args, report, **keywords):
        def slowly(done, total):
            reached.set()
            go.wait(60)
            report(done, total)

        return real(*args, report=slowly, **keywords)

    monkeypatch.setattr(cohort, "index", held)
    indexing.start(tmp_path / "data", "mine")
    assert reached.wait(60)
    with pytest.raises(InputError, match="indexed already"):
        indexing.start(tmp_path / "data", "mine")
    scans["mine"]["stop"] = True
    go.set()
    wait()
    assert scans["mine"]["finished"]
    assert scans["mine"]["error"].startswith("Stopped")
    assert cohort.list_cohorts() == []
    indexing.start(tmp_path / "data", "mine")
    wait()
    assert (scans["mine"]["error"], scans["mine"]["share"]) == ("", 1.0)
    assert scans["mine"]["text"] == "3 of 3 files"
    assert len(cohort.read("mine").table) == 3


def test_the_page_shows_the_progress_and_stops_on_request(scans, workspace):
    scans["mine"] = {"share": 0.25, "text": "1 of 4 files", "stop": False, "error": "", "finished": False}

    def page():
        import streamlit as st

        from pages.shared import indexing

        st.session_state["indexing"] = "mine"
        indexing.form()

    app = AppTest.from_function(page, default_timeout=60).run()
    assert not app.exception
    app.button[-1].click().run()
    assert scans["mine"]["stop"]
