"""The jury of a Siamese run: reference slices of training patients that a slice is compared with.

One rule decides everywhere (prediction, vote, heatmap): a class's score is the mean cosine between the slice
and the class's references, and the probabilities are a softmax over these scores.
"""

import os
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from scipy.special import softmax

from core.errors import BundleError

#: Cosines lie within [-1, 1], too close together for a softmax to be sure of anything. The calibrated
#: temperature then corrects this start.
COSINE_SCALE = 10.0

JURY_FILE = "jury.npz"


@dataclass(frozen=True)
class Jury:
    """Reference slices, kept beside the model in its bundle.

    Attributes
    ----------
    classes : tuple of str
    labels : tuple of str, length m
        Class of each reference.
    patients : tuple of str, length m
        Pseudonyms.
    keys : tuple of str, length m
        Slice keys in the cohort that they came from.
    embeddings : ndarray of float32, shape (m, d)
        Of length 1.
    pictures : ndarray of uint8, shape (m, side, side)
        Thumbnails, so that the jury can be shown without its cohort.
    """

    classes: tuple[str, ...]
    labels: tuple[str, ...]
    patients: tuple[str, ...]
    keys: tuple[str, ...]
    embeddings: np.ndarray
    pictures: np.ndarray

    @property
    def prototypes(self) -> np.ndarray:
        """Mean embedding of each class's references, shape (classes, d); a class without any has zeros."""
        labels = np.array(self.labels)
        rows = [self.embeddings[labels == name] for name in self.classes]
        zero = np.zeros(self.embeddings.shape[1], np.float32)
        return np.array([row.mean(axis=0) if len(row) else zero for row in rows])

    def probabilities(self, embeddings: np.ndarray) -> np.ndarray:
        """Give uncalibrated class probabilities.

        Parameters
        ----------
        embeddings : ndarray, shape (..., d)
            Of any length but zero.

        Returns
        -------
        ndarray of float32, shape (..., classes)
        """
        return softmax(COSINE_SCALE * unit(embeddings) @ self.prototypes.T, axis=-1).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write ``jury.npz`` into a bundle, all or nothing."""
        partial = Path(folder) / f"part-{os.getpid()}.npz"
        np.savez_compressed(partial, **{field.name: getattr(self, field.name) for field in fields(self)})
        partial.replace(Path(folder) / JURY_FILE)

    @classmethod
    def load(cls, folder: Path) -> "Jury":
        """Read a bundle's jury.

        Raises
        ------
        BundleError
            When there is none: the run has not been evaluated yet.
        """
        path = Path(folder) / JURY_FILE
        if not path.is_file():
            raise BundleError(f"There is no {JURY_FILE} in this Siamese run. Evaluate the run; that calls its jury.")
        with np.load(path, allow_pickle=False) as stored:
            values = {field.name: stored[field.name] for field in fields(cls)}
        words = {name: tuple(map(str, values[name])) for name in ("classes", "labels", "patients", "keys")}
        return cls(**{**values, **words})


@dataclass(frozen=True)
class Verdict:
    """What a jury says about one slice.

    Attributes
    ----------
    winner : str
        The class with the largest share.
    votes : dict of str to float
        Calibrated probability of each class; they sum to 1.
    similarities : ndarray of float32, shape (m,)
        Cosine to each reference, -1 to 1, most alike first.
    labels, patients, keys : tuple of str, length m
        Of the references, in the same order.
    pictures : ndarray of uint8, shape (m, side, side)
    """

    winner: str
    votes: dict[str, float]
    similarities: np.ndarray
    labels: tuple[str, ...]
    patients: tuple[str, ...]
    keys: tuple[str, ...]
    pictures: np.ndarray


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Give embeddings the length 1; one of length 0 stays.

    Examples
    --------
    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    length = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return embeddings / np.where(length > 0, length, 1)


def deliberate(jury: Jury, embedding: np.ndarray, votes: np.ndarray) -> Verdict:
    """Compare one slice with every reference.

    Parameters
    ----------
    jury : Jury
    embedding : ndarray, shape (d,)
    votes : ndarray, shape (classes,)
        The slice's calibrated probabilities.

    Returns
    -------
    Verdict
    """
    cosine = (jury.embeddings @ unit(embedding)).astype(np.float32)
    order = np.argsort(-cosine, kind="stable")
    labels, patients, keys = (tuple(words[i] for i in order) for words in (jury.labels, jury.patients, jury.keys))
    return Verdict(
        winner=jury.classes[int(np.argmax(votes))],
        votes={name: float(share) for name, share in zip(jury.classes, votes, strict=True)},
        similarities=cosine[order], labels=labels, patients=patients, keys=keys, pictures=jury.pictures[order],
    )  # fmt: skip
