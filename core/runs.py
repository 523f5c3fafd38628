"""The run folder, which is the truth: everything that is known of a run can be read from its files."""

import fcntl
import json
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from core.cohorts.slice_table import replaced
from core.config import RunConfig
from core.errors import ConfigError, RunError
from core.settings import PROJECT_DIR, get_settings

STATES = ("queued", "running", "done", "failed", "cancelled", "interrupted")
#: A run in one of these states may still change by itself.
ACTIVE = ("queued", "running")
#: A run in one of these states ended without success, and can be queued again.
BROKEN = ("failed", "cancelled", "interrupted")
AGAIN = "resume it, or start it again"
#: The model that comes with the project is a run like any other, under this id.
SHIPPED = "shipped"

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")
_LONGEST_TAIL = 64_000
#: An absolute path: in quotes with all that it holds, else up to the first space.
_PATH = re.compile(r"(?<=')/[^'\n]+(?=')|(?<=\")/[^\"\n]+(?=\")|(?<![\w.:/<])/[^\s'\",:;)]+")
#: Status files that were read: path to (stamp, status). A page lists hundreds of runs, and few change.
_read: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {}
#: Folders of runs that this thread holds.
_holding = threading.local()
#: Two writes within one tick of the file system's clock may leave the same stamp.
_TICK_NS = 50_000_000


@dataclass(frozen=True)
class Run:
    """One run, as its folder tells it; nothing is held in memory, so a second process sees the same.

    Attributes
    ----------
    id : str
    folder : Path
    """

    id: str
    folder: Path

    @property
    def config(self) -> RunConfig:
        """What the run was asked to do."""
        try:
            return RunConfig.from_json(self.folder / "config.json")
        except ConfigError as error:
            raise RunError(f"The configuration of run {self.id} cannot be read: {error}") from None

    @property
    def status(self) -> dict[str, Any]:
        """State (one of `STATES`), progress (0 to 1), message, and when it was created, started and updated.

        A run whose process is gone without having said how it ended reads as *interrupted*.
        """
        return _as_it_is(self._stored_status())

    @property
    def bundle(self) -> Path:
        """Folder of the trained model; it need not exist yet."""
        return self.folder / "bundle"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process and thread from changing the run; reading needs no such care.

        Whoever holds it may hold it again, and change it by `update`.

        Raises
        ------
        RunError
            When the run was moved to the trash or deleted meanwhile.
        """
        mine = _holding.__dict__.setdefault("folders", set())
        if self.folder in mine:
            yield
            return
        try:
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            raise RunError(f"Run {self.id} is not there any more; it may be in the trash.") from None
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if not self.folder.exists() or os.fstat(folder).st_ino != self.folder.stat().st_ino:
                raise RunError(f"Run {self.id} is not there any more; it may be in the trash.")
            mine.add(self.folder)
            yield
        finally:
            mine.discard(self.folder)
            # The system lets go of the lock with the file.
            os.close(folder)

    @contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        """Give the stored status to be looked at and changed in one go; what it is in the end is written.

        Readers see the old one or the new one, never half of it, and no other change is lost.
        """
        with self.held():
            there = (self.folder / "status.json").exists()
            status = self._stored_status() if there else {}
            before = dict(status)
            yield status
            if status == before:
                return
            if "pid" in status and status["pid"] != before.get("pid"):
                status["process_started"] = psutil.Process(status["pid"]).create_time()
            status["updated"] = now()
            path = self.folder / "status.json"
            with replaced(path) as fresh:
                Path(fresh).write_text(json.dumps(status, indent=2), encoding="utf-8")
            _read.pop(str(path), None)

    @property
    def last(self) -> Path:
        """Folder of the model as it was after the last epoch; `bundle` holds the best one."""
        return self.folder / "last"

    def update(self, **changes: Any) -> None:
        """Change the status, whatever it is."""
        with self.changing() as status:
            status.update(changes)

    def metrics(self) -> pd.DataFrame:
        """One row an epoch, from ``metrics.jsonl``; empty before the first."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        # The writer may be in the middle of the last line.
        return pd.DataFrame([json.loads(line) for line in lines if line.endswith("\n")])

    def card(self) -> dict[str, Any]:
        """The trained model's card.

        Raises
        ------
        RunError
            When there is no trained model yet.
        """
        from core import bundle

        if not (self.bundle / "card.json").exists():
            raise RunError(f"Run {self.id} has no trained model (it is {self.status['state']}).")
        return bundle.read_card(self.bundle)

    def scores(self) -> dict[str, Any]:
        """What the evaluation measured; empty when there was none."""
        path = self.folder / "scores.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def predictions(self) -> pd.DataFrame:
        """One row a slice and head; see `core.evaluation`."""
        return pd.read_parquet(self._file("predictions.parquet"))

    def split(self) -> pd.DataFrame:
        """Which slice went into training, validation and test."""
        return pd.read_parquet(self._file("split.parquet"))

    def embeddings(self) -> np.ndarray:
        """Pooled features, (slices, d), in the order of the predictions' slices."""
        return np.load(self._file("embeddings.npy"), allow_pickle=False)

    def log_tail(self, lines: int = 40) -> str:
        """The last lines that the training printed; a path outside the project, which may name a patient, as …"""
        try:
            with (self.folder / "log.txt").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_TAIL))
                text = file.read().decode("utf-8", errors="replace")
        except OSError:
            return ""
        # A progress bar that is written over is one line.
        ended = [line.rstrip("\r").rpartition("\r")[2] for line in text.rstrip("\n").split("\n")]
        return _PATH.sub(_without_names, "\n".join(ended[-lines:]))

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            raise RunError(f"Run {self.id} has no {name} (it is {self.status['state']}); evaluate it first.")
        return path

    def _stored_status(self) -> dict[str, Any]:
        return _stored_status(self.id, f"{self.folder}/status.json")


