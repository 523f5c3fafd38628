"""Label tables: what people wrote down about slices elsewhere, read in their own words.

A table is CSV, TSV, Parquet, or the seed project's ``mri-images.json``. Each row names a slice, a file or a series, by
*SOPInstanceUID*, by path or by *SeriesInstanceUID*, and says plane, sequence or both. A column for the subject groups
the files that hold no patient: NIfTI volumes, PNG and JPEG pictures. `core.labelling.label_overrides` gives a table to
a cohort.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from core.cohorts import manifest
from core.cohorts.pseudonyms import joined
from core.errors import InputError, UnreadableFile
from core.sandbox import get_sandbox
from core.vocabulary import plane_from, sequence_from

#: Columns that name slices, from general to special: the special ones have the last word.
KEYS = ("SeriesInstanceUID", "path", "SOPInstanceUID")
#: Columns that say something of them, and who knows the words.
LABELS: dict[str, Callable[[str], str | None]] = {"plane": plane_from, "sequence": sequence_from}

#: What a column may be called, letters and digits alone, the likeliest first.
_NAMES: dict[str, tuple[str, ...]] = {
    "SOPInstanceUID": ("sopinstanceuid", "sopuid", "sop", "instanceuid", "imageuid"),
    "path": ("path", "filepath", "file", "filename", "imagename", "imagepath", "image", "relativepath"),
    "SeriesInstanceUID": ("seriesinstanceuid", "seriesuid", "seriesid", "series"),
    "frame": ("frame", "framenumber"),
    "plane": ("plane", "perspective", "orientation", "view", "imageplane", "scanplane"),
    "sequence": (
        "sequence", "sequencetype", "scantype", "mrsequence", "weighting", "seriestype", "label", "modality",
    ),
    "subject": ("subject", "subjectid", "patientid", "patient", "participantid", "participant", "sub"),
}  # fmt: skip
#: More slices than any cohort here has.
_MAX_ROWS = 2_000_000
_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".json")


@dataclass(frozen=True)
class LabelTable:
    """A label table as it was read.

    Attributes
    ----------
    name : str
        Of its file.
    rows : DataFrame
        Columns SOPInstanceUID, path, SeriesInstanceUID, frame, plane, sequence, subject, all text in the table's own
        words; "" where it says nothing.
    """

    name: str
    rows: pd.DataFrame


def read(path: Path | str, name: str | None = None) -> LabelTable:
    """Read a label table, parsed in the sandbox.

    Parameters
    ----------
    path : Path
    name : str, optional
        What it is called, where the file's own name says nothing.

    Returns
    -------
    LabelTable

    Raises
    ------
    InputError
        When it cannot be read, or names no slices, or says nothing of them.
    """
    path = Path(path)
    name = name or path.name
    if not path.is_file():
        raise InputError(f"There is no label table {name!r}. Check the spelling.")
    try:
        columns = get_sandbox().label_table(path)
    except UnreadableFile as error:
        raise InputError(f"The label table {name} cannot be used. {error}") from None
    empty = [""] * len(next(iter(columns.values())))
    return LabelTable(name, pd.DataFrame({role: columns.get(role, empty) for role in _NAMES}, dtype="str"))


def parse(path: Path) -> dict[str, list[str]]:
    """Read the columns of a label table that are understood; this is what the sandbox does.

    Returns
    -------
    dict of list of str
        By our name of each column that there is, its values; "" where there is none.

    Raises
    ------
    UnreadableFile
        With one sentence that names the reason.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UnreadableFile(f"It should end in {', '.join(_SUFFIXES)}; it ends in {path.suffix or 'nothing'!r}.")
    try:
        if path.suffix.lower() == ".json":
            table = pd.DataFrame(manifest.read_entries(path), dtype="str")
        elif path.suffix.lower() == ".parquet":
            table = _read_parquet(path)
        else:
            table = _read_text(path)
    except InputError as error:
        raise UnreadableFile(str(error)) from None
    except MemoryError:
        raise UnreadableFile("Reading it takes more memory than is allowed.") from None
    except (OSError, ValueError, TypeError, LookupError, NotImplementedError) as error:
        # The library's own words may quote the file, and so a patient.
        raise UnreadableFile(f"It is empty, damaged or no such table ({type(error).__name__}).") from None
    chosen = _choose(table.columns)
    if len(table) > _MAX_ROWS:
        raise UnreadableFile(f"It has {len(table)} rows; at most {_MAX_ROWS} are read.")
    return {role: _texts(table[column]) for role, column in chosen.items()}


def _read_text(path: Path) -> pd.DataFrame:
    with path.open("rb") as file:
        start = file.read(4096)
    wide = start.startswith((b"\xff\xfe", b"\xfe\xff"))
    first = start.decode("utf-16" if wide else "latin-1", "ignore").partition("\n")[0]
    options = {"sep": max(",;\t", key=first.count), "dtype": "str", "keep_default_na": False, "index_col": False}
    try:
        return pd.read_csv(path, encoding="utf-16" if wide else "utf-8-sig", **options)
    except UnicodeDecodeError:
        return pd.read_csv(path, encoding="cp1252", encoding_errors="replace", **options)  # older spreadsheets


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    if file.metadata.num_rows > _MAX_ROWS:
        raise InputError(f"It has {file.metadata.num_rows} rows; at most {_MAX_ROWS} are read.")
    return file.read(columns=list(_choose(file.schema_arrow.names).values())).to_pandas()


def _choose(columns: Iterable[str]) -> dict[str, str]:
    """Find which column says what.

    Examples
    --------
    >>> _choose(["File Name", "patient-id", "Perspective", "scan type", "age"])
    {'path': 'File Name', 'plane': 'Perspective', 'sequence': 'scan type', 'subject': 'patient-id'}
    """
    by_name: dict[str, str] = {}
    for column in columns:
        by_name.setdefault(joined(str(column)), column)
    chosen = {
        role: by_name[next(name for name in names if name in by_name)]
        for role, names in _NAMES.items()
        if any(name in by_name for name in names)
    }
    there = f"It has {', '.join(map(str, list(columns)[:12])) or 'no columns'}."
    if not set(KEYS) & set(chosen):
        raise UnreadableFile(f"It needs a column path, SOPInstanceUID or SeriesInstanceUID to name slices by. {there}")
    if not {*LABELS, "subject"} & set(chosen):
        raise UnreadableFile(f"It needs a column plane, sequence or subject to say something. {there}")
    return chosen


def _texts(column: pd.Series) -> list[str]:
    # Whole numbers with gaps between them come as 3.0.
    return column.convert_dtypes().astype("string").fillna("").str.strip().tolist()
