"""Which slices a model saw in training look to it most like one that it was judged on.

A mistake is often explained by its neighbours: training slices with a wrong label, or from the same patient, which a
split must not allow. The search is exact, and works through tiles, so that half a million slices need no more memory
than a few of them. Written is ``analyses/neighbours.npz``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.analysis import analyses
from core.analysis.judged import a_row_a_slice
from core.cohorts.slice_table import replaced
from core.explanations.jury import unit
from core.runs import Run

#: Neighbours that are kept of each slice.
K = 8
#: Slices along a tile's sides; a tile of cosines is 64 MB.
_QUERIES, _REFERENCES = 2048, 8192
#: Where a run has no training slices, so many others are looked through at most.
_MOST_OTHERS = 50_000
_FILE = "neighbours.npz"


@dataclass(frozen=True)
class Neighbours:
    """The nearest slices of those that a run was judged on.

    Attributes
    ----------
    slices : ndarray of int, shape (m,)
        Which of the run's slices, in their order in ``split.parquet``; ascending.
    nearest : ndarray of int, shape (m, k)
        Their neighbours, likewise, nearest first; -1 where there are fewer.
    cosine : ndarray of float32, shape (m, k)
        Of the angle between the two embeddings: 1 is the same direction.
    among : {"train", "others"}
        Whether training slices were looked through or, in a run without any, the slices of other patients.
    """

    slices: np.ndarray
    nearest: np.ndarray
    cosine: np.ndarray
    among: str

    def of(self, at: int) -> tuple[np.ndarray, np.ndarray]:
        """Return neighbours and cosines of one of the run's slices; empty where none are kept."""
        place = int(np.searchsorted(self.slices, at))
        if place == len(self.slices) or self.slices[place] != at:
            return np.empty(0, int), np.empty(0, np.float32)
        found = self.nearest[place] >= 0
        return self.nearest[place][found], self.cosine[place][found]


def nearest(
    vectors: np.ndarray,
    queries: np.ndarray,
    references: np.ndarray,
    k: int = K,
    groups: np.ndarray | None = None,
    report: Callable[[float], None] = lambda share: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest references of each query, exactly.

    Parameters
    ----------
    vectors : ndarray, shape (n, d)
        May be mapped from a file: only tiles of it are read.
    queries, references : ndarray of int
        Rows of `vectors`, q and r of them; a row is never its own neighbour.
    k : int
    groups : ndarray of int, shape (n,), optional
        Rows of one group are no neighbours of each other.
    report : callable, optional
        Called with the share done, from 0 to 1.

    Returns
    -------
    rows : ndarray of int32, shape (q, k)
        Nearest first; -1 where there are fewer.
    cosine : ndarray of float32, shape (q, k)

    Examples
    --------
    >>> rows, cosine = nearest(np.array([[1.0, 0], [0, 1], [2, 1]]), np.array([0]), np.array([0, 1, 2]), k=2)
    >>> rows.tolist(), cosine.round(2).tolist()
    ([[2, 1]], [[0.8899999856948853, 0.0]])
    """
    rows = np.full((len(queries), k), -1, np.int32)
    cosine = np.full((len(queries), k), -np.inf, np.float32)
    for start in range(0, len(queries), _QUERIES):
        part = slice(start, start + _QUERIES)
        of = queries[part]
        asked = _unit(vectors, of)
        for first in range(0, len(references), _REFERENCES):
            among = references[first : first + _REFERENCES]
            tile = asked @ _unit(vectors, among).T
            _, query, itself = np.intersect1d(of, among, return_indices=True)
            tile[query, itself] = -np.inf
            if groups is not None:
                tile[groups[of][:, None] == groups[among]] = -np.inf
            _merge(rows[part], cosine[part], tile, among)
        report(min(1.0, (start + _QUERIES) / len(queries)))
    return rows, np.where(rows < 0, 0, cosine)


def _unit(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    # An old run's embedding may hold what is no number; such a slice is like nothing.
    return unit(np.nan_to_num(np.asarray(vectors[rows], np.float32), posinf=0, neginf=0)).astype(np.float32)


def _merge(rows: np.ndarray, cosine: np.ndarray, tile: np.ndarray, among: np.ndarray) -> None:
    """Take into the k best of each query, in place, what a tile has that is better."""
    k = rows.shape[1]
    if tile.shape[1] > k and (rows[:, -1] < 0).any():
        # Of the first tile nearly all would be better than nothing.
        kept = np.argpartition(-tile, k - 1, axis=1)[:, :k]
        of, at = np.repeat(np.arange(len(tile)), k), kept.ravel()
        better = tile[of, at] > cosine[of, -1]
        of, at = of[better], at[better]
    else:
        # Later tiles have something better for few queries, and a maximum costs less than to list what is better.
        some = np.flatnonzero(tile.max(axis=1, initial=-np.inf) > cosine[:, -1])
        of, at = np.nonzero(tile[some] > cosine[some, -1:])
        of = some[of]
    touched = np.unique(of)
    if not len(touched):
        return
    query = np.concatenate([of, np.repeat(touched, k)])
    value = np.concatenate([tile[of, at], cosine[touched].ravel()])
    row = np.concatenate([among[at], rows[touched].ravel()])
    order = np.lexsort((-value, query))
    query, value, row = query[order], value[order], row[order]
    place = np.arange(len(query)) - np.searchsorted(query, query)
    best = place < k
    rows[query[best], place[best]], cosine[query[best], place[best]] = row[best], value[best]


def write(run: Run, report: analyses.Report) -> None:
    """Find and keep the neighbours of each validation and test slice of an evaluated run."""
    vectors = np.load(run.folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    slices = a_row_a_slice(run.predictions())
    training = (slices["split"] == "train").to_numpy()
    queries, patients = np.flatnonzero(~training), None
    if training.any():
        references = np.flatnonzero(training)
    else:
        patients, _ = pd.factorize(slices["PatientID"])
        thin = max(1, -(-len(slices) // _MOST_OTHERS))
        references = np.arange(0, len(slices), thin)
    rows, cosine = nearest(vectors, queries, references, groups=patients,
                           report=lambda share: report(share, "Looking for the nearest training slices"))  # fmt: skip
    among = "train" if training.any() else "others"
    with replaced(analyses.folder(run) / _FILE) as fresh, fresh.open("wb") as file:
        np.savez(file, slices=queries.astype(np.int32), nearest=rows, cosine=cosine, among=np.array(among))


def read(run: Run) -> Neighbours | None:
    """Read what `write` kept; None for a run that was evaluated before."""
    path = analyses.folder(run) / _FILE
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as kept:
        return Neighbours(kept["slices"], kept["nearest"], kept["cosine"], str(kept["among"]))
