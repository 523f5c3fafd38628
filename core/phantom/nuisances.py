"""How often things happen to slices that must not matter."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Nuisances:
    """How often, from 0 to 1, each thing happens that says nothing about plane or sequence.

    Attributes
    ----------
    jitter : float
        Not a share: standard deviation of the logarithm of a tissue's values from slice to slice.
    sick : float
        A person's slice is chosen for what ails them: people publish what they looked for.
    defaced, stripped : float
        The face, or all but the brain, is gone.
    grain : float
        Tissue is not uniform.
    uneven : float
        Coils brighten what is near them, and no scanner has evened it out.
    ghosts, ringing : float
        Motion; and lines that were not measured.
    covered : float
        A coronal or sagittal picture ends where the axial stack ended that it was cut from.
    reformatted : float
        One direction of the picture is coarse: a thick stack cut across.
    cropped, stretched, bordered, windowed, toned, jpeg : float
        What exports do.
    """

    jitter: float = 0.08
    sick: float = 0.4
    defaced: float = 0.15
    stripped: float = 0.35
    grain: float = 0.5
    uneven: float = 0.4
    ghosts: float = 0.15
    ringing: float = 0.2
    covered: float = 0.2
    reformatted: float = 0.25
    cropped: float = 0.35
    stretched: float = 0.12
    bordered: float = 0.2
    windowed: float = 0.5
    toned: float = 0.5
    jpeg: float = 0.25
