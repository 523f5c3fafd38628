"""Thirty people and one box: nothing is lost, no device has two trainings, whoever is killed is replaced."""

import itertools
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from core import jobs, runs
from core.config import RunConfig
from core.errors import ConfigError, RunError
from core.queueing import device_load
from core.settings import PROJECT_DIR, get_settings

#: Imports nothing, so that many can run in little time; that it says nothing of how it ended is seen in its status.
TRAINING = """
import os, sys, time
folder = sys.argv[-1]
with open(folder + "/span", "w") as file:
    file.write(f"{time.time()} ")
    file.flush()
    time.sleep(float(sys.argv[1]))
    file.write(f"{time.time()} {os.environ.get('SLICESCOPE_DEVICE')} {os.environ.get('CUDA_VISIBLE_DEVICES')}")
"""


@pytest.fixture
def training(workspace, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(PROJECT_DIR))
    script = tmp_path / "training.py"
    script.write_text(TRAINING)
    return lambda seconds=0.05: (sys.executable, "-S", "-E", str(script), str(seconds))


def config(name="a run", **fields):
    return RunConfig(name, "transfer", "phantom", **fields)


def wait_until(true, what, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def wait_for(run, *states):
    wait_until(lambda: run.status["state"] in states, f"{run.id} is not {states} but {run.status}")


def ended(run):
    """Tell whether the stand-in ran to its end; it reads as interrupted, since it never says that it is done."""
    return run.status["state"] == "interrupted" and "exit status 0" in run.status["message"]


def span(run):
    words = (run.folder / "span").read_text().split()
    return float(words[0]), float(words[1])


def overlaps(made):
    spans = sorted(map(span, made))
    return [pair for pair in itertools.pairwise(spans) if pair[1][0] < pair[0][1]]


def use_devices(monkeypatch, devices):
    monkeypatch.setenv("SLICESCOPE_DEVICE", devices)
    get_settings.cache_clear()


@pytest.mark.slow
def test_thirty_sessions_submit_at_once_and_nothing_is_lost(training):
    script = (
        "import sys; from concurrent.futures import ThreadPoolExecutor; from core import jobs;"
        "from core.config import RunConfig;"
        "submit = lambda i: jobs.submit(RunConfig('same name', 'transfer', 'phantom'), tuple(sys.argv[1:])).id;"
        "sys.stdin.read(1);"
        "print(*ThreadPoolExecutor(10).map(submit, range(10)), flush=True);"
        "sys.stdin.read()"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, *training()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in processes:
        process.stdin.write("go")
        process.stdin.flush()
    ids = [run_id for process in processes for run_id in process.stdout.readline().split()]
    assert len(set(ids)) == 30
    made = [runs.read_run(run_id) for run_id in ids]
    wait_until(lambda: all(map(ended, made)), "some run was never taken", 120)
    assert overlaps(made) == []
    # In the order in which they came.
    turns = sorted(made, key=span)
    assert turns == sorted(made, key=lambda run: (run.status["queued"], run.id))
    for process in processes:
        process.communicate()


def test_a_killed_dispatcher_is_replaced_and_its_training_goes_on(training):
    first, second = jobs.submit(config(), training(2)), jobs.submit(config(), training())
    wait_for(first, "running")
    (dispatcher,) = [process for (folder, _), process in jobs._started.items() if folder == get_settings().workspace]
    os.kill(dispatcher.pid, signal.SIGKILL)
    dispatcher.wait()
    assert first.status["state"] == "running"
    wait_until(lambda: ended(second), "nobody took the second run")
    assert overlaps([first, second]) == []


def test_whoever_looks_replaces_a_dispatcher_that_nobody_minds(training):
    run = runs.create_run(config(), command=list(training()))
    time.sleep(0.3)
    assert run.status["state"] == "queued"
    jobs.ensure_dispatcher()
    wait_until(lambda: ended(run), "nobody took the run")


def test_submission_is_quick_among_hundreds_of_runs(training, monkeypatch):
    for number in range(300):
        runs.create_run(config(), f"old-{number}", state="done")
    monkeypatch.setattr(jobs, "_start_dispatcher", lambda *_: subprocess.Popen(["sleep", "5"]))
    times = []
    for _ in range(5):
        # What it computes; the clock would tell of the other tests on this machine.
        started = time.process_time()
        jobs.submit(config(), training())
        times.append(time.process_time() - started)
    assert min(times) < 0.05


def test_changes_from_many_threads_are_all_kept(workspace):
    run = runs.create_run(config())
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: run.update(**{f"field{number}": number}), range(64)))
    assert {f"field{number}": number for number in range(64)}.items() <= run.status.items()


def test_whoever_holds_a_run_may_change_it_and_nobody_else(workspace):
    run = runs.create_run(config())
    with ThreadPoolExecutor(1) as pool, run.held():
        other = pool.submit(run.update, message="theirs", state="cancelled")
        run.update(message="mine")
        time.sleep(0.2)
        assert not other.done() and run.status["message"] == "mine"
        with run.held(), run.changing() as status:
            status["progress"] = 0.5
        assert not other.done()
    assert run.status.items() >= {"message": "theirs", "state": "cancelled", "progress": 0.5}.items()


