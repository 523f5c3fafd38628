"""Which of a run's slices are strange to its model: ``analyses/strange.parquet`` and ``analyses/novelty.json``.

Where the run has training slices, `core.novelty.Familiar` is fitted on them and put into the bundle, its threshold
where one in a hundred validation slices (brains, of patients that the model did not learn from) would be called
strange.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from core import novelty
from core.analysis import analyses
from core.analysis.doubt import BINS
from core.analysis.judged import a_row_a_slice, write_json
from core.cohorts.slice_table import replaced
from core.runs import Run
from core.splits import SPLITS

VALUES_FILE, FILE = "strange.parquet", "novelty.json"

#: Share of validation slices that may be called strange.
LOST = 0.01


def write(run: Run, report: Callable[[float, str], None]) -> None:
    """Fit what can be fitted, and write how strange each slice is.

    Parameters
    ----------
    run : Run
        Evaluated.
    report : callable
    """
    # Features belong to slices, not to heads.
    rows, embeddings = a_row_a_slice(run.predictions()).reset_index(drop=True), run.embeddings()
    why_not = _fit(run, rows, embeddings)
    found = novelty.strangeness(embeddings, run.bundle)
    with replaced(analyses.folder(run) / VALUES_FILE) as fresh:
        pd.DataFrame({name: one.values for name, one in found.items()}, index=rows.index).to_parquet(fresh)
    familiar = novelty.Familiar.load(run.bundle)
    facts = {
        "why_not": why_not,
        "fitted": [familiar.slices, familiar.patients] if familiar else [0, 0],
        "kinds": {name: _facts(one, rows["split"]) for name, one in found.items()},
    }
    write_json(analyses.folder(run) / FILE, facts)


def _fit(run: Run, rows: pd.DataFrame, embeddings: np.ndarray) -> str:
    """Put what is familiar into the bundle; returns why there is nothing to fit, or an empty word."""
    sound = np.isfinite(embeddings).all(axis=1)
    train = (rows["split"] == "train").to_numpy() & sound
    unseen = (rows["split"] == "validation").to_numpy() & sound
    if train.sum() < 2 or not unseen.any():
        # What lies there from an older evaluation was fitted on another split.
        (run.bundle / novelty.FAMILIAR_FILE).unlink(missing_ok=True)
        return (
            "This run has no training and validation slices in its split, so nothing was fitted to tell what is unlike "
            "them."
        )
    fitted = novelty.fit_familiar(embeddings[train])
    replace(
        fitted,
        above=float(np.quantile(fitted.distance(embeddings[unseen]), 1 - LOST)),
        slices=int(train.sum()),
        patients=int(rows["PatientID"][train].nunique()),
    ).save(run.bundle)
    return ""


def _facts(one: novelty.Strangeness, split: pd.Series) -> dict:
    known = np.isfinite(one.values)
    edges = np.linspace(0, max(float(one.values[known].max(initial=0)), one.above), BINS + 1)
    parts = {}
    for part in SPLITS:
        rows = (split == part).to_numpy()
        if not rows.any():
            continue
        values = one.values[rows]
        counts = np.histogram(np.clip(values[np.isfinite(values)], 0, edges[-1]), edges)[0]
        parts[part] = {"slices": len(values), "strange": int((values >= one.above).sum()), "counts": counts}
    return {"above": one.above, "edges": edges, "parts": parts}
