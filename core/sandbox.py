"""Parsing what users bring, in a child process with little memory and little time.

A file that kills or outlasts the child is rejected like any other unreadable one; the next file gets a fresh child.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from core.child import Child, serve
from core.errors import ChildDied, ChildError, ChildTimeout, UnreadableFile
from core.settings import get_settings


class Sandbox:
    """One child that parses files; threads may share it and are answered in turn."""

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
        """
        return self._ask({"do": "headers", "path": str(path)})[0]["headers"]

    def pixels(self, path: Path, frame: int = 0) -> np.ndarray:
        """Decode one slice, float32 (rows, columns); see `core.sources.read_pixels`.

        Raises
        ------
        UnreadableFile
        """
        return self._ask({"do": "pixels", "path": str(path), "frame": int(frame)})[1]["pixels"]

    def close(self) -> None:
        """End the child."""
        self._child.close()

    def _ask(self, request: dict[str, Any]):
        try:
            return self._child.request(request, timeout_s=self._timeout_s)
        except ChildTimeout:
            raise UnreadableFile(f"Reading it took longer than {self._timeout_s:g} seconds.") from None
        except ChildDied:
            raise UnreadableFile("Reading it made the reader fail, most likely for want of memory.") from None
        except ChildError as error:
            raise UnreadableFile(str(error)) from None


@functools.cache
def get_sandbox() -> Sandbox:
    """Return this process's sandbox for single files; its child starts on first use."""
    return Sandbox()


def _headers(request, arrays):
    from core import sources

    return {"headers": sources.read_headers(Path(request["path"]))}, {}


def _pixels(request, arrays):
    from core import sources

    return {}, {"pixels": sources.read_pixels(Path(request["path"]), request["frame"])}


if __name__ == "__main__":
    serve({"headers": _headers, "pixels": _pixels})
