"""Files → slice table: find, parse in limited children, label, pseudonymise, number, split.

No pixels are held: a header is asked of the sandbox, becomes one row, and is forgotten.
"""

import json
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from core.cohorts.cohort_files import check_name, is_logged, list_cohorts, read, read_stamps, read_unlogged, write
from core.cohorts.cohort_journal import Journal, journal_path
from core.cohorts.listing import Stamp, find_files, spelled
from core.cohorts.pseudonyms import digest, identity, joined, patient_of, pseudonym, scrub, shown_paths
from core.cohorts.slice_table import COLUMNS, NEVER_MISSING, REJECTED_COLUMNS, Cohort, typed
from core.cohorts.stacks import number_stacks
from core.errors import CohortError, InputError, StaleCohort, UnopenedFile, UnreadableFile
from core.labels import label_header, seed_name, unit_normal
from core.reading import archives, bids
from core.sandbox import Answer, Sandbox, Sandboxes
from core.settings import get_settings
from core.splits import patient_split

#: Where enhanced files keep what classic ones write under another keyword.
_ENHANCED = {"EchoTime": "EffectiveEchoTime", "InversionTime": "InversionTimes", "SequenceName": "PulseSequenceName"}
_FREE_TEXT = ("SeriesDescription", "ContrastBolusAgent", "SequenceName", "sequence_evidence")
#: Without these a row is made of its file's path too.
_IDENTIFIERS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")
#: Rows that are turned into columns at a time: dictionaries of 300,000 slices would take gigabytes.
_CHUNK = 5000
#: Files that are asked of a sandbox at a time; by path, so that most are of one series.
_BATCH = 64


@dataclass
class _Gathered:
    """What a scan has found so far.

    Slices of a series have nearly all in common. A row is made of the first with the same shared header, and of the
    others only what is their own.
    """

    subjects: Mapping[str, str] = field(default_factory=dict)
    chunks: list[pd.DataFrame] = field(default_factory=list)
    rejected: list[dict] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)
    _headers: dict[str, dict] = field(default_factory=dict)
    _places: dict[tuple[str, str], int] = field(default_factory=dict)
    _rows: list[dict] = field(default_factory=list)
    _own: list[tuple] = field(default_factory=list)

    def add(self, relative: str, stamp: Stamp, answer: Answer) -> None:
        """Add a file's slices, or its rejection."""
        facts = {"path": relative, "file_size": stamp[0], "file_mtime_ns": stamp[1]}
        if isinstance(answer, UnopenedFile):
            # What keeps a file shut leaves its size and time alone; without a time, a re-scan tries again.
            facts["file_mtime_ns"] = 0
        if isinstance(answer, UnreadableFile):
            self.rejected.append({**facts, "reason": str(answer)})
            return
        seed = seed_name(relative.rpartition("/")[2])
        for text, own in answer:
            if (header := self._headers.get(text)) is None:
                header = self._headers[text] = json.loads(text)
            identified = "SOPInstanceUID" in own and all(str(header.get(name) or "").strip() for name in _IDENTIFIERS)
            key = text, "" if header["kind"] == "dicom" and identified and not seed else relative
            if (place := self._places.get(key)) is None:
                place = self._places[key] = len(self._rows)
                self._rows.append(_row({**header, **own}, facts, self.words, self.subjects.get(relative)))
            uid = _said(own.get("SOPInstanceUID")) or self._rows[place]["SOPInstanceUID"]
            number = own.get("InstanceNumber") or (seed["InstanceNumber"] if seed else None)
            position = _position_mm(header.get("ImageOrientationPatient"), own.get("ImagePositionPatient"))
            self._own.append((place, relative, own["frame"], uid, _as("Int64", number), position, *stamp))
        if len(self._own) >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        """Turn rows into columns."""
        if not self._own:
            return
        places, *own = zip(*self._own, strict=True)
        names = ("path", "frame", "SOPInstanceUID", "InstanceNumber", "position_mm", "file_size", "file_mtime_ns")
        columns = typed(pd.DataFrame(dict(zip(names, own, strict=True))), {name: COLUMNS[name] for name in names})
        chunk = typed(self._rows, COLUMNS).take(places).reset_index(drop=True)
        chunk[list(names)] = columns
        self.chunks.append(chunk)
        for gathered in (self._headers, self._places, self._rows, self._own):
            gathered.clear()


