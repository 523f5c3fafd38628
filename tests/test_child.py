"""A child process answers, is stopped when late, is replaced when dead, and never outlives its parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from core.child import Child, interrupt, pack, unpack
from core.errors import ChildDied, ChildError, ChildTimeout
from core.settings import PROJECT_DIR

SERVANT = """
import os, sys, time
import numpy as np
from core.child import interruptible, serve
from core.errors import UnreadableFile

def echo(header, arrays):
    print("what libraries print must not reach the pipe", flush=True)
    os.write(1, b"nor what C code writes")
    return {"said": header["say"], "pid": os.getpid()}, arrays

def sleep(header, arrays):
    time.sleep(header["seconds"])
    return {}, {}

def step(header, arrays):
    look = interruptible()
    for _ in range(header["steps"]):
        look()
        time.sleep(0.01)
    return {}, {}

def refuse(header, arrays):
    raise UnreadableFile("It is empty.")

def fill(header, arrays):
    return {}, {"much": np.ones(header["mb"] << 17)}

serve({"echo": echo, "sleep": sleep, "step": step, "refuse": refuse, "fill": fill, "die": lambda h, a: os._exit(7),
       "bug": lambda h, a: 1 / 0})
"""


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    folder = tmp_path_factory.mktemp("servant")
    (folder / "servant.py").write_text(SERVANT)
    return {"PYTHONPATH": str(folder), "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def child(env):
    child = Child("servant", memory_mb=1024, env=env)
    yield child
    child.close()


def ended(pid):
    """Wait until a process is gone; a zombie that nobody has collected yet counts as gone."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    "array",
    [np.arange(6, dtype="<i2").reshape(2, 3), np.zeros((0, 4)), np.arange(12.0).reshape(3, 4)[::2, ::-1]],
    ids=["integers", "empty", "strided"],
)
def test_message_comes_out_as_it_went_in(array):
    stream = b"".join(bytes(part) for part in pack({"do": "x", "n": 1}, {"a": array}))
    place = 0

    def read(n):
        nonlocal place
        place += n
        return stream[place - n : place]

    header, arrays = unpack(read)
    assert (header, place) == ({"do": "x", "n": 1}, len(stream))
    assert (arrays["a"].dtype, arrays["a"].shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(arrays["a"], array)


def test_answers_from_one_process_whatever_is_printed_there(child):
    pids = set()
    for _ in range(3):
        array = np.random.default_rng(0).random((700, 700))
        answer, arrays = child.request({"do": "echo", "say": "é\n"}, {"a": array})
        np.testing.assert_array_equal(arrays["a"], array)
        assert answer["said"] == "é\n"
        pids.add(answer["pid"])
    assert pids == {child.pid}


def test_threads_each_get_their_own_answer(child):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: child.request({"do": "echo", "say": n})[0]["said"], range(40)))
    assert answers == list(range(40))


def test_refusal_is_an_answer_and_the_child_lives_on(child):
    pid = child.request({"do": "echo", "say": 0})[0]["pid"]
    with pytest.raises(ChildError, match=r"^It is empty\.$") as refusal:
        child.request({"do": "refuse"})
    assert refusal.value.kind == "UnreadableFile"
    assert child.pid == pid


def test_late_child_is_stopped_and_replaced(child):
    first = child.request({"do": "echo", "say": 0})[0]["pid"]
    start = time.monotonic()
    with pytest.raises(ChildTimeout, match="time limit"):
        child.request({"do": "sleep", "seconds": 60}, timeout_s=0.5)
    assert time.monotonic() - start < 5
    assert ended(first)
    assert child.request({"do": "echo", "say": "again"})[0]["said"] == "again"


@pytest.mark.parametrize("do", ["die", "bug"])
def test_dead_child_is_replaced(child, do):
    with pytest.raises(ChildDied, match="ended before it answered"):
        child.request({"do": do})
    assert child.pid is None
    assert child.request({"do": "echo", "say": 1})[0]["said"] == 1


def test_child_killed_from_outside_between_requests_is_replaced(child):
    pid = child.request({"do": "echo", "say": 0})[0]["pid"]
    os.kill(pid, signal.SIGKILL)
    assert ended(pid)
    assert child.request({"do": "echo", "say": 0})[0]["pid"] != pid


def test_interrupted_child_leaves_off_and_lives_on(child):
    pid = child.request({"do": "echo", "say": 0})[0]["pid"]
    interrupt(pid)
    # What was asked before is no matter of the next request.
    assert child.request({"do": "step", "steps": 2}) == ({}, {})
    threading.Timer(0.2, interrupt, args=[pid]).start()
    with pytest.raises(ChildError, match="left off") as refusal:
        child.request({"do": "step", "steps": 3000})
    assert refusal.value.kind == "ChildStopped" and child.pid == pid
    assert child.request({"do": "step", "steps": 2}) == ({}, {})


def test_child_that_does_not_look_goes_on(env):
    child = Child("servant", env=env)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(child.request, {"do": "echo", "say": 1})
        while not answer.done():
            interrupt(child.pid)
            time.sleep(0.01)
    assert answer.result()[0]["said"] == 1
    child.close()


def test_memory_is_limited(child):
    assert child.request({"do": "fill", "mb": 10})[1]["much"].nbytes == 10 << 20
    with pytest.raises(ChildError) as refusal:
        child.request({"do": "fill", "mb": 4096})
    assert refusal.value.kind == "MemoryError"
    assert child.request({"do": "echo", "say": 1})[0]["said"] == 1


def test_closed_child_is_gone_and_starts_anew_when_asked(env):
    child = Child("servant", env=env)
    assert child.pid is None
    pid = child.request({"do": "echo", "say": 0})[0]["pid"]
    child.close()
    assert ended(pid)
    assert child.pid is None
    assert child.request({"do": "echo", "say": 0})[0]["pid"] != pid
    child.close()


@pytest.mark.parametrize("ending", ["pass", "os.kill(os.getpid(), 9)"], ids=["ends", "is killed"])
def test_no_child_outlives_its_parent(env, ending):
    script = (
        "import os\n"
        "from core.child import Child\n"
        "child = Child('servant')\n"
        "print(child.request({'do': 'echo', 'say': 0})[0]['pid'], flush=True)\n"
        f"{ending}\n"
    )
    command = [sys.executable, "-c", script]
    parent = subprocess.run(command, cwd=PROJECT_DIR, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True)
    assert ended(int(parent.stdout))
