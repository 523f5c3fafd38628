"""Runs: the list of them, their curves and cards, and two or more side by side."""

from contextlib import suppress
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from core import figures, runs
from core.comparing import compare, compare_figures
from core.comparing.run_table import RunTable
from core.config import RunConfig
from core.errors import RunError
from core.learning import epochs
from core.publishing import model_card
from core.settings import get_settings
from pages.shared.cached.keys import stamp_of


def run_table() -> pd.DataFrame:
    """All runs, newest first, as `core.comparing.run_table.RunTable.read` gives them."""
    return _run_table(str(get_settings().runs_dir)).read()


@st.cache_resource(max_entries=4, show_spinner=False)
def _run_table(folder: str) -> RunTable:
    # The table itself looks which folders have changed.
    return RunTable(Path(folder))


def finished() -> list[str]:
    """Ids of finished runs, newest first."""
    table = run_table()
    return table["id"][table["state"] == "done"].tolist()


def run_configs() -> tuple[tuple[str, RunConfig], ...]:
    """Id and configuration of every run whose configuration can be read."""
    return _run_configs(str(get_settings().runs_dir), stamp_of(get_settings().runs_dir))


@st.cache_resource(max_entries=4, show_spinner=False)
def _run_configs(folder: str, key: tuple) -> tuple:
    found = []
    for run in runs.list_runs():
        with suppress(RunError):
            found.append((run.id, run.config))
    return tuple(found)


def learning_curve(run: runs.Run) -> tuple[go.Figure | None, int]:
    """Loss and accuracy over a run's epochs, None before the first; and how many epochs there are."""
    path = run.folder / "metrics.jsonl"
    return _learning_curve(str(path), stamp_of(path), path.stat().st_size if path.exists() else 0, run)


@st.cache_resource(max_entries=64, show_spinner=False)
def _learning_curve(path: str, stamp: tuple, size: int, _run: runs.Run) -> tuple[go.Figure | None, int]:
    metrics = _run.metrics()
    return (figures.learning_curve(metrics) if len(metrics) else None), len(metrics)


def epoch_answers(run: runs.Run) -> epochs.EpochAnswers | None:
    """What a run's model answered after each epoch; None for a run that kept nothing of it."""
    return _epoch_answers(str(run.folder), stamp_of(run.folder / epochs.EPOCHS_FILE))


@st.cache_resource(max_entries=8, show_spinner=False)
def _epoch_answers(folder: str, stamp: tuple) -> epochs.EpochAnswers | None:
    return epochs.read(Path(folder))


def card_sections(model_id: str) -> list[model_card.Section]:
    """Parts of a model's card."""
    found, config = model_card.of(model_id)
    return _card_sections(model_id, stamp_of(found.bundle / "card.json"), found, config)


@st.cache_resource(max_entries=16, show_spinner=False)
def _card_sections(model_id: str, stamp: tuple, _model, _config) -> list[model_card.Section]:
    return model_card.sections(_model, _config)


def comparison(ids: tuple[str, ...], names: tuple[str, ...]) -> compare.Comparison | str:
    """Runs side by side, or the sentence why they cannot be."""
    return _comparison(ids, names, _compared(ids))


# A refusal is kept, too: it costs as much to find out.
@st.cache_resource(max_entries=8, show_spinner="Comparing the runs")
def _comparison(ids: tuple[str, ...], names: tuple[str, ...], stamps: tuple) -> compare.Comparison | str:
    try:
        return compare.compare([runs.read_run(run_id) for run_id in ids], names)
    except RunError as error:
        return str(error)


def _compared(ids: tuple[str, ...]) -> tuple[int, ...]:
    files = ("predictions.parquet", "config.json", "bundle/card.json", "metrics.jsonl")
    return stamp_of(*(runs.read_run(run_id).folder / file for run_id in ids for file in files))


def comparison_figures(made: compare.Comparison, head: int, other: int) -> tuple[go.Figure, go.Figure, go.Figure]:
    """Intervals, curves and the difference matrix of a comparison's head and pair."""
    return _comparison_figures(made.ids, made.names, _compared(made.ids), head, other, made)


@st.cache_resource(max_entries=16, show_spinner=False)
def _comparison_figures(
    ids: tuple[str, ...], names: tuple[str, ...], stamps: tuple, head: int, other: int, _made: compare.Comparison
) -> tuple[go.Figure, go.Figure, go.Figure]:
    one = _made.heads[head]
    metrics = [runs.read_run(run_id).metrics() for run_id in ids]
    return (
        compare_figures.intervals(one, names),
        compare_figures.curves(metrics, names, one.head),
        compare_figures.matrix_difference(one, other, names),
    )
