"""Slices to train on: every person in every plane and sequence, seen through many scanners and many hands.

What says nothing about plane and sequence (`core.phantom.nuisances`) comes from scanners (`core.phantom.scan`, and
ghosts and ringing here) and from what people do to pictures afterwards (stripping and defacing here, the rest in
`core.phantom.export`). Each is drawn independently of the class, so that none of them gives it away; only an
echo-planar readout belongs to its sequences.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from core.images import MODEL_SIZE
from core.phantom import anatomy, contrast, maps, scan
from core.phantom.anatomy import Person
from core.phantom.contrast import BRAIN, Protocol
from core.phantom.export import exported, reformatted
from core.phantom.findings import SICK
from core.phantom.head import at_y, at_z
from core.phantom.nuisances import Nuisances
from core.phantom.scan import Plane
from core.phantom.series import Scan, render_series
from core.phantom.tissues import ID, labels_in
from core.vocabulary import PLANES

__all__ = ["LEAVES", "Scan", "render_series", "training_slices"]

#: What the shipped model is taught to tell apart; LOCALIZER and FIELDMAP come from headers only, OTHER from nothing.
LEAVES = (
    "T1", "T1CE", "T2", "FLAIR", "PD", "DWI", "ADC", "FA", "BOLD", "T2STAR", "SWI", "MRA", "ASL", "PWI",
)  # fmt: skip
_SHARES = np.array([1.5, 1.4, 1.4, 1.4, 0.8, 2.0, 0.7, 0.5, 1.2, 0.7, 0.5, 0.4, 0.5, 0.4])
_SHARES = _SHARES / _SHARES.sum()


@dataclass(frozen=True)
class _Views:
    """One person as one plane sees them, all as [slice, row, column]."""

    tissue: np.ndarray
    defaced: np.ndarray
    brain: np.ndarray
    kept: np.ndarray
    extent: tuple[int, int]
    middle: tuple[int, int]
    sick: np.ndarray

    @classmethod
    def of(cls, person: Person, plane: str) -> "_Views":
        defaced = person.tissue.copy()
        near = ndimage.binary_dilation(person.brain[::4, ::4, ::4], iterations=2)
        near = near.repeat(4, 0).repeat(4, 1).repeat(4, 2)[tuple(slice(n) for n in defaced.shape)]
        defaced[(at_y > 22) & (at_z < -14 + 0.35 * (at_y - 40)) & ~near] = ID["air"]
        volumes = (person.tissue, defaced, person.brain.astype(np.uint8))
        return cls(
            *(np.ascontiguousarray(scan.view(volume, plane)) for volume in volumes),
            scan.signal_kept(person, plane, 0.8),
            scan.extent(person, plane),
            scan.middle(person, plane),
            np.flatnonzero(scan.view(labels_in(person.tissue, *SICK), plane).any((1, 2))),
        )


def training_slices(
    random_state: int, n: int, size: int = MODEL_SIZE, odds: Nuisances | None = None
) -> Iterator[tuple[np.ndarray, str, str]]:
    """Render one person as slices for training.

    Parameters
    ----------
    random_state : int
        Seed of the person and of everything done to them.
    n : int
    size : int
        Side of the model input.
    odds : Nuisances, optional
        The usual ones when not given.

    Yields
    ------
    image : ndarray of float32, shape (size, size)
        In [0, 1], as `core.images.to_model_input` makes it.
    plane, sequence : str
        The sequence is one of `LEAVES`.
    """
    odds = odds or Nuisances()
    person = anatomy.make_person(random_state)
    rng = np.random.default_rng([31, random_state])
    values = contrast.personal_tissue(np.random.default_rng([23, random_state]))
    views = {plane: _Views.of(person, plane) for plane in PLANES}
    for _ in range(n):
        plane = str(rng.choice(PLANES))
        sequence = str(rng.choice(LEAVES, p=_SHARES))
        protocol = contrast.draw_protocol(sequence, rng)
        picture = _picture(views[plane], plane, protocol, values, odds, rng)
        yield exported(picture, size, odds, rng), plane, sequence


def _picture(seen: _Views, plane: str, protocol: Protocol, values: np.ndarray, odds: Nuisances, rng) -> np.ndarray:
    """One slice as it leaves the scanner or the tool that stripped or reformatted it."""
    at = _placed(seen, odds.sick, rng)
    # The field of view keeps the whole brain; how much of the rest is seen differs.
    side = round(rng.uniform(195, 265))
    thickness = _spread(float(rng.choice([1, 1, 2, 3, 4, 5, 6])), 3, odds)
    tissue = seen.defaced if rng.random() < odds.defaced else seen.tissue
    signals = maps.measured(values * np.exp(rng.normal(0, odds.jitter, values.shape)), protocol, rng)
    if protocol.kind == "tof":
        thickness = 1.0  # angiograms are measured in thin slices
    if protocol.kind == "tof" and rng.random() < 0.5:
        # They are mostly looked at as the brightest of a slab.
        steps = rng.uniform(2, 9) * np.arange(-2, 3)
        slab = [replace(at, centre=at.centre + step * at.normal) for step in steps]
        pictures = [np.max([scan.cut(tissue, place, signals[0], side, 1) for place in slab], axis=0)]
    else:
        pictures = [scan.cut(tissue, at, signal, side, thickness) for signal in signals]
    echo_planar = protocol.kind in scan.ECHO_PLANAR
    if protocol.kind == "fa" or (protocol.b_value >= 500 and rng.random() < 0.5):
        pictures = _fibres(pictures, scan.cut(tissue, at, contrast.WHITE, side, thickness), protocol, rng)
    stripped = rng.random() < odds.stripped
    if echo_planar and not stripped and rng.random() < 0.4:
        fat = scan.cut(tissue, at, signals[0] * contrast.FATTY, side, thickness)
        away = int(rng.choice([-1, 1]) * rng.integers(8, 40))
        # Fat is suppressed badly, and lands elsewhere along the phase direction (the columns).
        pictures = [picture - fat + np.roll(fat, away, 0) for picture in pictures]
    if echo_planar or protocol.sequence in ("T2STAR", "SWI"):
        kept = scan.kept_in(seen.kept, at, side)
    if protocol.kind == "epi_gre" and rng.random() < 0.85:
        pictures = [picture * kept for picture in pictures]
    elif protocol.sequence in ("T2STAR", "SWI") and rng.random() < 0.7:
        pictures = [picture * kept ** rng.uniform(0.1, 0.6) for picture in pictures]
    if rng.random() < odds.grain:
        grain = 1 + rng.uniform(0.02, 0.07) * scan.smooth_field(rng, (side, side), int(rng.integers(20, 70)))
        pictures = [picture * grain for picture in pictures]
    if stripped:
        mask = _stripped(seen, at, side, rng)
        pictures = [picture * mask for picture in pictures]
    if plane != "axial" and rng.random() < odds.covered:
        end = side // 2 + round(rng.uniform(5, 90))
        pictures = [np.where(np.arange(side)[:, None] < end, picture, 0) for picture in pictures]
    if echo_planar:
        pictures = _echo_planar(pictures, kept, scan.labels(seen.brain, at, side) > 0, rng)
        spacing = rng.uniform(0.8, 2.6) if protocol.kind in ("epi_se", "adc", "fa") else rng.uniform(1.5, 3.8)
    else:
        blur = rng.uniform(0.3, 0.8) if protocol.sequence != "ASL" else rng.uniform(1, 3)
        pictures = [ndimage.gaussian_filter(picture, blur) for picture in pictures]
        spacing = rng.uniform(0.7, 1.7)
    spacing = _spread(spacing, 1.2, odds)
    if rng.random() < odds.reformatted:
        way = rng.integers(2**31)
        pictures = [reformatted(picture, np.random.default_rng(way)) for picture in pictures]
    pictures = [scan.to_matrix(picture.astype(np.float32), spacing) for picture in pictures]
    worst, best = (8, 20) if rng.random() < odds.noisy else (20, 120)
    snr = np.exp(rng.uniform(np.log(worst), np.log(best)))
    if protocol.kind in contrast.MAPS:
        return maps.computed(pictures, protocol, snr, rng, stripped or rng.random() < 0.75)
    return scan.add_noise(_received(pictures[0], odds, rng).astype(np.float32), snr, rng)


def _spread(drawn: float, usual: float, odds: Nuisances) -> float:
    return usual + (drawn - usual) * odds.resolutions


def _placed(seen: _Views, sick: float, rng: np.random.Generator) -> Plane:
    first, last = seen.extent
    depth = first + (last - first) * rng.uniform(0.03, 0.97)
    if len(seen.sick) and rng.random() < sick:
        depth = rng.choice(seen.sick)
    return scan.place(
        (depth, *(seen.middle + rng.normal(0, (8, 5)))),
        rng.normal(0, (4, 2.5)),
        rng.normal(0, 4) if rng.random() < 0.6 else rng.normal(0, 12),
    )


def _fibres(pictures: list[np.ndarray], white: np.ndarray, protocol: Protocol, rng) -> list[np.ndarray]:
    """What the direction of fibres does to anisotropy, and to a picture weighted along one direction."""
    if protocol.kind == "fa":
        return [pictures[0] * maps.tracts(white, rng), pictures[1]]
    angle = scan.smooth_field(rng, white.shape, int(rng.integers(6, 14)))
    return [picture * (1 + white * (np.exp(rng.uniform(0.3, 1.1) * angle) - 1)) for picture in pictures]


def _echo_planar(pictures: list[np.ndarray], kept: np.ndarray, brain: np.ndarray, rng) -> list[np.ndarray]:
    """Distortion, blur and ghosts, all along the phase direction (the columns)."""
    shape = pictures[0].shape
    shift = rng.uniform(0, 4) * scan.smooth_field(rng, shape, 4)
    # Near air in the head the field is worst: there signal is stretched, or piles up.
    shift += rng.choice([-1, 1]) * rng.uniform(0, 15) * (1 - kept)
    if brain.any():
        # The field is made even over the brain alone: face and neck are torn and lose signal.
        away = np.minimum(ndimage.distance_transform_edt(~brain) / 70, 1).astype(np.float32)
        shift += rng.uniform(0, 40) * away**2 * scan.smooth_field(rng, shape, 9)
        fades = 1 - rng.uniform(0, 0.9) * away
        pictures = [picture * fades for picture in pictures]
    # Signal decays along the train, which blurs its direction; functional runs pay for speed with resolution.
    blur = (rng.uniform(0.3, 1.6), rng.uniform(0.3, 0.8))
    share = rng.uniform(0.01, 0.08) if rng.random() < 0.5 else 0.0
    answer = []
    for picture in pictures:
        picture = ndimage.gaussian_filter(scan.distort(picture, shift), blur)
        # Odd and even lines differ a little, which copies the head half a field of view away.
        answer.append(picture + share * np.roll(picture, shape[0] // 2, 0) if share else picture)
    return answer


def _received(image: np.ndarray, odds: Nuisances, rng: np.random.Generator) -> np.ndarray:
    """Coils, a field of view too small, motion, and lines that were not measured."""
    image = image * scan.shading(rng, image.shape, rng.uniform(0, 0.45))
    if rng.random() < odds.uneven:
        image = image * scan.surface_coils(image, 0.1 + 1.2 * rng.random() ** 1.5, tuple(rng.normal(0, 0.25, 2)))
    if rng.random() < odds.wrapped:
        image = _wrapped(image, rng)
    if rng.random() < odds.ghosts:
        image = _ghost(image, rng)
    if rng.random() < odds.ringing:
        image = _ringing(image, rng)
    return image


def _stripped(seen: _Views, at: Plane, side: int, rng: np.random.Generator) -> np.ndarray:
    """The mask of skull stripping, tight, loose or ragged, as shared data have it."""
    mask = scan.labels(seen.brain, at, side) > 0
    tissue = scan.labels(seen.tissue, at, side)
    if rng.random() < 0.75:
        mask &= BRAIN[tissue]
        mask = ndimage.binary_opening(mask, iterations=int(rng.integers(1, 3)))
    draw = rng.random()
    if draw < 0.2:
        # Tight ones take the fluid outside the brain along.
        fluid = tissue == ID["csf"]
        mask &= ~(fluid & ~ndimage.binary_erosion(mask, iterations=8))
    elif draw < 0.45:
        mask = ndimage.binary_dilation(mask, iterations=int(rng.integers(1, 4)))
    elif draw < 0.6:
        mask = ndimage.binary_erosion(mask, iterations=int(rng.integers(1, 3)))
    elif draw < 0.7:
        mask &= scan.smooth_field(rng, mask.shape, 12) > -0.75
    return mask


def _wrapped(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A field of view narrower than the head along the phase direction: what lies outside folds back."""
    axis = int(rng.integers(2))
    seen = np.flatnonzero((image > 0.1 * image.max()).any(1 - axis))
    if len(seen) < 20:
        return image
    length = round((seen[-1] - seen[0] + 1) * rng.uniform(0.85, 0.98))
    start = (seen[0] + seen[-1] - length) // 2
    folded = np.zeros((length, image.shape[1 - axis]), np.float32)
    np.add.at(folded, (np.arange(image.shape[axis]) - start) % length, image if axis == 0 else image.T)
    return folded if axis == 0 else folded.T


def _ghost(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Motion or pulsation: faint copies along the phase direction."""
    shift, axis = int(rng.integers(3, max(4, image.shape[0] // 2))), int(rng.integers(2))
    share = rng.uniform(0.02, 0.15)
    return (1 - share) * image + share / 2 * (np.roll(image, shift, axis) + np.roll(image, -shift, axis))


def _ringing(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Spatial frequencies cut off in one direction, as a short phase encoding does."""
    spectrum = np.fft.rfft2(image)
    limit = rng.uniform(0.55, 0.9) * 0.5
    spectrum[np.abs(np.fft.fftfreq(image.shape[0])) > limit] = 0
    return np.abs(np.fft.irfft2(spectrum, image.shape)).astype(np.float32)
