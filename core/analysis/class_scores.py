"""Class by class: precision, recall, F1, ROC and precision–recall, each against all others, with intervals by patient.

Worked out when a run is evaluated, for each head and part, and kept as ``class_scores.parquet`` and
``class_curves.parquet``. Intervals draw patients anew (`core.comparing.bootstrap`); for the two areas scores are first
sorted into bins, so that a draw is a sum over bins instead of a sort of all slices.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from core.analysis.confusion import codes, probabilities
from core.cohorts.slice_table import replaced
from core.comparing.bootstrap import Bootstrap, bootstrap_totals, patient_totals
from core.runs import Run
from core.splits import SPLITS

#: What is measured of each class; each has columns ``<name>_low`` and ``<name>_high`` beside it.
MEASURES = ("precision", "recall", "f1", "auroc", "ap")
SCORES_FILE, CURVES_FILE = "class_scores.parquet", "class_curves.parquet"

#: Bins that scores are sorted into for the bootstrap: half by the class's own slices, half by the others.
_BINS = 200
#: Points of a curve at most: more than there are pixels to tell apart.
_POINTS = 160


@dataclass(frozen=True)
class ClassScores:
    """What the analysis kept.

    Attributes
    ----------
    table : DataFrame
        One row a head, part and class: head, part, name, support, patients (that show the class), named, and
        `MEASURES` with their intervals; NaN where there is nothing to judge by.
    curves : DataFrame
        Points of curves: head, part, name, curve ("roc" with false against true positive rate, "pr" with recall against
        precision), x, y.
    """

    table: pd.DataFrame
    curves: pd.DataFrame


def files(folder: Path) -> tuple[Path, Path]:
    """Return where the analysis lies in a run's folder of analyses."""
    return folder / SCORES_FILE, folder / CURVES_FILE


def read(folder: Path) -> ClassScores | None:
    """Read what was worked out; None for a run that was evaluated before there was this analysis."""
    scores, curves = files(folder)
    if not (scores.exists() and curves.exists()):
        return None
    return ClassScores(pd.read_parquet(scores), pd.read_parquet(curves))


def write(run: Run, report) -> None:
    """Work out the scores of an evaluated run and keep them; see `core.analysis.analyses`."""
    table, classes = run.predictions(), run.card()["classes"]
    known = table[table["y_true"].notna()]
    asked = [
        (head, part)
        for head in classes
        for part in SPLITS
        if ((known["head"] == head) & (known["split"] == part)).any()
    ]
    made = []
    for number, (head, part) in enumerate(asked):
        report(number / len(asked), f"Scoring the classes of {head}, {part}")
        rows = known[(known["head"] == head) & (known["split"] == part)]
        made.append(score(rows, classes[head], head, part))
    nothing = score(known.iloc[:0], [], "", "")
    for name, path in zip(("table", "curves"), files(run.folder / "analyses"), strict=True):
        with replaced(path) as fresh:
            pd.concat([getattr(one, name) for one in made or [nothing]], ignore_index=True).to_parquet(fresh)


def score(rows: pd.DataFrame, names: list[str], head: str, part: str) -> ClassScores:
    """Score each class of one head against all others.

    Parameters
    ----------
    rows : DataFrame
        Predictions with their truth known, n of them: PatientID, y_true, y_pred, y_proba.
    names : list of str
        The head's classes.
    head, part : str
        What the tables say of them.

    Returns
    -------
    ClassScores
    """
    n = len(names)
    true, named = codes(rows["y_true"], names), codes(rows["y_pred"], names)
    patient, _ = pd.factorize(rows["PatientID"])
    proba = probabilities(rows, n).astype(float)
    # A slice whose probabilities are not numbers has an answer, but no place in an order.
    placed = np.isfinite(proba).all(axis=1)
    counted = _counted(patient, true, named, n) if len(rows) and n else None
    table, curves = [], []
    for number, name in enumerate(names):
        is_it = true[placed] == number
        areas = _areas(patient[placed], is_it, proba[placed, number])
        row = {
            "head": head, "part": part, "name": name, "support": int((true == number).sum()),
            "patients": len(np.unique(patient[true == number])), "named": int((named == number).sum()),
        }  # fmt: skip
        of_counts = (
            _ends(counted, lambda values, number=number: values[..., number]) if counted else np.full((3, 3), np.nan)
        )
        for measure, three in zip(MEASURES, np.vstack([of_counts, areas]), strict=True):
            row |= {measure: three[0], f"{measure}_low": three[1], f"{measure}_high": three[2]}
        table.append(row)
        for kind, (x, y) in _curves(is_it, proba[placed, number]).items():
            curves.append(pd.DataFrame({"head": head, "part": part, "name": name, "curve": kind, "x": x, "y": y}))
    columns = [*("head", "part", "name", "support", "patients", "named"),
               *(f"{measure}{end}" for measure in MEASURES for end in ("", "_low", "_high"))]  # fmt: skip
    none = pd.DataFrame(columns=["head", "part", "name", "curve", "x", "y"])
    return ClassScores(pd.DataFrame(table, columns=columns), pd.concat(curves, ignore_index=True) if curves else none)


