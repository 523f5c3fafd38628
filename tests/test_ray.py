"""A run goes to a real Ray head of this machine, started with token authentication, and comes back."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core import bundle, cohort, jobs, runs
from core.config import RunConfig
from core.errors import RunnerUnavailable
from core.queueing import ray_runner
from core.settings import PROJECT_DIR, get_settings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not ray_runner.installed(), reason='the extra "ray" is not installed: python -m pip install -e ".[ray]"'
    ),
]
TOKEN = "the-token-of-this-test-0123456789"
PLANES = {"axial": [1, 0, 0, 0, 1, 0], "coronal": [1, 0, 0, 0, 0, -1], "sagittal": [0, 1, 0, 0, 0, -1]}


@pytest.fixture(scope="module")
def head():
    """Start a Ray head with a token, and end it with all that it started; gives its address."""
    # Ray's sockets need a short path.
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    port, dashboard = _free_port(), _free_port()
    environment = {
        **os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "TF_CPP_MIN_LOG_LEVEL": "3",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    environment.pop("PYTHONPATH", None)  # the code must come with the run
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}", "--num-cpus=1",
        f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1", f"--temp-dir={folder}",
        "--object-store-memory=100000000", "--disable-usage-stats",
    ]  # fmt: skip
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd="/", stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for_port(dashboard, process, folder / "head.log")
        yield f"http://127.0.0.1:{dashboard}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _wait_for_port(port: int, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.3)
    raise AssertionError(f"The Ray head did not come up: {log.read_text()[-2000:]}")


@pytest.fixture
def near(workspace, head, monkeypatch, make_slice, tmp_path):
    """A workspace that knows the head, with a small cohort of real files: stripes whose direction is the plane."""
    monkeypatch.setenv("SLICESCOPE_RAY_ADDRESS", head)
    monkeypatch.setenv("SLICESCOPE_RAY_TOKEN", TOKEN)
    monkeypatch.setenv("SLICESCOPE_RAY_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT_DIR))
    get_settings.cache_clear()
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:32, :32]
    for patient in range(8):
        for number, (plane, orientation) in enumerate(PLANES.items()):
            ramp = {"axial": row, "coronal": column, "sagittal": row + column}[plane]
            pixels = 500 + 300 * np.sin(ramp + rng.uniform(0, 6)) + rng.normal(0, 20, (32, 32))
            make_slice(
                tmp_path / "files" / f"{patient}-{number}.dcm", pixels.astype("<u2"), PatientID=f"HOSP-{patient}",
                SeriesInstanceUID=f"1.2.{patient}.{number}", SOPInstanceUID=f"1.2.{patient}.{number}.1",
                ImageOrientationPatient=orientation,
            )  # fmt: skip
    return cohort.write(cohort.scan(tmp_path / "files", "stripes"))


def config(name: str, kind: str = "transfer", **changes) -> RunConfig:
    values = {"label": "plane", "weights": "none", "image_size": 32, "epochs": 3, "batch_size": 8, "augment_views": 0,
              "mc_samples": 3, "jury_size": 2}  # fmt: skip
    return RunConfig(name, kind, "stripes", **{**values, **changes})


def followed(run: runs.Run, until=lambda status: status["state"] not in runs.ACTIVE, seconds: float = 300.0) -> dict:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if until(status := run.status):
            return status
        time.sleep(0.1)
    raise AssertionError(f"{run.id} is {run.status} after {seconds} s.\n{run.log_tail()}")


def test_a_run_is_followed_and_fetched_and_is_the_one_that_this_machine_would_have_made(near):
    far = jobs.submit(config("far"), runner="ray")
    followed(far, lambda status: status["state"] == "running" and status.get("ray_job"))
    assert followed(far)["state"] == "done", far.log_tail()
    here = jobs.submit(config("here"))
    assert followed(here)["state"] == "done", here.log_tail()

    assert len(far.metrics()) == 3 and "core.queueing.ray_job" in far.log_tail()
    assert far.config == config("far")
    assert (far.card()["split_hash"], far.card()["classes"]) == (here.card()["split_hash"], here.card()["classes"])
    pd.testing.assert_frame_equal(far.split(), here.split())
    assert {path.name for path in here.folder.iterdir()} == {path.name for path in far.folder.iterdir()}
    for one, two in zip(bundle.load(far.bundle).get_weights(), bundle.load(here.bundle).get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)
    np.testing.assert_allclose(
        np.stack(far.predictions()["y_proba"].to_list()), np.stack(here.predictions()["y_proba"].to_list()), atol=1e-3
    )


def test_a_jury_comes_home_to_its_pictures(near):
    run = jobs.submit(config("jury", "siamese", epochs=1), runner="ray")
    assert followed(run)["state"] == "done", run.log_tail()
    from core.explanations.jury import Jury
    from core.thumbnails import unreadable

    jury = Jury.load(run.bundle)
    assert len(jury.labels) == 6
    assert all((picture != unreadable(picture.shape[0])).any() for picture in jury.pictures)


def test_a_wrong_token_is_refused_in_a_sentence(near, monkeypatch):
    monkeypatch.setenv("SLICESCOPE_RAY_TOKEN", "another")
    get_settings.cache_clear()
    with pytest.raises(RunnerUnavailable, match=r"refuses the token\. Set SLICESCOPE_RAY_TOKEN"):
        jobs.submit(config("refused"), runner="ray")
    assert runs.list_runs() == []


def test_no_answer_is_a_sentence(near, monkeypatch):
    monkeypatch.setenv("SLICESCOPE_RAY_ADDRESS", f"http://127.0.0.1:{_free_port()}")
    get_settings.cache_clear()
    with pytest.raises(RunnerUnavailable, match="does not answer at http"):
        jobs.submit(config("nowhere"), runner="ray")


def test_a_failure_over_there_is_told_here_in_the_same_words(near):
    run = jobs.submit(config("failing", backbone="MobileNetV2", weights="none", image_size=32, devices=3), runner="ray")
    status = followed(run)
    assert status["state"] == "failed" and "3 devices" in status["message"]
    assert "ConfigError" in run.log_tail(60)


def test_a_killed_follower_finds_its_job_again_and_cancelling_keeps_the_best(near):
    run = jobs.submit(config("long", epochs=5000), runner="ray")
    status = followed(run, lambda status: "epoch" in status["message"] or status["state"] not in runs.ACTIVE)
    job = status["ray_job"]
    os.kill(status["pid"], signal.SIGKILL)
    followed(run, lambda status: status["state"] == "interrupted")
    jobs.resubmit(run.id)
    again = followed(run, lambda status: status["state"] == "running" and "epoch" in status["message"])
    assert again["ray_job"] == job
    jobs.cancel(run.id)
    assert run.status["state"] == "cancelled"
    status = followed(run, lambda status: not status.get("ray_job"))
    assert status["state"] == "cancelled" and "is kept" in status["message"]
    bundle.load(run.bundle)
