"""Which predictions of a run are looked at: the head and the part of the split, with what is known of them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from core import cohort, runs
from core.analysis import elsewhere
from pages.shared import cached, state


@dataclass(frozen=True)
class Chosen:
    """What every view of Errors is drawn from.

    Attributes
    ----------
    run : Run
    head, part : str
        Of the model, and of the split.
    rows : DataFrame
        Predictions of that head and part whose truth is known, n of them, with ``key`` and ``p``.
    kept : ndarray of bool
        Which of the head's predictions these are.
    names : list of str
        The head's classes.
    classes : list of str
        Those of them that occur or are named.
    """

    run: runs.Run
    head: str
    part: str
    rows: pd.DataFrame
    kept: np.ndarray
    names: list[str]
    classes: list[str]

    @property
    def samples(self) -> np.ndarray | None:
        """Monte-Carlo probabilities, (n, T, classes), where the run keeps them; read when first asked for."""
        return cached.kept_samples(self.run, self.head, self.part)


def choose(run: runs.Run) -> Chosen:
    """Draw the choice of head and part, and return what it leaves."""
    heads, parts = cached.heads_and_parts(run)
    head = st.segmented_control(
        "Head", heads, default=heads[-1], key="of_head", bind="query-params", required=True, on_change=close,
        help="Which answer of the model is looked at.",
    )  # fmt: skip
    part = st.segmented_control(
        "Slices of", parts, default=parts[0], key="of_split", bind="query-params", required=True, on_change=close,
        help="Patients of the test part were never used in training.",
    )  # fmt: skip
    _elsewhere(run)
    asked = cached.asked(run, head, part)
    names = run.card()["classes"][head]
    return Chosen(run, head, part, asked.rows, asked.kept, names, [name for name in names if name in asked.seen])


def _elsewhere(run: runs.Run) -> None:
    """Draw the way to another cohort: the model is judged there, as a run of its own."""
    others = [name for name in cohort.list_cohorts() if name != run.config.cohort]
    with st.popover(
        "Judge on another cohort", icon=":material/travel_explore:", disabled=not others,
        help="How good is this model elsewhere?" if others else "There is no other cohort; index one under Browse.",
    ):  # fmt: skip
        name = st.selectbox("Cohort", others, key="elsewhere")
        st.caption("Every slice whose label it knows, but for patients that it has learnt from; a run of its own.")
        if name and st.button("Judge there", key="judge-elsewhere", type="primary"):
            made = elsewhere.queue(run, name)
            st.session_state["started"] = made.id
            st.switch_page("pages/train.py", query_params={state.FOLLOWED: made.id})


def close() -> None:
    """Forget the open cell and slice."""
    state.put(**{state.CELL: None, state.SLICE: None, state.PAGE: None})
