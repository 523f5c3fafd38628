"""The queue: run folders that say "queued", and one dispatcher a device that takes them in turn.

A dispatcher is a process of its own, outside the server's process group, that holds its device's lock file while it
lives. It starts each training in a process group of its own, waits for it, takes the next, and ends when nothing is
queued. So a closed tab or a killed server changes nothing: the run goes on, and its folder tells whoever looks next.
A run on several devices belongs to the dispatcher of the first; the others make room when it is the oldest.
"""

import argparse
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from core import runs
from core.cohorts.leaks import LeakReport
from core.config import RunConfig
from core.errors import RunError
from core.learning import preflight
from core.queueing import device_load, runners
from core.queueing.runners import GRACE_S, TRAINING_COMMAND, runner_for
from core.runs import Run
from core.settings import PROJECT_DIR, get_settings

#: How long a dispatcher tries for its device's lock; whoever only looks whether it is taken holds it for a moment.
_PATIENCE_S = 0.5
_WAITING = "Waiting for its turn"

#: Dispatchers that this process started, by workspace and device.
_started: dict[tuple[Path, str], subprocess.Popen] = {}
_starting = threading.Lock()


def submit(
    config: RunConfig,
    command: tuple[str, ...] = TRAINING_COMMAND,
    runner: str = runners.PROCESS,
    found: LeakReport | None = None,
    dismissed: str = "",
    report: Callable[[int, int], None] | None = None,
) -> Run:
    """Queue a run, and make sure that somebody takes it.

    Parameters
    ----------
    config : RunConfig
    command : tuple of str
        What trains in a process of its own; the run folder is appended. Another one than ours is not looked at
        beforehand: what it needs only it knows.
    runner : {"process", "inline", "ray"}
        What it runs on, see `core.queueing.runners`; *inline* trains at once, before this returns.
    found, dismissed, report
        What leaks, why that does not matter, and who is told while it is looked for; see
        `core.learning.preflight.require`.

    Returns
    -------
    Run
        In the state *queued*; after *inline*, ended.

    Raises
    ------
    ConfigError, CohortError, WeightsUnavailable
        When the launch cannot work, or the split leaks and nobody has dismissed that.
    RunnerUnavailable
        When another machine is meant that cannot be had.
    RunError
        When *inline* finds the device at work.
    """
    config.validate()
    runners.check(runner)
    seen = preflight.require(config, found, dismissed, report) if command == TRAINING_COMMAND else None
    facts = {
        "prepare": (lambda folder: preflight.write(folder, seen)) if seen else None, "message": _WAITING,
        "command": list(command), "runner": runner, "queued": runs.now(), "like": likeness(config),
        **({"estimate_s": seen["estimate"]["seconds"]} if seen and seen["estimate"] else {}),
    }  # fmt: skip
    if runner == runners.INLINE:
        return _run_inline(config, facts)
    run = runs.create_run(config, **facts)
    ensure_dispatcher()
    return run


def likeness(config: RunConfig) -> list:
    """Return what a run's time depends on, the weightiest first; see `core.queueing.queue_plan`."""
    return [config.kind, config.backbone, config.cohort, config.image_size, config.epochs, config.fine_tune_epochs]


def resubmit(run_id: str, resume: bool = False) -> Run:
    """Queue a run that ended without success again, in the same folder.

    Parameters
    ----------
    run_id : str
    resume : bool
        Go on from the last epoch that was kept, where there is one; else from the beginning.

    Raises
    ------
    RunError
        When it is queued, running or done, or ships with the project.
    """
    run = runs.read_run(run_id)
    with run.changing() as status:
        state = run.status["state"]
        if run.id == runs.SHIPPED or state not in runs.BROKEN:
            raise RunError(
                f"Run {run_id} is {state} and cannot be queued again; only failed, cancelled and interrupted ones can. "
                "Duplicate it to train once more."
            )
        status.update(
            state="queued", message=_WAITING, queued=runs.now(), resume=resume, cancelling=False,
            progress=status["progress"] if resume else 0.0,
        )  # fmt: skip
    ensure_dispatcher()
    return run


def cancel(run_id: str) -> Run:
    """Cancel a queued or a running run; a running one is gone within 5 seconds.

    Raises
    ------
    RunError
        When it has ended already.
    """
    run = runs.read_run(run_id)
    with run.changing() as status:
        state = run.status["state"]
        if state == "queued":
            status.update(state="cancelled", message="Cancelled before it began")
            return run
        if state != "running":
            raise RunError(f"Run {run_id} is {state}; there is nothing to cancel.")
        # The dispatcher, too, sees the process end, and must not take it for an accident.
        status.update(cancelling=True)
    runner_for(run).cancel(GRACE_S)
    # The training says itself what it kept, where it still could.
    _settle(run, "cancelled", "Cancelled")
    return run


def queue() -> list[Run]:
    """Runs that run or wait, in the order of their turn."""
    return [run for run, _ in in_turn(runs.snapshot())]


def in_turn(found: list[tuple[Run, dict]]) -> list[tuple[Run, dict]]:
    """Return the runs of a snapshot that run or wait, in the order of their turn."""
    active = [(run, status) for run, status in found if status["state"] in runs.ACTIVE]
    return sorted(
        active,
        key=lambda one: (one[1]["state"] != "running", one[1].get("queued", one[1].get("created", "")), one[0].id),
    )


