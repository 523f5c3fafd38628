"""A label table given to a cohort: one batch of its label log, which is undone as a whole; and exported from it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core import cohort
from core.cohorts.listing import find_files, spelled
from core.cohorts.pseudonyms import joined, pseudonym, shown_paths
from core.cohorts.slice_table import Cohort, slice_keys
from core.labelling.label_log import append_labels
from core.labelling.label_tables import KEYS, LABELS, LabelTable
from core.labelling.path_keys import find_paths
from core.reading import archives

#: Words that say that nothing is said; ``n/a`` is that of BIDS.
_NOTHING = ("", "n/a", "na", "nan", "none", "null", "unknown", "-", "?")
_ALL_FRAMES, _NO_FRAME = -1, -2
#: Columns of an exported label table; ``path`` is the shown one.
_EXPORTED = (
    "shown_path", "SeriesInstanceUID", "SOPInstanceUID", "frame", "plane", "plane_rule", "sequence", "sequence_rule",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What a label table did to a cohort.

    Attributes
    ----------
    n_rows, n_matched : int
        Rows of the table, and those that name something of the cohort.
    n_changed : int
        Labels that are another now, counted by slice.
    batch : str
        Id of the batch in the label log, for `core.cohort.undo_label`; "" when nothing changed.
    unmatched : tuple of str
        Keys that name nothing here, as they may be shown.
    contradicted : tuple of str
        Keys that the table gives different labels; they are left as they were.
    unknown : dict of int
        Words that are in no vocabulary, to how often they stand there.
    """

    n_rows: int
    n_matched: int
    n_changed: int
    batch: str
    unmatched: tuple[str, ...]
    contradicted: tuple[str, ...]
    unknown: dict[str, int]

    def sentences(self, name: str, at_most: int = 10) -> list[str]:
        """Say it in words, a line a matter; of long lists the first `at_most` and the count."""
        said = [f"{name}: {self.n_matched} of {self.n_rows} rows matched, {self.n_changed} labels changed."]
        for what, words in (
            ("Keys that match nothing", self.unmatched),
            ("Keys with several labels, left as they are", self.contradicted),
            ("Words that nobody knows", [f"{word} ({n})" for word, n in self.unknown.items()]),
        ):
            if words:
                more = f" and {len(words) - at_most} more" if len(words) > at_most else ""
                said.append(f"{what} ({len(words)}): {', '.join(words[:at_most])}{more}")
        return said


def index(
    path: Path | str, name: str, labels: LabelTable | None = None, **options: Any
) -> tuple[Cohort, Outcome | None]:
    """Index a folder or an archive, and give the cohort the labels of a table.

    Parameters
    ----------
    path, name
        As for `core.cohort.index`.
    labels : LabelTable, optional
    **options
        More of `core.cohort.index`.

    Returns
    -------
    cohort : Cohort
        As `core.cohort.read` gives it.
    outcome : Outcome or None
        None without a table.

    Raises
    ------
    InputError, CohortError
        As `core.cohort.index`.
    """
    subjects = subjects_of(labels, Path(path)) if labels else None
    made = cohort.index(path, name, subjects=subjects, **options)
    if labels is None:
        return made, None
    outcome = apply(labels, made)
    return cohort.read(made.name), outcome


def subjects_of(labels: LabelTable, path: Path) -> dict[str, str]:
    """Find the subject of each file that the table names by its path.

    Parameters
    ----------
    labels : LabelTable
    path : Path
        What is indexed.

    Returns
    -------
    dict of str
        From path, relative to the cohort's root, to subject. A path with two subjects has none.
    """
    rows = labels.rows[(labels.rows["subject"] != "") & (labels.rows["path"] != "")]
    if rows.empty:
        return {}
    root, searched, _ = archives.opened(path)
    files = dict.fromkeys(map(spelled, find_files(searched)), "")
    found = rows.assign(file=rows["path"].map(find_paths(rows["path"].unique(), files, root)))
    by_file = found.dropna(subset="file").groupby("file")["subject"]
    return by_file.first()[by_file.nunique() == 1].to_dict()


def apply(labels: LabelTable, made: Cohort) -> Outcome:
    """Give a cohort the labels of a table, as one batch of its log.

    Parameters
    ----------
    labels : LabelTable
    made : Cohort
        As `core.cohort.read` gives it. Labels that the table confirms are left alone, so that a table that was
        exported from a cohort changes nothing in it.

    Returns
    -------
    Outcome
    """
    table, rows = made.table.reset_index(drop=True), labels.rows
    words = {
        column: {word: known(word) if word else None for word in rows[column].unique()}
        for column, known in LABELS.items()
    }
    unknown = Counter(
        word
        for column in LABELS
        for word in rows[column]
        if words[column][word] is None and word.lower() not in _NOTHING
    )
    meant = rows.assign(**{column: rows[column].map(words[column]) for column in LABELS})
    numbers = pd.to_numeric(rows["frame"], errors="coerce").fillna(_NO_FRAME)
    meant["frame"] = numbers.where(rows["frame"] != "", _ALL_FRAMES).astype("int64")
    meant = meant.assign(**_match(meant, table, made.root))
    found = meant[meant["role"].notna()]
    clash = pd.Series(False, found.index)
    for column in LABELS:
        clash |= found.groupby(["role", "key", "frame"])[column].transform("nunique") > 1
    changes, n_changed = _changes(_stated(found[~clash], table), table)
    named = {joined(subject): pseudonym(subject) for subject in rows["subject"].unique() if subject}
    hidden = {**made.identities, **named}
    (shown_name,) = shown_paths([labels.name], hidden).values()
    batch = append_labels(made, changes, f"label table {shown_name}") if changes else ""
    return Outcome(
        n_rows=len(rows),
        n_matched=len(found),
        n_changed=n_changed,
        batch=batch,
        unmatched=_shown_keys(meant[meant["role"].isna()], hidden),
        contradicted=_shown_keys(found[clash], hidden),
        unknown=dict(unknown.most_common()),
    )


