"""What was worked out of a run's answers, as `core.analysis.analyses` left it in the run's folder."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from core import cohort, images, runs
from core.analysis import (
    analyses,
    embedding_map,
    error_figures,
    label_issues,
    neighbours,
    stress,
    stress_changes,
    stress_figures,
)
from core.analysis import class_scores as scores_by_class
from core.analysis import weak_spots as spots
from pages.shared.cached.answers import asked
from pages.shared.cached.keys import headers_key, stamp_of
from pages.shared.cached.slices import cohort_pixels

#: Slices of a stress bench that can be looked at.
_MOST_OFFERED = 200


def analysis(run: runs.Run, file: str):
    """What an analysis left in a run's folder: a JSON's content, a table or an array; None where there is no file."""
    path = analyses.folder(run) / file
    return _analysis(str(path), stamp_of(path))


@st.cache_resource(max_entries=32, show_spinner="Reading the analysis")
def _analysis(path: str, stamp: tuple):
    if not stamp[0]:
        return None
    if path.endswith(".parquet"):
        return pd.read_parquet(path)
    return np.load(path, allow_pickle=False) if path.endswith(".npy") else json.loads(Path(path).read_text("utf-8"))


def of_analysis(run: runs.Run, file: str, make: Callable, *given: object, at: tuple):
    """What ``make(*given)`` makes of parts of an analysis: a figure, an order.

    Parameters
    ----------
    run : Run
    file : str
        The analysis' file; when it has changed, all is made anew.
    make : callable
    *given
        Parts of the analysis and of the predictions.
    at : tuple
        Words and numbers that, with the files, tell what is given.
    """
    path = analyses.folder(run) / file
    stamp = stamp_of(path, run.folder / "predictions.parquet")
    return _of_analysis(str(path), stamp, f"{make.__module__}.{make.__qualname__}", at, make, given)


@st.cache_resource(max_entries=128, show_spinner=False)
def _of_analysis(path: str, stamp: tuple, name: str, at: tuple, _make: Callable, _given: tuple):
    return _make(*_given)


def class_scores(run: runs.Run) -> scores_by_class.ClassScores | None:
    """Scores and curves by class, as evaluation stored them; None for an older run."""
    folder = analyses.folder(run)
    return _class_scores(str(folder), stamp_of(*scores_by_class.files(folder)))


@st.cache_resource(max_entries=16, show_spinner=False)
def _class_scores(folder: str, stamp: tuple) -> scores_by_class.ClassScores | None:
    return scores_by_class.read(Path(folder))


def class_curves(run: runs.Run, head: str, part: str, name: str) -> tuple[go.Figure, go.Figure]:
    """ROC and precision–recall curves of a head's classes, one of them standing out."""
    folder = analyses.folder(run)
    return _class_curves(str(folder), stamp_of(*scores_by_class.files(folder)), head, part, name)


@st.cache_resource(max_entries=64, show_spinner=False)
def _class_curves(folder: str, stamp: tuple, head: str, part: str, name: str) -> tuple[go.Figure, go.Figure]:
    made = _class_scores(folder, stamp)
    kept = (made.curves["head"] == head) & (made.curves["part"] == part)
    table = made.table[(made.table["head"] == head) & (made.table["part"] == part)].set_index("name")
    return (
        error_figures.class_curves(made.curves[kept & (made.curves["curve"] == "roc")], table, name, "roc"),
        error_figures.class_curves(made.curves[kept & (made.curves["curve"] == "pr")], table, name, "pr"),
    )


def weak_spots(run: runs.Run, head: str, part: str) -> pd.DataFrame | None:
    """Weak spots of a head in a part, worst first, as evaluation stored them; None for an older run."""
    folder = analyses.folder(run)
    return _weak_spots(str(folder), stamp_of(*spots.files(folder)), head, part)


@st.cache_resource(max_entries=32, show_spinner=False)
def _weak_spots(folder: str, stamp: tuple, head: str, part: str) -> pd.DataFrame | None:
    table = spots.read_spots(Path(folder))
    if table is None:
        return None
    return table[(table["head"] == head) & (table["part"] == part)].reset_index(drop=True)


def slices_of_spot(run: runs.Run, head: str, part: str, spot: tuple[tuple[str, str], ...]) -> np.ndarray:
    """Places of a spot's slices among those asked about, the surest mistakes first, then the least sure right ones."""
    stamps = stamp_of(run.folder / "predictions.parquet", *spots.files(analyses.folder(run)))
    return _slices_of_spot(run.id, stamps, head, part, spot)


@st.cache_resource(max_entries=64, show_spinner=False)
def _slices_of_spot(run_id: str, stamps: tuple, head: str, part: str, spot: tuple[tuple[str, str], ...]) -> np.ndarray:
    run = runs.read_run(run_id)
    rows, facts = asked(run, head, part).rows, _slice_facts(str(analyses.folder(run)), stamps)
    inside = np.flatnonzero(spots.members(facts.reindex(rows["key"]), spot))
    wrong = (rows["y_true"] != rows["y_pred"]).to_numpy()[inside]
    p = np.nan_to_num(rows["p"].to_numpy()[inside])
    return inside[np.lexsort((np.where(wrong, -p, p), ~wrong))]


@st.cache_resource(max_entries=4, show_spinner=False)
def _slice_facts(folder: str, stamps: tuple) -> pd.DataFrame:
    facts = spots.read_facts(Path(folder))
    return facts[~facts.index.duplicated()]


def neighbours_of(run: runs.Run) -> neighbours.Neighbours | None:
    """Nearest training slices of a run's slices; None for a run that was evaluated before they were kept."""
    return _neighbours_of(run.id, _analyses_key(run, "neighbours.npz"), run)


