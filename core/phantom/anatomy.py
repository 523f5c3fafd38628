"""Phantom people: one tissue per voxel on a 1 mm grid, in a head that reaches from the vertex to the neck.

The brain comes from the MNI152 grey- and white-matter maps that nilearn ships. They are averages over many people,
too soft to make a contrast from; so each person adds smooth random fields to them, folds a cortex of their own, and
keeps one tissue per voxel. Partial volume comes back when slices average several voxels. Everything around the brain
is painted by `core.phantom.head`, and what ails people by `core.phantom.findings`.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from nilearn import datasets
from scipy import ndimage

from core.phantom.brain import add_deep_structures, sharpen
from core.phantom.findings import FINDINGS, add_finding
from core.phantom.head import paint_head
from core.phantom.tissues import ID, ORIGIN, SHAPE, TISSUES, labels_in, noise

__all__ = ["FINDINGS", "ID", "ORIGIN", "SHAPE", "TISSUES", "Person", "make_person"]

#: How often each of `FINDINGS` is drawn.
_ODDS = (0.17, 0.26, 0.12, 0.12, 0.13, 0.05, 0.08, 0.07)

#: Beyond this many mm from the brain all is equally far.
_FAR = 26


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


@dataclass(frozen=True)
class _Template:
    """What all people share, in MNI space. The soft maps are cut to the ``box`` of the brain."""

    box: tuple[slice, slice, slice]
    white: np.ndarray
    grey: np.ndarray
    distance: np.ndarray  # signed distance to the inner skull in mm, negative inside
    head: np.ndarray  # tissue of everything that is not brain
    depth: np.ndarray  # below the skin, mm


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
    # The inner skull is smooth where the brain is folded.
    closed = (ndimage.gaussian_filter(brain.astype(np.float32), 4, truncate=3) > 0.42) | brain
    hit = [np.flatnonzero(closed.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    # Farther out the distance is not needed, and a distance transform of the whole box would cost seconds.
    near = tuple(slice(max(h[0] - _FAR, 0), h[-1] + _FAR + 1) for h in hit)
    distance = np.full(SHAPE, _FAR, np.float32)
    distance[near] = ndimage.distance_transform_edt(~closed[near])
    box = tuple(slice(max(h[0] - 4, 0), h[-1] + 5) for h in hit)
    distance[box] -= ndimage.distance_transform_edt(closed[box])
    distance -= 1.5
    head, depth = paint_head(distance)
    return _Template(box, white[box], grey[box], distance[box], head, depth)


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
    scale = rng.normal(0.94, 0.035) * rng.normal(1, (0.035, 0.035, 0.035))
    matrix = turn / scale
    centre = -ORIGIN - np.array([0, 20, 0])
    shift = centre - matrix @ (centre + rng.normal(0, 1.5, 3))
    amplitude = rng.uniform(1, 4)
    index = [np.arange(n, dtype=np.float32).reshape([-1 if i == a else 1 for i in range(3)])
             for a, n in enumerate(SHAPE)]  # fmt: skip
    pose = np.empty((3, *SHAPE), np.float32)
    for axis, (row, offset) in enumerate(zip(matrix.astype(np.float32), shift, strict=True)):
        pose[axis] = noise(rng, 38)
        pose[axis] *= np.float32(amplitude)
        for factor, grid in zip(row, index, strict=True):
            pose[axis] += factor * grid
        pose[axis] += np.float32(offset)
    return pose


def _nearest(volume: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """The template's nearest voxel at each voxel of the person; the edge goes on outside."""
    flat = np.zeros(SHAPE, np.int32)
    for axis, n in enumerate(SHAPE):
        index = np.rint(pose[axis]).astype(np.int32)
        np.clip(index, 0, n - 1, out=index)
        flat *= n
        flat += index
    return volume.reshape(-1)[flat]


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

    Raises
    ------
    ValueError
        For a finding that there is not.
    """
    if finding not in (None, *FINDINGS):
        raise ValueError(f"A finding is one of {', '.join(FINDINGS)}; received {finding!r}.")
    rng = np.random.default_rng([17, random_state])
    template = _template()
    pose = _pose(rng)
    tissue = _nearest(template.head, pose)
    _thin_scalp(tissue, _nearest(template.depth, pose), rng.uniform(0, 3.5))

    box, here = _brain_box(template, pose)
    # Soft maps are sampled in the brain's own box only: a quarter of the head.
    shift = np.array([s.start for s in template.box], np.float32).reshape(3, 1, 1, 1)
    at = pose[(slice(None), *box)] - shift
    distance, white, grey = (
        ndimage.map_coordinates(volume, at, order=1, mode="nearest")
        for volume in (template.distance, template.white, template.grey)
    )
    millimetres = at + shift + ORIGIN.astype(np.float32).reshape(3, 1, 1, 1)
    inside = (distance < -0.3) & here
    atrophy = rng.uniform(-0.08, 0.16)
    part = tissue[box]
    sharpen(part, white, grey, distance, inside, millimetres, atrophy, rng)
    add_deep_structures(part, inside, millimetres, 1.5 * atrophy, rng)
    brain = np.zeros(SHAPE, bool)
    brain[box] = inside
    finding = finding or str(rng.choice(FINDINGS, p=_ODDS))
    add_finding(tissue, brain, finding, rng)
    return Person(tissue, brain, finding, random_state)


def _brain_box(template: _Template, pose: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray]:
    """The box of the person's brain, and which of its voxels lie in the template's box."""
    lo = np.array([s.start for s in template.box]).reshape(3, 1, 1, 1)
    hi = np.array([s.stop - 1 for s in template.box]).reshape(3, 1, 1, 1)

    def within(points):
        return ((points >= lo) & (points <= hi)).all(0)

    coarse = within(pose[:, ::4, ::4, ::4])
    box = []
    for axis, n in enumerate(SHAPE):
        hit = np.flatnonzero(coarse.any(tuple(a for a in range(3) if a != axis)))
        box.append(slice(max(4 * int(hit[0]) - 4, 0), min(4 * int(hit[-1]) + 5, n)))
    return tuple(box), within(pose[(slice(None), *box)])


def _thin_scalp(tissue: np.ndarray, depth: np.ndarray, millimetres: float) -> None:
    """Take fat from the scalp and face: people differ in it more than in bone."""
    tissue[(depth < millimetres) & (tissue > 0)] = ID["air"]
    tissue[(depth >= millimetres) & (depth < millimetres + 1.8) & labels_in(tissue, "fat", "muscle")] = ID["skin"]
