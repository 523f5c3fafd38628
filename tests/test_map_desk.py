"""The desk: the urgent first, the same once, nobody waits, what nobody wants is stopped, and failures have reasons."""

import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from core import inference
from core.child import Child
from core.errors import ChildStopped, ChildTimeout, InputError, UnreadableFile
from core.explanations import desk as desk_module
from core.explanations import map_desk, map_store
from core.explanations.desk import Answered, Ask, Desk, Failed, Judged, Layers, Made, Named
from core.explanations.map_desk import make_answers, make_maps
from core.explanations.question import Maps, Question
from core.images import Box, Geometry, to_model_input

WHOLE = Geometry(8, 8, 8, Box(0, 0, 8, 8), Box(0, 0, 8, 8))
QUESTION = Question("plane")


def ask(slice_id: object, question=QUESTION, read=None) -> Ask:
    return Ask(Path("bundle"), "model", question, str(slice_id), read or (lambda: (np.zeros((8, 8)), WHOLE)))


class Work:
    """Notes the batches; works only while its gate is open."""

    def __init__(self):
        self.batches, self.stops = [], 0
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()
        self.stopped = threading.Event()

    def __call__(self, batch):
        self.batches.append([one.slice_id for one in batch])
        self.started.set()
        while not self.gate.wait(0.01):
            if self.stopped.is_set():
                return [None] * len(batch)
        return [Answered({}) for _ in batch]

    def stop(self):
        self.stops += 1
        self.stopped.set()


@pytest.fixture
def work():
    made = Work()
    yield made
    made.gate.set()


