"""Launch a run, follow the queue, look back at what has ended; each view is a module of its own."""

import streamlit as st

from core import jobs
from core.errors import CoreError
from pages.shared import cached, state, train_form, train_look, train_queue, train_runs, train_where, widgets

NEW, QUEUE, RUNS = "New run", "Queue", "Runs"

widgets.header("Train", "Choose what to learn from a cohort, see the split by patient, start, and watch it learn.")


def launch(name: str | None) -> None:
    """Draw the form and the look before the start, and start."""
    if name is None:
        widgets.empty("No cohort to train on", "Open **Browse** and index a folder, or run `python -m core demo`.")
        return
    made = cached.open_cohort(name)
    left, right = st.columns([1.1, 1], gap="large")
    with left, st.container(border=True):
        config = train_form.draw(name)
        runner = train_where.draw()
        go = st.button("Start training", type="primary", icon=":material/play_arrow:", width="stretch")
    with right:
        train_look.draw(made, config)
    if go:
        config.validate()
        run = jobs.submit(config, runner=runner)
        st.session_state["started"] = run.id
        state.put(**{state.FOLLOWED: run.id})
        st.rerun()


VIEWS = {NEW: lambda: launch(st.session_state[state.COHORT]), QUEUE: train_queue.draw, RUNS: train_runs.draw}

if st.session_state.pop("started", None):
    state.choose(view=QUEUE)
view = st.segmented_control(
    "View", list(VIEWS), default=NEW, key=state.VIEW, bind="query-params", label_visibility="collapsed", required=True
)
try:
    VIEWS[view]()
except CoreError as error:
    st.error(str(error))
