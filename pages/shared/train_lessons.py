"""Lessons: what a split by slice pretends, and whether more patients are worth asking for; started, followed, read."""

from functools import partial

import pandas as pd
import streamlit as st

from core import cohort, jobs, runs
from core.config import RunConfig
from core.errors import CoreError
from core.learning import lesson_report, lessons
from core.learning.lesson_results import CurveHead, NaiveResult
from core.learning.lessons import KINDS, Lesson, Member
from pages.shared import cached, state, tasks, train_look, train_views, widgets

#: Session key: a lesson was started, and the page opens it.
STARTED = "lesson_started"
#: Seconds between two looks at runs that have not ended.
_LOOK_S = 2.0
_MEANINGS = {
    "naive": "Trains it twice, dealt by patient and dealt by slice, and asks both about people neither has seen.",
    "curve": "Trains it on 10, 25, 50 and 100 % of the training patients: is more data worth asking for?",
}
_STARTS = {"naive": lessons.start_naive, "curve": lessons.start_curve}
_ICONS = {"naive": ":material/balance:", "curve": ":material/show_chart:"}


def offer(made: cohort.Cohort, config: RunConfig, allowed: bool, runner: str) -> None:
    """Draw the buttons that start a lesson with the form's model; raises `CoreError` when that cannot work."""
    st.caption("Or learn something from several runs of this model:")
    for column, (kind, name) in zip(st.columns(len(KINDS)), KINDS.items(), strict=True):
        if column.button(
            name, key=f"lesson-{kind}", icon=_ICONS[kind], help=_MEANINGS[kind], width="stretch", disabled=not allowed
        ):
            begun = _STARTS[kind](config, runner=runner, **train_look.answers(made, config))
            st.session_state[STARTED] = True
            state.put(**{state.LESSON: begun.id})
            st.rerun()


def draw() -> None:
    """Draw the list of lessons, and the one that the address names or that is picked."""
    found = cached.list_lessons()
    if not found:
        widgets.empty(
            "No lesson yet",
            "Under **New run**, *Honest versus naive* shows what a split by slice pretends, and *Learning curve* "
            "whether more patients are worth asking for.",
            ":material/school:",
        )
        st.button(
            "Open the form", icon=":material/arrow_back:", on_click=state.choose, kwargs={state.VIEW: train_views.NEW}
        )
        return
    st.caption("Runs that were started together for what they show side by side. They go on when this tab is closed.")
    lesson = _pick(found)
    if lesson is not None:
        _draw_lesson(lesson)


# The list ---------------------------------------------------------------------------------------------------


def _pick(found: list[Lesson]) -> Lesson | None:
    """Draw the list; return the picked lesson, which the address keeps."""
    ids = [lesson.id for lesson in found]
    asked = state.get(state.LESSON)
    if asked and asked not in ids:
        st.warning(f"There is no lesson {asked[:80]!r} any more.")
    states = {run.id: status["state"] for run, status in runs.snapshot()}
    table = pd.DataFrame({
        "Lesson": [KINDS[lesson.kind] for lesson in found],
        "Model": [lesson.config.name for lesson in found],
        "Cohort": [lesson.config.cohort for lesson in found],
        "State": [_in_words([states.get(run_id, "gone") for run_id in lesson.runs]) for lesson in found],
        "Started (UTC)": pd.to_datetime([lesson.created for lesson in found], utc=True),
    })  # fmt: skip
    answer = st.dataframe(
        table, hide_index=True, key=f"lessons-{len(ids)}-{ids[0]}", on_select="rerun", selection_mode="single-row",
        selection_default={"selection": {"rows": [ids.index(asked)] if asked in ids else []}},
        column_config={"Started (UTC)": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", timezone="UTC")},
        height=min(38 + 35 * len(ids), 213),
    )  # fmt: skip
    rows = answer["selection"]["rows"]
    state.put(**{state.LESSON: ids[rows[0]] if rows else None})
    if not rows:
        st.caption("Pick a lesson to open it.")
    return found[rows[0]] if rows else None


def _in_words(states: list[str]) -> str:
    """Say how a lesson's runs are.

    Examples
    --------
    >>> _in_words(["done", "done"]), _in_words(["done", "running"]), _in_words(["done", "failed"])
    ('done', 'running, 1 of 2 done', 'ended, 1 of 2 done')
    """
    done = states.count("done")
    if done == len(states):
        return "done"
    going = next((one for one in ("running", "queued") if one in states), "ended")
    return f"{going}, {done} of {len(states)} done"


# One lesson -------------------------------------------------------------------------------------------------


def _draw_lesson(lesson: Lesson) -> None:
    members = lessons.members(lesson)
    config = lesson.config
    st.markdown(f"#### {_ICONS[lesson.kind]} {KINDS[lesson.kind]}")
    what = " · ".join((config.name, config.kind, " and ".join(config.heads), config.backbone, config.cohort))
    st.html(f"<div class='small'>{widgets.escape(what)}</div>")
    st.caption(_MEANINGS[lesson.kind])
    if any(member.state in runs.ACTIVE for member in members):
        # Whoever looks replaces a dispatcher that was killed.
        jobs.ensure_dispatcher()
        _live(lesson, tuple(member.state for member in members))
    else:
        _ended(members)
    done = tuple(member.id for member in members if member.state == "done")
    try:
        result, figure = cached.lesson_result(lesson, done)
    except CoreError as error:
        st.error(str(error))
    else:
        if figure is not None:
            (_draw_naive if lesson.kind == "naive" else _draw_curve)(result, figure)
    for note in lesson.notes:
        st.caption(note)
    _actions(lesson, members, done)


@st.fragment(run_every=_LOOK_S)
def _live(lesson: Lesson, drawn: tuple[str, ...]) -> None:
    """Redraw how the runs go; when one has begun or ended, the page is drawn anew."""
    members = lessons.members(lesson)
    if tuple(member.state for member in members) != drawn:
        st.rerun()
    with st.container(border=True):
        for member in members:
            share = 1.0 if member.state == "done" else min(1.0, float(member.status["progress"]))
            name = member.run.config.name if member.run else member.id
            st.progress(share, text=f"**{_plain(name)}** · {member.state}: {_plain(member.status['message'])}")
        asked = all(member.status.get("cancelling") for member in members if member.state == "running")
        going = any(member.state == "running" for member in members)
        if st.button("Cancel all", key=f"cancel-{lesson.id}", icon=":material/stop_circle:", disabled=going and asked):
            tasks.start(("cancel", lesson.id), lambda report: lessons.cancel(lesson))


def _plain(text: str) -> str:
    """Keep Markdown from reading what a person wrote."""
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]()#+-.!|:$<>~" else letter for letter in text)


