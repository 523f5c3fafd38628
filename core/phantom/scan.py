"""From a person and a protocol to slices: cutting planes at any angle, and what coil, gradients and noise do.

Slices are cut from the 1 mm tissue grid, several layers for a thick one, and their signals averaged; that is
where partial volume comes from.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from core.phantom.anatomy import Person
from core.phantom.contrast import MAPS
from core.phantom.tissues import ID

#: Protocol kinds read out by an echo-planar train, with its distortion and low resolution.
ECHO_PLANAR = ("epi_se", "epi_gre", *MAPS)

_AXIS = {"sagittal": 0, "coronal": 1, "axial": 2}
#: How far, in mm, an air-filled cavity takes signal away from gradient-echo EPI.
_CAVITY_REACH = 8.0


@dataclass(frozen=True)
class Plane:
    """One cut: where its middle lies and how it is turned, in voxels of a view.

    Attributes
    ----------
    centre : (3,) ndarray
        Slice, row and column of the middle of the picture.
    normal, down, along : (3,) ndarray
        Orthonormal; directions through the slice, down a column, along a row.
    """

    centre: np.ndarray
    normal: np.ndarray
    down: np.ndarray
    along: np.ndarray


def view(volume: np.ndarray, plane: str) -> np.ndarray:
    """Turn [x, y, z] into [slice, row, column] as radiologists look at it.

    The patient's right is on the left, the front on the left in sagittal slices, the head up.
    """
    order = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}[plane]
    return volume.transpose(order)[:, ::-1, ::-1]


def extent(person: Person, plane: str) -> tuple[int, int]:
    """First and last slice that hold brain."""
    axis = _AXIS[plane]
    hit = np.flatnonzero(person.brain.any(tuple(a for a in range(3) if a != axis)))
    return int(hit[0]), int(hit[-1])


def middle(person: Person, plane: str) -> tuple[int, int]:
    """Row and column of the middle of the field of view: a little lower where face and neck are seen."""
    flat = view(person.brain[::2, ::2, ::2], plane).any(0)
    rows, columns = np.flatnonzero(flat.any(1)), np.flatnonzero(flat.any(0))
    down = 0 if plane == "axial" else 14
    return int(rows[0] + rows[-1]) + down, int(columns[0] + columns[-1])


def place(centre, tilt_deg: tuple[float, float] = (0.0, 0.0), turn_deg: float = 0.0) -> Plane:
    """Put a plane at ``centre`` (slice, row, column), tilted about its rows and columns and turned in itself."""
    about_row, about_column, turn = np.deg2rad([*tilt_deg, turn_deg])
    along = np.array([np.tan(about_column), np.sin(turn), np.cos(turn)])
    along /= np.linalg.norm(along)
    down = np.array([np.tan(about_row), np.cos(turn), -np.sin(turn)])
    down -= down @ along * along
    down /= np.linalg.norm(down)
    return Plane(np.asarray(centre, float), np.cross(down, along), down, along)


def cut(tissue: np.ndarray, plane: Plane, signal: np.ndarray, size: int, thickness_mm: float) -> np.ndarray:
    """Mean signal of a thick slice on a 1 mm grid.

    Parameters
    ----------
    tissue : ndarray of uint8, shape (slices, rows, columns)
        A contiguous `view`.
    plane : Plane
    signal : ndarray of float32, shape (tissues,)
    size : int
        Side of the picture in mm.
    thickness_mm : float

    Returns
    -------
    ndarray of float32, shape (size, size)
        0 outside the volume.
    """
    n = max(1, round(thickness_mm / 2 if thickness_mm > 3 else thickness_mm))
    offsets = (np.arange(n) - (n - 1) / 2) * thickness_mm / n
    total = np.zeros((size, size), np.float32)
    for offset in offsets:
        total += signal[labels(tissue, plane, size, offset)]
    return total / n


def labels(tissue: np.ndarray, plane: Plane, size: int, offset_mm: float = 0.0) -> np.ndarray:
    """The nearest tissue of each millimetre of a plane, shape (size, size); air outside the volume."""
    steps = np.arange(size, dtype=np.float32) - (size - 1) / 2
    flat = np.zeros((size, size), np.int32)
    outside = np.zeros((size, size), bool)
    for axis, n in enumerate(tissue.shape):
        at = (
            (plane.centre[axis] + offset_mm * plane.normal[axis])
            + steps[:, None] * plane.down[axis]
            + steps[None, :] * plane.along[axis]
        )
        index = np.rint(at).astype(np.int32)
        outside |= (index < 0) | (index >= n)
        flat = flat * n + np.clip(index, 0, n - 1)
    found = tissue.reshape(-1)[flat]
    found[outside] = ID["air"]
    return found


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """A smooth random field in [-1, 1], ``cells`` bumps across."""
    coarse = rng.normal(size=(cells, cells)).astype(np.float32)
    field = np.asarray(Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
    return field / (np.abs(field).max() + 1e-6)


def shading(rng: np.random.Generator, shape: tuple[int, int], strength: float) -> np.ndarray:
    """Receive-coil and transmit-field shading, around 1."""
    return np.exp(strength * (smooth_field(rng, shape, 3) + 0.4 * smooth_field(rng, shape, 5)))


def surface_coils(image: np.ndarray, strength: float, offset: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Gain of many small coils around the head, around 1: what lies near them is brighter than the middle.

    ``offset`` moves the darkest place, in radii of the head along rows and columns; a head that lies on its coils is
    bright at the nape.
    """
    rows, columns = np.indices(image.shape, np.float32)
    weight = np.maximum(image, 0)
    weight = weight / max(float(weight.sum()), 1e-6)
    squared = np.zeros(image.shape, np.float32)
    for grid, shift in zip((rows, columns), offset, strict=True):
        middle = float((weight * grid).sum())
        # A filled ellipse reaches twice as far as its standard deviation.
        reach = 2 * np.sqrt(float((weight * (grid - middle) ** 2).sum())) + 1
        squared += ((grid - middle) / reach - shift) ** 2
    return np.exp(strength * (np.minimum(squared, 2.5) - 0.5))


