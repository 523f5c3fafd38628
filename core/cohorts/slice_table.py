"""The slice table: its columns and types, and how tables are written so that none is ever half there."""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from core.errors import InputError

#: Raised whenever a column changes its meaning; a cohort of another version is indexed again.
SCHEMA = 2

_TEXT, _WHOLE, _COUNT, _REAL = "str", "Int64", "int64", "float64"

#: Columns of the slice table and their types. DICOM keywords keep their names; ours are lower case.
COLUMNS: dict[str, str] = {
    "path": _TEXT,  # relative to the cohort's root, with forward slashes; opens the file, is never shown
    "frame": _COUNT,
    "kind": _TEXT,
    "PatientID": _TEXT,  # a pseudonym
    "StudyInstanceUID": _TEXT,
    "SeriesInstanceUID": _TEXT,
    "SOPInstanceUID": _TEXT,
    "SeriesDescription": _TEXT,
    "SeriesNumber": _WHOLE,
    "Manufacturer": _TEXT,
    "ManufacturerModelName": _TEXT,
    "MagneticFieldStrength": _REAL,  # tesla
    "InstanceNumber": _WHOLE,
    "image_number": _COUNT,  # from 1, along the normal: towards head, back or left
    "stack": _COUNT,  # from 1 within its series; a stack holds a position once, see `core.cohorts.stacks`
    "stack_note": _TEXT,  # what sets the stack apart within its series, and how many slices it lacks
    "Rows": _COUNT,
    "Columns": _COUNT,
    "pixel_spacing_row_mm": _REAL,
    "pixel_spacing_column_mm": _REAL,
    "SliceThickness": _REAL,  # mm
    "position_mm": _REAL,
    "RepetitionTime": _REAL,  # ms, as the four below it
    "EchoTime": _REAL,
    "InversionTime": _REAL,
    "FlipAngle": _REAL,  # degrees
    "EchoTrainLength": _REAL,
    "ScanningSequence": _TEXT,
    "SequenceVariant": _TEXT,
    "SequenceName": _TEXT,
    "ImageType": _TEXT,
    "ContrastBolusAgent": _TEXT,
    "DiffusionBValue": _REAL,  # s/mm²
    "orientation": _TEXT,  # the six numbers of ImageOrientationPatient, joined by a backslash
    "plane": _TEXT,
    "plane_rule": _TEXT,
    "tilt_deg": _REAL,
    "sequence": _TEXT,
    "sequence_rule": _TEXT,
    "sequence_evidence": _TEXT,
    "conflict": _TEXT,
    "split": _TEXT,
    "shown_path": _TEXT,  # `path` without the patient: this is what pages, logs and exports show
    "file_size": _COUNT,  # bytes
    "file_mtime_ns": _COUNT,
}

#: Text columns that are empty rather than missing.
NEVER_MISSING = ("stack_note", "plane_rule", "sequence_rule", "sequence_evidence", "conflict")

REJECTED_COLUMNS = {"path": _TEXT, "shown_path": _TEXT, "reason": _TEXT, "file_size": _COUNT, "file_mtime_ns": _COUNT}


@dataclass(frozen=True)
class Cohort:
    """A slice table with its origin.

    Attributes
    ----------
    name : str
    folder : Path
        Where its files lie or will lie; ``core.cohort.write`` makes it.
    root : Path
        What `path` is relative to. It may name a patient: show nothing of it.
    source : str
        ``folder``, ``phantom``, ``upload``, …
    table : DataFrame
        One row a slice, with `COLUMNS`.
    rejected : DataFrame
        One row a file that gave no slice: path, shown_path, reason, file_size, file_mtime_ns.
    created : str
        When it was scanned: ISO 8601, UTC.
    identities : dict of str
        Whom the files name, as `core.cohorts.pseudonyms.joined` words, to pseudonyms: what `shown_path` hides. Kept
        apart from the tables, among the workspace's private files.
    origin : dict
        Of a cohort that was cut from another: that one's name and what was kept, see `core.cohorts.subsets`; else
        empty.
    """

    name: str
    folder: Path
    root: Path
    source: str
    table: pd.DataFrame
    rejected: pd.DataFrame
    created: str
    identities: Mapping[str, str] = field(default_factory=dict, repr=False)
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_files(self) -> int:
        """Files that were found: those with rows and those rejected."""
        return self.table["path"].nunique() + len(self.rejected)


def typed(rows: pd.DataFrame | list[dict], columns: Mapping[str, str]) -> pd.DataFrame:
    """Give a table exactly `columns`, in their order and types; what is missing is missing.

    Examples
    --------
    >>> table = typed([{"path": "a.dcm", "frame": 0}], {"path": "str", "frame": "int64", "EchoTime": "float64"})
    >>> table.dtypes.astype(str).to_dict()
    {'path': 'str', 'frame': 'int64', 'EchoTime': 'float64'}
    """
    return pd.DataFrame(rows, columns=list(columns)).astype(dict(columns))


def orientation_numbers(text: Any) -> list[float] | None:
    """Read a table's ``orientation``: *ImageOrientationPatient*, joined by a backslash; None where there is none.

    Examples
    --------
    >>> orientation_numbers("1\\\\0\\\\0\\\\0\\\\1\\\\0"), orientation_numbers(float("nan"))
    ([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], None)
    """
    return [float(number) for number in text.split("\\")] if isinstance(text, str) and text else None


def slice_key(row: Mapping | pd.Series) -> str:
    """Name a slice by its instance and frame; unique within a cohort.

    Examples
    --------
    >>> slice_key({"SOPInstanceUID": "1.2.3", "frame": 4})
    '1.2.3:4'
    """
    return f"{row['SOPInstanceUID']}:{row['frame']}"


def slice_keys(table: pd.DataFrame) -> pd.Series:
    """Name every row of a table as `slice_key` does.

    Examples
    --------
    >>> slice_keys(pd.DataFrame({"SOPInstanceUID": ["1.2"], "frame": [3]})).tolist()
    ['1.2:3']
    """
    return table["SOPInstanceUID"].astype("str") + ":" + table["frame"].astype("str")


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to; it takes the place of `path` when all went well.

    Whoever reads `path` sees the old file or the new one, also when the writer is interrupted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        yield fresh
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def write_table(table: pd.DataFrame, path: Path | str) -> None:
    """Write a table for others, as Parquet or, by its suffix, as CSV; no patient stands in it.

    ``shown_path`` takes the place of ``path``. Where no path names a patient the two are the same.

    Parameters
    ----------
    table : DataFrame
    path : Path
        Ends in ``.parquet`` or ``.csv``.

    Raises
    ------
    InputError
        For another suffix, or where the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".parquet", ".csv"):
        raise InputError(f"A table is written as .parquet or .csv; received {path.name!r}. Change the suffix.")
    if "shown_path" in table:
        table = table.assign(path=table["shown_path"])
    try:
        with replaced(path) as fresh:
            table.to_csv(fresh, index=False) if path.suffix == ".csv" else table.to_parquet(fresh, index=False)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}. Choose another place.") from None
