"""Whole series: the slices of one protocol through one person, with their places in the scanner."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from core.phantom import contrast, maps, scan
from core.phantom.anatomy import Person
from core.phantom.contrast import Protocol
from core.phantom.tissues import ORIGIN, SHAPE

#: LPS directions of the next slice, the next row and the next column in the radiological view of each plane.
_DIRECTIONS = {
    "axial": ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
    "coronal": ((0, -1, 0), (0, 0, -1), (1, 0, 0)),
    "sagittal": ((-1, 0, 0), (0, 0, -1), (0, 1, 0)),
}


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
    step_mm : float
        From one slice to the next.
    """

    slices: list[np.ndarray]
    positions: list[tuple[float, float, float]]
    orientation: tuple[float, ...]
    spacing_mm: float
    thickness_mm: float
    step_mm: float


def render_series(
    person: Person,
    plane: str,
    protocol: Protocol,
    rng: np.random.Generator,
    n_slices: int,
    thickness_mm: float,
    spacing_mm: float,
    field_of_view_mm: int = 240,
    tilt_deg: tuple[float, float] = (0.0, 0.0),
) -> Scan:
    """Scan one series.

    Parameters
    ----------
    person : Person
    plane : str
        A word of `core.vocabulary.PLANES`.
    protocol : Protocol
    rng : numpy.random.Generator
    n_slices : int
        Spread evenly from one end of the brain to the other.
    thickness_mm, spacing_mm : float
        Through and in the plane.
    field_of_view_mm : int
        Side of the square field of view.
    tilt_deg : (float, float)
        About the rows and about the columns.

    Returns
    -------
    Scan
    """
    tissue = np.ascontiguousarray(scan.view(person.tissue, plane))
    values = contrast.personal_tissue(np.random.default_rng([23, person.seed]))
    signals = maps.measured(values, protocol, rng)
    first, last = scan.extent(person, plane)
    margin = 0.04 * (last - first)
    centres = np.linspace(first + margin, last - margin, n_slices)
    snr, bias = rng.uniform(18, 45), rng.uniform(0.05, 0.25)
    is_map, echo_planar = protocol.kind in contrast.MAPS, protocol.kind in scan.ECHO_PLANAR
    keep = scan.signal_kept(person, plane, rng.uniform(0.5, 0.9)) if protocol.kind == "epi_gre" else None
    size = field_of_view_mm
    # The shading belongs to the coil and the distortion to the head: all slices of a series share them.
    shift = rng.uniform(0, 3.5) * scan.smooth_field(rng, (size, size), 4)
    matrix = round(size / spacing_mm)
    coil = scan.shading(rng, (matrix, matrix), bias)
    # A stack stands on its slices: their middles follow the normal, also when that is tilted.
    middle = np.array([(first + last) / 2, *scan.middle(person, plane)])
    normal = scan.place(middle, tilt_deg).normal
    slices, planes = [], []
    for centre in centres:
        at = scan.place(middle + (centre - middle[0]) * normal, tilt_deg)
        pictures = [scan.cut(tissue, at, signal, size, thickness_mm) for signal in signals]
        if protocol.kind == "fa":
            pictures[0] *= maps.tracts(scan.cut(tissue, at, contrast.WHITE, size, thickness_mm), rng)
        if keep is not None:
            pictures = [picture * scan.kept_in(keep, at, size) for picture in pictures]
        # Without distortion there still is the scanner's point spread: voxels are no sharp boxes.
        pictures = [
            scan.to_matrix(
                scan.distort(picture, shift) if echo_planar else ndimage.gaussian_filter(picture, 0.45), spacing_mm
            )
            for picture in pictures
        ]
        if is_map:
            # Files of ours hold no negative numbers.
            slices.append(np.maximum(maps.computed(pictures, protocol, snr, rng, masked=True), 0))
        else:
            slices.append(scan.add_noise(pictures[0] * coil, snr, rng))
        planes.append(at)
    corner = (size - size / matrix) / 2
    step = float(np.diff(centres).mean()) if n_slices > 1 else thickness_mm
    return Scan(
        slices,
        [_to_patient(plane, p.centre - corner * (p.down + p.along)) for p in planes],
        (*_direction(plane, planes[0].along), *_direction(plane, planes[0].down)),
        size / matrix,
        thickness_mm,
        step,
    )


def _direction(plane: str, vector: np.ndarray) -> tuple[float, ...]:
    """A direction of a view as an LPS unit vector."""
    return tuple((vector @ np.array(_DIRECTIONS[plane], float)).tolist())


def _to_patient(plane: str, point: np.ndarray) -> tuple[float, ...]:
    """A point of a view as LPS millimetres."""
    far = np.array(SHAPE) - 1 + ORIGIN
    # Where slice, row and column 0 lie: rows and columns of a view run against the volume's axes.
    start = {
        "axial": (-far[0], -far[1], ORIGIN[2]),
        "coronal": (-far[0], -ORIGIN[1], far[2]),
        "sagittal": (-ORIGIN[0], -far[1], far[2]),
    }[plane]
    return tuple((np.array(start, float) + point @ np.array(_DIRECTIONS[plane], float)).tolist())
