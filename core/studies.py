"""What a person drops on the Study page: saved under safe names, classified in the background, kept on disk.

A study's folder is the truth (so a reloaded tab or another session finds it again)::

    workspace/studies/<id>/
        files/           what was dropped; archives unpacked beside their own name
        study.json       state, progress, which model answers, when; replaced atomically
        slices.parquet   one row a slice   ┐
        series.parquet   one row a series  ├ from core.classify
        rejected.parquet path, reason      ┘
        pictures/        middle slice of each series, PNG, numbered as in series.parquet
"""

import json
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from core import classify, cohort, images
from core.cohorts.pseudonyms import shown_paths
from core.errors import CoreError, InputError, UnreadableFile
from core.publishing import registry
from core.sandbox import get_sandbox
from core.settings import get_settings

_ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar")
_LONGEST_NAME = 120

#: Columns of the slice table that the pages show beside the model's answers.
FACTS = (
    "shown_path", "SeriesDescription", "image_number", "orientation", "pixel_spacing_row_mm", "pixel_spacing_column_mm",
    "plane_rule", "tilt_deg", "sequence_rule", "sequence_evidence", "conflict",
)  # fmt: skip
#: Those that say where a slice lies in its stack; only the pages need them.
PLACES = ("Rows", "Columns", "position_mm", "stack", "stack_note")


#: What is asked about every series.
HEADS = ("plane", "sequence")


@dataclass(frozen=True)
class Answer:
    """What header and image say of one series about plane or sequence.

    Attributes
    ----------
    head : str
        One of `HEADS`.
    header, image : str or None
        Their words; ``image`` is None where the model has no such head.
    why : str
        Rule and evidence of the header's word.
    p : float
        Probability of the image's word, NaN without one.
    verdict : str
        One of `core.vocabulary.VERDICTS`; empty where neither says anything.
    """

    head: str
    header: str | None
    image: str | None
    why: str
    p: float
    verdict: str


@dataclass(frozen=True)
class Study:
    """One dropped study.

    Parameters
    ----------
    id : str
        Random; it is what addresses hold.
    folder : Path
    """

    id: str
    folder: Path

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def status(self) -> dict:
        """``state`` (saved, running, done, failed, interrupted), ``message``, how far the present phase is, and which
        model answers (`core.publishing.registry.Model.facts`)."""
        status = json.loads((self.folder / "study.json").read_text("utf-8"))
        if status["state"] == "running" and status["pid"] != os.getpid() and not _alive(status["pid"]):
            status.update(state="interrupted", message="The server ended while this study was being read.")
        return status

    def table(self, name: str) -> pd.DataFrame:
        """Read ``slices``, ``series`` or ``rejected`` of a finished study."""
        return pd.read_parquet(self.folder / f"{name}.parquet")

    def picture(self, series: int) -> Path | None:
        """Middle slice of the series in that row, or None where it could not be drawn."""
        path = self.folder / "pictures" / f"{series}.png"
        return path if path.exists() else None


def safe_name(name: str) -> str:
    r"""Make a relative path of what a client called a file; it cannot leave the folder it is joined to.

    Parameters
    ----------
    name : str
        Anything, for example ``"../../evil.dcm"``.

    Returns
    -------
    str
        Parts joined by ``/``, none of them empty, hidden, climbing or longer than 120 characters.

    Examples
    --------
    >>> safe_name("../../evil.dcm"), safe_name("C:\\scans\\Head 1\\IM0001"), safe_name("/etc/./.passwd")
    ('evil.dcm', 'C_/scans/Head 1/IM0001', 'etc/passwd')
    >>> safe_name("..")
    'file'
    """
    parts = (re.sub(r'[\x00-\x1f\x7f<>:"|?*]', "_", part).strip().lstrip(".") for part in re.split(r"[/\\]+", name))
    kept = [part.encode("utf-8", "replace")[-_LONGEST_NAME:].decode("utf-8", "ignore") for part in parts if part]
    return "/".join(kept) or "file"


