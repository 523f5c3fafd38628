"""What was taken for what: confusion matrices of slices, series or patients, and who stands in each cell.

Half a million answers are counted in a tenth of a second: words become numbers once, and cells are counted by
``bincount``. `judge` does that, `Judged.matrix` counts and `Judged.members` lists a cell without looking at the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from core.errors import InputError
from core.series_vote import vote_by

#: What is counted. A patient shows several planes and sequences, so a patient counts once for each class that is shown.
UNITS = ("slices", "series", "patients")
_GROUPED_BY = {"series": "SeriesInstanceUID", "patients": "PatientID"}
#: In which order classes stand.
ORDERS = ("name", "frequency", "confusion")
#: What a share is of: all that truly are of the class (its recall), or all that were named so (its precision).
SHARES = ("truth", "answer")


@dataclass(frozen=True)
class ConfusionMatrix:
    """How often each class was taken for each.

    Attributes
    ----------
    classes : tuple of str
    counts : ndarray of int, shape (classes, classes)
        Rows are the truth, columns the prediction.
    """

    classes: tuple[str, ...]
    counts: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of right answers; NaN without any."""
        return float(np.trace(self.counts) / self.counts.sum()) if self.counts.sum() else float("nan")

    @property
    def balanced_accuracy(self) -> float:
        """Mean over the classes that occur of the share that was named rightly; NaN without any."""
        total = self.counts.sum(axis=1)
        present = total > 0
        return float((np.diag(self.counts)[present] / total[present]).mean()) if present.any() else float("nan")

    @property
    def majority(self) -> float:
        """Accuracy of always naming the commonest class; NaN without slices."""
        return float(self.counts.sum(axis=1).max() / self.counts.sum()) if self.counts.sum() else float("nan")

    def shares(self, of: str) -> np.ndarray:
        """Divide by the rows' totals (``"truth"``) or the columns' (``"answer"``); NaN where that is nought.

        Examples
        --------
        >>> matrix = confusion(["T1", "T1", "T2"], ["T1", "T2", "T2"], ["T1", "T2"])
        >>> matrix.shares("truth").tolist(), matrix.shares("answer").tolist()
        ([[0.5, 0.5], [0.0, 1.0]], [[1.0, 0.5], [0.0, 0.5]])
        """
        if of not in SHARES:
            raise InputError(f"Shares are of one of {', '.join(SHARES)}. Received: {of!r}.")
        total = self.counts.sum(axis=1 if of == "truth" else 0, keepdims=True)
        return np.divide(self.counts, total, out=np.full(self.counts.shape, np.nan), where=total > 0)

    def ordered(self, by: str) -> "ConfusionMatrix":
        """Order the classes: as they are (``"name"``), commonest first, or with those that are confused together."""
        if by not in ORDERS:
            raise InputError(f"Classes are ordered by one of {', '.join(ORDERS)}. Received: {by!r}.")
        if by == "name":
            return self
        place = (
            np.argsort(-self.counts.sum(axis=1), kind="stable") if by == "frequency" else confusion_order(self.counts)
        )
        return ConfusionMatrix(tuple(self.classes[at] for at in place), self.counts[np.ix_(place, place)])


def confusion_order(counts: np.ndarray) -> np.ndarray:
    """Find an order in which classes that are taken for each other stand side by side.

    Classes are joined into a tree by how great a share of the one is taken for the other, and its leaves are ordered
    so that neighbours are as alike as can be (Bar-Joseph et al., Bioinformatics 17, 2001).

    Parameters
    ----------
    counts : ndarray of int, shape (classes, classes)
        Rows are the truth.

    Returns
    -------
    ndarray of int, shape (classes,)
        Numbers of the classes.

    Examples
    --------
    >>> confusion_order(np.array([[9, 0, 1], [0, 9, 0], [2, 0, 8]])).tolist()
    [0, 2, 1]
    """
    n = len(counts)
    if n < 3:
        return np.arange(n)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    alike = share + share.T
    np.fill_diagonal(alike, 0)
    # Mistakes are few, and their distances should differ all the same.
    distance = 1 - np.sqrt(alike / max(alike.max(), 1e-12))
    np.fill_diagonal(distance, 0)
    order = leaves_list(linkage(squareform(distance), "average", optimal_ordering=True))
    return order if order[0] < order[-1] else order[::-1]


