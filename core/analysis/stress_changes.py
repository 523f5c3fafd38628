"""What may be worse at another hospital: changes of a slice, each at a few strengths in units that people use.

Changes act on the slice's own pixels, before the project's one cut around the head, resize and normalisation: noise,
blur, JPEG and coarse pixels are of the acquisition or of the export, and what those three mend should count as mended.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, rotate

from core import images

_FWHM = 2.3548  # full width at half maximum of a Gaussian, in standard deviations


@dataclass(frozen=True)
class Slice:
    """A slice's own pixels, and what a change has to know of them.

    Attributes
    ----------
    pixels : ndarray of float32, shape (rows, columns)
    spacing_mm : (float, float)
        Distance between rows and between columns.
    """

    pixels: np.ndarray
    spacing_mm: tuple[float, float] = (1.0, 1.0)

    @cached_property
    def range(self) -> tuple[float, float]:
        """Black and white point."""
        return images.intensity_range(self.pixels)

    @cached_property
    def signal(self) -> float:
        """Mean of the head above the black point, the S of a signal-to-noise ratio; above 0."""
        low, high = self.range
        head = self.pixels[self.pixels > low + 0.1 * (high - low)]
        return float(head.mean() - low) if head.size else high - low


@dataclass(frozen=True)
class Change:
    """One way in which a slice can differ from what a model has learnt from.

    Attributes
    ----------
    name, title : str
        For addresses and for people.
    unit : str
        What the strengths are, for an axis.
    at : str
        How a sentence names a strength, with one pair of braces.
    strengths : tuple
        From mild to strong.
    apply : callable
        ``(Slice, strength, rng) -> Slice``.
    why : str
        Where it is met.
    """

    name: str
    title: str
    unit: str
    at: str
    strengths: tuple[float | str, ...]
    apply: Callable[[Slice, float, np.random.Generator], Slice]
    why: str

    @property
    def growing(self) -> bool:
        """Whether each strength is more of the same; else they are kinds, or lie on two sides of none."""
        return self.name not in ("gamma", "inversion", "mirroring")

    def label(self, strength: float | str) -> str:
        """Write a strength as it stands on an axis."""
        return strength if isinstance(strength, str) else f"{strength:g}"


def noise(made: Slice, snr: float, rng: np.random.Generator) -> Slice:
    """Add Rician noise: that of a magnitude image, whose real and imaginary part have noise of their own.

    Gudbjartsson & Patz, "The Rician distribution of noisy MRI data", Magn. Reson. Med. 34, 1995.
    """
    low = made.range[0]
    sigma = made.signal / snr
    real = made.pixels - low + rng.normal(0, sigma, made.pixels.shape)
    return _with(made, low + np.hypot(real, rng.normal(0, sigma, made.pixels.shape)))


def blur(made: Slice, fwhm_mm: float, rng: np.random.Generator) -> Slice:
    """Smear by a Gaussian of that full width at half maximum, as motion and thick point spreads do."""
    return _with(made, gaussian_filter(made.pixels, [fwhm_mm / _FWHM / mm for mm in made.spacing_mm]))


def bias_field(made: Slice, percent: float, rng: np.random.Generator) -> Slice:
    """Multiply by a smooth field that spans that many percent around 1, along a direction of the slice's own."""
    rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in made.pixels.shape)
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * rows[:, None] + np.sin(angle) * columns
    across = np.cos(angle) * columns - np.sin(angle) * rows[:, None]
    field = along + 0.5 * along * across - 0.5 * across**2
    # A slice of one pixel has no range.
    field = 2 * (field - field.min()) / max(float(np.ptp(field)), 1e-6) - 1
    low = made.range[0]
    return _with(made, low + (made.pixels - low) * (1 + percent / 200 * field))


def rotation(made: Slice, degrees: float, rng: np.random.Generator) -> Slice:
    """Turn about the middle, one way or the other, on a grid of square pixels; what comes in at the corners is air."""
    square = _square(made)
    turned = rotate(square.pixels, degrees * rng.choice([-1, 1]), reshape=False, order=1, cval=made.range[0])
    return Slice(turned, square.spacing_mm)


def inversion(made: Slice, how: str, rng: np.random.Generator) -> Slice:
    """Turn black into white: all of the picture (a MONOCHROME1 export), or the head alone, the air left black."""
    low, high = made.range
    turned = low + high - np.clip(made.pixels, low, high)
    if how == "head":
        turned = np.where(made.pixels > low + 0.1 * (high - low), turned, made.pixels)
    return _with(made, turned)


def gamma(made: Slice, exponent: float, rng: np.random.Generator) -> Slice:
    """Bend the grey values: below 1 dark tissue becomes bright, above 1 bright tissue becomes dark."""
    low, high = made.range
    return _with(made, low + (high - low) * np.clip((made.pixels - low) / (high - low), 0, 1) ** exponent)


def jpeg(made: Slice, quality: float, rng: np.random.Generator) -> Slice:
    """Export to 8 bits and compress as JPEG, as pictures in reports, slides and messengers are."""
    file = io.BytesIO()
    Image.fromarray(images.to_display(made.pixels)).save(file, "JPEG", quality=int(quality))
    return _with(made, np.asarray(Image.open(file), np.float32))


