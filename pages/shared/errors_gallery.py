"""A paged gallery of a run's slices; a click opens the dossier."""

from collections.abc import Callable

import pandas as pd

from pages.shared import cached, state, widgets
from pages.shared.components.thumbnail_grid import Tile, thumbnail_grid

PER_PAGE = 24


def gallery(rows: pd.DataFrame, tile: Callable, key: str, tile_px: int = 104) -> None:
    """Draw one page of slices.

    Parameters
    ----------
    rows : DataFrame
        As `cached.predictions` has them, in the order in which they are shown.
    tile : callable
        Makes of a row (a named tuple) what `Tile` needs beside its key.
    key : str
        Streamlit key.
    tile_px : int
        Least width of a tile.
    """
    shown = widgets.pager(
        len(rows), PER_PAGE, state.get_int(state.PAGE, 1), lambda page: state.put(**{state.PAGE: page}), key
    )
    page = rows.iloc[shown]
    thumbnail_grid(
        [Tile(key=row.key, **tile(row)) for row in page.itertuples()], cached.run_sheet(page),
        selected=state.get(state.SLICE) or None, on_click=lambda one: state.put(**{state.SLICE: one}),
        key=f"{key}-tiles", tile_px=tile_px,
    )  # fmt: skip
