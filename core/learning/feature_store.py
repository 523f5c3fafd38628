"""A store of arrays by what they were computed from, on disk, so that nothing is computed twice.

::

    <folder>/<token>.chunk    keys (n, 16) uint8, checksums (n,) uint32, arrays (n, ...), one .npy after the other

A chunk is written once and whole, and never changed: readers need no lock, a writer that is killed loses the chunk
it was at, and two writers at worst compute the same twice. What a call has added is joined into few large chunks at
its end, so that opening a store of 100,000 arrays means reading a handful of files. Each array has a checksum; a
chunk that fails one is dropped, and what it held computed again. What `shared` keeps is bounded: beyond
``cache_mb`` of the settings the chunks that were used longest ago go.
"""

import errno
import fcntl
import hashlib
import os
import secrets
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from core.cohorts.slice_table import replaced
from core.errors import StorageFull
from core.settings import get_settings

Compute = Callable[[np.ndarray], np.ndarray]
Report = Callable[[int, int], None]

#: Arrays that are computed, and may be lost, at a time.
_CHUNK = 256
#: Bytes of arrays in one file after joining: few files, and no eviction throws away too much at once.
_JOINED = 64 << 20
#: A chunk's time of use is noted when the last note is older, in seconds.
_NOTED_S = 60
#: Age at which what a killed writer left behind is swept up, in seconds.
_ABANDONED_S = 3600


def shared(name: str, keys: Sequence[str], compute: Compute, report: Report | None = None) -> np.ndarray:
    """As `stored`, in the workspace's store `name`, which all runs share and whose size is bounded."""
    root = get_settings().features_dir
    try:
        answer, added = _stored(root / name, keys, compute, report)
    except StorageFull:
        # What is kept for speed must not be what fills the disk.
        bound(root, _size(root) // 2)
        answer, added = _stored(root / name, keys, compute, report)
    if added:
        bound(root, get_settings().cache_mb << 20)
    return answer


def stored(folder: Path, keys: Sequence[str], compute: Compute, report: Report | None = None) -> np.ndarray:
    """Return one array a key, computing only those that `folder` does not hold yet.

    Parameters
    ----------
    folder : Path
        Goes with what it belongs to; nothing in it is ever evicted.
    keys : sequence of str
        Names of contents: equal keys mean equal arrays.
    compute : callable
        Takes positions (m,) in `keys` and returns (m, ...); all arrays of a store have one shape and type.
    report : callable, optional
        Called with (done, total) after each chunk; what it raises ends the work, and what is done is kept.

    Returns
    -------
    ndarray
        (n, ...), in the order of `keys`.

    Raises
    ------
    StorageFull
        When the disk has no room for more.
    """
    return _stored(folder, keys, compute, report)[0]


def bound(root: Path, limit: int) -> None:
    """Delete the chunks under `root` that were used longest ago, until the others take at most `limit` bytes."""
    with _alone(root) as alone:
        if not alone:
            return  # another process is at it
        files = []
        for path, stat in _files(root):
            if path.suffix == ".tmp":
                if time.time() - stat.st_mtime > _ABANDONED_S:
                    path.unlink(missing_ok=True)
            elif path.name != _LOCK:
                files.append((stat.st_atime_ns, path, stat.st_size))
        room = limit - sum(size for _, _, size in files)
        for _, path, size in sorted(files):
            if room >= 0:
                break
            path.unlink(missing_ok=True)
            room += size


# Chunks ---------------------------------------------------------------------------------------------------

_LOCK = ".lock"


@dataclass(frozen=True)
class _Chunk:
    """Where the arrays of a file lie in it, and what they are."""

    path: Path
    keys: list[bytes]
    sums: np.ndarray
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """Read rows.

        Raises
        ------
        OSError, ValueError
            When the file is gone, cut short, or holds something else than was written.
        """
        # A file that is shorter than what is mapped of it would end the process.
        whole = self.offset + int(np.prod(self.shape)) * self.dtype.itemsize
        if self.path.stat().st_size != whole:
            raise ValueError("It is cut short.")
        arrays = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)[rows]
        if any(zlib.crc32(array) != sum_ for array, sum_ in zip(arrays, self.sums[rows].tolist(), strict=True)):
            raise ValueError("It is damaged.")
        return arrays


@lru_cache(maxsize=2048)
def _opened(path: Path) -> _Chunk:
    """Read all of a chunk but its arrays; its name is used for nothing else ever, so this may be remembered."""
    with path.open("rb") as file:
        keys = np.lib.format.read_array(file, allow_pickle=False)
        sums = np.lib.format.read_array(file, allow_pickle=False)
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError("It is of another version.")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        offset = file.tell()
    if not (keys.ndim == 2 and keys.dtype == np.uint8 and len(keys) == len(sums) == shape[0]) or dtype.hasobject:
        raise ValueError("It is no chunk.")
    return _Chunk(path, _split(keys.tobytes()), sums, shape, dtype, offset)


def _split(digests: bytes) -> list[bytes]:
    return [digests[start : start + 16] for start in range(0, len(digests), 16)]


def _digests(keys: Iterable[str]) -> list[bytes]:
    return [hashlib.blake2b(key.encode(), digest_size=16).digest() for key in keys]


