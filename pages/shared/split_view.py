"""Splits of a cohort: the default one as a table, another one to try, what leaks, and saving."""

import pandas as pd
import streamlit as st

from core import cohort
from core.cohorts import default_split, leaks
from core.config import LABELS
from core.errors import CoreError
from pages.shared import cached, state, tasks, widgets
from pages.shared.components.thumbnail_grid import Tile, thumbnail_grid

_PAIRS = 24


def show_splits(made: cohort.Cohort) -> None:
    """Draw the default split or another one."""
    left, right = st.columns([1, 2.1], gap="large")
    with left:
        which = st.segmented_control(
            "Split", ["Default", "Another"], default="Default", key="of", bind="query-params", required=True
        )
        label = st.segmented_control(
            "Classes", LABELS, default="sequence", key="count", bind="query-params", required=True,
            help="What is counted; of another split also what is balanced.",
        )  # fmt: skip
        try:
            split, words, recipe = _default(made) if which == "Default" else _another(made, label)
        except CoreError as error:
            st.error(str(error))
            return
        digest, wide, figure = cached.split_facts(made, split, words, label)
        st.html(widgets.facts({**recipe, "Hash": digest[:16]}))
        if which == "Another" and st.button("Save as the default", icon=":material/save:", type="primary"):
            default_split.save_default_split(made, split, recipe)
            st.success("Saved. It stays when the folder is indexed again; patients who come later are dealt as before.")
    with right:
        if wide.empty:
            widgets.empty("No labels", "No slice of this cohort has this label, so there is nothing to count.")
        else:
            st.dataframe(wide)
            st.plotly_chart(figure, width="stretch")
        _leaks(made, split, digest)


def _default(made: cohort.Cohort) -> tuple[pd.Series, tuple, dict]:
    saved = default_split.read_default_split(made)
    recipe = saved.get("recipe", {"Made by": "the scan: 60, 20 and 20 % of patients"})
    st.caption("Training starts from splits by patient: no patient is in two parts. Each run keeps its own.")
    return made.table["split"], (made.name, made.created, saved.get("hash")), recipe


def _another(made: cohort.Cohort, label: str) -> tuple[pd.Series, tuple, dict]:
    one, two = st.columns(2)
    validation = one.number_input("Validation (%)", 0, 90, 20, 5, key="validation", bind="query-params")
    test = two.number_input("Test (%)", 0, 90, 20, 5, key="test", bind="query-params")
    seed = one.number_input("Seed", 0, 2**31 - 1, 0, key="seed", bind="query-params")
    held = st.multiselect(
        "Hold for test", sorted(made.table["PatientID"].unique()), key="hold", bind="query-params",
        placeholder="patients", help="These stand in the test part whatever the seed.",
    )  # fmt: skip
    fractions = ((100 - validation - test) / 100, validation / 100, test / 100)
    split, _ = cached.split(made, fractions, int(seed), label, tuple(held))
    recipe = {
        "Train, validation, test": f"{100 - validation - test}, {validation} and {test} %", "Balanced by": label,
        "Seed": int(seed), "Held for test": ", ".join(held),
    }  # fmt: skip
    return split, (made.name, made.created, *recipe.values()), recipe


def _leaks(made: cohort.Cohort, split: pd.Series, digest: str) -> None:
    key = ("leaks", made.name, made.created, digest)
    task = tasks.get(key)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Does anything stand in two parts?**", width="content")
        check = st.button("Check patients and pixels", icon=":material/fact_check:")
    if check:
        task = tasks.start(key, lambda report: leaks.check(made, split, report))
    if task is None:
        st.caption("Patients by name; pictures by their pixels, equal or nearly so, under whatever name.")
    elif not task.finished:
        tasks.follow(key, "Reading")
    elif task.error or task.cancelled:
        st.warning(task.error or "It was cancelled; what is done is kept.")
    else:
        _report(made, task.result)


def _report(made: cohort.Cohort, found: leaks.LeakReport) -> None:
    if found.clean:
        st.success(
            f"No: no patient, no equal picture and no nearly equal one. {found.compared:,} pictures were compared; "
            "blank ones are left out.",
            icon=":material/verified:",
        )
        return
    st.error(
        f"Yes: {len(found.patients):,} patients, {len(found.equal):,} equal and {len(found.near):,} nearly equal "
        "pictures. Scores on such a test part are too good: hold these patients for test, or leave them out.",
        icon=":material/warning:",
    )
    if len(found.patients):
        st.dataframe(found.patients, hide_index=True)
    pairs = pd.concat([found.equal.assign(how="equal"), found.near.assign(how="nearly equal")], ignore_index=True)
    if pairs.empty:
        return
    st.dataframe(
        pairs[["how", "correlation", "split", "PatientID", "other_split", "other_PatientID"]], hide_index=True,
        column_config={"correlation": st.column_config.NumberColumn(format="%.3f")},
    )  # fmt: skip
    shown = pairs.head(_PAIRS)
    places = shown[["row", "other"]].to_numpy(int).ravel()
    parts = shown[["split", "other_split"]].to_numpy().ravel()
    keys = made.table.index[places].tolist()
    tiles = [
        Tile(key=key, title=part, note=made.table.at[key, "PatientID"], badge=shown["how"].iloc[at // 2], tone="bad")
        for at, (key, part) in enumerate(zip(keys, parts, strict=True))
    ]
    thumbnail_grid(
        tiles, cached.cohort_sheet(made, tuple(keys)), selected=None, key="leak-tiles", tile_px=110,
        on_click=lambda key: (state.put(**{state.SLICE: key}), state.choose(**{state.VIEW: "Slices"})),
    )  # fmt: skip
