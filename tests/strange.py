"""Pictures of other things than brains, from libraries and drawn here, as a model sees them.

The drawn knees, bellies and spines are no part of what the shipped model learnt from (`core.phantom.other`).
"""

import numpy as np
import pydicom
import skimage.data
from pydicom.data import get_testdata_file
from scipy.ndimage import gaussian_filter

from core import images

#: Scans that pydicom ships and that show no head. MR_small.dcm does show one.
SCANS = ("CT_small.dcm", "JPEG2000.dcm", "examples_palette.dcm", "693_J2KI.dcm", "RG1_UNCR.dcm",
         "examples_rgb_color.dcm", "examples_ybr_color.dcm", "OT-PAL-8-face.dcm", "image_dfl.dcm",
         "rtdose_1frame.dcm")  # fmt: skip
PHOTOGRAPHS = ("astronaut", "brick", "camera", "cat", "cell", "clock", "coffee", "coins", "grass", "gravel", "horse",
               "hubble_deep_field", "immunohistochemistry", "logo", "moon", "page", "rocket", "text")  # fmt: skip
SIDE = 160


def scans() -> list[np.ndarray]:
    """Pixels of pydicom's scans of other things, as far as they are installed."""
    found = []
    for name in SCANS:
        path = get_testdata_file(name, download=False)
        if path:
            pixels = np.asarray(pydicom.dcmread(path).pixel_array, float)
            while pixels.ndim > 2:
                pixels = pixels[..., 0] if pixels.shape[-1] in (3, 4) else pixels[len(pixels) // 2]
            found.append(pixels)
    return found


def photographs() -> list[np.ndarray]:
    """Photographs and drawings that scikit-image ships with its package, in grey."""
    found = []
    for name in PHOTOGRAPHS:
        # Newer names are downloaded; nothing is fetched here.
        try:
            picture = np.asarray(getattr(skimage.data, name)(), float)
        except Exception:
            continue
        found.append(picture if picture.ndim == 2 else picture[..., :3].mean(axis=-1))
    return found


def noise(rng: np.random.Generator, n: int = 12) -> list[np.ndarray]:
    """White, smooth and Rician noise, and ramps."""
    white = [rng.random((SIDE, SIDE)) for _ in range(n // 4)]
    smooth = [gaussian_filter(rng.normal(size=(SIDE, SIDE)), rng.uniform(1, 12)) for _ in range(n // 4)]
    rician = [np.hypot(*rng.normal(size=(2, SIDE, SIDE))) for _ in range(n // 4)]
    ramps = [np.add.outer(rng.normal() * np.arange(SIDE), rng.normal() * np.arange(SIDE)) for _ in range(n // 4)]
    return white + smooth + rician + ramps


def _ellipse(rng, centre, radii, turn=0.0, wobble=0.03):
    y, x = (np.mgrid[:SIDE, :SIDE] - SIDE / 2) / (SIDE / 2)
    cy, cx = np.asarray(centre) + rng.normal(0, 0.02, 2)
    ry, rx = np.asarray(radii) * rng.uniform(0.9, 1.1, 2)
    a, b = (y - cy) * np.cos(turn) + (x - cx) * np.sin(turn), (x - cx) * np.cos(turn) - (y - cy) * np.sin(turn)
    uneven = 1 + wobble * np.sin(3 * np.arctan2(a, b) + rng.uniform(0, 6))
    return (a / ry) ** 2 + (b / rx) ** 2 < uneven


def _finished(picture, rng):
    """Partial volume, shading and noise."""
    y, x = (np.mgrid[:SIDE, :SIDE] - SIDE / 2) / SIDE
    shaded = gaussian_filter(picture, rng.uniform(0.7, 1.5)) * (1 + rng.normal(0, 0.3) * y + rng.normal(0, 0.3) * x)
    return np.hypot(shaded + rng.normal(0, 0.02, shaded.shape), rng.normal(0, 0.02, shaded.shape))


def knee(rng: np.random.Generator) -> np.ndarray:
    """From the side: femur over tibia, a patella in front, muscle and fat around."""
    fat, muscle, marrow, cartilage = rng.uniform([0.7, 0.25, 0.5, 0.4], [1.0, 0.4, 0.9, 0.9])
    y, x = (np.mgrid[:SIDE, :SIDE] - SIDE / 2) / (SIDE / 2)
    picture = np.where(np.abs(x) < 0.62 + 0.06 * np.sin(3 * y), fat, 0.0)
    picture[np.abs(x - 0.05) < 0.5] = muscle
    for bone in (_ellipse(rng, (-0.75, -0.02), (0.6, 0.2)), _ellipse(rng, (-0.2, 0.0), (0.24, 0.36)),
                 _ellipse(rng, (0.3, 0.0), (0.2, 0.36)), _ellipse(rng, (0.85, 0.02), (0.55, 0.19))):  # fmt: skip
        picture[bone] = marrow
    picture[_ellipse(rng, (0.05, 0.0), (0.05, 0.33))] = cartilage
    picture[_ellipse(rng, (-0.25, -0.5), (0.18, 0.08), 0.2)] = marrow
    picture[_ellipse(rng, (0.12, -0.4), (0.15, 0.1), 0.3)] = fat
    return _finished(picture, rng)


def belly(rng: np.random.Generator) -> np.ndarray:
    """Across: fat, muscle, liver, spleen, kidneys, a vertebra, vessels, bowel."""
    fat, muscle, liver, kidney, marrow, fluid = rng.uniform(
        [0.7, 0.2, 0.3, 0.35, 0.4, 0.05], [1.0, 0.35, 0.6, 0.8, 0.8, 1.0]
    )
    picture = np.zeros((SIDE, SIDE))
    picture[_ellipse(rng, (0, 0), (0.66, 0.92))] = fat
    picture[_ellipse(rng, (0, 0), (0.56, 0.8))] = muscle
    picture[_ellipse(rng, (-0.03, 0), (0.5, 0.74))] = 0.6 * fat
    picture[_ellipse(rng, (-0.12, -0.36), (0.34, 0.34))] = liver
    picture[_ellipse(rng, (0.02, 0.55), (0.22, 0.13))] = liver
    for side in (-0.36, 0.36):
        picture[_ellipse(rng, (0.24, side), (0.15, 0.1), side)] = kidney
    picture[_ellipse(rng, (0.32, 0), (0.14, 0.15))] = marrow
    picture[_ellipse(rng, (0.5, 0), (0.05, 0.07))] = fluid
    for vessel in ((0.12, -0.07), (0.12, 0.07)):
        picture[_ellipse(rng, vessel, (0.05, 0.05))] = rng.choice([0.02, 1.0])
    for _ in range(6):
        picture[_ellipse(rng, rng.uniform((-0.35, 0), (0.05, 0.45)), (0.09, 0.12))] = rng.uniform(0.1, 0.9)
    return _finished(picture, rng)


def spine(rng: np.random.Generator) -> np.ndarray:
    """From the side: vertebral bodies and discs in a curve, the cord in its fluid behind, fat."""
    fat, muscle, marrow, disc, cord, fluid = rng.uniform(
        [0.7, 0.2, 0.4, 0.1, 0.4, 0.05], [1.0, 0.35, 0.9, 0.7, 0.6, 1.0]
    )
    y, x = (np.mgrid[:SIDE, :SIDE] - SIDE / 2) / (SIDE / 2)
    bend = 0.12 * np.sin(2.2 * y + rng.uniform(0, 3))
    x = x - bend
    picture = np.where((x > -0.9) & (x < 0.75), muscle, 0.0)
    picture[(x > 0.5) & (x < 0.75)] = fat
    step = rng.uniform(0.22, 0.3)
    column = (x > -0.28) & (x < 0.08)
    picture[column] = np.where((y % step)[column] < 0.78 * step, marrow, disc)
    picture[(x > 0.1) & (x < 0.26)] = fluid
    picture[(x > 0.15) & (x < 0.21)] = cord
    picture[(x > 0.3) & (x < 0.48) & (y % step < 0.5 * step)] = 0.8 * marrow
    return _finished(picture, rng)


def strange_things(n_drawn: int = 12, seed: int = 0) -> dict[str, np.ndarray]:
    """All of them as model input: kind to pictures, (n, side, side)."""
    rng = np.random.default_rng(seed)
    kinds = {"scans of other things": scans(), "photographs": photographs(), "noise": noise(rng)}
    kinds |= {draw.__name__: [draw(rng) for _ in range(n_drawn)] for draw in (knee, belly, spine)}
    return {kind: np.stack([images.to_model_input(one)[0] for one in found]) for kind, found in kinds.items()}