def create(files: Iterable[tuple[str, BinaryIO]]) -> Study:
    """Save what was dropped, archives unpacked.

    Parameters
    ----------
    files : iterable of (name, file)
        Names as the client gave them; files open for reading bytes.

    Returns
    -------
    Study
        In state ``saved``.

    Raises
    ------
    InputError
        Nothing was given, or it is more than the limits of `core.settings.Settings` allow.
    """
    settings = get_settings()
    study = _new_folder()
    refused, count, size = [], 0, 0
    try:
        for name, file in files:
            count += 1
            if count > settings.max_upload_files:
                raise InputError(
                    f"More than {settings.max_upload_files} files were dropped. Drop them as several studies."
                )
            target = _unused(study.files / safe_name(name))
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                shutil.copyfileobj(file, out, 1 << 20)
            size += target.stat().st_size
            if size > settings.max_upload_mb << 20:
                raise InputError(f"More than {settings.max_upload_mb} MB were dropped. Drop fewer at a time.")
            if target.name.lower().endswith(_ARCHIVES):
                refused += _unpack(target)
        if not count:
            raise InputError("No file was dropped. Choose DICOM, NIfTI, PNG or JPEG files, a folder, or a zip of them.")
    except CoreError:
        shutil.rmtree(study.folder)
        raise
    _write_status(study, state="saved", refused=refused)
    return study


def create_from_folder(folder: Path) -> Study:
    """Make a study of a folder on this machine, without copying it twice over the network."""
    study = _new_folder()
    shutil.copytree(folder, study.files, dirs_exist_ok=True)
    _write_status(study, state="saved", refused=[])
    return study


def open_study(study_id: str) -> Study:
    """Find a study by its id.

    Raises
    ------
    InputError
        There is none of that id.
    """
    folder = get_settings().studies_dir / study_id
    if not re.fullmatch(r"[0-9a-f]{16}", study_id) or not (folder / "study.json").exists():
        raise InputError(f"There is no study {study_id!r} in this workspace. Drop its files again.")
    return Study(study_id, folder)


def remove(study: Study) -> None:
    """Delete what was dropped and what was made of it."""
    shutil.rmtree(study.folder)


def start(study: Study, model: str | None = None) -> None:
    """Classify a study in a thread of this process; `Study.status` tells how far it is, and which model answers.

    Parsing and prediction happen in child processes, so the thread only waits.

    Parameters
    ----------
    study : Study
    model : str, optional
        ``shipped``, or a run's id; the promoted one without, see `core.publishing.registry`.

    Raises
    ------
    CoreError
        When there is no such model.
    """
    facts = registry.find(model).facts
    _write_status(study, state="running", **facts, done=0, total=0, phase_started=time.time(), message="Starting")
    threading.Thread(target=_run, args=(study, facts["model"]), name=f"study-{study.id}", daemon=True).start()


def newer_model(study: Study) -> registry.Model | None:
    """Return the current model where another one labelled the study, so that it can be labelled again; else None."""
    current = registry.current()
    return None if study.status.get("sha256") == current.sha256 else current


def answers(row: Any, heads: Sequence[str] = HEADS) -> list[Answer]:
    """Tell what header and image say of one series.

    Parameters
    ----------
    row : named tuple
        Of a study's series table.
    heads : sequence of str
        What the model can tell: ``heads`` of the study's status.

    Returns
    -------
    list of Answer
        One for each of `HEADS`.
    """
    found = []
    for head in HEADS:
        header, image = (
            None if pd.isna(word) else word for word in (getattr(row, f"header_{head}"), getattr(row, head))
        )
        verdict = getattr(row, f"{head}_verdict")
        said = verdict if head in heads or header else ""
        found.append(Answer(head, header, image, getattr(row, f"{head}_why"), getattr(row, f"{head}_p"), said))
    return found


def counts(series: pd.DataFrame, heads: Sequence[str] = HEADS) -> dict[str, int]:
    """Count the series on which header and image agree in all that the model can tell, and the others.

    Examples
    --------
    >>> table = pd.DataFrame({"plane_verdict": ["agree", "unsure"], "sequence_verdict": ["header_only", "disagree"]})
    >>> counts(table, ["plane"])
    {'agree': 1, 'disagree': 0, 'unsure': 1}
    """
    verdicts = series[[f"{head}_verdict" for head in heads]]
    return {
        "agree": int((verdicts == "agree").all(axis=1).sum()),
        "disagree": int((verdicts == "disagree").any(axis=1).sum()),
        "unsure": int((verdicts == "unsure").any(axis=1).sum()),
    }


