"""All runs that have ended, and the one that was asked for."""

import streamlit as st

from core import runs
from pages.shared import cached, state, widgets
from pages.shared.run_actions import draw_trash
from pages.shared.train_queue import draw_run


def draw() -> None:
    """Draw the table of ended runs and, below it, the chosen one."""
    rest = [run for run in runs.list_runs() if run.status["state"] not in runs.ACTIVE]
    if not rest:
        widgets.empty("No run has ended yet", "Start one under **New run**; **Queue** shows how it goes.")
        draw_trash()
        return
    ids = [run.id for run in rest]
    picked = st.dataframe(
        cached.run_table(rest), hide_index=True, key="runs", on_select="rerun", selection_mode="single-row",
        column_config={"Accuracy": st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1)},
    )  # fmt: skip
    rows = picked["selection"]["rows"]
    if rows:
        state.put(**{state.FOLLOWED: ids[rows[0]]})
    followed = state.get(state.FOLLOWED)
    draw_run(rest[ids.index(followed) if followed in ids else 0])
    draw_trash()
