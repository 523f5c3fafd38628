"""The head around the brain, in MNI space: shells by distance from the brain, and shapes at their positions.

Coordinates are MNI millimetres: x to the right, y to the front, z up. Arrays are indexed [x, y, z] on the grid of
`core.phantom.tissues`.
"""

import itertools

import numpy as np
from scipy import ndimage

from core.phantom.tissues import ID, ORIGIN, SHAPE, noise

at_x, at_y, at_z = (
    (np.arange(n, dtype=np.float32) + o).reshape([-1 if i == axis else 1 for i in range(3)])
    for axis, (n, o) in enumerate(zip(SHAPE, ORIGIN, strict=True))
)

#: The midline of the face from forehead to throat: height z, and the skin's y there without nose.
_PROFILE_Z = (-160, -150, -138, -131, -124, -116, -106, -98, -90, -82, -72, -50, -30, -20, 0)
_PROFILE_Y = (20, 22, 28, 62, 84, 90, 88, 89, 93, 92, 92, 90, 87, 88, 60)
#: Half the width of the face at these heights.
_WIDTH_Z = (-160, -128, -116, -100, -80, -60, -40, -20, 0)
_WIDTH_X = (52, 50, 48, 56, 64, 68, 70, 72, 72)
#: The ridge of the nose.
_NOSE_Z = (-79, -74, -66, -58, -40, -26)
_NOSE_Y = (90, 104, 113, 111, 99, 86)


def _box(lo, hi) -> tuple[slice, ...]:
    lo = np.clip(np.floor(np.asarray(lo, float) - ORIGIN).astype(int), 0, SHAPE)
    hi = np.clip(np.ceil(np.asarray(hi, float) - ORIGIN).astype(int) + 1, 0, SHAPE)
    return tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))


class _Canvas:
    """A volume to paint on; later strokes cover earlier ones. Each stroke works in its own small box."""

    def __init__(self, distance: np.ndarray):
        self.tissue = np.zeros(SHAPE, np.uint8)
        self.distance = distance

    def fill(self, mask: np.ndarray, tissue: str) -> None:
        self.tissue[mask] = ID[tissue]

    def ellipsoid(self, centre, radii, tissue: str, where=None) -> None:
        centre, radii = np.asarray(centre, float), np.asarray(radii, float)
        box = _box(centre - radii, centre + radii)
        grid = (at_x[box[0]], at_y[:, box[1]], at_z[:, :, box[2]])
        mask = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) < 1
        if where is not None:
            mask &= np.broadcast_to(where, SHAPE)[box]
        self.tissue[box][mask] = ID[tissue]

    def both(self, centre, radii, tissue: str, where=None) -> None:
        """The same ellipsoid left and right."""
        for side in (1, -1):
            self.ellipsoid((side * centre[0], *centre[1:]), radii, tissue, where)

    def cuboid(self, lo, hi, tissue: str, where=None) -> None:
        box = _box(lo, hi)
        if where is None:
            self.tissue[box] = ID[tissue]
        else:
            self.tissue[box][np.broadcast_to(where, SHAPE)[box]] = ID[tissue]

    def tube(self, points, radius: float, tissue: str, where=None) -> None:
        """All within ``radius`` mm of a polyline."""
        points = np.asarray(points, float)
        box = _box(points.min(0) - radius - 1, points.max(0) + radius + 1)
        far = np.ones([s.stop - s.start for s in box], bool)
        start = np.array([s.start for s in box])
        for a, b in itertools.pairwise(points):
            steps = np.linspace(0, 1, int(2 * np.linalg.norm(b - a)) + 2)[:, None]
            voxels = np.round(a + steps * (b - a) - ORIGIN).astype(int) - start
            voxels = voxels[((voxels >= 0) & (voxels < far.shape)).all(1)]
            far[tuple(voxels.T)] = False
        mask = ndimage.distance_transform_edt(far) <= radius
        if where is not None:
            mask &= np.broadcast_to(where, SHAPE)[box]
        self.tissue[box][mask] = ID[tissue]


