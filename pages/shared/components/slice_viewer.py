"""A stack of slices drawn in the browser, with window and level, orientation letters and heatmaps."""

import base64
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import streamlit as st

from pages.shared.components import register

_component = register(
    "slice_viewer",
    '<div class="viewer" tabindex="0" role="application" aria-label="Slice viewer: arrow keys step">'
    '<div class="panels"></div><div class="tools"></div><div class="help"></div></div>',
)

_LEVELS = 4095
NO_LETTERS = {"left": "", "right": "", "top": "", "bottom": ""}


def pack_stack(pixels: np.ndarray, aspect: float = 1.0) -> dict:
    """Make what the browser needs of a stack, as 12-bit numbers.

    Parameters
    ----------
    pixels : ndarray of float, shape (n, rows, columns)
        In the unit of the file.
    aspect : float
        Width of a pixel over its height.

    Returns
    -------
    dict
        JSON values. ``zero`` and ``unit`` turn a 12-bit number back: ``zero + unit * number``.

    Examples
    --------
    >>> made = pack_stack(np.arange(8.0).reshape(2, 2, 2))
    >>> made["count"], made["rows"], round(made["zero"] + made["unit"] * 4095, 6)
    (2, 2, 7.0)
    """
    count, rows, columns = pixels.shape
    finite = np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(finite.min()), float(finite.max())
    unit = (high - low) / _LEVELS or 1.0
    packed = zlib.compress(np.round((finite - low) / unit).astype("<u2").tobytes(), 1)
    return {
        "pixels": base64.b64encode(packed).decode(),
        "stack_id": hashlib.sha256(packed).hexdigest()[:16],
        "count": count,
        "rows": rows,
        "columns": columns,
        "aspect": aspect,
        "zero": low,
        "unit": unit,
    }


def pack_heat(heat: np.ndarray) -> str:
    """Encode a heatmap (values 0 to 1) for the browser."""
    return base64.b64encode(zlib.compress(np.round(np.clip(heat, 0, 1) * 255).astype(np.uint8).tobytes(), 1)).decode()


def slice_viewer(
    stack: dict,
    window: tuple[float, float],
    *,
    key: str,
    index: int = 0,
    letters: Mapping[str, str] = NO_LETTERS,
    heat: str | None = None,
    panels: Sequence[tuple[str, str]] = (("image", ""),),
    height_px: int = 460,
    on_step: Callable[[int], None] | None = None,
    first: int = 0,
    total: int = 0,
) -> None:
    """Draw a stack.

    Parameters
    ----------
    stack : dict
        What `pack_stack` made.
    window : tuple of float
        Centre and width, in the unit of the file.
    key : str
        Streamlit key.
    index : int
        Slice to show first.
    letters : mapping
        Patient side at ``left``, ``right``, ``top`` and ``bottom``; empty where unknown.
    heat : str, optional
        What `pack_heat` made, of the same rows and columns.
    panels : sequence of (kind, name)
        Side by side; a kind is ``image``, ``overlay`` or ``heat``.
    height_px : int
        Height of a panel.
    on_step : callable, optional
        Called with the index of the slice at which the reader came to rest.
    first, total : int
        Where the stack begins in its series, and how many slices that has, when only a part is shown.
    """

    def stepped() -> None:
        at = st.session_state[key].get("index")
        if at is not None and on_step is not None:
            on_step(int(at))

    centre, width = window
    data = {
        **stack,
        "index": index,
        "window": [(centre - stack["zero"]) / stack["unit"], max(width / stack["unit"], 1.0)],
        "letters": dict(letters),
        "heat": heat,
        "kinds": [kind for kind, _ in panels],
        "names": [name for _, name in panels],
        "height_px": height_px,
        "first": first,
        "total": total or stack["count"],
    }
    _component(key=key, data=data, on_index_change=stepped)
