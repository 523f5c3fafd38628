"""The badge on the page: made in the background, kept by what it depends on, said in words and signs."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core import inference
from core.errors import ChildTimeout
from core.explanations import map_desk
from core.explanations.badge import CHECKS, Badge
from core.explanations.desk import Ask
from core.explanations.question import Question

GOOD = {"model": 0.0, "decision": 1.0, "head": 0.0, "stable": 1.0}
BAD = {"model": 1.0, "decision": 0.0, "head": 1.0, "stable": 0.0}
PATIENCE_S = 20


def script():
    import streamlit as st

    from pages.shared import explain_badge

    explain_badge.draw("a-client", st.session_state["given"])


class Explainer:
    """An explainer that answers when it is let, and notes which slices it was asked about."""

    pid = None

    def __init__(self, values, error=None):
        self.values, self.error, self.may, self.asked = values, error, threading.Event(), []

    def badge(self, bundle, images, question):
        self.asked += [int(image[0, 0]) for image in images]
        assert self.may.wait(PATIENCE_S)
        if self.error:
            raise self.error
        return [Badge.of("T1", self.values)] * len(images)


def ask(at: int = 0, **more) -> Ask:
    return Ask(Path("a"), "a", Question("sequence", **more), str(at), lambda: (np.full((8, 8), float(at)), None))


@pytest.fixture(autouse=True)
def fresh(workspace):
    map_desk._desk.cache_clear()


def opened(explainer, monkeypatch, given=None):
    monkeypatch.setattr(inference, "get_explainer", lambda: explainer)
    app = AppTest.from_function(script, default_timeout=PATIENCE_S)
    app.session_state["given"] = given or ask()
    return app.run()


def finish(explainer):
    explainer.may.set()
    deadline = time.monotonic() + PATIENCE_S
    while map_desk.badges_desk().waiting("a-client").n:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def words(app) -> str:
    assert not app.exception, app.exception
    parts = [*app.markdown, *app.caption, *(one for one in app.main if one.type == "html"), *app.get("html")]
    return " ".join(str(getattr(part, "value", "") or part.proto.body) for part in parts)


def test_page_does_not_wait_and_then_says_it(monkeypatch):
    explainer = Explainer({**GOOD, "head": 0.97})
    app = opened(explainer, monkeypatch)
    assert "Checking whether this map may be believed" in words(app)
    finish(explainer)
    said = words(app.run())
    assert "! Take this map with care" in said and "shortcut" in said
    assert "✗ In the head" in said and "✓ Stable" in said and "97 %" in said
    for wording in CHECKS.values():
        assert wording.title in said and wording.measure in said
    app.run()
    assert explainer.asked == [0]


def test_slices_passed_by_are_not_checked(monkeypatch):
    explainer = Explainer(GOOD)
    app = opened(explainer, monkeypatch)
    for at in (1, 2, 3):
        app.session_state["given"] = ask(at)
        app.run()
    finish(explainer)
    assert "may be believed" in words(app.run()) and explainer.asked == [0, 3]


def test_another_question_is_asked_anew(monkeypatch):
    explainer = Explainer(GOOD)
    app = opened(explainer, monkeypatch)
    finish(explainer)
    app.session_state["given"] = ask(method="saliency")
    app.run()
    finish(explainer)
    assert explainer.asked == [0, 0]


def test_what_must_not_be_believed_says_so_without_colour(monkeypatch):
    explainer = Explainer(BAD)
    app = opened(explainer, monkeypatch)
    finish(explainer)
    said = words(app.run())
    assert "✗ Do not believe this map" in said
    assert said.count("✗") >= 5


def test_a_failure_says_why_and_can_be_tried_again(monkeypatch):
    explainer = Explainer(GOOD, ChildTimeout("It took longer than 60 s."))
    app = opened(explainer, monkeypatch)
    finish(explainer)
    app.run()
    assert "It took longer than" in words(app) and "Choose a faster method" in words(app)
    explainer.error = None
    next(button for button in app.button if button.label == "Check this map").click()
    app.run()
    finish(explainer)
    assert "✓ This map may be believed" in words(app.run())
