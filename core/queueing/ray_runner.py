"""Another machine, through Ray Jobs, followed until it is done: ``python -m core.queueing.ray_runner RUN_DIR``.

This process stands for the run on this machine: it lives while the job does, its end is the run's end, and who cancels
the run tells it to end. It packs code, model inputs and labels (`core.queueing.carried`), submits them, copies status,
metrics and log into the run folder once a second, and fetches all other files when the job has ended. When it is
killed, the job goes on; started again, it finds the job and follows it from there.

Ray is the extra ``ray``. Authentication is Ray's own, by token: see `environment`.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np

from core import batches, cohort, runs
from core.config import WEIGHTS, RunConfig
from core.errors import CoreError, RunError, RunnerUnavailable
from core.queueing import carried
from core.queueing.ray_cluster import Cluster, Gone, Silent
from core.runs import Run
from core.settings import PROJECT_DIR, get_settings
from core.training import Cancelled

#: How long a cluster may be out of reach before the run is given up, here.
PATIENCE_S = 600.0
_POLL_S, _CHECK_TIMEOUT_S = 1.0, 60.0
#: Written on this side alone.
_OURS = ("status.json", "config.json", "log.txt")
_NOT_CARRIED = ("*.log", "log.txt", "status.json", "bundle", "tensorboard", ".*")


def installed() -> bool:
    """Whether the extra is installed."""
    return util.find_spec("ray") is not None and util.find_spec("aiohttp") is not None


def offered() -> bool:
    """Whether this installation names a cluster."""
    return bool(get_settings().ray_address)


def require() -> None:
    """Make sure that there is a cluster to ask, and Ray to ask it with.

    Raises
    ------
    RunnerUnavailable
        Saying what to set or to install.
    """
    if not offered():
        raise RunnerUnavailable(
            "No Ray cluster is named. Set SLICESCOPE_RAY_ADDRESS, for example to http://gpu-box:8265, and "
            "SLICESCOPE_RAY_TOKEN to its token."
        )
    if not installed():
        raise RunnerUnavailable(
            "Training on another machine needs the optional package ray, which is not installed here. Install it "
            'from the project\'s folder with: .venv/bin/python -m pip install -e ".[ray]"'
        )


def environment() -> dict[str, str]:
    """Return what Ray reads to authenticate by the token of the settings; empty where that names none.

    Ray then finds its own: RAY_AUTH_MODE=token with RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token.
    """
    token = get_settings().ray_token
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token.get_secret_value()} if token else {}


def check() -> None:
    """Ask the cluster whether it would take a job; in a child, so that Ray is not loaded here.

    Raises
    ------
    RunnerUnavailable
        As `require`, and when the cluster does not answer or refuses the token.
    """
    require()
    command = [sys.executable, "-m", "core.queueing.ray_runner", "--check"]
    env = {**os.environ, **environment()}
    try:
        answer = subprocess.run(
            command, cwd=PROJECT_DIR, env=env, capture_output=True, text=True, timeout=_CHECK_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise RunnerUnavailable(_no_answer()) from None
    if answer.returncode:
        last = answer.stdout.strip().splitlines()[-1:] or ["Ray could not be asked; see whether `import ray` works."]
        raise RunnerUnavailable(last[0])


def _no_answer() -> str:
    return f"Ray does not answer at {get_settings().ray_address}. Is the cluster up, and the address right?"


def follow(run: Run, cluster: Cluster, cancelled: Callable[[], bool]) -> None:
    """Send a run to a cluster, or find it there, and follow it until it has ended and its files are here.

    Raises
    ------
    Cancelled
        When `cancelled` said so before it was sent.
    CoreError
        When it cannot be sent, or the cluster is lost on the way.
    """
    # Named until its files are here: who followed it may have been killed.
    job = run.status.get("ray_job")
    if not job or not cluster.knows(job):
        job = _send(run, cluster, cancelled)
    seen, stopped = time.monotonic(), False
    while True:
        try:
            if cancelled() and not stopped:
                run.update(message="Cancelling; what was kept is fetched")
                stopped = cluster.stop(job)
            state = cluster.state(job)
            told = _copy_progress(run, cluster, job, stopped)
            seen = time.monotonic()
            if state.ended:
                break
        except Gone:
            raise RunError("The cluster no longer knows this run's job; it was started anew. Start it again.") from None
        except Silent:
            if cancelled() or time.monotonic() - seen > PATIENCE_S:
                raise RunError(f"{_no_answer()} The job may go on there; start the run again to look for it.") from None
            run.update(message="Ray does not answer; trying again")
        time.sleep(_POLL_S)
    _finish(run, cluster, job, state.message, told, cancelled())


def _send(run: Run, cluster: Cluster, cancelled: Callable[[], bool]) -> str:
    settings, config = get_settings(), run.config
    with tempfile.TemporaryDirectory(prefix="slicescope-ray-") as folder:
        _pack(run, config, Path(folder), cancelled)
        run.update(message="Sending code and slices to Ray", progress=0.0)
        job = f"{run.id}-{secrets.token_hex(3)}"
        environment_ = {"SLICESCOPE_DEVICE": "auto", "SLICESCOPE_LOGICAL_CPUS": str(settings.logical_cpus)}
        if backend := os.environ.get("KERAS_BACKEND"):
            environment_["KERAS_BACKEND"] = backend
        command = f"exec {settings.ray_python} -m core.queueing.ray_job {run.id}"
        cluster.submit(job, command, Path(folder), environment_, settings.ray_gpus)
    run.update(ray_job=job, message="Waiting for its turn on Ray")
    return job


def _pack(run: Run, config: RunConfig, folder: Path, cancelled: Callable[[], bool]) -> None:
    """Put together what a job needs: code, shipped weights, the run's folder, and the cohort without its files."""
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(PROJECT_DIR / "core", folder / "core", ignore=ignore)
    shutil.copytree(PROJECT_DIR / "assets" / "weights", folder / "assets" / "weights")
    shutil.copytree(run.folder, folder / "carried" / "run", ignore=shutil.ignore_patterns(*_NOT_CARRIED))
    far = config
    if config.weights not in WEIGHTS:
        source = Path(config.weights)
        if not source.is_file():
            raise RunnerUnavailable(f"There is no weights file {source.name} to send. Give the path of one.")
        shutil.copy(source, folder / source.name)
        far = replace(config, weights=source.name)
    (folder / "carried" / "run" / "config.json").write_text(far.to_json(), encoding="utf-8")
    (folder / "carried" / "run" / "status.json").write_text('{"state": "queued"}', encoding="utf-8")
    made = cohort.read(config.cohort)
    known = np.any([batches.label_values(made.table, head).notna() for head in config.heads], axis=0)
    rows = made.table[known]

    def reading(done: int, total: int) -> None:
        if cancelled():
            raise Cancelled("Cancelled before it was sent.")
        run.update(message=f"Reading slices: {done} of {total}")

    inputs = batches.grey_inputs(made, rows, config.image_size, reading)
    reading(len(rows), len(rows))
    carried.pack(made, rows, inputs, folder / "carried" / "cohort")


