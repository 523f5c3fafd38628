"""Parsing what users bring, in a child process with little memory and little time.

A file that kills or outlasts the child is refused like any other unreadable one; the next file gets a fresh child.
"""

import functools
import hashlib
import logging
import math
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from core.child import Child, serve
from core.errors import ChildDied, ChildError, ChildTimeout, UnopenedFile, UnreadableFile
from core.settings import get_settings

_T, _R = TypeVar("_T"), TypeVar("_R")

#: What is said of a file: its slices as `core.sources.read_slices` gives them, or why there are none.
Answer = list[tuple[str, dict[str, Any]]] | UnreadableFile
_KINDS = {kind.__name__: kind for kind in UnreadableFile.__subclasses__()}

#: Seconds after the time limit at which a child ends itself, should nobody be left to end it.
_GRACE_S = 2
#: Seconds after which a child answers with what it has read of a batch.
_BATCH_S = 1.0
#: Requests that wait for each sandbox, so that none is idle.
_AHEAD = 8
#: What a slow disk writes of an archive's many small files.
_UNPACKED_MB_PER_S = 20


@functools.cache
def thumbnail_recipe() -> str:
    """Name how pixels become thumbnails: what was made before a change of it must not pass for what is made now."""
    return hashlib.sha256(Path(__file__).with_name("images.py").read_bytes()).hexdigest()[:16]


def _unpack_timeout_s() -> float:
    """An archive of the largest size that is let in, on a slow disk, takes longer than one file."""
    settings = get_settings()
    return settings.parse_timeout_s + settings.max_upload_mb / _UNPACKED_MB_PER_S


def answer_to_json(answer: Answer, shared: dict[str, int]) -> list | dict:
    """Make JSON of what is said of a file; `shared` learns the texts that many slices have in common."""
    if isinstance(answer, UnreadableFile):
        return {"kind": type(answer).__name__, "error": str(answer)}
    return [(shared.setdefault(text, len(shared)), own) for text, own in answer]


def answer_from_json(answer: list | dict, shared: Sequence[str]) -> Answer:
    """Give back what `answer_to_json` was given."""
    if isinstance(answer, dict):
        return _KINDS.get(answer["kind"], UnreadableFile)(answer["error"])
    return [(shared[index], own) for index, own in answer]