def distort(image: np.ndarray, shift_mm: np.ndarray) -> np.ndarray:
    """Move signal down the columns (the phase direction of EPI) by ``shift_mm``, compressing and stretching it."""
    grid = np.indices(image.shape, np.float32)
    grid[0] += shift_mm
    moved = ndimage.map_coordinates(image, grid, order=1, mode="constant")
    return moved * np.clip(1 + np.gradient(shift_mm, axis=0), 0.2, 3)


def to_matrix(image: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Average a 1 mm picture over the pixels of a coarser matrix."""
    size = tuple(max(8, round(n / spacing_mm)) for n in image.shape[::-1])
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def add_noise(image: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """Rician noise of a magnitude image at a signal-to-noise ratio over its bright tissue."""
    lit = image[image > 0]
    sigma = (float(np.percentile(lit, 70)) if lit.size else 1.0) / snr
    real = image + sigma * rng.standard_normal(image.shape, np.float32)
    return np.hypot(real, sigma * rng.standard_normal(image.shape, np.float32))


def signal_kept(person: Person, plane: str, strength: float) -> np.ndarray:
    """Share of signal that gradient-echo EPI keeps near air inside the head; a `view` at a quarter of the size."""
    quarter = person.tissue[::4, ::4, ::4]
    body = quarter != ID["air"]
    inner = (ndimage.binary_closing(np.pad(body, 4), iterations=3)[4:-4, 4:-4, 4:-4]) & ~body
    far = ndimage.distance_transform_edt(~inner) * 4
    keep = 1 - strength * np.exp(-np.clip(far - 4, 0, None) / _CAVITY_REACH)
    return np.ascontiguousarray(view(keep.astype(np.float32), plane))


def kept_in(keep: np.ndarray, plane: Plane, size: int) -> np.ndarray:
    """`signal_kept` on a plane, shape (size, size)."""
    at = min(max(int(plane.centre[0]) // 4, 0), len(keep) - 1)
    whole = Image.fromarray(keep[at]).resize((keep.shape[2] * 4, keep.shape[1] * 4), Image.Resampling.BILINEAR)
    top, left = (round(c - (size - 1) / 2) for c in plane.centre[1:])
    return np.asarray(whole.crop((left, top, left + size, top + size)), np.float32)
