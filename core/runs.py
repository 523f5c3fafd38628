"""The run folder, which is the truth: everything that is known of a run can be read from its files."""

import json
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from core.config import RunConfig
from core.errors import ConfigError, RunError
from core.settings import get_settings
from core.slice_table import replaced

STATES = ("queued", "running", "done", "failed", "cancelled", "interrupted")
#: A run in one of these states may still change by itself.
ACTIVE = ("queued", "running")
#: The model that comes with the project is a run like any other, under this id.
SHIPPED = "shipped"

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")


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
        status = self._stored_status()
        if status["state"] == "running" and not alive(status):
            status |= {"state": "interrupted", "message": "Its process ended without a word; start it again."}
        return status

    @property
    def bundle(self) -> Path:
        """Folder of the trained model; it need not exist yet."""
        return self.folder / "bundle"

    @property
    def last(self) -> Path:
        """Folder of the model as it was after the last epoch; `bundle` holds the best one."""
        return self.folder / "last"

    def update(self, **changes: Any) -> None:
        """Change the status; readers see the old one or the new one, never half of it."""
        status = self._stored_status() if (self.folder / "status.json").exists() else {}
        if "pid" in changes:
            changes["process_started"] = psutil.Process(changes["pid"]).create_time()
        status |= changes | {"updated": _now()}
        with replaced(self.folder / "status.json") as fresh:
            Path(fresh).write_text(json.dumps(status, indent=2), encoding="utf-8")

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
        """The last lines that the training process printed."""
        path = self.folder / "log.txt"
        return (
            "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]) if path.exists() else ""
        )

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            raise RunError(f"Run {self.id} has no {name} (it is {self.status['state']}); evaluate it first.")
        return path

    def _stored_status(self) -> dict[str, Any]:
        try:
            status = json.loads((self.folder / "status.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise RunError(f"The status of run {self.id} cannot be read ({error}).") from None
        if not isinstance(status, dict) or status.get("state") not in STATES:
            raise RunError(f"The status of run {self.id} names no known state.")
        return {"progress": 0.0, "message": "", **status}


def create_run(config: RunConfig, run_id: str | None = None, **status: Any) -> Run:
    """Make the folder of a new run.

    Parameters
    ----------
    config : RunConfig
    run_id : str, optional
        Made from the configuration's name, the date and chance when not given.
    **status
        Beside ``state="queued"``.

    Returns
    -------
    Run
    """
    slug = re.sub(r"[^a-z0-9]+", "-", config.name.lower()).strip("-")[:40] or "run"
    run_id = run_id or f"{slug}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    run = Run(run_id, get_settings().runs_dir / run_id)
    run.folder.mkdir(parents=True, exist_ok=True)
    with replaced(run.folder / "config.json") as fresh:
        Path(fresh).write_text(config.to_json(), encoding="utf-8")
    run.update(**{"state": "queued", "created": _now(), **status})
    return run


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
    """All runs, newest first; folders that are no runs are passed over."""
    folder = get_settings().runs_dir
    if not folder.is_dir():
        return []
    found = [
        Run(entry.name, Path(entry.path))
        for entry in os.scandir(folder)
        if _ID.fullmatch(entry.name) and Path(entry.path, "status.json").is_file()
    ]
    return sorted(found, key=lambda run: (run.status.get("created", ""), run.id), reverse=True)


def alive(status: dict[str, Any]) -> bool:
    """Whether the process that a status names still lives; a number that now belongs to another does not count."""
    try:
        process = psutil.Process(int(status["pid"]))
        same = abs(process.create_time() - float(status["process_started"])) < 2
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
