"""Phantom people: one tissue per voxel on a 1 mm grid, in a head that reaches from the vertex to the neck.

The brain comes from the MNI152 grey- and white-matter maps that nilearn ships. They are averages over many people,
too soft to make a contrast from; so each person adds smooth random fields to them and keeps one tissue per voxel.
Partial volume comes back when slices average several voxels. Everything around the brain (meninges, skull, scalp,
face, neck, vessels) is geometry: shells by distance from the brain and shapes at their MNI positions.

Coordinates are MNI millimetres: x to the right, y to the front, z up. Arrays are indexed [x, y, z].
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from nilearn import datasets
from scipy import ndimage

#: Index in this tuple is the voxel value.
TISSUES = (
    "air", "white_matter", "grey_matter", "deep_grey", "csf", "dura", "bone", "marrow", "fat", "skin", "muscle",
    "vitreous", "lens", "mucosa", "artery", "vein", "choroid", "pituitary", "gland", "nerve", "disc",
    "rim", "necrosis", "oedema", "lesion", "pallidum", "eye_muscle",
)  # fmt: skip
ID = {name: i for i, name in enumerate(TISSUES)}

#: MNI coordinate of voxel (0, 0, 0), and the shape of the box, both in millimetres.
ORIGIN = np.array([-106, -136, -160])
SHAPE = (213, 268, 276)

FINDINGS = ("none", "glioma", "metastases", "white_matter_lesions")


@dataclass(frozen=True)
class Person:
    """One phantom person.

    Attributes
    ----------
    tissue : ndarray of uint8, shape `SHAPE`
        Index into `TISSUES`.
    brain : ndarray of bool, shape `SHAPE`
        Inside of the skull.
    finding : str
        One of `FINDINGS`.
    seed : int
    """

    tissue: np.ndarray
    brain: np.ndarray
    finding: str
    seed: int


def _grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(
        (np.arange(n, dtype=np.float32) + o).reshape([-1 if i == axis else 1 for i in range(3)])
        for axis, (n, o) in enumerate(zip(SHAPE, ORIGIN, strict=True))
    )


def _ellipsoid(centre, radii) -> np.ndarray:
    x, y, z = _grid()
    return sum(((g - c) / r) ** 2 for g, c, r in zip((x, y, z), centre, radii, strict=True)) < 1


def _tube(points, radius: float) -> np.ndarray:
    """Voxels within ``radius`` mm of a polyline given in MNI millimetres."""
    mask = np.zeros(SHAPE, bool)
    points = np.asarray(points, float)
    for a, b in itertools.pairwise(points):
        steps = np.linspace(0, 1, int(np.linalg.norm(b - a)) + 2)[:, None]
        voxels = np.round(a + steps * (b - a) - ORIGIN).astype(int)
        voxels = voxels[((voxels >= 0) & (voxels < SHAPE)).all(1)]
        mask[tuple(voxels.T)] = True
    lo = np.clip(np.floor(points.min(0) - ORIGIN - radius - 1).astype(int), 0, SHAPE)
    hi = np.clip(np.ceil(points.max(0) - ORIGIN + radius + 2).astype(int), 0, SHAPE)
    box = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
    out = np.zeros(SHAPE, bool)
    out[box] = ndimage.distance_transform_edt(~mask[box]) <= radius
    return out


@dataclass(frozen=True)
class _Template:
    """What all people share: soft brain maps (float16 to save memory) and the head around them, in MNI space."""

    white: np.ndarray
    grey: np.ndarray
    inside: np.ndarray  # signed distance to the inner skull in mm, negative inside
    head: np.ndarray  # tissue of everything that is not brain


def _into_box(image) -> np.ndarray:
    data = np.asarray(image.dataobj, np.float32)
    out = np.zeros(SHAPE, np.float32)
    start = np.round(image.affine[:3, 3]).astype(int) - ORIGIN
    if (np.diag(image.affine)[:3] != 1).any() or (start < 0).any():
        raise RuntimeError(f"nilearn's MNI152 maps are not on the 1 mm grid that was expected: {image.affine.tolist()}")
    n = np.minimum(data.shape, np.array(SHAPE) - start)
    target = tuple(slice(s, s + k) for s, k in zip(start, n, strict=True))
    out[target] = data[: n[0], : n[1], : n[2]]
    return out


@lru_cache(1)
def _template() -> _Template:
    white = _into_box(datasets.load_mni152_wm_template(resolution=1))
    grey = _into_box(datasets.load_mni152_gm_template(resolution=1))
    brain = _into_box(datasets.load_mni152_brain_mask(resolution=1)) > 0.5
    x, y, z = _grid()
    # The inner skull is smooth where the brain is folded, and the cord leaves through the foramen magnum.
    closed = ndimage.gaussian_filter(brain.astype(np.float32), 4) > 0.42
    closed |= brain
    outside = ndimage.distance_transform_edt(~closed).astype(np.float32)
    inside = ndimage.distance_transform_edt(closed).astype(np.float32)
    distance = outside - inside - 1.5
    head = _head(distance, x, y, z)
    return _Template(white.astype(np.float16), grey.astype(np.float16), distance.astype(np.float16), head)


def _head(distance, x, y, z) -> np.ndarray:
    """Everything outside the brain, painted from the outside in."""
    side = np.abs(x)
    vault = distance < 17
    face = _ellipsoid((0, 38, -62), (66, 66, 74)) & (y > -20)
    jaw = _ellipsoid((0, 42, -105), (54, 58, 38))
    nose = _ellipsoid((0, 100, -58), (15, 22, 22))
    neck = (((x / 60) ** 2 + ((y + 34) / 60) ** 2) < 1) & (z < -40)
    ears = _ellipsoid((78, -20, -38), (9, 14, 26)) | _ellipsoid((-78, -20, -38), (9, 14, 26))
    body = vault | face | jaw | nose | neck | ears
    body = ndimage.gaussian_filter(body.astype(np.float32), 3) > 0.5
    depth = ndimage.distance_transform_edt(body).astype(np.float32)

    head = np.zeros(SHAPE, np.uint8)
    rng = np.random.default_rng(0)
    grain = _noise(rng, 5)
    coarse = _noise(rng, 14)

    def paint(mask, tissue):
        head[mask] = ID[tissue]

    paint(body, "muscle")
    paint(body & (grain > 1.0), "fat")  # septa between muscles
    paint(body & ((depth < 6 + 1.5 * coarse) | ((distance < 20) & (z > 15))), "fat")
    paint(_ellipsoid((38, 55, -80), (14, 18, 18)) | _ellipsoid((-38, 55, -80), (14, 18, 18)), "fat")  # cheeks
    paint(_ellipsoid((0, -88, -100), (30, 14, 60)) & body, "fat")  # nape
    for s in (1, -1):
        paint(_ellipsoid((s * 58, -8, -72), (10, 15, 20)), "gland")  # parotid
        paint(_ellipsoid((s * 28, 28, -116), (9, 14, 9)), "gland")  # submandibular

    # Skull: two tables with marrow between, thick at the base; temporal muscle lies outside it.
    shell = 6.5 + 1.5 * coarse
    base = (z < -30) & (distance < 14) & (y > -75)
    paint((distance < shell) | base, "bone")
    paint(((distance > 2) & (distance < shell - 1.8)) & (grain > -1.2), "marrow")
    paint(base & (distance > 2.5) & (grain > -0.3), "marrow")
    paint((side > 42) & (side < 80) & (y > -25) & (y < 48) & (z > -45) & (z < 18) & (distance > shell)
          & (distance < shell + 7), "muscle")  # fmt: skip

    # Vertebrae in front of and behind the cord, with discs.
    level = np.mod(z + 150, 18)
    column = (((x / 13) ** 2 + ((y + 22) / 10) ** 2) < 1) & (z < -72)
    paint(column, "bone")
    paint((((x / 11.5) ** 2 + ((y + 22) / 8.5) ** 2) < 1) & (z < -72), "marrow")
    paint(column & (level < 4), "disc")
    paint((side < 4) & (y < -58) & (y > -82) & (z < -72) & (level > 7), "marrow")
    paint((((x / 10) ** 2 + ((y + 44) / 8) ** 2) < 1) & (z < -50), "csf")
    paint((((x / 6.5) ** 2 + ((y + 44) / 4.5) ** 2) < 1) & (z < -50), "nerve")

    # Mouth, jaw and air ways.
    ring = np.sqrt((x / 1.0) ** 2 + ((y - 45) / 1.15) ** 2)
    mandible = (ring > 32) & (ring < 42) & (y > 10) & (z > -126) & (z < -102)
    paint(mandible, "bone")
    paint(mandible & (ring > 34) & (ring < 40) & (z < -108), "marrow")
    paint((ring > 26) & (ring < 34) & (y > 45) & (z > -102) & (z < -84), "bone")  # teeth
    paint(_ellipsoid((0, 48, -100), (24, 32, 17)), "muscle")  # tongue
    paint(_ellipsoid((0, 48, -99), (5, 25, 13)) & (grain > 0), "fat")
    paint((side < 24) & (y > 25) & (y < 82) & (np.abs(z + 80) < 2.5), "bone")  # hard palate
    paint(_tube([(0, 24, -45), (0, 12, -70), (0, 6, -100), (0, 8, -160)], 10), "mucosa")
    paint(_tube([(0, 24, -45), (0, 12, -70), (0, 6, -100), (0, 8, -160)], 7), "air")
    nasal = (side < 15) & (y > 25) & (y < 92) & (z > -76) & (z < -34)
    paint(nasal, "mucosa")
    paint(nasal & (side > 1.5) & (np.mod(z + 4 * np.sin(side / 3), 14) < 6), "air")
    for s in (1, -1):
        for radii, tissue in (((16, 18, 17), "bone"), ((15, 17, 16), "mucosa"), ((13.5, 15.5, 14.5), "air")):
            paint(_ellipsoid((s * 30, 48, -62), radii), tissue)  # maxillary sinus
        paint(_ellipsoid((s * 52, -38, -46), (11, 13, 17)) & (grain > -0.4) & (distance > 2), "air")  # mastoid
        paint(_tube([(s * 80, -22, -42), (s * 52, -22, -42)], 3), "air")
    paint(_ellipsoid((0, 14, -36), (14, 12, 9)) & (distance > 1.5), "mucosa")  # sphenoid sinus
    paint(_ellipsoid((0, 14, -36), (12.5, 10.5, 7.5)) & (distance > 3), "air")
    paint(_ellipsoid((0, 76, 2), (22, 5, 13)) & (distance > 2), "air")  # frontal sinus
    paint((side < 13) & (y > 38) & (y < 70) & (z > -36) & (z < -20) & (distance > 2)
          & (np.mod(y + side, 8) < 5), "air")  # ethmoid  # fmt: skip

    # Orbits.
    for s in (1, -1):
        orbit = _ellipsoid((s * 32, 44, -34), (19, 30, 18)) & (y > 12) & (distance > 1.5)
        paint(orbit, "fat")
        for dx, dz in ((10, 0), (-10, 0), (0, 11), (0, -11)):
            paint(_tube([(s * 32 + dx, 54, -34 + dz), (s * 14, 18, -30)], 2.2), "eye_muscle")
        paint(_tube([(s * 32, 50, -34), (s * 12, 12, -26)], 2.0), "nerve")
        paint(_ellipsoid((s * 33, 60, -34), (13, 13, 13)), "muscle")  # sclera
        paint(_ellipsoid((s * 33, 60, -34), (12, 12, 12)), "vitreous")
        paint(_ellipsoid((s * 33, 69, -34), (5, 2.5, 5)), "lens")
        paint(_ellipsoid((s * 44, 58, -26), (4, 6, 5)), "gland")  # lacrimal

    paint((distance < 1.2) & (distance > -0.3), "dura")
    # Venous sinuses in the dura, jugular veins and the arteries of the neck and skull base.
    crest = (distance < 3.5) & (distance > -3.5)
    paint(crest & (side < 4.5 - 0.6 * np.abs(distance)) & ((z > 10) | (y < -60)) & (y > -112), "vein")
    paint(crest & (side > 6) & (side < 62) & (y < -38) & (np.abs(z + 24 + 0.12 * side) < 4), "vein")
    for s in (1, -1):
        paint(_tube([(s * 54, -38, -34), (s * 42, -30, -56), (s * 34, -18, -80), (s * 34, -10, -160)], 4.5), "vein")
        paint(_tube([(s * 30, 0, -160), (s * 28, -6, -80), (s * 26, -10, -52), (s * 18, -4, -38)], 2.8), "artery")
        paint(_ellipsoid((s * 14, 2, -32), (5, 9, 6)) & (distance > -2), "vein")  # cavernous sinus
        paint(_tube([(s * 14, 8, -34), (s * 14, -4, -34)], 2.2), "artery")
        paint(_tube([(s * 16, -44, -160), (s * 15, -40, -90), (s * 8, -34, -64)], 1.8), "artery")
    head[depth < 1.6] = np.where(head[depth < 1.6] > 0, ID["skin"], 0)
    head[~body] = 0
    return head


def _noise(rng: np.random.Generator, sigma: float, shape=SHAPE) -> np.ndarray:
    """Smooth random field of unit variance with a correlation length of about ``sigma`` mm, shape ``shape``."""
    step = max(1, int(sigma / 2))
    coarse = rng.normal(size=[n // step + 4 for n in shape]).astype(np.float32)
    coarse = ndimage.gaussian_filter(coarse, sigma / step, mode="wrap")
    coarse /= coarse.std()
    if step == 1:
        return coarse[: shape[0], : shape[1], : shape[2]]
    for axis, n in enumerate(shape):
        at = np.arange(n, dtype=np.float32) / step
        low = at.astype(int)
        share = (at - low).reshape([-1 if i == axis else 1 for i in range(3)]).astype(np.float32)
        coarse = np.take(coarse, low, axis) * (1 - share) + np.take(coarse, low + 1, axis) * share
    return coarse


def _pose(rng: np.random.Generator) -> np.ndarray:
    """Where each voxel of the person lies in the template, in voxels: affine and smooth elastic, (3, *SHAPE)."""
    angles = np.deg2rad(rng.normal(0, (5, 2.5, 3)))  # nodding most
    cx, cy, cz = np.cos(angles)
    sx, sy, sz = np.sin(angles)
    turn = (
        np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    )
    scale = rng.normal(1.03, 0.04) * rng.normal(1, (0.035, 0.035, 0.035))
    matrix = turn / scale
    centre = -ORIGIN - np.array([0, 20, 0])
    shift = centre - matrix @ centre + rng.normal(0, (2, 3, 3))
    index = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in SHAPE), indexing="ij", sparse=True)
    amplitude = rng.uniform(1.5, 4.5)
    return np.stack(
        [
            sum(np.float32(m) * g for m, g in zip(row, index, strict=True))
            + np.float32(s)
            + np.float32(amplitude) * _noise(rng, 30)
            for row, s in zip(matrix, shift, strict=True)
        ]
    )


def make_person(random_state: int, finding: str | None = None) -> Person:
    """Make one phantom person.

    Parameters
    ----------
    random_state : int
        The same seed gives the same person, bit for bit.
    finding : str, optional
        One of `FINDINGS`; drawn when not given.

    Returns
    -------
    Person
    """
    rng = np.random.default_rng([17, random_state])
    template = _template()
    pose = _pose(rng)

    def sample(volume, order):
        return ndimage.map_coordinates(volume, pose, order=order, mode="nearest", output=np.float32)

    distance = sample(template.inside.astype(np.float32), 1)
    tissue = ndimage.map_coordinates(template.head, pose, order=0, mode="constant")
    inside = distance < -0.3
    white = 1.06 * sample(template.white.astype(np.float32), 1)
    grey = sample(template.grey.astype(np.float32), 1)
    atrophy = rng.uniform(-0.08, 0.16)
    # What neither map claims is fluid; averaging over people has thinned it, so it gets a head start.
    fluid = np.clip(1 - white - grey, 0, 1) * 1.25 + atrophy
    # The maps end at the bottom of the brain stem; there the template's own shapes go on.
    known = inside & (white + grey + (distance < -4) > 0.15)
    folds = _noise(rng, 2.2)
    white += rng.uniform(0.08, 0.18) * _noise(rng, 2)
    grey += rng.uniform(0.05, 0.12) * _noise(rng, 3)
    # Sulci: fluid wins where the fold field is high, most near the surface of the brain.
    fluid += rng.uniform(0.16, 0.3) * folds * np.exp(np.clip(distance, -40, 0) / 9)
    choice = np.argmax(np.stack([white, grey, fluid]), axis=0)
    brain = np.array([ID["white_matter"], ID["grey_matter"], ID["csf"]], np.uint8)[choice]
    keep = (tissue == ID["vein"]) | (tissue == ID["artery"])
    tissue = np.where(inside & ~keep, np.where(known, brain, ID["csf"]), tissue).astype(np.uint8)

    def place(centre, radii):
        """An ellipsoid given in MNI space, as it lies in this person; returns (box, mask inside the box)."""
        centre, radii = np.asarray(centre, float) - ORIGIN, np.asarray(radii, float)
        # Search only near where the template position ends up: the pose moves nothing by more than 30 mm.
        lo = np.clip((centre - radii - 30).astype(int), 0, SHAPE)
        hi = np.clip((centre + radii + 30).astype(int), 0, SHAPE)
        box = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
        return box, sum(((pose[i][box] - centre[i]) / radii[i]) ** 2 for i in range(3)) < 1

    for s in (1, -1):
        for centre, radii, name in (
            ((s * 26, 2, 1), (5.5, 15, 9), "deep_grey"),  # putamen
            ((s * 19, -3, -1), (4, 8, 6), "pallidum"),
            ((s * 13, 14, 8), (4.5, 11, 8), "deep_grey"),  # head of the caudate
            ((s * 12, -19, 7), (8, 13, 8), "deep_grey"),  # thalamus
            ((s * 5, -20, -9), (3, 3, 3), "pallidum"),  # red nucleus
            ((s * 16, -57, -36), (6, 8, 4), "pallidum"),  # dentate
        ):
            box, mask = place(centre, radii)
            part = tissue[box]
            part[mask & np.isin(part, (ID["white_matter"], ID["grey_matter"]))] = ID[name]
        wide = rng.normal(1, 0.15) + 1.5 * atrophy
        for centre, radii in (
            ((s * 8, 12, 12), (4.5, 16, 8)),  # frontal horn
            ((s * 13, -15, 20), (5, 22, 6)),  # body
            ((s * 23, -42, 14), (7, 9, 11)),  # atrium
            ((s * 34, -28, -10), (4, 14, 5)),  # temporal horn
            ((s * 24, -62, 12), (4, 14, 5)),  # occipital horn
        ):
            box, mask = place(centre, np.array(radii) * wide)
            part = tissue[box]
            part[mask & np.isin(part, (ID["white_matter"], ID["grey_matter"], ID["deep_grey"]))] = ID["csf"]
        box, mask = place((s * 22, -40, 14), (3.5, 7, 5))
        part = tissue[box]
        part[mask & (part == ID["csf"])] = ID["choroid"]
    for centre, radii in (((0, -12, 4), (2.2, 14, 9)), ((0, -48, -32), (7, 7, 10)), ((0, -28, -12), (14, 5, 6)),
                          ((0, -2, -20), (11, 9, 6)), ((0, -70, -55), (10, 10, 10))):  # fmt: skip
        box, mask = place(centre, radii)
        part = tissue[box]
        part[mask & np.isin(part, (ID["white_matter"], ID["grey_matter"], ID["dura"]))] = ID["csf"]
    for centre, radii, name in (
        ((0, 3, -33), (6, 5, 4.5), "pituitary"),
        ((0, 1, -27), (1.6, 1.6, 4), "pituitary"),
        ((0, -17, -38), (1.8, 1.8, 16), "artery"),  # basilar
        ((14, 2, -18), (14, 1.6, 1.6), "artery"),
        ((-14, 2, -18), (14, 1.6, 1.6), "artery"),
        ((0, 28, -8), (1.8, 1.8, 18), "artery"),
    ):
        box, mask = place(centre, radii)
        tissue[box][mask] = ID[name]
    # The falx, a sheet of dura between the hemispheres, and the straight sinus below it.
    sheet = (np.abs(pose[0] + ORIGIN[0]) < 0.9) & inside & (pose[2] + ORIGIN[2] > 18) & (distance > -26)
    tissue[sheet & (tissue != ID["white_matter"]) & (tissue != ID["vein"])] = ID["dura"]

    finding = finding or str(rng.choice(FINDINGS, p=[0.25, 0.4, 0.15, 0.2]))
    _add_finding(tissue, inside, finding, rng)
    return Person(tissue, inside, finding, random_state)


def _add_finding(tissue: np.ndarray, inside: np.ndarray, finding: str, rng: np.random.Generator) -> None:
    if finding == "none":
        return
    white = ID["white_matter"]
    soft = (white, ID["grey_matter"], ID["deep_grey"], ID["csf"], ID["pallidum"])
    candidates = np.argwhere(tissue[::3, ::3, ::3] == white) * 3
    candidates = candidates[candidates[:, 2] + ORIGIN[2] > -20]

    def blob(centre, radius, roughness):
        lo = np.clip((centre - 2.2 * radius).astype(int), 0, SHAPE)
        hi = np.clip((centre + 2.2 * radius).astype(int) + 1, 0, SHAPE)
        box = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
        grid = np.ogrid[box]
        stretch = rng.uniform(0.8, 1.25, 3)
        r = np.sqrt(sum(((g - c) / s) ** 2 for g, c, s in zip(grid, centre, stretch, strict=True)))
        return box, r / radius + roughness * _noise(rng, max(3, radius / 3), r.shape)

    if finding == "white_matter_lesions":
        for _ in range(rng.integers(8, 40)):
            box, r = blob(candidates[rng.integers(len(candidates))], rng.uniform(1.5, 5), 0.15)
            part = tissue[box]
            part[(r < 1) & (part == white)] = ID["lesion"]
        return
    count = 1 if finding == "glioma" else rng.integers(2, 6)
    for _ in range(count):
        radius = rng.uniform(11, 24) if finding == "glioma" else rng.uniform(3.5, 10)
        box, r = blob(candidates[rng.integers(len(candidates))], radius, 0.22)
        part = tissue[box]
        room = inside[box] & np.isin(part, soft)
        part[room & (r < rng.uniform(1.4, 1.9)) & (part != ID["csf"])] = ID["oedema"]
        part[room & (r < 1)] = ID["rim"]
        part[room & (r < rng.uniform(0.55, 0.8))] = ID["necrosis"]
