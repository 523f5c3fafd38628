"""Probabilities that mean what they say: temperature scaling, its error, and a threshold below which to abstain.

Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017).
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from core.errors import InputError

#: Softmax in single precision ends here; a smaller probability is taken for this one.
_SMALLEST = 1e-12
#: Logits are never sharpened more than fivefold: networks are mostly too sure, and what asks for more than this is an
#: easy validation part rather than a shy network.
_COLDEST, _HOTTEST = 0.2, 20.0


def apply_temperature(proba: np.ndarray, temperature: float) -> np.ndarray:
    """Soften (above 1) or sharpen (below 1) probabilities; the order of the classes stays.

    Parameters
    ----------
    proba : ndarray, shape (..., C)
        Probabilities that sum to 1 over the last axis.
    temperature : float
        Above 0; 1 changes nothing.

    Returns
    -------
    ndarray of float32, shape (..., C)
        ``softmax(log(proba) / temperature)``: the same as dividing the logits.

    Examples
    --------
    >>> apply_temperature(np.array([[0.9, 0.1]]), 2.0).round(3).tolist()
    [[0.75, 0.25]]
    """
    if not temperature > 0:
        raise InputError(f"A temperature must be above 0; received {temperature}.")
    proba = np.asarray(proba, dtype=float)
    return softmax(np.log(np.maximum(proba, _SMALLEST)) / temperature, axis=-1).astype(np.float32)


def fit_temperature(proba: np.ndarray, y: np.ndarray) -> float:
    """Find the temperature with the least negative log-likelihood, as if one answer more had been wrong.

    After a validation without a mistake the likelihood alone wants a temperature of nought, and later answers of
    100 %. Nobody learnt that from n slices. So, as Platt did for two classes, a right answer counts as right with
    (n + 1) / (n + 2) and for the strongest of the other classes with the rest: after n right answers of n the
    model says about that much, and after many slices the correction is nothing.

    Platt, "Probabilistic Outputs for Support Vector Machines" (Advances in Large Margin Classifiers, 1999).

    Parameters
    ----------
    proba : ndarray, shape (n, C)
        Uncalibrated probabilities of slices that the model was not trained on.
    y : ndarray of int, shape (n,)
        True classes.

    Returns
    -------
    float
        Between 0.2 and 20; 1.0 when there is no slice to fit on, or no second class.

    Examples
    --------
    >>> sure = np.tile([0.99, 0.01], (1000, 1))  # says 99 %, is right in 70 %
    >>> temperature = fit_temperature(sure, np.array([0] * 700 + [1] * 300))
    >>> apply_temperature(sure, temperature)[0, 0].round(2)
    np.float32(0.7)
    """
    proba, y = np.asarray(proba, dtype=float), np.asarray(y, dtype=int)
    if len(y) == 0 or proba.shape[1] < 2:
        return 1.0
    rows = np.arange(len(y))
    others = proba.copy()
    others[rows, y] = -1
    other = others.argmax(axis=1)
    right = (len(y) + 1) / (len(y) + 2)

    def loss(log_temperature: float) -> float:
        answer = np.log(np.maximum(apply_temperature(proba, np.exp(log_temperature)), _SMALLEST))
        return -(right * answer[rows, y] + (1 - right) * answer[rows, other]).mean()

    return float(np.exp(minimize_scalar(loss, bounds=np.log([_COLDEST, _HOTTEST]), method="bounded").x))


@dataclass(frozen=True)
class Reliability:
    """How often answers of each level of confidence are right.

    Attributes
    ----------
    confidence, accuracy : ndarray, shape (bins,)
        Means in each bin; NaN where a bin is empty.
    count : ndarray of int, shape (bins,)
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: mean distance of confidence and accuracy, weighted by count; 0 to 1."""
        full = self.count > 0
        if not full.any():
            return float("nan")
        gap = np.abs(self.confidence - self.accuracy)[full]
        return float(np.average(gap, weights=self.count[full]))


def reliability(proba: np.ndarray, y: np.ndarray, n_bins: int = 15) -> Reliability:
    """Compare confidence with accuracy in bins of equal width.

    Parameters
    ----------
    proba : ndarray, shape (n, C)
    y : ndarray of int, shape (n,)
    n_bins : int
        Bins over [0, 1].

    Returns
    -------
    Reliability
    """
    proba, y = np.asarray(proba, dtype=float), np.asarray(y)
    if not len(y):
        empty = np.full(n_bins, np.nan)
        return Reliability(empty, empty, np.zeros(n_bins, int))
    confidence, correct = proba.max(axis=1), proba.argmax(axis=1) == y
    place = np.clip((confidence * n_bins).astype(int), 0, n_bins - 1)
    count = np.bincount(place, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, weights=w, minlength=n_bins) / count for w in (confidence, correct)]
    return Reliability(means[0], means[1], count)


def ece(proba: np.ndarray, y: np.ndarray, n_bins: int = 15) -> float:
    """Expected calibration error, 0 to 1; NaN without slices.

    Examples
    --------
    >>> round(ece(np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1])), 3)
    0.3
    """
    return reliability(proba, y, n_bins).ece


def brier(proba: np.ndarray, y: np.ndarray) -> float:
    """Mean squared distance of probabilities from the truth, summed over classes: 0 to 2; NaN without slices.

    Brier, "Verification of forecasts expressed in terms of probability" (Monthly Weather Review, 1950).

    Examples
    --------
    >>> round(brier(np.array([[0.8, 0.2], [0.5, 0.5]]), np.array([0, 1])), 3)
    0.29
    """
    proba, y = np.asarray(proba, dtype=float), np.asarray(y, dtype=int)
    return float(((proba - np.eye(proba.shape[1])[y]) ** 2).sum(axis=1).mean()) if len(y) else float("nan")


def fit_threshold(proba: np.ndarray, y: np.ndarray, target: float = 0.9, least: float = 0.5) -> float:
    """Find the probability below which an answer should be called unsure.

    Parameters
    ----------
    proba : ndarray, shape (n, C)
        Calibrated probabilities of slices that the model was not trained on.
    y : ndarray of int, shape (n,)
    target : float
        Accuracy wanted of the answers that are kept.
    least : float
        Never below this: an answer with less than half of the probability is not one to rely on, however well
        the model does on slices like those it was trained on.

    Returns
    -------
    float
        The lowest threshold, from `least` up, that leaves answers with the accuracy wanted (and at least 5 % of
        them, so that a lucky few do not set it); 1.0 where none does; `least` where too few reach even that.

    Examples
    --------
    >>> proba = np.column_stack([np.repeat([0.6, 0.9], 50), np.repeat([0.4, 0.1], 50)])
    >>> y = np.array([0, 1] * 25 + [0] * 50)  # right in half of the cases at 0.6, in all at 0.9
    >>> fit_threshold(proba, y)
    0.9
    """
    proba, y = np.asarray(proba, dtype=float), np.asarray(y)
    if not len(y):
        return least
    order = np.argsort(proba.max(axis=1), kind="stable")
    confidence, correct = proba.max(axis=1)[order], (proba.argmax(axis=1) == y)[order]
    # Every confidence is a candidate, and `least`; what is kept are all from its first place on.
    thresholds = np.unique(np.append(confidence[confidence > least], least))
    first = np.searchsorted(confidence, thresholds)
    kept = len(y) - first
    right = np.append(np.cumsum(correct[::-1])[::-1], 0)[first]
    good = (kept >= max(1, 0.05 * len(y))) & (right >= target * kept)
    if good.any():
        return float(thresholds[good][0])
    # Too few answers reach `least` to judge a higher threshold by; otherwise confidence tells nothing.
    return least if kept[0] < max(1, 0.05 * len(y)) else 1.0


def fit(proba: np.ndarray, y: np.ndarray, caution: float = 1.0) -> tuple[float, float]:
    """Fit both on the same slices: `fit_temperature`, then `fit_threshold` on what it makes of them.

    Parameters
    ----------
    proba : ndarray, shape (n, C)
        Uncalibrated probabilities of slices that the model was not trained on.
    y : ndarray of int, shape (n,)
    caution : float
        Factor on the temperature: above 1 for a model that will be asked about slices unlike these.

    Returns
    -------
    temperature, unsure_below : float
    """
    temperature = caution * fit_temperature(proba, y)
    return temperature, fit_threshold(apply_temperature(proba, temperature), y)
