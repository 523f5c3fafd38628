"""Files → slice table: find, parse in limited children, label, pseudonymise, number, split.

No pixels are held: a header is asked of the sandbox, becomes one row, and is forgotten.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from core import archives, bids, sources
from core.cohort_files import read_unlogged
from core.errors import CohortError, InputError, UnopenedFile, UnreadableFile
from core.label_log import LOG_NAME
from core.labels import label_header, seed_name, unit_normal
from core.pseudonyms import digest, identity, joined, patient_of, pseudonym, scrub, shown_paths
from core.sandbox import Sandbox, Sandboxes
from core.settings import get_settings
from core.slice_table import COLUMNS, NEVER_MISSING, REJECTED_COLUMNS, Cohort, typed
from core.splits import patient_split
from core.stacks import number_stacks

#: Where enhanced files keep what classic ones write under another keyword.
_ENHANCED = {"EchoTime": "EffectiveEchoTime", "InversionTime": "InversionTimes", "SequenceName": "PulseSequenceName"}
_FREE_TEXT = ("SeriesDescription", "ContrastBolusAgent", "SequenceName", "sequence_evidence")
#: Rows that are turned into columns at a time: dictionaries of 300,000 slices would take gigabytes.
_CHUNK = 5000


@dataclass
class _Gathered:
    """What a scan has found so far."""

    chunks: list[pd.DataFrame] = field(default_factory=list)
    rows: list[dict] = field(default_factory=list)
    rejected: list[dict] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)

    def add(self, rows: list[dict]) -> None:
        self.rows += rows
        if len(self.rows) >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        if self.rows:
            self.chunks.append(typed(self.rows, COLUMNS))
            self.rows = []


def scan(
    path: Path | str,
    name: str,
    source: str = "folder",
    workers: int = 1,
    report: Callable[[int, int], None] | None = None,
    previous: Cohort | None = None,
    subjects: Mapping[str, str] | None = None,
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
    if not path.exists():
        raise InputError(f"There is no file or folder {str(path)!r}. Check the spelling.")
    root, searched, refused = archives.opened(path)
    if sources.spelled(root) != root.as_posix():
        raise InputError(f"The name of the folder {str(root)!r} is not UTF-8, so that no table can hold it. Rename it.")
    if previous is not None and previous.root.resolve() != root:
        raise CohortError(f"Cohort {previous.name!r} is of another folder than {path}. Index it under another name.")
    found = {sources.spelled(file.relative_to(root)): file for file in sorted(sources.find_files(searched))}
    stats = {relative: _stat(file) for relative, file in found.items()}
    gathered = _Gathered()
    subjects = _subjects(previous, subjects)
    same = stats.keys() - _told_anew(previous, stats, subjects)
    kept = _keep_unchanged(previous, {relative: stats[relative] for relative in same}, gathered)
    gathered.rejected += [{"path": name, "reason": why, "file_size": 0, "file_mtime_ns": 0} for name, why in refused]
    fresh = [relative for relative in found if relative not in kept]
    done = len(kept)
    if report:
        report(done, len(found))
    for relative, answer in _parse(fresh, found, workers):
        size, mtime_ns = stats[relative]
        facts = {"path": relative, "file_size": size, "file_mtime_ns": mtime_ns}
        if isinstance(answer, UnopenedFile):
            # What keeps a file shut leaves its size and time alone; without a time, a re-scan tries again.
            gathered.rejected.append({**facts, "file_mtime_ns": 0, "reason": str(answer)})
        elif isinstance(answer, UnreadableFile):
            gathered.rejected.append({**facts, "reason": str(answer)})
        else:
            gathered.add([_row(header, facts, gathered.words, subjects.get(relative)) for header in answer])
        done += 1
        if report:
            report(done, len(found))
    gathered.flush()
    return _assemble(gathered, name, root, source)


def _subjects(previous: Cohort | None, subjects: Mapping[str, str] | None) -> dict[str, str]:
    """Whom files without a patient belong to: what is said now, else what an earlier scan made of it."""
    known: dict[str, str] = {}
    if previous is not None:
        table = previous.table[previous.table["kind"] != "dicom"]
        known = dict(zip(table["path"], table["PatientID"], strict=True))
    return {**known, **(subjects or {})}


def _told_anew(previous: Cohort | None, stats: dict[str, tuple[int, int]], subjects: dict[str, str]) -> set[str]:
    """Files that are as they were, but whose subject or sidecar is another now."""
    if previous is None:
        return set()
    table = previous.table[previous.table["kind"] != "dicom"].drop_duplicates("path")
    anew = {path for path, old in zip(table["path"], table["PatientID"], strict=True)
            if pseudonym(subjects[path]) != old}  # fmt: skip
    columns = ("path", "file_size", "file_mtime_ns")
    before = {path: (size, at) for path, size, at in zip(*(previous.rejected[name] for name in columns), strict=True)}
    for path in {path for path in stats.keys() | before.keys() if path.lower().endswith(".json")}:
        if stats.get(path) != before.get(path):
            anew.update(volume.as_posix() for volume in bids.volumes_of(PurePosixPath(path)))
    return anew


def _stat(file: Path) -> tuple[int, int]:
    """Size and time by which a re-scan knows a file again; zeros for one that is gone since it was found."""
    try:
        stat = file.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _keep_unchanged(previous: Cohort | None, stats: dict[str, tuple[int, int]], gathered: _Gathered) -> set[str]:
    """Take rows and rejections of unchanged files over, and give the paths of these files."""
    if previous is None:
        return set()
    if (previous.folder / LOG_NAME).exists():
        previous = read_unlogged(previous.folder)
    gathered.words.update(previous.identities)
    kept: set[str] = set()
    for table, take in ((previous.table, gathered.chunks.append), (previous.rejected, None)):
        same = [
            stats.get(path) == (size, mtime_ns)
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
    relatives: list[str], found: dict[str, Path], workers: int
) -> Iterator[tuple[str, list[dict] | UnreadableFile]]:
    """Parse files in sandboxes and give the answers in order."""

    def parse(sandbox: Sandbox, relative: str) -> tuple[str, list[dict] | UnreadableFile]:
        try:
            return relative, sandbox.parse(found[relative])
        except UnreadableFile as error:
            return relative, error

    with Sandboxes(workers) as sandboxes:
        yield from sandboxes.map(parse, relatives)


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
        "StudyInstanceUID": header.get("StudyInstanceUID") or _made_uid(f"study {path.parent} {patient}"),
        "SeriesInstanceUID": header.get("SeriesInstanceUID") or _made_uid(f"series {series}"),
        "SOPInstanceUID": header.get("SOPInstanceUID") or _made_uid(f"instance {path}"),
        "InstanceNumber": header.get("InstanceNumber") or (seed["InstanceNumber"] if seed else None),
    }


def _made_uid(text: str) -> str:
    """Make a UID of a keyed digest, under the root for UUIDs (DICOM PS3.5 B.2)."""
    return f"2.25.{int.from_bytes(digest(text)[:16])}"


def _geometry(header: dict) -> dict:
    """Give pixel spacing, orientation and the position along the normal in mm.

    The normal is turned so that it points to the head, the back or the left, whichever it is nearest, so
    that a stack runs the same way however it was acquired.
    """
    spacing = header.get("PixelSpacing") or [None, None]
    answer = {"pixel_spacing_row_mm": spacing[0], "pixel_spacing_column_mm": spacing[1], "orientation": None}
    # An orientation that is none gives no plane, and must give no letters and no order either.
    if normal := unit_normal(header):
        answer["orientation"] = "\\".join(f"{value:.6g}" for value in header["ImageOrientationPatient"])
        position = header.get("ImagePositionPatient")
        if position and len(position) == 3:
            normal = np.array(normal) * np.sign(max(normal, key=abs))
            answer["position_mm"] = float(normal @ np.asarray(position, dtype=float))
    return answer


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
    chunks = gathered.chunks or [typed([], COLUMNS)]
    table = pd.concat(chunks, ignore_index=True).sort_values(["path", "frame"], kind="stable", ignore_index=True)
    rejected = typed(sorted(gathered.rejected, key=lambda row: row["path"]), REJECTED_COLUMNS)
    shown = shown_paths([*table["path"].unique(), *rejected["path"]], gathered.words)
    rejected["shown_path"] = rejected["path"].map(shown).astype("str")
    table["shown_path"] = table["path"].map(shown).astype("str")
    table = _part_copies(table)
    table[["image_number", "stack", "stack_note"]] = number_stacks(table)
    table["split"] = patient_split(table)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    folder = get_settings().cohorts_dir / name
    return Cohort(name, folder, root, source, typed(table, COLUMNS), rejected, created, dict(gathered.words))


def _part_copies(table: pd.DataFrame) -> pd.DataFrame:
    """Mark later files that hold an instance which an earlier one holds too."""
    first = table.groupby("SOPInstanceUID")["path"].transform("min")
    copies = table["path"] != first
    if copies.any():
        mark = [f"{uid}+{digest(path).hex()[:8]}" for uid, path in table.loc[copies, ["SOPInstanceUID", "path"]].values]
        note = "same SOPInstanceUID as another file"
        conflict = table.loc[copies, "conflict"]
        table.loc[copies, "SOPInstanceUID"] = mark
        table.loc[copies, "conflict"] = [f"{text}; {note}" if text else note for text in conflict]
    return table
