"""The brain of one person: soft tissue maps sharpened and folded, and what lies deep in it at its MNI places."""

import numpy as np
from scipy import ndimage

from core.phantom.tissues import ID, labels_in, noise

#: How far from the midline the middle of half a brain lies, and the sphere that folds are drawn on.
_HALF_MM, _SPHERE_MM = 20, 60


def sharpen(tissue, white, grey, distance, inside, millimetres, atrophy: float, rng) -> None:
    """Sharpen the soft maps into white matter, cortex and fluid, and fold the cortex; ``tissue`` is changed."""
    shape = tissue.shape
    x, y, z = millimetres
    # The maps end at the bottom of the brain stem; there the template's own shapes go on.
    known = inside & (white + grey > 0.08) | (inside & (distance < -4))
    depth = -distance
    # What neither map claims is fluid; averaging over people has thinned it, so it gets a head start.
    fluid = np.clip(1 - white - grey, 0, 1) * 1.25 + np.float32(atrophy)
    white = 1.06 * white + rng.uniform(0.05, 0.12) * noise(rng, 2.2, shape)
    grey = grey + rng.uniform(0.05, 0.1) * noise(rng, 3, shape)
    # Sulci are sheets: where a smooth field is zero there is fluid, and cortex on both sides of it.
    width = rng.uniform(2.1, 2.8)
    fold, stretch = _folds(millimetres, width, rng)
    away = np.abs(fold) * stretch * np.float32(1.41 * width)  # about the distance to the sheet in mm
    cerebellum = (z < -12 - 0.25 * np.clip(-40 - y, 0, 60)) & (y < -38)
    stem = (np.abs(x) < 18) & (z < -8) & (y > -52)
    reach = np.clip((rng.uniform(23, 30) - depth) / 7, 0, 1)
    reach[cerebellum | stem] = 0
    fluid += reach * (rng.uniform(0.9, 1.2) + 1.5 * np.float32(atrophy)) * np.exp(-((away / np.float32(0.9)) ** 2))
    cortex = reach * rng.uniform(0.55, 0.7) * np.exp(-((away / np.float32(2.7)) ** 4))
    # Between sheets lies a blade of white matter, below the crown of the gyrus.
    blade = reach * rng.uniform(0.3, 0.45) * np.clip((away - 2.6) / 1.0, 0, 1) * np.clip((depth - 3.0) / 2, 0, 1)
    grey += cortex - blade
    white += blade - cortex
    # Folia of the cerebellum: thin leaves, nearly level.
    leaves = np.sin(z * np.float32(2 * np.pi / rng.uniform(4.5, 6)) + 1.3 * noise(rng, 6, shape) + 0.06 * y)
    outer = cerebellum * np.clip((16 - depth) / 10, 0, 1)
    fluid += np.float32(0.34) * outer * np.clip(leaves - 0.55, 0, 1) * 2
    white += np.float32(0.14) * outer * np.clip(-leaves - 0.3, 0, 1)
    choice = np.where(white >= grey, ID["white_matter"], ID["grey_matter"])
    choice = np.where(fluid > np.maximum(white, grey), ID["csf"], choice)
    # Vessels run in the sulci: curves where two sheets meet.
    other = np.abs(noise(rng, 3.4, shape))
    lumen = (choice == ID["csf"]) & (other < 0.13) & (reach > 0.25) & (depth > 1)
    choice[lumen] = np.where(fold[lumen] > 0, ID["vein"], ID["artery"])
    keep = labels_in(tissue, "vein", "artery")
    fill = inside & ~keep
    tissue[fill] = np.where(known, choice, ID["csf"])[fill]


def _folds(millimetres, width: float, rng) -> tuple[np.ndarray, np.ndarray]:
    """A smooth field whose zeros are sheets that run from the surface towards the middle of each half of the brain.

    It is drawn on a sphere, more or less, and carried inwards; returned with how much wider it is at each place than
    where it was drawn.
    """
    x, y, z = millimetres
    away = [x - _HALF_MM * np.sign(x), y + 20, z - 6]
    radius = np.sqrt(sum(a**2 for a in away))
    # A quarter of the depth is kept, so that no sulcus runs straight, nor as deep as its neighbour.
    shrink = (0.75 * _SPHERE_MM + 0.25 * radius) / np.maximum(radius, 8)
    side = 2 * int(1.4 * _SPHERE_MM)
    field = noise(rng, width, (side, side, side))
    at = np.stack([a * shrink + side / 2 for a in away])
    return ndimage.map_coordinates(field, at, order=1, mode="grid-wrap"), 1 / shrink