def resolution(made: Slice, mm: float, rng: np.random.Generator) -> Slice:
    """Make pixels that large, averaging; a slice whose pixels are larger already stays as it is."""
    rows, columns = made.pixels.shape
    new = [
        max(4, round(n * own / mm)) if own < mm else n for n, own in zip((rows, columns), made.spacing_mm, strict=True)
    ]
    small = Image.fromarray(made.pixels).resize((new[1], new[0]), Image.Resampling.BOX)
    spacing = made.spacing_mm[0] * rows / new[0], made.spacing_mm[1] * columns / new[1]
    return Slice(np.asarray(small, np.float32), spacing)


def cropping(made: Slice, percent: float, rng: np.random.Generator) -> Slice:
    """Cut that share of height and width away at each of the four edges."""
    down, along = (int(n * percent / 100) for n in made.pixels.shape)
    rows, columns = made.pixels.shape
    return Slice(made.pixels[down : rows - down, along : columns - along], made.spacing_mm)


def mirroring(made: Slice, how: str, rng: np.random.Generator) -> Slice:
    """Swap sides, as careless exports and other conventions of display do."""
    sides = {"left–right": np.s_[:, ::-1], "top–bottom": np.s_[::-1], "both": np.s_[::-1, ::-1]}
    return _with(made, made.pixels[sides[how]])


CHANGES: tuple[Change, ...] = (
    Change("noise", "Noise", "signal-to-noise ratio", "an SNR of {}", (40.0, 20.0, 10.0, 5.0, 3.0), noise,
           "low field, thin slices, fast protocols"),
    Change("blur", "Blur", "width of the blur (mm)", "a blur of {} mm", (1.5, 3.0, 4.5, 6.0, 9.0), blur,
           "motion, interpolated pictures"),
    Change("bias", "Bias field", "range of the shading (%)", "a shading of {} %", (20.0, 40.0, 80.0, 120.0, 160.0),
           bias_field, "surface coils, no correction of the field"),
    Change("rotation", "Rotation", "turned by (degrees)", "a turn of {}°", (5.0, 10.0, 20.0, 45.0, 90.0), rotation,
           "tilted heads, oblique stacks"),
    Change("resolution", "Resolution", "pixel size (mm)", "pixels of {} mm", (1.5, 2.0, 3.0, 4.0, 6.0), resolution,
           "diffusion, perfusion, thumbnails"),
    Change("cropping", "Cropping", "cut at each edge (%)", "a cut of {} % at each edge", (5.0, 10.0, 15.0, 20.0, 30.0),
           cropping, "tight fields of view, screenshots"),
    Change("gamma", "Gamma", "exponent", "a gamma of {}", (0.4, 0.6, 0.8, 1.25, 1.7, 2.5), gamma,
           "other windows, pictures of screens"),
    Change("jpeg", "JPEG", "quality", "JPEG quality {}", (75.0, 50.0, 25.0, 10.0, 5.0), jpeg,
           "slides, reports, teaching files"),
    Change("inversion", "Inverted intensity", "what is inverted", "an inverted {}", ("head", "picture"), inversion,
           "MONOCHROME1 read wrongly, negatives"),
    Change("mirroring", "Mirroring", "sides swapped", "swapped sides ({})", ("left–right", "top–bottom", "both"),
           mirroring, "NIfTI and neurological convention"),
)  # fmt: skip


def change_named(name: str) -> Change | None:
    """Return a change by its name, or None."""
    return next((change for change in CHANGES if change.name == name), None)


def changed(made: Slice, change: Change, strength: float | str, seed: tuple[int, ...]) -> Slice:
    """Change a slice; one seed gives the same each time.

    Parameters
    ----------
    made : Slice
    change : Change
    strength : float or str
        One of the change's, or another in its unit.
    seed : tuple of int
        Names the slice. Strengths of one change share what chance decides, so that they differ in strength alone.
    """
    order = [one.name for one in CHANGES].index(change.name)
    return change.apply(made, strength, np.random.default_rng([*seed, order]))


def model_input(made: Slice, size: int) -> np.ndarray:
    """Turn a slice into what the model sees, (size, size) float32, in steps of 1/255 as in training."""
    image, _ = images.to_model_input(made.pixels, made.spacing_mm, size)
    return np.round(image * 255) * np.float32(1 / 255)


def slice_of(pixels: np.ndarray, spacing_mm: tuple[float, float]) -> Slice:
    """Make a slice of what a file holds; pixels that are not finite are air, distances that are none are 1 mm."""
    pixels = np.asarray(pixels, np.float32)
    spacing = tuple(float(mm) if 0 < mm < np.inf else 1.0 for mm in spacing_mm)
    if not np.isfinite(pixels).all():
        low, high = images.intensity_range(pixels)
        pixels = np.nan_to_num(pixels, nan=low, posinf=high, neginf=low)
    return Slice(pixels, spacing)


def _with(made: Slice, pixels: np.ndarray) -> Slice:
    return Slice(np.ascontiguousarray(pixels, np.float32), made.spacing_mm)


def _square(made: Slice) -> Slice:
    """Give a slice square pixels, the smaller of its two distances."""
    row_mm, column_mm = made.spacing_mm
    if abs(row_mm - column_mm) < 1e-3 * row_mm:
        return made
    mm = min(row_mm, column_mm)
    rows, columns = made.pixels.shape
    size = max(1, round(columns * column_mm / mm)), max(1, round(rows * row_mm / mm))
    return Slice(np.asarray(Image.fromarray(made.pixels).resize(size, Image.Resampling.BILINEAR), np.float32), (mm, mm))
