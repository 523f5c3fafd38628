"""The cohort: at a glance, by facets, as thumbnails, in its splits; export it, or index another."""

import streamlit as st

from core import cohort
from core.errors import CoreError
from pages.shared import cached, idc_form, indexing, label_table_form, state, widgets
from pages.shared.components.key_help import key_help
from pages.shared.grid import show_grid
from pages.shared.overview import show_overview
from pages.shared.split_view import show_splits
from pages.shared.viewer import show_slice

VIEWS = ["Overview", "Series", "Slices", "Splits", "Export", "Index a folder", "Download"]
KEYS = [
    (["?"], "shows and hides this card"),
    (["Tab"], "goes on to the next thing that can be pressed"),
    (["←", "→", "↑", "↓"], "walk between thumbnails; step through an open series"),
    (["Enter"], "opens the thumbnail"),
    (["X"], "picks the thumbnail; with Shift all since the last"),
    (["Space"], "ticks a filter"),
]

widgets.header("Browse", "Every slice of a cohort, its labels, and the rule that gave each one.")
name = st.session_state[state.COHORT]


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
    idc_form.attribution(made)


choices, help_ = st.columns([8, 1], vertical_alignment="center")
view = choices.segmented_control(
    "View", VIEWS, default="Overview", key=state.VIEW, bind="query-params", label_visibility="collapsed", required=True,
    on_change=lambda: state.put(**{state.SLICE: None, state.PAGE: None}),
)  # fmt: skip
with help_:
    key_help(KEYS, key="key-help")
try:
    if view == "Index a folder":
        indexing.form()
    elif view == "Download":
        idc_form.form()
    elif name is None:
        widgets.empty("No cohort yet", "Index a folder of the server's disk, or run `python -m core demo`.")
    else:
        made = cached.open_cohort(name)
        key = state.get(state.SLICE)
        if view in ("Overview", "Series", "Slices") and key in made.table.index:
            show_slice(made, key)
        elif view == "Overview":
            show_overview(made)
            idc_form.attribution(made)
        elif view == "Splits":
            show_splits(made)
        elif view == "Export":
            export(made)
        else:
            show_grid(made, by_series=view == "Series")
except CoreError as error:
    st.error(str(error))