def _counted(patient: np.ndarray, true: np.ndarray, named: np.ndarray, n: int) -> Bootstrap:
    """Bootstrap precision, recall and F1 of all classes at once, (3, n)."""
    right = true == named
    totals = np.hstack(
        [patient_totals(patient, true, n, right), patient_totals(patient, named, n), patient_totals(patient, true, n)]
    )

    def measures(drawn: np.ndarray) -> np.ndarray:
        right, named, true = np.split(drawn, 3, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            f1 = np.where(named + true > 0, 2 * right / (named + true), np.nan)
            return np.stack([right / named, right / true, f1], axis=1)

    return bootstrap_totals(totals, measures)


def _ends(made: Bootstrap, of) -> np.ndarray:
    """Estimate, lower and upper end of some of a bootstrap's statistics, (…, 3)."""
    with np.errstate(invalid="ignore"):
        few = Bootstrap(of(made.estimate), of(made.draws), made.patients)
        return np.stack([few.estimate, *_interval(few)], axis=-1)


def _interval(made: Bootstrap) -> tuple[np.ndarray, np.ndarray]:
    # A column of nothing but NaN has no percentile, and numpy warns of it.
    empty = np.isnan(made.draws).all(axis=0)
    low, high = Bootstrap(made.estimate, np.where(empty, 0.0, made.draws), made.patients).interval()
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def _areas(patient: np.ndarray, is_it: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Areas under ROC and precision–recall curve with their intervals, (2, 3)."""
    if is_it.all() or not is_it.any():
        return np.full((2, 3), np.nan)
    edges = np.unique(
        np.concatenate([np.quantile(side, np.linspace(0, 1, _BINS // 2)) for side in (p[is_it], p[~is_it])])
    )
    place = len(edges) - np.searchsorted(edges, p, side="right")  # the highest scores first
    n_bins = len(edges) + 1
    # Who has only slices of other parts of the split is no patient here.
    patient = np.unique(patient, return_inverse=True)[1]
    totals = np.hstack([patient_totals(patient, place, n_bins, one.astype(float)) for one in (is_it, ~is_it)])
    made = bootstrap_totals(totals, areas_of_bins)
    exact = np.array([auroc(is_it, p), average_precision(is_it, p)])
    # Bins lose the order within them: the draws tell how far an area moves, the slices where it is.
    moved = np.clip(made.draws + (exact - made.estimate), 0, 1)
    return _ends(Bootstrap(exact, moved, made.patients), lambda values: values)


def areas_of_bins(drawn: np.ndarray) -> np.ndarray:
    """Compute both areas from counts by bin of score, the highest scores first.

    Parameters
    ----------
    drawn : ndarray, shape (draws, 2 × bins)
        Slices of the class in each bin, then all others.

    Returns
    -------
    ndarray, shape (draws, 2)
        Area under the ROC curve, ties counting half, and average precision; NaN where there is only one kind.

    Examples
    --------
    >>> areas_of_bins(np.array([[2.0, 1.0, 0.0, 0.0, 1.0, 2.0]])).round(3).tolist()
    [[0.944, 0.917]]
    """
    hits, others = np.hsplit(drawn, 2)
    found, taken = hits.cumsum(axis=1), others.cumsum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        area = (others * (found - hits / 2)).sum(axis=1) / (found[:, -1] * taken[:, -1])
        precision = np.where(found > 0, found / np.maximum(found + taken, 1e-12), 0)
        ap = (hits * precision).sum(axis=1) / found[:, -1]
    nothing = (found[:, -1] == 0) | (taken[:, -1] == 0)
    return np.where(nothing[:, None], np.nan, np.column_stack([area, ap]))


def _steps(is_it: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slices of the class and others at or above each different score, the highest first."""
    order = np.argsort(-p, kind="stable")
    last = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)
    found = np.cumsum(is_it[order])[last]
    return found, last + 1 - found


def auroc(is_it: np.ndarray, p: np.ndarray) -> float:
    """Area under the ROC curve of scores `p`, (n,); NaN where all are of one kind.

    Examples
    --------
    >>> round(auroc(np.array([True, True, False, False]), np.array([0.9, 0.4, 0.4, 0.1])), 3)
    0.875
    """
    found, taken = (np.insert(one, 0, 0).astype(float) for one in _steps(is_it, p))
    whole = found[-1] * taken[-1]
    return float(np.trapezoid(found, taken) / whole) if whole else float("nan")


def average_precision(is_it: np.ndarray, p: np.ndarray) -> float:
    """Mean precision over the steps in recall, as scikit-learn has it; NaN without a slice of the class.

    Examples
    --------
    >>> round(average_precision(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.1])), 3)
    0.833
    """
    if not is_it.any():
        return float("nan")
    found, taken = _steps(is_it, p)
    return float((np.diff(found, prepend=0) * found / (found + taken)).sum() / found[-1])


def _curves(is_it: np.ndarray, p: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    if is_it.all() or not is_it.any():
        return {}
    found, taken = _steps(is_it, p)
    recall, precision = found / found[-1], found / (found + taken)
    roc = np.insert(taken / taken[-1], 0, 0), np.insert(recall, 0, 0)
    # Without an answer there is no precision: the curve begins at that of the surest ones.
    return {"roc": _thinned(*roc), "pr": _thinned(np.insert(recall, 0, 0), np.insert(precision, 0, precision[0]))}


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep points that lie evenly along a curve, its ends included."""
    if len(x) <= _POINTS:
        return x, y
    along = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.unique(np.append(np.searchsorted(along, np.linspace(0, along[-1], _POINTS - 1)), len(x) - 1))
    return x[kept], y[kept]