def index(
    path: Path | str,
    name: str,
    source: str = "folder",
    workers: int = 1,
    report: Callable[[int, int], None] | None = None,
    subjects: Mapping[str, str] | None = None,
) -> Cohort:
    """Bring a cohort of the workspace up to date with its folder: scan what is new or changed, and write it.

    Parameters
    ----------
    path, name, source, workers, report, subjects
        As for `scan`. What `report` raises stops the work; the next call goes on where it ended.

    Returns
    -------
    Cohort
        As `read` gives it.

    Raises
    ------
    InputError
        When there is nothing at `path`.
    CohortError
        As `scan`, `read` and `write`.
    """
    path = Path(path)
    check_name(name)
    known = name in list_cohorts()
    try:
        if known and not subjects and read_stamps(name) == _stamps(path):
            return read(name)
        previous = read_unlogged(name) if known else None
    except StaleCohort:
        previous = None  # its own words say that this is the way to mend it
    return write(scan(path, name, source, workers, report, previous, subjects, resume=True))


def _stamps(path: Path) -> tuple[Path, dict[str, Stamp]] | None:
    """Give root and stamps as `read_stamps` does; None where some of an archive was refused, which has no stamp."""
    root, searched, refused = _opened(path)
    return None if refused else (root, _listed(searched)[0])


def scan(
    path: Path | str,
    name: str,
    source: str = "folder",
    workers: int = 1,
    report: Callable[[int, int], None] | None = None,
    previous: Cohort | None = None,
    subjects: Mapping[str, str] | None = None,
    resume: bool = False,
) -> Cohort:
    """Index the slices of a folder, an archive or a file.

    Parameters
    ----------
    path : Path
        A folder, searched with all its folders, or one file; a zip or tar archive is unpacked into the workspace.
    name : str
        Name of the cohort.
    source : str
        Where the files came from, in a word.
    workers : int
        Sandboxes that parse side by side.
    report : callable, optional
        Called with (files done, files in all).
    previous : Cohort, optional
        An earlier scan of the same place; files of unchanged size and time are taken from it unread. Labels
        that people changed are not: they stand in the cohort's log and are applied when it is read.
    subjects : mapping of str, optional
        Of files that hold no patient, NIfTI volumes and pictures: from path, relative to the root, to the subject
        that its pseudonym is made of. What an earlier scan was told is kept.
    resume : bool
        Keep what was read in the workspace's private files, and begin with what an interrupted scan of the same
        name and place left there; `core.cohorts.cohort_files.write` removes it.

    Returns
    -------
    Cohort
        Not written yet. Each file found stands in ``table`` or in ``rejected``. Two files that hold the same
        instance (copies, or one picture compressed in two ways) both keep their rows; the later one, by
        path, has a mark of its path added to its SOPInstanceUID and the fact noted under ``conflict``, so
        that slice keys stay unique and nothing is dropped silently.

    Raises
    ------
    InputError
        When there is nothing at `path`.
    CohortError
        When `previous` is of another place.
    """
    path = Path(path)
    root, searched, refused = _opened(path)
    if spelled(root) != root.as_posix():
        raise InputError(f"The name of the folder {str(root)!r} is not UTF-8, so that no table can hold it. Rename it.")
    if previous is not None and previous.root.resolve() != root:
        raise CohortError(f"Cohort {previous.name!r} is of another folder than {path}. Index it under another name.")
    stamps, names = _listed(searched)
    subjects = _subjects(previous, subjects)
    gathered = _Gathered(subjects=subjects)
    kept = _keep_unchanged(previous, stamps, _told_anew(previous, stamps, subjects), gathered)
    gathered.rejected += [{"path": name, "reason": why, "file_size": 0, "file_mtime_ns": 0} for name, why in refused]
    if report:
        report(len(kept), len(stamps))
    with Journal(journal_path(name, root)) if resume else nullcontext() as journal:
        for relative, before, answer in journal.read() if journal else ():
            if relative not in kept and relative in stamps and before == _stamps_read(relative, stamps):
                gathered.add(relative, stamps[relative], answer)
                kept.add(relative)
        fresh = [relative for relative in stamps if relative not in kept]
        done = len(kept)
        for relatives, answers in _parse(fresh, root, names, workers):
            batch = list(zip(relatives, answers, strict=True))
            if journal:
                # What could not be opened may be readable when the scan goes on.
                sure = [(relative, answer) for relative, answer in batch if not isinstance(answer, UnopenedFile)]
                journal.append([(relative, _stamps_read(relative, stamps), answer) for relative, answer in sure])
            for relative, answer in batch:
                gathered.add(relative, stamps[relative], answer)
            done += len(batch)
            if report:
                report(done, len(stamps))
    gathered.flush()
    return _assemble(gathered, name, root, source)


