"""Who said what: the log of a cohort's labels, and how far two people agree on a queue."""

import pandas as pd
import streamlit as st

from core import cohort
from core.labelling import label_agreement, label_log, label_queue
from core.labelling.label_agreement import Agreement
from pages.shared import cached, desk, state, widgets
from pages.shared.desk import Desk

_HEADINGS = {
    "at": "When",
    "by": "Who",
    "what": "What",
    "column": "Head",
    "old": "Old",
    "new": "New",
    "undone": "Undone",
}


def name_box(where=st) -> str:
    """Draw the box for the name of who answers, and return it; it stands in no address."""
    st.session_state.setdefault("labeller", st.session_state.get(desk.BY, ""))
    by = where.text_input(
        "Your name", key="labeller", max_chars=40, placeholder="a name or initials",
        help="Stored with each of your answers in the cohort's label log and its exports, and shown to whoever opens "
        "them. It stands in no address, and is forgotten when this tab is closed.",
    ).strip()  # fmt: skip
    st.session_state[desk.BY] = by
    return by


def _reveal() -> bool:
    return st.toggle(
        "Reveal what others answered", key="reveal",
        help="Two people who label the same queue should not see each other's answers before both are done.",
    )  # fmt: skip


def log(at: Desk) -> None:
    """List answers, newest first; undo one; export."""
    revealed = _reveal()
    lines = cached.label_lines(at.made.name)
    lines = lines if revealed else lines[lines["by"] == at.by]
    path = at.made.folder / cohort.LOG_NAME
    with st.container(horizontal=True):
        st.download_button(
            "Label table (CSV)", cached.label_csv(at.made.name), "labels.csv", "text/csv", icon=":material/download:",
            help="What everybody said, a row a slice; of several answers to a slice the newest counts.",
            disabled=not at.log,
        )  # fmt: skip
        st.download_button(
            "Whole log (JSON lines)", path.read_bytes() if at.log else b"", cohort.LOG_NAME, "application/x-ndjson",
            icon=":material/download:", disabled=not at.log,
        )  # fmt: skip
    if lines.empty:
        who = "Nobody has" if revealed or not at.log else "You have not"
        widgets.empty(f"{who} answered yet", "Answers appear here with who gave them, when, and what they changed.")
        return
    event = st.dataframe(
        lines[list(_HEADINGS)].rename(columns=_HEADINGS), hide_index=True, key="log-rows",
        on_select="rerun", selection_mode="single-row",
    )  # fmt: skip
    rows = [row for row in event.selection.rows if row < len(lines)]
    line = lines.iloc[rows[0]] if rows else None
    back = line is not None and line["undone"]
    text = "Choose a line to undo it" if line is None else "Bring this answer back" if back else "Undo this answer"
    if st.button(text, disabled=line is None or not at.by, icon=":material/redo:" if back else ":material/undo:"):
        cohort.undo_label(at.made, label_log.undone_by(at.log)[line.name] if back else line.name, at.by)
        st.rerun()


def agreement(at: Desk, queue: pd.DataFrame) -> None:
    """Compare two people's answers to the whole queue, once both are done or it is asked for."""
    people = label_agreement.people(queue, at.log)
    if len(people) < 2:
        there = f"So far only {people[0]} has answered" if people else "Nobody has answered"
        widgets.empty(
            "This takes two people",
            f"{there} in this queue. Let a second person open this address, give another name, and label it too.",
            ":material/group:",
        )
        return
    columns = st.columns(2)
    first = columns[0].selectbox("First", people, index=people.index(at.by) if at.by in people else 0)
    others = [name for name in people if name != first]
    second = columns[1].selectbox("Second", others)
    answers = [label_queue.answers_by(queue, at.log, name) for name in (first, second)]
    for column, name, given in zip(columns, (first, second), answers, strict=True):
        n = int(given["done"].sum())
        column.progress(n / len(queue), f"{name}: {n:,} of {len(queue):,} done")
    if not all(given["done"].all() for given in answers):
        st.caption("Answers are compared when both are done. Revealing them before ends independent labelling.")
        if not _reveal():
            return
    found = label_agreement.agreement(*answers)
    for column, (head, one) in zip(st.columns(2, gap="large"), found.items(), strict=True):
        with column:
            compared(head, one, first, second)
    differing(at, queue, found, answers, (first, second))


def compared(head: str, one: Agreement, first: str, second: str) -> None:
    """Draw kappa and the confusion matrix of a head."""
    st.markdown(f"#### {head.capitalize()}")
    if not one.n:
        st.caption("No item has an answer of both.")
        return
    kappa, same = st.columns(2)
    kappa.metric(
        "Cohen's kappa", "–" if one.kappa is None else f"{one.kappa:.2f}",
        help="Agreement beyond what chance would give: 1 is full agreement, 0 what chance gives. It is not defined "
        "where both gave one and the same word to all.",
    )  # fmt: skip
    same.metric("The same word", f"{one.same} of {one.n}")
    st.caption(f"Rows: {first}. Columns: {second}.")
    st.dataframe(one.matrix.rename_axis(index=first))


def differing(at: Desk, queue: pd.DataFrame, found: dict, answers: list[pd.DataFrame], names: tuple[str, str]) -> None:
    """List the items on which two people differ; one that is chosen can be opened."""
    rows = [(key, head) for head, one in found.items() for key in one.differ]
    if not rows:
        return
    st.markdown("#### Where they differ")
    table = pd.DataFrame({
        "Patient": [queue.at[key, "PatientID"] for key, _ in rows],
        "Description": [queue.at[key, "SeriesDescription"] for key, _ in rows],
        "Head": [head for _, head in rows],
        **{name: [given.at[key, head] for key, head in rows] for name, given in zip(names, answers, strict=True)},
        "Header": [queue.at[key, head] for key, head in rows],
    })  # fmt: skip
    event = st.dataframe(table, hide_index=True, key="differ-rows", on_select="rerun", selection_mode="single-row")
    chosen = [row for row in event.selection.rows if row < len(rows)]
    if st.button("Open this item", disabled=not chosen, icon=":material/open_in_new:", on_click=state.choose,
                 kwargs={state.VIEW: "Label"}):  # fmt: skip
        desk.go(rows[chosen[0]][0])
        st.rerun()
