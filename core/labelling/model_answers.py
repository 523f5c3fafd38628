"""What a model says of a whole cohort: asked once in the background, kept in the cohort's folder.

The folder is named by the model's hash, so another model's answers never pass for these::

    workspace/cohorts/<name>/answers/<sha256>/
        status.json      state, progress, model, sha256, of which scan; replaced atomically
        slices.parquet   one row a slice   ┐ from core.classify, by SOPInstanceUID and frame or by SeriesInstanceUID;
        series.parquet   one row a series  ┘ without paths
"""

import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil

from core import classify, runs
from core.cohorts.slice_table import Cohort, replaced
from core.errors import CohortError, CoreError
from core.publishing import registry

_TABLES = ("slices", "series")


@dataclass(frozen=True)
class Answers:
    """A model's answers about a cohort, or the place where they will be.

    Attributes
    ----------
    folder : Path
    model : str
        ``shipped``, or a run's id.
    sha256 : str
        Of the model's file.
    created : str
        Of the cohort's scan.
    """

    folder: Path
    model: str
    sha256: str
    created: str

    @property
    def status(self) -> dict:
        """``state`` (none, running, done, failed, cancelled, interrupted), ``message``, ``done``, ``total``.

        Answers about another scan than the cohort's count as none.
        """
        try:
            status = json.loads((self.folder / "status.json").read_text("utf-8"))
        except FileNotFoundError:
            return {"state": "none"}
        if status["state"] == "running" and not runs.alive(status):
            status.update(state="interrupted", message="The server ended while the model was asked; ask it again.")
        return status if status["created"] == self.created else {"state": "none"}

    def table(self, name: str) -> pd.DataFrame:
        """Read ``slices`` or ``series``.

        Raises
        ------
        CohortError
            When the model was not asked to the end.
        """
        path = self.folder / f"{name}.parquet"
        if self.status["state"] != "done" or not path.exists():
            raise CohortError(f"There are no answers of model {self.model!r} yet. Ask it about the cohort first.")
        return pd.read_parquet(path)


def answers_of(cohort: Cohort, model: str | None = None) -> Answers:
    """Find where a model's answers about a cohort stand; there need not be any yet.

    Parameters
    ----------
    cohort : Cohort
    model : str, optional
        ``shipped``, or a run's id; the promoted one without, see `core.publishing.registry`.

    Raises
    ------
    CoreError
        When there is no such model.
    """
    found = registry.find(model)
    return Answers(cohort.folder / "answers" / found.sha256, found.id, found.sha256, cohort.created)


def start(cohort: Cohort, model: str | None = None) -> Answers:
    """Ask a model about every slice of a cohort in a thread of this process.

    Parsing and prediction happen in child processes, so the thread only waits. `Answers.status` tells how far it is.

    Parameters
    ----------
    cohort : Cohort
        With the labels of its headers (`core.cohort.read_unlogged`): verdicts compare the model with these.
    model : str, optional
        As for `answers_of`.

    Raises
    ------
    CohortError
        When this model is being asked already.
    """
    answers = answers_of(cohort, model)
    if answers.status["state"] == "running":
        raise CohortError(f"Model {answers.model!r} is being asked about cohort {cohort.name!r} already.")
    facts = {"model": answers.model, "sha256": answers.sha256, "created": cohort.created, "started": time.time()}
    # With when the process began: a later one of the same number must not be taken for it.
    facts |= {"pid": os.getpid(), "process_started": psutil.Process().create_time()}
    _write(answers, state="running", message="Starting", done=0, total=len(cohort.table), **facts)
    threading.Thread(target=_run, args=(cohort, answers), name=f"answers-{cohort.name}", daemon=True).start()
    return answers


def cancel(answers: Answers) -> None:
    """Ask a running classification to end; it does so before its next request to the model."""
    if answers.status["state"] == "running":
        _write(answers, state="cancelled", message="Cancelled")


class _Cancelled(Exception):
    """Ends a classification from within its report."""


def _run(cohort: Cohort, answers: Answers) -> None:
    def report(done: int, total: int) -> None:
        if answers.status["state"] != "running":
            raise _Cancelled
        _write(answers, done=done, total=total, message="Asking the model about slices")

    end = {"state": "failed", "message": "A bug ended it; the server's log says more. Please report it."}
    try:
        tables = classify.classify(cohort, answers.model, workers=os.cpu_count() or 1, report=report)
        keys = cohort.table[["path", "frame", "SOPInstanceUID"]]
        keyed = tables[0].merge(keys, on=["path", "frame"], validate="1:1"), tables[1]
        for name, table in zip(_TABLES, keyed, strict=True):
            with replaced(answers.folder / f"{name}.parquet") as fresh:
                table.drop(columns="path").to_parquet(fresh, index=False)
        end = {"state": "done", "message": ""}
    except _Cancelled:
        end = {}
    except CoreError as error:
        end = {"state": "failed", "message": str(error)}
    finally:
        # An exception that is no CoreError still reaches the log through the thread's own hook.
        if end:
            _write(answers, **end)


def _write(answers: Answers, **changes) -> None:
    path = answers.folder / "status.json"
    status = json.loads(path.read_text("utf-8")) if path.exists() else {}
    with replaced(path) as fresh:
        fresh.write_text(json.dumps(status | changes), "utf-8")
