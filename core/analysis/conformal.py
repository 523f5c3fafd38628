"""Sets of answers that hold the truth as often as promised: split conformal prediction, and whether the promise held.

Calibrated on the validation slices, measured on the test slices; ``analyses/conformal.json``. MAPIE makes the sets:
``lac`` keeps classes above one threshold (Sadinle, Lei & Wasserman, JASA 2019: the smallest sets on average), ``aps``
the likeliest classes until their probabilities add up to enough (Romano, Sesia & Candès, NeurIPS 2020: larger, with
coverage that differs less from slice to slice).

The promise holds where calibration and test slices are exchangeable. Slices of one patient are alike, so they are less
so than their number says: with few validation patients the coverage of new patients scatters far more widely than
that of slices drawn at random.
"""

import warnings
from collections.abc import Callable

import numpy as np
from scipy.stats import binom
from sklearn.base import BaseEstimator, ClassifierMixin

from core.analysis import analyses
from core.analysis.judged import Judged, judged, write_json
from core.errors import InputError
from core.runs import Run

FILE = "conformal.json"

LEVELS = (0.8, 0.9, 0.95, 0.99)
METHODS = {"lac": "Smallest sets (LAC)", "aps": "Adaptive sets (APS)"}
#: Fewer tell little about a class.
FEW_SLICES, FEW_PATIENTS = 20, 5
#: A class counts as under-covered where so few hits would be so improbable if the promise held.
_DOUBTFUL = 0.05


class _Given(ClassifierMixin, BaseEstimator):
    """A classifier whose features are its probabilities: MAPIE wants to ask a model."""

    def __init__(self, n_classes: int = 2):
        self.n_classes = n_classes
        self.classes_ = np.arange(n_classes)
        self.n_features_in_ = n_classes

    def fit(self, X, y=None):
        """Learn nothing."""
        return self

    def predict_proba(self, X):
        """Return what was given."""
        return np.asarray(X)

    def predict(self, X):
        """Return the likeliest class."""
        return self.classes_[np.asarray(X).argmax(axis=1)]

    def __sklearn_is_fitted__(self) -> bool:
        return True


def methods_for(y: np.ndarray) -> list[str]:
    """Tell by which methods sets can be made: MAPIE makes adaptive ones from three classes on.

    Examples
    --------
    >>> methods_for(np.array([0, 1, 1])), methods_for(np.array([0, 1, 4]))
    (['lac'], ['lac', 'aps'])
    """
    return list(METHODS) if len(np.unique(y)) > 2 else ["lac"]


def sets(
    calibration_proba: np.ndarray, y: np.ndarray, proba: np.ndarray, levels: tuple[float, ...] = LEVELS,
    method: str = "lac",
) -> np.ndarray:  # fmt: skip
    """Make sets of answers.

    Parameters
    ----------
    calibration_proba : ndarray, shape (m, C)
        Probabilities of slices that the model was not trained on.
    y : ndarray of int, shape (m,)
        Their true classes.
    proba : ndarray, shape (n, C)
        Of the slices to make sets for.
    levels : tuple of float
        Wanted shares of sets that hold the truth, between 0 and 1.
    method : {"lac", "aps"}

    Returns
    -------
    ndarray of bool, shape (n, C, levels)
        A level that m slices cannot promise (m of 1 / (1 - level) or fewer) gives every class.

    Raises
    ------
    InputError
        Without slices to calibrate on, or for ``aps`` with fewer than three classes among them.

    Examples
    --------
    >>> sure, y = np.tile([0.9, 0.1], (99, 1)), np.array([0] * 90 + [1] * 9)
    >>> sets(sure, y, sure[:1], (0.9, 0.95))[0].T.tolist()
    [[True, False], [True, True]]
    """
    if not len(y):
        raise InputError("Conformal sets need slices to calibrate on; received none.")
    if method not in methods_for(y):
        raise InputError(f"Adaptive sets need three classes to calibrate on; received {len(np.unique(y))}. Use lac.")
    from mapie.classification import SplitConformalClassifier

    answer = np.ones((len(proba), proba.shape[1], len(levels)), bool)
    # MAPIE refuses fewer; equal ones it refuses or not as rounding goes.
    possible = [at for at, level in enumerate(levels) if len(y) > 1 / min(level, 1 - level) + 1e-6]
    if possible and len(proba):
        model = SplitConformalClassifier(
            _Given(proba.shape[1]), [levels[at] for at in possible], conformity_score=method, random_state=0
        )
        with warnings.catch_warnings():
            # That some of a model's classes have no validation slice is usual, and shown class by class.
            warnings.filterwarnings("ignore", "WARNING: your conformalization dataset has less labels")
            model.conformalize(_ones(calibration_proba), np.asarray(y))
        answer[..., possible] = model.predict_set(_ones(proba))[1]
    return answer