def _opened(path: Path) -> tuple[Path, Path, list[tuple[str, str]]]:
    if not path.exists():
        raise InputError(f"There is no file or folder {str(path)!r}. Check the spelling.")
    return archives.opened(path)


def _listed(searched: Path) -> tuple[dict[str, Stamp], dict[str, str]]:
    """Give the stamps of all files by path, and of paths that are no UTF-8 how the system knows them."""
    stamps = find_files(searched)
    names = {text: relative for relative in stamps if (text := spelled(relative)) != relative}
    for text, relative in names.items():
        stamps[text] = stamps.pop(relative)
    return stamps, names


def _stamps_read(relative: str, stamps: Mapping[str, Stamp]) -> list[Stamp]:
    """Give the stamps of all files that are read with one: a NIfTI volume is with its sidecar."""
    if not relative.lower().endswith((".nii", ".nii.gz")):
        return [stamps[relative]]
    beside = bids.sidecar_of(PurePosixPath(relative)).as_posix()
    return [stamps[name] for name in (relative, beside) if name in stamps]


def _subjects(previous: Cohort | None, subjects: Mapping[str, str] | None) -> dict[str, str]:
    """Whom files without a patient belong to: what is said now, else what an earlier scan made of it."""
    known: dict[str, str] = {}
    if previous is not None:
        table = previous.table[previous.table["kind"] != "dicom"]
        known = dict(zip(table["path"], table["PatientID"], strict=True))
    return {**known, **(subjects or {})}


def _told_anew(previous: Cohort | None, stamps: Mapping[str, Stamp], subjects: dict[str, str]) -> set[str]:
    """Files that are as they were, but whose subject or sidecar is another now."""
    if previous is None:
        return set()
    table = previous.table[previous.table["kind"] != "dicom"].drop_duplicates("path")
    anew = {path for path, old in zip(table["path"], table["PatientID"], strict=True)
            if pseudonym(subjects[path]) != old}  # fmt: skip
    columns = ("path", "file_size", "file_mtime_ns")
    before = {path: (size, at) for path, size, at in zip(*(previous.rejected[name] for name in columns), strict=True)}
    for path in {path for path in stamps.keys() | before.keys() if path.lower().endswith(".json")}:
        if stamps.get(path) != before.get(path):
            anew.update(volume.as_posix() for volume in bids.volumes_of(PurePosixPath(path)))
    return anew


