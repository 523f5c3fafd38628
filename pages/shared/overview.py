"""A cohort at a glance; a click on a chart opens the series that it stands for."""

import streamlit as st

from core import cohort
from core.cohorts.overview import Overview, size_in_words
from pages.shared import cached, state, widgets


def show_overview(made: cohort.Cohort) -> None:
    """Draw counts, charts, what is missing, and what could not be read."""
    seen = cached.overview(made)
    widgets.metrics({
        "Patients": f"{seen.patients:,}", "Studies": f"{seen.studies:,}", "Series": f"{seen.series:,}",
        "Slices": f"{seen.slices:,}", "On disk": size_in_words(seen.bytes), "Rejected files": f"{seen.rejected:,}",
        "Series in conflict": f"{seen.conflicts:,}",
    })  # fmt: skip
    if made.origin:
        st.caption(
            f"Cut from cohort {made.origin['cohort']}: {made.origin['slices']:,} of {made.origin['of']:,} slices"
            + (f" ({made.origin['kept']})." if made.origin.get("kept") else ".")
        )
    if not seen.slices:
        widgets.empty("No slices", "Nothing in this folder could be read as an image. See the reasons below.")
    else:
        _charts(seen, cached.overview_figures(made))
    _rejected(made, seen)


def _charts(seen: Overview, figures: dict) -> None:
    left, right = st.columns([1.35, 1], gap="large")
    with left:
        st.markdown("**Planes and sequences**", help="Click a part of a bar to open its series.")
        _chart(figures, "planes", ("plane", "sequence"))
        _missing(seen)
    with right:
        st.markdown("**Vendors**")
        _chart(figures, "vendors", ("vendor",))
        st.markdown("**Field strength**")
        _chart(figures, "fields", ("field",))
    st.markdown("**Repetition and echo time**", help="Click a point, or draw a box, to open the series that lie there.")
    if seen.timings.empty:
        st.caption("No series of this cohort says its repetition and echo time.")
        return
    st.plotly_chart(
        figures["timings"], width="stretch", key="timings", on_select=_open_timing,
        selection_mode=("points", "box"),
    )  # fmt: skip


def _chart(figures: dict, key: str, names: tuple[str, ...]) -> None:
    """Draw bars of which a click chooses a word of each of `names`."""

    def clicked() -> None:
        points = st.session_state[key].selection.points
        if points:
            words = {state.facet(name): [str(word)] for name, word in zip(names, points[0]["customdata"], strict=True)}
            _open(**words)

    st.plotly_chart(figures[key], width="stretch", key=key, on_select=clicked, selection_mode="points")


def _open_timing() -> None:
    points = st.session_state["timings"].selection.points
    if points:
        # The box around the chosen points holds just what the drawn one holds, whatever its axes are.
        times = [[float(point["customdata"][axis]) for point in points] for axis in (0, 1)]
        _open(**{state.TIMING: "~".join(f"{value:g}" for axis in times for value in (min(axis), max(axis)))})


def _open(**address: object) -> None:
    state.put(**address)
    state.put(**{state.PAGE: None, state.SLICE: None, state.LIKE: None})
    state.choose(**{state.VIEW: "Series"})


def _missing(seen: Overview) -> None:
    pairs = [widgets.chip(f"{plane} {name}", "warn") for plane, name in seen.absent_pairs]
    chips = [widgets.chip(name, "plain") for name in seen.absent]
    if pairs or chips:
        st.html(
            '<p style="margin:0 0 .35rem"><b>What is missing</b> <span class="small">classes without a slice</span></p>'
            + " ".join([*pairs, *chips])
        )


def _rejected(made: cohort.Cohort, seen: Overview) -> None:
    if made.rejected.empty:
        return
    st.markdown(f"**{seen.rejected:,} rejected {'file' if seen.rejected == 1 else 'files'}, by reason**")
    st.dataframe(
        seen.rejected_by_reason, hide_index=True,
        column_config={
            "reason": st.column_config.TextColumn("Reason", width="large"), "files": "Files", "example": "For example",
        },
    )  # fmt: skip
    with st.expander("All of them", icon=":material/report:"):
        st.dataframe(
            made.rejected[["shown_path", "reason"]], hide_index=True,
            column_config={"shown_path": "File", "reason": st.column_config.TextColumn("Reason", width="large")},
        )  # fmt: skip
