"""The label workbench: a queue, one item at a time, keys for labels; the log; how far two people agree."""

import pandas as pd
import streamlit as st

from core.errors import CoreError
from core.labelling import label_queue
from core.labelling.label_queue import HEADS, WRONG
from pages.shared import asking, cached, desk, label_people, state, widgets
from pages.shared.desk import Desk
from pages.shared.label_item import one_item

VIEWS = ["Label", "Queue", "Log", "Agreement"]
LOOK = "What needs a look"
WRONG_NAMES = {
    "conflict": "header contradicts itself", "disagree": "model disagrees", "no_label": "no label",
    "unsure": "model unsure", "": "nothing",
}  # fmt: skip

widgets.header(
    "Label", "Give slices their right label, the doubtful ones first. Every answer is kept and can be undone."
)


def controls(name: str) -> tuple[str, pd.DataFrame, Desk]:
    """Draw who labels what; return the view, the whole queue, and the desk with what the filter leaves of it."""
    made = cached.headers(name)
    queues, wrongs, who, how = st.columns([1.3, 2, 1.2, 0.9], vertical_alignment="bottom", gap="small")
    chosen = queues.selectbox(
        "Queue", [LOOK, *label_queue.list_queues(made)], key=state.QUEUE, bind="query-params", on_change=desk.go,
        args=(None,),
    )  # fmt: skip
    keep = wrongs.multiselect(
        "What is wrong", WRONG_NAMES.values(), key="wrong", bind="query-params", on_change=desk.go, args=(None,),
        placeholder="anything" if chosen == LOOK else "anything or nothing",
    )  # fmt: skip
    by = label_people.name_box(who)
    blind = how.toggle(
        "Blind", key="blind", bind="query-params",
        help="Hides what header and model say until you have answered, and then tells whether they agree with you.",
    )  # fmt: skip
    answers = asking.answers_of(made, st.session_state[state.RUN])
    queue = cached.queue(name, None if chosen == LOOK else chosen, answers)
    wanted = [wrong for wrong, words in WRONG_NAMES.items() if words in keep] or (WRONG if chosen == LOOK else None)
    views, asks = st.columns([1, 1.6], vertical_alignment="center")
    view = views.segmented_control(
        "View", VIEWS, default="Label", key=state.VIEW, bind="query-params", label_visibility="collapsed", required=True
    )
    with asks:
        asking.box(made, answers)
    return view, queue, desk.set_up(made, queue[queue["wrong"].isin(wanted)] if wanted else queue, by, blind)


def together(chosen: list[str]) -> None:
    """Take these items to the keys, so that one answer labels all of them."""
    st.session_state[desk.SELECTED] = chosen
    state.choose(**{state.VIEW: "Label", desk.SCOPE: "selection"})
    desk.go(chosen[0])


def rows(at: Desk) -> None:
    """List the queue; rows that are chosen are the selection."""
    table = at.queue
    shown = pd.DataFrame({
        "Done": at.answers["done"], "Patient": table["PatientID"], "Description": table["SeriesDescription"],
        "Slices": table["n"], "What is wrong": table["wrong"].map(WRONG_NAMES), "You: plane": at.answers["plane"],
        "You: sequence": at.answers["sequence"],
    })  # fmt: skip
    if not at.blind:
        for head in HEADS:
            shown[f"Header: {head}"] = table[head]
            shown[f"Model: {head}"] = table[f"model_{head}"]
    st.caption("Choose rows to label them together, or to keep them as a queue of their own.")
    event = st.dataframe(
        shown.drop(columns=["Description", "What is wrong"]) if at.blind else shown, hide_index=True, height=460,
        key="queue-rows", on_select="rerun", selection_mode="multi-row",
    )  # fmt: skip
    chosen = list(table.index[[row for row in event.selection.rows if row < len(table)]])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button(
            f"Label these {len(chosen)} together", disabled=not chosen, icon=":material/label:", type="primary",
            on_click=together, args=(chosen,),
        )  # fmt: skip
        called = st.text_input("Name of a new queue", key="new_queue", placeholder="class-of-may", width=240)
        n = len(chosen) or len(table)
        if st.button(f"Keep these {n:,} as a queue", disabled=not called, icon=":material/playlist_add:"):
            label_queue.write_queue(at.made, called.strip(), chosen or list(table.index))
            st.success(f"Queue {called.strip()} holds {n:,} items. Choose it above, or hand on its address.")


def nothing(whole: pd.DataFrame) -> None:
    """Say why there is nothing to do, and what could be done."""
    if whole.empty:
        widgets.empty("This queue is empty", "The cohort has none of its slices and series. Choose another queue.")
    elif st.session_state["wrong"]:
        widgets.empty("Nothing fits this filter", f"This queue has {len(whole):,} items; choose less of what is wrong.")
    else:
        widgets.empty(
            "Nothing needs a look",
            f"All {len(whole):,} items have labels and no conflict. Choose “nothing” above to label them all the same, "
            "or ask the model what it makes of them.",
            ":material/done_all:",
        )


name = st.session_state[state.COHORT]
try:
    if name is None:
        widgets.empty("No cohort yet", "Index a folder on *Browse*, or run `python -m core demo`.")
    else:
        view, whole, at = controls(name)
        if view == "Log":
            label_people.log(at)
        elif view == "Agreement":
            label_people.agreement(at, whole)
        elif at.queue.empty:
            nothing(whole)
        elif view == "Queue":
            rows(at)
        else:
            one_item(at)
except CoreError as error:
    st.error(str(error))
