"""What is looked at before runs are started, and what lessons come to."""

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from PIL import Image

from core import cohort, splits
from core.config import WEIGHTS, RunConfig
from core.learning import lesson_figures, lesson_results, lessons, preflight
from core.learning.view_samples import Samples
from core.settings import get_settings
from pages.shared.cached.keys import cohort_key, stamp_of


def preflight_look(made: cohort.Cohort, config: RunConfig) -> tuple[preflight.Preflight, pd.DataFrame]:
    """The quick half of the look before a start, and classes × parts in words."""
    config.validate()
    there = (made.root.exists(), *weights_stamp(config), *(getattr(config, name) for name in preflight.FIELDS))
    return _preflight_look(made, config, cohort_key(made.name), there)


@st.cache_resource(max_entries=64, show_spinner=False)
def _preflight_look(_made: cohort.Cohort, _config: RunConfig, key: tuple, there: tuple) -> tuple:
    seen = preflight.look(_made, _config)
    counts = seen.counts
    said = [f"{s:,} · {p}" for s, p in zip(counts["slices"], counts["patients"], strict=True)]
    heads = counts["head"].nunique() > 1
    names = counts["head"] + ": " + counts["label"] if heads else counts["label"]
    wide = counts.assign(said=said, name=pd.Categorical(names, names.unique()))
    wide = wide.pivot(index="name", columns="split", values="said").reindex(columns=splits.SPLITS).fillna("none")
    wide.index.name = "class" if heads else counts["head"].iloc[0] if len(counts) else "class"
    wide.columns = [f"{part} ({seen.amounts[part][1]} patients)" for part in wide]
    return seen, wide.set_axis(wide.index.astype("str"))


def weights_stamp(config: RunConfig) -> tuple[int, ...]:
    """When a local weights file was written; nothing for weights that come with us or from the network."""
    return () if config.weights in WEIGHTS else stamp_of(Path(config.weights))


@st.cache_resource(max_entries=64, show_spinner=False)
def sample_strip(key: tuple, _samples: Samples) -> str:
    """Address of one picture: slices in the upper row, how augmentation changes them in the lower."""
    laid = [np.concatenate(list(row), axis=1) for row in (_samples.originals, _samples.changed)]
    file = BytesIO()
    Image.fromarray(np.concatenate(laid)).save(file, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def list_lessons() -> list[lessons.Lesson]:
    """All lessons, newest first."""
    folder = get_settings().lessons_dir
    return _list_lessons(str(folder), stamp_of(folder))


# A lesson's file never changes: it comes and goes, and the folder's time tells.
@st.cache_resource(max_entries=4, show_spinner=False)
def _list_lessons(folder: str, stamp: tuple) -> list[lessons.Lesson]:
    return lessons.list_lessons()


def lesson_result(lesson: lessons.Lesson, done: tuple[str, ...]) -> tuple[object, go.Figure | None]:
    """What came of a lesson's runs that are done, as `lesson_results` gives it; and its figure, if there is one.

    Raises
    ------
    RunError
        When these runs cannot be judged together.
    """
    files = [get_settings().runs_dir / run_id / "predictions.parquet" for run_id in done]
    return _lesson_result(lesson.id, str(get_settings().lessons_dir), done, stamp_of(*files), lesson)


@st.cache_resource(max_entries=32, show_spinner="Judging the runs")
def _lesson_result(lesson_id: str, folder: str, done: tuple, stamps: tuple, _lesson: lessons.Lesson) -> tuple:
    if _lesson.kind == "naive":
        result = lesson_results.naive_result(_lesson)
        return result, (lesson_figures.naive(result.heads) if result else None)
    heads = lesson_results.curve_result(_lesson)
    return heads, (lesson_figures.curve(heads) if heads else None)
