"""What people said of slices: one JSON line an answer, appended, never rewritten; undoing is one more line."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from core.cohorts.slice_table import Cohort
from core.errors import CohortError
from core.vocabulary import PLANES, SEQUENCES

LOG_NAME = "label_log.jsonl"
#: What a person can say, by head.
WORDS = {"plane": PLANES, "sequence": SEQUENCES}


def append_label(
    cohort: Cohort,
    key: str | Sequence[str],
    column: str,
    old: str | None,
    new: str | None,
    by: str,
    at: str | None = None,
) -> str:
    """Write down that a person gave slices a label.

    Parameters
    ----------
    cohort : Cohort
        Written already.
    key : str or sequence of str
        From `core.cohort.slice_key`, or a SeriesInstanceUID for all slices of a series. Several of them are one
        answer, undone together.
    column : {"plane", "sequence"}
    old, new : str or None
        Words of the vocabulary; None for no label. `old` is what the person saw before.
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
        For a column or word that does not exist, or when the line cannot be written.

    Notes
    -----
    A line is ``{"id", "key", "column", "old", "new", "by", "at"}``, with ``"batch"`` where many were written at once;
    an undoing line ``{"id", "undo", "by", "at"}``.
    """
    (line_id,) = append_lines(cohort, [_change(key if isinstance(key, str) else list(key), column, old, new)], by, at)
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
    append_lines(cohort, [{"id": batch, **lines[0]}, *lines[1:]], by, at)
    return batch


def undo_label(cohort: Cohort, line_id: str, by: str, at: str | None = None) -> str:
    """Take a line of the log back, or by its first line a batch; undoing an undo restores the labels.

    Raises
    ------
    CohortError
        When the log has no such line, or the new one cannot be written.
    """
    if line_id not in {line["id"] for line in read_log(cohort)}:
        raise CohortError(f"The label log of cohort {cohort.name!r} has no line {line_id!r}.")
    (undo_id,) = append_lines(cohort, [{"undo": line_id}], by, at)
    return undo_id


def _change(key: str | list[str], column: str, old: str | None, new: str | None) -> dict:
    if column not in WORDS or new not in (*WORDS[column], None):
        raise CohortError(f"A label is a plane or a sequence of the vocabulary; received {new!r} for {column!r}.")
    return {"key": key, "column": column, "old": old, "new": new}


def append_lines(cohort: Cohort, lines: list[dict], by: str, at: str | None = None) -> list[str]:
    """Append lines, each with an id, who and when, all of them or none; returns their ids.

    What a line says is its writer's business: `append_label` here, `core.analysis.judgements` beside it.
    """
    at = at or datetime.now(UTC).isoformat(timespec="seconds")
    lines = [{"id": secrets.token_hex(6), **line, "by": by, "at": at} for line in lines]
    data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    try:
        with (cohort.folder / LOG_NAME).open("a+b", buffering=0) as file:
            # One at a time, so that the lines of people who append at once do not mix. The lock ends with the file.
            fcntl.flock(file, fcntl.LOCK_EX)
            whole = _end_of_last_line(file)
            file.truncate(whole)
            if file.write(data) != len(data):
                file.truncate(whole)
                raise OSError(None, "the disk is full")
    except OSError as error:
        raise CohortError(
            f"The answer was not kept: {LOG_NAME} of cohort {cohort.name!r} cannot be written ({error.strerror}). "
            "Make room or ask for the right to write, then answer again."
        ) from None
    return [line["id"] for line in lines]


def _end_of_last_line(file) -> int:
    """Where the next line belongs: what a killed writer left of a last line is no line."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        file.seek(start)
        if (at := file.read(end - start).rfind(b"\n")) >= 0:
            return start + at + 1
        end = start
    return 0


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
    *whole, _ = path.read_bytes().split(b"\n")
    lines = []
    for number, text in enumerate(whole, start=1):
        try:
            lines.append(json.loads(text))
        except ValueError:
            raise CohortError(f"Line {number} of {LOG_NAME} in cohort {cohort.name!r} is no JSON. Mend it.") from None
    return lines


