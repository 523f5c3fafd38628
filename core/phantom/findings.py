"""What ails phantom people: tumours with core, rim and oedema, patches in the white matter, strokes."""

import numpy as np
from scipy import ndimage

from core.phantom.tissues import ID, ORIGIN, SHAPE, labels_in, noise

FINDINGS = ("none", "glioma", "metastases", "white_matter_lesions", "meningioma", "resection", "sellar_mass", "stroke")
#: Tissues that only a finding brings.
SICK = ("rim", "necrosis", "oedema", "lesion", "meningioma", "cavity", "infarct")
_SOFT = ("white_matter", "grey_matter", "deep_grey", "csf", "pallidum", "artery", "vein", "choroid")


def add_finding(tissue: np.ndarray, inside: np.ndarray, finding: str, rng: np.random.Generator) -> None:
    """Paint a finding into a person.

    Parameters
    ----------
    tissue : ndarray of uint8
        Changed in place.
    inside : ndarray of bool
        Inside of the skull.
    finding : str
        One of `FINDINGS`.
    rng : numpy.random.Generator
    """
    if finding == "none":
        return
    if finding in ("meningioma", "resection"):
        places = _surface(inside)
    elif finding == "sellar_mass":
        glands = np.argwhere(tissue == ID["pituitary"])  # and the pineal, which lies higher
        places = glands[glands[:, 2] < glands[:, 2].min() + 14].mean(0, keepdims=True) + np.array([0, 0, 6])
    else:
        places = np.argwhere(tissue[::3, ::3, ::3] == ID["white_matter"]) * 3
        places = places[places[:, 2] + ORIGIN[2] > -20]

    def blob(radius, roughness):
        """A rough ball somewhere: its box, and the distance from its middle in radii."""
        centre = places[rng.integers(len(places))]
        lo = np.clip((centre - 2.2 * radius).astype(int), 0, SHAPE)
        hi = np.clip((centre + 2.2 * radius).astype(int) + 1, 0, SHAPE)
        box = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
        stretch = rng.uniform(0.8, 1.25, 3)
        r = np.sqrt(sum(((g - c) / s) ** 2 for g, c, s in zip(np.ogrid[box], centre, stretch, strict=True)))
        return tissue[box], inside[box], r / radius + roughness * noise(rng, max(3, radius / 3), r.shape)

    if finding == "white_matter_lesions":
        for _ in range(rng.integers(8, 60)):
            part, _, r = blob(rng.uniform(1.5, 5), 0.15)
            part[(r < 1) & (part == ID["white_matter"])] = ID["lesion"]
        return
    if finding == "meningioma":
        part, room, r = blob(rng.uniform(9, 22), 0.08)
        room = room & labels_in(part, *_SOFT, "dura")
        part[room & (r < 1.3) & (part == ID["white_matter"])] = ID["oedema"]
        part[room & (r < 1)] = ID["meningioma"]
        return
    if finding == "sellar_mass":
        part, _, r = blob(rng.uniform(7, 17), 0.1)
        room = labels_in(part, *_SOFT, "dura", "pituitary", "bone", "marrow", "air")
        part[room & (r < 1)] = ID["meningioma"]  # adenomas look much the same: grey matter that takes up agent
        return
    if finding == "stroke":
        # Old ones are holes with a scar around them; of new ones diffusion shows most.
        old, small = rng.random() < 0.35, rng.random() < 0.4
        part, room, r = blob(rng.uniform(3, 8) if small else rng.uniform(12, 32), 0.28)
        room = room & labels_in(part, "white_matter", "grey_matter", "deep_grey", "pallidum")
        part[room & (r < 1)] = ID["lesion" if old else "infarct"]
        if old:
            part[room & (r < rng.uniform(0.5, 0.85))] = ID["cavity"]
        return
    if finding == "resection":
        part, room, r = blob(rng.uniform(12, 22), 0.12)
        room = room & labels_in(part, *_SOFT, "dura")
        part[room & (r < 1.5) & (part == ID["white_matter"])] = ID["oedema"]
        part[room & (r < 1.0)] = ID["rim"]
        part[room & (r < 0.93)] = ID["cavity"]
        return
    for _ in range(1 if finding == "glioma" else rng.integers(2, 8)):
        radius = rng.uniform(9, 24) if finding == "glioma" else rng.uniform(3, 10)
        part, room, r = blob(radius, 0.22)
        room = room & labels_in(part, *_SOFT)
        part[room & (r < rng.uniform(1.2, 1.9)) & labels_in(part, "white_matter", "grey_matter")] = ID["oedema"]
        part[room & (r < 1)] = ID["rim"]
        # Some tumours have a hollow core with a thin rim, some are solid, some do not take up agent at all.
        core = rng.choice([0.0, 0.0, 0.5, 0.65, 0.8, 0.88])
        part[room & (r < core)] = ID["necrosis"]
        if finding == "glioma" and rng.random() < 0.15:
            part[part == ID["rim"]] = ID["oedema"]


def _surface(inside: np.ndarray) -> np.ndarray:
    """Voxels just inside the skull, above its base."""
    coarse = inside[::3, ::3, ::3]
    places = np.argwhere(coarse & ~ndimage.binary_erosion(coarse, iterations=3)) * 3
    return places[places[:, 2] + ORIGIN[2] > -10]
