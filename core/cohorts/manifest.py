"""The seed project's manifest ``mri-images.json``, written and read, so that its notebooks and we can trade data.

It is a table with ``orient="index"``; each entry has ``patient-id``, ``perspective`` (AX, COR, SAG),
``sequence`` (T1KM for T1CE, Misc for OTHER), ``perspective-sequence`` (joined by a hyphen), ``labels``
(both in a list), ``image-number`` (a string) and ``image-name``.
"""

import json
from pathlib import Path

import pandas as pd

from core.cohorts.pseudonyms import pseudonym
from core.cohorts.slice_table import COLUMNS, Cohort, replaced, typed
from core.errors import InputError
from core.labelling.label_text import tcga_barcode
from core.vocabulary import plane_from, sequence_from, to_seed

_NEEDED = ("patient-id", "perspective", "sequence", "image-number", "image-name")
_COLUMNS = {name: COLUMNS[name] for name in ("path", "frame", "PatientID", "plane", "sequence", "image_number")}


def manifest_json(cohort: Cohort) -> str:
    """Write the manifest of a cohort as text.

    Only slices with both labels stand in it. ``image-name`` is the shown path; the frame of a file with
    several follows after ``#``.
    """
    table = cohort.table[cohort.table["plane"].notna() & cohort.table["sequence"].notna()]
    several = table.groupby("path")["frame"].transform("size") > 1 if len(table) else []
    entries = {}
    for index, (row, many) in enumerate(zip(table.itertuples(), several, strict=True)):
        plane, sequence = to_seed(row.plane), to_seed(row.sequence)
        entries[str(index)] = {
            "patient-id": row.PatientID,
            "perspective": plane,
            "sequence": sequence,
            "perspective-sequence": f"{plane}-{sequence}",
            "labels": [plane, sequence],
            "image-number": str(row.image_number),
            "image-name": f"{row.shown_path}#{row.frame}" if many or row.frame else row.shown_path,
        }
    return json.dumps(entries, indent=1, ensure_ascii=False)


def export_manifest(cohort: Cohort, path: Path | str) -> None:
    """Write the manifest of a cohort to a file.

    Raises
    ------
    InputError
        When it cannot be written.
    """
    try:
        with replaced(Path(path)) as fresh:
            fresh.write_text(manifest_json(cohort), "utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}. Choose another place.") from None


def read_entries(path: Path | str) -> list[dict[str, str]]:
    """Read a manifest's entries as they stand, in the words of a label table.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of dict of str
        path (the image's name), frame ("" where the name gives none), subject (the seed's misspelled identifiers
        normalised), plane, sequence, image_number.

    Raises
    ------
    InputError
        For a file that is no such manifest; the first entry that is wrong is named.
    """
    path = Path(path)
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path.name} is not a readable JSON file ({error}). A manifest is mri-images.json.") from None
    if not isinstance(entries, dict):
        raise InputError(f"{path.name} is no manifest: it should hold one object an image, by number.")
    rows = []
    for index, entry in entries.items():
        missing = [name for name in _NEEDED if not isinstance(entry, dict) or name not in entry]
        if missing:
            raise InputError(f"Entry {index!r} of {path.name} has no {', '.join(missing)}. Is it a seed manifest?")
        subject, plane, sequence, number, name = (str(entry[key]) for key in _NEEDED)
        name, _, frame = name.partition("#")
        subject = tcga_barcode(subject) or subject
        rows.append(
            {"path": name, "frame": frame, "subject": subject, "plane": plane, "sequence": sequence,
             "image_number": number}
        )  # fmt: skip
    return rows


def import_manifest(path: Path | str) -> pd.DataFrame:
    """Read a manifest, the seed's or ours, as a table of slices.

    Parameters
    ----------
    path : Path

    Returns
    -------
    DataFrame
        path (the image's name), frame, PatientID (pseudonymised, the seed's misspelled identifiers
        normalised before), plane, sequence (our words), image_number.

    Raises
    ------
    InputError
        For a file that is no such manifest, or a label that nobody knows; the first entry that is wrong is named.

    Notes
    -----
    The seed's label *Misc* comes back as OTHER and *T1KM* as T1CE. To give a manifest's labels to a cohort, read it
    with `core.labelling.label_tables.read`.
    """
    path = Path(path)
    rows = []
    for entry in read_entries(path):
        plane, sequence = plane_from(entry["plane"]), sequence_from(entry["sequence"])
        if plane is None or sequence is None:
            raise InputError(
                f"{path.name} gives {entry['path']!r} labels that nobody knows: "
                f"{entry['plane']!r}, {entry['sequence']!r}."
            )
        try:
            frame, number = int(entry["frame"] or 0), int(entry["image_number"])
        except ValueError:
            raise InputError(f"{path.name} numbers {entry['path']!r} by something that is no number.") from None
        row = (entry["path"], frame, pseudonym(entry["subject"]), plane, sequence, number)
        rows.append(dict(zip(_COLUMNS, row, strict=True)))
    return typed(rows, _COLUMNS)
