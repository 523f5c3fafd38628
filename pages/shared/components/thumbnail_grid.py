"""A grid of thumbnails that are cut from one sheet, so that hundreds cost one picture."""

import base64
import io
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import streamlit as st
from PIL import Image

from pages.shared.components import register

_component = register("thumbnail_grid", '<div class="grid" role="group"></div>')

_SHEET_COLUMNS, _QUALITY = 12, 88


@dataclass(frozen=True)
class Tile:
    """What stands on one thumbnail: two lines below it, a badge (tone: good, warn, bad or ''), and a corner's word."""

    key: str
    title: str
    note: str = ""
    badge: str = ""
    tone: str = ""
    corner: str = ""
    hover: str = ""


def sheet(pictures: np.ndarray) -> dict:
    """Lay pictures out on one JPEG: a fourth of a PNG's bytes, for hundreds of thumbnails a page.

    Parameters
    ----------
    pictures : ndarray of uint8, shape (n, height, width), or (n, height, width, 3) for coloured ones

    Returns
    -------
    dict
        ``sheet`` (data address), ``columns``, ``rows``, ``aspect`` (width over height).

    Examples
    --------
    >>> made = sheet(np.zeros((13, 8, 8), np.uint8))
    >>> made["columns"], made["rows"], made["sheet"][:22]
    (12, 2, 'data:image/jpeg;base64')
    """
    n, height, width, *colours = pictures.shape
    columns = min(n, _SHEET_COLUMNS) or 1
    rows = math.ceil(n / columns) or 1
    canvas = np.zeros((rows, height, columns, width, *colours), np.uint8)
    for i, picture in enumerate(pictures):
        canvas[i // columns, :, i % columns] = picture
    file = io.BytesIO()
    Image.fromarray(canvas.reshape(rows * height, columns * width, *colours)).save(file, "JPEG", quality=_QUALITY)
    return {
        "sheet": "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode(),
        "columns": columns,
        "rows": rows,
        "aspect": width / height if height else 1.0,
    }


def thumbnail_grid(
    tiles: Sequence[Tile],
    made: dict,
    *,
    selected: str | None,
    on_click: Callable[[str], None],
    key: str,
    tile_px: int = 128,
    picked: Collection[str] | None = None,
    on_pick: Callable[[list[str]], None] | None = None,
) -> None:
    """Draw tiles; a click or Enter calls ``on_click`` with the tile's key.

    Parameters
    ----------
    tiles : sequence of Tile, length n
    made : dict
        What `sheet` made of n pictures in the same order.
    selected : str or None
        Key of the tile that is marked.
    on_click : callable
        Called with the key of the tile.
    key : str
        Streamlit key.
    tile_px : int
        Least width of a tile.
    picked : collection of str, optional
        Keys of the tiles that are ticked; without it none can be.
    on_pick : callable, optional
        Called with the keys, among these tiles, that are ticked once that has changed.
    """

    def clicked() -> None:
        tile = st.session_state[key].get("clicked")
        if tile is not None:
            on_click(str(tile))

    def ticked() -> None:
        keys = st.session_state[key].get("picked")
        if keys is not None and on_pick is not None:
            on_pick([str(one) for one in keys])

    here = None if picked is None else [tile.key for tile in tiles if tile.key in picked]
    data = {"tiles": [asdict(tile) for tile in tiles], "selected": selected, "tile_px": tile_px, "picked": here, **made}
    _component(key=key, data=data, on_clicked_change=clicked, on_picked_change=ticked)
