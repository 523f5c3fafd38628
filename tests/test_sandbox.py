"""The sandbox answers as the reader itself would, and outlives whatever a file does to its child."""

import gzip
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import nibabel
import numpy as np
import psutil
import pytest

from core import sources
from core.child import Child
from core.errors import ChildDied, UnreadableFile
from core.sandbox import Sandbox, _slices, get_sandbox
from core.settings import PROJECT_DIR, get_settings


@pytest.fixture(scope="module")
def sandbox():
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


@pytest.fixture
def limited(monkeypatch):
    """Give a sandbox with other limits."""
    made = []

    def make(**limits):
        for name, value in limits.items():
            monkeypatch.setenv(f"SLICESCOPE_{name.upper()}", str(value))
        get_settings.cache_clear()
        made.append(Sandbox())
        return made[-1]

    yield make
    for one in made:
        one.close()
    get_settings.cache_clear()


def test_answers_as_the_reader_does(sandbox, make_slice):
    path = make_slice()
    assert sandbox.parse(path) == sources.read_headers(path)
    np.testing.assert_array_equal(sandbox.pixels(path), sources.read_pixels(path))


def test_thumbnail_keeps_proportions(sandbox, make_slice):
    pixels = np.zeros((120, 100), np.uint16)
    pixels[60:90, 20:80] = 500
    path = make_slice(pixels=pixels)

    def lit(picture: np.ndarray) -> list[int]:
        return [int((picture > 127).any(axis=axis).sum()) for axis in (1, 0)]

    square = sandbox.thumbnail(path, size=64)
    assert (square.shape, square.dtype) == ((64, 64), np.uint8)
    # What is lit nearly fills the thumbnail, though it is narrower than the slice.
    assert lit(square) == pytest.approx([30, 59], abs=2)
    tall = sandbox.thumbnail(path, size=64, pixel_spacing_mm=(4.0, 1.0))
    assert lit(tall)[0] == pytest.approx(2 * lit(tall)[1], abs=3)


def test_reason_is_the_readers_own_and_names_no_path(sandbox, tmp_path):
    path = tmp_path / "letter to Dr Who.txt"
    path.write_text("Dear Dr Who, " * 50)
    with pytest.raises(UnreadableFile) as refusal:
        sandbox.parse(path)
    with pytest.raises(UnreadableFile) as direct:
        sources.read_headers(path)
    assert str(refusal.value) == str(direct.value)
    assert "Who" not in str(refusal.value)
    with pytest.raises(UnreadableFile) as missing:
        sandbox.pixels(tmp_path / "gone.dcm")
    assert "gone" not in str(missing.value)


def test_file_that_takes_too_long_is_refused_and_the_next_is_read(limited, make_slice, tmp_path):
    # Long enough for a fresh child to start on a busy machine, which counts.
    sandbox, good = limited(parse_timeout_s=5), make_slice()
    sandbox.parse(good)
    pipe = tmp_path / "pipe.dcm"
    os.mkfifo(pipe)  # opening it waits for a writer that never comes
    start = time.monotonic()
    with pytest.raises(UnreadableFile, match="longer than 5 seconds"):
        sandbox.parse(pipe)
    assert time.monotonic() - start < 10
    assert len(sandbox.parse(good)) == 1


def test_file_that_ends_the_child_is_refused_and_the_next_is_read(sandbox, make_slice, monkeypatch):
    good = make_slice()
    sandbox.parse(good)
    real = Child.request

    def killed_meanwhile(child, *args, **keywords):
        os.kill(child.pid, 11)
        time.sleep(0.2)
        raise ChildDied("it ended")

    monkeypatch.setattr(Child, "request", killed_meanwhile)
    with pytest.raises(UnreadableFile, match="ended the reader"):
        sandbox.parse(good)
    monkeypatch.setattr(Child, "request", real)
    assert len(sandbox.parse(good)) == 1


