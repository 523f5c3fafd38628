"""What runs and what waits, live; and one run with all that can be done with it."""

import streamlit as st

from core import jobs, runs
from core.cohorts.pace import spelled
from core.comparing import run_notes
from core.errors import CoreError
from core.queueing import device_load, queue_plan
from core.queueing.queue_plan import Place
from pages.shared import cached, run_actions, state, train_epochs, widgets

#: Seconds between two looks at what runs, and at what waits: there less happens, and there is more to draw.
_RUNNING_S, _WAITING_S = 2.0, 5.0


def draw() -> None:
    """Draw the queue, and below it the run that was followed, when it has ended.

    With nothing to follow no timer runs: an open page then costs nothing.
    """
    # Whoever looks replaces a dispatcher that was killed.
    jobs.ensure_dispatcher()
    places = queue_plan.plan()
    if places:
        st.caption("One training at a time on each device, in this order. They go on when this tab is closed.")
        ids = {place.run.id for place in places}
        _live(ids)
        if any(place.position for place in places):
            _waiting(ids)
    else:
        widgets.empty("Nothing is queued", "Start a run under **New run**; it goes on when this tab is closed.")
        st.button("Look again", icon=":material/refresh:", help="What others start shows at the next look.")
    _draw_followed({place.run.id for place in places})


def _draw_followed(active: set[str]) -> None:
    followed = state.get(state.FOLLOWED)
    if not followed or followed in active:
        return
    # A link may name a run that is in the trash by now.
    run = next((run for run in runs.list_runs() if run.id == followed), None)
    if run:
        draw_run(run)


@st.fragment(run_every=_RUNNING_S)
def _live(drawn: set[str]) -> None:
    """Redraw what runs; when something has ended or none waits any more, the page is drawn anew."""
    places = _looked(drawn)
    for place in places:
        if not place.position:
            _draw_running(place)


@st.fragment(run_every=_WAITING_S)
def _waiting(drawn: set[str]) -> None:
    """Redraw what waits."""
    waiting = [place for place in _looked(drawn) if place.position]
    if waiting:
        st.markdown(f"#### Waiting ({len(waiting)})")
    for place in waiting:
        _draw_waiting(place)


def _looked(drawn: set[str]) -> list[Place]:
    """Look at the queue; draws the page anew, with or without its timers, when other runs are active than before."""
    try:
        places = queue_plan.plan()
        if {place.run.id for place in places} != drawn:
            # Before anything is drawn: a button that is about to be drawn anew would swallow the click.
            st.rerun()
        jobs.ensure_dispatcher()
    except CoreError as error:
        st.error(str(error))
        return []
    return places


def _draw_running(place: Place) -> None:
    run, status = place.run, place.status
    with st.container(border=True):
        try:
            _head(run, status)
            st.progress(min(1.0, float(status["progress"])), text=status["message"] or "Starting")
            figure, done = cached.learning_curve(run)
            st.html(_facts(place, done))
            if figure:
                st.plotly_chart(figure, width="stretch", key=f"curve-{run.id}")
            _log(run)
        except CoreError as error:
            st.error(str(error))


def _facts(place: Place, epochs_done: int) -> str:
    devices = tuple(place.status.get("devices", ()))
    shown = {
        "Epochs left": str(queue_plan.epochs_left(place.run, epochs_done)),
        "Time left": "not known yet" if place.left_s is None else f"about {spelled(place.left_s)}",
        "Device": ", ".join(devices) or "–",
        "This machine": device_load.read_load().words(devices),
    }
    rows = (f"<div><dt>{name}</dt><dd>{widgets.escape(value)}</dd></div>" for name, value in shown.items())
    return f"<dl class='row'>{''.join(rows)}</dl>"


def _log(run: runs.Run) -> None:
    box = st.expander("Log", icon=":material/terminal:", key=f"log-{run.id}", on_change="rerun")
    if box.open:
        box.code(run.log_tail(20) or "Nothing was printed yet.", language=None, wrap_lines=True)


def _head(run: runs.Run, status: dict) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html(run_actions.title(run, status), width="stretch")
        run_actions.cancel_button(run, status)


def _draw_waiting(place: Place) -> None:
    run = place.run
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        start = "start not known yet" if place.starts_in_s is None else f"starts in about {spelled(place.starts_in_s)}"
        takes = "" if place.left_s is None else f", takes about {spelled(place.left_s)}"
        try:
            followed = run.id == state.get(state.FOLLOWED)
            mine = widgets.chip("followed", "info", "You started or opened it last") if followed else ""
            st.html(
                f"<div class='turn'><b>{place.position}</b><div>{run_actions.title(run, place.status)}</div>"
                f"<span>{mine} {start}{takes}</span></div>",
                width="stretch",
            )
            run_actions.cancel_button(run, place.status)
        except CoreError as error:
            st.error(str(error))


def draw_run(run: runs.Run) -> None:
    """Draw a run: state, notes, curves, and what can be done with it.

    Raises
    ------
    CoreError
        When it cannot be read, or what was asked for cannot be done.
    """
    status = run.status
    with st.container(border=True):
        st.html(run_actions.title(run, status))
        note = run_notes.read(run).note
        if note:
            st.html(f"<div class='note'>{widgets.escape(note)}</div>")
        if status["state"] in runs.ACTIVE:
            st.progress(min(1.0, float(status["progress"])), text=status["message"])
        elif status["message"]:
            st.caption(status["message"])
        run_actions.draw(run, status)
        figure, _ = cached.learning_curve(run)
        if figure:
            st.plotly_chart(figure, width="stretch", key=f"curve-{run.id}")
        train_epochs.draw(run)
        _log(run)
