"""Pixels to model input and to the screen: the only resize and the only normalisation in the project."""

import io
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from core.errors import InputError

#: Side in pixels of what the shipped model sees.
MODEL_SIZE = 192
#: The part of a slice that models see, as their cards name it.
FRAME = "head"
#: Room left around the head, as a share of its longer side; and the least side of what is seen, as a share of the
#: slice's: the last slices of a volume show little, and that it is little says where they lie.
_MARGIN, _LEAST = 0.04, 0.4
#: From where on a slice is lit, and up to where noise may lift the air, from black (0) to white (1); and what is too
#: small beside the largest lit part to be of a head.
_LIT, _NOISY, _PART = 0.12, 0.3, 0.05


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class Geometry:
    """How a slice's own grid lies in the square grid of the model.

    Attributes
    ----------
    rows, columns : int
        The slice's own grid.
    size : int
        Side of the model's grid.
    seen : Box
        The part of the slice that the model sees.
    filled : Box
        The part of the model's grid that it fills; the rest is padding.
    """

    rows: int
    columns: int
    size: int
    seen: Box
    filled: Box


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


def head_box(pixels: np.ndarray, pixel_spacing_mm: tuple[float, float] = (1.0, 1.0)) -> Box:
    """Find the square around what a slice shows, as far as the slice reaches.

    How much air lies around a head says nothing about it, and costs pixels. Lit parts that are small beside the largest
    (printed words, noise) do not count.

    Parameters
    ----------
    pixels : ndarray of float32, shape (rows, columns)
        Finite.
    pixel_spacing_mm : (float, float)

    Returns
    -------
    Box
        The whole slice when nothing is lit.

    Examples
    --------
    >>> slice_ = np.zeros((200, 100), np.float32)
    >>> slice_[20:120, 30:80] = 1
    >>> head_box(slice_)
    Box(top=16, left=0, height=108, width=100)
    """
    # Every command and page imports this module, and few of them look for a head.
    from scipy import ndimage

    low, high = intensity_range(pixels)
    # A hundred steps along a side place a head well enough; their means hide what is smaller.
    step = max(1, round(max(pixels.shape) / 100))
    coarse = np.asarray(Image.fromarray(pixels).reduce(step))
    # Noise lifts the air, which is what most of the edge shows, unless the slice is cut tightly.
    edge = float(np.median(np.concatenate([coarse[0], coarse[-1], coarse[:, 0], coarse[:, -1]])))
    if edge - low < _NOISY * (high - low):
        low = max(low, edge)
    parts, n = ndimage.label(coarse > low + _LIT * (high - low))
    if not n:
        return Box(0, 0, *pixels.shape)
    area = np.bincount(parts.reshape(-1))
    area[0] = 0
    head = (area >= _PART * area.max())[parts]
    edges = [(hit[0] * step, (hit[-1] + 1) * step) for hit in (head.any(axis).nonzero()[0] for axis in (1, 0))]
    side_mm = max(
        max((stop - start) * mm for (start, stop), mm in zip(edges, pixel_spacing_mm, strict=True)) * (1 + 2 * _MARGIN),
        max(n * mm for n, mm in zip(pixels.shape, pixel_spacing_mm, strict=True)) * _LEAST,
    )
    starts, lengths = [], []
    for (start, stop), n, mm in zip(edges, pixels.shape, pixel_spacing_mm, strict=True):
        length = max(1, min(n, round(side_mm / mm)))
        starts.append(int(np.clip(round((start + stop - length) / 2), 0, n - length)))
        lengths.append(length)
    return Box(*starts, *lengths)


def to_model_input(
    pixels: np.ndarray,
    pixel_spacing_mm: tuple[float, float] | None = None,
    size: int = MODEL_SIZE,
    whole: bool = False,
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
    whole : bool
        All of the slice instead of its head: what `core.cohorts.leaks` compares, as a head's place moves with noise.

    Returns
    -------
    image : ndarray of float32, shape (size, size)
        In [0, 1]; the slice's `head_box`, its longer side fitted, letter-boxed with 0.
    geometry : Geometry
        For the way back (`from_model_grid`).

    Raises
    ------
    InputError
        For an array that is no slice.

    Examples
    --------
    >>> image, geometry = to_model_input(np.ones((64, 32)) * np.arange(32), size=16)
    >>> image.shape, geometry.filled, bool(image.max() > 0.9)
    ((16, 16), Box(top=0, left=4, height=16, width=8), True)
    """
    pixels = np.asarray(pixels, np.float32)
    if pixels.ndim != 2 or pixels.size == 0:
        raise InputError(f"A slice has rows and columns; received an array of shape {pixels.shape}.")
    rows, columns = pixels.shape
    # A sum over a slice is finite only when each of its pixels is.
    if not np.isfinite(pixels.sum(dtype=np.float64)):
        low, high = intensity_range(pixels)
        pixels = np.nan_to_num(pixels, nan=low, posinf=high, neginf=low)
    row_mm, column_mm = pixel_spacing_mm or (1.0, 1.0)
    if not (0 < row_mm < math.inf and 0 < column_mm < math.inf):
        row_mm = column_mm = 1.0
    seen = Box(0, 0, rows, columns) if whole else head_box(pixels, (row_mm, column_mm))
    pixels = pixels[seen.slices]
    tall, wide = seen.height * row_mm, seen.width * column_mm
    scale = size / max(tall, wide)
    height, width = max(1, round(tall * scale)), max(1, round(wide * scale))
    filled = Box((size - height) // 2, (size - width) // 2, height, width)
    low, high = intensity_range(pixels)
    clipped = np.clip(pixels, low, high)
    # Pillow's bilinear filter averages over the area when shrinking, so thin structures do not alias.
    resized = np.asarray(Image.fromarray(clipped).resize((width, height), Image.Resampling.BILINEAR))
    image = np.zeros((size, size), np.float32)
    image[filled.slices] = np.clip((resized - low) / (high - low), 0, 1)
    return image, Geometry(rows, columns, size, seen, filled)


def from_model_grid(values: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Bring a map from the model's grid to the slice's own; 0 where the model does not see it.

    Parameters
    ----------
    values : ndarray of float32, shape (size, size)
    geometry : Geometry

    Returns
    -------
    ndarray of float32, shape (rows, columns)
    """
    part = np.asarray(values, np.float32)[geometry.filled.slices]
    seen = geometry.seen
    own = np.zeros((geometry.rows, geometry.columns), np.float32)
    own[seen.slices] = Image.fromarray(part).resize((seen.width, seen.height), Image.Resampling.BILINEAR)
    return own


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
