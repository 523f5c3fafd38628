"""Where a model fails, whether it knew, and the slices themselves; each view is a module of its own."""

import streamlit as st

from core import runs
from core.errors import CoreError
from pages.shared import (
    errors_calibration,
    errors_choice,
    errors_classes,
    errors_dossier,
    errors_doubt,
    errors_issues,
    errors_map,
    errors_matrix,
    errors_novelty,
    errors_position,
    errors_series,
    errors_stress,
    errors_take_away,
    state,
    widgets,
)

#: A view may return the keys of the slices that it lists, in order: the dossier's arrows lead through them.
VIEWS = {
    "Matrix": errors_matrix.draw,
    "Classes": errors_classes.draw,
    "Uncertainty": errors_doubt.draw,
    "Calibration": errors_calibration.draw,
    "Strange slices": errors_novelty.draw,
    "Series": errors_series.draw,
    "Position": errors_position.draw,
    "Map": errors_map.draw,
    "Label issues": errors_issues.draw,
    "Stress": errors_stress.draw,
}

widgets.header("Errors", "Where a model is wrong, whether it knew, and the very slices it got wrong.")


def page(run: runs.Run) -> None:
    """Draw the chosen view of one run, and the dossier of the chosen slice over it."""
    view = st.segmented_control(
        "View", list(VIEWS), default=next(iter(VIEWS)), key=state.VIEW, bind="query-params",
        label_visibility="collapsed", required=True,
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = errors_choice.choose(run)
        errors_take_away.draw(run)
    listed = VIEWS[view](chosen)
    errors_dossier.open_chosen(chosen, listed)


try:
    run_id = st.session_state[state.RUN]
    if run_id is None:
        widgets.empty("No finished run yet", "Start one on **Train**; when it is done it can be chosen in the sidebar.")
    else:
        page(runs.read_run(run_id))
except CoreError as error:
    st.error(str(error))
