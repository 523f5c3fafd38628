"""Pairs of slices of different patients: does the same look alike to a model, and the different unlike?

A pair is *same* when both slices have one class. Their cosine is a test for that (verification), judged by its ROC
and equal error rate, with intervals by patient: a draw of patients weighs a pair by how often both of its patients
were drawn. Pairs of one patient never count, since they are alike for other reasons. The worst pairs are kept to be
looked at. Everything works through tiles of the matrix of cosines; a run with more slices or patients than
`MOST_SLICES` and `MOST_PATIENTS` is thinned first, and says so. Written are ``analyses/pairs.json`` and
``analyses/pairs.parquet``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.analysis import analyses
from core.analysis.embedding_map import thin
from core.analysis.judged import Judged, judged, write_json
from core.cohorts.slice_table import replaced
from core.comparing.bootstrap import bootstrap_totals
from core.explanations.jury import unit
from core.runs import Run

MOST_SLICES, MOST_PATIENTS = 5000, 100
#: Pairs of a kind that are kept to be looked at.
KEPT = 24
_TILE = 512
#: Cosines are counted in so many bins, narrow where many pairs are; histograms are drawn with fewer, equal ones.
_BINS, _FINE, _DRAWN_BINS = 256, 8192, 60
_SAMPLED = 200_000
_DRAWS, _DRAWS_TOGETHER = 500, 50
#: False positive rates at which a curve has an interval.
GRID = np.linspace(0, 1, 101)
FILE, TABLE = "pairs.json", "pairs.parquet"


@dataclass(frozen=True)
class Counted:
    """Cosines of pairs of different patients, counted.

    Attributes
    ----------
    edges : ndarray, shape (bins + 1,)
    counts : ndarray of float32, shape (2, patients, patients, bins)
        Of different (0) and same (1) pairs, each pair once.
    partners : ndarray of int, shape (2, n)
        Of each slice: the most alike of another class, the least alike of its own; -1 without any.
    cosines : ndarray of float32, shape (2, n)
        To these.
    """

    edges: np.ndarray
    counts: np.ndarray
    partners: np.ndarray
    cosines: np.ndarray


def count(
    vectors: np.ndarray, classes: np.ndarray, patients: np.ndarray,
    report: Callable[[float], None] = lambda share: None, random_state: int = 0,
) -> Counted:  # fmt: skip
    """Compare every slice with those of all other patients.

    Parameters
    ----------
    vectors : ndarray, shape (n, d)
        Of length 1.
    classes, patients : ndarray of int, shape (n,)
        From 0.
    report : callable, optional
        Called with the share done, from 0 to 1.

    Returns
    -------
    Counted
    """
    n, n_patients = len(vectors), int(patients.max()) + 1
    edges, bin_of = _bins(vectors, classes, patients, random_state)
    bins = len(edges) - 1
    counts = np.zeros(2 * n_patients**2 * bins, np.float32)
    partners, cosines = np.full((2, n), -1), np.full((2, n), np.nan, np.float32)
    for start in range(0, n, _TILE):
        rows = np.arange(start, min(start + _TILE, n))
        tile = vectors[rows] @ vectors.T
        other = patients[rows][:, None] != patients
        same = classes[rows][:, None] == classes
        for kind, (mine, sign) in enumerate(((other & ~same, 1), (other & same, -1))):
            ranked = np.where(mine, sign * tile, -np.inf)
            best = ranked.argmax(axis=1)
            found = mine[np.arange(len(rows)), best]
            partners[kind, rows[found]] = best[found]
            cosines[kind, rows[found]] = tile[found, best[found]]
        at, to = np.nonzero(other & (np.arange(n) > rows[:, None]))
        cell = (same[at, to].astype(np.int64) * n_patients + patients[rows[at]]) * n_patients + patients[to]
        counts += np.bincount(cell * bins + bin_of(tile[at, to]), minlength=len(counts)).astype(np.float32)
        report((rows[-1] + 1) / n)
    return Counted(edges, counts.reshape(2, n_patients, n_patients, bins), partners, cosines)


def _bins(vectors, classes, patients, random_state: int):
    """Bin edges with as many of a sample of pairs between any two, and a quick way to find a cosine's bin."""
    rng = np.random.default_rng(random_state)
    one, two = rng.integers(0, len(vectors), (2, _SAMPLED))
    apart = patients[one] != patients[two]
    one, two = one[apart], two[apart]
    cosine = np.einsum("nd,nd->n", vectors[one], vectors[two])
    same = classes[one] == classes[two]
    # As many edges for the rare kind as for the common one.
    quantiles = [np.quantile(part, np.linspace(0, 1, _BINS // 2 + 1)) for part in (cosine[same], cosine[~same])
                 if len(part)]  # fmt: skip
    inner = np.concatenate([np.empty(0), *quantiles])
    # On a fine grid, so that a bin is looked up rather than searched for.
    edges = np.unique(np.concatenate([[-1.0, 1.0], np.round((inner + 1) * _FINE / 2) * 2 / _FINE - 1]).clip(-1, 1))
    place = np.searchsorted(edges, (np.arange(_FINE) + 0.5) * 2 / _FINE - 1, side="right") - 1
    return edges, lambda cosine: place[np.clip((cosine + 1) * (_FINE / 2), 0, _FINE - 1).astype(np.int64)]


def roc(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give rates at every edge of the bins, from "all are the same" to "none is".

    Parameters
    ----------
    counts : ndarray, shape (..., 2, bins)
        Of different and same pairs by cosine, ascending.

    Returns
    -------
    fpr, tpr : ndarray, shape (..., bins + 1)
        Share of the different and of the same whose cosine is above the edge; NaN without pairs of that kind.
    """
    above = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]
    total = above[..., :1]
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = np.concatenate([above, np.zeros_like(total)], axis=-1) / total
    return rates[..., 0, :], rates[..., 1, :]


def equal_error(fpr: np.ndarray, tpr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find where as large a share of the different is taken for the same as of the same for different.

    Parameters
    ----------
    fpr, tpr : ndarray, shape (..., points)
        Descending, from 1 to 0.

    Returns
    -------
    rate : ndarray, shape (...)
        Between points on a straight line.
    place : ndarray, shape (...)
        Of the point, a number from 0 to points - 1 that need not be whole.

    Examples
    --------
    >>> rate, place = equal_error(np.array([1, 0.5, 0.0]), np.array([1, 0.9, 0.0]))
    >>> round(float(rate), 4), round(float(place), 4)
    (0.3571, 1.2857)
    """
    excess = fpr - (1 - tpr)
    at = np.maximum((excess >= 0).sum(axis=-1) - 1, 0)[..., None]
    after = np.minimum(at + 1, excess.shape[-1] - 1)
    here, there = (np.take_along_axis(excess, where, -1)[..., 0] for where in (at, after))
    low, high = (np.take_along_axis(fpr, where, -1)[..., 0] for where in (at, after))
    step = here - there
    share = np.divide(here, step, out=np.zeros_like(step), where=step > 0)
    return low + share * (high - low), at[..., 0] + share


def judge(counted: Counted, n_draws: int = _DRAWS, random_state: int = 0) -> dict:
    """Work out how well cosines tell the same from the different.

    Returns
    -------
    dict
        ``same`` and ``different`` (pairs), ``eer``, ``eer_interval``, ``threshold`` (its cosine), ``auc``,
        ``auc_interval``, ``tpr`` with ``tpr_low`` and ``tpr_high`` at `GRID`. Intervals are 95 % by patient, NaN
        with fewer than three.
    """
    n_patients = counted.counts.shape[1]
    # (patient, 2 × patient × bins): a draw's sums are two products.
    by_patient = counted.counts.transpose(1, 0, 2, 3).reshape(n_patients, -1)

    def statistic(times: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(times), _DRAWS_TOGETHER):
            w = times[start : start + _DRAWS_TOGETHER].astype(np.float32)
            half = (w @ by_patient).reshape(len(w), 2, n_patients, -1)
            parts.append(_measures(np.einsum("dkqb,dq->dkb", half, w).astype(float)))
        return np.concatenate(parts)

    made = bootstrap_totals(np.eye(n_patients), statistic, n_draws, random_state)
    low, high = made.interval()
    if n_patients < 3:
        # Every draw with a pair at all has the one pair of patients that there is.
        low, high = np.full_like(low, np.nan), np.full_like(high, np.nan)
    different, same = counted.counts.sum(axis=(1, 2, 3), dtype=float)
    total = counted.counts.sum(axis=(1, 2), dtype=float)
    place = equal_error(*roc(total))[1]
    return {
        "same": int(same), "different": int(different), "eer": made.estimate[0], "eer_interval": [low[0], high[0]],
        "threshold": float(np.interp(place, np.arange(len(counted.edges)), counted.edges)), "auc": made.estimate[1],
        "auc_interval": [low[1], high[1]], "tpr": made.estimate[2:], "tpr_low": low[2:], "tpr_high": high[2:],
    }  # fmt: skip


def _measures(counts: np.ndarray) -> np.ndarray:
    """Equal error rate, area and the curve at `GRID` of each draw, (draws, 2 + grid)."""
    fpr, tpr = roc(counts)
    area = -np.trapezoid(tpr, fpr, axis=-1)
    curve = np.array([np.interp(GRID, x[::-1], y[::-1]) for x, y in zip(fpr, tpr, strict=True)])
    measures = np.column_stack([equal_error(fpr, tpr)[0], area, curve])
    measures[np.isnan(area)] = np.nan
    return measures


def histogram(counted: Counted) -> dict:
    """Share of the different and of the same pairs in equal bins over the cosines that there are."""
    total = counted.counts.sum(axis=(1, 2), dtype=float)
    # The outermost bins reach to -1 and 1 for the few pairs beyond those of the sample.
    inner = counted.edges[1:-1] if len(counted.edges) > 3 else counted.edges
    edges = np.linspace(inner[0], inner[-1], _DRAWN_BINS + 1)
    # Pairs spread evenly within a narrow bin.
    shares = [
        np.diff(np.interp(edges, counted.edges, np.concatenate([[0], np.cumsum(kind)]))) / max(kind.sum(), 1)
        for kind in total
    ]
    return {"edges": edges, "different": shares[0], "same": shares[1]}


def worst(counted: Counted, series: np.ndarray, most: int = KEPT) -> list[tuple[str, int, int, float]]:
    """Choose pairs to look at: the least alike of one class, the most alike of two.

    Each slice and each pair of series stands in one of them at most, so that one odd slice does not fill the list.

    Parameters
    ----------
    counted : Counted
    series : ndarray of int, shape (n,)
    most : int
        Of each kind.

    Returns
    -------
    list of (kind, one, other, cosine)
        Rows; kind is ``different`` or ``same``, the worst first.
    """
    found = []
    for number, kind in enumerate(("different", "same")):
        partner, cosine = counted.partners[number], counted.cosines[number]
        ranked = np.argsort(cosine if kind == "same" else -cosine, kind="stable")
        seen, among = set(), 0
        for one in ranked[partner[ranked] >= 0]:
            other = int(partner[one])
            both = frozenset((("series", series[one]), ("series", series[other])))
            new = {int(one), other, both}
            if among < most and not new & seen:
                seen |= new
                among += 1
                found.append((kind, int(one), other, float(cosine[one])))
    return found


def write(run: Run, report: analyses.Report) -> None:
    """Compare and keep the pairs of an evaluated run, head by head."""
    vectors = np.load(run.folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    heads, rows = {}, []
    for one in judged(run):
        facts, found = _of_head(one, vectors, lambda share: report(share, "Comparing pairs"))
        heads[one.head] = facts
        rows += [(one.head, *pair) for pair in found]
    table = pd.DataFrame(rows, columns=["head", "kind", "one", "other", "cosine"])
    with replaced(analyses.folder(run) / TABLE) as fresh:
        table.to_parquet(fresh, index=False)
    write_json(analyses.folder(run) / FILE, {"heads": heads})


def _of_head(one: Judged, vectors: np.ndarray, report: Callable[[float], None]) -> tuple[dict, list]:
    part = "test" if one.known("test").any() else next(iter(one.parts()), "")
    rows, of = _chosen(one, np.flatnonzero(one.known(part)), vectors)
    patients, names = pd.factorize(one.rows["PatientID"].to_numpy()[rows])
    facts = {"part": part, "slices": len(rows), "of": of, "patients": len(names)}
    if len(names) < 2:
        return {**facts, "why_not": "Pairs are of different patients, and here are slices of fewer than two."}, []
    series, _ = pd.factorize(one.rows["SeriesInstanceUID"].to_numpy()[rows])
    counted = count(unit(np.asarray(vectors[rows], np.float32)), one.y[rows], patients, report)
    different, same = counted.counts.sum(axis=(1, 2, 3))
    if not different or not same:
        return {**facts, "why_not": "There are no pairs of one class, or none of two, to tell apart."}, []
    found = [(kind, int(rows[a]), int(rows[b]), cosine) for kind, a, b, cosine in worst(counted, series)]
    return {**facts, "why_not": "", **judge(counted), "histogram": histogram(counted)}, found


def _chosen(one: Judged, rows: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, int]:
    """Leave out slices without a usable embedding, then patients and slices beyond what is compared."""
    of = len(rows)
    sound = [np.isfinite(block).all(axis=1) & np.any(block, axis=1)
             for block in (vectors[rows[at : at + _TILE]] for at in range(0, of, _TILE))]  # fmt: skip
    rows = rows[np.concatenate([np.empty(0, bool), *sound])]
    patients = one.rows["PatientID"].to_numpy()[rows]
    kept = np.random.default_rng(0).permutation(np.unique(patients))[:MOST_PATIENTS]
    rows = rows[np.isin(patients, kept)]
    return rows[thin(one.y[rows], MOST_SLICES)], of