def _write(folder: Path, digests: Sequence[bytes], arrays: np.ndarray) -> Path:
    path = folder / f"{secrets.token_hex(8)}.chunk"
    arrays = np.ascontiguousarray(arrays)
    sums = np.array([zlib.crc32(array) for array in arrays], np.uint32)
    try:
        with replaced(path) as fresh, fresh.open("wb") as file:
            np.save(file, np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16))
            np.save(file, sums)
            np.save(file, arrays)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageFull(
            "The disk that holds the workspace is full, so that features cannot be kept. Make room, or move the "
            "workspace to a larger disk (SLICESCOPE_WORKSPACE); what is done is kept."
        ) from None
    return path


def _chunks(folder: Path) -> list[_Chunk]:
    """Open what a folder holds; what cannot be opened is damaged, and goes."""
    chunks = []
    for path in sorted(folder.glob("*.chunk")):
        try:
            chunks.append(_opened(path))
        except FileNotFoundError:
            continue
        except Exception:
            # Of damaged bytes, NumPy's reader can make nearly any error.
            path.unlink(missing_ok=True)
    return chunks


def _used(path: Path) -> None:
    stat = path.stat()
    if time.time() - stat.st_atime > _NOTED_S:
        os.utime(path, ns=(time.time_ns(), stat.st_mtime_ns))


# One call -------------------------------------------------------------------------------------------------


@dataclass
class _Answer:
    """The arrays of one call, as they come in."""

    n: int
    arrays: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))

    def put(self, positions: np.ndarray, arrays: np.ndarray) -> None:
        if not len(self.arrays):
            self.arrays = np.empty((self.n, *arrays.shape[1:]), arrays.dtype)
        if not self.fits(arrays):
            raise ValueError("It holds arrays of another kind.")
        self.arrays[positions] = arrays

    def fits(self, arrays: np.ndarray) -> bool:
        same = arrays.shape[1:] == self.arrays.shape[1:] and arrays.dtype == self.arrays.dtype
        return same or not len(self.arrays)


def _stored(folder: Path, keys: Sequence[str], compute: Compute, report: Report | None) -> tuple[np.ndarray, bool]:
    """Return the arrays, and whether any had to be computed."""
    folder.mkdir(parents=True, exist_ok=True)
    digests, answer = _digests(keys), _Answer(len(keys))
    first = dict(zip(reversed(digests), range(len(digests) - 1, -1, -1), strict=True))
    source = np.array([first[digest] for digest in digests], np.intp)
    missing = _gather(folder, first, answer)
    done = len(keys) - len(missing)
    for start in range(0, len(missing), _CHUNK):
        part = np.array(missing[start : start + _CHUNK])
        arrays = np.asarray(compute(part))
        _write(folder, [digests[position] for position in part], arrays)
        if not answer.fits(arrays) and len(missing) < len(first):
            # What is here is of an older kind, whose name should have differed.
            for chunk in _chunks(folder):
                chunk.path.unlink(missing_ok=True)
            return _stored(folder, keys, compute, report)
        answer.put(part, arrays)
        done += len(part)
        if report:
            report(done, len(keys))
    if len(missing):
        _join(folder)
    twice = np.flatnonzero(source != np.arange(len(keys)))
    answer.arrays[twice] = answer.arrays[source[twice]]
    return answer.arrays, bool(missing)


def _gather(folder: Path, first: dict[bytes, int], answer: _Answer) -> list[int]:
    """Fill in what the folder holds; returns the positions of what it does not."""
    missing = dict(first)
    for chunk in _chunks(folder):
        found = [(missing[key], row) for row, key in enumerate(chunk.keys) if key in missing]
        if not found:
            continue
        positions, rows = np.array(found).T
        try:
            answer.put(positions, chunk.rows(rows))
            _used(chunk.path)
        except FileNotFoundError:
            continue  # evicted, or joined with others, a moment ago
        except (OSError, ValueError):
            chunk.path.unlink(missing_ok=True)
            continue
        for row in rows:
            missing.pop(chunk.keys[row], None)  # two writers may have made it, and joining kept both
    return sorted(missing.values())


def _join(folder: Path) -> None:
    """Join small chunks into few large ones."""
    with _alone(folder) as alone:
        if not alone:
            return
        small = [chunk for chunk in _chunks(folder) if len(chunk.keys) <= _CHUNK]
        for group in _groups(small) if len(small) > 1 else ():
            try:
                arrays = [chunk.rows(np.arange(len(chunk.keys))) for chunk in group]
                _write(folder, [key for chunk in group for key in chunk.keys], np.concatenate(arrays))
            except (OSError, ValueError, StorageFull):
                continue  # they are as good as they were
            for chunk in group:
                chunk.path.unlink(missing_ok=True)


def _groups(chunks: list[_Chunk]) -> Iterator[list[_Chunk]]:
    """Part chunks into groups of one shape and type and at most `_JOINED` bytes, with at least two in each."""
    group: list[_Chunk] = []
    kind, size = None, 0
    for chunk in sorted(chunks, key=lambda chunk: str((chunk.shape[1:], chunk.dtype))):
        more = int(np.prod(chunk.shape)) * chunk.dtype.itemsize
        if group and ((chunk.shape[1:], chunk.dtype) != kind or size + more > _JOINED):
            if len(group) > 1:
                yield group
            group, size = [], 0
        kind = chunk.shape[1:], chunk.dtype
        group.append(chunk)
        size += more
    if len(group) > 1:
        yield group


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Tell whether this is the only process that tidies up a folder; a process that is killed lets go of it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def _files(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in root.rglob("*"):
        try:
            stat = path.stat()
        except OSError:
            continue
        if path.is_file():
            yield path, stat


def _size(root: Path) -> int:
    return sum(stat.st_size for _, stat in _files(root))
