"""The queue: run folders that say "queued", and one dispatcher a device that takes them in turn.

A dispatcher is a process of its own, outside the server's process group, that holds a lock file while it lives. It
starts each training in a process group of its own, waits for it, takes the next, and ends when nothing is queued. So a
closed tab or a killed server changes nothing: the run goes on, and its folder tells whoever looks next.
"""

import argparse
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core import runners, runs
from core.config import RunConfig
from core.errors import RunError
from core.runners import GRACE_S, TRAINING_COMMAND, runner_for
from core.runs import Run
from core.settings import PROJECT_DIR, get_settings


def submit(config: RunConfig, command: tuple[str, ...] = TRAINING_COMMAND, runner: str = runners.PROCESS) -> Run:
    """Queue a run, and make sure that somebody takes it.

    Parameters
    ----------
    config : RunConfig
    command : tuple of str
        What trains in a process of its own; the run folder is appended.
    runner : {"process", "inline", "ray"}
        What it runs on, see `core.runners`; *inline* trains at once, before this returns.

    Returns
    -------
    Run
        In the state *queued*; after *inline*, ended.

    Raises
    ------
    ConfigError
        When the configuration cannot work.
    RunnerUnavailable
        When another machine is meant that cannot be had.
    RunError
        When *inline* finds the device at work.
    """
    config.validate()
    runners.check(runner)
    facts = {"message": "Waiting for its turn", "command": list(command), "runner": runner}
    if runner == runners.INLINE:
        with _lock() as mine:
            if not mine:
                raise RunError("Another run is training on this device. Queue this one: choose the runner process.")
            run = runs.create_run(config, **facts)
            _run_one(run)
            return run
    run = runs.create_run(config, **facts)
    ensure_dispatcher()
    return run


def resubmit(run_id: str) -> Run:
    """Queue an ended run again, from its beginning, in the same folder.

    Raises
    ------
    RunError
        When it is queued or running, or ships with the project.
    """
    run = runs.read_run(run_id)
    if run.id == runs.SHIPPED or run.status["state"] in runs.ACTIVE:
        raise RunError(f"Run {run_id} is {run.status['state']} and cannot be queued again.")
    run.update(state="queued", progress=0.0, message="Waiting for its turn", cancelling=False)
    ensure_dispatcher()
    return run


def cancel(run_id: str) -> Run:
    """Cancel a queued or a running run; a running one is ended within `GRACE_S` and a little.

    Raises
    ------
    RunError
        When it has ended already.
    """
    run = runs.read_run(run_id)
    status = run.status
    if status["state"] == "queued":
        run.update(state="cancelled", message="Cancelled before it began")
        return run
    if status["state"] != "running":
        raise RunError(f"Run {run_id} is {status['state']}; there is nothing to cancel.")
    # The dispatcher, too, sees the process end, and must not take it for an accident.
    run.update(cancelling=True)
    runner_for(run).cancel(GRACE_S)
    # The training says itself what it kept, where it still could.
    if run.status["state"] in ("running", "interrupted"):
        run.update(state="cancelled", message="Cancelled")
    return run


def queue() -> list[Run]:
    """Runs that run or wait, in the order of their turn."""
    active = [run for run in runs.list_runs() if run.status["state"] in runs.ACTIVE]
    return sorted(active, key=lambda run: (run.status["state"] != "running", run.status.get("created", ""), run.id))


def ensure_dispatcher() -> None:
    """Start a dispatcher; it ends at once when another one is at work."""
    folder = get_settings().workspace
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "jobs.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "core.jobs"],
            cwd=PROJECT_DIR,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "SLICESCOPE_WORKSPACE": str(folder.resolve())},
        )


def dispatch() -> None:
    """Take queued runs in turn until there are none; return at once when another dispatcher does."""
    while True:
        with _lock() as mine:
            if not mine:
                return
            while run := _next():
                _wait_for_orphans()
                _run_one(run)
        # A run that was queued between the last look and the release of the lock found the lock taken.
        if _next() is None:
            return


def _next() -> Run | None:
    return next((run for run in queue() if run.status["state"] == "queued"), None)


def _wait_for_orphans() -> None:
    """Wait for trainings whose dispatcher was killed: they still have the device."""
    while any(run.status["state"] == "running" and runner_for(run).holds_device for run in runs.list_runs()):
        time.sleep(0.5)


def _run_one(run: Run) -> None:
    runner = runner_for(run)
    runner.start()
    if not runner.holds_device:
        return
    code = runner.wait()
    status = run.status
    if status.get("cancelling") and status["state"] in ("running", "interrupted"):
        run.update(state="cancelled", message="Cancelled")
    elif status["state"] in ("running", "interrupted"):
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        run.update(state="interrupted", message=f"Its process ended without a word ({how}); start it again.")


@contextmanager
def _lock() -> Iterator[bool]:
    """Hold the device's lock; yields False when another process does. The system lets go when a process dies."""
    settings = get_settings()
    settings.workspace.mkdir(parents=True, exist_ok=True)
    path = Path(settings.workspace, f"jobs-{settings.device.replace(':', '')}.lock")
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m core.jobs", description="Take queued runs in turn.").parse_args()
    dispatch()
