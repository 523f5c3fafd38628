"""What is queued or running, live."""

import streamlit as st

from core import figures, jobs, runs
from pages.shared import state, train_epochs, widgets

TONES = {
    "done": "good",
    "failed": "bad",
    "interrupted": "bad",
    "cancelled": "warn",
    "running": "info",
    "queued": "plain",
}


def draw() -> None:
    """Draw the queue."""
    active = [run for run in runs.list_runs() if run.status["state"] in runs.ACTIVE]
    if active:
        _live([run.id for run in active])
    else:
        widgets.empty("Nothing is queued", "Start a run under **New run**; it goes on when this tab is closed.")


@st.fragment(run_every=1.5)
def _live(run_ids: list[str]) -> None:
    """Redraw what is queued or running; when the last one ends, the page is drawn anew without this timer."""
    found = [runs.read_run(run_id) for run_id in run_ids]
    if any(run.status["state"] not in runs.ACTIVE for run in found):
        # Before it is drawn: a button that is about to be drawn anew would swallow the click.
        st.rerun()
    for run in found:
        draw_run(run)


def draw_run(run: runs.Run) -> None:
    """Draw a run: state, progress, curves, and what can be done with it."""
    status = run.status
    name = run.status["state"]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.html(
                f"<b style='font-size:1.05rem'>{widgets.escape(run.config.name)}</b> &nbsp;"
                f"{widgets.chip(name, TONES[name])} <span style='opacity:.65'>&nbsp; {widgets.escape(run.id)} · "
                f"{widgets.escape(run.config.kind)} · {widgets.escape(run.config.cohort)}</span>"
            )
            if name in runs.ACTIVE and st.button("Cancel", key=f"cancel-{run.id}", icon=":material/stop_circle:"):
                jobs.cancel(run.id)
            if name == "done":
                state.go_button(
                    "Open in Errors", "pages/errors.py", key=f"open-{run.id}", icon=":material/troubleshoot:",
                    sidebar={state.RUN: run.id},
                )  # fmt: skip
        if name in runs.ACTIVE:
            st.progress(float(status.get("progress") or 0.0), text=status.get("message") or "Waiting for its turn")
        elif status.get("message"):
            st.caption(status["message"])
        metrics = run.metrics()
        if len(metrics):
            st.plotly_chart(figures.learning_curve(metrics), width="stretch", key=f"curve-{run.id}")
        train_epochs.draw(run)
