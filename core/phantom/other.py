"""Pictures that are no brain: what the shipped model learns to set apart.

None of them is a photograph or a scan. Shapes that cover each other have the statistics of scenes (Lee, Mumford and
Huang, Int J Comput Vis 41:35, 2001, call them dead leaves), and nested ellipses those of trunks and limbs.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from core import images


def not_a_brain(rng: np.random.Generator, size: int, brain: np.ndarray | None = None) -> np.ndarray:
    """Draw a picture that shows no brain.

    Parameters
    ----------
    rng : numpy.random.Generator
    size : int
        Side of the model input.
    brain : ndarray of float32, shape (size, size), optional
        A slice to cut up, so that grey values alone do not tell.

    Returns
    -------
    ndarray of float32, shape (size, size)
        In [0, 1], as `core.images.to_model_input` makes it.
    """
    kinds: list[Callable] = [_noise, _clouds, _leaves, _leaves, _trunk, _trunk, _limb, _limb, _spine, _page]
    if brain is not None:
        kinds += [lambda rng, side: _shuffled(rng, brain)]
    side = int(rng.integers(96, 192))
    picture = kinds[rng.integers(len(kinds))](rng, side).astype(np.float32)
    if rng.random() < 0.4:
        picture = picture + rng.uniform(0.01, 0.15) * rng.standard_normal(picture.shape)
    if rng.random() < 0.5:
        picture = ndimage.gaussian_filter(picture, rng.uniform(0.3, 2))
    if rng.random() < 0.3:
        cut = side - int(rng.integers(0, side // 3))
        picture = picture[:cut] if rng.random() < 0.5 else picture[:, :cut]
    if rng.random() < 0.15:
        picture = -picture
    return images.to_model_input(picture, None, size)[0]


def _noise(rng, side):
    return np.abs(rng.standard_normal((side, side))) ** rng.uniform(0.5, 2)


def _clouds(rng, side):
    """Noise whose power falls with frequency, as in pictures of nature."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((side, side))) / frequency ** rng.uniform(0.6, 2)
    spectrum[0, 0] = 0
    return np.fft.irfft2(spectrum, (side, side))


def _leaves(rng, side):
    """Shapes of all sizes that cover each other, each with a shade and a texture."""
    picture = Image.new("F", (side, side), float(rng.random()))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(5, 150)):
        radius = side * 0.5 * rng.uniform(0.02, 1) ** 2
        centre, turns = rng.uniform(0, side, 2), np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        shade = float(rng.random())
        if rng.random() < 0.4:
            wide, high = radius * rng.uniform(0.4, 1.6, 2)
            draw.ellipse((centre[0] - wide, centre[1] - high, centre[0] + wide, centre[1] + high), fill=shade)
        else:
            points = centre + radius * rng.uniform(0.5, 1.3, (len(turns), 1)) * np.stack(
                [np.cos(turns), np.sin(turns)], 1
            )
            draw.polygon([tuple(point) for point in points], fill=shade)
    ramp = np.linspace(-1, 1, side)
    light = 1 + rng.normal(0, 0.3) * ramp[:, None] + rng.normal(0, 0.3) * ramp
    return np.asarray(picture) * light * (1 + rng.uniform(0, 0.3) * rng.standard_normal((side, side)))


def _ellipse(side, centre, radii, angle=0.0):
    """Where a picture lies inside an ellipse; centre and radii in halves of the side."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    y, x = y - centre[0], x - centre[1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (along / radii[1]) ** 2 + (across / radii[0]) ** 2 < 1


def _rough(rng, mask):
    """Bend a mask's outline."""
    shift = [rng.uniform(0, 6) * ndimage.gaussian_filter(rng.standard_normal(mask.shape), 8) * 8 for _ in range(2)]
    return ndimage.map_coordinates(mask.astype(np.float32), np.indices(mask.shape) + shift, order=1) > 0.5


