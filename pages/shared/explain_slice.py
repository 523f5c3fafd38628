"""A slice within its series: image, overlay and map, the maps of the whole stack, and what the model says."""

import secrets
from collections.abc import Collection, Sequence

import streamlit as st

from core import runs, studies
from core.cohorts.pace import spelled
from core.errors import CoreError
from core.explanations import map_store
from core.explanations.desk import Answered, Ask, Failed, Result
from core.explanations.map_desk import answers_desk, badges_desk, maps_desk
from pages.shared import cached, explain_badge, explain_controls, explain_exports, explain_grid, state, widgets
from pages.shared.components.slice_viewer import slice_viewer
from pages.shared.components.thumbnail_grid import Tile, thumbnail_grid
from pages.shared.explain_controls import Choice
from pages.shared.explain_grid import Sheet
from pages.shared.intake import follow, uploader
from pages.shared.series import Series, in_cohort, in_study
from pages.shared.subject import Subject

VIEWER = "explain-viewer"
#: How often the page looks what has become ready, in seconds; only while something is waited for.
_TICK_S = 0.5


def chosen() -> Series | None:
    """Return the series of the slice that the address names, or None."""
    if state.get(state.SLICE):
        return in_cohort(st.session_state[state.COHORT], state.get(state.SLICE))
    if state.get(state.STUDY):
        study = studies.open_study(state.get(state.STUDY))
        if study.status["state"] == "running":
            follow(study)
            return None
        return in_study(study, state.get_int(state.ITEM))
    return None


def subject() -> Subject | None:
    """Return the slice that the address names, pixels read, or None."""
    series = chosen()
    return series.subject(series.places[series.at]) if series else None


def forget() -> None:
    """Let go of the slice."""
    state.put(**{state.SLICE: None, state.STUDY: None, state.ITEM: None})


def choose_subject(run: runs.Run) -> None:
    """Offer slices that the run was tested on, worst mistakes first, and an upload."""
    st.markdown("#### A slice of this run")
    st.caption("Test slices, wrong answers first. Any slice on Study, Browse or Errors also leads here.")
    rows = cached.predictions(run)
    rows = rows[rows["split"] == "test"] if (rows["split"] == "test").any() else rows
    rows = rows[rows["y_true"].notna()]
    wrong = rows["y_true"] != rows["y_pred"]
    rows = rows.assign(wrong=wrong).sort_values(["wrong", "p"], ascending=False).drop_duplicates("key").head(24)
    tiles = [
        Tile(key=row.key, title=f"{row.y_pred} {100 * row.p:.0f} %", note=row.PatientID,
             badge=f"truth: {row.y_true}" if row.wrong else "", tone="bad")
        for row in rows.itertuples()
    ]  # fmt: skip
    of = rows.set_index("key")

    def open_slice(key: str) -> None:
        # The head that was wrong is the one to look at.
        state.choose(**{state.COHORT: of.at[key, "cohort"], state.X_HEAD: of.at[key, "head"]})
        state.put(**{state.SLICE: key})

    thumbnail_grid(tiles, cached.run_sheet(rows), selected=None, on_click=open_slice, key="suggestions", tile_px=140)
    st.markdown("#### Or a file of yours")
    uploader("explain")


def client() -> str:
    """Return the name under which this session hands in what it waits for."""
    return st.session_state.setdefault("explain-client", secrets.token_hex(8))


def draw(run: runs.Run) -> None:
    """Draw the slice of the address, or a choice of slices."""
    # What was drawn here before goes at once, not when the model has answered.
    slot = st.empty()
    series = chosen()
    if series is None:
        if not state.get(state.STUDY):
            with slot.container():
                choose_subject(run)
        return
    slot.empty()
    stamp = map_store.stamp(run.bundle)
    choice = explain_controls.draw(run, stamp)
    sheet = explain_grid.sheet_of(run, series, choice, stamp)
    ask(sheet, series)
    ticking, layered = pending(sheet), maps_desk().found(sheet.layers) is not None
    st.fragment(figure, run_every=_TICK_S if ticking else None)(run, choice, stamp, ticking, layered)


def ask(sheet: Sheet, series: Series) -> set[Ask]:
    """Hand in what the page waits for, the slice that is looked at first; returns what was wanted of the maps."""
    stopped = st.session_state.get("explain-stopped") == sheet.id
    everything = st.session_state.get("explain-all") == sheet.id
    wanted = [] if stopped else sheet.wanted(series.at, everything)
    maps_desk().want(client(), wanted)
    answers_desk().want(client(), [sheet.answer])
    return set(wanted)


def pending(sheet: Sheet) -> bool:
    """Tell whether something is waited for, so that the page must look again."""
    return bool(maps_desk().waiting(client()).n or answers_desk().waiting(client()).n)


def figure(run: runs.Run, choice: Choice, stamp: str, ticking: bool, layered: bool) -> None:
    """Draw the viewer, how far the maps are, what the model says, and what can be taken away.

    `ticking` says whether this part of the page is drawn anew by itself, `layered` whether the controls have layers to
    choose from; where one of them has changed, the whole page is drawn anew.
    """
    series = chosen()
    if series is None:
        st.rerun()
    sheet = explain_grid.sheet_of(run, series, choice, stamp)
    wanted = ask(sheet, series)
    at = series.at
    with st.container(horizontal=True, vertical_alignment="center", height=44, border=False):
        st.markdown(f"**{series.title(at)}**", width="content")
        if st.button("Another slice", icon=":material/arrow_back:", type="tertiary"):
            forget()
            st.rerun()
        progress(sheet)
    failure(sheet, at)
    viewer(series, sheet, wanted)
    says(run, series, sheet, choice, at, ticking)
    if ticking != pending(sheet) or layered != (maps_desk().found(sheet.layers) is not None):
        st.rerun()


