"""The jury of a Siamese run: reference slices of training patients that a slice is compared with.

One rule decides everywhere (prediction, vote, heatmap): a class's score is the mean cosine between the slice
and the class's references, and the probabilities are a softmax over these scores. A jury that somebody names
(`core.explanations.juries`) may vote by another rule (`core.explanations.votes`).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from scipy.special import softmax

from core.errors import BundleError

#: Cosines lie within [-1, 1], too close together for a softmax to be sure of anything. The calibrated
#: temperature then corrects this start.
COSINE_SCALE = 10.0

JURY_FILE = "jury.npz"


def called_at(folder: Path) -> int:
    """Tell when a bundle's jury was called, in nanoseconds; 0 where there is none."""
    path = Path(folder) / JURY_FILE
    return path.stat().st_mtime_ns if path.exists() else 0


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
    def codes(self) -> np.ndarray:
        """Number of each reference's class, shape (m,)."""
        return np.array([self.classes.index(label) for label in self.labels], int)

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
            return cls.of(stored)

    @classmethod
    def of(cls, stored: Mapping[str, np.ndarray]) -> "Jury":
        """Take a jury from the arrays of a file that holds one, by the names of its attributes."""
        values = {field.name: stored[field.name] for field in fields(cls)}
        words = {name: tuple(map(str, values[name])) for name in ("classes", "labels", "patients", "keys")}
        return cls(**{**values, **words})


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Give embeddings the length 1; one of length 0 stays.

    Examples
    --------
    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    length = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return embeddings / np.where(length > 0, length, 1)
