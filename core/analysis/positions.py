"""Mistakes along the head: how right a run is by where in its stack a slice lies.

At the ends of a stack there is little to see, and that is where many mistakes are. Kept in the run's folder
``analyses/``::

    positions.parquet        one row a head, part, plane and bin: slices, right, accuracy and its interval by patient
    position_pairs.parquet   one row a head, part, plane, bin, truth and answer: slices
"""

import numpy as np
import pandas as pd

from core import cohort
from core.analysis import analyses
from core.cohorts.slice_table import replaced, slice_keys
from core.comparing.bootstrap import bootstrap_totals, patient_totals
from core.runs import Run

#: Along a stack, from its first slice to its last.
BINS = 20
#: In stacks of fewer slices a place says little.
LEAST = 5
#: Where a stack begins and ends, by plane: `image_number` counts along the normal.
ENDS = {"axial": ("feet", "head"), "coronal": ("front", "back"), "sagittal": ("right", "left")}
_N_DRAWS = 1000


def write(run: Run, report: analyses.Report) -> None:
    """Count a run's answers by place; see the top of this module."""
    predictions = run.predictions()
    table = cohort.read(run.config.cohort).table
    report(0.2, "Mistakes along the head")
    placed = place(predictions, table)
    for name, made in (("positions", by_bin(placed)), ("position_pairs", pairs(placed))):
        with replaced(analyses.folder(run) / f"{name}.parquet") as fresh:
            made.to_parquet(fresh, index=False)
    report(1.0, "Mistakes along the head")


def position(table: pd.DataFrame) -> pd.Series:
    """Tell where in its stack each slice lies, from 0 (first) to 1 (last); missing in stacks of under five slices.

    Parameters
    ----------
    table : DataFrame
        Slice table: ``SeriesInstanceUID``, ``stack``, ``image_number``.

    Examples
    --------
    >>> table = pd.DataFrame({"SeriesInstanceUID": "1.2", "stack": 1, "image_number": [1, 2, 3, 4, 5]})
    >>> position(table).tolist()
    [0.1, 0.3, 0.5, 0.7, 0.9]
    """
    number = table.groupby(["SeriesInstanceUID", "stack"])["image_number"]
    first, last = number.transform("min"), number.transform("max")
    n = last - first + 1
    return ((table["image_number"] - first + 0.5) / n).where(n >= LEAST)


def bin_of(position: pd.Series | np.ndarray) -> pd.Series | np.ndarray:
    """Tell in which of the `BINS` of a stack positions lie; none may be missing.

    Examples
    --------
    >>> bin_of(np.array([0.0, 0.05, 0.999, 1.0])).tolist()
    [0, 1, 19, 19]
    """
    return np.clip((position * BINS).astype(int), 0, BINS - 1)


def place(predictions: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Give predictions whose truth, plane and place are known their ``plane`` and ``bin`` (0 to 19)."""
    where = pd.DataFrame({"plane": table["plane"].to_numpy(), "position": position(table).to_numpy()})
    where.index = pd.Index(slice_keys(table), name="key")
    known = predictions[predictions["y_true"].notna()]
    joined = known.assign(key=slice_keys(known)).join(where, on="key")
    joined = joined[joined["position"].notna() & joined["plane"].notna()]
    return joined.assign(bin=bin_of(joined["position"]))


def by_bin(placed: pd.DataFrame) -> pd.DataFrame:
    """Score each head, part and plane bin by bin.

    Returns
    -------
    DataFrame
        ``head``, ``split``, ``plane``, ``bin``, ``slices``, ``right``, ``accuracy``, and ``low``, ``high``, its 95 %
        interval by patient (NaN with one patient). Bins without slices have no row.
    """
    found = [pd.DataFrame(columns=["head", "split", "plane", "bin", "slices", "right", "accuracy", "low", "high"])]
    for (head, split, plane), part in placed.groupby(["head", "split", "plane"], sort=False):
        patients, _ = pd.factorize(part["PatientID"])
        at, right = part["bin"].to_numpy(int), (part["y_true"] == part["y_pred"]).to_numpy(float)
        totals = np.hstack([patient_totals(patients, at, BINS, right), patient_totals(patients, at, BINS)])
        made = bootstrap_totals(totals, _share, _N_DRAWS)
        # A bin that a draw does not touch has no accuracy in it.
        filled = totals[:, BINS:].sum(axis=0) > 0
        made = type(made)(made.estimate[filled], made.draws[:, filled], made.patients)
        low, high = made.interval()
        sums = totals.sum(axis=0)
        found.append(pd.DataFrame({
            "head": head, "split": split, "plane": plane, "bin": np.flatnonzero(filled),
            "slices": sums[BINS:][filled].astype(int), "right": sums[:BINS][filled].astype(int),
            "accuracy": made.estimate, "low": low, "high": high,
        }))  # fmt: skip
    return pd.concat(found[1:] or found, ignore_index=True)


def _share(drawn: np.ndarray) -> np.ndarray:
    right, n = np.hsplit(drawn, 2)
    return np.where(n > 0, right / np.where(n > 0, n, 1), np.nan)


def pairs(placed: pd.DataFrame) -> pd.DataFrame:
    """Count each truth and answer by head, part, plane and bin: ``y_true``, ``y_pred``, ``slices``."""
    by = ["head", "split", "plane", "bin", "y_true", "y_pred"]
    return placed.groupby(by, sort=False, observed=True).size().rename("slices").reset_index()


def sentence(bins: pd.DataFrame, plane: str) -> str:
    """Say where along a plane's stacks the mistakes are.

    Examples
    --------
    >>> bins = pd.DataFrame(
    ...     {"plane": "axial", "bin": [0, 1, 10, 19], "slices": [10, 10, 100, 20], "right": [5, 5, 99, 20]}
    ... )
    >>> sentence(bins, "axial")
    'axial: 50 % right in the fifth of the stack towards the feet, 99 % in the middle, 100 % towards the head.'
    """
    rows = bins[bins["plane"] == plane]
    thirds = [rows[rows["bin"] < BINS // 5], rows[rows["bin"].between(BINS // 5, BINS - BINS // 5 - 1)],
              rows[rows["bin"] >= BINS - BINS // 5]]  # fmt: skip
    shares = [
        f"{100 * part['right'].sum() / part['slices'].sum():.0f} %" if len(part) else "nothing" for part in thirds
    ]
    first, last = (f"towards the {end}" if end in ("feet", "head", "front", "back") else f"on the {end}"
                   for end in ENDS.get(plane, ("beginning", "end")))  # fmt: skip
    return (
        f"{plane}: {shares[0]} right in the fifth of the stack {first}, {shares[1]} in the middle, {shares[2]} {last}."
    )
