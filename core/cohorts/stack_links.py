"""Whether two stacks can be scrolled together by millimetres, and why not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Positions are distances of a slice's corner along the normal. Where two normals part by one degree, those of a
#: corner 120 mm off the axis part by 2 mm, which is less than a usual slice is thick.
_PARALLEL_DEG = 1.0


@dataclass(frozen=True)
class StackPlace:
    """Where a stack lies.

    Attributes
    ----------
    orientations : sequence of six floats each
        The different *ImageOrientationPatient* of its slices; empty where the header does not tell.
    has_positions : bool
        Whether the position along the normal is known of every slice.
    frame_of_reference : str or None
        *FrameOfReferenceUID*: positions of two stacks can be compared only where both have the same.
    """

    orientations: Sequence[Sequence[float]]
    has_positions: bool
    frame_of_reference: str | None


@dataclass(frozen=True)
class StackLink:
    """How two stacks are linked: by ``"mm"`` or by ``"share"`` of the way through, and why, in a sentence."""

    by: str
    why: str


def link_stacks(one: StackPlace, other: StackPlace) -> StackLink:
    """Say how two stacks are scrolled together.

    Parameters
    ----------
    one, other : StackPlace

    Returns
    -------
    StackLink
        By ``"mm"`` along the normal only where both stacks have one orientation each, the two are parallel within a
        degree, every position is known and the frame of reference is the same; by ``"share"`` otherwise.

    Examples
    --------
    >>> axial = StackPlace([[1, 0, 0, 0, 1, 0]], True, "1.2")
    >>> link_stacks(axial, axial).by, link_stacks(axial, StackPlace([[0, 1, 0, 0, 0, -1]], True, "1.2")).why
    ('mm', 'Linked by relative position: the planes differ by 90°.')
    """
    reason = _reason(one, other)
    if reason:
        return StackLink("share", f"Linked by relative position: {reason}.")
    return StackLink("mm", "Linked by position along the slice normal, in mm.")


def _reason(one: StackPlace, other: StackPlace) -> str:
    if not (one.orientations and other.orientations and one.has_positions and other.has_positions):
        return "the header of one of them does not say where its slices lie"
    if len(one.orientations) > 1 or len(other.orientations) > 1:
        return "the slices of one of them are not parallel"
    if not (one.frame_of_reference and other.frame_of_reference):
        return "the header of one of them names no frame of reference"
    if one.frame_of_reference != other.frame_of_reference:
        return "they have different frames of reference"
    degrees = _angle_deg(one.orientations[0], other.orientations[0])
    if degrees > _PARALLEL_DEG:
        return f"the planes differ by {degrees:.0f}°"
    return ""


def _angle_deg(one: Sequence[float], other: Sequence[float]) -> float:
    """Angle between two planes, 0 to 90 degrees."""
    normals = [np.cross(numbers[:3], numbers[3:]) for numbers in (np.asarray(one, float), np.asarray(other, float))]
    cosine = abs(normals[0] @ normals[1]) / (np.linalg.norm(normals[0]) * np.linalg.norm(normals[1]))
    return float(np.degrees(np.arccos(min(1.0, cosine))))
