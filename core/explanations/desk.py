"""A desk where slices are handed in and maps, badges or answers are fetched later: one thread a desk, nobody waits.

Each client (a browser's session) has one list of what it waits for, the most urgent first, and may replace it at any
time. The thread takes the first of a new list alone, so that it is soon there, then the others in batches; clients
take turns. What two ask for is made once. Work that nobody waits for any more is stopped.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.explanations.badge import Badge
from core.explanations.question import Question
from core.images import Geometry, from_model_grid

#: Slices of one batch at most, and how long a batch should take at most, in seconds: a reader who moves on to another
#: slice waits for the batch that is being made.
_BATCH, _BATCH_S = 8, 3.0
#: A client that was not heard of for so long has gone, in seconds.
_GONE_S = 20.0
#: Work that nobody waits for is let run to its end for so long, for stopping it costs a fresh start of the process.
_GRACE_S = 8.0
#: Bytes of results that are kept at hand.
_KEPT = 128 << 20


@dataclass(frozen=True)
class Layers:
    """Asks for the layers that maps of a head can be made at."""

    head: str


@dataclass(frozen=True)
class Ask:
    """One slice, one model, one question.

    Attributes
    ----------
    bundle : Path
    stamp : str
        Of the model, as `map_store.stamp` gives it.
    question : Question, Layers or None
        None asks for the model's answer.
    slice_id : str
        Stands for the pixels: another file, or a changed one, has another. `Layers` need none.
    read : callable, optional
        Gives the slice as the model sees it, with its geometry; called in the desk's thread.
    """

    bundle: Path
    stamp: str
    question: Question | Layers | None
    slice_id: str = ""
    read: Callable[[], tuple[np.ndarray, Geometry]] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self):
        # A page looks up hundreds of asks whenever it is drawn.
        object.__setattr__(self, "_hash", hash((*self.kind, self.slice_id)))

    def __hash__(self) -> int:
        return self._hash

    @property
    def kind(self) -> tuple:
        """What asks of one batch share."""
        return self.bundle, self.stamp, self.question


@dataclass(frozen=True, eq=False)
class Made:
    """The map of a slice, on the model's grid.

    Attributes
    ----------
    heat : ndarray of float16, shape (S, S)
        From 0 to 1.
    spread : ndarray of float16 or None
        Standard deviation over Monte-Carlo passes.
    geometry : Geometry
    target : str
        Class that the map is of.
    layer : str
    """

    heat: np.ndarray
    spread: np.ndarray | None
    geometry: Geometry
    target: str
    layer: str

    @property
    def nbytes(self) -> int:
        return self.heat.nbytes + (0 if self.spread is None else self.spread.nbytes)

    def on_slice(self, spread: bool = False) -> np.ndarray:
        """Bring the map, or its spread, to the slice's own grid: (rows, columns) of float32, 0 where it is not seen."""
        values = self.spread if spread else self.heat
        return from_model_grid(values.astype(np.float32), self.geometry)


@dataclass(frozen=True, eq=False)
class Answered:
    """What the model says of a slice: calibrated probabilities of each head."""

    heads: dict[str, np.ndarray]
    nbytes: int = 1024


@dataclass(frozen=True, eq=False)
class Judged:
    """Whether the map of a slice may be believed."""

    badge: Badge
    nbytes: int = 4096


@dataclass(frozen=True, eq=False)
class Named:
    """Layers that maps can be made at, the coarsest last; none for a model without convolution."""

    layers: tuple[str, ...]
    nbytes: int = 256


@dataclass(frozen=True, eq=False)
class Failed:
    """Why there is none, in a sentence."""

    why: str
    nbytes: int = 256


@dataclass(frozen=True)
class Waiting:
    """How much a client waits for.

    Attributes
    ----------
    n : int
    seconds : float or None
        About how long yet; None before the pace is known.
    """

    n: int
    seconds: float | None


Result = Made | Answered | Judged | Named | Failed
#: Makes one result an ask; None where the work was stopped.
Work = Callable[[Sequence[Ask]], list[Result | None]]


@dataclass
class _List:
    asks: list[Ask]
    lead: Ask | None
    heard: float
    served: float = 0.0
    fresh: bool = True


