"""Scores of a classifier as functions of sums by patient, so that all draws of a bootstrap are scored at once."""

import numpy as np

from core.comparing.bootstrap import N_DRAWS, Bootstrap, bootstrap_totals, patient_totals

#: What `scores_of` gives, in its order.
SCORES = ("accuracy", "balanced accuracy", "macro F1", "ECE")

_BINS = 15  # as `core.calibration.ece`


def score_totals(
    patients: np.ndarray, y_true: np.ndarray, y_pred: np.ndarray, confidence: np.ndarray, n_classes: int
) -> np.ndarray:
    """Sum up what the scores need, patient by patient.

    Parameters
    ----------
    patients, y_true, y_pred : ndarray of int, shape (n,)
        Numbers of patient and classes, from 0.
    confidence : ndarray, shape (n,)
        Probability of the answer, 0 to 1.
    n_classes : int

    Returns
    -------
    ndarray, shape (patients, n_classes² + 15)
        The cells of the confusion matrix, row by row (rows are the truth), then for each bin of confidence the sum of
        confidence less right answers.
    """
    matrix = patient_totals(patients, y_true * n_classes + y_pred, n_classes**2)
    confidence = np.asarray(confidence, dtype=float)
    place = np.clip((confidence * _BINS).astype(int), 0, _BINS - 1)
    gap = patient_totals(patients, place, _BINS, confidence - (y_true == y_pred))
    return np.hstack([matrix, gap])


def scores_of(totals: np.ndarray, n_classes: int) -> np.ndarray:
    """Score sums over slices.

    Parameters
    ----------
    totals : ndarray, shape (draws, n_classes² + 15)
        As `score_totals` has them, summed over patients.
    n_classes : int

    Returns
    -------
    ndarray, shape (draws, 4)
        `SCORES`. Balanced accuracy is the mean over classes that occur; macro F1 over those that occur or are named,
        as scikit-learn has it; ECE has 15 bins of equal width. NaN without slices.

    Examples
    --------
    >>> totals = score_totals(
    ...     np.zeros(4, int), np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), np.array([0.9, 0.6, 0.9, 0.9]), 2
    ... )
    >>> scores_of(totals, 2).round(3).tolist()
    [[0.75, 0.75, 0.733, 0.225]]
    """
    matrix = totals[:, : n_classes**2].reshape(-1, n_classes, n_classes)
    right = np.diagonal(matrix, axis1=1, axis2=2)
    true, named = matrix.sum(axis=2), matrix.sum(axis=1)
    n = true.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = right.sum(axis=1) / n
        balanced = _mean(right, true)
        f1 = _mean(2 * right, true + named)
        ece = np.abs(totals[:, n_classes**2 :]).sum(axis=1) / n
    return np.stack([accuracy, balanced, f1, ece], axis=1)


def _mean(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Mean over the classes that there are of a share of them."""
    there = whole > 0
    return np.where(there, part / np.where(there, whole, 1), 0).sum(axis=1) / there.sum(axis=1)


def bootstrap_scores(totals: np.ndarray, n_classes: int, n_draws: int = N_DRAWS, random_state: int = 0) -> Bootstrap:
    """Bootstrap `SCORES` by patient; two models on the same slices get the same draws.

    Parameters
    ----------
    totals : ndarray, shape (patients, n_classes² + 15)
        From `score_totals`.
    n_classes, n_draws, random_state : int

    Returns
    -------
    Bootstrap
        Estimate of shape (4,), draws of shape (n_draws, 4).
    """
    return bootstrap_totals(totals, lambda drawn: scores_of(drawn, n_classes), n_draws, random_state)
