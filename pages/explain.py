"""What the model looked at, and whether a map of that may be believed; each view is a module of its own."""

import streamlit as st

from core import runs
from core.errors import CoreError
from pages.shared import explain_cohort, explain_jury, explain_pairs, explain_shortcut, explain_slice, state, widgets

VIEWS = {
    "Slice": explain_slice.draw,
    "Cohort": explain_cohort.draw,
    "Jury": explain_jury.draw,
    "Pairs": explain_pairs.draw,
    "Shortcut": explain_shortcut.draw,
}

widgets.header("Explain", "Which part of a slice speaks for a class, and whether that picture may be believed.")

try:
    run_id = st.session_state[state.RUN]
    if run_id is None:
        widgets.empty("No finished run yet", "Start one on **Train**; when it is done it can be chosen in the sidebar.")
    else:
        view = st.segmented_control(
            "View", list(VIEWS), default=next(iter(VIEWS)), key=state.VIEW, bind="query-params",
            label_visibility="collapsed", required=True,
        )  # fmt: skip
        VIEWS[view](runs.read_run(run_id))
except CoreError as error:
    st.error(str(error))
    st.button("Choose another slice", on_click=explain_slice.forget)
