"""The cohort: filter, look, see which rule gave each label, count, export; index a folder."""

import pandas as pd
import streamlit as st

from core import cohort, figures
from core.errors import CoreError
from pages.shared import cached, indexing, label_table_form, state, widgets
from pages.shared.components.thumbnail_grid import Tile, thumbnail_grid
from pages.shared.viewer import show_slice

PER_PAGE = 60
FILTERS = {"plane": "Plane", "sequence": "Sequence", "split": "Split", "PatientID": "Patient"}
VIEWS = ["Series", "Slices", "Counts and splits", "Export", "Index a folder"]

widgets.header("Browse", "Every slice of a cohort, its labels, and the rule that gave each one.")
name = st.session_state[state.COHORT]


def filters(made):
    """Draw the filters and return the rows they keep."""
    table = made.table
    columns = st.columns([1, 1.2, 1, 1.2, 1.8], gap="small")
    present = cached.present(made)
    keep = pd.Series(True, table.index)
    for column, field in zip(columns, FILTERS, strict=False):
        chosen = column.multiselect(
            FILTERS[field], present[field], key=f"in_{field.lower()}", bind="query-params", placeholder="any",
            on_change=first_page,
        )  # fmt: skip
        if chosen:
            keep &= table[field].isin(chosen)
    text = columns[-1].text_input(
        "Series", key="text", bind="query-params", placeholder="words of the description", on_change=first_page
    )
    for word in text.lower().split():
        keep &= table["SeriesDescription"].fillna("").str.lower().str.contains(word, regex=False)
    return table if keep.all() else table[keep]


def first_page() -> None:
    """Turn back to the first page when a filter changes."""
    state.put(**{state.PAGE: None, state.SLICE: None})


def grid(made, table, by_series: bool) -> None:
    """Draw one page of thumbnails."""
    rows = table
    if by_series:
        series = cached.series_table(made)
        rows = series[series["SeriesInstanceUID"].isin(table["SeriesInstanceUID"])]
    else:
        rows = table.sort_values(["PatientID", "SeriesInstanceUID", "image_number"], kind="stable")
    left, right = st.columns([3, 2], vertical_alignment="center")
    left.caption(
        f"{len(table):,} slices in {table['SeriesInstanceUID'].nunique():,} series of "
        f"{table['PatientID'].nunique():,} patients. Click one to open it."
    )
    if rows.empty:
        widgets.empty("Nothing fits these filters", "Remove one of them to see more.", ":material/filter_alt_off:")
        return
    with right:
        shown = widgets.pager(
            len(rows), PER_PAGE, state.get_int(state.PAGE, 1), lambda page: state.put(**{state.PAGE: page}), "grid"
        )
    rows = rows.iloc[shown]
    tiles = [
        Tile(
            key=row.Index,
            title=f"{widgets.show(row.plane)} · {widgets.show(row.sequence)}",
            note=row.PatientID,
            corner=f"{row.n}" if by_series else f"{row.image_number}",
            badge="conflict" if row.conflict else "",
            tone="warn",
            hover=f"{widgets.show(row.SeriesDescription)} · {row.PatientID}",
        )
        for row in rows.itertuples()
    ]
    made_sheet = cached.cohort_sheet(made, tuple(rows.index))
    thumbnail_grid(
        tiles, made_sheet, selected=None, on_click=lambda key: state.put(slice=key), key="grid-tiles", tile_px=132
    )


def counts(made, table) -> None:
    """Draw how many slices each label has in each split."""
    label = st.segmented_control(
        "Label",
        ["plane", "sequence"],
        default="sequence",
        key="count",
        bind="query-params",
        label_visibility="collapsed",
    )
    st.plotly_chart(figures.label_counts(table, label), width="stretch")
    st.caption(
        "Splits are by patient: no patient is in two of them. They are the cohort's default; each run keeps its own."
    )
    widgets.rejected_table(made.rejected)


def export(made) -> None:
    """Write the manifest of the original project."""
    st.markdown(
        "The manifest **mri-images.json** lists every labelled slice in the form that the original project's notebooks "
        "read: `patient-id`, `image-name`, `perspective`, `sequence`, `perspective-sequence`, `labels`, `image-number`."
    )
    with st.container(horizontal=True):
        st.download_button(
            "Download mri-images.json", cached.manifest(made), "mri-images.json", "application/json",
            icon=":material/download:", type="primary",
        )  # fmt: skip
        write = st.button("Write it into the cohort's folder", icon=":material/save:")
    if write:
        cohort.export_manifest(made, made.folder / "mri-images.json")
        st.success(f"Written as mri-images.json beside the table of cohort {made.name}.")
    label_table_form.form(made)


view = st.segmented_control(
    "View",
    VIEWS,
    default="Series",
    key=state.VIEW,
    bind="query-params",
    label_visibility="collapsed",
    required=True,
)
try:
    if view == "Index a folder":
        indexing.form()
    elif name is None:
        widgets.empty("No cohort yet", "Index a folder of the server's disk, or run `python -m core demo`.")
    else:
        made = cached.open_cohort(name)
        key = state.get(state.SLICE)
        if view in ("Series", "Slices") and key in made.table.index:
            show_slice(made, key)
        elif view == "Export":
            export(made)
        else:
            table = filters(made)
            if view == "Counts and splits":
                counts(made, table)
            else:
                grid(made, table, view == "Series")
except CoreError as error:
    st.error(str(error))
