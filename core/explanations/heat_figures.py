"""Mean maps of many slices as figures, and what they say in words."""

import base64
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.explanations.cohort_maps import ANY, overlay
from core.explanations.head_frame import BOX, GRID
from core.figures import BLUE, RED, TEMPLATE
from core.images import to_png

#: Wrong decisions from which on their mean is worth a look.
LEAST_WRONG = 3
#: The two ends of each frame's rows and columns, as a patient has them.
_ENDS = {
    "axial": (("front", "back"), ("right side", "left side")),
    "coronal": (("crown", "neck"), ("right side", "left side")),
    "sagittal": (("crown", "neck"), ("front", "back")),
}
#: Shares of the head's box within which a place counts as its middle.
_MIDDLE = 0.1
#: Height in pixels of a row of tiles: of few, and of many.
_TILES, _FEW, _WIDTH = (270, 190), 5, 880


def mean_maps(cells: pd.DataFrame, means: np.ndarray) -> go.Figure:
    """Draw the mean map of each predicted class and plane over the mean slice; of one plane alone in one row.

    Parameters
    ----------
    cells, means
        As `core.explanations.cohort_maps` keeps them.
    """
    here = cells[(cells["decisions"] == "all") & (cells["y_pred"] != ANY)]
    names, planes = sorted(here["y_pred"].unique()), [plane for plane in BOX if (here["plane"] == plane).any()]
    flat = len(planes) == 1 and len(names) <= _FEW
    rows, columns = (planes, names) if flat else (names, planes)
    figure = tiles(len(rows), columns, rows)
    for at, cell in zip(here.index, here.itertuples(), strict=True):
        heat, image = np.asarray(means[at], np.float32)
        said = (
            f"<b>{cell.y_pred}, {cell.plane}</b><br>{_many(cell.slices, 'slice')} of {_many(cell.patients, 'patient')}"
            f"<br>{cell.outside:.0%} of the heat outside the head"
        )
        at_row, at_column = (cell.plane, cell.y_pred) if flat else (cell.y_pred, cell.plane)
        place = {"row": 1 + rows.index(at_row), "col": 1 + columns.index(at_column)}
        put_picture(figure, overlay(image, peaked(heat)), said, f"{cell.slices} · {cell.outside:.0%} outside", **place)
    return figure


def right_and_wrong(cells: pd.DataFrame, means: np.ndarray) -> go.Figure | None:
    """Draw mean maps of right and of wrong decisions beside each other, and their difference.

    Returns
    -------
    Figure or None
        A row a class and plane with at least `LEAST_WRONG` wrong decisions and as many right ones, those of all
        classes of a plane first; None when there is none.
    """
    pairs = comparable(cells)
    if not pairs:
        return None
    rows = [f"{cells.at[right, 'y_pred'] or 'All classes'},<br>{cells.at[right, 'plane']}" for right, _ in pairs]
    figure = tiles(len(pairs), ["Right", "Wrong", "Wrong less right"], rows)
    for row, (right, wrong) in enumerate(pairs, 1):
        heats = [np.asarray(means[at, 0], np.float32) for at in (right, wrong)]
        for column, (at, heat) in enumerate(zip((right, wrong), heats, strict=True), 1):
            cell = cells.loc[at]
            said = f"<b>{cell['decisions']}</b><br>{_many(cell['slices'], 'slice')}<br>{cell['outside']:.0%} outside"
            note = f"{cell['slices']} · {cell['outside']:.0%} outside"
            put_picture(figure, overlay(np.asarray(means[at, 1], np.float32), heat), said, note, row=row, col=column)
        change = np.nan_to_num(heats[1] - heats[0])
        said = f"from {change.min():+.2f} (blue) to {change.max():+.2f} (red) of a map's maximum"
        grey = np.asarray(means[right, 1], np.float32)
        put_picture(figure, _tinted(grey, change), said, "red: more heat when wrong", row=row, col=3)
    return figure


def comparable(cells: pd.DataFrame) -> list[tuple[int, int]]:
    """Return the places of right and wrong means that can be compared, all classes of a plane first."""
    found = []
    for _, part in cells.groupby(["y_pred", "plane"], sort=True):
        at = {row.decisions: index for index, row in zip(part.index, part.itertuples(), strict=True)}
        if {"right", "wrong"} <= set(at) and part.loc[[at["right"], at["wrong"]], "slices"].min() >= LEAST_WRONG:
            found.append((at["right"], at["wrong"]))
    return found


def peaked(heat: np.ndarray) -> np.ndarray:
    """Scale a mean map to a maximum of 1, so that where it is warm can be seen however weak the mean is."""
    peak = np.nanmax(heat, initial=0)
    return np.nan_to_num(heat / peak) if peak > 0 else np.nan_to_num(heat)


