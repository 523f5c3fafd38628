"""Stacks of slices drawn in the browser: scrolling, window and level, zoom, letters, scale, heatmaps, two linked.

The browser is first told of a stack what can be said without its pixels (`Stack`), then asks for the pixels piece by
piece (`Piece`), those around the reader first; so a long stack is whole, and no message is large.
"""

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import numpy as np
import streamlit as st

from core.cohorts.window_presets import Window, window_presets
from pages.shared.components import register

_component = register(
    "slice_viewer",
    '<div class="viewer" tabindex="0" role="application" aria-label="Slice viewer: arrow keys step, question mark '
    'lists all keys"><div class="bar"></div><div class="panels"></div><div class="tools"></div></div>',
)

#: Pixels of one piece at most, unless one slice has more: 4 MB before compression, 8 slices of 512 × 512.
PIECE_PIXELS = 1 << 21
_LEVELS = (1 << 16) - 1
NO_LETTERS = {"left": "", "right": "", "top": "", "bottom": ""}


@dataclass(frozen=True)
class Place:
    """How a slice lies; the slices of a stack mostly share one.

    Attributes
    ----------
    rows, columns : int
        As sent, which is less than in the file where `step` is above 1.
    spacing_mm : (float, float) or None
        Between rows and between columns as sent; None where the header does not tell.
    letters : mapping
        Patient's side at ``left``, ``right``, ``top`` and ``bottom``; empty where unknown.
    axis : (str, str)
        Letters of the two ends of the axis along which positions count, the negative end first.
    notes : sequence of str
        What a reader must not overlook: an oblique slice, an unusual side.
    step : int
        Every how manyeth pixel is sent.
    """

    rows: int
    columns: int
    spacing_mm: tuple[float, float] | None = None
    letters: Mapping[str, str] = field(default_factory=lambda: dict(NO_LETTERS))
    axis: tuple[str, str] = ("", "")
    notes: Sequence[str] = ()
    step: int = 1


