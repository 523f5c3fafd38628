"""Work in threads that pages follow: what comes of it, and of what goes wrong."""

import time

import pytest

from core.errors import InputError
from pages.shared import tasks


def done(key: tuple, work) -> tasks.Task:
    task = tasks.start(key, work)
    for _ in range(500):
        if task.finished:
            break
        time.sleep(0.01)
    assert task.finished
    return task


def test_an_answer_is_kept():
    assert done(("answer",), lambda report: 42).result == 42 and tasks.get(("answer",)).result == 42


def test_what_a_person_can_mend_is_said():
    def work(report):
        raise InputError("This is no slice.")

    assert done(("wrong",), work).error == "This is no slice." and tasks.get(("wrong",)).result is None


def test_a_bug_shows_itself_once_and_can_be_tried_again():
    def work(report):
        raise ZeroDivisionError("a bug")

    done(("bug",), work)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        tasks.get(("bug",))
    assert tasks.get(("bug",)) is None
    assert done(("bug",), lambda report: 1).result == 1


def test_cancelled_work_ends():
    def work(report):
        for at in range(1000):
            report(at, 1000)
            time.sleep(0.01)

    task = tasks.start(("long",), work)
    task.cancelled = True
    assert done(("long",), work) is task and not task.error and task.result is None
