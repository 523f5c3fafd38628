"""Labels that are probably wrong, the most doubtful first."""

import pandas as pd
import streamlit as st

from core.analysis.judgements import looked_at
from core.labelling import label_queue
from pages.shared import cached, state, widgets
from pages.shared.errors_choice import Chosen
from pages.shared.errors_gallery import gallery

_ALL = "any"


def draw(chosen: Chosen) -> list[str]:
    """Draw the doubtful labels of the part that is looked at; return their keys in order."""
    st.markdown("#### Which labels are probably wrong?")
    found = cached.issues_of(chosen.run, chosen.head)
    if found is None:
        widgets.empty(
            "The labels of this run have not been judged",
            f"It was evaluated before that was done. Have it done: `python -m core evaluate {chosen.run.id}`",
        )
        return []
    st.caption(
        "A linear head on the model's embeddings judged each slice without seeing its patient; where it firmly says "
        "something else, the label, the slice or the head may be at fault. The dossier takes down which."
    )
    whole = cached.predictions_of(chosen.run, chosen.head).iloc[found.table["at"]].reset_index(drop=True)
    rows = pd.concat([whole, found.table.drop(columns="at")], axis=1)
    rows = rows[(rows["split"] == chosen.part) & rows["suspected"]]
    seen = marked(rows)
    numbers = {
        "Suspected": f"{len(rows):,}", "Looked at": f"{int(seen.sum()):,}",
        "Labels judged, all parts": f"{found.judged:,}", "Patients": found.patients,
    }  # fmt: skip
    widgets.metrics(numbers)
    if found.left_out:
        st.caption(f"Of too few patients to be judged: {', '.join(found.left_out)}.")
    if rows.empty:
        words = "no label that can be judged" if not found.judged else "no label that does not fit"
        widgets.empty("Nothing to review", f"The {chosen.part} slices have {words}.", ":material/done_all:")
        return []
    pair, hide, name, make = st.columns([1.3, 1.2, 1.2, 1.4], vertical_alignment="bottom")
    kinds = rows["given"] + "|" + rows["suggested"]
    offered = {_ALL: f"any ({len(rows):,})"}
    offered |= {one: f"{one.replace('|', ' → ')} ({n:,})" for one, n in kinds.value_counts().items()}
    kind = state.pick(pair.selectbox, "Kind", offered, state.ISSUE, on_change=first_page)
    if kind != _ALL:
        rows = rows[kinds == kind]
    if hide.toggle("Hide those looked at", key="unseen", bind="query-params", on_change=first_page):
        rows = rows[~seen.loc[rows.index]]
    make_queue(rows, name, make)
    if rows.empty:
        widgets.empty("All of these were looked at", "Choose another kind, or show them again.", ":material/done_all:")
        return []
    done = set(rows.loc[seen.loc[rows.index], "key"])
    gallery(
        rows,
        lambda row: {
            "title": f"{row.given} → {row.suggested}", "note": row.PatientID,
            "badge": f"{100 * row.p_suggested:.0f} %",
            "tone": "warn", "corner": "✓" if row.key in done else "",
            "hover": f"Labelled {row.given}; the others' slices say {row.suggested}. The model says {row.y_pred}.",
        },
        "issues",
    )  # fmt: skip
    return list(rows["key"])


def marked(rows: pd.DataFrame) -> pd.Series:
    """Tell of which slices somebody has said something."""
    seen = pd.Series(False, rows.index)
    for name, part in rows.groupby("cohort"):
        said = looked_at(cached.labels_given(name), part["head"].iloc[0])
        seen.loc[part.index] = part["key"].isin(said) | part["SeriesInstanceUID"].isin(said)
    return seen


def first_page() -> None:
    """Go back to the first page of another choice."""
    state.put(**{state.PAGE: None})


def make_queue(rows: pd.DataFrame, name_column, make_column) -> None:
    """Offer to leave these slices to the Label page."""
    name = name_column.text_input("Name of a queue", key="issues_queue", placeholder="doubtful-labels").strip()
    if make_column.button(
        f"Make a Label queue of these {len(rows):,}", disabled=rows.empty or not name, icon=":material/playlist_add:"
    ):
        for cohort_name, part in rows.groupby("cohort"):
            label_queue.write_queue(cached.headers(cohort_name), name, part["key"])
        st.session_state["issues_made"] = name, rows["cohort"].iloc[0]
    made, cohort_name = st.session_state.get("issues_made", ("", ""))
    if made and made == name:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"Queue {made} is on the Label page.", width="content")
            state.go_button("Label them", "pages/label.py", key="issues-label", icon=":material/label:",
                            sidebar={state.COHORT: cohort_name}, queue=made)  # fmt: skip
