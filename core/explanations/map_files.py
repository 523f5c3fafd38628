"""Maps as files: figure (PNG, SVG), numbers (npz), and a contact sheet for slides. None holds who the patient is."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from core import figures
from core.errors import InputError
from core.vocabulary import NOT_FOR_CLINICAL_USE

#: Tiles of a contact sheet at most; of a longer series every so manyeth is shown.
MOST_TILES = 28


@dataclass(frozen=True)
class MapTile:
    """One picture of a contact sheet.

    Attributes
    ----------
    display : ndarray of uint8, shape (rows, columns)
    heat : ndarray of float, shape (rows, columns), or None
        Laid over the picture; None where there is no map.
    title : str
    aspect : float
        A pixel's width over its height.
    """

    display: np.ndarray
    heat: np.ndarray | None
    title: str
    aspect: float = 1.0


def explanation_svg(
    display: np.ndarray, heat: np.ndarray, title: str, answer: str = "", aspect: float = 1.0, opacity: float = 0.5
) -> bytes:
    """Draw image, overlay and heatmap side by side as SVG: words that can be edited, pictures on their own grid.

    Parameters
    ----------
    display, heat, title, answer, aspect, opacity
        As `core.figures.explanation_png` takes them.

    Raises
    ------
    InputError
        When the heatmap is not on the slice's grid.
    """
    if display.shape != np.shape(heat):
        raise InputError(f"Slice and heatmap must lie on one grid; received {display.shape} and {np.shape(heat)}.")
    side, gap, head = 384, 16, 72
    rows, columns = display.shape
    scale = side / max(rows, columns * aspect)
    wide, tall = columns * aspect * scale, rows * scale
    image, colours = Image.fromarray(display).convert("RGB"), Image.fromarray(figures.viridis(np.asarray(heat)))
    panels = (("Image", image), ("Overlay", Image.blend(image, colours, opacity)), ("Heatmap", colours))
    width, height = 3 * side + 4 * gap, head + side + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Source Sans, Segoe UI, Helvetica, Arial, sans-serif">'
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(gap, 30, title, 19, "#17242b"),
        _text(gap, 56, answer, 17, "#5f6f78"),
    ]
    for at, (name, panel) in enumerate(panels):
        left = gap + at * (side + gap)
        parts += [
            f'<rect x="{left}" y="{head}" width="{side}" height="{side}"/>',
            f'<image x="{left + (side - wide) / 2:.2f}" y="{head + (side - tall) / 2:.2f}" width="{wide:.2f}" '
            f'height="{tall:.2f}" preserveAspectRatio="none" href="data:image/png;base64,{_png(panel)}"/>',
            _text(left, head + side + 20, name, 15, "#5f6f78"),
        ]
    parts += [_text(gap, height - 14, NOT_FOR_CLINICAL_USE, 15, "#b4444a"), "</svg>"]
    return "".join(parts).encode()


def _text(x: float, y: float, text: str, size: int, colour: str) -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}">{escape(text)}</text>'


def _png(image: Image.Image) -> str:
    file = BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def numbers(heat: np.ndarray, spread: np.ndarray | None, about: dict[str, Any]) -> bytes:
    """Write a map as npz.

    Parameters
    ----------
    heat : ndarray of float32, shape (rows, columns)
        On the slice's own grid, from 0 to 1.
    spread : ndarray or None
        Standard deviation over passes, likewise.
    about : dict
        What the map is of, JSON values; must name no patient.

    Returns
    -------
    bytes
        ``heat``, ``spread`` where there is one, and ``about``, the JSON text.

    Examples
    --------
    >>> with np.load(BytesIO(numbers(np.zeros((2, 3)), None, {"head": "plane"}))) as stored:
    ...     sorted(stored), json.loads(str(stored["about"]))["head"]
    (['about', 'heat'], 'plane')
    """
    file = BytesIO()
    arrays = {"heat": heat.astype(np.float32)} | ({} if spread is None else {"spread": spread.astype(np.float32)})
    about = {**about, "note": f"The grid is the slice's own. {NOT_FOR_CLINICAL_USE}"}
    np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)
    return file.getvalue()


def evenly(n: int, most: int = MOST_TILES) -> list[int]:
    """Choose at most so many of n places, evenly, the first and the last among them.

    Examples
    --------
    >>> evenly(3), evenly(100, 4)
    ([0, 1, 2], [0, 33, 66, 99])
    """
    return sorted({round(at) for at in np.linspace(0, n - 1, min(n, most))}) if n else []


def contact_sheet(
    tiles: Sequence[MapTile], title: str, subtitle: str = "", opacity: float = 0.5, side: int = 220
) -> bytes:
    """Draw many overlays under one title, as PNG of about 16 : 9 for slides.

    Parameters
    ----------
    tiles : sequence of MapTile
    title, subtitle : str
        What is shown: model, head, class, method.
    opacity : float
        Of the maps, 0 to 1.
    side : int
        Pixels of a tile.

    Raises
    ------
    InputError
        Without a tile.
    """
    if not tiles:
        raise InputError("A contact sheet needs at least one slice; there is none yet.")
    per_row = min(len(tiles), max(1, round((len(tiles) * 16 / 9) ** 0.5)))
    gap, head, foot, label = 12, 78, 34, 22
    rows = -(-len(tiles) // per_row)
    width = max(gap + per_row * (side + gap), 760)
    canvas = Image.new("RGB", (width, head + rows * (side + label + gap) + foot), "white")
    draw = ImageDraw.Draw(canvas)
    figures.fitted_line(draw, (gap, 14), title, 21, "#17242b", width - 2 * gap)
    figures.fitted_line(draw, (gap, 46), subtitle, 16, "#5f6f78", width - 2 * gap)
    for at, tile in enumerate(tiles):
        left, top = gap + at % per_row * (side + gap), head + at // per_row * (side + label + gap)
        canvas.paste("black", (left, top, left + side, top + side))
        picture = _overlay(tile, side, opacity)
        canvas.paste(picture, (left + (side - picture.width) // 2, top + (side - picture.height) // 2))
        figures.fitted_line(draw, (left, top + side + 3), tile.title, 14, "#5f6f78", side)
    figures.fitted_line(draw, (gap, canvas.height - 26), NOT_FOR_CLINICAL_USE, 15, "#b4444a", width - 2 * gap)
    file = BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()


def _overlay(tile: MapTile, side: int, opacity: float) -> Image.Image:
    rows, columns = tile.display.shape
    scale = side / max(rows, columns * tile.aspect)
    size = max(1, round(columns * tile.aspect * scale)), max(1, round(rows * scale))
    picture = Image.fromarray(tile.display).convert("RGB").resize(size, Image.Resampling.BILINEAR)
    if tile.heat is None:
        return picture
    colours = Image.fromarray(figures.viridis(tile.heat)).resize(size, Image.Resampling.BILINEAR)
    return Image.blend(picture, colours, opacity)
