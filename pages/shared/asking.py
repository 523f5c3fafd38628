"""Asking the model of the sidebar about a whole cohort, in the background, and how far that is."""

import time

import streamlit as st

from core.cohort import Cohort
from core.errors import CoreError
from core.labelling import model_answers
from core.labelling.model_answers import Answers
from pages.shared import widgets


def answers_of(made: Cohort, run_id: str | None) -> Answers | None:
    """Return where the answers of the sidebar's model stand; None without a model that can be asked."""
    try:
        return model_answers.answers_of(made, run_id) if run_id else None
    except CoreError:
        # A run without a usable model leaves the queue to the headers.
        return None


def box(made: Cohort, answers: Answers | None) -> None:
    """Offer to ask the model where it was not asked yet, and follow it while it answers."""
    if answers is None:
        return
    status = answers.status
    if status["state"] == "running":
        follow(answers)
    elif status["state"] != "done":
        with st.container(horizontal=True, vertical_alignment="center"):
            said = f"{status['message']} " if status.get("message") else ""
            st.caption(
                f"{said}The queue knows headers alone; model **{answers.model}** was not asked.",
                width="content",
            )
            if st.button(f"Ask about {len(made.table):,} slices", icon=":material/quiz:", type="tertiary"):
                model_answers.start(made, answers.model)
                st.rerun()


@st.fragment(run_every=1.0)
def follow(answers: Answers) -> None:
    """Show how far a model is; draw the page anew when it ends."""
    status = answers.status
    if status["state"] != "running":
        st.rerun()
    done, total = status["done"], status["total"]
    spent = time.time() - status["started"]
    left = f" · about {spent / done * (total - done):.0f} s left" if done > total / 20 else ""
    if widgets.progress(done, total, f"{status['message']}: {done:,} of {total:,}{left}"):
        model_answers.cancel(answers)
        st.rerun()