def _ones(proba: np.ndarray) -> np.ndarray:
    """Doubles that sum to 1 as closely as MAPIE wants."""
    proba = np.asarray(proba, dtype=float)
    return proba / proba.sum(axis=1, keepdims=True)


def coverage(made: np.ndarray, y: np.ndarray, patients: np.ndarray, names: list[str], level: float) -> list[dict]:
    """Measure how often sets hold the truth, for all slices and class by class.

    Parameters
    ----------
    made : ndarray of bool, shape (n, C)
        One level's sets.
    y : ndarray of int, shape (n,)
    patients : ndarray of str, shape (n,)
    names : list of str, length C
    level : float
        That was promised.

    Returns
    -------
    list of dict
        First of all slices (``class`` empty), then of each class that occurs: ``slices``, ``patients``, ``covered``
        (share), ``size`` (mean), ``empty`` (share of sets with nothing in them), ``under`` (whether so few hits are
        improbable, below 5 %, if each slice held the promise by itself) and ``few``.

    Examples
    --------
    >>> made = np.array([[True, False]] * 30)
    >>> facts = coverage(made, np.array([0] * 20 + [1] * 10), np.repeat(list("abcde"), 6), ["T1", "T2"], 0.9)
    >>> [(fact["class"], round(fact["covered"], 2), fact["under"], fact["few"]) for fact in facts]
    [('', 0.67, True, False), ('T1', 1.0, False, True), ('T2', 0.0, True, True)]
    """
    hit, size = made[np.arange(len(y)), y], made.sum(axis=1)
    facts = []
    for number in (-1, *np.unique(y)):
        mine = y == number if number >= 0 else np.ones(len(y), bool)
        n, n_patients = int(mine.sum()), len(np.unique(patients[mine]))
        facts.append(
            {
                "class": names[number] if number >= 0 else "",
                "slices": n,
                "patients": n_patients,
                "covered": float(hit[mine].mean()),
                "size": float(size[mine].mean()),
                "empty": float((size[mine] == 0).mean()),
                "under": bool(binom.cdf(hit[mine].sum(), n, level) < _DOUBTFUL),
                "few": n < FEW_SLICES or n_patients < FEW_PATIENTS,
            }
        )
    return facts


def write(run: Run, report: Callable[[float, str], None]) -> None:
    """Write the measured coverage of a run's sets, by head, method and level."""
    write_json(analyses.folder(run) / FILE, {one.head: _judge(one) for one in judged(run)})


def _judge(one: Judged) -> dict:
    validation, test = one.known("validation") & one.sound, one.known("test") & one.sound
    missing = [part for part, rows in (("validation", validation), ("test", test)) if not rows.any()]
    if missing or len(one.names) < 2:
        why = (
            f"This run has no {' and no '.join(missing)} slices: sets of answers are made on validation and measured "
            "on test."
            if missing
            else "One class leaves nothing to choose between."
        )
        return {"why_not": why, "calibrated_on": [0, 0], "methods": {}}
    patients = one.rows["PatientID"][test].to_numpy(str)
    methods = {}
    for method in methods_for(one.y[validation]):
        made = sets(one.proba[validation], one.y[validation], one.proba[test], LEVELS, method)
        methods[method] = {
            f"{level:g}": coverage(made[..., at], one.y[test], patients, one.names, level)
            for at, level in enumerate(LEVELS)
        }
    return {
        "why_not": "",
        "calibrated_on": [int(validation.sum()), one.patients(validation)],
        "methods": methods,
    }