def _ended(members: list[Member]) -> None:
    """Say which runs came to nothing, and why."""
    for member in members:
        if member.state != "done":
            st.warning(
                f"{_plain(member.id)} is {member.state}: {_plain(member.status['message'])}", icon=":material/error:"
            )


def _draw_naive(result: NaiveResult, figure) -> None:
    st.plotly_chart(figure, width="stretch", key="naive")
    with st.container(border=True):
        for head in result.heads:
            if len(result.heads) > 1:
                st.markdown(f"**{head.head}**")
            first, *others = lesson_report.naive_sentences(head)
            st.markdown(f"**{first}**")
            for sentence in others:
                st.markdown(sentence)
        st.markdown(lesson_report.why(result))
    if weak := lesson_report.weakness(result.heads[0]):
        st.warning(weak, icon=":material/groups:")
    for head in result.heads:
        st.dataframe(lesson_report.naive_table(head), key=f"naive-{head.head}")


def _draw_curve(heads: tuple[CurveHead, ...], figure) -> None:
    st.plotly_chart(figure, width="stretch", key="curve")
    with st.container(border=True):
        for head in heads:
            named = f"{head.head}: " if len(heads) > 1 else ""
            st.markdown(f"**{named}{lesson_report.curve_sentence(head)}**")
            if law := lesson_report.law_sentence(head):
                st.markdown(law)
        st.caption(lesson_report.ONE_DEAL)
    if weak := lesson_report.weakness(heads[0]):
        st.warning(weak, icon=":material/groups:")
    for head in heads:
        st.dataframe(lesson_report.curve_table(head), key=f"curve-{head.head}")


def _actions(lesson: Lesson, members: list[Member], done: tuple[str, ...]) -> None:
    """Draw the ways to the runs, and to the end of the lesson."""
    there = [member.id for member in members if member.run]

    def open_runs(view: str, ids: list[str]) -> None:
        state.put(**{state.RUNS: ",".join(ids), state.FOLLOWED: None})
        state.choose(**{state.VIEW: view})

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Its runs", icon=":material/list:", on_click=partial(open_runs, train_views.RUNS, there), disabled=not there
        )
        if lesson.kind == "curve":
            st.button(
                "Compare them", icon=":material/compare_arrows:", disabled=len(done) < 2,
                on_click=partial(open_runs, train_views.COMPARE, list(done)),
            )  # fmt: skip
        ended = all(member.state not in runs.ACTIVE for member in members)
        with st.popover("Delete", icon=":material/delete:", disabled=not ended):
            st.markdown("The lesson goes; its runs stay under **Runs**.")
            if st.button("Delete the lesson", key=f"delete-{lesson.id}", type="primary"):
                lessons.delete(lesson)
                state.put(**{state.LESSON: None})
                st.rerun()
