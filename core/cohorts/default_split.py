"""A cohort's default split where somebody chose one: ``split.json`` beside its table, applied when it is read.

A scan deals a split of its own. What a person saves stands apart from the table, as their labels do, so that another
scan of the folder does not undo it; patients who came later keep the split that the scan dealt them.
"""

import json
from datetime import UTC, datetime

import pandas as pd

from core.cohorts.slice_table import Cohort, replaced
from core.errors import CohortError
from core.splits import SPLITS, leaks, split_hash

SPLIT_NAME = "split.json"


def save_default_split(cohort: Cohort, split: pd.Series, recipe: dict) -> None:
    """Make a split the cohort's own.

    Parameters
    ----------
    cohort : Cohort
        Written already.
    split : Series of str
        Indexed like its table.
    recipe : dict
        How it was made, in JSON values: it is kept beside it.

    Raises
    ------
    CohortError
        When a patient would stand in two parts, or in none of the three.
    """
    if not leaks(cohort.table, split).empty or not set(split) <= set(SPLITS):
        raise CohortError("A cohort's split puts each patient into one part: train, validation or test. Split again.")
    patients = split.groupby(cohort.table["PatientID"]).first()
    facts = {
        "recipe": recipe,
        "hash": split_hash(cohort.table, split),
        "saved": datetime.now(UTC).isoformat(timespec="seconds"),
        "patients": patients.to_dict(),
    }
    with replaced(cohort.folder / SPLIT_NAME) as fresh:
        fresh.write_text(json.dumps(facts, indent=1), "utf-8")


def read_default_split(cohort: Cohort) -> dict:
    """Read what `save_default_split` wrote: recipe, hash, saved, patients; empty where nobody saved one.

    Raises
    ------
    CohortError
        When the file is not one of ours.
    """
    path = cohort.folder / SPLIT_NAME
    if not path.exists():
        return {}
    try:
        facts = json.loads(path.read_text("utf-8"))
        fits = set(facts["patients"].values()) <= set(SPLITS) and isinstance(facts["recipe"], dict)
    except (ValueError, KeyError, TypeError, AttributeError):
        fits = False
    if not fits:
        raise CohortError(f"{SPLIT_NAME} of cohort {cohort.name!r} is no split. Delete it, or save the split again.")
    return facts


def apply_default_split(table: pd.DataFrame, saved: dict) -> pd.DataFrame:
    """Give a table the saved split; patients that it does not name keep theirs."""
    if not saved:
        return table
    chosen = table["PatientID"].map(saved["patients"])
    return table.assign(split=chosen.fillna(table["split"]).astype("str"))
