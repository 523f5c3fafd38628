"""Scanning a phantom person: slices through the tissue volume, partial volume, coil, motion and noise.

`render_series` makes what a scanner would store; `training_slices` adds what people do to images afterwards, every
choice drawn independently of plane and sequence, so that no such trace gives the class away.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from core import images
from core.phantom import anatomy, contrast
from core.phantom.anatomy import ID, ORIGIN, Person
from core.phantom.contrast import BRAIN, Protocol
from core.vocabulary import PLANES

#: What the shipped model is taught to tell apart; LOCALIZER and FIELDMAP come from headers only.
LEAVES = ("T1", "T1CE", "T2", "FLAIR", "PD", "DWI", "ADC", "FA", "BOLD", "T2STAR", "SWI")

_AXIS = {"sagittal": 0, "coronal": 1, "axial": 2}
#: Direction along a row and down a column for the radiological view of each plane, in LPS.
ORIENTATION = {
    "axial": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "coronal": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
    "sagittal": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
}
_AIR_CAVITIES = 8.0


@dataclass(frozen=True)
class Scan:
    """One rendered series.

    Attributes
    ----------
    slices : list of ndarray of float32, shape (rows, columns)
    positions : list of (3,) float
        *ImagePositionPatient* of each slice, LPS, mm.
    orientation : six floats
        *ImageOrientationPatient*.
    spacing_mm : float
        In-plane, square.
    thickness_mm : float
    """

    slices: list[np.ndarray]
    positions: list[tuple[float, float, float]]
    orientation: tuple[float, ...]
    spacing_mm: float
    thickness_mm: float


def _view(volume: np.ndarray, plane: str) -> np.ndarray:
    """Turn [x, y, z] into [slice, row, column] as radiologists look at it: patient's right on the left, front on
    the left in sagittal slices, head up."""
    if plane == "axial":
        return volume.transpose(2, 1, 0)[:, ::-1, ::-1]
    if plane == "coronal":
        return volume.transpose(1, 2, 0)[:, ::-1, ::-1]
    return volume.transpose(0, 2, 1)[:, ::-1, ::-1]


def _extent(person: Person, plane: str) -> tuple[int, int]:
    """First and last slice that hold brain."""
    axis = _AXIS[plane]
    hit = np.flatnonzero(person.brain.any(tuple(a for a in range(3) if a != axis)))
    return int(hit[0]), int(hit[-1])


def _smooth(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    coarse = rng.normal(size=(cells, cells)).astype(np.float32)
    field = np.asarray(Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
    return field / (np.abs(field).max() + 1e-6)


def _shading(rng: np.random.Generator, shape: tuple[int, int], strength: float) -> np.ndarray:
    """Receive-coil and B1 shading, around 1."""
    return np.exp(strength * (_smooth(rng, shape, 3) + 0.4 * _smooth(rng, shape, 5)))


def _slab(tissue: np.ndarray, signal: np.ndarray, centre: float, thickness: float) -> np.ndarray:
    """Mean signal over the slices of a (slice, row, column) tissue view that a thick slice covers."""
    first = int(np.clip(round(centre - thickness / 2 + 0.5), 0, len(tissue) - 1))
    last = int(np.clip(round(centre + thickness / 2 + 0.5), first + 1, len(tissue)))
    step = 1 if last - first <= 3 else 2
    layers = tissue[first:last:step]
    return signal[layers].mean(0)


def _acquire(
    image: np.ndarray, protocol: Protocol, spacing: float, rng: np.random.Generator, snr: float, shading: float
) -> np.ndarray:
    """Resolution, shading, EPI's faults and Rician noise; ``image`` is on the 1 mm grid."""
    rows, columns = image.shape
    if protocol.kind in ("epi_se", "epi_gre", "adc", "fa"):
        # Off-resonance near the air-filled sinuses moves signal along the phase direction, and takes some away.
        shift = 3.5 * _smooth(rng, image.shape, 4) * rng.uniform(0, 1)
        grid = np.indices(image.shape, np.float32)
        grid[0] += shift
        image = ndimage.map_coordinates(image, grid, order=1, mode="constant")
    size = (max(8, round(columns / spacing)), max(8, round(rows / spacing)))
    out = np.asarray(Image.fromarray(image.astype(np.float32)).resize(size, Image.Resampling.BOX))
    if protocol.kind not in ("adc", "fa"):
        out = out * _shading(rng, out.shape, shading)
    reference = np.percentile(out[out > 0], 70) if (out > 0).any() else 1.0
    sigma = reference / snr
    if protocol.kind in ("adc", "fa"):
        # Noise of a map lives where there is signal; outside it is cut off, or random where nobody masks it.
        return np.clip(out + sigma * rng.normal(size=out.shape) * (out > 0.02), 0, None).astype(np.float32)
    real = out + sigma * rng.normal(size=out.shape)
    return np.hypot(real, sigma * rng.normal(size=out.shape)).astype(np.float32)


