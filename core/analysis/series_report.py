"""What a vote of each series is worth, and where along the head its slices go wrong.

`write` leaves ``analyses/series.parquet`` (a row a head and series), ``analyses/position.npy`` (a number a slice, in
the order of one head's predictions: 0 at one end of its stack, 1 at the other, towards head, back or left; NaN where
nobody knows) and ``analyses/series.json``.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from core import cohort
from core.analysis import analyses
from core.analysis.judged import Judged, judged, write_json
from core.analysis.positions import BINS, bin_of
from core.cohorts.slice_table import replaced, slice_keys
from core.comparing.bootstrap import FEW_PATIENTS, patient_bootstrap
from core.errors import CohortError
from core.runs import Run
from core.series_vote import vote_by

TABLE_FILE, POSITION_FILE, FILE = "series.parquet", "position.npy", "series.json"


def write(run: Run, report: Callable[[float, str], None]) -> None:
    """Write votes, positions and their scores.

    Parameters
    ----------
    run : Run
        Evaluated.
    report : callable
    """
    folder, heads = analyses.folder(run), list(judged(run))
    position = positions(run, heads[0].rows)
    with replaced(folder / POSITION_FILE) as fresh, fresh.open("wb") as file:
        np.save(file, position)
    tables = {one.head: votes(one) for one in heads}
    with replaced(folder / TABLE_FILE) as fresh:
        pd.concat(tables.values(), ignore_index=True).to_parquet(fresh, index=False)
    found = {one.head: {part: _part(one, tables[one.head], part, position) for part in one.parts()} for one in heads}
    write_json(folder / FILE, found)


def positions(run: Run, rows: pd.DataFrame) -> np.ndarray:
    """Tell where in its stack each slice lies, (n,) float32 from 0 to 1; NaN where the cohort does not say."""
    try:
        table = cohort.read(run.config.cohort).table
    except CohortError:
        return np.full(len(rows), np.nan, np.float32)
    stack = table.groupby(["SeriesInstanceUID", "stack"], sort=False)["image_number"]
    rank, size = stack.rank(method="first") - 1, stack.transform("size")
    # One slice has no ends to lie between.
    where = (rank / (size - 1).where(size > 1)).to_numpy(np.float32)
    return pd.Series(where, index=slice_keys(table)).reindex(slice_keys(rows)).to_numpy(np.float32)


def votes(one: Judged) -> pd.DataFrame:
    """Let each series vote, as `core.series_vote` does it.

    Parameters
    ----------
    one : Judged

    Returns
    -------
    DataFrame
        A row a series and part with a known truth: head, split, SeriesInstanceUID, PatientID, slices, y_true (the
        commonest of its slices'), y_pred, p (of the vote) and ``slices_right``, the share of its slices named rightly.
    """
    kept = one.sound & (one.y >= 0)
    rows = one.rows[kept].assign(y=one.y[kept], right=one.right[kept])
    groups = list(zip(rows["split"], rows["SeriesInstanceUID"], strict=True))
    if not groups:
        return pd.DataFrame()
    named, proba = vote_by(one.proba[kept], groups)
    by = rows.groupby(["split", "SeriesInstanceUID"], sort=False)
    series = by.agg(PatientID=("PatientID", "first"), slices=("y", "size"), slices_right=("right", "mean"))
    counts = rows.groupby(["split", "SeriesInstanceUID", "y"], sort=False).size().sort_values(ascending=False)
    commonest = counts.reset_index().drop_duplicates(["split", "SeriesInstanceUID"])
    truth = commonest.set_index(["split", "SeriesInstanceUID"])["y"]
    names = np.array(one.names, dtype=object)
    series = series.loc[named]
    return series.reset_index().assign(
        head=one.head,
        y_true=pd.array(names[truth.loc[named].to_numpy()], dtype="str"),
        y_pred=pd.array(names[proba.argmax(axis=1)], dtype="str"),
        p=proba.max(axis=1),
    )


def _part(one: Judged, table: pd.DataFrame, part: str, position: np.ndarray) -> dict:
    series = table[table["split"] == part] if len(table) else table
    kept = one.known(part) & one.sound
    if not kept.any():
        return {"why_not": "No slice here has probabilities."}
    by_slice = patient_bootstrap(one.rows["PatientID"][kept].tolist(), one.right[kept].astype(float))
    right = (series["y_true"] == series["y_pred"]).to_numpy(float)
    by_series = patient_bootstrap(series["PatientID"].tolist(), right)
    return {
        "why_not": "",
        "slices": _score(by_slice, int(kept.sum())),
        "series": _score(by_series, len(series)),
        "mixed": int((one.rows[kept].groupby("SeriesInstanceUID")["y_true"].nunique() > 1).sum()),
        "along": along(position[kept], one.right[kept]),
    }


def _score(made, n: int) -> dict:
    low, high = made.interval()
    few = made.patients < FEW_PATIENTS
    return {"accuracy": float(made.estimate), "low": float(low), "high": float(high), "n": n, "few": few}


def along(position: np.ndarray, right: np.ndarray) -> dict[str, list[int]]:
    """Count right and all answers by bin of the way through the head.

    Parameters
    ----------
    position : ndarray, shape (n,)
        From 0 to 1; NaN is left out.
    right : ndarray of bool, shape (n,)

    Returns
    -------
    dict
        ``right`` and ``all``, `BINS` counts each.

    Examples
    --------
    >>> sum(along(np.array([0.0, 1.0, np.nan]), np.array([True, False, True]))["all"])
    2
    """
    known = np.isfinite(position)
    at = bin_of(position[known])
    return {
        "right": np.bincount(at, right[known], BINS).astype(int).tolist(),
        "all": np.bincount(at, minlength=BINS).tolist(),
    }
