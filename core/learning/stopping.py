"""SIGTERM as a question that the work may ask, and a deadline that it cannot miss."""

import os
import signal
import threading
from collections.abc import Callable
from typing import Self

#: Seconds that the work has to end by itself; whoever asked it to waits a little longer (`core.jobs.GRACE_S`).
GRACE_S = 2.5
#: Seconds that a file which is being put in place may still take after that.
_PATIENCE_S = 1.0

#: Held while files that belong together are put in place, so that no deadline falls between them.
together = threading.RLock()


class StopSignal:
    """Learn of SIGTERM while the main thread is busy, and end the process when that takes too long.

    Python runs a signal's handler between two steps of the main thread, and one batch of a large network is one
    step. So the system's own handler wakes a second thread, which waits for the deadline.

    Parameters
    ----------
    give_up : callable
        Called in that second thread at the deadline, before the process ends with status 0.

    Examples
    --------
    >>> with StopSignal(lambda: None) as stop:
    ...     stop.is_set()
    False
    """

    def __init__(self, give_up: Callable[[], None]):
        self._give_up = give_up
        self._asked, self._over = threading.Event(), threading.Event()

    def is_set(self) -> bool:
        """Whether somebody asked the process to end."""
        return self._asked.is_set()

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._handler = signal.signal(signal.SIGTERM, lambda number, frame: self._asked.set())
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._wait, name="stop-signal", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        signal.set_wakeup_fd(self._wakeup)
        signal.signal(signal.SIGTERM, self._handler)
        os.close(self._write)
        self._thread.join()
        os.close(self._read)

    def _wait(self) -> None:
        while (number := os.read(self._read, 1)) and number[0] != signal.SIGTERM:
            pass
        if not number:
            return
        self._asked.set()
        if self._over.wait(GRACE_S):
            return
        # A writer that hangs holds the lock for ever.
        together.acquire(timeout=_PATIENCE_S)
        if not self._over.is_set():
            self._give_up()
            os._exit(0)
