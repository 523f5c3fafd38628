"""Slices to train on: every person in every plane and sequence, seen through many scanners and many hands.

Nuisances come in two kinds: what a scanner does (`core.phantom.scan`, and ghosts, ringing and reformats here) and what
people do to pictures afterwards (stripping, defacing, cropping, windowing, JPEG). Each is drawn independently of plane
and sequence, so that none of them gives the class away; only an echo-planar readout belongs to its sequences.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from core import images
from core.phantom import anatomy, contrast, scan
from core.phantom.anatomy import Person
from core.phantom.contrast import BRAIN
from core.phantom.findings import SICK
from core.phantom.head import at_y, at_z
from core.phantom.scan import Plane
from core.phantom.series import Scan, render_series
from core.phantom.tissues import ID, TISSUES, labels_in
from core.vocabulary import PLANES

__all__ = ["LEAVES", "Scan", "render_series", "training_slices"]

#: What the shipped model is taught to tell apart; LOCALIZER and FIELDMAP come from headers only.
LEAVES = ("T1", "T1CE", "T2", "FLAIR", "PD", "DWI", "ADC", "FA", "BOLD", "T2STAR", "SWI")
_WHITE = (np.arange(len(TISSUES)) == ID["white_matter"]).astype(np.float32)
_SHARES = np.array([1.4, 1.4, 1.3, 1.3, 0.8, 1.3, 0.7, 0.45, 0.8, 0.7, 0.5]) / 10.65


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
    views = {plane: _Views.of(person, plane) for plane in PLANES}
    for _ in range(n):
        plane = str(rng.choice(PLANES))
        sequence = str(rng.choice(LEAVES, p=_SHARES))
        protocol = contrast.draw_protocol(sequence, rng)
        signal = contrast.signal(values * np.exp(rng.normal(0, 0.06, values.shape)), protocol, rng)
        yield _picture(views[plane], plane, protocol, signal, size, rng), plane, sequence


def _picture(seen: _Views, plane: str, protocol, signal: np.ndarray, size: int, rng) -> np.ndarray:
    first, last = seen.extent
    depth = first + (last - first) * rng.uniform(0.03, 0.97)
    if len(seen.sick) and rng.random() < 0.35:
        # What people publish shows what they looked for.
        depth = rng.choice(seen.sick)
    at = scan.place(
        (depth, *(seen.middle + rng.normal(0, (8, 5)))),
        rng.normal(0, (4, 2.5)),
        rng.normal(0, 4) if rng.random() < 0.6 else rng.normal(0, 12),
    )
    # The field of view keeps the whole brain; how much of the rest is seen differs.
    side = round(rng.uniform(195, 265))
    thickness = float(rng.choice([1, 1, 2, 3, 4, 5, 6]))
    tissue = seen.defaced if rng.random() < 0.15 else seen.tissue
    image = scan.cut(tissue, at, signal, side, thickness)
    echo_planar, is_map = protocol.kind in scan.ECHO_PLANAR, protocol.kind in ("adc", "fa")
    if protocol.kind == "epi_gre" and rng.random() < 0.85:
        image = image * scan.kept_in(seen.kept, at, side)
    if protocol.kind == "epi_se" and protocol.b_value >= 500 and rng.random() < 0.5:
        # One direction instead of the trace: fibres across it are brighter than fibres along it.
        fibres = scan.cut(tissue, at, _WHITE, side, thickness)
        angle = scan.smooth_field(rng, image.shape, int(rng.integers(6, 14)))
        image = image * (1 + fibres * (np.exp(rng.uniform(0.15, 0.6) * angle) - 1))
    if rng.random() < 0.5:
        # Anatomy is never uniform inside a tissue.
        image = image * (1 + rng.uniform(0.02, 0.07) * scan.smooth_field(rng, image.shape, int(rng.integers(20, 70))))
    if rng.random() < 0.35:
        image = image * _stripped(seen, at, side, rng)
    if echo_planar:
        image = scan.distort(image, rng.uniform(0, 4) * scan.smooth_field(rng, image.shape, 4))
        # Signal decays along the train, which blurs its direction; functional runs pay for speed with resolution.
        image = ndimage.gaussian_filter(image, (rng.uniform(0.4, 1.6), rng.uniform(0.3, 0.8)))
        spacing = rng.uniform(1.8, 4.0) if protocol.kind == "epi_gre" else rng.uniform(1.0, 2.7)
    else:
        image = ndimage.gaussian_filter(image, rng.uniform(0.3, 0.8))
        spacing = rng.uniform(0.9, 1.9)
    if rng.random() < 0.25:
        image = _reformatted(image, rng)
    image = scan.to_matrix(image, spacing)
    if not is_map:
        image = image * scan.shading(rng, image.shape, rng.uniform(0, 0.45))
        if rng.random() < 0.35:
            image = image * scan.surface_coils(image, rng.uniform(0.1, 0.7))
        if rng.random() < 0.15:
            image = _ghost(image, rng)
        if rng.random() < 0.2:
            image = _ringing(image, rng)
    elif rng.random() < 0.3:
        # Where nobody masks a map, the air holds whatever noise gave.
        image = np.where(image > 0.02, image, rng.uniform(0, 1.5) * image.max() * rng.random(image.shape) ** 2)
    snr = np.exp(rng.uniform(np.log(8), np.log(80)))
    return _exported(scan.add_noise(image.astype(np.float32), snr, rng, is_map), size, rng)


def _stripped(seen: _Views, at: Plane, side: int, rng: np.random.Generator) -> np.ndarray:
    """The mask of skull stripping, tight, loose or ragged, as shared data have it."""
    mask = scan.labels(seen.brain, at, side) > 0
    if rng.random() < 0.75:
        mask &= BRAIN[scan.labels(seen.tissue, at, side)]
        mask = ndimage.binary_opening(mask, iterations=int(rng.integers(1, 3)))
    draw = rng.random()
    if draw < 0.2:
        # Tight ones take the fluid outside the brain along.
        fluid = scan.labels(seen.tissue, at, side) == ID["csf"]
        mask &= ~(fluid & ~ndimage.binary_erosion(mask, iterations=8))
    elif draw < 0.45:
        mask = ndimage.binary_dilation(mask, iterations=int(rng.integers(1, 4)))
    elif draw < 0.6:
        mask = ndimage.binary_erosion(mask, iterations=int(rng.integers(1, 3)))
    elif draw < 0.7:
        mask &= scan.smooth_field(rng, mask.shape, 12) > -0.75
    return mask


def _reformatted(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A stack of thick slices cut across: one direction of the picture is coarse, in steps or interpolated."""
    step = rng.uniform(1.5, 6.5)
    rows, columns = image.shape
    along_rows = rng.random() < 0.7
    small = (columns, max(16, round(rows / step))) if along_rows else (max(16, round(columns / step)), rows)
    way = [Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC][rng.integers(3)]
    coarse = Image.fromarray(image.astype(np.float32)).resize(small, Image.Resampling.BOX)
    return np.clip(np.asarray(coarse.resize((columns, rows), way)), 0, None)


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