class Desk:
    """Where asks are handed in.

    Parameters
    ----------
    work : callable
        Makes the results of a batch of one kind, in the desk's thread.
    stop : callable
        Ends the work of the present batch, from another thread.
    grace_s : float
        How long work that nobody waits for goes on.
    """

    def __init__(self, work: Work, stop: Callable[[], None], grace_s: float = _GRACE_S):
        self._work, self._stop, self._grace_s = work, stop, grace_s
        self._turn = threading.Condition()
        self._lists: dict[str, _List] = {}
        self._kept: OrderedDict[Ask, Result | Exception] = OrderedDict()
        self._size = 0
        self._running: tuple[Ask, ...] = ()
        self._pace: dict[tuple, float] = {}
        self._thread: threading.Thread | None = None

    def want(self, client: str, asks: Sequence[Ask]) -> None:
        """Say what a client waits for, the most urgent first; this takes the place of what it said before."""
        with self._turn:
            lead, old = next(iter(asks), None), self._lists.get(client)
            asks = [ask for ask in dict.fromkeys(asks) if ask not in self._kept]
            # A reader who asks for the same again must not make every batch a batch of one.
            fresh = old is None or old.fresh or (lead != old.lead and lead in asks)
            self._lists[client] = _List(asks, lead, time.monotonic(), old.served if old else 0.0, fresh)
            self._let_go(self._grace_s)
            if asks and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._serve, name="desk", daemon=True)
                self._thread.start()
            self._turn.notify()

    def cancel(self, client: str) -> None:
        """Let a client wait for nothing any more; what is being made for it alone is stopped soon."""
        with self._turn:
            self._lists.pop(client, None)
            self._let_go(min(0.5, self._grace_s))

    def found(self, ask: Ask) -> Result | None:
        """Return what came of an ask, or None while it is not there.

        Raises
        ------
        Exception
            What the work raised, unless it was a `CoreError`: a bug shows itself to whoever asks.
        """
        with self._turn:
            result = self._kept.get(ask)
            if result is not None:
                self._kept.move_to_end(ask)
        if isinstance(result, Exception):
            raise result
        return result

    def forget(self, asks: Sequence[Ask]) -> None:
        """Forget what failed, so that it is tried again."""
        with self._turn:
            for ask in asks:
                if isinstance(self._kept.get(ask), Failed | Exception):
                    self._size -= getattr(self._kept.pop(ask), "nbytes", 0)

    def waiting(self, client: str) -> Waiting:
        """Say how much a client waits for, and about how long."""
        with self._turn:
            asks = self._lists[client].asks if client in self._lists else []
            paces = [self._pace.get(_pace_of(ask)) for ask in asks]
            return Waiting(len(asks), None if None in paces else sum(paces))

    # The thread ------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            with self._turn:
                batch = self._next()
                while not batch:
                    self._turn.wait()
                    batch = self._next()
                self._running = batch
            started = time.monotonic()
            try:
                results: list = self._work(batch)
            except Exception as error:
                logging.getLogger(__name__).exception("The desk's work failed.")
                results = [error] * len(batch)
            spent = (time.monotonic() - started) / len(batch)
            with self._turn:
                self._put(batch, results, spent)
                self._running = ()

    def _next(self) -> tuple[Ask, ...]:
        now = time.monotonic()
        self._lists = {client: one for client, one in self._lists.items() if now - one.heard < _GONE_S}
        open_lists = [one for one in self._lists.values() if one.asks]
        if not open_lists:
            return ()
        one = min(open_lists, key=lambda one: one.served)
        first, alone = one.asks[0], one.fresh
        one.served, one.fresh = now, False
        pace = self._pace.get(_pace_of(first))
        most = 1 if alone or pace is None else max(1, min(_BATCH, int(_BATCH_S / max(pace, 1e-6))))
        alike = [ask for ask in one.asks if ask.kind == first.kind]
        # A number of slices that the model has not seen before costs it a new trace, so only powers of two.
        return tuple(alike[: 1 << (min(most, len(alike)).bit_length() - 1)])

    def _put(self, batch: Sequence[Ask], results: Sequence[Result | Exception | None], spent: float) -> None:
        done = {ask: result for ask, result in zip(batch, results, strict=True) if result is not None}
        for ask, result in done.items():
            self._kept[ask] = result
            self._size += getattr(result, "nbytes", 0)
        while self._size > _KEPT and len(self._kept) > len(batch):
            _, old = self._kept.popitem(last=False)
            self._size -= getattr(old, "nbytes", 0)
        for one in self._lists.values():
            one.asks = [ask for ask in one.asks if ask not in done]
        if len(done) == len(batch) and not any(isinstance(one, Failed | Exception) for one in done.values()):
            # Half of the last batch: the first one holds the start of the process.
            before = self._pace.get(_pace_of(batch[0]), spent)
            self._pace[_pace_of(batch[0])] = min(before, spent) if before > 4 * spent else (before + spent) / 2

    def _let_go(self, grace_s: float) -> None:
        """Stop the present work after a while, should still nobody wait for it."""
        if self._running and self._unwanted():
            timer = threading.Timer(grace_s, self._stop_unwanted, args=(self._running,))
            timer.daemon = True
            timer.start()

    def _stop_unwanted(self, batch: tuple[Ask, ...]) -> None:
        with self._turn:
            if self._running is batch and self._unwanted():
                self._stop()

    def _unwanted(self) -> bool:
        return not any(ask in one.asks for one in self._lists.values() for ask in self._running)


def _pace_of(ask: Ask) -> tuple:
    question = ask.question
    return ask.stamp, *((question.method, question.layer, question.passes) if isinstance(question, Question) else ())