def _dropout(person: Person, plane: str, strength: float) -> np.ndarray:
    """Signal kept near air for gradient-echo EPI, as a (slice, row, column) view of float32 in [0, 1]."""
    coarse = (person.tissue[::4, ::4, ::4] == ID["air"]) & _inner_air(person)[::4, ::4, ::4]
    near = ndimage.distance_transform_edt(~coarse) * 4
    keep = 1 - strength * np.exp(-np.clip(near - 4, 0, None) / _AIR_CAVITIES)
    return _view(keep.astype(np.float32), plane)


def _inner_air(person: Person) -> np.ndarray:
    """Air inside the head: sinuses, airways."""
    small = person.tissue[::2, ::2, ::2] > 0
    filled = ndimage.binary_closing(small, iterations=6) & ~small
    return filled.repeat(2, 0).repeat(2, 1).repeat(2, 2)[: person.tissue.shape[0], : person.tissue.shape[1],
                                                         : person.tissue.shape[2]]  # fmt: skip


def render_series(
    person: Person,
    plane: str,
    protocol: Protocol,
    rng: np.random.Generator,
    n_slices: int,
    thickness_mm: float,
    spacing_mm: float,
    field_of_view_mm: int = 240,
) -> Scan:
    """Scan one series.

    Parameters
    ----------
    person : Person
    plane : str
        A word of `PLANES`.
    protocol : Protocol
    rng : numpy.random.Generator
    n_slices : int
        Spread evenly from the bottom to the top of the brain.
    thickness_mm, spacing_mm : float
        Through and in the plane.
    field_of_view_mm : int
        Side of the square field of view.

    Returns
    -------
    Scan
    """
    tissue = _view(person.tissue, plane)
    signal = contrast.signal(contrast.personal_tissue(np.random.default_rng([23, person.seed])), protocol, rng)
    first, last = _extent(person, plane)
    margin = 0.04 * (last - first)
    centres = np.linspace(first + margin, last - margin, n_slices)
    snr, shading = rng.uniform(18, 45), rng.uniform(0.05, 0.25)
    keep = _dropout(person, plane, rng.uniform(0.5, 0.9)) if protocol.kind == "epi_gre" else None
    rows, columns = tissue.shape[1:]
    middle = _middle(person, plane)
    top, left = middle[0] - field_of_view_mm // 2, middle[1] - field_of_view_mm // 2
    slices, positions = [], []
    # Shading belongs to the coil, so that all slices of a series share it.
    seed = rng.integers(2**31)
    for centre in centres:
        image = _slab(tissue, signal, centre, thickness_mm)
        if keep is not None:
            image = image * _enlarge(keep[min(int(centre) // 4, len(keep) - 1)], (rows, columns))
        image = _crop(image, top, left, field_of_view_mm)
        coil = np.random.default_rng(seed)
        slices.append(_acquire(image, protocol, spacing_mm, coil, snr, shading))
        seed += 1 if snr < 30 else 0
        positions.append(_position(plane, centre, top, left, spacing_mm))
    return Scan(slices, positions, ORIENTATION[plane], spacing_mm, thickness_mm)


def _enlarge(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def _middle(person: Person, plane: str) -> tuple[int, int]:
    """Row and column of the brain's centre in a view; a little lower where face and neck are seen."""
    view = _view(person.brain[::2, ::2, ::2], plane).any(0)
    rows, columns = np.flatnonzero(view.any(1)), np.flatnonzero(view.any(0))
    down = 0 if plane == "axial" else 14
    return int(rows[0] + rows[-1]) + down, int(columns[0] + columns[-1])


def _crop(image: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    """A square part that may reach over the edges, filled with 0."""
    out = np.zeros((size, size), np.float32)
    r0, c0 = max(top, 0), max(left, 0)
    r1, c1 = min(top + size, image.shape[0]), min(left + size, image.shape[1])
    if r1 > r0 and c1 > c0:
        out[r0 - top : r1 - top, c0 - left : c1 - left] = image[r0:r1, c0:c1]
    return out


def _position(plane: str, centre: float, top: int, left: int, spacing: float) -> tuple[float, float, float]:
    """LPS position of the centre of the first pixel of a cropped slice."""
    half = (spacing - 1) / 2
    top_mm, left_mm = top + half, left + half
    x_max, y_max, z_max = (np.array(anatomy.SHAPE) - 1 + ORIGIN).tolist()
    if plane == "axial":
        right, front, up = x_max - left_mm, y_max - top_mm, centre + ORIGIN[2]
    elif plane == "coronal":
        right, front, up = x_max - left_mm, centre + ORIGIN[1], z_max - top_mm
    else:
        right, front, up = centre + ORIGIN[0], y_max - left_mm, z_max - top_mm
    return (float(-right), float(-front), float(up))


def training_slices(random_state: int, n: int, size: int = 128) -> Iterator[tuple[np.ndarray, str, str]]:
    """Render one person as slices for training.

    Parameters
    ----------
    random_state : int
        Seed of the person and of everything done to them.
    n : int
    size : int
        Side of the model input.

    Yields
    ------
    image : ndarray of float32, shape (size, size)
        In [0, 1], as `core.images.to_model_input` makes it.
    plane, sequence : str
        The sequence is one of `LEAVES`.
    """
    person = anatomy.make_person(random_state)
    rng = np.random.default_rng([31, random_state])
    values = contrast.personal_tissue(np.random.default_rng([23, random_state]))
    tissue = {plane: np.ascontiguousarray(_view(person.tissue, plane)) for plane in PLANES}
    brain = {plane: _view(person.brain, plane) for plane in PLANES}
    extent = {plane: _extent(person, plane) for plane in PLANES}
    middle = {plane: _middle(person, plane) for plane in PLANES}
    keep = {plane: _dropout(person, plane, 0.8) for plane in PLANES}
    weights = np.array([1.4, 1.4, 1.3, 1.3, 0.8, 1.3, 0.7, 0.45, 0.8, 0.7, 0.5])
    for _ in range(n):
        plane = str(rng.choice(PLANES))
        sequence = str(rng.choice(LEAVES, p=weights / weights.sum()))
        protocol = contrast.draw_protocol(sequence, rng)
        signal = contrast.signal(values * np.exp(rng.normal(0, 0.06, values.shape)), protocol, rng)
        first, last = extent[plane]
        centre = first + (last - first) * rng.uniform(0.04, 0.97)
        thickness = rng.choice([1, 2, 3, 4, 5, 6, 7])
        label = tissue[plane]
        image = _slab(label, signal, centre, thickness)
        at = int(np.clip(round(centre), 0, len(label) - 1))
        if protocol.kind == "epi_gre" and rng.random() < 0.8:
            image = image * _enlarge(keep[plane][min(at // 4, len(keep[plane]) - 1)], image.shape)
        image = _strip(image, label[at], brain[plane][at], rng)
        if rng.random() < 0.5:
            # Anatomy is never uniform inside a tissue.
            image = image * (1 + rng.uniform(0.02, 0.07) * _smooth(rng, image.shape, int(rng.integers(20, 70))))
        spacing = rng.uniform(0.9, 1.9) if protocol.kind not in ("epi_se", "epi_gre", "adc", "fa") else (
            rng.uniform(1.2, 3.2))  # fmt: skip
        view = rng.uniform(195, 262)
        top = middle[plane][0] - view / 2 + rng.normal(0, 9)
        left = middle[plane][1] - view / 2 + rng.normal(0, 6)
        image = _crop(image, round(top), round(left), round(view))
        image = _acquire(image, protocol, spacing, rng, np.exp(rng.uniform(np.log(9), np.log(80))),
                         rng.uniform(0, 0.4))  # fmt: skip
        yield _export(image, spacing, size, rng), plane, sequence


def _strip(image: np.ndarray, label: np.ndarray, inside: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Skull stripping (clean or ragged) and defacing, as shared data have it."""
    draw = rng.random()
    if draw < 0.3:
        mask = inside & BRAIN[label]
        if rng.random() < 0.6:
            mask = ndimage.binary_opening(mask, iterations=2)
        grow = int(rng.integers(-1, 3))
        if grow > 0:
            mask = ndimage.binary_dilation(mask, iterations=grow)
        elif grow < 0:
            mask = ndimage.binary_erosion(mask)
        return image * mask
    return image


def _export(image: np.ndarray, spacing: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """What happens between the scanner and us: reconstruction, windowing, 8 bits, JPEG, cropping, mirroring."""
    image = image.copy()
    if rng.random() < 0.35:
        # tight crop around the head, as public picture collections have it
        strong = image > 0.18 * np.percentile(image, 99)
        rows, columns = np.flatnonzero(strong.any(1)), np.flatnonzero(strong.any(0))
        if len(rows) > 20 and len(columns) > 20:
            pad = rng.integers(0, 8)
            image = image[max(rows[0] - pad, 0) : rows[-1] + pad + 1, max(columns[0] - pad, 0) : columns[-1] + pad + 1]
    if rng.random() < 0.25:
        # matrices are rarely square; in-plane phase resolution is lower
        image = np.asarray(
            Image.fromarray(image).resize(
                (image.shape[1], max(16, round(image.shape[0] * rng.uniform(0.6, 1)))), Image.Resampling.BOX
            ).resize((image.shape[1], image.shape[0]), Image.Resampling.BICUBIC)
        )  # fmt: skip
    if rng.random() < 0.3:
        angle = rng.normal(0, 7)
        image = ndimage.rotate(image, angle, reshape=False, order=1, mode="constant")
    if rng.random() < 0.25:
        image = ndimage.gaussian_filter(image, rng.uniform(0.3, 0.9))
    model, _ = images.to_model_input(image, None, size)
    if rng.random() < 0.5:
        # a narrow or a wide window
        low, high = rng.uniform(-0.06, 0.08), rng.uniform(0.7, 1.2)
        model = np.clip((model - low) / (high - low), 0, 1)
    if rng.random() < 0.5:
        model = model ** np.exp(rng.normal(0, 0.25))
    if rng.random() < 0.25:
        buffer = io.BytesIO()
        Image.fromarray((model * 255).astype(np.uint8)).save(buffer, "JPEG", quality=int(rng.integers(40, 95)))
        model = np.asarray(Image.open(buffer), np.float32) / 255
    if rng.random() < 0.15:
        # a little room around it
        small = round(size * rng.uniform(0.75, 0.97))
        inner = np.asarray(Image.fromarray(model.astype(np.float32)).resize((small, small), Image.Resampling.BILINEAR))
        model = np.zeros((size, size), np.float32)
        y, x = rng.integers(0, size - small + 1, 2)
        model[y : y + small, x : x + small] = inner
    return model.astype(np.float32)
