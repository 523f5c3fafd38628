"""Occlusion: what happens to the class score when a patch of the slice is blurred away."""

import keras
import numpy as np
from scipy import ndimage

from core.explanations.cuts import chunks
from core.explanations.scaling import scaled
from core.explanations.scores import aims

#: Patches along a side, each an eighth of it; they overlap by half. Their number squared is the passes a slice takes.
ALONG_SIDE, SHARE = 15, 8


def occlusion(view: keras.Model, images, class_index, layer: str = "", against=None, random_state: int = 0):
    """Mean fall of the class score over the patches that cover a pixel (Zeiler and Fergus, ECCV 2014).

    No gradient and no layer, so nothing is assumed of the model: the slow reference. A patch is filled with the slice
    itself, blurred beyond recognition, as a grey square on black air would be a thing of its own.
    """
    heat = np.zeros(images.shape, np.float32)
    for image, weights, place in zip(images, aims(view.output_shape[-1], class_index, against), heat, strict=True):
        place[...] = _of_one(view, image, weights)
    return scaled(heat)


def _of_one(view: keras.Model, image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    patches = _patches(len(image))
    blurred = ndimage.gaussian_filter(image, patches[0][0].stop - patches[0][0].start, mode="nearest")
    before = (view.predict_on_batch(image[None, ..., None]) @ weights)[0]
    fall, covered = np.zeros_like(image), np.zeros_like(image)
    for some in chunks(view, len(patches)):
        copies = np.repeat(image[None], len(patches[some]), axis=0)
        for copy, patch in zip(copies, patches[some], strict=True):
            copy[patch] = blurred[patch]
        for patch, after in zip(patches[some], view.predict_on_batch(copies[..., None]) @ weights, strict=True):
            fall[patch] += before - after
            covered[patch] += 1
    # What falls by less than single precision can tell is noise, and would be stretched to a map.
    mean = fall / covered
    return np.where(mean > 1e-5 * max(1.0, abs(float(before))), mean, 0)


def _patches(side: int) -> list[tuple[slice, slice]]:
    """Cover a square of any side with patches, the outermost at its edges.

    Examples
    --------
    >>> patches = _patches(96)
    >>> len(patches), patches[0], patches[-1]
    (225, (slice(0, 12, None), slice(0, 12, None)), (slice(84, 96, None), slice(84, 96, None)))
    """
    width = max(1, round(side / SHARE))
    starts = np.unique(np.linspace(0, side - width, ALONG_SIDE).round().astype(int)).tolist()
    return [(slice(y, y + width), slice(x, x + width)) for y in starts for x in starts]