class Sandbox:
    """One child that parses files; threads may share it and are answered in turn.

    Its child starts with the first file and ends with `close`, or with the process that it belongs to.
    """

    def __init__(self):
        settings = get_settings()
        self._timeout_s = settings.parse_timeout_s
        # One thread is enough for a child that is one of several, and BLAS reserves address space for each.
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._child = Child("core.sandbox", memory_mb=settings.parse_memory_mb, env=threads)

    def parse(self, path: Path) -> list[dict[str, Any]]:
        """Read the headers of a file's slices; see `core.sources.read_headers`.

        Raises
        ------
        UnreadableFile
            With the file's own reason, or because reading it took too long, too much memory or the child's life.
        """
        return self._ask({"do": "headers", "path": str(path)})[0]["headers"]

    def read_slices(self, paths: Sequence[Path]) -> list[Answer]:
        """Read what rows are made of, of several files at one go; see `core.sources.read_slices`.

        Returns
        -------
        list of Answer
            One a file. A file that ends or outlasts the child takes none of its neighbours with it: all that were
            asked for with it are asked for again, one by one, each within the limits of one file.
        """
        answers: list[Answer] = []
        while len(answers) < len(paths):
            rest = paths[len(answers) :]
            try:
                answers += self._ask_slices(rest, self._timeout_s + _BATCH_S)
            except UnreadableFile:
                answers += [self._ask_alone(path) for path in rest]
        return answers

    def _ask_alone(self, path: Path) -> Answer:
        try:
            return self._ask_slices([path])[0]
        except UnreadableFile as error:
            return error

    def _ask_slices(self, paths: Sequence[Path], timeout_s: float | None = None) -> list[Answer]:
        """Ask about several files; the answers may be fewer, for the child stops after `_BATCH_S`."""
        answer, _ = self._ask({"do": "slices", "paths": [str(path) for path in paths]}, timeout_s)
        return [answer_from_json(one, answer["shared"]) for one in answer["files"]]

    def pixels(self, path: Path, frame: int = 0) -> np.ndarray:
        """Decode one slice, float32 (rows, columns); see `core.sources.read_pixels`.

        Raises
        ------
        UnreadableFile
            As `parse`.
        """
        return self._ask({"do": "pixels", "path": str(path), "frame": int(frame)})[1]["pixels"]

    def thumbnail(
        self,
        path: Path,
        frame: int = 0,
        size: int = 96,
        pixel_spacing_mm: tuple[float, float] | None = None,
        whole: bool = False,
    ) -> np.ndarray:
        """Decode one slice and shrink it, so that little passes between the processes.

        Parameters
        ----------
        path : Path
        frame : int
            As in `core.sources.read_headers`.
        size : int
            Side in pixels.
        pixel_spacing_mm : (float, float), optional
            Distance between rows and between columns.
        whole : bool
            All of the slice instead of its head.

        Returns
        -------
        ndarray of uint8, shape (size, size)
            What models see of the slice: the square around the head, black beyond the slice.

        Raises
        ------
        UnreadableFile
            As `parse`.
        """
        spacing = None if pixel_spacing_mm is None else [float(mm) for mm in pixel_spacing_mm]
        request = {"do": "thumbnail", "path": str(path), "frame": int(frame), "size": int(size), "spacing": spacing}
        return self._ask({**request, "whole": bool(whole)})[1]["thumbnail"]

    def attributes(self, path: Path, frame: int = 0, identity: bool = False) -> list[dict[str, str]]:
        """List a slice's header, as `header_table.read_attributes` does; what is hidden never leaves the child.

        Raises
        ------
        UnreadableFile
            As `parse`.
        """
        request = {"do": "attributes", "path": str(path), "frame": int(frame), "identity": bool(identity)}
        return self._ask(request)[0]["attributes"]

    def unpack(self, archive: Path, into: Path) -> list[tuple[str, str]]:
        """Unpack an archive; see `core.sources.unpack_archive`.

        Returns
        -------
        list of (str, str)
            Name and reason of each member that was refused.

        Raises
        ------
        UnreadableFile
            As `parse`; what was unpacked by then is left where it is.
        """
        request = {"do": "unpack", "path": str(archive), "into": str(into)}
        refused = self._ask(request, _unpack_timeout_s())[0]["refused"]
        return [(name, reason) for name, reason in refused]

    def label_table(self, path: Path) -> dict[str, list[str]]:
        """Read the columns of a label table; see `core.labelling.label_tables.parse`.

        Raises
        ------
        UnreadableFile
            As `parse`.
        """
        return self._ask({"do": "label_table", "path": str(path)})[0]["columns"]

    def close(self) -> None:
        """End the child; another file would start a new one."""
        self._child.close()

    def _ask(
        self, request: dict[str, Any], timeout_s: float | None = None
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        limit_s = timeout_s or self._timeout_s
        try:
            return self._child.request(request, timeout_s=limit_s)
        except ChildTimeout:
            raise UnreadableFile(f"Reading it took longer than {limit_s:g} seconds and was stopped.") from None
        except ChildDied:
            raise UnreadableFile("Reading it ended the reader, most likely for want of memory.") from None
        except ChildError as error:
            if getattr(error, "kind", "") == "MemoryError":
                raise UnreadableFile("Reading it takes more memory than is allowed.") from None
            if getattr(error, "kind", "") == "UnopenedFile":
                raise UnopenedFile(str(error)) from None
            raise UnreadableFile(str(error)) from None


class Sandboxes:
    """Several sandboxes side by side, one a thread; use it in a ``with``, which ends their children.

    Parameters
    ----------
    workers : int
        At least 1.
    """

    def __init__(self, workers: int):
        self._workers = max(1, workers)
        self._mine, self._all = threading.local(), []
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="sandbox")

    def map(self, do: Callable[[Sandbox, _T], _R], items: Sequence[_T]) -> Iterator[_R]:
        """Give ``do(sandbox, item)`` for each item, in order."""

        def one(item: _T) -> _R:
            if not hasattr(self._mine, "sandbox"):
                self._mine.sandbox = Sandbox()
                self._all.append(self._mine.sandbox)
            return do(self._mine.sandbox, item)

        # No more at a time, because the pool would otherwise hold all answers that are not asked for yet.
        running: deque[Future[_R]] = deque()
        for item in items:
            running.append(self._pool.submit(one, item))
            if len(running) > _AHEAD * self._workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for sandbox in self._all:
            sandbox.close()