def progress(sheet: Sheet) -> None:
    """Say how far the maps are, and let them be stopped, or gone on with."""
    desk, total = maps_desk(), len(sheet.asks)
    waiting, ready = desk.waiting(client()), sum(desk.found(one) is not None for one in sheet.asks)
    if waiting.n and ready < total:
        left = f", about {spelled(waiting.seconds)} left" if waiting.seconds else ""
        first = "" if ready or waiting.seconds else "; starting the model takes some seconds"
        st.progress(ready / total, text=f"{ready} of {total} {sheet.unit}{left}{first}")
        if st.button("Cancel", icon=":material/close:", type="tertiary", key="explain-cancel"):
            desk.cancel(client())
            st.session_state["explain-stopped"] = sheet.id
            st.rerun()
    elif ready == total:
        st.caption(f":material/check: all {total} {sheet.unit}" if total > 1 else "", width="content")
    else:
        stopped = st.session_state.get("explain-stopped") == sheet.id
        why = "Stopped" if stopped else "These are slow, and made when asked for"
        st.caption(f"{why}: {ready} of {total} {sheet.unit}", width="content")
        if st.button(f"Make all {total}", icon=":material/play_arrow:", type="tertiary", key="explain-go"):
            st.session_state["explain-stopped"], st.session_state["explain-all"] = None, sheet.id
            st.rerun()


def failure(sheet: Sheet, at: int) -> None:
    """Say why the slice that is looked at has no map, and offer another try."""
    desk = maps_desk()
    failed = [found for one in sheet.of_slice(at) if isinstance(found := desk.found(one), Failed)]
    if failed:
        st.warning(failed[0].why)
        if st.button("Try again", icon=":material/refresh:", key="explain-again"):
            desk.forget(sheet.asks)
            st.rerun()


def viewer(series: Series, sheet: Sheet, wanted: Collection[Ask]) -> None:
    """Draw the stack with its maps; send the pixels and maps that the browser has asked for."""
    asked, asked_heats, sent = (f"{VIEWER}-{what}" for what in ("piece", "heats", "sent"))
    fresh = VIEWER not in st.session_state or st.session_state.get(f"{VIEWER}-of") != series.id
    st.session_state[f"{VIEWER}-of"] = series.id
    piece = st.session_state.pop(asked, None)
    if piece is None and fresh:
        piece = series.stack.id, series.at // series.stack.per_piece
    pieces = [series.piece(piece[1])] if piece and piece[0] == series.stack.id else []
    # The maps of the slice that is looked at are sent without being asked for, once.
    known: set = st.session_state.setdefault(sent, set()) if not fresh else set()
    new = [one for one in sheet.ready_of(series.at) if one not in known]
    st.session_state[sent] = known | set(new)
    heats = sheet.heats(dict.fromkeys([*new, *st.session_state.pop(asked_heats, ())]))

    def step(index: int) -> None:
        state.put(**{series.key: series.places[index]})

    def want(stack_id: str, number: int) -> None:
        st.session_state[asked] = stack_id, number

    def want_heats(wants: Sequence[tuple[str, int]]) -> None:
        st.session_state[asked_heats] = wants

    slice_viewer(
        [series.stack], pieces, key=VIEWER, index=series.at, heat_sets=sheet.sets(wanted), heats=heats,
        panels=sheet.panels, per_row=sheet.per_row, height_px=sheet.height_px, on_step=step, on_want=want,
        on_want_heats=want_heats,
    )  # fmt: skip


def says(run: runs.Run, series: Series, sheet: Sheet, choice: Choice, at: int, ticking: bool) -> None:
    """Draw whether the map may be believed, what the model says of the slice, what the map is, and the downloads."""
    # Whatever comes later stands in a column of its own, so that nothing beside it moves.
    left, right = st.columns([1.3, 1], gap="large")
    one = choice.show == "One map"
    if not (one and sheet.made(0, at)):
        # The badge of what was looked at before would hold up the map that is waited for.
        badges_desk().cancel(client())
    if one:
        with left:
            believed(sheet, at)
    answer = answers_desk().found(sheet.answer)
    with right if one else left:
        answered(run, series, choice, at, answer)
    left.caption(series.order)
    with right:
        st.markdown(
            explain_controls.says(choice.question)
            if choice.show != "Methods"
            else "Each method has an idea of evidence of its own; choose one and **One map** for more about it."
        )
        if not one:
            st.caption("Under **One map** it is checked whether a map may be believed.")
        try:
            explain_exports.draw(run, series, sheet, choice, at, answer, ticking)
        except CoreError as error:
            st.warning(str(error))


def believed(sheet: Sheet, at: int) -> None:
    """Draw the badge of the map that is looked at, or its place."""
    (ask,) = sheet.of_slice(at) or [None]
    if sheet.made(0, at):
        explain_badge.draw(client(), ask)
    elif ask and maps_desk().found(ask) is None:
        explain_badge.waiting("Checked as soon as the map is there")


def answered(run: runs.Run, series: Series, choice: Choice, at: int, answer: Result | None) -> None:
    """Draw what the model says of the slice, beside what it is labelled as."""
    head = choice.question.head
    classes = run.card()["classes"][head]
    if isinstance(answer, Answered):
        proba, label = answer.heads[head], series.truth(head)[at]
        known = f"the label is {widgets.chip(label, 'plain')}" if label else "no label is known"
        st.html(
            f"<b>{head.capitalize()}</b>: the model says {widgets.chip(classes[int(proba.argmax())], 'info')} · {known}"
            + widgets.bars(proba, classes)
        )
    elif isinstance(answer, Failed):
        st.warning(answer.why)
    else:
        st.caption("Asking the model …")
