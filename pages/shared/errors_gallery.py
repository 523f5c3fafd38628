"""A page of slices with what they were taken for; only the pictures of that page are read."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from pages.shared import cached, state, widgets
from pages.shared.components.thumbnail_grid import Tile, thumbnail_grid

PER_PAGE = 24


def draw(rows: pd.DataFrame, places: np.ndarray, tiles: Callable, per_page: int, key: str, tile_px: int = 100) -> None:
    """Draw slices page by page; a click opens the dossier of one.

    Parameters
    ----------
    rows : DataFrame
        Predictions that are looked at.
    places : ndarray of int
        Which of them are shown, in this order.
    tiles : callable
        ``(page of rows, slice of places) -> list of Tile``.
    per_page : int
    key : str
        Streamlit key.
    tile_px : int
        Least width of a tile.
    """
    shown = widgets.pager(
        len(places), per_page, state.get_int(state.PAGE, 1), lambda page: state.put(**{state.PAGE: page}), key
    )
    page = rows.iloc[places[shown]]
    thumbnail_grid(
        tiles(page, shown), cached.run_sheet(page), selected=state.get(state.SLICE) or None,
        on_click=lambda key: state.put(**{state.SLICE: key}), key=f"{key}-tiles", tile_px=tile_px,
    )  # fmt: skip


def gallery(rows: pd.DataFrame, tile: Callable, key: str, tile_px: int = 104) -> None:
    """Draw all rows, in their order.

    Parameters
    ----------
    rows : DataFrame
        As `cached.predictions` has them.
    tile : callable
        Makes of a row (a named tuple) what `Tile` needs beside its key.
    key : str
        Streamlit key.
    tile_px : int
        Least width of a tile.
    """
    draw(
        rows, np.arange(len(rows)),
        lambda page, shown: [Tile(key=row.key, **tile(row)) for row in page.itertuples()], PER_PAGE, key, tile_px,
    )  # fmt: skip


def tile(key: str, patient: str, true: str, named: str, p: float, note: str = "") -> Tile:
    """Make a tile: the answer and how sure it is, the patient, and what it was taken for where it is wrong.

    Where nobody knows the truth, it is neither right nor wrong.
    """
    right, known = true == named, pd.notna(true)
    sure = "" if p != p else f" {100 * p:.0f} %"
    return Tile(
        key=key, title=f"{named}{sure}", note=f"{patient}{note}",
        badge="" if right or not known else mistake(true, named), tone="good" if right else "bad" if known else "",
    )  # fmt: skip


def mistake(true: str, named: str) -> str:
    """Say what was taken for what; of joint classes only the half that differs.

    Examples
    --------
    >>> mistake("T1", "T2"), mistake("axial-T1", "axial-T2"), mistake("axial-T1", "coronal-T2")
    ('T1 → T2', 'T1 → T2', 'axial-T1 → coronal-T2')
    """
    first, second = true.split("-"), named.split("-")
    differ = [pair for pair in zip(first, second, strict=False) if pair[0] != pair[1]]
    if len(first) == len(second) == 2 and len(differ) == 1:
        true, named = differ[0]
    return f"{true} → {named}"