def _shown_keys(rows: pd.DataFrame, hidden: Mapping[str, str]) -> tuple[str, ...]:
    """What the rows name slices by, as it may be shown."""
    given = rows["path"].where(rows["path"] != "", rows["SOPInstanceUID"])
    given = given.where(given != "", rows["SeriesInstanceUID"])
    return tuple(shown_paths([key or "rows without a key" for key in given.unique()], hidden).values())


def label_table(made: Cohort) -> pd.DataFrame:
    """Give the labels of a cohort as a label table; read again, it changes nothing.

    Returns
    -------
    DataFrame
        One row a slice: path (as it may be shown), SeriesInstanceUID, SOPInstanceUID, frame, plane, plane_rule,
        sequence, sequence_rule.
    """
    return made.table[list(_EXPORTED)].rename(columns={"shown_path": "path"}).reset_index(drop=True)


def _match(rows: pd.DataFrame, table: pd.DataFrame, root: Path) -> dict[str, pd.Series]:
    """Say by which of its keys each row is found, and what that key is called in the slice table."""
    paths = find_paths(rows["path"].unique(), dict(zip(table["path"], table["shown_path"], strict=True)), root)
    role, key = pd.Series(None, rows.index, dtype="str"), pd.Series(None, rows.index, dtype="str")
    by_path = rows["path"].map(paths)
    for name in KEYS:
        values = by_path if name == "path" else rows[name]
        all_frames = rows["frame"] == _ALL_FRAMES
        if name == "SeriesInstanceUID":
            # A row about one slice says nothing of its whole series.
            there = values.isin(set(table[name])) & all_frames & (rows["SOPInstanceUID"] == "")
        else:
            frames = pd.MultiIndex.from_frame(table[[name, "frame"]])
            one_frame = pd.MultiIndex.from_arrays([values, rows["frame"]]).isin(frames)
            there = values.isin(set(table[name])) & (all_frames | one_frame)
        role[there], key[there] = name, values[there]
    return {"role": role, "key": key}


def _stated(found: pd.DataFrame, table: pd.DataFrame) -> dict[str, np.ndarray]:
    """What the rows say of each slice, None where they say nothing; special rows after general ones."""
    stated = {column: np.full(len(table), None, object) for column in LABELS}
    frames = table["frame"].to_numpy()
    rank = found["role"].map({name: place for place, name in enumerate(KEYS)})
    found = found.assign(rank=rank, whole=found["frame"] == _ALL_FRAMES)
    for role, rows in found.sort_values(["rank", "whole"], ascending=[True, False]).groupby("role", sort=False):
        places = table.groupby(role).indices
        for key, frame, plane, sequence in rows[["key", "frame", "plane", "sequence"]].itertuples(index=False):
            at = places[key]
            at = at if frame == _ALL_FRAMES else at[frames[at] == frame]
            for column, value in (("plane", plane), ("sequence", sequence)):
                if isinstance(value, str):
                    stated[column][at] = value
    return stated


def _changes(
    stated: dict[str, np.ndarray], table: pd.DataFrame
) -> tuple[list[tuple[str, str, str | None, str | None]], int]:
    """Lines for the log, one a series where all of it changes to one label, else one a slice; and how many change."""
    lines, n_changed = [], 0
    sizes = table.groupby("SeriesInstanceUID")["frame"].transform("size")
    for column, new in stated.items():
        changed = table[["SeriesInstanceUID", "SOPInstanceUID", "frame"]].assign(new=new, old=table[column], size=sizes)
        changed = changed[changed["new"].notna() & (changed["new"] != changed["old"])]
        n_changed += len(changed)
        by_series = changed.groupby("SeriesInstanceUID")
        whole = by_series["new"].transform("size") == changed["size"]
        for side in ("new", "old"):
            whole &= by_series[side].transform("nunique", dropna=False) == 1
        series = changed[whole].drop_duplicates("SeriesInstanceUID")
        slices = changed[~whole]
        keys = [*series["SeriesInstanceUID"], *slice_keys(slices)]
        both = pd.concat([series, slices])
        old = both["old"].astype(object).where(both["old"].notna(), None)
        lines += zip(keys, [column] * len(keys), old, both["new"], strict=True)
    return lines, n_changed