def _trunk(rng, side):
    """A slice through belly or chest: fat, muscle, organs, a vertebra, two lungs perhaps."""
    high, wide = rng.uniform(0.45, 0.75), rng.uniform(0.75, 0.98)
    skin = rng.uniform(0.03, 0.2)
    picture = np.zeros((side, side))
    fat, muscle = rng.uniform(0.3, 1, 2)
    picture[_rough(rng, _ellipse(side, (0, 0), (high, wide)))] = fat
    picture[_rough(rng, _ellipse(side, (0, 0), (high - skin, wide - skin)))] = muscle
    for _ in range(rng.integers(3, 14)):
        place = rng.uniform(-0.6, 0.6, 2) * (high, wide)
        picture[_rough(rng, _ellipse(side, place, rng.uniform(0.05, 0.35, 2), rng.uniform(0, 3)))] = rng.random()
    if rng.random() < 0.4:
        for way in (-1, 1):
            lung = _rough(rng, _ellipse(side, (-0.05, way * wide * 0.48), (high * 0.6, wide * 0.3)))
            picture[lung] = rng.uniform(0, 0.1)
    picture[_ellipse(side, (high * 0.55, 0), (0.13, 0.15))] = rng.random()
    picture[_ellipse(side, (high * 0.72, 0), (0.05, 0.06))] = rng.random()
    return picture


def _limb(rng, side):
    """A slice along or across a limb: muscles, one or two bones with bright marrow, cartilage between."""
    picture = np.zeros((side, side))
    fat, muscle, marrow = rng.uniform(0.2, 1, 3)
    if rng.random() < 0.5:
        radius = rng.uniform(0.5, 0.95, 2)
        picture[_rough(rng, _ellipse(side, (0, 0), radius))] = fat
        picture[_rough(rng, _ellipse(side, (0, 0), radius * rng.uniform(0.75, 0.95)))] = muscle
        for _ in range(rng.integers(1, 3)):
            place, bone = rng.uniform(-0.35, 0.35, 2), rng.uniform(0.1, 0.3, 2)
            picture[_ellipse(side, place, bone)] = 0.03
            picture[_ellipse(side, place, bone * 0.75)] = marrow
        return picture
    wide = rng.uniform(0.4, 0.8)
    columns = np.abs(np.linspace(-1, 1, side))[None, :] + np.zeros((side, 1))
    picture[columns < wide] = fat
    picture[columns < wide * 0.9] = muscle
    joint, shaft = rng.uniform(-0.3, 0.3), wide * rng.uniform(0.3, 0.6)
    for way in (-1, 1):
        for grow, shade in ((0.0, 0.03), (-0.05, marrow)):
            picture[_ellipse(side, (joint + way * 0.62, 0), (0.58 + grow, shaft + grow))] = shade
            picture[_ellipse(side, (joint + way * 0.24, 0), (0.2 + grow, shaft * 1.5 + grow))] = shade
    return np.rot90(picture) if rng.random() < 0.3 else picture


def _spine(rng, side):
    """A column of vertebrae and discs beside a canal, from the side."""
    picture = np.full((side, side), rng.uniform(0, 0.5))
    bone, disc, fluid, cord = rng.random(4)
    bend, n = rng.uniform(-0.25, 0.25), int(rng.integers(4, 10))
    rows = np.linspace(-1, 1, side)[:, None]
    columns = np.linspace(-1, 1, side)[None, :] - bend * rows**2 - rng.uniform(-0.3, 0.3)
    picture[np.abs(columns - 0.33) < 0.12] = fluid
    picture[np.abs(columns - 0.33) < 0.06] = cord
    picture[(columns > 0.5) & (columns < 0.95)] = rng.random()
    level = np.mod((rows + 1) * n / 2 + np.zeros_like(columns), 1)
    inside = np.abs(columns) < 0.2
    picture[inside & (level < 0.8)] = bone
    picture[inside & (level >= 0.8)] = disc
    return picture


def _page(rng, side):
    """Lines and blocks, as on screens and papers."""
    picture = Image.new("F", (side, side), float(rng.choice([0, 1, rng.random()])))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(3, 60)):
        x, y = rng.uniform(0, side, 2)
        shade = float(rng.random())
        if rng.random() < 0.5:
            draw.rectangle((x, y, x + rng.uniform(2, 60), y + rng.uniform(1, 12)), fill=shade)
        else:
            draw.line((x, y, *rng.uniform(0, side, 2)), fill=shade, width=int(rng.integers(1, 5)))
    return np.asarray(picture)


def _shuffled(rng, brain):
    """A brain's pieces in another order."""
    n = int(rng.integers(3, 9))
    side = len(brain) // n
    tiles = brain[: n * side, : n * side].reshape(n, side, n, side).swapaxes(1, 2).reshape(n * n, side, side)
    return rng.permutation(tiles).reshape(n, n, side, side).swapaxes(1, 2).reshape(n * side, n * side)