def _run(study: Study, model: str) -> None:
    def follow(message: str) -> Callable[[int, int], None]:
        _write_status(study, done=0, total=0, phase_started=time.time(), message=message)
        last = 0.0

        def report(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last > 0.2 or done == total:
                last = time.monotonic()
                _write_status(study, done=done, total=total)

        return report

    cores = os.cpu_count() or 1
    state, message = "failed", "A bug ended it; the server's log says more. Please report it."
    try:
        report = follow("Reading the headers of files")
        facts = cohort.scan(study.files, "study", source="upload", workers=cores, report=report)
        report = follow("Asking the model about slices")
        slices, series, rejected = classify.classify(facts, model=model, workers=cores, report=report)
        slices, series = with_facts(slices, series, facts.table)
        rejected = _all_rejected(rejected, study.status["refused"], facts)
        _draw(study, slices, series)
        for name, table in (("slices", slices), ("series", series), ("rejected", rejected)):
            table.to_parquet(study.folder / f"{name}.parquet")
        state, message = "done", ""
    except CoreError as error:
        message = str(error)
    finally:
        # An exception that is no CoreError still reaches the log through the thread's own hook.
        _write_status(study, state=state, message=message, ended=time.time())


def with_facts(slices: pd.DataFrame, series: pd.DataFrame, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join what the headers say to what `core.classify` answered.

    Parameters
    ----------
    slices, series : DataFrame
        As `core.classify.classify` gives them.
    table : DataFrame
        Slice table of the same files.

    Returns
    -------
    slices : DataFrame
        With the slice table's `FACTS` and `PLACES`, in the order of each stack.
    series : DataFrame
        With ``middle`` (row of its middle slice in `slices`), ``title``, ``plane_why`` and ``sequence_why``.
    """
    slices = slices.merge(table[["path", "frame", *FACTS, *PLACES]], on=["path", "frame"], how="left", validate="1:1")
    slices = slices.sort_values(["SeriesInstanceUID", "image_number"], kind="stable", ignore_index=True)
    rows = slices.groupby("SeriesInstanceUID", sort=False).indices
    middle = [int(rows[uid][len(rows[uid]) // 2]) for uid in series["SeriesInstanceUID"]]
    first = slices.iloc[middle].reset_index(drop=True)
    why = first["sequence_rule"] + " " + first["sequence_evidence"]
    title = first["SeriesDescription"].fillna(first["shown_path"].str.rsplit("/").str[-1])
    return slices, series.reset_index(drop=True).assign(
        middle=middle, title=title, plane_why=first["plane_rule"], sequence_why=why.str.strip()
    )


def public(table: pd.DataFrame) -> pd.DataFrame:
    """Give a study's table as it may leave: no path that names a patient, no column that only the page needs."""
    shown = table.assign(path=table["shown_path"]) if "shown_path" in table else table
    return shown.drop(columns=["shown_path", "middle", *PLACES], errors="ignore")


def _all_rejected(rejected: pd.DataFrame, refused: list[tuple[str, str]], facts: cohort.Cohort) -> pd.DataFrame:
    """Files that could not be read, and members of archives that were not unpacked."""
    shown = shown_paths([name for name, _ in refused], facts.identities)
    more = [{"path": name, "shown_path": shown[name], "reason": reason} for name, reason in refused]
    columns = ["path", "shown_path", "reason"]
    kept = rejected.reindex(columns=columns)
    kept["shown_path"] = kept["shown_path"].fillna(kept["path"])
    return pd.concat([kept, pd.DataFrame(more, columns=columns, dtype="str")], ignore_index=True)


def _draw(study: Study, slices: pd.DataFrame, series: pd.DataFrame) -> None:
    folder = study.folder / "pictures"
    folder.mkdir(exist_ok=True)
    for number, row in enumerate(slices.iloc[series["middle"]].itertuples()):
        try:
            pixels = get_sandbox().pixels(study.files / row.path, int(row.frame))
        except CoreError:
            continue  # its series is listed all the same, without a picture
        (folder / f"{number}.png").write_bytes(images.to_png(images.to_display(pixels)))


def _unpack(archive: Path) -> list[tuple[str, str]]:
    into = _unused(archive.with_name(archive.name.split(".")[0] or "archive"))
    try:
        refused = [(f"{archive.name}/{name}", reason) for name, reason in get_sandbox().unpack(archive, into)]
    except UnreadableFile as error:
        refused = [(archive.name, str(error))]
    archive.unlink()
    return refused


def _unused(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def _new_folder() -> Study:
    study_id = secrets.token_hex(8)
    study = Study(study_id, get_settings().studies_dir / study_id)
    study.files.mkdir(parents=True)
    return study


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _write_status(study: Study, **changes) -> None:
    path = study.folder / "study.json"
    status = json.loads(path.read_text("utf-8")) if path.exists() else {"refused": []}
    status.update(changes, pid=os.getpid())
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(status), "utf-8")
    temporary.replace(path)