def paint_head(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Paint everything that is not brain.

    Parameters
    ----------
    distance : ndarray of float32, shape `SHAPE`
        Signed distance in mm from the inner skull, negative inside.

    Returns
    -------
    tissue : ndarray of uint8, shape `SHAPE`
    depth : ndarray of float32, shape `SHAPE`
        Distance in mm below the skin.
    """
    rng = np.random.default_rng(0)
    grain, coarse = noise(rng, 5), noise(rng, 14)
    body = _outline(distance)
    depth = _depth(body)
    canvas = _Canvas(distance)
    _soft_tissue(canvas, body, depth, grain, coarse)
    _skull(canvas, depth, grain, coarse)
    _neck(canvas, grain)
    _mouth(canvas, grain)
    _nose_and_sinuses(canvas, depth, grain)
    _orbits(canvas)
    _vessels(canvas)
    tissue = canvas.tissue
    tissue[(depth < 1.8) & (tissue > 0)] = ID["skin"]
    tissue[~body] = 0
    return tissue, depth


def _outline(distance: np.ndarray) -> np.ndarray:
    z = at_z.ravel()
    half = np.interp(z, _WIDTH_Z, _WIDTH_X).astype(np.float32)[None, None, :]
    front = np.interp(z, _PROFILE_Z, _PROFILE_Y).astype(np.float32)[None, None, :]
    round_ = np.sqrt(np.clip(1 - (np.abs(at_x) / half) ** 2.4, 0, 1))
    face = (at_y < 5 + (front - 5) * round_) & (np.abs(at_x) < half) & (at_y > -20) & (at_z < 0)
    ridge = np.interp(z, _NOSE_Z, _NOSE_Y, left=-999, right=-999).astype(np.float32)[None, None, :]
    slope = np.interp(z, (-79, -66, -30), (1.2, 1.5, 2.6)).astype(np.float32)[None, None, :]
    nose = (at_y < ridge - slope * np.clip(np.abs(at_x) - 3, 0, None)) & (at_y > 60)
    neck = (((at_x / 58) ** 2 + ((at_y + 32) / 56) ** 2) < 1) & (at_z < -35)
    body = (distance < 14.2) | face | nose | neck
    for side in (1, -1):
        # ears: thin plates that stand off
        plate = ((at_y + 22 + 0.3 * (side * at_x - 75)) / 16) ** 2 + ((at_z + 36) / 28) ** 2 < 1
        body |= plate & (side * at_x > 66) & (side * at_x < 81 + 0.25 * -(at_y + 22))
    return ndimage.gaussian_filter(body.astype(np.float32), 2) > 0.5


def _depth(body: np.ndarray) -> np.ndarray:
    """Distance below the skin in mm, float16, from a 2 mm grid (a distance transform is slow); finer near 0."""
    coarse = 2 * ndimage.distance_transform_edt(body[::2, ::2, ::2]).astype(np.float32)
    fine = coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2)[tuple(slice(n) for n in SHAPE)]
    depth = np.maximum(ndimage.uniform_filter(fine, 3), 2)
    below = ndimage.binary_erosion(body)
    depth[~below] = 1
    depth[below & ~ndimage.binary_erosion(below)] = 1.7
    depth[~body] = 0
    return depth.astype(np.float16)


def _soft_tissue(c: _Canvas, body, depth, grain, coarse) -> None:
    c.fill(body, "muscle")
    c.fill(body & (np.abs(grain) < 0.09) & (at_z < -20), "fat")  # planes between muscles
    c.fill(body & (depth < np.where(at_z > -60, 5.5, 7) + 2 * coarse), "fat")
    c.fill(body & (c.distance < 20) & (at_z > 20), "fat")  # scalp
    c.both((36, 58, -86), (16, 20, 20), "fat", body)  # cheeks
    c.ellipsoid((0, -84, -105), (34, 10, 55), "fat", body & (grain > -0.8))  # nape
    c.both((54, 20, -92), (8, 17, 28), "muscle", body)  # masseter
    c.both((36, 18, -78), (8, 16, 20), "muscle", body)  # pterygoids
    c.both((25, 12, -88), (5, 14, 22), "fat", body)  # beside the pharynx
    c.both((58, -6, -78), (9, 14, 20), "gland", body & (depth > 3))  # parotid
    c.both((30, 34, -122), (9, 14, 8), "gland", body & (depth > 3))  # submandibular
    c.both((40, -30, -120), (7, 12, 40), "muscle", body & (depth > 5))  # sternocleidomastoid


def _skull(c: _Canvas, depth, grain, coarse) -> None:
    d, side = c.distance, np.abs(at_x)
    shell = 6.2 + 1.5 * coarse
    base = (at_z < -28) & (d < 9 + 2 * coarse) & (at_y > -78) & (at_y < 40)
    c.fill((d < shell) | base, "bone")
    c.fill((d > 1.9) & (d < shell - 1.7) & (grain > -1.1), "marrow")
    c.fill(base & (d > 2.2) & (d < 7) & (grain > -0.2), "marrow")
    # clivus: a slope of marrow from behind the sella to the foramen magnum
    c.tube([(0, -8, -40), (0, -24, -64)], 6.5, "bone", d > 0.8)
    c.tube([(0, -8, -40), (0, -23, -62)], 5, "marrow", d > 1.5)
    temporal = (side > 42) & (side < 82) & (at_y > -28) & (at_y < 50) & (at_z > -48) & (at_z < 22)
    c.fill(temporal & (d > shell) & (d < shell + 6.5), "muscle")
    c.fill((at_y < -70) & (at_z < -42) & (at_z > -75) & (d > shell) & (d < shell + 8), "muscle")  # neck muscles' origin
    c.both((52, -38, -46), (11, 13, 17), "air", (grain > -0.4) & (d > 2.5) & (depth > 5))  # mastoid
    for s in (1, -1):
        c.tube([(s * 80, -22, -42), (s * 50, -22, -42)], 3, "air")
        c.tube([(s * 30, -26, -40), (s * 46, -34, -38)], 6, "bone", d > 1)  # petrous
        c.tube([(s * 66, -10, -46), (s * 68, 20, -48), (s * 56, 46, -50)], 3.4, "bone")  # zygoma
        c.tube([(s * 66, -10, -46), (s * 68, 20, -48), (s * 56, 46, -50)], 1.8, "marrow")


def _neck(c: _Canvas, grain) -> None:
    level = np.mod(at_z + 150, 18)
    below = at_z < -74
    column = (((at_x / 13) ** 2 + ((at_y + 22) / 10) ** 2) < 1) & below
    c.fill(column, "bone")
    c.fill((((at_x / 11.5) ** 2 + ((at_y + 22) / 8.5) ** 2) < 1) & below, "marrow")
    c.fill(column & (level < 3.5), "disc")
    arch = (np.abs(at_x) < 4) & (at_y < -56) & (at_y > -80) & below & (level > 8)
    c.fill(arch, "marrow")
    canal = at_z < -55
    c.fill((((at_x / 13) ** 2 + ((at_y + 44) / 11) ** 2) < 1) & below & (level > 5) & (grain > -1), "bone")
    c.fill((((at_x / 10) ** 2 + ((at_y + 44) / 8) ** 2) < 1) & canal, "csf")
    c.fill((((at_x / 6.5) ** 2 + ((at_y + 44) / 4.5) ** 2) < 1) & canal, "nerve")


def _mouth(c: _Canvas, grain) -> None:
    ring = np.sqrt(at_x**2 + ((at_y - 40) / 1.12) ** 2)
    jaw = (at_z > -128) & (at_z < -104) & (at_y > 0)
    c.fill((ring > 28) & (ring < 38) & jaw, "bone")
    c.fill((ring > 30) & (ring < 36) & jaw & (at_z > -126) & (at_z < -108), "marrow")
    upper = (ring > 24) & (ring < 37) & (at_z > -86) & (at_z < -74) & (at_y > 30)
    c.fill(upper, "marrow")
    c.fill((ring > 28) & (ring < 35) & (at_y > 30) & (at_z > -106) & (at_z < -84), "bone")  # teeth
    c.ellipsoid((0, 46, -100), (23, 34, 19), "muscle")  # tongue
    c.ellipsoid((0, 46, -103), (16, 26, 12), "fat", grain > 0.7)
    c.tube([(0, 74, -83), (0, 46, -79), (0, 24, -84)], 1.6, "air")
    c.cuboid((-25, 34, -79), (25, 82, -76), "bone")  # hard palate
    c.cuboid((-22, 38, -78), (22, 80, -77), "marrow")
    c.tube([(0, 34, -77), (0, 22, -82), (0, 18, -92)], 3, "muscle")  # soft palate
    pharynx = [(0, 20, -52), (0, 12, -72), (0, 7, -100), (0, 9, -160)]
    c.tube(pharynx, 9, "mucosa", at_z < -48)
    c.tube(pharynx, 6, "air", at_z < -48)
    c.tube([(0, 4, -112), (0, 14, -122)], 3, "muscle")  # epiglottis
    c.tube([(0, 32, -122), (0, 26, -150)], 4, "fat")


def _nose_and_sinuses(c: _Canvas, depth, grain) -> None:
    side = np.abs(at_x)
    ridge = np.interp(at_z.ravel(), _NOSE_Z, _NOSE_Y, left=90, right=86).astype(np.float32)[None, None, :]
    septum = np.abs(at_x - 2.5 * np.sin((at_y - 30) / 14) * np.cos(at_z / 20))
    bridge = -36 - 0.35 * np.clip(at_y - 62, 0, 60)
    nasal = (side < 14) & (depth > 4) & (at_y > 24) & (at_y < ridge - 5) & (at_z > -73) & (at_z < bridge)
    c.fill(nasal, "mucosa")
    c.fill(nasal & (side < 12.5) & (septum > 1.1) & (depth > 6) & (at_y < ridge - 9) & (at_z > -71), "air")
    for z, x, radius in ((-65, 7.5, 4.4), (-54, 6.5, 3.6), (-45, 5.5, 2.4)):  # turbinates
        for s in (1, -1):
            c.tube([(s * x, 34, z - 1), (s * x, 56, z), (s * x, 78, z - 2)], radius, "mucosa", nasal)
    c.fill(nasal & (septum > 2) & (grain > 1.4), "mucosa")
    for s in (1, -1):
        for grow, tissue in ((2.5, "bone"), (1.2, "mucosa"), (0, "air")):
            c.ellipsoid((s * 30, 48, -62), (12.5 + grow, 14.5 + grow, 14.5 + grow), tissue, c.distance > 2)
        c.ellipsoid((s * 8, 14, -40), (7.5, 11, 8.5), "bone", c.distance > 1.2)
        c.ellipsoid((s * 7.5, 14, -40), (6.2, 9.5, 7), "air", c.distance > 2)  # sphenoid
        c.ellipsoid((s * 12, 77, -2), (11, 4, 12), "air", c.distance > 2.2)  # frontal
    ethmoid = (side < 13) & (at_y > 36) & (at_y < 70) & (at_z > -40) & (at_z < -20) & (c.distance > 2.2)
    c.fill(ethmoid, "mucosa")
    c.fill(ethmoid & (side > 1.5) & (grain > -0.9), "air")


def _orbits(c: _Canvas) -> None:
    for s in (1, -1):
        c.ellipsoid((s * 32, 46, -36), (20, 32, 19), "bone", (c.distance > 1) & (at_y > 12) & (at_y < 66))
        c.ellipsoid((s * 32, 46, -36), (18, 30.5, 17.5), "fat", (c.distance > 1.8) & (at_y > 12))
        for dx, dz in ((9, 0), (-9, 0), (0, 10), (0, -10)):
            c.tube([(s * 33 + dx, 56, -36 + dz), (s * 26 + dx * 0.8, 36, -35 + dz * 0.8), (s * 14, 17, -32)], 2.2,
                   "eye_muscle", c.distance > 1.5)  # fmt: skip
        c.tube([(s * 32, 50, -36), (s * 24, 32, -34), (s * 11, 11, -29)], 1.9, "nerve")
        c.ellipsoid((s * 33, 62, -36), (12.6, 12.6, 12.6), "muscle")  # sclera
        c.ellipsoid((s * 33, 62, -36), (11.4, 11.4, 11.4), "vitreous")
        c.ellipsoid((s * 33, 70, -36), (4.6, 2.2, 4.6), "lens")
        c.ellipsoid((s * 45, 58, -27), (3.5, 6, 4.5), "gland", c.distance > 2)  # lacrimal


def _vessels(c: _Canvas) -> None:
    d, side = c.distance, np.abs(at_x)
    c.fill((d < 1.0) & (d > -0.3), "dura")
    crest = (d < 3.5) & (d > -4.5)
    c.fill(crest & (side < 4.5 - 0.6 * np.abs(d)) & ((at_z > 10) | (at_y < -60)) & (at_y > -112), "vein")
    c.fill(crest & (side > 6) & (side < 60) & (at_y < -38) & (np.abs(at_z + 24 + 0.12 * side) < 3.6), "vein")
    for s in (1, -1):
        c.tube([(s * 54, -38, -32), (s * 42, -30, -56), (s * 34, -18, -80), (s * 34, -10, -160)], 4.2, "vein")
        c.tube([(s * 30, 0, -160), (s * 28, -6, -80), (s * 26, -10, -52), (s * 18, -4, -38)], 2.7, "artery")
        c.ellipsoid((s * 13, 2, -33), (4.5, 9, 6), "vein", d > -3)  # cavernous sinus
        c.tube([(s * 13, 8, -34), (s * 13, -4, -35)], 2.2, "artery")
        c.tube([(s * 16, -44, -160), (s * 15, -40, -90), (s * 8, -34, -64)], 1.8, "artery")
