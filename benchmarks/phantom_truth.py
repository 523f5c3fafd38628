"""Phantom slices with what lies in them: where a tumour takes up contrast agent, and where agent goes at all.

The people are those of a phantom cohort (`core.phantom.study`) of the same seed; only what is needed of them is
rendered, straight to the model's input, so that nothing is written.
"""

from dataclasses import dataclass

import numpy as np

from core.images import MODEL_SIZE, to_model_input
from core.phantom import anatomy, contrast, scan
from core.phantom.series import render_series
from core.phantom.tissues import ID
from core.vocabulary import CLASSIC_SEQUENCES, PLANES

#: Finding tissues that take up agent.
TUMOUR = ("rim", "meningioma")
#: Concentration, mmol/L, from which tissue is told by its agent: tumour, vessels, choroid plexus, dura, mucosa …
_TAKES_UP = 0.12
#: Share of a pixel's thickness that a tissue must fill to be there.
_FILLS = 0.3
_N_SLICES, _THICKNESS_MM, _SPACING_MM = 14, 4.0, 1.4
_FIELD_OF_VIEW_MM = {"axial": 224, "coronal": 232, "sagittal": 250}


@dataclass(frozen=True)
class Truth:
    """Slices of a phantom cohort, n of them.

    Attributes
    ----------
    images : ndarray of float32, shape (n, S, S)
        Model inputs.
    tumour, agent : ndarray of bool, shape (n, S, S)
        Where tumour takes up agent, and where agent goes at all, that tumour included.
    planes, sequences : ndarray of str, shape (n,)
    persons : ndarray of int, shape (n,)
    """

    images: np.ndarray
    tumour: np.ndarray
    agent: np.ndarray
    planes: np.ndarray
    sequences: np.ndarray
    persons: np.ndarray

    def part(self, which: np.ndarray) -> "Truth":
        """Some of the slices."""
        return Truth(*(value[which] for value in vars(self).values()))


def slices_of(cohort_seed: int, n_patients: int, per_series: int = 3, size: int = MODEL_SIZE) -> Truth:
    """Render slices of a phantom cohort's people.

    Each person is seen after contrast in all three planes, and once in each other classic sequence. Of a series, slices
    with most enhancing tumour are taken first, then some between, and none of the outermost.

    Parameters
    ----------
    cohort_seed : int
        As of ``python -m core demo --seed``.
    n_patients : int
    per_series : int
    size : int
        Side of the model input.

    Returns
    -------
    Truth
    """
    rows = []
    for number in range(n_patients):
        rng = np.random.default_rng([43, cohort_seed, number])
        person = anatomy.make_person(100_000 + 100 * cohort_seed + number)
        others = [name for name in CLASSIC_SEQUENCES if name != "T1CE"]
        plan = [("T1CE", plane) for plane in PLANES]
        plan += [(name, PLANES[(number + at) % 3]) for at, name in enumerate(others)]
        for sequence, plane in plan:
            rows += [(*row, plane, sequence, number) for row in _series(person, plane, sequence, rng, per_series, size)]
    images, tumour, agent, planes, sequences, persons = zip(*rows, strict=True)
    return Truth(*map(np.array, (images, tumour, agent, planes, sequences, persons)))


def _series(person: anatomy.Person, plane: str, sequence: str, rng, n: int, size: int) -> list[tuple]:
    protocol = contrast.draw_protocol(sequence, rng)
    field = _FIELD_OF_VIEW_MM[plane]
    made = render_series(person, plane, protocol, rng, _N_SLICES, _THICKNESS_MM, _SPACING_MM, field)
    tissue = np.ascontiguousarray(scan.view(person.tissue, plane))
    agent = contrast.personal_tissue(np.random.default_rng([23, person.seed]))[7] >= _TAKES_UP
    tumour = np.isin(np.arange(len(agent)), [ID[name] for name in TUMOUR])
    truths = [
        [_filled(tissue, at, which, field, size) for which in (tumour, agent | tumour)] for at in _planes(person, plane)
    ]
    areas = np.array([truth[0].sum() for truth in truths])
    inner = np.arange(2, _N_SLICES - 2)
    order = inner[np.argsort(-areas[inner] + rng.random(len(inner)), kind="stable")]
    return [(to_model_input(made.slices[at], size=size)[0], *truths[at]) for at in order[:n]]


def _planes(person: anatomy.Person, plane: str) -> list[scan.Plane]:
    """Where `render_series` cuts without tilt."""
    first, last = scan.extent(person, plane)
    margin = 0.04 * (last - first)
    middle = scan.middle(person, plane)
    return [scan.place((depth, *middle)) for depth in np.linspace(first + margin, last - margin, _N_SLICES)]


def _filled(tissue: np.ndarray, at: scan.Plane, which: np.ndarray, field: int, size: int) -> np.ndarray:
    share = scan.cut(tissue, at, which.astype(np.float32), field, _THICKNESS_MM)
    return scan.to_matrix(share, field / size) >= _FILLS