def _keep_unchanged(
    previous: Cohort | None, stamps: Mapping[str, Stamp], anew: set[str], gathered: _Gathered
) -> set[str]:
    """Take rows and rejections of unchanged files over but for those in `anew`, and give the paths of these files."""
    if previous is None:
        return set()
    if is_logged(previous.table):
        previous = read_unlogged(previous.folder)
    gathered.words.update(previous.identities)
    kept: set[str] = set()
    for table, take in ((previous.table, gathered.chunks.append), (previous.rejected, None)):
        same = [
            stamps.get(path) == (size, mtime_ns) and path not in anew
            for path, size, mtime_ns in zip(table["path"], table["file_size"], table["file_mtime_ns"], strict=True)
        ]
        unchanged = table[np.array(same, dtype=bool)]
        kept.update(unchanged["path"])
        if take:
            take(unchanged)
        else:
            gathered.rejected += unchanged.to_dict("records")
    return kept


def _parse(
    relatives: list[str], root: Path, names: Mapping[str, str], workers: int
) -> Iterator[tuple[list[str], list[Answer]]]:
    """Parse files in sandboxes, batch by batch, and give the answers in order."""

    def parse(sandbox: Sandbox, batch: list[str]) -> tuple[list[str], list[Answer]]:
        return batch, sandbox.read_slices([root / names.get(relative, relative) for relative in batch])

    # Small enough that all workers have some even of few files.
    size = max(1, min(_BATCH, math.ceil(len(relatives) / workers)))
    with Sandboxes(workers) as sandboxes:
        yield from sandboxes.map(parse, [relatives[at : at + size] for at in range(0, len(relatives), size)])


def _row(header: dict, facts: dict, words: dict[str, str], subject: str | None = None) -> dict:
    """Make one row of one header; `words` learns the patient's identity."""
    path = PurePosixPath(facts["path"])
    hidden = identity(header, path)
    if subject and header["kind"] != "dicom":
        # Who is named by the file or its path is hidden all the same.
        header = {**header, "PatientID": subject}
        hidden = tuple(dict.fromkeys((*identity(header, path), *hidden)))
    patient = pseudonym(patient_of(header, path))
    words.update({joined(text): patient for text in hidden})
    values = {
        **header,
        **{
            keyword: header[other]
            for keyword, other in _ENHANCED.items()
            if not header.get(keyword) and other in header
        },
        **facts,
        **label_header({**header, "FileName": path.name}),
        **_ids(header, path, patient),
        **_geometry(header),
    }
    row = {column: _as(dtype, values.get(column)) for column, dtype in COLUMNS.items()}
    field_strength = row["MagneticFieldStrength"]
    if field_strength and field_strength > 100:
        row["MagneticFieldStrength"] = field_strength / 10_000  # some write gauss
    for column in NEVER_MISSING:
        row[column] = row[column] or ""
    for column in _FREE_TEXT:
        if row[column]:
            row[column] = scrub(row[column], hidden, patient)
    return row


def _ids(header: dict, path: PurePosixPath, patient: str) -> dict:
    """Give every slice a patient, study, series and instance; where the file has none, one made of its path."""
    series = str(path)
    seed = seed_name(path.name)
    if seed:
        series = f"{path.parent}/{path.stem.rsplit('_', 1)[0]}"
    return {
        "kind": header["kind"],
        "frame": int(header.get("frame", 0)),
        "PatientID": patient,
        "StudyInstanceUID": _said(header.get("StudyInstanceUID")) or _made_uid(f"study {path.parent} {patient}"),
        "SeriesInstanceUID": _said(header.get("SeriesInstanceUID")) or _made_uid(f"series {series}"),
        "SOPInstanceUID": _said(header.get("SOPInstanceUID")) or _made_uid(f"instance {path}"),
        "InstanceNumber": header.get("InstanceNumber") or (seed["InstanceNumber"] if seed else None),
    }


def _said(value: object) -> object:
    """Return an identifier, or None where a header says none; a number that is none says nothing."""
    return None if value is None or value != value else value