def until(true, limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, "It did not come."
        time.sleep(0.005)


def test_the_first_comes_alone_and_the_others_in_batches(work):
    desk, asks = Desk(work, work.stop), [ask(at) for at in range(14)]
    desk.want("one", asks)
    until(lambda: desk.waiting("one").n == 0)
    assert work.batches[0] == ["0"]
    assert [len(batch) for batch in work.batches[1:]] == [8, 4, 1]
    assert [slice_id for batch in work.batches for slice_id in batch] == [str(at) for at in range(14)]
    assert all(isinstance(desk.found(one), Answered) for one in asks)


def test_a_reader_who_moves_on_is_served_there_first(work):
    work.gate.clear()
    desk, asks = Desk(work, work.stop), [ask(at) for at in range(6)]
    desk.want("one", asks)
    assert work.started.wait(10)
    desk.want("one", asks[::-1])
    work.gate.set()
    until(lambda: desk.waiting("one").n == 0)
    assert work.batches[:2] == [["0"], ["5"]]


def test_what_two_ask_for_is_made_once(work):
    work.gate.clear()
    desk, asks = Desk(work, work.stop), [ask(at) for at in range(4)]
    for client in ("one", "two"):
        desk.want(client, asks)
    work.gate.set()
    until(lambda: desk.waiting("one").n + desk.waiting("two").n == 0)
    made = [slice_id for batch in work.batches for slice_id in batch]
    assert sorted(made) == ["0", "1", "2", "3"]


def test_clients_take_turns(work):
    work.gate.clear()
    desk = Desk(work, work.stop)
    desk.want("one", [ask(f"a{at}") for at in range(40)])
    assert work.started.wait(10)
    desk.want("two", [ask("b")])
    work.gate.set()
    until(lambda: desk.waiting("two").n == 0)
    assert work.batches.index(["b"]) <= 2


def test_cancelled_work_is_stopped_and_not_kept(work):
    work.gate.clear()
    desk, one = Desk(work, work.stop, grace_s=0.05), ask(0)
    desk.want("one", [one])
    assert work.started.wait(10)
    desk.cancel("one")
    until(lambda: work.stops == 1)
    assert desk.found(one) is None and desk.waiting("one").n == 0
    work.stopped.clear()
    work.gate.set()
    desk.want("one", [one])
    until(lambda: desk.found(one) is not None)


def test_work_that_another_waits_for_goes_on(work):
    work.gate.clear()
    desk, one = Desk(work, work.stop, grace_s=0.02), ask(0)
    desk.want("one", [one])
    assert work.started.wait(10)
    desk.want("two", [one])
    desk.cancel("one")
    time.sleep(0.1)
    work.gate.set()
    until(lambda: desk.found(one) is not None)
    assert work.stops == 0


def test_a_client_that_was_not_heard_of_is_forgotten(work, monkeypatch):
    work.gate.clear()
    desk = Desk(work, work.stop)
    desk.want("gone", [ask(at) for at in range(20)])
    assert work.started.wait(10)
    monkeypatch.setattr(desk_module, "_GONE_S", 0.0)
    work.gate.set()
    until(lambda: desk.waiting("gone").n == 0)
    assert work.batches == [["0"]]


def test_failures_are_kept_until_they_are_forgotten():
    calls = []

    def fail(batch):
        calls.append(batch)
        return [Failed("no")] * len(batch)

    desk, one = Desk(fail, lambda: None), ask(0)
    desk.want("one", [one])
    until(lambda: desk.found(one) is not None)
    desk.want("one", [one])
    assert desk.waiting("one").n == 0 and len(calls) == 1
    desk.forget([one])
    desk.want("one", [one])
    until(lambda: len(calls) == 2)


def test_a_bug_shows_itself():
    def broken(batch):
        raise ZeroDivisionError("a bug")

    desk, one = Desk(broken, lambda: None), ask(0)
    desk.want("one", [one])
    until(lambda: desk.waiting("one").n == 0)
    with pytest.raises(ZeroDivisionError):
        desk.found(one)


def test_results_are_bounded(work, monkeypatch):
    monkeypatch.setattr(desk_module, "_KEPT", 20 * 1024)
    desk, asks = Desk(work, work.stop), [ask(at) for at in range(40)]
    desk.want("one", asks)
    until(lambda: desk.waiting("one").n == 0)
    kept = [one for one in asks if desk.found(one)]
    assert 8 <= len(kept) <= 28 and asks[-1] in kept and asks[0] not in kept


# The work of the two desks ------------------------------------------------------------------------------------


class Explainer:
    """Maps of a constant; refuses what is all 0.5, and is late for what is all 1."""

    def explain(self, bundle, images, question):
        if (images == 0.5).all(axis=(1, 2)).any():
            raise InputError("This one is refused.")
        if (images == 1).any():
            raise ChildTimeout("late")
        return Maps(images, ("axial",) * len(images), "last", ("first", "last"))

    def layers(self, bundle, head):
        return "first", "last"

    def predict(self, bundle, images):
        proba = np.tile([[0.25, 0.75]], (len(images), 1))
        return inference.Prediction({"plane": proba}, {"plane": ["axial", "coronal"]}, np.zeros((len(images), 1)))


@pytest.fixture
def explainer(monkeypatch):
    monkeypatch.setattr(inference, "get_explainer", Explainer)
    monkeypatch.setattr(inference, "get_worker", Explainer)
    monkeypatch.setattr(map_store, "maps", lambda bundle, images, question, make: make(bundle, images, question))


def of(value: float):
    return lambda: (np.full((8, 8), value, np.float32), WHOLE)


def unreadable():
    raise UnreadableFile("It is cut short.")


def test_a_slice_that_cannot_be_read_does_not_take_the_others_with_it(explainer):
    results = make_maps([ask(0, read=of(0.25)), ask(1, read=unreadable), ask(2, read=of(0.75))])
    assert [type(one) for one in results] == [Made, Failed, Made]
    assert "It is cut short." in results[1].why
    assert float(results[0].heat.max()) == 0.25 and float(results[2].heat.max()) == 0.75


def test_a_slice_that_is_refused_does_not_take_the_others_with_it(explainer):
    results = make_maps([ask(0, read=of(0.25)), ask(1, read=of(0.5)), ask(2, read=of(0.75))])
    assert [type(one) for one in results] == [Made, Failed, Made]
    assert results[1].why == "This one is refused."


def test_a_map_that_is_late_says_what_to_do(explainer):
    (late,) = make_maps([ask(0, read=of(1))])
    assert "took longer than 120 s" in late.why and "SLICESCOPE_EXPLAIN_TIMEOUT_S" in late.why


def test_a_map_that_was_stopped_is_no_result(explainer, monkeypatch):
    def stopped(self, bundle, images, question):
        raise ChildStopped("stopped")

    monkeypatch.setattr(Explainer, "explain", stopped)
    assert make_maps([ask(0, read=of(0.25))]) == [None]


def test_layers_and_answers_come_from_the_desks_too(explainer):
    (named,) = make_maps([Ask(Path("bundle"), "model", Layers("plane"))])
    assert isinstance(named, Named) and named.layers == ("first", "last")
    answers = make_answers([ask(0, None, of(0.25)), ask(1, None, unreadable)])
    assert answers[0].heads["plane"].tolist() == [0.25, 0.75] and isinstance(answers[1], Failed)


@pytest.mark.parametrize("shape", [(16, 16), (17, 31), (120, 64)])
def test_a_map_lies_on_the_slices_own_grid(shape):
    pixels = np.zeros(shape, np.float32)
    pixels[shape[0] // 4 : shape[0] // 2, shape[1] // 2 : 3 * shape[1] // 4] = 100
    image, geometry = to_model_input(pixels, None, 64)
    heat = Made(image.astype(np.float16), None, geometry, "axial", "last").on_slice()
    assert heat.shape == shape
    assert np.corrcoef(heat.ravel(), pixels.ravel())[0, 1] > 0.9


JUDGE = """
import time
from core.child import interruptible, serve

def badge(header, arrays):
    look, slow = interruptible(), arrays["images"].max() == 1
    for _ in range(6000 if slow else 1):
        look()
        time.sleep(0.01)
    values = {"model": 0, "decision": 1, "head": 0, "stable": 1}
    return {"badges": [{"target": "axial", "values": values}]}, {}

serve({"badge": badge})
"""


def test_a_reader_who_moves_on_need_not_wait_for_the_badge_before(workspace, tmp_path, monkeypatch):
    (tmp_path / "judge.py").write_text(JUDGE)
    explainer = inference.InferenceWorker()
    explainer._child = Child("judge", env={"PYTHONPATH": f"{tmp_path}:{':'.join(sys.path)}"})
    monkeypatch.setattr(inference, "get_explainer", lambda: explainer)
    desk = map_desk.badges_desk()
    quick, slow, other = ask(0, read=of(0)), ask(1, read=of(1)), ask(2, read=of(0))

    def wait_for(one):
        # As the page does: it says again and again what it waits for.
        desk.want("one", [one])
        return desk.found(one) is not None

    until(lambda: wait_for(quick))
    pid = explainer.pid
    desk.want("one", [slow])
    time.sleep(0.3)
    until(lambda: wait_for(other))
    assert isinstance(desk.found(other), Judged) and desk.found(slow) is None
    # Its models stay loaded.
    assert explainer.pid == pid
    explainer.close()


def test_a_child_can_be_stopped_from_another_thread(tmp_path, monkeypatch):
    module = tmp_path / "sleeper.py"
    module.write_text("import time\nfrom core.child import serve\nserve({'sleep': lambda h, a: time.sleep(60)})\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{':'.join(sys.path)}")
    child = Child("sleeper")
    child.stop()  # nothing is being answered, so nothing happens
    threading.Timer(0.5, child.stop).start()
    started = time.monotonic()
    with pytest.raises(ChildStopped):
        child.request({"do": "sleep"}, timeout_s=30)
    assert time.monotonic() - started < 10
    child.close()
