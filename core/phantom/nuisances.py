"""How often things happen to slices that must not matter."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Nuisances:
    """How often, from 0 to 1, each thing happens that says nothing about plane or sequence.

    Attributes
    ----------
    jitter : float
        Not a share: standard deviation of the logarithm of a tissue's values from slice to slice.
    resolutions : float
        Not a share: 1 as scanners differ in slice thickness and pixel size, 0 when all are alike.
    sick : float
        A person's slice is chosen for what ails them: people publish what they looked for.
    defaced, stripped : float
        The face, or all but the brain, is gone.
    grain : float
        Tissue is not uniform.
    uneven : float
        Coils brighten what is near them, and no scanner has evened it out.
    noisy, ghosts, ringing : float
        A signal-to-noise ratio under 20; motion; and lines that were not measured.
    wrapped : float
        The field of view was smaller than the head, whose edge comes back at the other side.
    covered : float
        A coronal or sagittal picture ends where the axial stack ended that it was cut from.
    reformatted : float
        One direction of the picture is coarse: a thick stack cut across.
    cropped, inscribed, stretched, bordered, windowed, toned, jpeg, turned : float
        What exports do: cut around the head, print words into the corners, lose the shape of pixels, leave room
        around, choose a window, another tone, a lossy format; and lay the picture on its side or head.
    """

    jitter: float = 0.05
    resolutions: float = 1.0
    sick: float = 0.4
    defaced: float = 0.15
    stripped: float = 0.35
    grain: float = 0.5
    uneven: float = 0.4
    noisy: float = 0.15
    ghosts: float = 0.1
    ringing: float = 0.15
    wrapped: float = 0.05
    covered: float = 0.2
    reformatted: float = 0.2
    cropped: float = 0.35
    inscribed: float = 0.08
    stretched: float = 0.12
    bordered: float = 0.05
    windowed: float = 0.35
    toned: float = 0.5
    jpeg: float = 0.25
    turned: float = 0.04
