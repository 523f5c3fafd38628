"""Work that takes longer than a page may: a thread each, followed and cancelled from any session."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from core.errors import CoreError
from pages.shared import widgets

#: What stays known of this process's tasks, the newest.
_MOST = 32
_tasks: dict[tuple, "Task"] = {}
_lock = threading.Lock()


class _Cancelled(Exception):
    """Somebody does not want the answer any more."""


@dataclass
class Task:
    """One piece of work: its progress, and what came of it."""

    done: int = 0
    total: int = 0
    finished: bool = False
    cancelled: bool = False
    error: str = ""
    bug: Exception | None = None
    result: Any = None

    def report(self, done: int, total: int) -> None:
        """Take progress down; ends the work when it was cancelled."""
        self.done, self.total = done, total
        if self.cancelled:
            raise _Cancelled


def start(key: tuple, work: Callable[[Callable[[int, int], None]], Any]) -> Task:
    """Do ``work(report)`` in a thread, unless the same is being done already.

    Parameters
    ----------
    key : tuple
        What the answer depends on.
    work : callable
        A `CoreError` that it raises becomes the task's ``error``; any other error is a bug, which `get` raises.
    """
    with _lock:
        task = _tasks.get(key)
        if task is not None and not task.finished:
            return task
        task = _tasks[key] = Task()
        for old in [other for other, one in _tasks.items() if one.finished][: max(0, len(_tasks) - _MOST)]:
            del _tasks[old]

    def run() -> None:
        try:
            task.result = work(task.report)
        except _Cancelled:
            task.cancelled = True
        except CoreError as error:
            task.error = str(error)
        except Exception as error:
            logging.getLogger(__name__).exception("A task failed.")
            task.bug = error
        finally:
            task.finished = True

    threading.Thread(target=run, name=f"task-{key[0]}", daemon=True).start()
    return task


def get(key: tuple) -> Task | None:
    """Return the task of a key, finished or not.

    Raises
    ------
    Exception
        What the work raised, unless it was a `CoreError`: a bug shows itself on the page, once.
    """
    task = _tasks.get(key)
    if task is not None and task.bug is not None:
        forget(key)
        raise task.bug
    return task


def forget(key: tuple) -> None:
    """Forget an answer, so that the same work can be asked for anew."""
    _tasks.pop(key, None)


@st.fragment(run_every=0.5)
def follow(key: tuple, what: str, unit: str = "slices") -> None:
    """Show a task's progress and a button that ends it; redraw the page when it ends."""
    task = _tasks[key]
    if task.finished:
        st.rerun()
    said = f"{what}: {task.done:,} of {task.total:,} {unit}"
    if widgets.progress(task.done, task.total, said, key=f"cancel-{key[0]}"):
        task.cancelled = True
