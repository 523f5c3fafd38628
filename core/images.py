"""Pixels to model input and to the screen: the only resize and the only normalisation in the project."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image


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
        The 1st percentile of all pixels and the 99.5th of those above a tenth of the bright end. Air can be
        anything from 10 % to 80 % of a slice; percentiles over everything would make brightness depend on it.
    """
    finite = pixels[np.isfinite(pixels)]
    if finite.size == 0:
        return 0.0, 1.0
    sample = finite[:: max(1, finite.size // 20000)]
    low = float(np.percentile(sample, 1))
    bright = float(np.percentile(sample, 99.5))
    head = sample[sample > low + 0.1 * (bright - low)]
    high = float(np.percentile(head, 99.5)) if head.size > 20 else bright
    if high <= low:
        high = float(sample.max())
    return low, high if high > low else low + 1.0


def to_model_input(
    pixels: np.ndarray, pixel_spacing_mm: tuple[float, float] | None = None, size: int = 128
) -> tuple[np.ndarray, Geometry]:
    """Turn a slice into what every model of the project sees.

    Parameters
    ----------
    pixels : ndarray, shape (rows, columns)
        In any units, as `core.sources.read_pixels` gives them.
    pixel_spacing_mm : (float, float), optional
        Distance between rows and between columns; square pixels are assumed without.
    size : int
        Side of the result in pixels.

    Returns
    -------
    image : ndarray of float32, shape (size, size)
        In [0, 1]; the whole slice, its longer side fitted, letter-boxed with 0.
    geometry : Geometry
        For the way back (`from_model_grid`).

    Examples
    --------
    >>> image, geometry = to_model_input(np.ones((64, 32)) * np.arange(32), size=16)
    >>> image.shape, (geometry.height, geometry.width), float(image.max())
    ((16, 16), (16, 8), 1.0)
    """
    pixels = np.asarray(pixels, np.float32)
    rows, columns = pixels.shape
    row_mm, column_mm = pixel_spacing_mm or (1.0, 1.0)
    if not (row_mm > 0 and column_mm > 0):
        row_mm = column_mm = 1.0
    tall, wide = rows * row_mm, columns * column_mm
    scale = size / max(tall, wide)
    height, width = max(1, round(tall * scale)), max(1, round(wide * scale))
    top, left = (size - height) // 2, (size - width) // 2
    low, high = intensity_range(pixels)
    scaled = np.clip((np.nan_to_num(pixels, nan=low, posinf=high, neginf=low) - low) / (high - low), 0, 1)
    # Pillow's box and bilinear filters average over the area when shrinking, so thin structures do not alias.
    resized = Image.fromarray(scaled).resize((width, height), Image.Resampling.BILINEAR)
    image = np.zeros((size, size), np.float32)
    image[top : top + height, left : left + width] = resized
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
