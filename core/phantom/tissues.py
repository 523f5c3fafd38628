"""The tissues of a phantom, the grid they lie on, and the smooth random fields that make people differ.

Coordinates are MNI millimetres: x to the right, y to the front, z up. Arrays are indexed [x, y, z], 1 mm apart.
"""

import numpy as np
from scipy import ndimage

#: Index in this tuple is the voxel value.
TISSUES = (
    "air", "white_matter", "grey_matter", "deep_grey", "csf", "dura", "bone", "marrow", "fat", "skin", "muscle",
    "vitreous", "lens", "mucosa", "artery", "vein", "choroid", "pituitary", "gland", "nerve", "disc",
    "rim", "necrosis", "oedema", "lesion", "pallidum", "eye_muscle", "meningioma", "cavity", "infarct",
)  # fmt: skip
ID = {name: i for i, name in enumerate(TISSUES)}

#: MNI coordinate of voxel (0, 0, 0), and the shape of the box, both in millimetres.
ORIGIN = np.array([-106, -136, -160])
SHAPE = (213, 268, 276)


def noise(rng: np.random.Generator, sigma: float, shape=SHAPE) -> np.ndarray:
    """Smooth random field of unit variance.

    Parameters
    ----------
    rng : numpy.random.Generator
    sigma : float
        Width in mm of the Gaussian that smooths white noise into the field.
    shape : tuple of int

    Returns
    -------
    ndarray of float32, shape ``shape``
    """
    # Interpolated linearly, a broad field needs a finer grid than a narrow one to show no creases.
    step = max(1, int(sigma / (1.4 if sigma < 8 else 3.5)))
    field = rng.standard_normal([n // step + 4 for n in shape], np.float32)
    field = ndimage.gaussian_filter(field, sigma / step, mode="wrap", truncate=3)
    field /= field.std()
    for axis, n in enumerate(shape):
        if step == 1:
            field = np.take(field, range(n), axis)
            continue
        at = np.arange(n, dtype=np.float32) / step
        low = at.astype(int)
        share = (at - low).reshape([-1 if i == axis else 1 for i in range(3)]).astype(np.float32)
        left = np.take(field, low, axis)
        field = left + (np.take(field, low + 1, axis) - left) * share
    return field


def labels_in(part: np.ndarray, *names: str) -> np.ndarray:
    """Where a tissue volume holds any of some tissues; a look-up, because `numpy.isin` is slow on bytes."""
    table = np.zeros(256, bool)
    table[[ID[name] for name in names]] = True
    return table[part]
