"""The queue outlives those who filled it, and says truly how each run went."""

import itertools
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from core import jobs, runs
from core.config import RunConfig
from core.errors import ConfigError, RunError

#: A stand-in for training that follows the same rules: it says that it runs, works, and says how it ended.
TRAINING = """
import os, sys, time, signal
from pathlib import Path
from core.runs import Run
folder = Path(sys.argv[-1])
run = Run(folder.name, folder)
seconds, manner = float(sys.argv[1]), sys.argv[2]
if manner == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
run.update(state="running", pid=os.getpid(), message="at work")
(folder / "began").write_text(str(time.time()))
time.sleep(seconds)
(folder / "ended").write_text(str(time.time()))
run.update(state="done", progress=1.0)
"""


@pytest.fixture
def training(workspace, tmp_path):
    script = tmp_path / "training.py"
    script.write_text(TRAINING)
    return lambda seconds=0.1, manner="": (sys.executable, str(script), str(seconds), manner)


@pytest.fixture(autouse=True)
def in_project(monkeypatch):
    from core.settings import PROJECT_DIR

    monkeypatch.setenv("PYTHONPATH", str(PROJECT_DIR))


def wait_for(run, *states, seconds=20.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if run.status["state"] in states:
            return run.status
        time.sleep(0.05)
    raise AssertionError(f"{run.id} is {run.status} after {seconds} s, not {states}")


def config(name="a run"):
    return RunConfig(name, "transfer", "phantom")


def test_runs_are_taken_in_turn_one_at_a_time(training):
    made = [jobs.submit(config(f"run {i}"), training(0.3)) for i in range(3)]
    for run in made:
        wait_for(run, "done")
    spans = [[float((run.folder / name).read_text()) for name in ("began", "ended")] for run in made]
    assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(spans))
    assert jobs.queue() == []


def test_a_configuration_that_cannot_work_is_not_queued(workspace):
    with pytest.raises(ConfigError, match="kind"):
        jobs.submit(RunConfig("bad", "magic", "phantom"))
    assert runs.list_runs() == []


def test_cancel_ends_a_run_that_waits_and_one_that_runs(training):
    first, second = jobs.submit(config("first"), training(60)), jobs.submit(config("second"), training(60))
    status = wait_for(first, "running")
    jobs.cancel(second.id)
    assert second.status["state"] == "cancelled"
    started = time.monotonic()
    jobs.cancel(first.id)
    assert first.status["state"] == "cancelled"
    assert time.monotonic() - started < jobs.GRACE_S
    assert not psutil.pid_exists(status["pid"]) or psutil.Process(status["pid"]).status() == psutil.STATUS_ZOMBIE
    with pytest.raises(RunError, match="nothing to cancel"):
        jobs.cancel(first.id)


def test_a_run_that_does_not_listen_is_killed_within_five_seconds(training):
    run = jobs.submit(config(), training(60, "deaf"))
    wait_for(run, "running")
    while not (run.folder / "began").exists():
        time.sleep(0.02)
    started = time.monotonic()
    jobs.cancel(run.id)
    assert run.status["state"] == "cancelled"
    assert time.monotonic() - started < 5
    assert not runs.alive(run.status)


def test_a_killed_training_reads_as_interrupted_and_the_next_one_runs(training):
    broken, following = jobs.submit(config("broken"), training(60)), jobs.submit(config("following"), training(0.1))
    wait_for(broken, "running")
    os.kill(broken.status["pid"], signal.SIGKILL)
    assert wait_for(broken, "interrupted")
    wait_for(following, "done")
    again = jobs.resubmit(broken.id)
    wait_for(again, "running")
    jobs.cancel(again.id)


def test_a_killed_server_leaves_its_run_going(training, tmp_path):
    server = (
        "import sys, time; from core import jobs; from core.config import RunConfig;"
        "print(jobs.submit(RunConfig('from a server', 'transfer', 'phantom'), tuple(sys.argv[1:])).id, flush=True);"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", server, *training(1.5)], stdout=subprocess.PIPE, text=True)
    run = runs.read_run(process.stdout.readline().strip())
    wait_for(run, "running")
    process.kill()
    process.wait()
    assert run.status["state"] == "running"
    wait_for(run, "done")