def _copy_progress(run: Run, cluster: Cluster, job: str, stopped: bool) -> dict[str, Any]:
    """Copy what the job has told so far; returns its status, empty before it has one."""
    (run.folder / "log.txt").write_text(cluster.printed(job), encoding="utf-8")
    told = cluster.read(job, run.id, "status.json")
    if not told:
        return {}
    metrics = cluster.read(job, run.id, "metrics.jsonl")
    if metrics:
        (run.folder / "metrics.jsonl").write_bytes(metrics)
    try:
        status = json.loads(told)
    except json.JSONDecodeError:
        return {}
    if not stopped:
        run.update(progress=status.get("progress", 0.0), message=status.get("message") or "Starting")
    return status


def _finish(run: Run, cluster: Cluster, job: str, message: str, told: dict[str, Any], cancelled: bool) -> None:
    run.update(message="Fetching the run from Ray")
    # Beside what the job printed, a failed training leaves its traceback in a log of its own.
    with (run.folder / "log.txt").open("ab") as log:
        log.write(cluster.read(job, run.id, "log.txt"))
    for name in cluster.files(job, run.id):
        if name not in _OURS and not Path(name).name.startswith("."):
            target = run.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with cohort.replaced(target) as fresh:
                cluster.fetch(job, run.id, name, fresh)
    if run.config.kind == "siamese" and (run.folder / "references.parquet").exists() and told.get("state") == "done":
        from core import evaluation

        # Pictures of the jury are drawn from the cohort's files, which are here.
        evaluation.call_jury(run)
    run.update(ray_job="")
    state = told.get("state")
    if state in ("done", "failed", "cancelled"):
        run.update(state=state, progress=told["progress"], message=told["message"])
    elif cancelled:
        kept = "the best epoch so far is kept" if (run.bundle / "card.json").exists() else "nothing had been learnt yet"
        run.update(state="cancelled", message=f"Cancelled; {kept}.")
    else:
        run.update(state="failed", message=f"Its job on Ray ended without a word ({message[:300]}). See log.txt.")


def main() -> int:
    """Follow a run, or only ask the cluster; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m core.queueing.ray_runner", description=__doc__.splitlines()[0])
    parser.add_argument("run_dir", type=Path, nargs="?")
    parser.add_argument("--check", action="store_true", help="only ask whether the cluster takes jobs")
    options = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    # Ray takes these for the address whatever it is told; ours stands in the settings.
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(name, None)
    if options.check or options.run_dir is None:
        try:
            Cluster(get_settings().ray_address)
        except Silent:
            print(_no_answer())
            return 1
        except CoreError as error:
            print(error)
            return 1
        return 0
    folder = options.run_dir.resolve()
    run = runs.Run(folder.name, folder)
    run.update(state="running", pid=os.getpid(), message="Asking Ray")
    try:
        require()
        follow(run, Cluster(get_settings().ray_address), stop.is_set)
    except Cancelled as error:
        run.update(state="cancelled", message=str(error))
    except Silent:
        run.update(state="failed", message=_no_answer())
        return 1
    except CoreError as error:
        run.update(state="failed", message=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
