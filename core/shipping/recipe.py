"""What the shipped weights are made from, and what they are taught and asked."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from core import bundle, images
from core.phantom import render
from core.phantom.nuisances import Nuisances
from core.settings import PROJECT_DIR, WEIGHTS_DIR

BRAIN = "brain"
#: Taught, but not answered: the thick slices of an angiogram that phantoms give look too much like T1 after contrast
#: agent, and of real T1CE slices a third were taken for it. Without it the others share its probability.
_SILENT = ("MRA",)
ANSWERS = tuple(leaf for leaf in render.LEAVES if leaf not in _SILENT)


@dataclass(frozen=True)
class Recipe:
    """What the shipped weights are made from; equal recipes and equal phantoms share shards and checkpoints.

    Attributes
    ----------
    persons, held_back : int
        Phantom people to train on, and to judge on.
    slices_per_person : int
    others : float
        Pictures of other things, as a share of the slices.
    odds : Nuisances
        What happens to slices, and how often.
    size : int
        Side of the model input in pixels.
    epochs, batch_size : int
    dtype_policy : str
        Of Keras: what the network is computed in while it is trained. The weights are kept in single precision.
    learning_rate : float
        Peak of a cosine schedule with one twentieth of warm-up.
    averaging : float
        Momentum of the moving average of the weights that is kept; 0 keeps the last ones.
    changes, tones : float
        How much a slice is changed each time it is seen, see `core.shipping.changes.Changes`.
    teachers : tuple of float
        Networks whose mean answer the shipped one learns beside the truth: one for each of these tones, of a seed of
        its own and with four fifths of the epochs.
    start : str
        SHA-256 of the model file that training goes on from, in the bundle of the shipped weights; empty to start
        from nothing.
    kept : float
        Share of those weights in what is kept in the end, a mean of them and of what training made of them: steadier
        on heads unlike those it was trained on (Wortsman et al., arXiv:2109.01903).
    random_state : int
        Seed of everything. People are numbered from ``1000 * (random_state + 1)``, away from the demo cohort's,
        and those held back from 900 after it.
    """

    persons: int = 140
    held_back: int = 8
    slices_per_person: int = 500
    others: float = 0.1
    odds: Nuisances = field(default_factory=Nuisances)
    size: int = images.MODEL_SIZE
    epochs: int = 12
    batch_size: int = 128
    dtype_policy: str = "mixed_bfloat16"
    learning_rate: float = 3e-3
    averaging: float = 0.998
    changes: float = 1.0
    tones: float = 0.5
    teachers: tuple[float, ...] = ()
    start: str = ""
    kept: float = 0.0
    random_state: int = 0

    @property
    def key(self) -> str:
        return _digest(asdict(self))

    @property
    def shards_key(self) -> str:
        """What makes shards the same: each is one person, so their number and the training do not matter."""
        return _digest([self.slices_per_person, self.others, asdict(self.odds), self.size])


#: The best from nothing: twelve minutes on a GPU and sixteen cores. The usual recipe fits two cores.
LARGE = Recipe(persons=208, epochs=28, batch_size=256, learning_rate=4e-3, tones=0.5, teachers=(1.0, 0.5, 0.25))


def going_on(large: bool = False) -> Recipe:
    """Return the recipe that takes the shipped weights on to the phantoms as they are now, and that made them so.

    Thirty-five minutes on two cores, two thirds of them for the people: twice through these is enough. ``large`` with
    teachers, in some minutes on a GPU and sixteen cores. Another ``random_state`` has people whom no step has seen.
    """
    start = bundle.read_card(WEIGHTS_DIR)["sha256"]
    if large:
        return replace(LARGE, persons=109, epochs=10, learning_rate=2e-3, start=start, kept=0.5)
    return Recipe(persons=120, epochs=2, learning_rate=1e-3, start=start, kept=0.5, random_state=1)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def processor_policy() -> str:
    """Return Keras' policy that trains fastest here: processors without bfloat16 imitate it, which takes longer."""
    flags = Path("/proc/cpuinfo")
    known = flags.is_file() and any(flag in flags.read_text() for flag in ("amx_bf16", "avx512_bf16"))
    return "mixed_bfloat16" if known else "float32"


def phantoms_key() -> str:
    """Name the code that draws the slices by its content."""
    files = [*sorted((PROJECT_DIR / "core" / "phantom").glob("*.py")), PROJECT_DIR / "core" / "images.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