@dataclass(frozen=True)
class Stack:
    """What the browser is told of a stack before its pixels come.

    Attributes
    ----------
    id : str
        Stands for the pixels: two stacks of one id have the same.
    places : sequence of Place
    place_of : sequence of int, length n
        Each slice's place.
    positions_mm : sequence of float or None, length n
        Along the normal; None where unknown.
    presets : mapping of (float, float)
        Name to centre and width in the unit of the file; the first is shown first.
    title : str
    """

    id: str
    places: Sequence[Place]
    place_of: Sequence[int]
    positions_mm: Sequence[float | None]
    presets: Mapping[str, Window]
    title: str = ""

    @property
    def rows(self) -> int:
        """Rows of the largest slice; smaller ones are padded."""
        return max(place.rows for place in self.places)

    @property
    def columns(self) -> int:
        """Columns of the largest slice."""
        return max(place.columns for place in self.places)

    @property
    def per_piece(self) -> int:
        """Slices that one piece holds."""
        return max(1, PIECE_PIXELS // (self.rows * self.columns))

    def piece_range(self, number: int) -> range:
        """Slices of piece `number`; empty when there is no such piece."""
        start = max(0, number) * self.per_piece
        return range(start, min(start + self.per_piece, len(self.place_of))) if number >= 0 else range(0)


@dataclass(frozen=True)
class Piece:
    """Pixels of some neighbouring slices, packed.

    Attributes
    ----------
    stack_id : str
    number : int
    zero, unit : float
        A value is ``zero + unit * number`` in the unit of the file.
    packed : bytes
        Deflated: the low bytes of all 16-bit numbers, then the high ones, which compresses better than pairs.
    unread : mapping of str
        Place in the piece, as text, to the reason why this slice could not be read; it is empty in the pixels.
    """

    stack_id: str
    number: int
    zero: float
    unit: float
    packed: bytes
    unread: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HeatSet:
    """Maps of one model and question over the first stack; the browser is told which there are, and asks for them.

    Attributes
    ----------
    id : str
        Stands for model and question: two sets of one id have the same maps.
    ready : sequence of int
        Slices whose map can be had.
    names : mapping of str
        Slice, as text, to what its map is of.
    failed : mapping of str
        Slice, as text, to why it has no map.
    waiting : str
        What stands in the place of a map that is not there yet.
    """

    id: str
    ready: Sequence[int] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    waiting: str = "Map being made …"


@dataclass(frozen=True)
class Heat:
    """One map, as `pack_heat` made it: of the rows and columns of the first stack."""

    set_id: str
    index: int
    packed: bytes


class Panel(NamedTuple):
    """One picture of the viewer.

    Attributes
    ----------
    kind : {"image", "overlay", "heat"}
    name : str
    heat : int
        Which of the heat sets.
    offset : int
        How many slices before or after the one that is shown.
    """

    kind: str
    name: str
    heat: int = 0
    offset: int = 0


def pack_piece(stack_id: str, number: int, pixels: np.ndarray, unread: Mapping[str, str] | None = None) -> Piece:
    """Pack slices as 16-bit numbers.

    Parameters
    ----------
    stack_id : str
    number : int
    pixels : ndarray of float, shape (n, rows, columns)
        In the unit of the file. Whole numbers that span less than 65,536 are kept exactly, as scanners write them;
        others to a 65,535th of the span. What is not finite becomes 0.
    unread : mapping, optional
        As `Piece.unread`.

    Returns
    -------
    Piece

    Examples
    --------
    >>> piece = pack_piece("a", 0, np.array([[[-3.0, 7.0]]]))
    >>> piece.zero, piece.unit, zlib.decompress(piece.packed)
    (-3.0, 1.0, b'\\x00\\n\\x00\\x00')
    """
    finite = np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(finite.min()), float(finite.max())
    whole = high - low <= _LEVELS and bool((finite == np.round(finite)).all())
    unit = 1.0 if whole else (high - low) / _LEVELS
    numbers = np.round((finite - low) / unit).astype("<u2")
    planes = np.ascontiguousarray(numbers.reshape(-1).view(np.uint8).reshape(-1, 2).T)
    return Piece(stack_id, number, low, unit, zlib.compress(planes, 1), unread or {})


def pack_heat(heat: np.ndarray, shape: tuple[int, int] | None = None, step: int = 1) -> bytes:
    """Pack a heatmap for the browser.

    Parameters
    ----------
    heat : ndarray, shape (rows, columns)
        From 0 to 1.
    shape : (int, int), optional
        Rows and columns of the slice's stack; a smaller slice is padded, as its pixels are.
    step : int
        Every how manyeth pixel is sent, as `Place.step`.

    Examples
    --------
    >>> list(zlib.decompress(pack_heat(np.array([[0.0, 1.0]]), (1, 3))))
    [0, 255, 0]
    """
    levels = np.round(np.clip(heat, 0, 1) * 255).astype(np.uint8)[::step, ::step]
    whole = np.zeros(shape or levels.shape, np.uint8)
    whole[: levels.shape[0], : levels.shape[1]] = levels
    return zlib.compress(whole.tobytes(), 1)


def one_slice(pixels: np.ndarray, place: Place, title: str = "") -> tuple[Stack, Piece]:
    """Make a stack of a single slice, and its only piece.

    Parameters
    ----------
    pixels : ndarray of float, shape (rows, columns)
    place : Place
    title : str

    Examples
    --------
    >>> stack, piece = one_slice(np.arange(6.0).reshape(2, 3), Place(2, 3))
    >>> stack.per_piece > 0, stack.id == piece.stack_id
    (True, True)
    """
    stack_id = hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()[:16]
    stack = Stack(stack_id, (place,), (0,), (None,), window_presets([pixels]), title)
    return stack, pack_piece(stack_id, 0, pixels[None])


def slice_viewer(
    stacks: Sequence[Stack],
    pieces: Sequence[Piece] = (),
    *,
    key: str,
    index: int = 0,
    link: tuple[str, str] = ("share", ""),
    heat: bytes | None = None,
    heat_sets: Sequence[HeatSet] = (),
    heats: Sequence[Heat] = (),
    panels: Sequence[Panel | tuple[str, str]] = (),
    per_row: int = 0,
    height_px: int = 460,
    on_step: Callable[[int], None] | None = None,
    on_want: Callable[[str, int], None] | None = None,
    on_want_heats: Callable[[list[tuple[str, int]]], None] | None = None,
) -> None:
    """Draw one stack, or two that are scrolled together.

    Parameters
    ----------
    stacks : sequence of Stack, length 1 or 2
    pieces : sequence of Piece
        Of these stacks, in any order; the browser keeps what it was sent before, and asks for the rest.
    key : str
        Streamlit key.
    index : int
        Slice of the first stack to show first.
    link : (str, str)
        How two stacks are linked, ``"mm"`` or ``"share"``, and a sentence that says so.
    heat : bytes, optional
        What `pack_heat` made, for a stack of a single slice; short for one `HeatSet` with one `Heat`.
    heat_sets : sequence of HeatSet, optional
        What maps there are; the browser asks for those near the reader that it does not have.
    heats : sequence of Heat, optional
        Some of these maps; the browser keeps what it was sent before.
    panels : sequence of Panel or (kind, name), optional
        The first stack several times, side by side; a kind is ``image``, ``overlay`` or ``heat``. By default one
        ``image`` a stack, under its title.
    per_row : int
        Panels beside each other; as many as there is room for when 0.
    height_px : int
        Height of a panel.
    on_step : callable, optional
        Called with the index, in the first stack, of the slice at which the reader came to rest.
    on_want : callable, optional
        Called with a stack's id and the number of the piece that the browser asks for.
    on_want_heats : callable, optional
        Called with what the browser asks for: ids of heat sets, and slices.
    """

    def stepped() -> None:
        at = st.session_state[key].get("index")
        if at is not None and on_step is not None:
            on_step(int(at))

    def wanted() -> None:
        want = st.session_state[key].get("want")
        if want is not None and on_want is not None:
            on_want(str(want["stack"]), int(want["piece"]))

    def wanted_heats() -> None:
        want = st.session_state[key].get("heats")
        if want is not None and on_want_heats is not None:
            on_want_heats([(str(set_id), int(at)) for set_id, at in want])

    if heat:
        heat_id = hashlib.sha256(heat).hexdigest()[:16]
        heat_sets, heats = [HeatSet(heat_id, (0,))], [Heat(heat_id, 0, heat)]
    shown = [{"stack": 0, **Panel(*panel)._asdict()} for panel in panels]
    shown = shown or [{"stack": at, **Panel("image", stack.title)._asdict()} for at, stack in enumerate(stacks)]
    blobs = [piece.packed for piece in pieces] + [one.packed for one in heats]
    header = {
        "stacks": [
            {**asdict(one), "rows": one.rows, "columns": one.columns, "per_piece": one.per_piece} for one in stacks
        ],
        "pieces": [
            {"stack_id": one.stack_id, "number": one.number, "zero": one.zero, "unit": one.unit, "unread": one.unread}
            for one in pieces
        ],
        "heat_sets": [asdict(one) for one in heat_sets],
        "heats": [{"set_id": one.set_id, "index": one.index} for one in heats],
        "panels": shown,
        "per_row": per_row,
        "index": index,
        "link": {"by": link[0], "why": link[1]},
        "sizes": [len(blob) for blob in blobs],
        "height_px": height_px,
    }
    text = json.dumps(header).encode()
    message = b"".join([struct.pack("<I", len(text)), text, *blobs])
    _component(key=key, data=message, on_index_change=stepped, on_want_change=wanted, on_heats_change=wanted_heats)
