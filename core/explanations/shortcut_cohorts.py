"""Cohorts of the shortcut demonstration: phantom slices with a letter beside the head, or without.

Three cohorts differ in nothing but letters::

    shortcut-letters    each class its own letter, `LETTERS`
    shortcut-without    none
    shortcut-swapped    each class the next one's letter
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from PIL import Image, ImageDraw, ImageFont

from core import cohort, demo
from core.cohorts.slice_table import Cohort, replaced, slice_keys
from core.errors import CohortError
from core.images import head_box, intensity_range
from core.queueing.side_jobs import Report

#: The letter of each class.
LETTERS = {"T1": "A", "T1CE": "B", "T2": "C", "FLAIR": "D"}
#: Which letter a class gets in each version; "" for none.
VERSIONS = {
    "letters": LETTERS,
    "without": dict.fromkeys(LETTERS, ""),
    "swapped": dict(zip(LETTERS, [*list(LETTERS.values())[1:], "A"], strict=True)),
}
#: Patients that take part, and every how manyeth of their axial slices.
PATIENTS, EVERY = 12, 2
#: Share that a letter's type size takes of the longer side of what models see of a slice.
_TYPE_SIZE = 0.2
#: Raised whenever the cohorts change, so that they are made anew.
_RECIPE = 2


def stamped(pixels: np.ndarray, letter: str) -> np.ndarray:
    """Burn a letter into the upper left corner of what models see of a slice.

    Parameters
    ----------
    pixels : ndarray of whole numbers, shape (rows, columns)
    letter : str
        Empty for none.

    Returns
    -------
    ndarray
        Of the same shape and type; outside the letter nothing differs. The letter is as bright as the slice's white
        point, so that it does not change how the rest is scaled.

    Examples
    --------
    >>> before = np.zeros((64, 64), "<u2")
    >>> before[20:60, 20:50] = np.arange(1200).reshape(40, 30)
    >>> after = stamped(before, "A")
    >>> bool((after != before).any()), bool((after[30:] == before[30:]).all()), after.dtype == before.dtype
    (True, True, True)
    """
    if not letter:
        return pixels.copy()
    grey = np.asarray(pixels, np.float32)
    seen = head_box(grey)
    size = _TYPE_SIZE * max(seen.height, seen.width)
    layer = Image.new("L", pixels.shape[::-1])
    place = (seen.left + 0.02 * seen.width, seen.top + 0.02 * seen.height)
    ImageDraw.Draw(layer).text(place, letter, fill=255, font=ImageFont.load_default(size), anchor="lt")
    bright = round(intensity_range(grey)[1])
    return np.where(np.asarray(layer) > 127, np.asarray(bright, pixels.dtype), pixels)


def write_version(source: Cohort, rows: pd.DataFrame, version: str, folder: Path) -> None:
    """Write slices as DICOM files of their own, with a version's letters in their pixels.

    Parameters
    ----------
    source : Cohort
    rows : DataFrame
        Of its slice table, with a sequence of `LETTERS`; uncompressed files of one frame.
    version : str
        One of `VERSIONS`.
    folder : Path
        Files lie in it as in the source; instances and series get identifiers of their own.
    """
    for row in rows.to_dict("records"):
        dataset = pydicom.dcmread(source.root / row["path"])
        letter = VERSIONS[version][row["sequence"]]
        dataset.PixelData = stamped(dataset.pixel_array, letter).tobytes()
        dataset.BurnedInAnnotation = "YES" if letter else "NO"
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
            setattr(dataset, keyword, _uid(dataset[keyword].value, version))
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        path = folder / row["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)


def _uid(before: str, version: str) -> str:
    return pydicom.uid.generate_uid(prefix="2.25.", entropy_srcs=["slicescope shortcut", str(before), version])


def chosen_slices(source: Cohort) -> pd.DataFrame:
    """Return the slices that take part: axial ones of the four sequences, every other one, of a few patients.

    Raises
    ------
    CohortError
        When there are too few patients for a training, a validation and a test.
    """
    table = source.table
    table = table[(table["plane"] == "axial") & table["sequence"].isin(list(LETTERS))]
    patients = sorted(table["PatientID"].unique())[:PATIENTS]
    if len(patients) < 5:
        raise CohortError(
            f"The demonstration needs five phantom patients or more; cohort {source.name} has {len(patients)}. Make "
            "more: python -m core demo --patients 12."
        )
    return table[table["PatientID"].isin(patients) & (table["image_number"] % EVERY == 0)]


def cohort_of(version: str) -> str:
    """Name a version's cohort."""
    return f"shortcut-{version}"


def make_cohorts(source: Cohort, folder: Path, report: Report) -> dict[str, Cohort]:
    """Write and index the three cohorts, or return them if just these are there.

    Parameters
    ----------
    source : Cohort
        Of phantoms.
    folder : Path
        Where the files lie.
    report : callable
        Called with (done, in all, message).

    Returns
    -------
    dict of Cohort
        By version.
    """
    rows = chosen_slices(source)
    recipe = hashlib.sha256(json.dumps([_RECIPE, source.created, *slice_keys(rows)]).encode()).hexdigest()
    stamp = folder / "cohorts.json"
    there = stamp.exists() and json.loads(stamp.read_text("utf-8")) == recipe
    if there and {cohort_of(version) for version in VERSIONS} <= set(cohort.list_cohorts()):
        return {version: cohort.read(cohort_of(version)) for version in VERSIONS}
    for number, version in enumerate(VERSIONS):
        report(number, len(VERSIONS), f"Burning letters into {len(rows)} slices: {version}")
        write_version(source, rows, version, folder / version)
        made = cohort.scan(folder / version, cohort_of(version), source="phantom", workers=_workers(len(rows)))
        (made.folder / cohort.LOG_NAME).unlink(missing_ok=True)
        made = cohort.write(made)
        # What a header tells wrongly was put right in the source.
        true = rows.assign(SeriesInstanceUID=[_uid(uid, version) for uid in rows["SeriesInstanceUID"]])
        demo.correct_labels(made, true[["SeriesInstanceUID", "plane", "sequence"]].drop_duplicates().to_dict("records"))
    with replaced(stamp) as fresh:
        fresh.write_text(json.dumps(recipe), "utf-8")
    return {version: cohort.read(cohort_of(version)) for version in VERSIONS}


def _workers(files: int) -> int:
    # Of few files the start of a process takes longer than the reading.
    return (os.cpu_count() or 1) if files > 100 else 1