@st.cache_resource(max_entries=4, show_spinner=False)
def _neighbours_of(run_id: str, key: tuple, _run: runs.Run) -> neighbours.Neighbours | None:
    return neighbours.read(_run)


def _analyses_key(run: runs.Run, *names: str) -> tuple:
    folder = analyses.folder(run)
    return str(folder), *stamp_of(*(folder / name for name in names))


def issues_of(run: runs.Run, head: str) -> label_issues.LabelIssues | None:
    """Doubtful labels of a head; None for a run that was evaluated before they were kept."""
    return _issues_of(run.id, _analyses_key(run, "label_issues.parquet", "label_issues.json"), head, run)


@st.cache_resource(max_entries=8, show_spinner=False)
def _issues_of(run_id: str, key: tuple, head: str, _run: runs.Run) -> label_issues.LabelIssues | None:
    return label_issues.read(_run, head)


def map_of(run: runs.Run) -> embedding_map.EmbeddingMap | None:
    """Points of a run's slices; None for a run that was evaluated before they were kept."""
    files = ("map.npz", *(f"map-{method.lower()}.npy" for method in embedding_map.METHODS[1:]))
    return _map_of(run.id, _analyses_key(run, *files), run)


@st.cache_resource(max_entries=4, show_spinner=False)
def _map_of(run_id: str, key: tuple, _run: runs.Run) -> embedding_map.EmbeddingMap | None:
    return embedding_map.read(_run)


def position_figures(run: runs.Run, head: str, part: str) -> tuple[go.Figure, go.Figure | None]:
    """Accuracy along the stack, and where the commonest mistakes are."""
    return _position_figures(run.id, stamp_of(analyses.folder(run) / "positions.parquet"), head, part, run)


@st.cache_resource(max_entries=16, show_spinner=False)
def _position_figures(
    run_id: str, stamp: tuple, head: str, part: str, _run: runs.Run
) -> tuple[go.Figure, go.Figure | None]:
    bins, found = (
        table[(table["head"] == head) & (table["split"] == part)]
        for table in (analysis(_run, "positions.parquet"), analysis(_run, "position_pairs.parquet"))
    )
    return stress_figures.position_curves(bins), stress_figures.position_pairs(found)


def stress_figure(run: runs.Run, heads: tuple[str, ...]) -> go.Figure:
    """Curves of a run's stress bench, a small panel a change."""
    return _stress_figure(run.id, stamp_of(analyses.folder(run) / "stress_curves.parquet"), heads, run)


@st.cache_resource(max_entries=8, show_spinner=False)
def _stress_figure(run_id: str, stamp: tuple, heads: tuple[str, ...], _run: runs.Run) -> go.Figure:
    return stress_figures.stress_curves(analysis(_run, "stress_curves.parquet"), heads)


def stress_head(run: runs.Run, head: str) -> tuple[list[str], dict[str, str], pd.DataFrame]:
    """What the stress bench says of a head: a sentence a change, slices to look at by key, and their answers."""
    return _stress_head(run.id, stamp_of(analyses.folder(run) / "stress_curves.parquet"), head, run)


@st.cache_resource(max_entries=16, show_spinner=False)
def _stress_head(
    run_id: str, stamp: tuple, head: str, _run: runs.Run
) -> tuple[list[str], dict[str, str], pd.DataFrame]:
    drawn, answers = analysis(_run, "stress_curves.parquet"), analysis(_run, "stress.parquet")
    said = [stress.sentence(drawn, head, change) for change in stress_changes.CHANGES]
    answers = answers[answers["head"] == head]
    before = answers[answers["change"] == ""].head(_MOST_OFFERED)
    before = before.sort_values(["y_true", "PatientID"], kind="stable")
    titles = {row.key: f"{row.y_true}, {row.PatientID} ({at})" for at, row in enumerate(before.itertuples(), 1)}
    return said, titles, answers[answers["key"].isin(titles)].set_index("key").sort_index(kind="stable")


def stress_seconds(run: runs.Run, slices: int) -> float | None:
    """About how long a run's stress bench takes."""
    stamps = stamp_of(run.folder / "predictions.parquet", analyses.folder(run) / "stress_curves.parquet")
    return _stress_seconds(run.id, stamps, slices, run)


@st.cache_data(max_entries=64, ttl="1m", show_spinner=False)
def _stress_seconds(run_id: str, stamps: tuple, slices: int, _run: runs.Run) -> float | None:
    return stress.estimate_s(_run, slices)


def stress_strip(run: runs.Run, made: cohort.Cohort, key: str, change: str, random_state: int) -> list[str]:
    """Addresses of the pictures of one slice at each strength of a change, as the model sees them."""
    return _stress_strip(headers_key(made.name), key, change, random_state, run.card()["input_shape"][0], made)


@st.cache_data(max_entries=128, show_spinner="Changing the slice")
def _stress_strip(
    headers_key: tuple, key: str, change: str, random_state: int, size: int, _made: cohort.Cohort
) -> list[str]:
    row = _made.table.loc[key]
    spacing = (row["pixel_spacing_row_mm"], row["pixel_spacing_column_mm"])
    one = stress_changes.slice_of(cohort_pixels(_made, key), spacing)
    drawn = stress.pictures(one, key, size, random_state, stress.steps_of(change))
    pngs = (images.to_png(np.rint(picture * 255).astype(np.uint8)) for picture in drawn)
    return ["data:image/png;base64," + base64.b64encode(png).decode() for png in pngs]
