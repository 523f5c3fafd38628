"""Whether a model knew when it was wrong: measures of doubt by slice, and how well each finds the mistakes.

`write` leaves ``analyses/doubt.parquet``, a row a prediction in the order of ``predictions.parquet`` with a column a
measure, and ``analyses/doubt.json``: by head, part and measure the area under the curve of error detection with its
interval by patient and a histogram of right against wrong; and the thresholds of `core.analysis.class_thresholds`.

Finding mistakes by doubt, judged by the area under the ROC curve: Hendrycks & Gimpel, "A Baseline for Detecting
Misclassified and Out-of-Distribution Examples" (ICLR 2017).
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.special import entr
from scipy.stats import rankdata

from core import uncertainty
from core.analysis import analyses, class_thresholds
from core.analysis.judged import Judged, judged, write_json
from core.cohorts.slice_table import replaced
from core.comparing.bootstrap import FEW_PATIENTS, bootstrap_totals, patient_totals
from core.errors import InputError
from core.runs import Run

VALUES_FILE, FILE = "doubt.parquet", "doubt.json"

#: Column → its words. The first and the last need no Monte-Carlo passes.
MEASURES = {
    "predictive_entropy": "Predictive entropy",
    "mutual_information": "Mutual information",
    "expected_entropy": "Expected entropy",
    "variation_ratio": "Variation ratio",
    "least_confidence": "One less the probability",
}
WITHOUT_PASSES = ("predictive_entropy", "least_confidence")

#: Doubles of so many slices' passes at a time: 500,000 slices of 50 passes would not fit.
_AT_ONCE = 8192
BINS = 30
#: So fine are values told apart in the draws of a bootstrap; the estimate itself is exact.
_STEPS = 512


def measures(proba: np.ndarray, passes: np.ndarray | None) -> dict[str, np.ndarray]:
    """Work out every measure that there can be.

    Parameters
    ----------
    proba : ndarray, shape (n, C)
        Calibrated probabilities.
    passes : ndarray, shape (n, T, C), or None
        Monte-Carlo probabilities.

    Returns
    -------
    dict of ndarray of float32, shape (n,)
        Larger is less sure; NaN where probabilities are. Without passes `WITHOUT_PASSES` alone.

    Examples
    --------
    >>> list(measures(np.array([[0.5, 0.5]]), None)), measures(np.array([[0.5, 0.5]]), None)["predictive_entropy"]
    (['predictive_entropy', 'least_confidence'], array([0.6931472], dtype=float32))
    """
    proba = np.asarray(proba, dtype=float)
    # `max` and not the probability of the answer: NaN stays NaN.
    made = {"predictive_entropy": entr(proba).sum(axis=1), "least_confidence": 1 - proba.max(axis=1)}
    if passes is not None:
        if len(passes) != len(proba):
            raise InputError(f"Each slice has its passes; received {len(proba)} slices and passes of {len(passes)}.")
        starts = range(0, max(len(passes), 1), _AT_ONCE)
        for name in list(MEASURES)[:4]:
            function = getattr(uncertainty, name)
            made[name] = np.concatenate([function(passes[start : start + _AT_ONCE]) for start in starts])
    # A pass without numbers names some class or other, which is no vote; nor do passes speak for an answer of none.
    lost = np.isnan(made["predictive_entropy"]) | np.isnan(made["least_confidence"])
    return {name: np.where(lost, np.nan, made[name]).astype(np.float32) for name in MEASURES if name in made}


def sortable(values: np.ndarray) -> np.ndarray:
    """Put what is no number above all others: of such a slice nothing is known.

    Examples
    --------
    >>> sortable(np.array([0.5, np.nan])).tolist()
    [0.5, inf]
    """
    values = np.asarray(values, dtype=float)
    return np.where(np.isfinite(values), values, np.inf)


def detection(values: np.ndarray, wrong: np.ndarray, patients: Sequence[str]) -> dict[str, float | int]:
    """Judge how well doubt tells wrong answers from right ones.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Any measure; larger is less sure.
    wrong : ndarray of bool, shape (n,)
    patients : sequence of str, length n

    Returns
    -------
    dict
        ``auroc``, the probability that a wrong answer has more doubt than a right one, equal ones counting half;
        ``low`` and ``high``, 95 % by patient; ``wrong``, ``right``, ``patients`` and ``few``, whether patients are too
        few for the interval to be trusted. NaN where all are right, or all wrong.

    Examples
    --------
    >>> found = detection(np.array([0.1, 0.2, 0.9, 0.3]), np.array([False, False, True, True]), list("abab"))
    >>> found["auroc"], found["wrong"], found["few"]
    (1.0, 2, True)
    """
    wrong = np.asarray(wrong, dtype=bool)
    n_wrong, n_right = int(wrong.sum()), int((~wrong).sum())
    names, codes = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    facts = {"wrong": n_wrong, "right": n_right, "patients": len(names), "few": len(names) < FEW_PATIENTS}
    if not (n_wrong and n_right):
        return {"auroc": np.nan, "low": np.nan, "high": np.nan, **facts}
    rank = rankdata(sortable(values))
    auroc = (rank[wrong].sum() - n_wrong * (n_wrong + 1) / 2) / (n_wrong * n_right)
    # A quantile that falls on a value stands for it, so that few values stay apart from each other.
    edges = np.unique(np.quantile(rank, np.linspace(0, 1, _STEPS + 1)[1:-1], method="lower"))
    cells = np.searchsorted(edges, rank, side="left")
    steps = len(edges) + 1
    low, high = bootstrap_totals(patient_totals(codes, 2 * cells + wrong, 2 * steps), _auroc_of).interval()
    return {"auroc": float(auroc), "low": float(low), "high": float(high), **facts}


def _auroc_of(drawn: np.ndarray) -> np.ndarray:
    """Areas from counts of right and wrong by step, (draws, 2 steps) to (draws,)."""
    right, wrong = drawn[:, ::2], drawn[:, 1::2]
    below = np.cumsum(right, axis=1) - right / 2
    pairs = right.sum(axis=1) * wrong.sum(axis=1)
    return np.where(pairs > 0, (wrong * below).sum(axis=1) / np.where(pairs > 0, pairs, 1), np.nan)


def histogram(values: np.ndarray, wrong: np.ndarray) -> dict[str, list]:
    """Count right and wrong answers by doubt; rows without a number are left out.

    Returns
    -------
    dict
        ``edges`` (31), ``right`` and ``wrong`` (30 counts each).
    """
    known = np.isfinite(values)
    top = float(values[known].max()) if known.any() else 1.0
    edges = np.linspace(0, top or 1.0, BINS + 1)
    counted = {
        name: np.histogram(np.clip(values[known & which], 0, edges[-1]), edges)[0].tolist()
        for name, which in (("right", ~wrong), ("wrong", wrong))
    }
    return {"edges": edges.tolist(), **counted}


def risk_order(values: np.ndarray) -> np.ndarray:
    """Order slices from the surest to the least sure; (n,) to (n,) int. Equal ones stay as they stand."""
    return np.argsort(sortable(values), kind="stable")


def write(run: Run, report: Callable[[float, str], None]) -> None:
    """Write what a run's doubt is worth into its folder.

    Parameters
    ----------
    run : Run
        Evaluated; Monte-Carlo samples are used where it keeps them.
    report : callable
        Called with (share done from 0 to 1, message).
    """
    path = run.folder / "mc_samples.npz"
    found, tables = {}, []
    for number, one in enumerate(judged(run)):
        report(number / max(1, len(run.card()["classes"])), f"Asking whether {one.head} knew")
        passes = None
        if path.is_file():
            with np.load(path, allow_pickle=False) as stored:
                passes = stored.get(one.head)
        values = measures(one.proba, passes)
        tables.append(pd.DataFrame(values, index=one.rows.index))
        found[one.head] = {
            "passes": 0 if passes is None else passes.shape[1],
            "not_numbers": int((~one.sound).sum()),
            "parts": {part: _part(one, values, part) for part in one.parts()},
            "thresholds": class_thresholds.choose(one),
        }
    folder = analyses.folder(run)
    with replaced(folder / VALUES_FILE) as fresh:
        pd.concat(tables).sort_index().to_parquet(fresh, index=False)
    write_json(folder / FILE, found)


def _part(one: Judged, values: dict[str, np.ndarray], part: str) -> dict:
    kept = one.known(part)
    wrong, patients = ~one.right[kept], one.rows["PatientID"][kept].tolist()
    return {
        name: {**detection(column[kept], wrong, patients), "histogram": histogram(column[kept], wrong)}
        for name, column in values.items()
    }
