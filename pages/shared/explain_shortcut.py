"""A demonstration: a model that reads a burned-in letter, perfect and worthless."""

import streamlit as st

from core import runs
from core.errors import CoreError
from core.explanations import shortcut
from core.explanations import shortcut_figures as drawn
from pages.shared import cached, explain_badge, side_job, state, widgets


def draw(run: runs.Run) -> None:
    """Draw the demonstration in five steps, or how to start it; it brings models of its own, whatever `run` is."""
    st.markdown("#### Always right, and worthless")
    st.caption(
        "A model learns from slices with a letter in the corner, a different one for each sequence, as some scanners "
        "and screens print them. It comes out perfect. Should anybody use it?"
    )
    status = shortcut.status()
    if status["state"] == "running":
        side_job.follow(shortcut.status, shortcut.cancel)
        return
    if status["state"] in ("failed", "interrupted", "cancelled"):
        st.warning(f"{status['message'].rstrip('.')}. What was done by then is kept.", icon=":material/error:")
    found = cached.shortcut_result()[0]
    if found is None:
        widgets.empty(
            "Not made yet", "It burns letters into phantom slices, trains two small models through the queue, and "
            "asks both about slices with letters, without, and with swapped ones.", ":material/spellcheck:",
        )  # fmt: skip
        _start()
        return
    _score(found)
    _letters(found)
    _maps(found)
    _badges(found)
    _lesson(found)
    with st.expander("Make it anew", icon=":material/replay:"):
        st.caption("Trains only what is no longer there: put the two runs into the trash to have them trained again.")
        _start()


def _score(found: shortcut.Result) -> None:
    st.markdown("##### 1 · A perfect score")
    number, words = st.columns([1, 3], vertical_alignment="center")
    number.metric("Right on test slices", f"{found.accuracy['shortcut']['letters']:.0%}")
    words.markdown(
        f"{found.slices} slices of {found.patients} patients whom it has never seen, split by patient, nothing tuned "
        "on them. Every check of the numbers is passed. **Would you put it to work?**"
    )
    widgets.chart(cached.shortcut_figure(drawn.slices_with_letters), "shortcut-slices", "shortcut-slices")


def _letters(found: shortcut.Result) -> None:
    st.markdown("##### 2 · The letter goes")
    widgets.chart(cached.shortcut_figure(drawn.accuracy_bars), "shortcut-bars", "shortcut-accuracy")
    st.markdown(drawn.what_letters_do(found))


def _maps(found: shortcut.Result) -> None:
    st.markdown("##### 3 · Where it looked")
    st.caption("Grad-CAM for each model's own answer, on slices with letters; the last column is the mean of all.")
    widgets.chart(cached.shortcut_figure(drawn.where_they_looked), "shortcut-maps", "shortcut-maps")
    st.markdown(drawn.where_heat_lies(found))


def _badges(found: shortcut.Result) -> None:
    st.markdown("##### 4 · What the trust badge says")
    badges = {training: found.badges(training) for training in drawn.MODELS}
    if not all(badges.values()):
        st.caption("This demonstration was made before maps were checked. Make it anew to have its maps checked, too.")
        return
    st.caption("The badge stands beside every map under Slice; here of the same slices with letters for both models.")
    for column, (training, its) in zip(st.columns(2), badges.items(), strict=True):
        with column:
            explain_badge.tally(drawn.MODELS[training], its)
    st.markdown(drawn.what_badges_say(badges))


def _lesson(found: shortcut.Result) -> None:
    st.markdown("##### 5 · What would have told us")
    st.markdown(
        "- **The score did not.** Test patients carried the letters, too: a test from the same source shares its "
        "shortcuts.\n"
        "- **A map of many slices did**: heat in a corner, at the same place in every slice, where no patient is.\n"
        "- **Slices from elsewhere did**: without the letters it guesses. Real shortcuts are quieter: a scanner's "
        "border, a field of view, a table.\n"
        "- **What to do**: crop or black out what is printed, look at mean maps before a score is believed, and test "
        "on another hospital's slices."
    )
    there = {name for name, run_id in found.runs.items() if _is_there(run_id)}
    if not there:
        st.caption("The two runs are in the trash or deleted. Make the demonstration anew to look at them.")
        return
    with st.container(horizontal=True):
        for training in sorted(there, reverse=True):
            chosen = {state.RUN: found.runs[training], state.COHORT: shortcut.cohort_of("letters")}
            st.button(
                f"Maps of many slices: {drawn.MODELS[training].lower()}", key=f"shortcut-open-{training}",
                icon=":material/stacks:", on_click=state.choose, kwargs={**chosen, state.VIEW: "Cohort"},
            )  # fmt: skip
        if "shortcut" in there:
            st.button(
                "One slice with a letter", icon=":material/lightbulb:", on_click=_open_slice,
                args=(found.runs["shortcut"], found.examples[0]["key"]),
            )  # fmt: skip


def _open_slice(run_id: str, key: str) -> None:
    state.choose(**{state.RUN: run_id, state.COHORT: shortcut.cohort_of("letters"), state.VIEW: "Slice"})
    state.put(**{state.SLICE: key})


def _is_there(run_id: str) -> bool:
    try:
        return runs.read_run(run_id).status["state"] == "done"
    except CoreError:
        return False


def _start() -> None:
    side_job.starter(st, "Run the demonstration", shortcut.start)
    st.caption(
        "It takes about a minute on two free cores, longer while others train; it goes on when this tab is "
        "closed, and opens at once the next time."
    )