def ensure_dispatcher() -> None:
    """Start dispatchers for what is queued where none is at work; quick, and harmless at any time."""
    waiting = _waiting()
    if not waiting:
        return
    folder = get_settings().workspace.resolve()
    with _starting:
        free = [device for device in device_load.devices(get_settings().device) if not _has_dispatcher(folder, device)]
        for device in [device for device in free if _next(device, waiting)][: len(waiting)]:
            _started[folder, device] = process = _start_dispatcher(folder, device)
            threading.Thread(target=_mind, args=(process,), name=f"mind-{device}", daemon=True).start()


def _has_dispatcher(folder: Path, device: str) -> bool:
    process = _started.get((folder, device))
    if process is not None and process.poll() is None:
        # It may still be on its way to the lock, or to its end; then `_mind` looks again.
        return True
    with _lock(device, 0) as free:
        return not free


def _start_dispatcher(folder: Path, device: str) -> subprocess.Popen:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "jobs.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "core.jobs", device],
            cwd=PROJECT_DIR, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "SLICESCOPE_WORKSPACE": str(folder)},
        )  # fmt: skip


def _mind(process: subprocess.Popen) -> None:
    """Wait for a dispatcher's end, without using any time, and replace it when it was killed or came too late."""
    # One that ended by a fault of its own would do so again.
    if process.wait() <= 0:
        ensure_dispatcher()


def dispatch(device: str) -> None:
    """Take a device's queued runs in turn until there are none; return when another dispatcher does."""
    while True:
        with _lock(device, _PATIENCE_S) as mine:
            if not mine:
                return
            while run := _next(device):
                _take(run, device)
        # A run that was queued between the last look and the release of the lock found the lock taken.
        if _next(device) is None:
            return


def _waiting() -> list[Run]:
    return [run for run, status in in_turn(runs.snapshot()) if status["state"] == "queued"]


def _next(device: str, waiting: list[Run] | None = None) -> Run | None:
    """Return the run whose turn it is on a device; a run on several waits for the first of them."""
    run = next(iter(_waiting() if waiting is None else waiting), None)
    return run if run and devices_of(run, device)[0] == device else None


def devices_of(run: Run, device: str) -> tuple[str, ...]:
    """Return the devices that a run would have when a device takes it."""
    there = device_load.devices(get_settings().device)
    try:
        wanted = min(run.config.devices, len(there))
    except RunError:
        # It fails by itself, with its own words.
        wanted = 1
    return there[:wanted] if wanted > 1 else (device,)


def _take(run: Run, device: str) -> None:
    chosen = devices_of(run, device)
    with ExitStack() as stack:
        for other in chosen[1:]:
            stack.enter_context(_lock(other, None))
        _wait_for_orphans(chosen)
        try:
            _run_one(run, chosen)
        except RunError:
            # Deleted or moved to the trash meanwhile; whatever else it is must not be tried in haste.
            time.sleep(1)
    if len(chosen) > 1:
        # Their dispatchers made room.
        ensure_dispatcher()


def _wait_for_orphans(chosen: tuple[str, ...]) -> None:
    """Wait for trainings whose dispatcher was killed: they still have the device."""
    while any(
        status["state"] == "running" and not set(status.get("devices", chosen)).isdisjoint(chosen)
        for _, status in runs.snapshot()
    ):
        time.sleep(0.5)


def _run_one(run: Run, chosen: tuple[str, ...]) -> None:
    # Held from the look to the process' number, so that nobody cancels what is just beginning without ending it.
    with run.held():
        if run.status["state"] != "queued":
            return
        runner = runner_for(run)
        try:
            runner.start(chosen)
        except OSError as error:
            run.update(state="failed", message=f"Its process could not be started: {error.strerror}.")
            return
    if not runner.holds_device:
        return
    began = time.monotonic()
    code = runner.wait()
    how = f"signal {-code}" if code < 0 else f"exit status {code}"
    _settle(run, "interrupted", f"Its process ended without a word ({how}); {runs.AGAIN}.")
    run.update(took_s=round(time.monotonic() - began, 1))


def _run_inline(config: RunConfig, facts: dict) -> Run:
    device = device_load.devices(get_settings().device)[0]
    with _lock(device, 0) as mine:
        if not mine:
            raise RunError("Another run is training on this device. Queue this one: choose the runner process.")
        # Never in the queue, so that no dispatcher of another device takes it.
        run = runs.create_run(config, state="running", pid=os.getpid(), **facts)
        runner = runner_for(run)
        runner.start((device,))
        runner.wait()
        return run


def _settle(run: Run, state: str, message: str) -> None:
    """Say how a run ended whose process did not."""
    with run.changing() as status:
        if status["state"] in ("running", "interrupted") and not runs.alive(status):
            asked = status.get("cancelling")
            status.update(state="cancelled" if asked else state, message="Cancelled" if asked else message)


@contextmanager
def _lock(device: str, patience_s: float | None) -> Iterator[bool]:
    """Hold a device's lock; yields False when another process does, for all the patience there is (None: endless).

    The system lets go when a process dies.
    """
    folder = get_settings().workspace
    folder.mkdir(parents=True, exist_ok=True)
    with Path(folder, f"jobs-{device.replace(':', '')}.lock").open("w") as file:
        yield _locked(file, patience_s)


def _locked(file, patience_s: float | None) -> bool:
    if patience_s is None:
        fcntl.flock(file, fcntl.LOCK_EX)
        return True
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m core.jobs", description="Take queued runs in turn.")
    parser.add_argument("device", help="cpu or gpu:N")
    dispatch(parser.parse_args().device)
