"""What can be done with a run, as buttons: open, resume, retry, duplicate, rename, trash and back."""

import streamlit as st

from core import jobs, runs
from core.comparing import run_notes
from core.errors import CoreError
from pages.shared import state, tasks, train_form, train_views, widgets

TONES = {
    "done": "good",
    "failed": "bad",
    "interrupted": "bad",
    "cancelled": "warn",
    "running": "info",
    "queued": "plain",
}


def title(run: runs.Run, status: dict) -> str:
    """Return HTML of a run's name, state, tags and what it is."""
    notes, config = run_notes.read(run), run.config
    tags = " ".join(widgets.chip(tag, "odd", "Tag") for tag in notes.tags)
    what = " · ".join((run.id, config.kind, " and ".join(config.heads), config.backbone, config.cohort))
    return (
        f"<b style='font-size:1.1rem'>{widgets.escape(notes.name or config.name)}</b> &nbsp;"
        f"{widgets.chip(status['state'], TONES[status['state']])} {tags}"
        f"<div class='small'>{widgets.escape(what)}</div>"
    )


def cancel_button(run: runs.Run, status: dict) -> None:
    """Draw the button that cancels an active run; the process has its seconds to end, and the page does not wait."""
    asked = bool(status.get("cancelling")) and status["state"] == "running"
    label = "Cancelling" if asked else "Cancel"
    if not st.button(label, key=f"cancel-{run.id}", icon=":material/stop_circle:", disabled=asked):
        return
    if status["state"] == "queued":
        jobs.cancel(run.id)
        st.rerun()
    tasks.start(("cancel", run.id), lambda report: jobs.cancel(run.id))


def draw(run: runs.Run, status: dict) -> None:
    """Draw a run's buttons; raises `CoreError` when what was asked for cannot be done."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if status["state"] in runs.ACTIVE:
            cancel_button(run, status)
            return
        if status["state"] == "done":
            for label, page, icon in (("Errors", "errors", "troubleshoot"), ("Explain", "explain", "lightbulb")):
                state.go_button(
                    f"Open in {label}", f"pages/{page}.py", key=f"{page}-{run.id}", icon=f":material/{icon}:",
                    sidebar={state.RUN: run.id},
                )  # fmt: skip
        elif run.id != runs.SHIPPED:
            _again(run, "Resume", ":material/resume:", "Go on from the last epoch that was kept.", resume=True)
            _again(run, "Retry", ":material/replay:", "Train from the beginning, in the same folder.", resume=False)
        _duplicate(run)
        if st.button("Name and notes", key=f"edit-{run.id}", icon=":material/edit:"):
            _edit(run, run_notes.read(run))
        if run.id != runs.SHIPPED and st.button("Trash", key=f"trash-{run.id}", icon=":material/delete:"):
            run_notes.trash(run.id)
            st.toast(f"{run.id} is in the trash; below the list of runs it can be put back.")
            st.rerun()


def _again(run: runs.Run, label: str, icon: str, meaning: str, resume: bool) -> None:
    if st.button(label, key=f"{label.lower()}-{run.id}", icon=icon, help=meaning):
        jobs.resubmit(run.id, resume=resume)
        # The page opens the queue before its widgets are drawn.
        st.session_state["started"] = run.id
        state.put(**{state.FOLLOWED: run.id})
        st.rerun()


def _duplicate(run: runs.Run) -> None:
    def open_form() -> None:
        train_form.prefill(run.config)
        state.choose(**{state.VIEW: train_views.NEW})

    st.button(
        "Duplicate", key=f"duplicate-{run.id}", icon=":material/content_copy:", on_click=open_form,
        help="Open the form of a new run with this one's choices, to change some.",
    )  # fmt: skip


@st.dialog("Name, tags and note", icon=":material/edit:")
def _edit(run: runs.Run, before: run_notes.Notes) -> None:
    """Ask for them."""
    shipped = run.id == runs.SHIPPED
    name = st.text_input("Name", before.name or run.config.name, max_chars=run_notes.LONGEST_NAME, disabled=shipped)
    tags = st.text_input("Tags", ", ".join(before.tags), placeholder="baseline, group 3", help="With commas between.")
    note = st.text_area(
        "Note", before.note, max_chars=run_notes.LONGEST_NOTE, placeholder="What you wanted to find out"
    )
    st.caption("Everybody who uses this server reads it: no names of patients.")
    if not st.button("Save", type="primary", key=f"save-{run.id}"):
        return
    try:
        save(run, before, name, tags, note)
    except CoreError as error:
        st.error(str(error))
    else:
        st.rerun()


def save(run: runs.Run, before: run_notes.Notes, name: str, tags: str, note: str) -> None:
    """Write what differs from what was shown; a field that somebody else changed meanwhile stays as they want it."""
    if name != (before.name or run.config.name):
        run_notes.rename(run, name)
    if tags != ", ".join(before.tags):
        run_notes.tag(run, tags.split(","))
    if note != before.note:
        run_notes.annotate(run, note)


def draw_trash() -> None:
    """Draw what is in the trash, if anything: back with it, or delete it for good."""
    trashed = run_notes.list_trash()
    if not trashed:
        return
    with st.expander(f"Trash ({len(trashed)})", icon=":material/delete:"):
        st.caption("Runs in the trash are whole, but no page lists them. What is deleted from here is gone.")
        for run in trashed[:50]:
            with st.container(horizontal=True, vertical_alignment="center"):
                since = run_notes.read(run).trashed[:16].replace("T", " ")
                st.markdown(f"`{run.id}` since {since} UTC", width="stretch")
                if st.button("Put back", key=f"restore-{run.id}", icon=":material/restore_from_trash:"):
                    run_notes.restore(run.id)
                    st.rerun()
                with st.popover("Delete", icon=":material/delete_forever:"):
                    st.markdown("This deletes the run with all its files.")
                    if st.button("Delete for good", key=f"delete-{run.id}", type="primary"):
                        run_notes.delete(run.id)
                        st.rerun()
        with st.popover("Empty the trash", icon=":material/delete_sweep:"):
            st.markdown(f"This deletes {len(trashed)} runs with all their files.")
            if st.button("Delete all of them for good", key="empty-trash", type="primary"):
                for run in trashed:
                    run_notes.delete(run.id)
                st.rerun()