def undone_by(log: list[dict]) -> dict[str, str]:
    """Tell which lines are taken back, and by which line.

    Examples
    --------
    >>> undone_by([{"id": "a", "key": "1"}, {"id": "b", "undo": "a"}])
    {'a': 'b'}
    >>> undone_by([{"id": "a", "key": "1"}, {"id": "b", "undo": "a"}, {"id": "c", "undo": "b"}])
    {'b': 'c'}
    """
    undone: dict[str, str] = {}
    for line in reversed(log):
        # A line that is itself undone undoes nothing.
        if "undo" in line and line["id"] not in undone:
            undone[line["undo"]] = line["id"]
    return undone


def standing(log: list[dict]) -> list[dict]:
    """Give the labels that nobody took back, oldest first."""
    undone = undone_by(log)
    return [line for line in log if "key" in line and line["id"] not in undone and line.get("batch") not in undone]


def standing_batches(log: list[dict]) -> list[dict]:
    """List the batches that are not undone, newest first.

    Returns
    -------
    list of dict
        batch (its id), by, at and changes (how many lines it has).
    """
    undone = undone_by(log)
    found: dict[str, dict] = {}
    for line in log:
        if "batch" in line and line["batch"] not in undone:
            about = {"batch": line["batch"], "by": line["by"], "at": line["at"], "changes": 0}
            found.setdefault(line["batch"], about)["changes"] += 1
    return list(reversed(found.values()))


def history(log: list[dict], by: str) -> tuple[list[dict], list[dict]]:
    """Give what a person can undo and redo, as an editor would.

    Parameters
    ----------
    log : list of dict
        From `read_log`.
    by : str
        Whose answers; those of others are not touched.

    Returns
    -------
    done : list of dict
        Standing labels of this person; the last is undone first.
    taken_back : list of dict
        Labels that were undone since this person's last new one; the last is redone first.

    Examples
    --------
    >>> log = [{"id": "a", "key": "1", "by": "Ada"}, {"id": "b", "undo": "a", "by": "Ada"}]
    >>> [[line["id"] for line in part] for part in history(log, "Ada")]
    [[], ['a']]
    """
    by_id = {line["id"]: line for line in log}
    done: list[dict] = []
    taken_back: list[dict] = []
    for line in log:
        if "key" in line:
            if line["by"] == by:
                done.append(line)
                taken_back.clear()
            continue
        label = line
        while "undo" in label:
            label = by_id[label["undo"]]
        # A line that undoes an undo brings the label back: each moves it to the other side.
        for here, there in ((done, taken_back), (taken_back, done)):
            if label in here:
                here.remove(label)
                there.append(label)
                break
    return done, taken_back


def keys_of(line: dict) -> list[str]:
    """Give the slices and series that a line labels."""
    return [line["key"]] if isinstance(line["key"], str) else line["key"]


def apply_label_log(table: pd.DataFrame, log: list[dict]) -> pd.DataFrame:
    """Give a table the labels that people gave its slices; of several the newest counts.

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
    lines = standing(log)
    if not lines:
        return table
    rows_of = rows_by_key(table.reset_index(drop=True), lines)
    names = [*WORDS, *(f"{column}_rule" for column in WORDS), "sequence_evidence"]
    # A log may have many lines; writing to a frame costs a thousand times what writing to an array does.
    values = {name: table[name].to_numpy(object, copy=True) for name in names}
    for line in lines:
        rows = np.array([row for key in keys_of(line) for row in rows_of.get(key, ())], int)
        values[line["column"]][rows] = line["new"]
        values[f"{line['column']}_rule"][rows] = "person"
        if line["column"] == "sequence":
            values["sequence_evidence"][rows] = f"{line['by']}, {line['at']}"
    return table.assign(
        **{name: pd.Series(column, table.index, dtype=table[name].dtype) for name, column in values.items()}
    )


def rows_by_key(table: pd.DataFrame, lines: list[dict]) -> dict[str, list]:
    """Find the rows of a slice table that lines name, by key."""
    # The log is short and the table long, so only what is named is looked at.
    keys = {key for line in lines for key in keys_of(line)}
    instances = {key.rpartition(":")[0] for key in keys}
    of_series = table.loc[table["SeriesInstanceUID"].isin(keys), "SeriesInstanceUID"]
    of_slices = table.loc[table["SOPInstanceUID"].isin(instances), ["SOPInstanceUID", "frame"]]
    rows: dict[str, list] = {key: list(found) for key, found in of_series.groupby(of_series).groups.items()}
    for row, uid, frame in of_slices.itertuples():
        rows.setdefault(f"{uid}:{frame}", []).append(row)
    return rows
