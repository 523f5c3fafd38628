"""All runs as a table that is filtered, picked from and exported; a picked run is drawn below it."""

from hashlib import sha256

import pandas as pd
import streamlit as st

from core import runs
from core.comparing import run_table
from core.comparing.compare import MOST_RUNS
from core.comparing.compare_report import percent
from pages.shared import cached, state, train_views, widgets
from pages.shared.run_actions import draw_trash
from pages.shared.train_queue import draw_run

_HEADINGS = {"kind": "Kind", "label": "Label", "cohort": "Cohort", "state": "State", "tags": "Tag"}
_SHARE = {"min_value": 0.0, "max_value": 1.0, "format": "percent"}
#: Columns in their order, as they are headed; the last are hidden until they are asked for in the table's menu.
_COLUMNS = {
    "name": st.column_config.TextColumn("Name", pinned=True, width="medium"),
    "state": st.column_config.TextColumn("State", width="small"),
    "kind": st.column_config.TextColumn("Kind", width="small"),
    "label": st.column_config.ListColumn("Label"),
    "accuracy": st.column_config.ProgressColumn(
        "Accuracy", help="Mean over heads, on test patients where there are some.", **_SHARE
    ),
    "interval": st.column_config.TextColumn("95 % interval", help="Of the accuracy, by patient."),
    "balanced_accuracy": st.column_config.NumberColumn("Balanced", format="percent", width="small"),
    "ece": st.column_config.NumberColumn("ECE", format="percent", width="small", help="Expected calibration error."),
    "seconds": st.column_config.NumberColumn("Seconds", format="%.0f", width="small"),
    "epochs": st.column_config.NumberColumn("Epochs", format="%.0f", width="small"),
    "tags": st.column_config.ListColumn("Tags"),
    "created": st.column_config.DatetimeColumn("Created (UTC)", format="YYYY-MM-DD HH:mm", timezone="UTC"),
    "cohort": st.column_config.TextColumn("Cohort", width="small"),
    "backbone": st.column_config.TextColumn("Backbone", width="small"),
    "weights": st.column_config.TextColumn("Weights", width="small"),
    "preset": st.column_config.TextColumn("Preset", width="small"),
    "split": st.column_config.TextColumn("Split", width="small"),
    "note": st.column_config.TextColumn("Note", width="medium"),
    "id": st.column_config.TextColumn("Id", width="medium"),
}


def draw() -> None:
    """Draw filters, table, what can be done with the picked runs, and the one that is picked."""
    table = cached.run_table()
    if table.empty:
        widgets.empty("No run yet", "Start one under **New run**; **Queue** shows how it goes.")
        draw_trash()
        return
    st.caption("Every run of this workspace. Pick one to see it, two or more to compare them; a heading sorts.")
    kept = run_table.select(table, _filters(table))
    if kept.empty:
        widgets.empty("No run fits these filters", "Remove one of them to see more.", ":material/filter_alt_off:")
        draw_trash()
        return
    picked = _pick(kept)
    _actions(table, kept, picked)
    followed = picked[0] if len(picked) == 1 else "" if picked else state.get(state.FOLLOWED)
    if followed in set(table["id"]):
        draw_run(runs.read_run(followed))
    draw_trash()


def _filters(table: pd.DataFrame) -> run_table.Filters:
    """Draw a field of words, and a choice for each field in which runs differ."""
    offered = {field: run_table.words_of(table, field) for field in run_table.FILTERED}
    asked = {field: state.get_all(state.facet(field)) for field in offered}
    fields = [field for field, words in offered.items() if len(words) > 1 or asked[field]]
    text, *places = st.columns([1.4, *[1] * len(fields)])
    said = text.text_input(
        "Words", key=state.RUN_WORDS, bind="query-params", placeholder="name, note, tag …",
        help="All words must stand in a run's name, id, note, tags, cohort, backbone or preset.",
    )  # fmt: skip
    chosen = {
        field: place.multiselect(
            _HEADINGS[field], offered[field], key=state.facet(field), bind="query-params", placeholder="all"
        )
        for field, place in zip(fields, places, strict=True)
    }
    return run_table.Filters(said, chosen)


def _pick(kept: pd.DataFrame) -> list[str]:
    """Draw the table; return the ids of its picked rows, which the address keeps."""
    ids = kept["id"].tolist()
    wanted = [ids.index(run_id) for run_id in state.get_ids(state.RUNS) if run_id in ids]
    intervals = [
        "" if low != low else f"{percent(low)} – {percent(high)}"
        for low, high in zip(kept["accuracy_low"], kept["accuracy_high"], strict=True)
    ]
    # Rows are picked by their place, so other rows need another widget; it begins with what the address says.
    key = "runs-" + sha256(",".join(ids).encode()).hexdigest()[:12]
    answer = st.dataframe(
        kept.assign(interval=intervals)[list(_COLUMNS)], hide_index=True, key=key, on_select="rerun",
        selection_mode="multi-row", selection_default={"selection": {"rows": wanted}}, column_config=_COLUMNS,
        height=min(38 + 35 * len(ids), 430), placeholder="",
    )  # fmt: skip
    picked = [ids[row] for row in answer["selection"]["rows"]]
    state.put(**{state.RUNS: ",".join(picked)})
    if len(picked) == 1:
        state.put(**{state.FOLLOWED: picked[0]})
    return picked


def _actions(table: pd.DataFrame, kept: pd.DataFrame, picked: list[str]) -> None:
    counted = f"{len(kept):,} of " if len(kept) < len(table) else ""
    counted += "1 run" if len(table) == 1 else f"{len(table):,} runs"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(counted + (f", {len(picked)} picked" if picked else ""), width="content")
        if len(picked) > 1:
            st.button(
                f"Compare {len(picked)} runs", type="primary", icon=":material/compare_arrows:",
                on_click=state.choose, kwargs={state.VIEW: train_views.COMPARE}, disabled=len(picked) > MOST_RUNS,
                help=f"At most {MOST_RUNS} at a time." if len(picked) > MOST_RUNS else None,
            )  # fmt: skip
        st.download_button(
            "Table (CSV)", lambda: run_table.to_csv(kept), "runs.csv", "text/csv", icon=":material/download:",
            on_click="ignore",
        )  # fmt: skip
