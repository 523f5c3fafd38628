"""What people changed: one JSON line a change, appended, never rewritten; undoing is one more line."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from core.errors import CohortError
from core.slice_table import Cohort
from core.vocabulary import PLANES, SEQUENCES

LOG_NAME = "label_log.jsonl"
_WORDS = {"plane": PLANES, "sequence": SEQUENCES}


def append_label(
    cohort: Cohort, key: str, column: str, old: str | None, new: str | None, by: str, at: str | None = None
) -> str:
    """Write down that a person gave a slice a label.

    Parameters
    ----------
    cohort : Cohort
        Written already.
    key : str
        From `core.cohort.slice_key`, or a SeriesInstanceUID for all slices of a series.
    column : {"plane", "sequence"}
    old, new : str or None
        Words of the vocabulary; None for no label.
    by : str
        Who or what did it.
    at : str, optional
        When, ISO 8601; now if left out.

    Returns
    -------
    str
        The line's id, by which it can be undone.

    Raises
    ------
    CohortError
        For a column or word that does not exist.

    Notes
    -----
    A line is ``{"id", "key", "column", "old", "new", "by", "at"}``, with ``"batch"`` where many were written at once;
    an undoing line ``{"id", "undo", "by", "at"}``.
    """
    (line_id,) = _append(cohort, [_change(key, column, old, new)], by, at)
    return line_id


def append_labels(
    cohort: Cohort, changes: Iterable[tuple[str, str, str | None, str | None]], by: str, at: str | None = None
) -> str:
    """Write down that many slices were given labels at once: all of the lines stand in the log, or none does.

    Parameters
    ----------
    cohort : Cohort
        Written already.
    changes : iterable of (key, column, old, new)
        As for `append_label`.
    by, at : str
        As for `append_label`.

    Returns
    -------
    str
        The batch's id, that of its first line, by which `undo_label` takes all of it back.

    Raises
    ------
    CohortError
        For a column or word that does not exist, for no change at all, or where the log cannot be written.
    """
    batch = secrets.token_hex(6)
    lines = [{"batch": batch, **_change(*change)} for change in changes]
    if not lines:
        raise CohortError("A batch of labels needs one change at least; received none.")
    _append(cohort, [{"id": batch, **lines[0]}, *lines[1:]], by, at)
    return batch


def undo_label(cohort: Cohort, line_id: str, by: str, at: str | None = None) -> str:
    """Take a line of the log back, or all lines of a batch; undoing an undo restores the labels.

    Raises
    ------
    CohortError
        When the log has no such line.
    """
    if line_id not in {line["id"] for line in read_log(cohort)}:
        raise CohortError(f"The label log of cohort {cohort.name!r} has no line {line_id!r}.")
    (undo_id,) = _append(cohort, [{"undo": line_id}], by, at)
    return undo_id


def standing_batches(log: list[dict]) -> list[dict]:
    """List the batches that are not undone, newest first.

    Returns
    -------
    list of dict
        batch (its id), by, at and changes (how many lines it has).
    """
    undone = _undone(log)
    found: dict[str, dict] = {}
    for line in log:
        if "batch" in line and line["batch"] not in undone:
            about = {"batch": line["batch"], "by": line["by"], "at": line["at"], "changes": 0}
            found.setdefault(line["batch"], about)["changes"] += 1
    return list(reversed(found.values()))


def _change(key: str, column: str, old: str | None, new: str | None) -> dict:
    if column not in _WORDS or new not in (*_WORDS[column], None):
        raise CohortError(f"A label is a plane or a sequence of the vocabulary; received {new!r} for {column!r}.")
    return {"key": key, "column": column, "old": old, "new": new}


def _append(cohort: Cohort, lines: list[dict], by: str, at: str | None) -> list[str]:
    at = at or datetime.now(UTC).isoformat(timespec="seconds")
    lines = [{"id": secrets.token_hex(6), **line, "by": by, "at": at} for line in lines]
    data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    with (cohort.folder / LOG_NAME).open("ab", buffering=0) as file:
        # Two people who append at once do not mix their lines, and a full disk leaves no half of them.
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        try:
            whole = file.write(data) == len(data)
        except OSError:
            whole = False
        if not whole:
            file.truncate(size)
            raise CohortError(f"The label log of cohort {cohort.name!r} cannot be written: is the disk full?")
    return [line["id"] for line in lines]


def read_log(cohort: Cohort) -> list[dict]:
    """Read all lines, oldest first; a line that was cut off while it was written is left out.

    Raises
    ------
    CohortError
        For a line in the middle that is no JSON.
    """
    path = cohort.folder / LOG_NAME
    if not path.exists():
        return []
    *whole, _ = path.read_text("utf-8").split("\n")
    lines = []
    for number, text in enumerate(whole, start=1):
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            raise CohortError(f"Line {number} of {LOG_NAME} in cohort {cohort.name!r} is no JSON. Mend it.") from None
    return lines


def apply_label_log(table: pd.DataFrame, log: list[dict]) -> pd.DataFrame:
    """Give a table the labels that people gave its slices.

    Parameters
    ----------
    table : DataFrame
        With the labels of the headers.
    log : list of dict
        From `read_log`.

    Returns
    -------
    DataFrame
        A new table; a changed label's rule is ``person`` and its evidence says who and when.
    """
    undone = _undone(log)
    standing = [line for line in log if "key" in line and not {line["id"], line.get("batch")} & undone]
    if not standing:
        return table
    wanted = {line["key"] for line in standing}
    keys = table["SOPInstanceUID"] + ":" + table["frame"].astype("str")
    at = np.flatnonzero(keys.isin(wanted) | table["SeriesInstanceUID"].isin(wanted))
    # A table may have many rows and a log many lines: each is looked at once.
    rows = {key: [row] for key, row in zip(keys.iloc[at], at, strict=True)}
    series = table["SeriesInstanceUID"].iloc[at]
    rows.update({key: at[found] for key, found in series.groupby(series).indices.items()})
    names = [*_WORDS, *(f"{column}_rule" for column in _WORDS), "sequence_evidence"]
    values = {name: table[name].to_numpy(object, copy=True) for name in names}
    for line in standing:
        found = rows.get(line["key"], [])
        values[line["column"]][found] = line["new"]
        values[f"{line['column']}_rule"][found] = "person"
        if line["column"] == "sequence":
            values["sequence_evidence"][found] = f"{line['by']}, {line['at']}"
    return table.assign(
        **{name: pd.Series(column, table.index, dtype=table[name].dtype) for name, column in values.items()}
    )


def _undone(log: list[dict]) -> set[str]:
    """Ids of lines and batches that are taken back; a line that is itself undone undoes nothing."""
    undone: set[str] = set()
    for line in reversed(log):
        if "undo" in line and line["id"] not in undone:
            undone.add(line["undo"])
    return undone
