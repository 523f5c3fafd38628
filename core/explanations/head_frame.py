"""A slice → head coordinates: where the head is, which way it lies, and one grid for the heads of many slices.

Every plane has one frame: axial with the nose up and the patient's right on the left, coronal with the crown up and
the right on the left, sagittal with the crown up and the nose on the left. The head's bounding box fills the same
part of the grid in each slice, so that maps of many slices can be averaged place by place.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from core.errors import InputError

#: Rows and columns of the frame.
GRID = 96
#: Rows and columns of the frame that the head's bounding box fills; about a head's proportions in each plane.
BOX = {"axial": (72, 58), "coronal": (70, 58), "sagittal": (70, 70)}
#: Patient's direction to the right and down in each frame, in LPS as *ImageOrientationPatient* has it.
_RIGHT = {"axial": (1, 0, 0), "coronal": (1, 0, 0), "sagittal": (0, 1, 0)}
_DOWN = {"axial": (0, 1, 0), "coronal": (0, 0, -1), "sagittal": (0, 0, -1)}
#: Share of the slice's longer side below which a gap is bridged (dark skull) or a link cut (a letter's stroke).
_GAP = 0.03
#: How far from air to Otsu's threshold tissue begins: necks and faces far from the coil are dimmer than brains.
_DIM = 0.45
_LEVELS = 128


def head_mask(pixels: np.ndarray) -> np.ndarray:
    """Tell the head from the air around it, and from what is printed there.

    Parameters
    ----------
    pixels : ndarray, shape (rows, columns)
        In any units; what is not finite counts as air.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        The largest piece of what is brighter than air, its holes filled: skull, ventricles and sinuses are head.
        All True where nothing can be told apart (a constant slice).

    Raises
    ------
    InputError
        For an array that is no slice.

    Notes
    -----
    Otsu's threshold (IEEE Trans. Syst. Man Cybern. 9:62, 1979) on square roots, which draw the many greys of tissue
    together, then halved towards air. Bright text cannot move it: values above the 98th percentile count as that.

    Examples
    --------
    >>> slice_ = np.zeros((64, 64))
    >>> slice_[16:48, 20:44] = 100
    >>> slice_[2:6, 2:6] = 200
    >>> mask = head_mask(slice_)
    >>> bool(mask[32, 32]), bool(mask[3, 3])
    (True, False)
    """
    pixels = np.asarray(pixels, np.float32)
    if pixels.ndim != 2 or pixels.size == 0:
        raise InputError(f"A slice has rows and columns; received an array of shape {pixels.shape}.")
    finite = pixels[np.isfinite(pixels)]
    low, high = np.percentile(finite, (1, 98)) if finite.size else (0.0, 0.0)
    if high <= low and finite.size:
        low, high = float(finite.min()), float(finite.max())
    if high <= low:
        return np.ones(pixels.shape, bool)
    scaled = np.clip((np.nan_to_num(pixels, nan=low, posinf=high, neginf=low) - low) / (high - low), 0, 1)
    # Noise in air would be speckle in the mask.
    smooth = ndimage.gaussian_filter(np.sqrt(scaled), max(pixels.shape) / 256)
    middle = _otsu(smooth)
    air = float(np.median(smooth[smooth <= middle]))
    bright = smooth > air + _DIM * (middle - air)
    wide = max(1, round(_GAP * max(pixels.shape)))
    cut = max(1, wide // 2)
    # Speckle and thin strokes go before gaps are bridged; then the links go that this has made to what is printed.
    whole = ndimage.binary_fill_holes(_closed(_opened(bright, cut), wide))
    found = _largest(_opened(whole, wide - cut + 1))
    return found if found.any() else np.ones(pixels.shape, bool)


def upright(values: np.ndarray, plane: str, orientation: Sequence[float] | None) -> np.ndarray:
    """Turn and mirror a slice, or a map of it, into its plane's frame.

    Parameters
    ----------
    values : ndarray, shape (rows, columns)
    plane : {"axial", "coronal", "sagittal"}
    orientation : six floats, optional
        *ImageOrientationPatient*; without it, or where it is none, the slice is taken as it is.

    Returns
    -------
    ndarray, shape (rows, columns) or (columns, rows)
        A view.

    Raises
    ------
    InputError
        For a plane that there is not.

    Examples
    --------
    >>> upright(np.array([[1, 2], [3, 4]]), "axial", (-1, 0, 0, 0, 1, 0)).tolist()
    [[2, 1], [4, 3]]
    """
    if plane not in BOX:
        raise InputError(f"A plane is one of {', '.join(BOX)}. Received: {plane!r}.")
    if orientation is None or len(orientation) != 6 or not np.isfinite(orientation).all():
        return values
    along, down = np.array(orientation[:3], float), np.array(orientation[3:], float)
    right, below = np.array(_RIGHT[plane]), np.array(_DOWN[plane])
    if abs(along @ right) + abs(down @ below) < abs(along @ below) + abs(down @ right):
        values, along, down = values.T, down, along
    if along @ right < 0:
        values = values[:, ::-1]
    return values[::-1] if down @ below < 0 else values


def to_frame(
    values: np.ndarray, mask: np.ndarray, plane: str, orientation: Sequence[float] | None = None
) -> np.ndarray:
    """Bring a map of a slice into head coordinates.

    Parameters
    ----------
    values : ndarray, shape (rows, columns)
        On the grid of `mask`, with square pixels.
    mask : ndarray of bool, shape (rows, columns)
        From `head_mask`.
    plane, orientation
        As for `upright`.

    Returns
    -------
    ndarray of float32, shape (GRID, GRID)
        Linear between pixels; NaN beyond the slice, so that a mean over slices can leave it out.

    Raises
    ------
    InputError
        When the two do not lie on one grid, the mask is empty, or there is no such plane.
    """
    if values.shape != mask.shape or not mask.any():
        raise InputError(
            f"A map and the head's mask must lie on one grid, with a head in it; received {values.shape} and "
            f"{mask.shape} with {int(mask.sum())} pixels of head."
        )
    turned = upright(np.asarray(values, np.float32), plane, orientation)
    axes = [np.flatnonzero(upright(mask, plane, orientation).any(axis=other)) for other in (1, 0)]
    places = []
    for found, filled in zip(axes, BOX[plane], strict=True):
        first, size = found[0], found[-1] - found[0] + 1
        # Centres of pixels: the box's outer edges lie half a pixel beyond its first and last.
        steps = np.arange(GRID) + 0.5 - (GRID - filled) / 2
        places.append(first - 0.5 + steps * size / filled)
    rows, columns = np.meshgrid(*places, indexing="ij")
    inside = (rows > -0.5) & (rows < turned.shape[0] - 0.5) & (columns > -0.5) & (columns < turned.shape[1] - 0.5)
    framed = ndimage.map_coordinates(turned, [rows, columns], order=1, mode="nearest")
    return np.where(inside, framed, np.nan).astype(np.float32)


def share_outside(heat: np.ndarray, mask: np.ndarray) -> float:
    """Give the share of a map's heat that lies outside the head, 0 to 1; NaN for a map without heat.

    Examples
    --------
    >>> share_outside(np.array([[1.0, 3.0]]), np.array([[True, False]]))
    0.75
    """
    total = float(np.sum(heat, dtype=np.float64))
    return float(np.sum(heat[~mask], dtype=np.float64)) / total if total > 0 else float("nan")


def _otsu(values: np.ndarray) -> float:
    """Give the threshold in [0, 1] that parts values best into two."""
    count, edges = np.histogram(values, _LEVELS, (0, 1))
    centre = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(count).astype(float)
    above = below[-1] - below
    sums = np.cumsum(count * centre)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    # Where a gap leaves many thresholds equally good, the middle of it.
    best = np.flatnonzero(np.isclose(np.nan_to_num(between), np.nanmax(between)))
    return float(edges[1 + (best[0] + best[-1]) // 2])


def _largest(mask: np.ndarray) -> np.ndarray:
    labels, n = ndimage.label(mask)
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if n else mask


def _opened(mask: np.ndarray, radius: int) -> np.ndarray:
    # Distances cost the same for any radius. Beyond the border lies head: a cropped head is not eaten from its edge.
    padded = np.pad(mask, radius + 1, mode="edge")
    core = ndimage.distance_transform_edt(padded) > radius
    wide = ndimage.distance_transform_edt(~core) <= radius if core.any() else core
    return wide[radius + 1 : -radius - 1, radius + 1 : -radius - 1]


def _closed(mask: np.ndarray, radius: int) -> np.ndarray:
    padded = np.pad(mask, radius + 1)
    if not mask.any():
        return mask
    wide = ndimage.distance_transform_edt(~padded) <= radius
    return (ndimage.distance_transform_edt(wide) > radius)[radius + 1 : -radius - 1, radius + 1 : -radius - 1]