def whereabouts(heat: np.ndarray, plane: str) -> str:
    """Say where a mean map is warmest, as a patient has it.

    Parameters
    ----------
    heat : ndarray, shape (GRID, GRID)
        In head coordinates.
    plane : {"axial", "coronal", "sagittal"}

    Examples
    --------
    >>> heat = np.zeros((GRID, GRID))
    >>> heat[60, 20] = 1
    >>> whereabouts(heat, "sagittal")
    'neck, front'
    >>> whereabouts(np.roll(heat, (-12, 28), (0, 1)), "sagittal")
    'the middle'
    """
    place = np.unravel_index(np.argmax(np.nan_to_num(heat)), heat.shape)
    words, beyond = [], False
    for at, filled, ends in zip(place, BOX[plane], _ENDS[plane], strict=True):
        # From -0.5 to 0.5 over the head's box.
        share = (at + 0.5 - GRID / 2) / filled
        beyond |= abs(share) > 0.5
        if abs(share) > _MIDDLE:
            words.append(ends[int(share > 0)])
    said = ", ".join(words) or "the middle"
    return f"{said}, beyond the head" if beyond else said


def sayings(found: pd.DataFrame, cells: pd.DataFrame, means: np.ndarray) -> list[str]:
    """Say in sentences what the mean maps show.

    Parameters
    ----------
    found, cells, means
        As `core.explanations.cohort_maps` keeps them.
    """
    heated = found[found["outside"].notna()]
    cold = len(found) - len(heated)
    said = []
    if len(heated):
        outside, air = heated["outside"].mean(), heated["air"].mean()
        said.append(
            f"{outside:.0%} of the heat lies outside the head, on average over {_many(len(heated), 'slice')}; spread "
            f"evenly over the picture it would be {air:.0%}. Maps are coarse, so some heat beside the head is expected."
        )
    for plane in BOX:
        here = cells[(cells["decisions"] == "all") & (cells["plane"] == plane) & (cells["y_pred"] != ANY)]
        places = {
            row.y_pred: whereabouts(means[at, 0], plane) for at, row in zip(here.index, here.itertuples(), strict=True)
        }
        if places:
            each = "; ".join(f"{name}: {place}" for name, place in places.items())
            said.append(f"Warmest on {plane} slices: {each}.")
    if cold:
        said.append(f"{_many(cold, 'map')} had no heat at all: nothing in the picture spoke for the answer.")
    return said


def tiles(rows: int, columns: Sequence[str], names: Sequence[str]) -> go.Figure:
    """Return an empty grid of pictures with names of its columns and rows."""
    # No higher than wide: a page is about so many pixels wide.
    tile = min(_TILES[rows > _FEW], _WIDTH // len(columns))
    figure = make_subplots(
        rows, len(columns), column_titles=list(columns), row_titles=list(names), horizontal_spacing=0.012,
        vertical_spacing=min(0.2, 34 / max(1, rows * tile)),
    )  # fmt: skip
    for number, title in enumerate(figure.layout.annotations):
        # Those of columns come first. Names of rows stand upright on the left, where they are read first.
        beside = {"x": -0.01, "xanchor": "right", "textangle": 0} if number >= len(columns) else {}
        title.update(font_size=16, **beside)
    bare = {"showticklabels": False, "showgrid": False, "zeroline": False, "ticks": ""}
    figure.update_xaxes(**bare, constrain="domain").update_yaxes(**bare)
    return figure.update_layout(
        template=TEMPLATE, height=50 + rows * (tile + 34), showlegend=False,
        margin={"l": 92, "r": 8, "t": 34, "b": 22},
    )  # fmt: skip


def put_picture(figure: go.Figure, rgb: np.ndarray, hover: str, note: str, row: int, col: int) -> None:
    """Put a picture, (rows, columns, 3) uint8, into a grid, with words on hover and below it."""
    address = "data:image/png;base64," + base64.b64encode(to_png(rgb)).decode()
    figure.add_image(source=address, hovertemplate=f"{hover}<extra></extra>", row=row, col=col)
    figure.update_xaxes(title={"text": note, "font": {"size": 14}, "standoff": 3}, row=row, col=col)


def _tinted(grey: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Colour a slice red where a change is positive, and blue where it is negative."""
    size = np.abs(change).max() or 1.0
    strength = (np.abs(change) / size)[..., None] * 0.8
    colours = np.where(change[..., None] > 0, _rgb(RED), _rgb(BLUE))
    base = np.nan_to_num(np.clip(grey, 0, 1))[..., None] * 255
    return np.rint(base * (1 - strength) + colours * strength).astype(np.uint8)


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)], float)


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
