"""Parts of a cohort that somebody picked: a cohort of their own, or a queue to be labelled. No file is copied."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from core.cohorts.cohort_files import check_name, list_cohorts, read, read_unlogged, write
from core.cohorts.slice_table import Cohort, replaced, slice_keys
from core.errors import CohortError
from core.labelling import label_queue
from core.labelling.label_log import LOG_NAME, keys_of, read_log
from core.settings import get_settings


def save_subset(cohort: Cohort, keys: Sequence[str], name: str, kept: str = "") -> Cohort:
    """Make a cohort of some slices of another.

    Its files stay where they are. Labels that people gave these slices come along with their history, and the split
    as it stands; thumbnails and the like are made again when they are asked for.

    Parameters
    ----------
    cohort : Cohort
        Written already.
    keys : sequence of str
        Slice keys, in any order; each once.
    name : str
        Name of the new cohort.
    kept : str
        In words, what was picked; it is noted with the origin.

    Returns
    -------
    Cohort
        As `core.cohort.read` gives it; its ``origin`` has the keys cohort, created, slices, of, kept.

    Raises
    ------
    CohortError
        When the name is taken or none, nothing is picked, or a key is not one of the cohort's.
    """
    check_name(name)
    if name in list_cohorts():
        raise CohortError(f"There is a cohort {name!r} already. Choose another name.")
    # By name where it has one: only so the places of its files come along.
    at_home = cohort.folder.resolve() == (get_settings().cohorts_dir / cohort.name).resolve()
    headers = read_unlogged(cohort.name if at_home else cohort.folder)
    picked = _picked(headers.table, keys, cohort.name)
    split = pd.Series(cohort.table["split"].to_numpy(), slice_keys(cohort.table))
    table = headers.table[picked].reset_index(drop=True)
    table = table.assign(split=split[slice_keys(table)].to_numpy())
    origin = {
        "cohort": cohort.name,
        "created": cohort.created,
        "slices": len(table),
        "of": len(headers.table),
        "kept": kept,
    }
    now = datetime.now(UTC).isoformat(timespec="seconds")
    subset = replace(
        headers, name=name, folder=get_settings().cohorts_dir / name, source="subset", table=table,
        rejected=headers.rejected.iloc[:0], created=now, origin=origin,
    )  # fmt: skip
    lines = _concerning(read_log(cohort), {*keys, *table["SeriesInstanceUID"]})
    if lines:
        with replaced(subset.folder / LOG_NAME) as fresh:
            fresh.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    write(subset)
    return read(name)


def write_queue(cohort: Cohort, keys: Sequence[str], name: str) -> Path:
    """Leave slices to be labelled: ``queues/<name>.json`` in the cohort's folder, with keys, name and created.

    Parameters
    ----------
    cohort : Cohort
        Written already.
    keys : sequence of str
        Slice keys, in the order in which they are to be looked at.
    name : str

    Returns
    -------
    Path

    Raises
    ------
    CohortError
        When the name is taken or none, nothing is picked, or a key is not one of the cohort's.
    """
    if name in label_queue.list_queues(cohort):
        raise CohortError(f"Cohort {cohort.name!r} has a queue {name!r} already. Choose another name.")
    _picked(cohort.table, keys, cohort.name)
    return label_queue.write_queue(cohort, name, keys)


def _picked(table: pd.DataFrame, keys: Sequence[str], name: str) -> np.ndarray:
    """Mark the rows that `keys` name."""
    if not len(keys):
        raise CohortError("No slice is picked. Pick some first.")
    there = slice_keys(table)
    unknown = set(keys) - set(there)
    if unknown:
        raise CohortError(f"Cohort {name!r} has no slice {min(unknown)!r} ({len(unknown)} such keys). Pick again.")
    return there.isin(list(keys)).to_numpy()


def _concerning(log: list[dict], keys: set[str]) -> list[dict]:
    """Keep the lines about these slices and series, all of a batch that has one, and the lines that undo a kept one."""
    about = {line["id"]: keys_of(line) if "key" in line else [line.get("slice")] for line in log}
    ids = {line.get("batch", line["id"]) for line in log if not keys.isdisjoint(about[line["id"]])}
    kept = []
    for line in log:
        if line.get("batch", line["id"]) in ids or line.get("undo") in ids:
            kept.append(line)
            ids.add(line["id"])
    return kept
