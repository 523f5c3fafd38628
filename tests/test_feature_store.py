"""The store of arrays: nothing twice, nothing lost, nothing wrong, and no more than it may take."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import StorageFull
from core.learning import feature_store
from core.settings import PROJECT_DIR, get_settings


class Asked:
    """Compute three numbers a key, and remember for which."""

    def __init__(self, keys):
        self.keys, self.asked = list(keys), []

    def __call__(self, positions):
        self.asked += [self.keys[position] for position in positions]
        return np.stack([value(self.keys[position]) for position in positions])


def value(key: str) -> np.ndarray:
    return np.array([int(key), int(key) ** 2, 7], np.float32)


def check(folder: Path, keys) -> list[str]:
    """Ask the store, hold every array against what it must be, and tell which were computed."""
    compute = Asked(keys)
    np.testing.assert_array_equal(feature_store.stored(folder, keys, compute), [value(key) for key in keys])
    return compute.asked


def numbers(*bounds: int) -> list[str]:
    return [str(number) for number in range(*bounds)]


def chunks(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.chunk"))


def test_each_content_is_computed_once(tmp_path):
    assert check(tmp_path, ["5", "6", "5", "8"]) == ["5", "6", "8"]
    assert check(tmp_path, ["8", "9", "5", "9"]) == ["9"]
    assert feature_store.stored(tmp_path, [], Asked([])).size == 0


@settings(max_examples=25, deadline=None)
@given(calls=st.lists(st.lists(st.integers(0, 30).map(str), min_size=1, max_size=20), min_size=1, max_size=6))
def test_whatever_is_asked_in_whatever_order_comes_right_and_once(tmp_path_factory, calls):
    folder = tmp_path_factory.mktemp("store")
    asked = [key for keys in calls for key in check(folder, keys)]
    assert len(asked) == len(set(asked))
    assert set(asked) == {key for keys in calls for key in keys}


def test_a_stopped_call_keeps_what_was_done(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "_CHUNK", 2)

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        feature_store.stored(tmp_path, numbers(6), Asked(numbers(6)), stop)
    assert check(tmp_path, numbers(6)) == ["4", "5"]


def test_many_pieces_become_few_files(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "_CHUNK", 4)
    monkeypatch.setattr(feature_store, "_JOINED", 50 * 12)
    check(tmp_path, numbers(200))
    assert len(chunks(tmp_path)) <= 5
    assert check(tmp_path, numbers(200)) == []


@pytest.mark.parametrize("damage", ["cut short", "another byte", "empty", "no chunk", "gone"])
def test_what_a_damaged_file_held_is_computed_again(tmp_path, damage):
    check(tmp_path, numbers(3))
    (path,) = chunks(tmp_path)
    feature_store._opened.cache_clear()  # as in another process
    whole = path.read_bytes()
    other = bytearray(whole)
    other[-3] ^= 1
    made = {"cut short": whole[:-5], "another byte": bytes(other), "empty": b"", "no chunk": b"PK\x03\x04 no array"}
    path.unlink() if damage == "gone" else path.write_bytes(made[damage])
    assert check(tmp_path, numbers(3)) == numbers(3)
    assert check(tmp_path, numbers(3)) == []
    assert len(chunks(tmp_path)) == 1


@pytest.mark.parametrize("byte", [70, 130, 200])
def test_damage_while_the_process_lives_is_seen_too(tmp_path, byte):
    check(tmp_path, numbers(3))
    (path,) = chunks(tmp_path)
    content = bytearray(path.read_bytes())
    content[byte] ^= 255
    path.write_bytes(bytes(content[:-4]))
    assert check(tmp_path, numbers(3)) == numbers(3)


def test_arrays_of_an_older_shape_are_dropped(tmp_path):
    check(tmp_path, ["1", "2"])
    for _ in range(2):
        wide = feature_store.stored(tmp_path, ["1", "2", "3"], lambda positions: np.ones((len(positions), 5), np.int8))
        assert wide.tolist() == [[1] * 5] * 3
    assert len(chunks(tmp_path)) == 1


def test_the_longest_unused_goes_first(workspace, monkeypatch):
    monkeypatch.setenv("SLICESCOPE_CACHE_MB", "1")
    get_settings.cache_clear()
    block = 100_000  # bytes; ten fit

    def ask(key):
        return feature_store.shared("bytes", [key], lambda positions: np.full((1, block), int(key), np.uint8))

    monkeypatch.setattr(feature_store, "_join", lambda folder: None)
    root = get_settings().features_dir
    for number in range(8):
        ask(str(number))
    for age, path in enumerate(sorted(chunks(root), key=lambda path: path.stat().st_mtime_ns)):
        os.utime(path, (time.time() - 1000 + age, path.stat().st_mtime))
    assert ask("0")[0, 0] == 0  # used again, so that 1 is the oldest now
    for number in range(8, 12):
        ask(str(number))
    assert sum(path.stat().st_size for path in root.rglob("*")) <= 1 << 20
    asked = Asked(numbers(12))
    with pytest.raises(ZeroDivisionError):
        feature_store.shared("bytes", numbers(12), lambda positions: asked.asked.append(positions) or 1 // 0)
    assert asked.asked[0].tolist() == [1, 2]


def test_more_than_the_store_may_take_still_comes_right(workspace, monkeypatch):
    monkeypatch.setenv("SLICESCOPE_CACHE_MB", "1")
    get_settings.cache_clear()
    keys = numbers(600)
    for _ in range(2):
        answer = feature_store.shared(
            "wide", keys, lambda positions: np.repeat(positions[:, None], 5000, axis=1).astype(np.float32)
        )
        np.testing.assert_array_equal(answer[:, 0], range(600))
        assert sum(path.stat().st_size for path in get_settings().features_dir.rglob("*")) <= 1 << 20


def test_what_a_killed_writer_left_is_swept_up_when_it_is_old(tmp_path):
    fresh, old = tmp_path / ".a.chunk.1.ab.tmp", tmp_path / ".b.chunk.1.cd.tmp"
    for path in (fresh, old):
        path.write_bytes(b"0" * 100)
    os.utime(old, (time.time() - 7200,) * 2)
    feature_store.bound(tmp_path, 1 << 20)
    assert fresh.exists()
    assert not old.exists()


def test_a_full_disk_is_told_in_a_sentence_and_loses_no_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "_CHUNK", 2)
    save, written = np.save, []

    def full(file, array):
        written.append(file)
        if len(written) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(file, array)

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(StorageFull, match=r"disk .* full.*SLICESCOPE_WORKSPACE"):
        feature_store.stored(tmp_path, numbers(6), Asked(numbers(6)))
    monkeypatch.undo()
    assert not list(tmp_path.glob("*.tmp"))
    assert check(tmp_path, numbers(6)) == numbers(2, 6)


def test_a_full_disk_first_costs_what_is_kept_for_speed(workspace, monkeypatch):
    feature_store.shared("old", numbers(3), Asked(numbers(3)))
    save, refused = np.save, []

    def full(file, array):
        if chunks(get_settings().features_dir / "old"):
            refused.append(file)
            raise OSError(errno.ENOSPC, "No space left on device")
        save(file, array)

    monkeypatch.setattr(np, "save", full)
    answer = feature_store.shared("new", numbers(4), Asked(numbers(4)))
    np.testing.assert_array_equal(answer[3], value("3"))
    assert len(refused) == 1


WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from core.learning import feature_store
feature_store._CHUNK = 5
first, n = int(sys.argv[2]), int(sys.argv[3])
keys = [str(number) for number in range(first, first + n)]
def compute(positions):
    print("computing", flush=True)
    time.sleep(float(sys.argv[4]))
    return np.stack([np.array([int(keys[p]), int(keys[p]) ** 2, 7], np.float32) for p in positions])
answer = feature_store.stored(Path(sys.argv[1]), keys, compute)
assert answer[:, 0].tolist() == list(range(first, first + n)), answer
"""


