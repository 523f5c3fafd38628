"""Work beside the queue that takes minutes: a process of its own each, told of by one small file.

The web process starts it, looks at the file and may end it; a closed tab or a killed server changes nothing. Beside
``NAME.json`` lies ``NAME.log`` with what the process printed.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from core import runs
from core.cohorts.pace import Pace
from core.cohorts.slice_table import replaced
from core.errors import CoreError, RunError
from core.settings import PROJECT_DIR, get_settings

Made = TypeVar("Made")
#: Called with (done, in all), and perhaps a message and other facts for the status.
Report = Callable[..., None]

_GRACE_S = 3.0


@dataclass(frozen=True)
class SideJob:
    """A piece of work of which there is one at a time.

    Attributes
    ----------
    title : str
        What messages call it, for example ``"The stress bench of run x"``.
    module : str
        What ``python -m`` runs; it ends in `work`.
    file : Path
        Its status: ``state`` (none, running, done, failed, cancelled, interrupted), ``message``, ``done``, ``total``,
        and what `work` adds at the end.
    held : callable
        Gives a context that keeps others from starting or cancelling it meanwhile, as `core.runs.Run.held`.
    """

    title: str
    module: str
    file: Path
    held: Callable[[], AbstractContextManager[None]] = field(repr=False)

    def status(self) -> dict[str, Any]:
        """Tell how far it is."""
        try:
            found = json.loads(self.file.read_text("utf-8"))
        except FileNotFoundError:
            return {"state": "none"}
        except (OSError, ValueError):
            return {"state": "failed", "message": "Its status cannot be read. Start it again."}
        if found["state"] == "running" and not runs.alive(found):
            found |= {"state": "interrupted", "message": "Its process ended without a word. Start it again."}
        return found

    def start(self, *arguments: object) -> None:
        """Start it in a process of its own.

        Raises
        ------
        RunError
            When it is running already, or cannot be started.
        """
        with self.held():
            self._refuse_twice()
            self.file.parent.mkdir(parents=True, exist_ok=True)
            try:
                with self.file.with_suffix(".log").open("wb") as log:
                    process = subprocess.Popen(
                        [sys.executable, "-m", self.module, *map(str, arguments)],
                        cwd=PROJECT_DIR, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                        env={**os.environ, "SLICESCOPE_WORKSPACE": str(get_settings().workspace.resolve())},
                    )  # fmt: skip
            except OSError as error:
                raise RunError(f"{self.title} could not be started: {error.strerror}.") from None
            self._write(**_running(process.pid))
        # Without somebody who waits for it, a process that has ended would stay in the system's list.
        threading.Thread(target=process.wait, name=f"wait-{self.file.stem}", daemon=True).start()

    def cancel(self) -> None:
        """End it; what an earlier one has found stays."""
        with self.held():
            found = self.status()
            if found["state"] != "running":
                return
            with suppress(psutil.Error):
                process = psutil.Process(found["pid"])
                process.send_signal(signal.SIGTERM)
                deadline = time.monotonic() + _GRACE_S
                while runs.alive(found) and time.monotonic() < deadline:
                    time.sleep(0.02)
                if runs.alive(found):
                    process.kill()
            self._write(state="cancelled", message="Cancelled")

    def work(self, do: Callable[[Report], Made], report: Report | None = None, **facts: Any) -> Made:
        """Do it in this process, with its status kept; raises what `do` raises.

        Parameters
        ----------
        do : callable
            Called with a `Report`.
        report : callable, optional
            Also called with (done, in all).
        **facts
            Stand in the status once it is done, beside ``slices`` (how many there were in all), ``seconds`` and
            ``ended``.
        """
        with self.held():
            self._refuse_twice()
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._write(**_running(os.getpid()))
        began, pace, counted = time.monotonic(), Pace(), 0

        def follow(done: int, total: int, message: str = "", **more: Any) -> None:
            nonlocal counted
            counted = total
            message = message or (pace(done, total) if done else "starting the model")
            self._write(done=done, total=total, message=message, **more)
            if report:
                report(done, total)

        end: dict[str, Any] = {"state": "failed", "message": "A bug ended it; its log says more. Please report it."}
        try:
            made = do(follow)
            seconds = round(time.monotonic() - began, 1)
            end = {"state": "done", "message": "", **facts, "slices": counted, "seconds": seconds, "ended": runs.now()}
            return made
        except KeyboardInterrupt:
            end = {"state": "cancelled", "message": "Cancelled"}
            raise
        except CoreError as error:
            end = {"state": "failed", "message": str(error)}
            raise
        finally:
            self._write(**end)

    def _refuse_twice(self) -> None:
        found = self.status()
        if found["state"] == "running" and found["pid"] != os.getpid():
            raise RunError(f"{self.title} is running already. Wait for it, or cancel it.")

    def _write(self, **changes: Any) -> None:
        before = json.loads(self.file.read_text("utf-8")) if self.file.exists() else {}
        with replaced(self.file) as fresh:
            fresh.write_text(json.dumps(before | changes), "utf-8")


def _running(pid: int) -> dict[str, Any]:
    began = psutil.Process(pid).create_time()
    return {"state": "running", "message": "Starting", "done": 0, "total": 0, "pid": pid, "process_started": began}
