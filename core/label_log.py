"""What people changed: one JSON line a change, appended, never rewritten; undoing is one more line."""

import json
import secrets
from datetime import UTC, datetime

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
    A line is ``{"id", "key", "column", "old", "new", "by", "at"}``; an undoing line ``{"id", "undo", "by", "at"}``.
    """
    if column not in _WORDS or new not in (*_WORDS[column], None):
        raise CohortError(f"A label is a plane or a sequence of the vocabulary; received {new!r} for {column!r}.")
    return _append(cohort, {"key": key, "column": column, "old": old, "new": new}, by, at)


def undo_label(cohort: Cohort, line_id: str, by: str, at: str | None = None) -> str:
    """Take a line of the log back; undoing an undo restores the label.

    Raises
    ------
    CohortError
        When the log has no such line.
    """
    if line_id not in {line["id"] for line in read_log(cohort)}:
        raise CohortError(f"The label log of cohort {cohort.name!r} has no line {line_id!r}.")
    return _append(cohort, {"undo": line_id}, by, at)


def _append(cohort: Cohort, line: dict, by: str, at: str | None) -> str:
    line = {"id": secrets.token_hex(6), **line, "by": by, "at": at or datetime.now(UTC).isoformat(timespec="seconds")}
    # One write of one line, so that two people who append at once do not mix their lines.
    with (cohort.folder / LOG_NAME).open("ab", buffering=0) as file:
        file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
    return line["id"]


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
    undone: set[str] = set()
    for line in reversed(log):
        # A line that is itself undone undoes nothing.
        if "undo" in line and line["id"] not in undone:
            undone.add(line["undo"])
    standing = [line for line in log if "key" in line and line["id"] not in undone]
    if not standing:
        return table
    table = table.copy()
    keys = table["SOPInstanceUID"] + ":" + table["frame"].astype("str")
    # The log is short and the table long: look its lines up in one index each.
    by_slice = pd.Series(table.index, index=keys)
    by_series = table.groupby("SeriesInstanceUID").groups
    for line in standing:
        rows = by_series.get(line["key"], [])
        if not len(rows) and line["key"] in by_slice.index:
            rows = [by_slice[line["key"]]]
        table.loc[rows, line["column"]] = line["new"]
        table.loc[rows, f"{line['column']}_rule"] = "person"
        if line["column"] == "sequence":
            table.loc[rows, "sequence_evidence"] = f"{line['by']}, {line['at']}"
    return table
