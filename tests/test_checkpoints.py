"""What is kept to go on, to look back epoch by epoch, and to end in time."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import RunConfig
from core.learning import checkpoints, epoch_figures, epochs
from core.learning.checkpoints import Checkpoint, EpochMark
from core.settings import PROJECT_DIR

MARK = EpochMark("head", 2, 6, "val_loss", 0.25)


def checkpoint(**changes) -> Checkpoint:
    arrays = {
        "model": [np.arange(6, dtype=np.float32).reshape(2, 3), np.array([3, 8], np.int64)],
        "optimiser": [np.array(7)],
        "best_weights": [np.full((2, 3), 0.5, np.float32)],
    }
    values = {"fingerprint": "f", "now": MARK, "best": replace(MARK, epoch=1), "better_at": 1, "over": False,
              "epochs_done": 2, "best_number": 1, "seconds": 1.5, **arrays}  # fmt: skip
    return Checkpoint(**{**values, **changes})


def test_a_checkpoint_comes_back_as_it_went(tmp_path):
    # More than ten arrays: their order is that of numbers, not of words.
    went = checkpoint(optimiser=[np.array(n) for n in range(12)])
    checkpoints.write(tmp_path, went)
    came = checkpoints.read(tmp_path, "f")
    for field in ("now", "best", "better_at", "over", "epochs_done", "best_number", "seconds"):
        assert getattr(came, field) == getattr(went, field)
    for group in ("model", "optimiser", "best_weights"):
        for one, other in zip(getattr(came, group), getattr(went, group), strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
    assert checkpoints.glance(tmp_path).now == MARK
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_what_does_not_fit_or_is_damaged_is_no_checkpoint(tmp_path):
    assert checkpoints.read(tmp_path, "f") is None
    checkpoints.write(tmp_path, checkpoint())
    assert checkpoints.read(tmp_path, "other") is None
    whole = (tmp_path / "checkpoint.npz").read_bytes()
    for damaged in (whole[:-40], b"", whole.replace(b"fingerprint", b"fingerprInt"), b"PK\x03\x04" + bytes(300)):
        (tmp_path / "checkpoint.npz").write_bytes(damaged)
        assert checkpoints.read(tmp_path, "f") is None
        assert checkpoints.glance(tmp_path) is None
    checkpoints.discard(tmp_path)
    checkpoints.discard(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_fingerprint_tells_what_changes_the_result():
    config = RunConfig("a", "transfer", "c")
    y = {"plane": np.array([0, 1, -1])}
    print_ = checkpoints.fingerprint(config, "s", y)
    assert checkpoints.fingerprint(replace(config, name="b", preset="quick"), "s", y) == print_
    others = [
        checkpoints.fingerprint(replace(config, random_state=1), "s", y),
        checkpoints.fingerprint(config, "t", y),
        checkpoints.fingerprint(config, "s", {"plane": np.array([0, 1, 1])}),
        checkpoints.fingerprint(config, "s", {"sequence": y["plane"]}),
    ]
    assert len({print_, *others}) == 5


def test_metrics_are_cut_to_what_the_checkpoint_knows(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n{"epoch": 2}\n{"epoch": 3}\n{"epo')
    checkpoints.keep_metrics(tmp_path, 2)
    assert path.read_text() == '{"epoch": 1}\n{"epoch": 2}\n'
    checkpoints.keep_metrics(tmp_path, 0)
    assert not path.exists()


# Answers by epoch


def answers_of(numbers, best, total, n=7) -> epochs.EpochAnswers:
    kept = epochs.begin({"plane": ["a", "b"]}, {"plane": np.arange(n) % 2}, np.repeat("test", n), np.arange(n))
    for number in numbers:
        now = {"plane": np.full(n, number % 2)}
        kept = epochs.added(kept, number, EpochMark("head", number, total, "val_loss", 1.0), now, best(number), total)
    return kept


@given(total=st.integers(1, 700), best=st.integers(1, 700))
def test_few_epochs_are_kept_with_the_best_and_the_last_among_them(total, best):
    best = min(best, total)

    def best_at(number):  # the first is the best until the best comes
        return best if number >= best else 1

    asked = [n for n in range(1, total + 1) if epochs.is_planned(n, total) or n in (1, best, total)]
    kept = answers_of(asked, best_at, total, n=2)
    assert len(kept.numbers) <= epochs.MOST + 2
    assert {best, total} <= set(kept.numbers)
    assert list(kept.numbers) == sorted(set(kept.numbers))
    # Each epoch still has its own answers.
    np.testing.assert_array_equal(kept.answers["plane"][:, 0], np.array(kept.numbers) % 2)
    assert [mark.epoch for mark in kept.marks] == list(kept.numbers)


def test_matrix_and_accuracy_count_what_is_known(tmp_path):
    y = {"plane": np.array([0, 1, 1, -1, 0])}
    split = np.array(["validation", "test", "test", "test", "test"])
    kept = epochs.begin({"plane": ["a", "b"]}, y, split, np.array([3, 4, 6, 7, 9]))
    kept = epochs.added(kept, 1, MARK, {"plane": np.array([1, 0, 1, 1, 0])}, 1, 6)
    kept = epochs.added(kept, 2, MARK, {"plane": np.array([0, 1, 1, 0, 0])}, 2, 6)
    epochs.write(tmp_path, kept)
    read = epochs.read(tmp_path)
    assert read.matrix("plane", "test", 0).counts.tolist() == [[1, 0], [1, 1]]
    assert read.matrix("plane", "test", 1).counts.tolist() == [[1, 0], [0, 2]]
    np.testing.assert_allclose(read.accuracy("plane", "test"), [2 / 3, 1])
    assert read.accuracy("plane", "validation").tolist() == [0, 1]
    assert (read.numbers, read.best, read.rows.tolist()) == ((1, 2), 2, [3, 4, 6, 7, 9])
    cut = epochs.until(read, 1, 1)
    assert (cut.numbers, cut.best, cut.answers["plane"].tolist()) == ((1,), 1, [[1, 0, 1, 1, 0]])
    assert epochs.read(tmp_path / "none") is None
    curve = epoch_figures.accuracy_by_epoch(read, "plane", 1)
    assert [trace.name for trace in curve.data] == ["validation", "test"]
    assert list(curve.data[1].y) == pytest.approx([2 / 3, 1])
    assert [epoch_figures.epoch_name(read, place) for place in (0, 1)] == ["1", "2 · best"]


def test_fifty_epochs_of_many_slices_stay_small(tmp_path):
    rng = np.random.default_rng(0)
    n = 20_000
    names, y = [str(number) for number in range(12)], rng.integers(0, 12, n)
    kept = epochs.begin({"s": names}, {"s": y}, np.repeat("test", n), np.arange(n))
    answers = {"s": rng.integers(0, 12, (52, n)).astype(np.uint8)}
    epochs.write(tmp_path, replace(kept, numbers=tuple(range(52)), marks=(MARK,) * 52, answers=answers))
    assert (tmp_path / "epochs.npz").stat().st_size < 1.1e6


# SIGTERM


@pytest.mark.parametrize(("seconds", "told"), [(0, "asked"), (60, "gave up")])
def test_sigterm_is_a_question_and_then_a_deadline(tmp_path, seconds, told):
    code = f"""
import os, signal, time
from core.learning import stopping
stopping.GRACE_S = 0.3
with stopping.StopSignal(lambda: print("gave up", flush=True)) as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep({seconds})
    if stop.is_set():
        print("asked", flush=True)
"""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_DIR)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, env=environment)
    assert (done.returncode, done.stdout.strip()) == (0, told), done.stderr


def test_afterwards_signals_are_as_they_were():
    from core.learning.stopping import StopSignal

    before = signal.getsignal(signal.SIGTERM)
    with StopSignal(lambda: None) as stop:
        assert not stop.is_set()
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.set_wakeup_fd(-1) == -1