def _exported(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """What happens between the scanner and us: cropping, resizing, windowing, 8 bits, JPEG, borders, mirroring."""
    if rng.random() < 0.35:
        image = _cropped(image, rng)
    if rng.random() < 0.12:
        # Pixels that are not square, exported as if they were.
        stretched = (round(image.shape[1] * rng.uniform(0.75, 1.25)), image.shape[0])
        image = np.asarray(Image.fromarray(image).resize(stretched, Image.Resampling.BILINEAR))
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
    if rng.random() < 0.2:
        # Room around the head, as resampling onto an atlas leaves it.
        small = round(size * rng.uniform(0.65, 0.97))
        inner = np.asarray(Image.fromarray(model.astype(np.float32)).resize((small, small), Image.Resampling.BILINEAR))
        model = np.zeros((size, size), np.float32)
        top, left = rng.integers(0, size - small + 1, 2)
        model[top : top + small, left : left + small] = inner
    if rng.random() < 0.5:
        model = model[:, ::-1]
    return np.ascontiguousarray(model, np.float32)


def _cropped(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut tightly around what is bright, as public picture collections have it."""
    strong = image > 0.18 * np.percentile(image, 99)
    rows, columns = np.flatnonzero(strong.any(1)), np.flatnonzero(strong.any(0))
    if len(rows) <= 20 or len(columns) <= 20:
        return image
    pad = int(rng.integers(0, 8))
    return image[max(rows[0] - pad, 0) : rows[-1] + pad + 1, max(columns[0] - pad, 0) : columns[-1] + pad + 1]
