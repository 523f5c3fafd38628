"""More like this: the slices of a cohort that a model sees as nearest to one of them.

Each slice is embedded once by the model, from its thumbnail, and the answers are kept in the cohort's folder::

    <cohort folder>/embeddings/<first digits of the model's sha256>/

by what the files hold, so that another scan embeds only what is new and a stopped one goes on where it was.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from core import bundle, inference, thumbnails
from core.cohorts.slice_table import Cohort
from core.errors import CohortError
from core.learning import feature_store
from core.sandbox import thumbnail_recipe
from core.settings import WEIGHTS_DIR

#: Slices of one question to the worker: whoever looks at a heatmap meanwhile waits no longer than for these.
_TOGETHER = 64


@dataclass(frozen=True)
class Embeddings:
    """Where a model sees the slices of a table.

    Attributes
    ----------
    vectors : ndarray of float32, shape (n, d)
        Of length 1, in the order of the table's rows; 0 for a slice whose pixels cannot be read.
    """

    vectors: np.ndarray

    def nearest(self, at: int) -> np.ndarray:
        """Give every row's cosine to row `at`: ndarray of float32, shape (n,), 1 for itself.

        Examples
        --------
        >>> Embeddings(np.array([[1, 0], [0, 1], [0.8, 0.6]], np.float32)).nearest(0).tolist()
        [1.0, 0.0, 0.800000011920929]
        """
        return self.vectors @ self.vectors[at]

    def nearest_series(self, at: int, series: np.ndarray) -> np.ndarray:
        """Give every row the cosine of its series' mean to that of row `at`'s series.

        Parameters
        ----------
        at : int
        series : ndarray, shape (n,)
            SeriesInstanceUID of each row.

        Returns
        -------
        ndarray of float32, shape (n,)
        """
        codes, _ = pd.factorize(series)
        means = np.zeros((codes.max(initial=-1) + 1, self.vectors.shape[1]), np.float32)
        np.add.at(means, codes, self.vectors)
        means = _of_length_one(means)
        return (means @ means[codes[at]])[codes]


def embed(
    cohort: Cohort, folder: Path = WEIGHTS_DIR, report: Callable[[int, int], None] | None = None
) -> Embeddings:  # fmt: skip
    """Embed the slices of a cohort; what is known already is not asked again.

    Parameters
    ----------
    cohort : Cohort
    folder : Path
        Bundle of the model, the shipped one by default.
    report : callable, optional
        Called with (done, total); what it raises ends the work, and what is done is kept.

    Returns
    -------
    Embeddings

    Raises
    ------
    CohortError
        When the cohort has no slices, or a file is gone.
    BundleError, ChildError
        As `core.inference.InferenceWorker.predict`.
    """
    if cohort.table.empty:
        raise CohortError(f"Cohort {cohort.name!r} has no slices. Index the folder again.")
    size = bundle.read_card(folder)["input_shape"][0]
    worker = inference.get_worker()

    def compute(rows: np.ndarray) -> np.ndarray:
        answers = []
        for start in range(0, len(rows), _TOGETHER):
            # A thumbnail of the model's size is what the model sees, in 256 steps, and it is on disk already.
            part = cohort.table.iloc[rows[start : start + _TOGETHER]]
            pictures, readable = thumbnails.pictures(cohort, part, size)
            vectors = worker.predict(folder, pictures.astype(np.float32) / 255).embeddings
            answers.append(_of_length_one(vectors) * readable[:, None])
        return np.concatenate(answers).astype(np.float16)

    found = feature_store.stored(_store(cohort, folder), content_keys(cohort.table), compute, report)
    return Embeddings(found.astype(np.float32))


def known(cohort: Cohort, folder: Path = WEIGHTS_DIR) -> Embeddings | None:
    """Give what `embed` would, when all of it is known already."""

    def compute(rows: np.ndarray) -> np.ndarray:
        raise _Unknown

    if cohort.table.empty or not _store(cohort, folder).is_dir():
        return None
    try:
        found = feature_store.stored(_store(cohort, folder), content_keys(cohort.table), compute)
    except _Unknown:
        return None
    return Embeddings(found.astype(np.float32))


class _Unknown(Exception):
    """Some slice has no embedding yet."""


def content_keys(table: pd.DataFrame) -> list[str]:
    """Name what each thumbnail holds, 32 hexadecimal digits each: instance, frame, size and time of the file."""
    columns = ("SOPInstanceUID", "frame", "file_size", "file_mtime_ns")
    rows = zip(*(table[column].tolist() for column in columns), strict=True)
    return [hashlib.sha256(repr((thumbnail_recipe(), *row)).encode()).hexdigest()[:32] for row in rows]


def _store(cohort: Cohort, folder: Path) -> Path:
    return cohort.folder / "embeddings" / bundle.read_card(folder)["sha256"][:16]


def _of_length_one(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
