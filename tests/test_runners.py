"""What a run runs on: chosen by its status, refused in words, and the same run whichever it is."""

import os
import sys
import threading
import time

import pytest

from core import jobs, runs, training
from core.config import RunConfig
from core.errors import ConfigError, RunError, RunnerUnavailable
from core.queueing import ray_runner, runners
from core.settings import get_settings

CONFIG = RunConfig("a run", "transfer", "phantom")


@pytest.fixture
def here(workspace, monkeypatch):
    """A training that works in this process until it is told to stop, or for a moment."""

    def run_folder(folder, cancelled, seconds=0.1):
        run = runs.Run(folder.name, folder)
        seconds = 20 if run.config.epochs == 500 else 0.1
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            if cancelled():
                run.update(state="cancelled", message="Cancelled; the best of 3 epochs is kept.")
                return 0
            time.sleep(0.02)
        run.update(state="done", progress=1.0, message=f"in process {os.getpid()}")
        return 0

    monkeypatch.setattr(training, "run_folder", run_folder)
    # There is no cohort to look at.
    monkeypatch.setattr(jobs.preflight, "require", lambda *look: None)


def test_a_status_that_names_none_means_a_process_of_its_own(workspace):
    assert isinstance(runners.runner_for(runs.create_run(CONFIG)), runners.ProcessRunner)
    assert isinstance(runners.runner_for(runs.create_run(CONFIG, runner="inline")), runners.InlineRunner)
    ray = runners.runner_for(runs.create_run(CONFIG, runner="ray"))
    assert isinstance(ray, runners.RayRunner) and not ray.holds_device
    with pytest.raises(ConfigError, match="process, inline, ray"):
        runners.runner_for(runs.create_run(CONFIG, runner="cloud"))
    with pytest.raises(ConfigError, match="process, inline, ray"):
        jobs.submit(CONFIG, runner="cloud")


def test_inline_trains_in_this_process_before_it_returns(here):
    run = jobs.submit(CONFIG, runner="inline")
    assert (run.status["state"], run.status["message"]) == ("done", f"in process {os.getpid()}")


def test_inline_can_be_cancelled_from_elsewhere(here):
    made = []
    worker = threading.Thread(
        target=lambda: made.append(jobs.submit(RunConfig("long", "transfer", "phantom", epochs=500), runner="inline"))
    )
    worker.start()
    while not any(run.status["state"] == "running" for run in runs.list_runs()):
        time.sleep(0.02)
    (run,) = runs.list_runs()
    started = time.monotonic()
    jobs.cancel(run.id)
    assert time.monotonic() - started < runners.GRACE_S
    worker.join()
    # The training's own words stay.
    assert (run.status["state"], run.status["message"]) == ("cancelled", "Cancelled; the best of 3 epochs is kept.")


def test_inline_waits_for_nobody(here):
    with jobs._lock("cpu", 0) as mine:
        assert mine
        with pytest.raises(RunError, match="Another run is training"):
            jobs.submit(CONFIG, runner="inline")
    assert runs.list_runs() == []


def test_a_run_on_another_machine_does_not_hold_up_this_one(workspace, monkeypatch, tmp_path):
    follower = tmp_path / "follow.py"
    follower.write_text("import time; time.sleep(30)")
    monkeypatch.setattr(runners.RayRunner, "_command", lambda self: [sys.executable, str(follower)])
    far = runs.create_run(CONFIG, runner="ray")
    near = runs.create_run(
        CONFIG,
        command=[sys.executable, "-c", "import pathlib, sys; pathlib.Path(sys.argv[1], 'began').touch()"],
    )
    jobs.dispatch("cpu")
    try:
        assert (near.folder / "began").exists()
        assert far.status["state"] == "running" and runners.runner_for(far).alive()
    finally:
        runners.runner_for(far).cancel()
    # Told to end, it was not killed: SIGTERM ends this stand-in at once.
    assert not runners.runner_for(far).alive()


def test_without_an_address_or_the_extra_one_sentence_says_what_to_do(workspace, monkeypatch):
    monkeypatch.delenv("SLICESCOPE_RAY_ADDRESS", raising=False)
    get_settings.cache_clear()
    assert not ray_runner.offered()
    with pytest.raises(RunnerUnavailable, match="Set SLICESCOPE_RAY_ADDRESS"):
        jobs.submit(CONFIG, runner="ray")
    monkeypatch.setenv("SLICESCOPE_RAY_ADDRESS", "http://127.0.0.1:9")
    monkeypatch.setattr(ray_runner.util, "find_spec", lambda name: None)
    get_settings.cache_clear()
    assert ray_runner.offered()
    with pytest.raises(RunnerUnavailable, match=r'pip install -e "\.\[ray\]"'):
        jobs.submit(CONFIG, runner="ray")
    assert runs.list_runs() == []


def test_the_token_reaches_ray_and_is_never_shown(workspace, monkeypatch):
    monkeypatch.setenv("SLICESCOPE_RAY_TOKEN", "very-secret")
    get_settings.cache_clear()
    assert ray_runner.environment() == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "very-secret"}
    assert "very-secret" not in repr(get_settings())
    monkeypatch.delenv("SLICESCOPE_RAY_TOKEN")
    get_settings.cache_clear()
    assert ray_runner.environment() == {}
