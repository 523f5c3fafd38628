"""Maps of slices and pairs, and the shortcut demonstration."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from core import images, inference, runs
from core.explanations import map_store, shortcut
from core.explanations.jury import unit
from core.explanations.question import Maps, Question
from core.settings import PROJECT_DIR
from pages.shared.cached.keys import stamp_of


@st.cache_data(max_entries=512, show_spinner=False)
def _model_input(subject_id: str, size: int, _subject) -> tuple[np.ndarray, images.Geometry]:
    return images.to_model_input(_subject.pixels, _subject.spacing_mm, size)


def explain(run: runs.Run, subject, question: Question) -> Maps:
    """The map of one slice, on the slice's own grid; waits for it, so not for a page's own thread."""
    return _explain(run.id, subject.id, map_store.stamp(run.bundle), question, run, subject)


@st.cache_data(max_entries=256, show_spinner=False)
def _explain(run_id: str, subject_id: str, stamp: str, question: Question, _run: runs.Run, _subject) -> Maps:
    image, geometry = _model_input(subject_id, _run.card()["input_shape"][0], _subject)
    maps = map_store.maps(_run.bundle, image[None], question, inference.get_explainer().explain)
    return replace(maps, heat=images.from_model_grid(maps.heat[0], geometry)[None])


def explain_pair(run: runs.Run, one, other, question: Question) -> tuple[Maps, Maps, float]:
    """Maps of what makes either slice like the other, on their own grids, and the cosine of the two."""
    return _explain_pair(run.id, one.id, other.id, stamp_of(run.bundle / "card.json"), question, run, one, other)


@st.cache_data(max_entries=128, show_spinner=False)
def _explain_pair(run_id: str, id_one: str, id_other: str, stamp: tuple, question: Question, _run, _one, _other):
    size, maps = _run.card()["input_shape"][0], []
    (image, geometry), (partner, other_geometry) = (_model_input(it.id, size, it) for it in (_one, _other))
    ask = inference.get_explainer().explain
    for (seen, beside), on in zip(((image, partner), (partner, image)), (geometry, other_geometry), strict=True):
        made = ask(_run.bundle, seen[None], question, beside)
        maps.append(replace(made, heat=images.from_model_grid(made.heat[0], on)[None]))
    vectors = [unit(embedding(_run, it)) for it in (_one, _other)]
    return maps[0], maps[1], float(vectors[0] @ vectors[1])


def embedding(run: runs.Run, subject) -> np.ndarray:
    """Where a run's model sees one slice, (d,)."""
    return _embedding(run.id, subject.id, stamp_of(run.bundle / "card.json"), run, subject)


@st.cache_data(max_entries=512, show_spinner=False)
def _embedding(run_id: str, subject_id: str, stamp: tuple, _run: runs.Run, _subject) -> np.ndarray:
    image, _ = _model_input(subject_id, _run.card()["input_shape"][0], _subject)
    return inference.get_worker().predict(_run.bundle, image[None]).embeddings[0]


def badge_table() -> str:
    """The tables of ``docs/explanations.md``; empty where the docs are not installed."""
    path = PROJECT_DIR / "docs" / "explanations.md"
    return _badge_table(str(path), stamp_of(path))


@st.cache_data(max_entries=2, show_spinner=False)
def _badge_table(path: str, stamp: tuple) -> str:
    if not stamp[0]:
        return ""
    text = Path(path).read_text("utf-8")
    return text.partition("<!-- badge -->")[2].partition("<!-- /badge -->")[0].strip()


def shortcut_result() -> tuple[shortcut.Result | None, dict[str, np.ndarray]]:
    """What the shortcut demonstration found, and its pictures; None and nothing while it is not made."""
    return _shortcut_result(*_shortcut_key())


@st.cache_resource(max_entries=2, show_spinner=False)
def _shortcut_result(folder: str, stamp: tuple) -> tuple[shortcut.Result | None, dict[str, np.ndarray]]:
    found = shortcut.result()
    if found is None or not all(stamp):
        return None, {}
    with np.load(Path(folder) / "pictures.npz", allow_pickle=False) as stored:
        return found, dict(stored)


def shortcut_figure(make: Callable[..., go.Figure]) -> go.Figure:
    """A figure of the shortcut demonstration: ``make(found, pictures)``."""
    return _shortcut_figure(*_shortcut_key(), make.__name__, make)


@st.cache_resource(max_entries=8, show_spinner=False)
def _shortcut_figure(folder: str, stamp: tuple, name: str, _make: Callable[..., go.Figure]) -> go.Figure:
    return _make(*_shortcut_result(folder, stamp))


def _shortcut_key() -> tuple[str, tuple]:
    folder = shortcut.folder()
    return str(folder), stamp_of(folder / "result.json", folder / "pictures.npz")