def test_a_batch_is_answered_file_by_file(sandbox, make_slice, tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("Dear reader, " * 50)
    paths = [make_slice(), text, make_slice()]
    answers = sandbox.read_slices(paths)
    assert [answers[0], answers[2]] == [sources.read_slices(paths[0]), sources.read_slices(paths[2])]
    with pytest.raises(UnreadableFile) as direct:
        sources.read_slices(text)
    assert str(answers[1]) == str(direct.value)


def test_a_file_that_takes_too_long_loses_none_of_its_batch(limited, make_slice, tmp_path):
    sandbox, good = limited(parse_timeout_s=5), [make_slice(), make_slice()]
    pipe = tmp_path / "pipe.dcm"
    os.mkfifo(pipe)
    first, late, last = sandbox.read_slices([good[0], pipe, good[1]])
    assert "longer than 5 seconds" in str(late)
    assert [first, last] == [sources.read_slices(path) for path in good]


def test_a_file_that_ends_the_child_loses_none_of_its_batch(sandbox, make_slice, monkeypatch):
    paths, real = [make_slice() for _ in range(3)], Child.request

    def deadly(child, header, *args, **keywords):
        if str(paths[1]) in header["paths"]:
            real(child, {"do": "slices", "paths": []})  # there is a child to end
            os.kill(child.pid, 11)
            while child.pid:
                time.sleep(0.01)
            raise ChildDied("it ended")
        return real(child, header, *args, **keywords)

    monkeypatch.setattr(Child, "request", deadly)
    first, dead, last = sandbox.read_slices(paths)
    assert "ended the reader" in str(dead)
    assert [first, last] == [sources.read_slices(paths[0]), sources.read_slices(paths[2])]


def test_a_child_answers_with_what_it_has_when_a_batch_takes_long(make_slice, monkeypatch):
    monkeypatch.setattr("core.sandbox._BATCH_S", 0.0)
    answer, _ = _slices({"paths": [str(make_slice()), str(make_slice())]})
    assert len(answer["files"]) == 1


def test_file_that_takes_too_much_memory_is_refused(limited, make_slice, tmp_path):
    sandbox, bomb = limited(parse_memory_mb=600), tmp_path / "bomb.nii.gz"
    header = nibabel.Nifti1Header()
    header.set_data_shape((1000, 1000, 200))
    header.set_data_dtype(np.int16)
    header.set_sform(np.eye(4), 1)
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        header.write_to(file)
        for _ in range(101):
            file.write(bytes(4_000_000))
    assert bomb.stat().st_size < 4_000_000
    with pytest.raises(UnreadableFile, match="memory"):
        sandbox.pixels(bomb, 199)
    assert sandbox.pixels(make_slice()).shape == (16, 16)


def test_threads_share_one_sandbox(sandbox, make_slice):
    paths = [make_slice(pixels=np.full((8, 8), n, np.uint16)) for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda path: int(sandbox.pixels(path)[0, 0]), paths)) == list(range(12))
        assert len(set(map(id, pool.map(lambda _: get_sandbox(), range(20))))) == 1


def test_child_that_hangs_ends_itself_when_its_parent_was_killed(tmp_path):
    pipe = tmp_path / "pipe.dcm"
    os.mkfifo(pipe)
    script = (
        "import os, sys, threading, time\n"
        "from core.sandbox import Sandbox\n"
        "sandbox = Sandbox()\n"
        "threading.Thread(target=sandbox.parse, args=(sys.argv[1],), daemon=True).start()\n"
        "while not (pid := sandbox._child.pid): time.sleep(0.05)\n"
        "time.sleep(1.5)\n"
        "print(pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    env = {**os.environ, "SLICESCOPE_PARSE_TIMEOUT_S": "1.9"}
    command = [sys.executable, "-c", script, str(pipe)]
    parent = subprocess.run(command, cwd=PROJECT_DIR, env=env, stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout))
    deadline = time.monotonic() + 8
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:  # nobody may be there to collect it
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_archives_are_unpacked_in_the_child(sandbox, tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as pack:
        pack.writestr("a/1.dcm", b"one")
        pack.writestr("../evil", b"x")
    assert [name for name, _ in sandbox.unpack(archive, tmp_path / "into")] == ["../evil"]
    assert (tmp_path / "into" / "a" / "1.dcm").read_bytes() == b"one"
    with pytest.raises(UnreadableFile, match="neither a zip nor a tar"):
        sandbox.unpack(tmp_path / "into" / "a" / "1.dcm", tmp_path / "again")


def test_an_archive_whose_headers_take_all_memory_is_refused(limited, tmp_path):
    """A tar's extended header is read whole: 1 GB of it packs into some MB."""
    header = tarfile.TarInfo("paxheader")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    archive = tmp_path / "a.tar.gz"
    with gzip.open(archive, "wb", compresslevel=1) as file:
        file.write(header.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(1 << 6):
            file.write(bytes(1 << 24))
    with pytest.raises(UnreadableFile, match="memory"):
        limited(parse_memory_mb=1024).unpack(archive, tmp_path / "into")
