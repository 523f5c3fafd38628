"""All runs as one table, read from their folders; a run that has not changed is not read again."""

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core import runs
from core.comparing import run_notes
from core.errors import RunError
from core.runs import Run

#: State of a folder that says nothing that can be read; beside `core.runs.STATES`.
UNREADABLE = "unreadable"

_TEXT = ("id", "name", "state", "kind", "cohort", "backbone", "weights", "preset", "split", "note", "message")
_NUMBERS = ("accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "ece", "seconds", "epochs")
_LISTS = ("label", "tags")
#: Of the table, in the order of the CSV file.
COLUMNS = (
    "name", "id", "state", "kind", "label", "cohort", "backbone", "weights", "preset", "split", *_NUMBERS, "created",
    "tags", "note", "message",
)  # fmt: skip
#: Fields that a filter has words of; ``label`` and ``tags`` have several a run.
FILTERED = ("kind", "label", "cohort", "state", "tags")

_SEARCHED = ("name", "id", "note", "cohort", "backbone", "preset")
#: A folder that changed so short a time before it was read may change again without a new time: clocks tick.
_TICK_NS = 50_000_000
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Filters:
    """Which runs are asked for.

    Attributes
    ----------
    text : str
        All words must stand in name, id, note, tags, cohort, backbone or preset.
    words : dict of str to sequence of str
        By a field of `FILTERED`, what it may be; nothing there allows all.
    """

    text: str
    words: dict[str, Sequence[str]]


class RunTable:
    """The table of all runs of a workspace; keeps what it read, and reads anew only what has changed.

    Parameters
    ----------
    folder : Path
        With a folder a run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._known: dict[str, tuple[int, dict | None]] = {}
        self._table = _framed([])

    def read(self) -> pd.DataFrame:
        """Give a row a run, newest first, with `COLUMNS`; the same object while nothing has changed.

        Shares are from 0 to 1, ``created`` is a time in UTC. Of runs with several heads a score is the mean over
        them, on the part of the split that ``scores.json`` names. Read-only.

        A run is read again when the time of its folder changes. It does with every file that is made or replaced,
        as all of a run's are that a row is made of, so one look a run is enough.
        """
        with self._lock:
            known = {run_id: self._current(run_id, changed) for run_id, changed in _times(self._folder).items()}
            before, self._known = self._known, known
            if [row for _, row in before.values() if row] != (rows := [row for _, row in known.values() if row]):
                self._table = _framed(rows)
            return self._table

    def _current(self, run_id: str, changed: int) -> tuple[int, dict | None]:
        known = self._known.get(run_id)
        if known and known[0] == changed and not (known[1] and known[1]["state"] == "running"):
            return known
        # A run that says it runs is asked each time: its process may have been killed, which changes no file.
        run = Run(run_id, Path(self._folder, run_id))
        settled = time.time_ns() - changed > _TICK_NS
        return changed if settled else 0, read_row(run) if (run.folder / "status.json").exists() else None


def read_row(run: Run) -> dict[str, Any]:
    """Read one run's row; a damaged folder gives one whose state is `UNREADABLE`."""
    notes = run_notes.read(run)
    row = dict.fromkeys(_TEXT, "") | dict.fromkeys(_NUMBERS, np.nan) | {"label": (), "created": None}
    row |= {"id": run.id, "name": notes.name or run.id, "note": notes.note, "tags": notes.tags}
    try:
        status, config, scores = run.status, run.config, run.scores()
    except (RunError, OSError, ValueError) as error:
        return row | {"state": UNREADABLE, "message": str(error)}
    heads = [parts.get(scores.get("split"), {}) for parts in scores.get("heads", {}).values()]
    low, high = scores.get("accuracy_interval") or (np.nan, np.nan)
    return row | {
        "name": notes.name or config.name, "state": status["state"], "message": status.get("message") or "",
        "kind": config.kind, "label": config.heads, "cohort": config.cohort, "backbone": config.backbone,
        "weights": Path(config.weights).name, "preset": config.preset, "split": config.split,
        "accuracy": scores.get("accuracy"), "accuracy_low": low, "accuracy_high": high,
        "balanced_accuracy": _mean(heads, "balanced_accuracy"), "ece": _mean(heads, "ece"),
        "seconds": _seconds(status), "epochs": _epochs(run), "created": _time(status.get("created")),
    }  # fmt: skip


def select(table: pd.DataFrame, filters: Filters) -> pd.DataFrame:
    """Keep the rows that are asked for, in their order."""
    keep = np.ones(len(table), bool)
    for field, allowed in filters.words.items():
        if allowed:
            wanted = set(allowed)
            keep &= np.fromiter((not wanted.isdisjoint(_words(value)) for value in table[field]), bool, len(table))
    if filters.text.strip():
        words = filters.text.lower().split()
        said = zip(*(table[field] for field in _SEARCHED), table["tags"].map(" ".join), strict=True)
        keep &= np.fromiter((all(word in " ".join(one).lower() for word in words) for one in said), bool, len(table))
    return table[keep]


def words_of(table: pd.DataFrame, field: str) -> list[str]:
    """List the words of a filtered field, sorted."""
    return sorted({word for value in table[field] for word in _words(value) if word})


def to_csv(table: pd.DataFrame) -> bytes:
    """Write the table as CSV; labels and tags are joined by a space."""
    joined = {field: table[field].map(" ".join) for field in _LISTS}
    return table.assign(**joined).to_csv(index=False).encode()


def _times(folder: Path) -> dict[str, int]:
    """Time of the last change of each folder that may be a run's, in ns."""
    found = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # it has just been removed
                if runs.is_id(entry.name):
                    found[entry.name] = entry.stat().st_mtime_ns
    return found


def _framed(rows: list[dict]) -> pd.DataFrame:
    rows = sorted(rows, key=lambda row: (row["created"] or _NEVER, row["id"]), reverse=True)
    columns: dict[str, Any] = {column: [row[column] for row in rows] for column in COLUMNS}
    for column in _TEXT:
        columns[column] = pd.array(columns[column], dtype="str")
    for column in _NUMBERS:
        columns[column] = np.array(columns[column], dtype="float64")  # None becomes NaN
    for column in _LISTS:
        columns[column] = pd.Series(columns[column], dtype="object")
    columns["created"] = pd.DatetimeIndex(columns["created"], dtype="datetime64[us, UTC]")
    return pd.DataFrame(columns)


def _words(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else (value,)


def _mean(heads: list[dict], field: str) -> float | None:
    values = [head[field] for head in heads if head.get(field) is not None]
    return float(np.mean(values)) if values else None


def _epochs(run: Run) -> int | None:
    try:
        return (run.folder / "metrics.jsonl").read_bytes().count(b"\n")
    except OSError:
        return None


def _time(text: Any) -> datetime | None:
    try:
        when = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _seconds(status: dict[str, Any]) -> float | None:
    """Seconds from start to end of a run that has ended."""
    started, ended = _time(status.get("started")), _time(status.get("updated"))
    if status["state"] in runs.ACTIVE or started is None or ended is None:
        return None
    return max(0.0, (ended - started).total_seconds())
