"""What a run's training runs on: a process of its own, this very process, or another machine through Ray.

The run folder is the only thing that passes between whoever starts a run, whoever looks, and whoever cancels: each
makes a runner from the folder with `runner_for` and asks it. A run says in its status which one it wants.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Protocol

import psutil

from core import runs
from core.errors import ConfigError
from core.queueing import device_load
from core.runs import Run
from core.settings import PROJECT_DIR, get_settings

PROCESS, INLINE, RAY = "process", "inline", "ray"
RUNNERS = (PROCESS, INLINE, RAY)
#: A run has this long to end by itself after it was asked to; with what comes after, it is gone within 5 s.
GRACE_S = 4.0
TRAINING_COMMAND = (sys.executable, "-m", "core.training")


class Runner(Protocol):
    """One run's way to run.

    Attributes
    ----------
    holds_device : bool
        Whether the next run of this machine has to wait until this one has ended.
    """

    holds_device: bool

    def start(self, devices: tuple[str, ...]) -> None:
        """Start the training on devices of this machine, and say so in the run's status; returns at once."""

    def alive(self) -> bool:
        """Whether whatever the status names still works on the run."""

    def wait(self) -> int:
        """Wait for the end of what `start` began, in the process that did; returns the exit status, or -signal."""

    def cancel(self, grace_s: float = GRACE_S) -> None:
        """Ask the training to end, from whatever process, and wait up to `grace_s` and a little."""


class ProcessRunner:
    """A training in a process group of its own, so that it outlives its server and dies with its children."""

    holds_device = True

    def __init__(self, run: Run):
        self.run = run
        self._process: subprocess.Popen | None = None

    def start(self, devices: tuple[str, ...]) -> None:
        with (self.run.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), cwd=PROJECT_DIR, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env={**os.environ, **self._environment(devices)},
            )  # fmt: skip
        held = list(devices) if self.holds_device else []
        # From here on the run is running in every reader's eyes, however long the imports of the training take.
        self.run.update(state="running", pid=self._process.pid, devices=held, started=runs.now(), message="Starting")

    def alive(self) -> bool:
        return runs.alive(self.run.status)

    def wait(self) -> int:
        return self._process.wait()

    def cancel(self, grace_s: float = GRACE_S) -> None:
        self._ask_to_end(grace_s, kill=True)

    def _command(self) -> list[str]:
        return [*self.run.status.get("command", TRAINING_COMMAND), str(self.run.folder)]

    def _environment(self, devices: tuple[str, ...]) -> dict[str, str]:
        return device_load.environment(devices, get_settings().device)

    def _ask_to_end(self, grace_s: float, kill: bool) -> None:
        status = self.run.status
        if not runs.alive(status):
            return
        with suppress(ProcessLookupError):
            os.killpg(status["pid"], signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while runs.alive(status) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not kill:
            return
        # Its helpers, too.
        with suppress(ProcessLookupError):
            os.killpg(status["pid"], signal.SIGKILL)
        with suppress(psutil.Error):
            while runs.alive(status):
                time.sleep(0.01)


class InlineRunner:
    """A training in the process that waits for it: for the command line and for tests; nothing is left behind."""

    holds_device = True

    def __init__(self, run: Run):
        self.run = run

    def start(self, devices: tuple[str, ...]) -> None:
        self.run.update(state="running", pid=os.getpid(), devices=list(devices), started=runs.now(), message="Starting")

    def alive(self) -> bool:
        return runs.alive(self.run.status)

    def wait(self) -> int:
        from core import training

        stop = threading.Event()
        done = threading.Event()

        def watch() -> None:
            # Whoever cancels may be another process: only the status reaches both.
            while not done.wait(0.25):
                if self.run.status.get("cancelling"):
                    stop.set()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            return training.run_folder(self.run.folder, stop.is_set)
        except KeyboardInterrupt:
            self.run.update(state="cancelled", message="Cancelled")
            raise
        finally:
            done.set()
            watcher.join()

    def cancel(self, grace_s: float = GRACE_S) -> None:
        self.run.update(cancelling=True)
        deadline = time.monotonic() + grace_s
        while self.run.status["state"] == "running" and time.monotonic() < deadline:
            time.sleep(0.05)


class RayRunner(ProcessRunner):
    """A process of this machine that follows a job of another one; see `core.queueing.ray_runner`."""

    #: Ray has a queue of its own, and following costs next to nothing.
    holds_device = False

    def cancel(self, grace_s: float = GRACE_S) -> None:
        # Never killed: what the job had kept by then is still on its way here.
        self._ask_to_end(grace_s, kill=False)

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "core.queueing.ray_runner", str(self.run.folder)]

    def _environment(self, devices: tuple[str, ...]) -> dict[str, str]:
        from core.queueing import ray_runner

        return ray_runner.environment()


def runner_for(run: Run) -> Runner:
    """Return the runner that a run's status names; a process of its own where it names none.

    Raises
    ------
    ConfigError
        When there is no such runner.
    """
    return _kind(run.status.get("runner", PROCESS))(run)


def check(runner: str) -> None:
    """Make sure that a runner can be used, before anything waits for it.

    Raises
    ------
    ConfigError
        When there is no such runner.
    RunnerUnavailable
        When Ray is not installed here, has no address, does not answer, or refuses the token.
    """
    if _kind(runner) is RayRunner:
        from core.queueing import ray_runner

        ray_runner.check()


def _kind(name: str) -> type:
    kinds = {PROCESS: ProcessRunner, INLINE: InlineRunner, RAY: RayRunner}
    if name not in kinds:
        raise ConfigError(f"runner must be one of {', '.join(RUNNERS)}. Received: {name!r}.")
    return kinds[name]