def confusion(y_true: Sequence[str], y_pred: Sequence[str], classes: Sequence[str]) -> ConfusionMatrix:
    """Count how often each class was taken for each.

    Parameters
    ----------
    y_true, y_pred : sequence of str, length n
        Words among `classes`.
    classes : sequence of str

    Returns
    -------
    ConfusionMatrix

    Raises
    ------
    KeyError
        For a word that is no class.

    Examples
    --------
    >>> matrix = confusion(["T1", "T1", "T2"], ["T1", "T2", "T2"], ["T1", "T2"])
    >>> matrix.counts.tolist(), round(matrix.accuracy, 2), matrix.balanced_accuracy
    ([[1, 1], [0, 1]], 0.67, 0.75)
    """
    return ConfusionMatrix(tuple(classes), _count(codes(y_true, classes), codes(y_pred, classes), len(classes)))


def codes(words: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Return the number of each word among the classes, (n,); a word that is none is a KeyError."""
    words = np.asarray(words, dtype=object)
    found = pd.Index(list(classes), dtype=object).get_indexer(words)
    if (found < 0).any():
        raise KeyError(words[found < 0][0])
    return found


def _count(true: np.ndarray, named: np.ndarray, n: int) -> np.ndarray:
    return np.bincount(true * n + named, minlength=n * n).reshape(n, n)


@dataclass(frozen=True)
class Judged:
    """Slices, series or patients with their truth and the answer they were given, n of them.

    Attributes
    ----------
    unit : str
        One of `UNITS`.
    classes : tuple of str
        Those that occur or are named, in the vocabulary's order.
    true, named : ndarray of int, shape (n,)
        Number of the class.
    p : ndarray, shape (n,)
        Probability of the answer; NaN where a run kept none.
    at : ndarray of int, shape (n,)
        Place among the judged slices of one that stands for the unit: itself, or the middle one of a series.
    slices : ndarray of int, shape (n,)
        Of how many slices the unit is.
    patient : ndarray of int, shape (n,)
        Number of the patient, from 0.
    unanswered : int
        Slices that had no vote, for their probabilities are not numbers.
    """

    unit: str
    classes: tuple[str, ...]
    true: np.ndarray
    named: np.ndarray
    p: np.ndarray
    at: np.ndarray
    slices: np.ndarray
    patient: np.ndarray
    unanswered: int = 0

    @cached_property
    def matrix(self) -> ConfusionMatrix:
        """Count the cells."""
        return ConfusionMatrix(self.classes, _count(self.true, self.named, len(self.classes)))

    @cached_property
    def _by_cell(self) -> tuple[np.ndarray, np.ndarray]:
        """Units sorted by cell and then surest first, and where each cell begins."""
        n = len(self.classes)
        cell = self.true * n + self.named
        order = np.lexsort((-np.nan_to_num(self.p, nan=-1.0), cell))
        return order, np.searchsorted(cell[order], np.arange(n * n + 1))

    def members(self, true: str, named: str) -> np.ndarray:
        """List the units of a cell, surest first; none for words that are no classes."""
        if true not in self.classes or named not in self.classes:
            return np.empty(0, int)
        order, starts = self._by_cell
        cell = self.classes.index(true) * len(self.classes) + self.classes.index(named)
        return order[starts[cell] : starts[cell + 1]]


def judge(parts: Sequence[pd.DataFrame], names: Sequence[Sequence[str]], unit: str = "slices") -> Judged:
    """Set truth against answer for each slice, series or patient.

    Series and patients are answered by the mean of their slices' probabilities (`core.series_vote`), among the slices
    of one true class: a patient with T1 and T2 slices counts once as T1 and once as T2, and so does a series whose
    slices differ. With two heads the classes are joined (``axial-T1``), each head votes by itself, and the probability
    of an answer is the product of the two.

    Parameters
    ----------
    parts : sequence of DataFrame
        For each head the predictions, n rows with the same slices in the same order and their truth known:
        SeriesInstanceUID, PatientID, y_true, y_pred, y_proba.
    names : sequence of sequence of str
        Classes of each head.
    unit : {"slices", "series", "patients"}

    Returns
    -------
    Judged

    Raises
    ------
    InputError
        For another unit, or heads with different slices.

    Examples
    --------
    >>> rows = pd.DataFrame({
    ...     "SeriesInstanceUID": ["1", "1", "2"], "PatientID": "P", "y_true": ["T1", "T1", "T2"],
    ...     "y_pred": ["T1", "T2", "T2"], "y_proba": [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]],
    ... })
    >>> judge([rows], [["T1", "T2"]]).matrix.counts.tolist()
    [[1, 1], [0, 1]]
    >>> judge([rows], [["T1", "T2"]], "series").matrix.counts.tolist()
    [[1, 0], [0, 1]]
    """
    if unit not in UNITS:
        raise InputError(f"A unit is one of {', '.join(UNITS)}. Received: {unit!r}.")
    if len({len(part) for part in parts}) != 1:
        raise InputError(f"Heads must be of the same slices; received {[len(part) for part in parts]} of them.")
    shape = tuple(len(words) for words in names)
    true = _joint([codes(part["y_true"], words) for part, words in zip(parts, names, strict=True)], shape)
    proba = [probabilities(part, len(words)) for part, words in zip(parts, names, strict=True)]
    patient, _ = pd.factorize(parts[0]["PatientID"])
    if unit == "slices":
        named = _joint([codes(part["y_pred"], words) for part, words in zip(parts, names, strict=True)], shape)
        p = np.prod([one.max(axis=1, initial=0) for one in proba], axis=0)
        at, slices, unanswered = np.arange(len(true)), np.ones(len(true), int), 0
    else:
        votes = np.flatnonzero(np.isfinite(np.hstack(proba)).all(axis=1))
        unanswered = len(true) - len(votes)
        group, _ = pd.factorize(parts[0][_GROUPED_BY[unit]])
        group, _ = pd.factorize(group[votes] * np.int64(np.prod(shape)) + true[votes])
        voted = [vote_by(one[votes], group)[1] for one in proba]
        named = _joint([one.argmax(axis=1) if len(one) else np.empty(0, int) for one in voted], shape)
        p = np.prod([one.max(axis=1, initial=0) for one in voted], axis=0)
        slices = np.bincount(group)
        # The middle slice of a series tells more than its first one.
        order = np.argsort(group, kind="stable")
        at = votes[order[np.cumsum(slices) - slices + slices // 2]]
        true = true[at]
    seen, numbers = np.unique(np.concatenate([true, named]), return_inverse=True)
    words = ["-".join(one) for one in _words(seen, names, shape)]
    true, named = numbers[: len(true)], numbers[len(true) :]
    return Judged(unit, tuple(words), true, named, p, at, slices, patient[at], unanswered)


def probabilities(part: pd.DataFrame, n_classes: int) -> np.ndarray:
    """Stack the probabilities of predictions, (n, classes)."""
    return np.stack(part["y_proba"].to_list()) if len(part) else np.empty((0, n_classes))


def _joint(numbers: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.ravel_multi_index(tuple(numbers), shape)


def _words(cells: np.ndarray, names: Sequence[Sequence[str]], shape: tuple[int, ...]) -> list[tuple[str, ...]]:
    numbers = np.unravel_index(cells, shape)
    return [tuple(words[n] for words, n in zip(names, one, strict=True)) for one in zip(*numbers, strict=True)]
