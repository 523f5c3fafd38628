"""Pixels to model input and to the screen: the only resize and the only normalisation in the project."""

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from core.errors import InputError

#: Side in pixels of what the shipped model sees. Contrast and gross shape need no more: at the same time of training,
#: 96 did better than 128 (`benchmarks.ablation`).
MODEL_SIZE = 96


@dataclass(frozen=True)
class Geometry:
    """How a slice's own grid lies in the square grid of the model.

    Attributes
    ----------
    rows, columns : int
        The slice's own grid.
    size : int
        Side of the model's grid.
    top, left, height, width : int
        The part of the model's grid that the slice fills; the rest is padding.
    """

    rows: int
    columns: int
    size: int
    top: int
    left: int
    height: int
    width: int


def intensity_range(pixels: np.ndarray) -> tuple[float, float]:
    """Black and white points of a slice: robust, and judged on the head rather than on the air around it.

    Parameters
    ----------
    pixels : ndarray of float32, shape (rows, columns)

    Returns
    -------
    low, high : float
        With ``low`` < ``high``, always. The black point is the 1st percentile of all pixels: air where there is
        any, the darkest tissue in a tight crop. The white point is the 99.5th percentile of the head, which is
        whatever lies above a tenth of the way from black to the slice's bright end. Air can be anything from
        10 % to 80 % of a slice; a white point over everything would make brightness depend on it. Pixels that are
        not finite do not count.

    Examples
    --------
    >>> intensity_range(np.full((4, 4), 7.0))
    (7.0, 8.0)
    """
    # 20,000 pixels fix a percentile well enough, and spread over the slice they cost a tenth of all of them.
    sample = pixels.reshape(-1)[:: max(1, pixels.size // 20000)]
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return 0.0, 1.0
    low, bright = (float(value) for value in np.percentile(sample, (1, 99.5)))
    head = sample[sample > low + 0.1 * (bright - low)]
    high = float(np.percentile(head, 99.5)) if head.size > 20 else bright
    if high <= low:
        high = float(sample.max())
    return low, high if high > low else low + 1.0


def to_model_input(
    pixels: np.ndarray, pixel_spacing_mm: tuple[float, float] | None = None, size: int = MODEL_SIZE
) -> tuple[np.ndarray, Geometry]:
    """Turn a slice into what every model of the project sees.

    Parameters
    ----------
    pixels : ndarray, shape (rows, columns)
        In any units, as `core.sources.read_pixels` gives them.
    pixel_spacing_mm : (float, float), optional
        Distance between rows and between columns; square pixels are assumed without it, or where it is no
        distance.
    size : int
        Side of the result in pixels.

    Returns
    -------
    image : ndarray of float32, shape (size, size)
        In [0, 1]; the whole slice, its longer side fitted, letter-boxed with 0.
    geometry : Geometry
        For the way back (`from_model_grid`).

    Raises
    ------
    InputError
        For an array that is no slice.

    Examples
    --------
    >>> image, geometry = to_model_input(np.ones((64, 32)) * np.arange(32), size=16)
    >>> image.shape, (geometry.height, geometry.width), bool(image.max() > 0.9)
    ((16, 16), (16, 8), True)
    """
    pixels = np.asarray(pixels, np.float32)
    if pixels.ndim != 2 or pixels.size == 0:
        raise InputError(f"A slice has rows and columns; received an array of shape {pixels.shape}.")
    rows, columns = pixels.shape
    row_mm, column_mm = pixel_spacing_mm or (1.0, 1.0)
    if not (0 < row_mm < math.inf and 0 < column_mm < math.inf):
        row_mm = column_mm = 1.0
    tall, wide = rows * row_mm, columns * column_mm
    scale = size / max(tall, wide)
    height, width = max(1, round(tall * scale)), max(1, round(wide * scale))
    top, left = (size - height) // 2, (size - width) // 2
    low, high = intensity_range(pixels)
    # A sum over a slice is finite only when each of its pixels is.
    if not np.isfinite(pixels.sum(dtype=np.float64)):
        pixels = np.nan_to_num(pixels, nan=low, posinf=high, neginf=low)
    clipped = np.clip(pixels, low, high)
    # Pillow's bilinear filter averages over the area when shrinking, so thin structures do not alias.
    resized = np.asarray(Image.fromarray(clipped).resize((width, height), Image.Resampling.BILINEAR))
    image = np.zeros((size, size), np.float32)
    image[top : top + height, left : left + width] = np.clip((resized - low) / (high - low), 0, 1)
    return image, Geometry(rows, columns, size, top, left, height, width)


def from_model_grid(values: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Bring a map from the model's grid to the slice's own.

    Parameters
    ----------
    values : ndarray of float32, shape (size, size)
    geometry : Geometry

    Returns
    -------
    ndarray of float32, shape (rows, columns)
    """
    g = geometry
    part = np.asarray(values, np.float32)[g.top : g.top + g.height, g.left : g.left + g.width]
    return np.asarray(Image.fromarray(part).resize((g.columns, g.rows), Image.Resampling.BILINEAR))


def default_window(pixels: np.ndarray) -> tuple[float, float]:
    """Centre and width of the window that shows a slice well, in the slice's own units."""
    low, high = intensity_range(np.asarray(pixels, np.float32))
    return (low + high) / 2, high - low


def to_display(pixels: np.ndarray, window: tuple[float, float] | None = None) -> np.ndarray:
    """Grey levels for the screen.

    Parameters
    ----------
    pixels : ndarray, shape (rows, columns)
    window : (float, float), optional
        Centre and width; `default_window` without.

    Returns
    -------
    ndarray of uint8, shape (rows, columns)
    """
    pixels = np.asarray(pixels, np.float32)
    centre, width = window or default_window(pixels)
    grey = np.clip((pixels - centre) / max(width, 1e-6) + 0.5, 0, 1)
    return np.round(np.nan_to_num(grey) * 255).astype(np.uint8)


def to_png(grey: np.ndarray) -> bytes:
    """Encode uint8 pixels, shape (rows, columns), as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    return buffer.getvalue()


def orientation_letters(orientation: list[float] | None) -> dict[str, str]:
    """The letters at the four edges of a slice: which way the patient lies.

    Parameters
    ----------
    orientation : six floats, optional
        *ImageOrientationPatient*: the direction along a row, then along a column, in LPS.

    Returns
    -------
    dict
        ``left``, ``right``, ``top``, ``bottom``; up to two letters of R L A P S I, or ``""`` when unknown.

    Examples
    --------
    >>> orientation_letters([1, 0, 0, 0, 1, 0])
    {'left': 'R', 'right': 'L', 'top': 'A', 'bottom': 'P'}
    """
    if orientation is None or len(orientation) != 6 or not np.isfinite(orientation).all():
        return dict.fromkeys(("left", "right", "top", "bottom"), "")

    def letters(direction):
        # A second letter only where the slice is clearly tilted.
        axes = sorted(range(3), key=lambda axis: -abs(direction[axis]))
        return "".join("LPS"[a] if direction[a] > 0 else "RAI"[a] for a in axes[:2] if abs(direction[a]) > 0.35)

    along, down = np.array(orientation[:3], float), np.array(orientation[3:], float)
    return {"left": letters(-along), "right": letters(along), "top": letters(-down), "bottom": letters(down)}
