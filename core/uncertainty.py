"""How unsure a model is, from T Monte-Carlo passes, and what abstaining on that would bring.

With p (n, T, C) the class probabilities of T passes. Entropies are in nats, so at most log(C).

Gal, "Uncertainty in Deep Learning" (thesis, 2016), section 3.3; El-Yaniv and Wiener, "On the foundations of
noise-free selective classification" (JMLR 2010) for risk against coverage.
"""

import numpy as np
from scipy.special import entr

from core.errors import InputError


def predictive_entropy(p: np.ndarray) -> np.ndarray:
    """Entropy of the mean over passes: all doubt, of whichever kind.

    Parameters
    ----------
    p : ndarray, shape (n, T, C)
        Probabilities; each pass sums to 1 over classes.

    Returns
    -------
    ndarray, shape (n,)
        Nats, from 0 to log(C).

    Raises
    ------
    InputError
        When `p` has another number of axes, or no pass.

    Examples
    --------
    >>> passes = np.array([[[1.0, 0.0], [0.0, 1.0]]])  # sure each time, of something else
    >>> predictive_entropy(passes).round(3), expected_entropy(passes), mutual_information(passes).round(3)
    (array([0.693]), array([0.]), array([0.693]))
    """
    return entr(_checked(p).mean(axis=1)).sum(axis=-1)


def expected_entropy(p: np.ndarray) -> np.ndarray:
    """Mean over passes of each one's entropy: doubt that lies in the picture. Nats, (n, T, C) to (n,)."""
    return entr(_checked(p)).sum(axis=-1).mean(axis=1)


def mutual_information(p: np.ndarray) -> np.ndarray:
    """Predictive less expected entropy: doubt that lies in the model. Nats, at least 0, (n, T, C) to (n,)."""
    # Rounding can leave a difference of two equal entropies a hair below zero.
    return np.maximum(predictive_entropy(p) - expected_entropy(p), 0.0)


def variation_ratio(p: np.ndarray) -> np.ndarray:
    """Share of passes that do not name the most frequent answer; 0 to (1 - 1/C), (n, T, C) to (n,).

    Examples
    --------
    >>> variation_ratio(np.array([[[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]]]))
    array([0.25])
    """
    p = _checked(p)
    answers = p.argmax(axis=-1)
    votes = (answers[..., None] == np.arange(p.shape[-1])).sum(axis=1)
    return 1.0 - votes.max(axis=-1) / p.shape[1]


def risk_coverage(correct: np.ndarray, uncertainty: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy on what is kept when the most uncertain go to a person first.

    Parameters
    ----------
    correct : ndarray of bool, shape (n,)
    uncertainty : ndarray, shape (n,)
        Any measure; larger is less sure. Equal values count as drawn in random order.

    Returns
    -------
    coverage : ndarray, shape (n,)
        Share kept: 1/n, 2/n, …, 1.
    accuracy : ndarray, shape (n,)
        Share of right answers among those kept.

    Examples
    --------
    >>> coverage, accuracy = risk_coverage(np.array([True, False, True, True]), np.array([0.1, 0.9, 0.2, 0.3]))
    >>> coverage.tolist(), accuracy.tolist()
    ([0.25, 0.5, 0.75, 1.0], [1.0, 1.0, 1.0, 0.75])
    """
    correct, uncertainty = np.asarray(correct, dtype=float), np.asarray(uncertainty, dtype=float)
    n = len(correct)
    if correct.shape != uncertainty.shape or correct.ndim != 1:
        raise InputError(f"correct and uncertainty must have one equal length; received {correct.shape} and "
                         f"{uncertainty.shape}.")  # fmt: skip
    if n == 0:
        return np.empty(0), np.empty(0)
    order = np.argsort(uncertainty, kind="stable")
    right = np.concatenate([[0.0], np.cumsum(correct[order])])
    # Within equal values the order says nothing: a straight line from the first to the last of them.
    ends = np.concatenate([[0], np.flatnonzero(np.diff(uncertainty[order]) != 0) + 1, [n]])
    kept = np.arange(1, n + 1)
    return kept / n, np.interp(kept, ends, right[ends]) / kept


def _checked(p: np.ndarray) -> np.ndarray:
    p = np.asarray(p, dtype=float)
    if p.ndim != 3 or p.shape[1] == 0:
        raise InputError(
            f"Monte-Carlo probabilities must have the shape (slices, passes, classes); received {p.shape}."
        )
    return p