_only: list[Sandbox] = []
_only_lock = threading.Lock()


def get_sandbox() -> Sandbox:
    """Return the sandbox that all threads of this process share; its child starts on first use."""
    with _only_lock:
        if not _only:
            _only.append(Sandbox())
        return _only[0]


def _headers(request: dict[str, Any]) -> tuple[dict, dict[str, np.ndarray]]:
    from core import sources

    return {"headers": sources.read_headers(Path(request["path"]))}, {}


def _slices(request: dict[str, Any]) -> tuple[dict, dict[str, np.ndarray]]:
    from core import sources

    late, shared, files = time.monotonic() + _BATCH_S, {}, []
    for path in request["paths"]:
        try:
            answer = sources.read_slices(Path(path))
        except UnreadableFile as error:
            answer = error
        files.append(answer_to_json(answer, shared))
        if time.monotonic() > late:
            break
    return {"shared": list(shared), "files": files}, {}


def _pixels(request: dict[str, Any]) -> tuple[dict, dict[str, np.ndarray]]:
    from core import sources

    return {}, {"pixels": sources.read_pixels(Path(request["path"]), request["frame"])}


def _thumbnail(request: dict[str, Any]) -> tuple[dict, dict[str, np.ndarray]]:
    from core import images, sources

    pixels = sources.read_pixels(Path(request["path"]), request["frame"])
    shown, _ = images.to_model_input(pixels, request["spacing"], request["size"], request["whole"])
    return {}, {"thumbnail": np.round(shown * 255).astype(np.uint8)}


def _attributes(request: dict[str, Any]) -> tuple[dict, dict[str, np.ndarray]]:
    from core.cohorts import header_table

    rows = header_table.read_attributes(Path(request["path"]), request["frame"], request["identity"])
    return {"attributes": rows}, {}


def _unpack(request: dict[str, Any]) -> tuple[dict, dict[str, np.ndarray]]:
    from core import sources

    return {"refused": sources.unpack_archive(Path(request["path"]), Path(request["into"]))}, {}


def _label_table(request: dict[str, Any]) -> tuple[dict, dict[str, np.ndarray]]:
    from core.labelling import label_tables

    return {"columns": label_tables.parse(Path(request["path"]))}, {}


def _limited(handler: Callable[[dict], tuple[dict, dict]], limit_s: float) -> Callable[[dict, dict], tuple[dict, dict]]:
    """Let the system end this process when it is late and whoever should have ended it is gone."""

    def answer(request: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[dict, dict[str, np.ndarray]]:
        # Python handles no SIGALRM here, so it also ends a loop inside a decoder's C code.
        signal.alarm(math.ceil(limit_s) + _GRACE_S)
        try:
            return handler(request)
        finally:
            signal.alarm(0)

    return answer


if __name__ == "__main__":
    # A library's warning quotes the value that it dislikes, and the path; either may name a patient.
    warnings.simplefilter("ignore")
    logging.disable()
    one_file = {
        "headers": _headers,
        "slices": _slices,
        "pixels": _pixels,
        "thumbnail": _thumbnail,
        "label_table": _label_table,
        "attributes": _attributes,
    }
    handlers = {name: _limited(handler, get_settings().parse_timeout_s) for name, handler in one_file.items()}
    serve({**handlers, "unpack": _limited(_unpack, _unpack_timeout_s())})
