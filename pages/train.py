"""Launch a run, follow the queue, look back at what has ended; each view is a module of its own."""

import streamlit as st

from core.errors import CoreError
from pages.shared import (
    cached,
    state,
    train_compare,
    train_form,
    train_lessons,
    train_look,
    train_model,
    train_queue,
    train_runs,
    train_views,
    train_where,
    widgets,
)

widgets.header("Train", "Choose what to learn from a cohort, see the split by patient, start, and watch it learn.")


def launch(name: str | None) -> None:
    """Draw the form and the look before the start, and start when that allows it."""
    if name is None:
        widgets.empty("No cohort to train on", "Open **Browse** and index a folder, or run `python -m core demo`.")
        return
    made = cached.open_cohort(name)
    left, right = st.columns([1.1, 1], gap="large")
    with left, st.container(border=True):
        config = train_form.draw(name)
        runner = train_where.draw()
        below = st.container()
    with right:
        allowed = train_look.draw(made, config)
    icon = ":material/play_arrow:"
    if below.button("Start training", type="primary", icon=icon, width="stretch", disabled=not allowed) and allowed:
        run = train_look.start(made, config, runner)
        st.session_state["started"] = run.id
        state.put(**{state.FOLLOWED: run.id})
        st.rerun()
    with below:
        train_lessons.offer(made, config, allowed, runner)


VIEWS = {
    train_views.NEW: lambda: launch(st.session_state[state.COHORT]),
    train_views.QUEUE: train_queue.draw,
    train_views.RUNS: train_runs.draw,
    train_views.COMPARE: train_compare.draw,
    train_views.LESSONS: train_lessons.draw,
    train_views.MODEL: train_model.draw,
}

if st.session_state.pop("started", None):
    state.choose(view=train_views.QUEUE)
if st.session_state.pop(train_lessons.STARTED, None):
    state.choose(view=train_views.LESSONS)
if asked := st.session_state.pop(state.OPEN_VIEW, None):
    state.choose(view=asked)
view = st.segmented_control(
    "View",
    list(VIEWS),
    default=train_views.NEW,
    key=state.VIEW,
    bind="query-params",
    label_visibility="collapsed",
    required=True,
)
try:
    VIEWS[view]()
except CoreError as error:
    st.error(str(error))
