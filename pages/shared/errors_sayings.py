"""What people say of a slice in its dossier: the right label, ambiguous, the model is wrong, a note; and undoing it."""

from functools import partial

import pandas as pd
import streamlit as st

from core import cohort
from core.analysis.judgements import append_judgement, columns_of, said_of
from core.errors import CoreError
from core.labelling.label_log import WORDS
from pages.shared import cached, label_people, widgets

_UNKNOWN = "I do not know which"
#: Key of the session: what went wrong in a callback.
_PROBLEM = "saying_problem"
#: Sayings that are shown of a slice, the newest.
_SHOWN = 4


def draw(made: cohort.Cohort, key: str, head: str, given: str | None, run: str) -> None:
    """Draw what stands of a slice, and the buttons.

    Parameters
    ----------
    made : Cohort
        With the labels as they are now.
    key : str
        Of the slice.
    head : str
    given : str or None
        Its label when the run was evaluated.
    run : str
        Id of the run.
    """
    row = made.table.loc[key]
    columns = columns_of(head)
    now = "-".join(widgets.show(row[column]) for column in columns)
    if now != widgets.show(None if pd.isna(given) else given):
        st.html(
            f"Its label is {widgets.chip(now, 'info')} now; the run was judged by "
            f"{widgets.escape(widgets.show(given))}."
        )
    if problem := st.session_state.pop(_PROBLEM, None):
        st.error(problem)
    who, what = st.columns([1, 1.6], gap="small")
    by = label_people.name_box(who)
    say = partial(append_judgement, made, key, head, by=by, run=run)
    what.text_input(
        "Note", key=f"note-{key}", max_chars=500, disabled=not by, on_change=keep_note, args=(say, f"note-{key}"),
        placeholder="Enter keeps it; name no patient" if by else "Give your name to say something",
    )  # fmt: skip
    with st.container(horizontal=True, gap="small"):
        with st.popover("Label is wrong", icon=":material/label_off:", disabled=not by):
            right_label(made, key, head, now, by, say)
        for verdict, words, icon in (("ambiguous", "Ambiguous", "help"), ("model_wrong", "Model is wrong", "robot_2")):
            st.button(
                words, key=f"say-{verdict}", icon=f":material/{icon}:", disabled=not by, on_click=do,
                args=(partial(say, verdict),),
            )  # fmt: skip
    for one in said_of(cached.labels_given(made.name), key, row["SeriesInstanceUID"])[:_SHOWN]:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            note = f" “{widgets.escape(one.note)}”" if one.note else ""
            st.html(
                f"{widgets.chip(one.words, 'warn')}{note} "
                f'<span class="small">{widgets.escape(one.by)}, {widgets.escape(one.at[:10])}</span>'
            )
            st.button(
                "Undo", key=f"undo-{one.id}", icon=":material/undo:", type="tertiary", disabled=not by, on_click=do,
                args=(partial(cohort.undo_label, made, one.id, by),),
            )  # fmt: skip


def keep_note(say, box: str) -> None:
    """Write a note down, and empty its box."""
    if st.session_state[box].strip():
        do(partial(say, "", note=st.session_state[box]), box)


def right_label(made: cohort.Cohort, key: str, head: str, now: str, by: str, say) -> None:
    """Offer the right label, which changes the cohort as an answer on Label does."""
    row = made.table.loc[key]
    chosen = {
        column: st.selectbox(
            f"Right {column}", [_UNKNOWN, *WORDS[column]], key=f"right-{column}",
            help="It becomes the slice's label, as an answer on the Label page would.",
        )
        for column in columns_of(head)
    }  # fmt: skip
    words = {column: word for column, word in chosen.items() if word not in (_UNKNOWN, row[column])}

    def keep() -> None:
        for column, word in words.items():
            cohort.append_label(made, key, column, None if pd.isna(row[column]) else row[column], word, by)
        if not words:
            say("label_wrong")

    st.button(
        f"Make it {', '.join(words.values())}" if words else f"Say that {now} is wrong", key="right-keep",
        type="primary", on_click=do, args=(keep,),
    )  # fmt: skip


def do(write, clear: str = "") -> None:
    """Write to the log, as a callback; what goes wrong is told by the next drawing."""
    try:
        write()
    except CoreError as error:
        st.session_state[_PROBLEM] = str(error)
        return
    if clear:
        st.session_state[clear] = ""
