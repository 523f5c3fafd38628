"""Juries of Siamese runs, and what they say."""

from dataclasses import replace

import plotly.graph_objects as go
import streamlit as st

from core import figures, runs
from core.explanations import juries, jury_making, pair_figures
from core.explanations.jury import JURY_FILE
from core.explanations.votes import Verdict, deliberate
from core.publishing import registry
from core.uncertainty import risk_coverage
from pages.shared.cached.keys import stamp_of
from pages.shared.cached.maps import embedding


def jury(run: runs.Run, name: str) -> juries.NamedJury:
    """A jury of a run by name; without one a Siamese run's own."""
    return _jury(run.id, name, _jury_stamp(run, name), run)


@st.cache_resource(max_entries=16, show_spinner="Calling the jury")
def _jury(run_id: str, name: str, stamp: tuple, _run: runs.Run) -> juries.NamedJury:
    return juries.read(name, registry.find(run_id)) if name else jury_making.of_run(_run)


def _jury_stamp(run: runs.Run, name: str) -> tuple[int, ...]:
    own = (run.bundle / JURY_FILE, run.folder / "embeddings.npy")
    return stamp_of(run.bundle / "card.json", *([juries.folder(run.id) / f"{name}.npz"] if name else own))


def ruled_jury(run: runs.Run, name: str, rule: str, k: int, target: float) -> juries.NamedJury:
    """A jury under other rules than its own, with the threshold that its trial gives them."""
    return _ruled_jury(run.id, name, _jury_stamp(run, name), rule, k, target, jury(run, name))


@st.cache_resource(max_entries=64, show_spinner=False)
def _ruled_jury(run_id: str, name: str, stamp: tuple, rule: str, k: int, target: float, _made) -> juries.NamedJury:
    made = juries.ruled(_made, rule, k, target)
    # The run's own jury by its own rule says what the run says.
    return made if name or rule != "mean" else replace(made, temperature=_made.temperature)


def verdict(run: runs.Run, made: juries.NamedJury, subject) -> tuple[Verdict, go.Figure]:
    """What a jury says of one slice, and the figure of its similarities."""
    at = run.id, made.name, _jury_stamp(run, made.name), made.vote, made.k, made.temperature
    return _verdict(at, subject.id, run, made, subject)


@st.cache_resource(max_entries=128, show_spinner=False)
def _verdict(at: tuple, subject_id: str, _run: runs.Run, _made, _subject) -> tuple[Verdict, go.Figure]:
    said = deliberate(_made.jury, embedding(_run, _subject), _made.vote, _made.k, _made.temperature)
    return said, pair_figures.similarities(said, _made.jury.classes)


def jury_trial_figure(run: runs.Run, made: juries.NamedJury) -> go.Figure:
    """Accuracy of a jury in its trial against the share that it answers."""
    at = run.id, made.name, _jury_stamp(run, made.name), made.vote, made.k, made.threshold
    return _jury_trial_figure(at, made)


@st.cache_resource(max_entries=32, show_spinner=False)
def _jury_trial_figure(at: tuple, _made) -> go.Figure:
    said, right = _made.trial.ask(_made.jury, _made.vote, _made.k)
    return figures.risk_coverage(*risk_coverage(right, -said.margin), _made.facts["kept"])
