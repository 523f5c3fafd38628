"""What people and programs do to pictures between the scanner and us, as far as it can be done to one slice."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from core import images
from core.phantom.nuisances import Nuisances


def reformatted(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A stack of thick slices cut across: one direction of the picture is coarse, in steps or interpolated."""
    step = rng.uniform(1.5, 6.5)
    rows, columns = image.shape
    along_rows = rng.random() < 0.7
    small = (columns, max(16, round(rows / step))) if along_rows else (max(16, round(columns / step)), rows)
    way = [Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC][rng.integers(3)]
    coarse = Image.fromarray(image.astype(np.float32)).resize(small, Image.Resampling.BOX)
    return np.clip(np.asarray(coarse.resize((columns, rows), way)), 0, None)


def exported(image: np.ndarray, size: int, odds: Nuisances, rng: np.random.Generator) -> np.ndarray:
    """What happens between the scanner and us: cropping, windowing, 8 bits, JPEG, borders, mirroring and more.

    Parameters
    ----------
    image : ndarray of float32, shape (rows, columns)
        Square pixels, any units.
    size : int
        Side of the model input.
    odds : Nuisances
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (size, size)
        In [0, 1].
    """
    if rng.random() < odds.cropped:
        image = _cropped(image, rng)
    if rng.random() < odds.inscribed:
        image = _inscribed(image, rng)
    if rng.random() < odds.stretched:
        # Pixels that are not square, exported as if they were.
        stretched = (round(image.shape[1] * rng.uniform(0.75, 1.25)), image.shape[0])
        image = np.asarray(Image.fromarray(image).resize(stretched, Image.Resampling.BILINEAR))
    model, _ = images.to_model_input(image, None, size)
    if rng.random() < odds.windowed:
        # a narrow or a wide window
        low, high = rng.uniform(-0.06, 0.07), rng.uniform(0.65, 1.2)
        model = np.clip((model - low) / (high - low), 0, 1)
    if rng.random() < odds.toned:
        model = model ** np.exp(rng.normal(0, 0.25))
    if rng.random() < odds.jpeg:
        buffer = io.BytesIO()
        Image.fromarray((model * 255).astype(np.uint8)).save(buffer, "JPEG", quality=int(rng.integers(40, 95)))
        model = np.asarray(Image.open(buffer), np.float32) / 255
    if rng.random() < odds.bordered:
        # Room around the head, as resampling onto an atlas leaves it.
        small = round(size * rng.uniform(0.65, 0.97))
        inner = np.asarray(Image.fromarray(model.astype(np.float32)).resize((small, small), Image.Resampling.BILINEAR))
        model = np.zeros((size, size), np.float32)
        top, left = rng.integers(0, size - small + 1, 2)
        model[top : top + small, left : left + small] = inner
    if rng.random() < 0.5:
        model = model[:, ::-1]
    if rng.random() < odds.turned:
        model = np.rot90(model, rng.integers(1, 4))
    return np.ascontiguousarray(model, np.float32)


def _cropped(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut tightly around what is bright, as public picture collections have it."""
    strong = image > 0.18 * np.percentile(image, 99)
    rows, columns = np.flatnonzero(strong.any(1)), np.flatnonzero(strong.any(0))
    if len(rows) <= 20 or len(columns) <= 20:
        return image
    pad = int(rng.integers(0, 8))
    return image[max(rows[0] - pad, 0) : rows[-1] + pad + 1, max(columns[0] - pad, 0) : columns[-1] + pad + 1]


def _inscribed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Print words and numbers into some corners, as screens do."""
    rows, columns = image.shape
    font = ImageFont.load_default(max(6.0, rows * rng.uniform(0.03, 0.055)))
    layer = Image.new("L", (columns, rows))
    draw = ImageDraw.Draw(layer)
    signs = np.array(list("ABCDEFGHIKLMNOPRSTUW0123456789.:/ "))
    for left in (True, False):
        for top in (True, False):
            if rng.random() < 0.6:
                lines = ["".join(rng.choice(signs, rng.integers(1, 12))) for _ in range(rng.integers(1, 4))]
                at = (0.01 * columns if left else 0.99 * columns, 0.01 * rows if top else 0.99 * rows)
                anchor = ("l" if left else "r") + ("a" if top else "d")
                draw.multiline_text(at, "\n".join(lines), fill=255, font=font, anchor=anchor, spacing=1)
    return np.maximum(image, np.asarray(layer, np.float32) / 255 * image.max() * rng.uniform(0.6, 1.0))