def add_deep_structures(tissue, inside, millimetres, wide: float, rng) -> None:
    """Nuclei, ventricles, cisterns, vessels and dura inside the brain at their MNI places; ``tissue`` is changed."""
    x, y, z = millimetres
    origin = np.array([m[0, 0, 0] for m in millimetres])

    def paint(centre, radii, name, *over):
        centre, radii = np.asarray(centre, float), np.asarray(radii, float)
        # Only near where the place ends up: the pose moves nothing by more than 30 mm.
        lo = np.clip((centre - radii - 30 - origin).astype(int), 0, tissue.shape)
        hi = np.clip((centre + radii + 30 - origin).astype(int), 0, tissue.shape)
        box = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
        part = tissue[box]
        mask = sum(((m[box] - c) / r) ** 2 for m, c, r in zip(millimetres, centre, radii, strict=True)) < 1
        if over:
            mask &= labels_in(part, *over)
        part[mask] = ID[name]

    brain = ("white_matter", "grey_matter")
    stretch = rng.normal(1, 0.15) + wide
    for s in (1, -1):
        for centre, radii, name in (
            ((s * 26, 2, 1), (5.5, 15, 9), "deep_grey"),  # putamen
            ((s * 19, -3, -1), (4, 8, 6), "pallidum"),
            ((s * 13, 14, 8), (4.5, 11, 8), "deep_grey"),  # head of the caudate
            ((s * 17, -4, 19), (3, 16, 4), "deep_grey"),  # its body
            ((s * 12, -19, 7), (8, 13, 8), "deep_grey"),  # thalamus
            ((s * 5, -20, -9), (3, 3, 3), "pallidum"),  # red nucleus
            ((s * 10, -17, -11), (5, 3, 2), "pallidum"),  # substantia nigra
            ((s * 16, -57, -36), (6, 8, 4), "pallidum"),  # dentate
        ):
            paint(centre, radii, name, *brain)
        for centre, radii in (
            ((s * 8, 12, 12), (4.5, 16, 8)),  # frontal horn
            ((s * 12, -15, 20), (5, 22, 6)),  # body
            ((s * 23, -42, 14), (6, 9, 11)),  # atrium
            ((s * 33, -24, -12), (2.6, 13, 4)),  # temporal horn
            ((s * 24, -62, 12), (2.6, 14, 5)),  # occipital horn
        ):
            paint(centre, np.array(radii) * stretch, "csf", *brain, "deep_grey")
        paint((s * 22, -40, 14), (3.2, 7, 4.5), "choroid", "csf")
        paint((s * 10, -20, 19), (1.4, 16, 1.4), "choroid", "csf")
        paint((s * 22, 2, -18), (20, 1.5, 1.5), "artery", "csf", "grey_matter")  # middle cerebral
        paint((s * 12, -26, -16), (12, 5, 1.4), "artery", "csf")  # posterior cerebral
    for centre, radii in (
        ((0, -12, 4), (1.8 * stretch, 14, 9)),  # third ventricle
        ((0, -34, -8), (1.2, 8, 1.2)),  # aqueduct
        ((0, -47, -32), (6, 6, 9)),  # fourth ventricle
        ((0, -38, -2), (10, 5, 6)),  # quadrigeminal cistern
        ((0, -14, -18), (9, 5, 6)),  # interpeduncular
        ((0, 2, -20), (11, 8, 6)),  # suprasellar
        ((0, -13, -38), (12, 4.5, 16)),  # before the pons
        ((0, -66, -60), (9, 9, 7)),  # cisterna magna
    ):
        paint(centre, radii, "csf", *brain, "dura")
    for centre, radii, name in (
        ((0, -30, 3), (2.5, 4, 2.5), "pituitary"),  # pineal, which takes up agent too
        ((0, 4, -35), (6, 5, 4), "pituitary"),
        ((0, 2, -28), (1.4, 1.4, 4), "pituitary"),
        ((0, -14, -36), (1.7, 1.7, 15), "artery"),  # basilar
        ((0, 30, -6), (1.5, 1.5, 18), "artery"),  # anterior cerebral
        ((0, -22, 8), (2, 14, 1.4), "vein"),  # internal cerebral
        ((0, -42, 5), (2.2, 6, 2.2), "vein"),  # great cerebral
    ):
        paint(centre, radii, name)
    # The straight sinus, where falx and tentorium meet, and the falx itself.
    slope = 4 + (y + 46) * 0.36
    tissue[(np.abs(x) < 2) & (np.abs(z - slope) < 2) & (y < -46) & (y > -92) & inside] = ID["vein"]
    callosum = 14 + 0.004 * (y + 20) ** 2 * (y > -20)
    falx = (np.abs(x) < 0.75) & inside & (z > callosum) & ((z > 24) | (y < -45) | (y > 38))
    tissue[falx & labels_in(tissue, "csf", "grey_matter")] = ID["dura"]
