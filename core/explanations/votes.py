"""How references vote on a slice: rules that turn cosines into a class, a margin and a decision to abstain.

*mean* is the rule of every Siamese run; the others are choices of a named jury (`core.explanations.juries`).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from core.errors import InputError
from core.explanations.jury import COSINE_SCALE, Jury, unit

#: Rules in words.
VOTES = {
    "mean": "Mean similarity to each class",
    "majority": "Majority of the most similar",
    "nearest": "The most similar alone",
}
#: Share of answers that a threshold must leave, so that a lucky few do not set it.
LEAST_KEPT = 0.05


@dataclass(frozen=True)
class Vote:
    """What m references say about n slices.

    Attributes
    ----------
    scores : ndarray of float64, shape (n, classes)
        *mean*: mean cosine to the class's references; *nearest*: the greatest; -1 for a class without any.
        *majority*: share of the counted references.
    winner : ndarray of int, shape (n,)
    margin : ndarray of float64, shape (n,)
        Score of the winner less that of the runner-up, at least 0.
    counted : ndarray of bool, shape (n, m)
        Which references had a say.
    """

    scores: np.ndarray
    winner: np.ndarray
    margin: np.ndarray
    counted: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, counted: np.ndarray | None = None, ranked: np.ndarray | None = None) -> "Vote":
        """Let the greatest score win; `ranked`, of the same shape, is what it is read from where scores can be equal.

        Examples
        --------
        >>> said = Vote.of(np.array([[0.2, 0.9, 0.5]]))
        >>> int(said.winner[0]), round(float(said.margin[0]), 3)
        (1, 0.4)
        """
        winner, rows = (scores if ranked is None else ranked).argmax(axis=1), np.arange(len(scores))
        others = np.column_stack([scores, np.full(len(scores), -1.0)])
        others[rows, winner] = -np.inf
        counted = np.empty((len(scores), 0), bool) if counted is None else counted
        return cls(scores, winner, scores[rows, winner] - others.max(axis=1), counted)

    def probabilities(self, temperature: float = 1.0) -> np.ndarray:
        """Softmax of the scores, shape (n, classes), divided by a temperature that `core.calibration` fits."""
        return softmax(COSINE_SCALE * self.scores / temperature, axis=1)


def vote(cosines: np.ndarray, labels: np.ndarray, n_classes: int, rule: str = "mean", k: int = 5) -> Vote:
    """Let references vote.

    Parameters
    ----------
    cosines : ndarray, shape (n, m)
        Of n slices to m references; NaN where a reference must not be asked about a slice.
    labels : ndarray of int, shape (m,)
        Class of each reference.
    n_classes : int
    rule : {"mean", "majority", "nearest"}
    k : int
        References that count in a majority. Of equally many votes those win that are more alike.

    Returns
    -------
    Vote

    Raises
    ------
    InputError
        For a rule that there is not, or a `k` below 1.

    Examples
    --------
    >>> cosines, labels = np.array([[0.9, 0.1, 0.8, 0.7]]), np.array([0, 0, 1, 1])
    >>> [int(vote(cosines, labels, 2, rule, k=3).winner[0]) for rule in VOTES]
    [1, 1, 0]
    """
    if rule not in VOTES or k < 1:
        raise InputError(f"A vote is by {', '.join(VOTES)}, with k from 1; received {rule!r} and {k}.")
    cosines, labels = np.asarray(cosines, float), np.asarray(labels, int)
    asked = ~np.isnan(cosines)
    of_class = labels[:, None] == np.arange(n_classes)
    if rule == "mean":
        number = asked @ of_class.astype(float)
        scores = np.where(number > 0, np.where(asked, cosines, 0) @ of_class / np.maximum(number, 1), -1.0)
        return Vote.of(scores, asked)
    if rule == "nearest":
        scores = np.full((len(cosines), n_classes), -1.0)
        for number in range(n_classes):
            mine = np.where(asked & of_class[:, number], cosines, -1.0)
            scores[:, number] = mine.max(axis=1, initial=-1.0)
        return Vote.of(scores, _most_alike(cosines, asked, 1))
    counted = _most_alike(cosines, asked, k)
    n = np.maximum(counted.sum(axis=1, keepdims=True), 1)
    scores = counted @ of_class.astype(float) / n
    alike = np.where(counted, cosines + 1, 0) @ of_class
    # Less than half a vote, so that it decides between equals only.
    return Vote.of(scores, counted, scores + alike / (5 * n**2))


def _most_alike(cosines: np.ndarray, asked: np.ndarray, k: int) -> np.ndarray:
    order = np.argsort(np.where(asked, -cosines, np.inf), axis=1, kind="stable")[:, :k]
    counted = np.zeros(cosines.shape, bool)
    np.put_along_axis(counted, order, True, axis=1)
    return counted & asked


def fit_margin(margin: np.ndarray, right: np.ndarray, target: float) -> float | None:
    """Find the margin below which a jury abstains.

    Parameters
    ----------
    margin : ndarray, shape (n,)
        Of slices with known class.
    right : ndarray of bool, shape (n,)
    target : float
        Accuracy wanted of the answers that are kept.

    Returns
    -------
    float or None
        The lowest of the margins that leaves that accuracy among those not below it (0 where nothing need be left
        out), and at least `LEAST_KEPT` of the answers; None where none does.

    Examples
    --------
    >>> margin, right = np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, True, False, True])
    >>> fit_margin(margin, right, 0.5), fit_margin(margin, right, 0.6), fit_margin(margin[:1], right[:1], 0.6)
    (0.0, 0.2, None)
    """
    order = np.argsort(margin, kind="stable")
    margin, right = np.asarray(margin, float)[order], np.asarray(right, float)[order]
    n = len(margin)
    kept = n - np.arange(n)
    accuracy = np.cumsum(right[::-1])[::-1] / np.maximum(kept, 1)
    # Of equal margins the first leaves all of them.
    first = np.concatenate([[True], np.diff(margin) > 0])[:n]
    good = np.flatnonzero(first & (accuracy >= target) & (kept >= LEAST_KEPT * n))
    if not len(good):
        return None
    return 0.0 if good[0] == 0 else float(margin[good[0]])


@dataclass(frozen=True)
class Verdict:
    """What a jury says about one slice, its m references sorted, the most alike first.

    Attributes
    ----------
    winner : str
    margin : float
    votes : dict of str to float
        Probability of each class; they sum to 1.
    scores : dict of str to float
        As `Vote.scores`.
    similarities : ndarray of float32, shape (m,)
        Cosine to each reference, -1 to 1.
    labels, patients, keys : tuple of str, length m
    counted : ndarray of bool, shape (m,)
    pictures : ndarray of uint8, shape (m, side, side)
    """

    winner: str
    margin: float
    votes: dict[str, float]
    scores: dict[str, float]
    similarities: np.ndarray
    labels: tuple[str, ...]
    patients: tuple[str, ...]
    keys: tuple[str, ...]
    counted: np.ndarray
    pictures: np.ndarray


def deliberate(
    jury: Jury, embedding: np.ndarray, rule: str = "mean", k: int = 5, temperature: float = 1.0
) -> Verdict:  # fmt: skip
    """Compare one slice with every reference, and let them vote.

    Parameters
    ----------
    jury : Jury
    embedding : ndarray, shape (d,)
    rule, k
        As for `vote`.
    temperature : float

    Returns
    -------
    Verdict
    """
    cosine = (jury.embeddings @ unit(embedding)).astype(np.float32)
    said = vote(cosine[None], jury.codes, len(jury.classes), rule, k)
    order = np.argsort(-cosine, kind="stable")
    labels, patients, keys = (tuple(words[i] for i in order) for words in (jury.labels, jury.patients, jury.keys))
    return Verdict(
        winner=jury.classes[said.winner[0]], margin=float(said.margin[0]),
        votes=dict(zip(jury.classes, map(float, said.probabilities(temperature)[0]), strict=True)),
        scores=dict(zip(jury.classes, map(float, said.scores[0]), strict=True)),
        similarities=cosine[order], labels=labels, patients=patients, keys=keys, counted=said.counted[0][order],
        pictures=jury.pictures[order],
    )  # fmt: skip
