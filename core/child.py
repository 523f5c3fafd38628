"""A warm child process that answers one request at a time, within limits.

Both the sandbox (parsing what users bring) and the inference worker (TensorFlow) are such children:
the web process starts one on first need, asks it, kills it when it is late, and starts the next.

A message is a JSON header and any number of arrays. Nothing is pickled, so a child that was taken
over by a hostile file can at worst answer nonsense::

    [8-byte length][JSON header with "_arrays": [{name, dtype, shape}, ...]][raw bytes of each array]
"""

import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

from core.errors import ChildDied, ChildError, ChildStopped, ChildTimeout, CoreError
from core.settings import PROJECT_DIR

_LENGTH = struct.Struct("<Q")
#: What `interrupt` sends. By itself it does nothing, so a child that is only starting, or that does not look, lives on.
_INTERRUPT = signal.SIGURG


def pack(header: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> list[bytes | memoryview]:
    """Encode one message as buffers to be written one after the other."""
    arrays = {name: np.ascontiguousarray(a) for name, a in (arrays or {}).items()}
    shapes = [{"name": n, "dtype": a.dtype.str, "shape": a.shape} for n, a in arrays.items()]
    text = json.dumps({**header, "_arrays": shapes}).encode()
    # `memoryview.cast` refuses arrays with a zero in their shape, and these have no bytes to send anyway.
    return [_LENGTH.pack(len(text)), text, *(memoryview(a).cast("B") for a in arrays.values() if a.size)]


def unpack(read: Callable[[int], bytes]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Decode one message; ``read(n)`` must return exactly n bytes."""
    header = json.loads(read(_LENGTH.unpack(read(_LENGTH.size))[0]))
    arrays = {}
    for spec in header.pop("_arrays"):
        dtype = np.dtype(spec["dtype"])
        size = int(np.prod(spec["shape"], dtype=np.int64))
        data = read(size * dtype.itemsize) if size else b""
        arrays[spec["name"]] = np.frombuffer(data, dtype).reshape(spec["shape"])
    return header, arrays


class Child:
    """One child process, started on first need and again whenever it has died.

    Parameters
    ----------
    module : str
        Run as ``python -m module``; it must call :func:`serve`.
    memory_mb : int, optional
        Address-space limit (RLIMIT_AS) of the child.
    env : dict of str, optional
        Environment variables added to this process's own.

    Notes
    -----
    Calls from several threads are answered in turn. A child is started with a plain ``exec``, never by
    fork (TensorFlow and threads do not survive one) nor by ``multiprocessing`` (its spawn re-runs
    ``__main__``, which under Streamlit is ``app.py``).
    """

    def __init__(self, module: str, memory_mb: int | None = None, env: dict[str, str] | None = None):
        self.module, self.memory_mb, self.env = module, memory_mb, env or {}
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._answering = self._stopped = False

    @property
    def pid(self) -> int | None:
        """Process id of the live child, or None."""
        process = self._process  # another thread may be ending it
        return process.pid if process and process.poll() is None else None

    def request(
        self, header: dict[str, Any], arrays: dict[str, np.ndarray] | None = None, timeout_s: float = 60.0
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Ask the child and wait for its answer.

        Parameters
        ----------
        header : dict
            JSON values; ``"do"`` names the handler.
        arrays : dict of ndarray, optional
            Arrays that travel beside the header.
        timeout_s : float
            Seconds, counted from when the child starts on this request.

        Returns
        -------
        header : dict
        arrays : dict of ndarray

        Raises
        ------
        ChildTimeout, ChildDied, ChildStopped
            The child was killed or ended; the next request starts a fresh one.
        ChildError
            The handler refused with a `CoreError`; ``error.kind`` is that error's class name.
        """
        with self._lock:
            process = self._start()
            self._answering, self._stopped = True, False
            deadline = time.monotonic() + timeout_s
            try:
                self._write(process, pack(header, arrays), deadline)
                answer, out = unpack(lambda n: self._read(process, n, deadline))
            except ChildError:
                self._kill()
                raise
            except BaseException:
                # A KeyboardInterrupt or a garbled answer leaves the pipe out of step.
                self._kill()
                raise
            finally:
                self._answering = False
        if "error" in answer:
            error = ChildError(answer["error"])
            error.kind = answer["kind"]
            raise error
        return answer, out

    def stop(self) -> None:
        """End the request that is being answered, from another thread; there it raises `ChildStopped`."""
        process = self._process
        if self._answering and process is not None:
            self._stopped = True
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the child; the next request would start a new one."""
        with self._lock:
            self._kill()

    def _start(self) -> subprocess.Popen:
        if self._process is None or self._process.poll() is not None:
            self._kill()
            limit = [str(self.memory_mb)] if self.memory_mb else []
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, *limit],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=PROJECT_DIR,
                env={**os.environ, **self.env},
                start_new_session=True,
            )
            os.set_blocking(self._process.stdout.fileno(), False)
            os.set_blocking(self._process.stdin.fileno(), False)
        return self._process

    def _kill(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            with suppress(ProcessLookupError):  # it may end between the poll and the kill
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._process = None

    def _write(self, process: subprocess.Popen, buffers: list, deadline: float) -> None:
        fd = process.stdin.fileno()
        for buffer in buffers:
            view = memoryview(buffer)
            while view:
                self._wait([], [fd], deadline)
                try:
                    view = view[os.write(fd, view[: 1 << 20]) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    raise self._died(process) from None

    def _read(self, process: subprocess.Popen, n: int, deadline: float) -> bytes:
        fd, parts, missing = process.stdout.fileno(), [], n
        while missing:
            self._wait([fd], [], deadline)
            try:
                part = os.read(fd, min(missing, 1 << 20))
            except BlockingIOError:
                continue
            if not part:
                raise self._died(process)
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _wait(self, readers: list[int], writers: list[int], deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or not any(select.select(readers, writers, [], left)):
            raise ChildTimeout(f"{self.module} took longer than its time limit and was stopped.")

    def _died(self, process: subprocess.Popen) -> ChildError:
        if self._stopped:
            return ChildStopped(f"{self.module} was stopped before it answered.")
        try:
            code = process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = None
        return ChildDied(f"{self.module} ended before it answered (exit status {code}), perhaps out of memory.")


def interrupt(pid: int | None) -> None:
    """Ask a child to leave off what it answers. Unlike `Child.stop` this leaves it warm, but its handler must look."""
    if pid is not None:
        with suppress(ProcessLookupError):  # it may have ended just now
            os.kill(pid, _INTERRUPT)


def interruptible() -> Callable[[], None]:
    """Return what a handler calls between its steps: after an `interrupt` it raises `ChildStopped`."""
    heard = []
    signal.signal(_INTERRUPT, lambda *_: heard.append(True))
    # Libraries in C may not know that a system call can be cut short.
    signal.siginterrupt(_INTERRUPT, False)

    def look() -> None:
        if heard:
            raise ChildStopped("It was left off, for nobody waits for it any more.")

    return look


def serve(handlers: dict[str, Callable[..., tuple[dict, dict[str, np.ndarray]]]]) -> None:
    """Answer requests on standard input until it closes; the other half of :class:`Child`.

    Parameters
    ----------
    handlers : dict of callable
        ``handlers[header["do"]](header, arrays)`` returns the answer's header and arrays. A `CoreError`
        is sent back as an answer; any other exception ends the process with its traceback.
    """
    if len(sys.argv) > 1:
        limit = int(sys.argv[1]) << 20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    source = sys.stdin.buffer
    # Libraries print to standard output (tf-keras-vis, C code); keep the pipe for answers alone.
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            header, arrays = unpack(lambda n: _read_exactly(source, n))
        except EOFError:
            return
        try:
            answer = handlers[header["do"]](header, arrays)
        except CoreError as error:
            answer = {"error": str(error), "kind": type(error).__name__}, {}
        except MemoryError:
            answer = {"error": "it needs more memory than is allowed", "kind": "MemoryError"}, {}
        for buffer in pack(*answer):
            sink.write(buffer)
        sink.flush()


def _read_exactly(source: BinaryIO, n: int) -> bytes:
    data = source.read(n)
    if len(data) < n:
        raise EOFError
    return data