def _made_uid(text: str) -> str:
    """Make a UID of a keyed digest, under the root for UUIDs (DICOM PS3.5 B.2)."""
    return f"2.25.{int.from_bytes(digest(text)[:16])}"


def _geometry(header: dict) -> dict:
    """Give pixel spacing in mm and orientation."""
    spacing = header.get("PixelSpacing") or [None, None]
    answer = {"pixel_spacing_row_mm": spacing[0], "pixel_spacing_column_mm": spacing[1], "orientation": None}
    # An orientation that is none gives no plane, and must give no letters and no order either.
    if unit_normal(header):
        answer["orientation"] = "\\".join(f"{value:.6g}" for value in header["ImageOrientationPatient"])
    return answer


def _position_mm(orientation: list[float] | None, position: list[float] | None) -> float | None:
    """Give the position along the normal.

    The normal is turned so that it points to the head, the back or the left, whichever it is nearest, so
    that a stack runs the same way however it was acquired.
    """
    if not position or len(position) != 3 or not orientation or (normal := _normal(tuple(orientation))) is None:
        return None
    return sum(map(operator.mul, normal, position))


@lru_cache(256)
def _normal(orientation: tuple[float, ...]) -> tuple[float, ...] | None:
    if (normal := unit_normal({"ImageOrientationPatient": orientation})) is None:
        return None
    sign = math.copysign(1.0, max(normal, key=abs))
    return tuple(sign * part for part in normal)


def _as(dtype: str, value: object) -> object:
    """Make a header's value one of its column's type; what cannot be one is missing, or 0 for a count."""
    if dtype == "str":
        return None if value is None or str(value) == "" else str(value)
    missing = 0 if dtype == "int64" else None
    try:
        number = value if isinstance(value, int) else float(str(value).split("\\")[0])
        if dtype == "float64":
            return float(number) if math.isfinite(number) else missing
        return int(number) if abs(number) < 1 << 63 else missing  # a time in ns does not fit into a float
    except (ValueError, OverflowError):
        return missing


def _assemble(gathered: _Gathered, name: str, root: Path, source: str) -> Cohort:
    table = pd.concat(gathered.chunks or [typed([], COLUMNS)], ignore_index=True)
    gathered.chunks.clear()
    if not table["path"].is_monotonic_increasing:  # what an earlier scan left is mixed with what is new
        table = table.sort_values(["path", "frame"], kind="stable", ignore_index=True)
    rejected = typed(sorted(gathered.rejected, key=lambda row: row["path"]), REJECTED_COLUMNS)
    codes, paths = pd.factorize(table["path"])
    shown = shown_paths([*paths, *rejected["path"]], gathered.words)
    rejected["shown_path"] = rejected["path"].map(shown).astype("str")
    table["shown_path"] = pd.Series([shown[path] for path in paths], dtype="str").take(codes).array
    table = _part_copies(table)
    table[["image_number", "stack", "stack_note"]] = number_stacks(table)
    table["split"] = patient_split(table)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    folder = get_settings().cohorts_dir / name
    return Cohort(name, folder, root, source, typed(table, COLUMNS), rejected, created, dict(gathered.words))


def _part_copies(table: pd.DataFrame) -> pd.DataFrame:
    """Mark later files that hold an instance which an earlier one holds too."""
    pairs = table[["SOPInstanceUID", "path"]].drop_duplicates()
    if pairs["SOPInstanceUID"].duplicated().any():
        copies = table["path"] != table.groupby("SOPInstanceUID")["path"].transform("min")
        mark = [f"{uid}+{digest(path).hex()[:8]}" for uid, path in table.loc[copies, ["SOPInstanceUID", "path"]].values]
        note = "same SOPInstanceUID as another file"
        conflict = table.loc[copies, "conflict"]
        table.loc[copies, "SOPInstanceUID"] = mark
        table.loc[copies, "conflict"] = [f"{text}; {note}" if text else note for text in conflict]
    return table
