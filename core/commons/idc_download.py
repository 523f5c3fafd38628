"""Downloads of the Imaging Data Commons: begin, follow, resume, cancel; `core.commons.idc_fetch` does the work.

A download is a folder, which is the truth, and a process of its own, which outlives the server::

    workspace/downloads/<name>/       the cohort made of it has the same name
        series.parquet     what was asked for: one row a series, as `core.commons.idc.series` gives them
        attribution.md     sources, licences, citations
        status.json        state, message, progress; replaced atomically
        lock               held by the process while it lives
        files/<uuid>/      complete series, and nothing else: the folder is renamed once all of a series is there
        partial/           series that are being fetched; removed when the process ends, however it ends

So resuming needs no bookkeeping: a series whose folder is there is complete, any other is fetched.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from core import cohort
from core.cohorts.cohort_files import is_name
from core.cohorts.slice_table import replaced
from core.commons import idc
from core.errors import InputError
from core.settings import PROJECT_DIR, get_settings

SOURCE = "idc"
#: States of a download; *running* is the only one that changes by itself.
STATES = ("running", "done", "failed", "cancelled", "interrupted")

#: Room on the disk beside the images themselves: tables, thumbnails, the system's own needs.
_SPARE_BYTES = 1 << 30


@dataclass(frozen=True)
class Download:
    """One download, as its folder tells it.

    Attributes
    ----------
    name : str
        Of the cohort that is made of it.
    folder : Path
    """

    name: str
    folder: Path

    @property
    def files(self) -> Path:
        """Where the complete series lie; the root of the cohort."""
        return self.folder / "files"

    @property
    def series(self) -> pd.DataFrame:
        """What was asked for, one row a series."""
        return pd.read_parquet(self.folder / "series.parquet")

    @property
    def status(self) -> dict[str, Any]:
        """How far it is.

        ``state`` (one of `STATES`), ``message``, ``phase`` (Downloading, Reading headers), ``done`` and ``total``
        (bytes, then files), ``series_done`` and ``series_total``, and ``rate``: done a second in this phase. One
        whose process is gone without having said how it ended reads as *interrupted*.
        """
        # In this order: a process that ends in between has said so.
        alive = self.alive
        status = json.loads((self.folder / "status.json").read_text("utf-8"))
        if status["state"] == "running" and not alive:
            status |= {"state": "interrupted", "message": "Its process ended without a word. Resume it."}
        return status

    @property
    def alive(self) -> bool:
        """Whether a process is at work on it."""
        with _lock(self, fcntl.LOCK_SH) as free:
            return free is None

    def update(self, **changes: Any) -> None:
        """Change the status; readers see the old one or the new one."""
        path = self.folder / "status.json"
        status = json.loads(path.read_text("utf-8")) if path.exists() else {}
        with replaced(path) as fresh:
            fresh.write_text(json.dumps(status | changes), "utf-8")

    def complete(self, series: pd.DataFrame) -> pd.Series:
        """Tell which series are there in full: one bool a row."""
        there = {entry.name for entry in os.scandir(self.files)} if self.files.is_dir() else set()
        return series["uuid"].isin(there)


def submit(name: str, series: pd.DataFrame) -> Download:
    """Begin to fetch series; a process of its own does it, see `Download.status`.

    Parameters
    ----------
    name : str
        Of the cohort. When there is a download of this name, its complete series stay and these are added.
    series : DataFrame
        As from `core.commons.idc.series`.

    Returns
    -------
    Download

    Raises
    ------
    InputError
        For a name that cannot be used, no series, too little room on the disk, or when it is at work already.
    SourceUnavailable
        When the extra is not installed.
    """
    version = idc.index_version()
    if not is_name(name):
        raise InputError(f"A cohort's name has letters, digits, - and _, at most 40; received {name!r}.")
    download = Download(name, get_settings().downloads_dir / name)
    if name in cohort.list_cohorts() and cohort.read_unlogged(name).source != SOURCE:
        raise InputError(f"There is a cohort {name!r} of another source already. Choose another name.")
    if (download.folder / "series.parquet").exists():
        before = download.series
        series = pd.concat([before[download.complete(before)], series]).drop_duplicates("uuid", ignore_index=True)
    if series.empty:
        raise InputError("There is no series to download. Change what is looked for.")
    _check_room(series[~download.complete(series)])
    text = idc.attribution(series, idc.sources(series["source_doi"]), version)
    download.folder.mkdir(parents=True, exist_ok=True)
    with _lock(download, fcntl.LOCK_EX) as lock:
        if lock is None:
            raise InputError(f"Download {name!r} is at work already. Wait for it, or cancel it.")
        with replaced(download.folder / "series.parquet") as fresh:
            series.to_parquet(fresh, index=False)
        with replaced(download.folder / idc.ATTRIBUTION_NAME) as fresh:
            fresh.write_text(text, "utf-8")
        _start(download, lock)
    return download


def resume(name: str) -> Download:
    """Fetch what is missing of a download that ended early.

    Raises
    ------
    InputError
        As `submit`, or when there is none of this name.
    SourceUnavailable
        When the extra is not installed.
    """
    return submit(name, open_download(name).series)


def cancel(name: str) -> None:
    """Ask a download to end; complete series stay.

    Raises
    ------
    InputError
        When there is none of this name, or it is not at work.
    """
    download = open_download(name)
    status = download.status
    if status["state"] != "running":
        raise InputError(f"Download {name!r} is {status['state']}; there is nothing to cancel.")
    if status["pid"] is None:
        raise InputError(f"Download {name!r} is just starting. Try again in a second.")
    os.killpg(status["pid"], signal.SIGTERM)


def discard(name: str) -> None:
    """Delete a download and its files.

    Raises
    ------
    InputError
        When there is none of this name, it is at work, or a cohort needs its files.
    """
    download = open_download(name)
    if name in cohort.list_cohorts():
        raise InputError(f"Cohort {name!r} needs the files of this download. They stay.")
    with _lock(download, fcntl.LOCK_EX) as lock:
        if lock is None:
            raise InputError(f"Download {name!r} is at work. Cancel it first.")
        shutil.rmtree(download.folder)


def open_download(name: str) -> Download:
    """Find a download by its name.

    Raises
    ------
    InputError
        When there is none.
    """
    folder = get_settings().downloads_dir / name
    if not is_name(name) or not (folder / "status.json").is_file():
        raise InputError(f"There is no download {name!r} in this workspace.")
    return Download(name, folder)


def list_downloads() -> list[Download]:
    """All downloads of the workspace, by name."""
    folder = get_settings().downloads_dir
    return [Download(path.parent.name, path.parent) for path in sorted(folder.glob("*/status.json"))]


def progress_words(status: dict[str, Any]) -> str:
    """Put the progress of a running download into words.

    Examples
    --------
    >>> progress_words({"phase": "Downloading", "done": 3e8, "total": 1e9, "rate": 5e6, "series_done": 2,
    ...                 "series_total": 9, "message": "Downloading"})
    'Downloading: 0.30 of 1.00 GB, 2 of 9 series · 5.0 MB/s · about 2 min left'
    """
    done, total, rate = (status[key] for key in ("done", "total", "rate"))
    if status["phase"] == "Downloading":
        n_series = f"{status['series_done']:,} of {status['series_total']:,} series"
        words = f"{status['message']}: {done / 1e9:.2f} of {total / 1e9:.2f} GB, {n_series}"
        pace = f" · {rate / 1e6:.1f} MB/s"
    else:
        words, pace = f"{status['message']}: {done:,} of {total:,} files", f" · {rate:.0f} files/s"
    if not rate:
        return words
    left_s = (total - done) / rate
    seconds, unit = (3600, "h") if left_s > 5400 else (60, "min") if left_s > 90 else (1, "s")
    return f"{words}{pace} · about {left_s / seconds:.0f} {unit} left"


def _check_room(series: pd.DataFrame) -> None:
    folder = get_settings().workspace
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = series["size_mb"].sum() * 1e6 + _SPARE_BYTES, shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"These series need {needed / 1e9:.1f} GB, and the workspace's disk has {free / 1e9:.1f} GB left. Choose "
            "fewer, or make room."
        )


@contextmanager
def _lock(download: Download, kind: int) -> Iterator[int | None]:
    """Hold the download's lock, and give its file descriptor; None when its process holds it."""
    with (download.folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file.fileno()


def _start(download: Download, lock: int) -> None:
    """Start the process; it inherits the lock, and the system lets go of it when the process is gone."""
    total = max(1, round(download.series["size_mb"].sum() * 1e6))
    # Before it starts: from then on it alone writes the status.
    download.update(
        state="running", pid=None, message="Starting", phase="Downloading", done=0, total=total, rate=0.0,
        series_done=0, series_total=len(download.series),
    )  # fmt: skip
    with (download.folder / "log.txt").open("wb") as log:
        subprocess.Popen(
            [sys.executable, "-m", "core.commons.idc_fetch", str(download.folder.resolve())],
            cwd=PROJECT_DIR, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=[lock],
            env={**os.environ, "SLICESCOPE_WORKSPACE": str(get_settings().workspace.resolve())},
        )  # fmt: skip