def writer(folder, first, n, pause_s):
    command = [sys.executable, "-c", WRITER, str(folder), str(first), str(n), str(pause_s)]
    return subprocess.Popen(command, cwd=PROJECT_DIR, stdout=subprocess.PIPE, text=True)


def test_what_two_made_is_read_once(tmp_path):
    digests = feature_store._digests(["1", "2", "1"])
    feature_store._write(tmp_path, digests, np.stack([value("1"), value("2"), value("1")]))
    assert check(tmp_path, numbers(1, 4)) == ["3"]


def test_two_processes_at_a_time_do_no_harm(tmp_path):
    started = [writer(tmp_path, first, 60, 0.01) for first in (0, 30)]
    for process in started:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert check(tmp_path, numbers(90)) == []


def test_a_killed_writer_leaves_whole_chunks(tmp_path):
    process = writer(tmp_path, 0, 50, 0.05)
    for _ in range(4):
        process.stdout.readline()
    process.kill()
    process.communicate()
    asked = check(tmp_path, numbers(50))
    assert asked == numbers(50 - len(asked), 50)
    assert 5 <= len(asked) <= 40


def test_a_hundred_thousand_arrays_are_found_in_seconds(tmp_path):
    keys = numbers(100_000)
    feature_store.stored(tmp_path, keys, lambda positions: np.repeat(positions[:, None], 16, axis=1))
    assert len(chunks(tmp_path)) < 10
    feature_store._opened.cache_clear()
    started = time.process_time()
    found = feature_store.stored(tmp_path, keys, lambda positions: 1 // 0)
    np.testing.assert_array_equal(found[:, 3], range(100_000))
    assert time.process_time() - started < 3