def _stored_status(run_id: str, path: str) -> dict[str, Any]:
    try:
        found = os.stat(path)  # noqa: PTH116 (hundreds at each look, and a Path costs more than the question)
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        known = _read.get(path)
        if known and known[0] == stamp:
            return dict(known[1])
        status = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"The status of run {run_id} cannot be read ({error.strerror}).") from None
    except json.JSONDecodeError as error:
        raise RunError(f"The status of run {run_id} cannot be read ({error}).") from None
    if not isinstance(status, dict) or status.get("state") not in STATES:
        raise RunError(f"The status of run {run_id} names no known state.")
    status = {"progress": 0.0, "message": "", **status}
    if time.time_ns() - found.st_mtime_ns > _TICK_NS:
        _read[path] = stamp, dict(status)
    return status


def _as_it_is(status: dict[str, Any]) -> dict[str, Any]:
    """Put right what a status says of a process that is gone."""
    if status["state"] == "running" and not alive(status):
        status |= {"state": "interrupted", "message": f"Its process ended without a word; {AGAIN}."}
    return status


def create_run(
    config: RunConfig, run_id: str | None = None, prepare: Callable[[Path], None] | None = None, **status: Any
) -> Run:
    """Make the folder of a new run.

    Parameters
    ----------
    config : RunConfig
    run_id : str, optional
        Made from the configuration's name, the date and chance when not given.
    prepare : callable, optional
        Called with the folder before anybody can see the run, to write more into it.
    **status
        Beside ``state="queued"``.

    Returns
    -------
    Run
    """
    given = run_id is not None
    run_id = run_id or f"{slug(config.name)}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
    run = Run(run_id, get_settings().runs_dir / run_id)
    run.folder.mkdir(parents=True, exist_ok=given)
    with replaced(run.folder / "config.json") as fresh:
        Path(fresh).write_text(config.to_json(), encoding="utf-8")
    if prepare:
        prepare(run.folder)
    run.update(**{"state": "queued", "created": now(), **status})
    return run


def slug(name: str) -> str:
    """Make of what a run is called the beginning of its id.

    Examples
    --------
    >>> slug("T1 or T2?"), slug("…")
    ('t1-or-t2', 'run')
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "run"


def read_run(run_id: str) -> Run:
    """Find a run by its id, which may come from an address and is not trusted.

    Raises
    ------
    RunError
        When there is no such run.
    """
    folder = get_settings().runs_dir / str(run_id)
    if not _ID.fullmatch(str(run_id)) or not (folder / "status.json").is_file():
        raise RunError(f"There is no run {str(run_id)[:80]!r}. `python -m core runs` lists those there are.")
    return Run(run_id, folder)


def list_runs() -> list[Run]:
    """All runs, newest first; folders that are no runs, or whose status is damaged, are passed over."""
    return [run for run, _ in snapshot()]


def snapshot() -> list[tuple[Run, dict[str, Any]]]:
    """All runs with their status, newest first: one look at each file, as `list_runs` and `Run.status` would tell."""
    found = _folder_statuses(get_settings().runs_dir)
    found.sort(key=lambda one: (one[1].get("created", ""), one[0].id), reverse=True)
    return [(run, _as_it_is(status)) for run, status in found]


def list_trash() -> list[Run]:
    """Runs in the trash, in no order; see `core.comparing.run_notes`."""
    return [run for run, _ in _folder_statuses(get_settings().trash_dir)]


def _folder_statuses(folder: Path) -> list[tuple[Run, dict[str, Any]]]:
    if not folder.is_dir():
        return []
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            # One damaged folder must not hide everybody's runs.
            with suppress(RunError):
                if _ID.fullmatch(entry.name):
                    status = _stored_status(entry.name, f"{entry.path}/status.json")
                    found.append((Run(entry.name, folder / entry.name), status))
    return found


def _without_names(path: re.Match) -> str:
    known = path.group().startswith((str(PROJECT_DIR), sys.prefix, sys.base_prefix)) and not path.group().startswith(
        str(get_settings().workspace.resolve())
    )
    return path.group() if known or path.group().count("/") < 2 else "…"


def is_id(name: str) -> bool:
    """Tell whether a word can be the id of a run."""
    return bool(_ID.fullmatch(name))


def alive(status: dict[str, Any]) -> bool:
    """Whether the process that a status names still lives; a number that now belongs to another does not count."""
    try:
        process = psutil.Process(int(status["pid"]))
        same = abs(process.create_time() - float(status["process_started"])) < 2
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def now() -> str:
    """Return the time as a status holds it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
