"""What a run answered: predictions, samples, and what of them is judged."""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from core import cohort, runs, splits
from core.analysis import confusion
from core.comparing.bootstrap import patient_bootstrap
from core.errors import CoreError
from pages.shared.cached.cohorts import open_cohort
from pages.shared.cached.keys import stamp_of


def predictions(run: runs.Run) -> pd.DataFrame:
    """One row a slice and head, as evaluation stored them, with ``key`` and ``p``, the answer's probability."""
    return _predictions(run.id, stamp_of(run.folder / "predictions.parquet"))


@st.cache_resource(max_entries=8, show_spinner="Reading the predictions")
def _predictions(run_id: str, stamp: tuple) -> pd.DataFrame:
    table = runs.read_run(run_id).predictions()
    return table.assign(
        key=cohort.slice_keys(table),
        p=np.fromiter(map(np.max, table["y_proba"]), float, len(table)),
    )


def predictions_of(run: runs.Run, head: str) -> pd.DataFrame:
    """Predictions of one head, a row a slice in the order of the run's split; others as `predictions` has them."""
    return _predictions_of(run.id, stamp_of(run.folder / "predictions.parquet"), head)


@st.cache_resource(max_entries=8, show_spinner=False)
def _predictions_of(run_id: str, stamp: tuple, head: str) -> pd.DataFrame:
    table = predictions(runs.read_run(run_id))
    return table[table["head"] == head].reset_index(drop=True)


def places_of(run: runs.Run, head: str) -> pd.Index:
    """Keys of a head's predictions, for asking at which place a slice stands."""
    return _places_of(run.id, stamp_of(run.folder / "predictions.parquet"), head)


@st.cache_resource(max_entries=8, show_spinner=False)
def _places_of(run_id: str, stamp: tuple, head: str) -> pd.Index:
    return pd.Index(predictions_of(runs.read_run(run_id), head)["key"])


def heads_and_parts(run: runs.Run) -> tuple[list[str], list[str]]:
    """List what a run's predictions are of: its heads, and the parts of its split, test first."""
    return _heads_and_parts(run.id, stamp_of(run.folder / "predictions.parquet"))


@st.cache_resource(max_entries=64, show_spinner=False)
def _heads_and_parts(run_id: str, stamp: tuple) -> tuple[list[str], list[str]]:
    table = predictions(runs.read_run(run_id))
    parts = table["split"].unique().tolist()
    return table["head"].unique().tolist(), sorted(parts, key=lambda part: (*reversed(splits.SPLITS), part).index(part))


@dataclass(frozen=True)
class Asked:
    """What one head answered about the slices of one part whose truth is known.

    Attributes
    ----------
    rows : DataFrame
        Their predictions, n of them, as `predictions` gives them.
    kept : ndarray of bool
        Which of the head's predictions these are.
    seen : frozenset of str
        Classes that occur or are named.
    """

    rows: pd.DataFrame
    kept: np.ndarray
    seen: frozenset[str]


def asked(run: runs.Run, head: str, part: str) -> Asked:
    """Return what a head answered about the slices of a part, a fifth of a second of sorting out at half a million."""
    return _asked(run.id, stamp_of(run.folder / "predictions.parquet"), head, part)


@st.cache_resource(max_entries=12, show_spinner="Sorting the predictions")
def _asked(run_id: str, stamp: tuple, head: str, part: str) -> Asked:
    table = predictions(runs.read_run(run_id))
    rows = table[(table["head"] == head).to_numpy()]
    # A slice of which nobody knows the truth was answered, but is neither right nor wrong.
    kept = ((rows["split"] == part) & rows["y_true"].notna()).to_numpy()
    rows = rows[kept]
    return Asked(rows, kept, frozenset(rows["y_true"].unique()) | frozenset(rows["y_pred"].unique()))


def mc_samples(run: runs.Run, head: str) -> np.ndarray | None:
    """Monte-Carlo samples of a head, (n, T, classes), in the order of its predictions; None without."""
    return _mc_samples(str(run.folder / "mc_samples.npz"), stamp_of(run.folder / "mc_samples.npz"), head)


@st.cache_resource(max_entries=8, show_spinner="Reading the Monte-Carlo samples")
def _mc_samples(path: str, stamp: tuple, head: str) -> np.ndarray | None:
    if not stamp[0]:
        return None
    with np.load(path, allow_pickle=False) as stored:
        return stored.get(head)


def kept_samples(run: runs.Run, head: str, part: str) -> np.ndarray | None:
    """Monte-Carlo samples of the slices of a part whose truth is known, (n, T, classes); None without."""
    stamps = stamp_of(run.folder / "mc_samples.npz", run.folder / "predictions.parquet")
    return _kept_samples(run.id, stamps, head, part)


@st.cache_resource(max_entries=4, show_spinner=False)
def _kept_samples(run_id: str, stamps: tuple, head: str, part: str) -> np.ndarray | None:
    run = runs.read_run(run_id)
    samples, kept = mc_samples(run, head), asked(run, head, part).kept
    # Samples are large, and mostly all of them are kept.
    return samples if samples is None or kept.all() else samples[kept]


@dataclass(frozen=True)
class Verdicts:
    """Units of a part with their truth and answer, the slices that stand for them, and the accuracy's interval."""

    judged: confusion.Judged
    rows: pd.DataFrame
    interval: tuple[float, float]
    patients: int
    cohorts: tuple[str, ...]


def verdicts(run: runs.Run, heads: tuple[str, ...], part: str, unit: str) -> Verdicts:
    """Judge slices, series or patients; two heads are judged by their joint classes."""
    return _verdicts(run.id, stamp_of(run.folder / "predictions.parquet", run.bundle / "card.json"), heads, part, unit)


@st.cache_resource(max_entries=12, show_spinner="Counting")
def _verdicts(run_id: str, stamp: tuple, heads: tuple[str, ...], part: str, unit: str) -> Verdicts:
    run = runs.read_run(run_id)
    classes = run.card()["classes"]
    parts = [asked(run, head, part).rows for head in heads]
    if len(parts) > 1:
        common = set(parts[0]["key"]).intersection(*(one["key"] for one in parts[1:]))
        parts = [one[one["key"].isin(common)].sort_values("key") for one in parts]
    judged = confusion.judge(parts, [classes[head] for head in heads], unit)
    interval = float("nan"), float("nan")
    if len(judged.patient):
        right = (judged.true == judged.named).astype(float)
        low, high = patient_bootstrap(judged.patient, right).interval()
        interval = float(low), float(high)
    cohorts = tuple(parts[0]["cohort"].unique())
    # The first click should find ready what it needs: who stands in which cell, and where pictures are.
    judged.members(*judged.classes[:1] * 2 or ("", ""))
    for name in cohorts:
        with suppress(CoreError):
            open_cohort(name).table.index.get_indexer(parts[0]["key"][:1])
    return Verdicts(judged, parts[0], interval, len(np.unique(judged.patient)), cohorts)