def test_of_many_who_cancel_and_start_one_wins(training):
    """A run that was cancelled while it waited is never started, whoever looked at it before."""
    run = runs.create_run(config(), command=list(training()))
    jobs.cancel(run.id)
    jobs._run_one(run, ("cpu",))
    assert run.status["state"] == "cancelled" and not (run.folder / "span").exists()


def test_a_training_that_cannot_be_started_fails_and_the_next_one_runs(training):
    wrong, right = jobs.submit(config(), ("/nowhere/python",)), jobs.submit(config(), training())
    wait_until(lambda: ended(right), "the next run was not taken")
    assert wrong.status["state"] == "failed" and "could not be started" in wrong.status["message"]


def test_a_damaged_folder_hides_nobody_elses_runs(workspace):
    run, damaged = runs.create_run(config()), runs.create_run(config())
    (damaged.folder / "status.json").write_text("{")
    assert runs.list_runs() == [run] == jobs.queue()


def test_each_device_has_one_training_and_sees_itself_only(training, monkeypatch):
    use_devices(monkeypatch, "gpu:0,gpu:1")
    made = [jobs.submit(config(), training(1.5)) for _ in range(4)]
    wait_until(lambda: all(map(ended, made)), "some run was never taken")
    by_device = {}
    for run in made:
        (device,) = run.status["devices"]
        assert (run.folder / "span").read_text().split()[2] == device
        by_device.setdefault(device, []).append(run)
    assert set(by_device) == {"gpu:0", "gpu:1"}
    assert all(overlaps(runs_) == [] for runs_ in by_device.values())
    assert overlaps(made)


def test_a_run_on_two_devices_waits_for_both_and_keeps_its_turn(training, monkeypatch):
    use_devices(monkeypatch, "gpu:0,gpu:1")
    single = [jobs.submit(config(), training(1)) for _ in range(2)]
    both = jobs.submit(config(devices=2), training(0.5))
    after = [jobs.submit(config(), training(0.5)) for _ in range(2)]
    wait_until(lambda: all(map(ended, [*single, both, *after])), "some run was never taken")
    assert both.status["devices"] == ["gpu:0", "gpu:1"]
    assert (both.folder / "span").read_text().split()[2:] == ["auto", "0,1"]
    assert max(span(run)[1] for run in single) <= span(both)[0]
    assert span(both)[1] <= min(span(run)[0] for run in after)


def test_resume_and_retry_say_which_and_a_done_run_is_left_alone(workspace, monkeypatch):
    monkeypatch.setattr(jobs, "ensure_dispatcher", lambda: None)
    run = runs.create_run(config(), state="failed", progress=0.5)
    jobs.resubmit(run.id, resume=True)
    assert (run.status["state"], run.status["resume"], run.status["progress"]) == ("queued", True, 0.5)
    with pytest.raises(RunError, match="is queued and cannot"):
        jobs.resubmit(run.id)
    run.update(state="cancelled", cancelling=True)
    jobs.resubmit(run.id)
    assert (run.status["resume"], run.status["progress"], run.status["cancelling"]) == (False, 0.0, False)
    run.update(state="done")
    with pytest.raises(RunError, match="Duplicate it"):
        jobs.resubmit(run.id)
    shipped = runs.create_run(config(), runs.SHIPPED, state="failed")
    with pytest.raises(RunError):
        jobs.resubmit(shipped.id)


def test_a_run_that_is_queued_again_waits_behind_the_others(workspace, monkeypatch):
    monkeypatch.setattr(jobs, "ensure_dispatcher", lambda: None)
    monkeypatch.setattr(jobs.preflight, "require", lambda *look: None)
    old = runs.create_run(config(), state="failed")
    time.sleep(0.01)
    new = jobs.submit(config())
    time.sleep(0.01)
    jobs.resubmit(old.id)
    assert jobs.queue() == [new, old]


def test_a_cancelled_training_takes_its_helpers_along(workspace, tmp_path):
    script = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    run = jobs.submit(config(), (sys.executable, "-S", "-E", "-c", script))
    wait_until(lambda: run.log_tail().strip().isdigit(), "the helper did not start")
    helper = int(run.log_tail())
    started = time.monotonic()
    jobs.cancel(run.id)
    assert time.monotonic() - started < 5
    wait_until(lambda: not os.path.exists(f"/proc/{helper}"), "the helper lives on", 5)  # noqa: PTH110
    assert run.status["state"] == "cancelled"


def test_log_tail_leaves_out_what_may_name_a_patient(workspace):
    run = runs.create_run(config())
    (run.folder / "log.txt").write_text(
        "1/2\r2/2\n"
        f'  File "{PROJECT_DIR}/core/dicom.py", line 3\n'
        "No such file: '/data/Ada Lovelace/1.dcm'\n"
        "reading /data/Lovelace/2.dcm, epoch 3/20\n"
    )
    tail = run.log_tail()
    assert "Lovelace" not in tail and "epoch 3/20" in tail and "core/dicom.py" in tail and tail.startswith("2/2\n")
    assert run.log_tail(1) == "reading …, epoch 3/20"


@pytest.mark.parametrize("setting", ["gpu", "gpu:x", "tpu:0", "cpu,", ""])
def test_a_device_that_is_none_is_refused(setting):
    with pytest.raises(ConfigError, match="SLICESCOPE_DEVICE"):
        device_load.devices(setting)
