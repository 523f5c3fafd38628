"""The badge on the page: made in the background, kept by what it depends on, said in words and signs."""

import json
import threading

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core import inference, runs
from core.config import RunConfig
from core.errors import ChildTimeout
from core.explanations.badge import CHECKS, Badge
from core.explanations.question import Question
from pages.shared import cached, tasks
from pages.shared.subject import Subject

GOOD = {"model": 0.0, "decision": 1.0, "head": 0.0, "stable": 1.0}
BAD = {"model": 1.0, "decision": 0.0, "head": 1.0, "stable": 0.0}
PATIENCE_S = 20


def script():
    import streamlit as st

    from pages.shared import explain_badge

    explain_badge.draw(*st.session_state["given"])


class Explainer:
    """An explainer that answers when it is let."""

    def __init__(self, values, error=None):
        self.values, self.error, self.may, self.asked = values, error, threading.Event(), 0

    def badge(self, bundle, images, question):
        self.asked += 1
        assert images.shape == (1, 32, 32)
        assert self.may.wait(PATIENCE_S)
        if self.error:
            raise self.error
        return [Badge.of("T1", self.values)]


@pytest.fixture
def given(workspace, request):
    """A run with a card, a slice of its own for each test, and a question."""
    run = runs.create_run(RunConfig("a-run", "transfer", "made", image_size=32), "a-run", state="done")
    run.bundle.mkdir()
    card = {"name": "a", "kind": "transfer", "classes": {"sequence": ["T1"]}, "input_shape": [32, 32, 1], "sha256": "0"}
    (run.bundle / "card.json").write_text(json.dumps(card))
    name = request.node.name
    pixels = np.random.default_rng(abs(hash(name))).random((40, 40)).astype(np.float32)
    return run, Subject(name, "a slice", pixels, None, 1.0, None, {}), Question("sequence")


def opened(given, explainer, monkeypatch):
    monkeypatch.setattr(inference, "get_explainer", lambda: explainer)
    app = AppTest.from_function(script, default_timeout=PATIENCE_S)
    app.session_state["given"] = given
    return app.run()


def finish(given, explainer):
    explainer.may.set()
    task = tasks.get(cached.badge_slot(*given)[1])
    for thread in threading.enumerate():
        if thread.name == "task-badge":
            thread.join(PATIENCE_S)
    assert task.finished


def words(app) -> str:
    assert not app.exception, app.exception
    parts = [*app.markdown, *app.caption, *(one for one in app.main if one.type == "html"), *app.get("html")]
    return " ".join(str(getattr(part, "value", "") or part.proto.body) for part in parts)


def test_page_does_not_wait_and_then_says_it(given, monkeypatch):
    explainer = Explainer({**GOOD, "head": 0.97})
    app = opened(given, explainer, monkeypatch)
    assert "Checking whether this map may be believed" in words(app)
    finish(given, explainer)
    said = words(app.run())
    assert "! Take this map with care" in said and "shortcut" in said
    assert "✗ In the head" in said and "✓ Stable" in said and "97 %" in said
    for wording in CHECKS.values():
        assert wording.title in said and wording.measure in said
    app.run()
    assert explainer.asked == 1


def test_another_question_or_slice_is_asked_anew(given, monkeypatch):
    run, it, question = given
    first = cached.badge_slot(run, it, question)
    assert cached.badge_slot(run, it, question)[0] is first[0]
    assert cached.badge_slot(run, it, Question("sequence", method="saliency"))[1] != first[1]
    changed = Subject(it.id, it.title, it.pixels * np.linspace(0, 1, 40), None, 1.0, None, {})
    assert cached.badge_slot(run, changed, question)[1] != first[1]


def test_what_must_not_be_believed_says_so_without_colour(given, monkeypatch):
    explainer = Explainer(BAD)
    app = opened(given, explainer, monkeypatch)
    finish(given, explainer)
    said = words(app.run())
    assert "✗ Do not believe this map" in said
    assert said.count("✗") >= 5


def test_a_failure_says_why_and_can_be_tried_again(given, monkeypatch):
    explainer = Explainer(GOOD, ChildTimeout("It took longer than 60 s."))
    app = opened(given, explainer, monkeypatch)
    finish(given, explainer)
    app.run()
    assert "It took longer than 60 s." in words(app)
    explainer.error = None
    explainer.may.clear()
    next(button for button in app.button if button.label == "Check this map").click()
    app.run()
    finish(given, explainer)
    assert "✓ This map may be believed" in words(app.run())
