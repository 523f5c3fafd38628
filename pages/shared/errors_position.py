"""Mistakes along the head: where in its stack a slice must lie for the model to be wrong."""

import streamlit as st

from core.analysis import positions
from pages.shared import cached, widgets
from pages.shared.errors_choice import Chosen


def draw(chosen: Chosen) -> None:
    """Draw accuracy along the stacks of each plane, and where the commonest mistakes are."""
    st.markdown("#### Where in the head does it go wrong?")
    st.caption(
        f"Every stack is cut into {positions.BINS} parts of equal length, from its first slice to its last; bars are "
        "how many slices there are."
    )
    bins = cached.analysis(chosen.run, "positions.parquet")
    if bins is None:
        widgets.empty(
            "Not worked out for this run", f"It was evaluated by an older version: "
            f"`python -m core evaluate {chosen.run.id}` makes what is missing.", ":material/straighten:",
        )  # fmt: skip
        return
    bins = bins[(bins["head"] == chosen.head) & (bins["split"] == chosen.part)]
    if bins.empty:
        widgets.empty(
            "No stack to look along", f"No {chosen.part} slice with a known answer lies in a stack of at least "
            f"{positions.LEAST} slices.", ":material/straighten:",
        )  # fmt: skip
        return
    curves, pairs = cached.position_figures(chosen.run, chosen.head, chosen.part)
    name = f"{chosen.run.id}-{chosen.head}-{chosen.part}-position"
    widgets.chart(curves, "position-curves", name)
    planes = [plane for plane in positions.ENDS if (bins["plane"] == plane).any()]
    st.markdown("\n".join(f"- {positions.sentence(bins, plane)}" for plane in planes))
    if pairs is None:
        st.caption("There is no mistake among them.")
    else:
        st.markdown("##### Which mistakes, and where")
        widgets.chart(pairs, "position-pairs", f"{name}-mistakes")
    with st.expander("All numbers", icon=":material/table:"):
        widgets.table(bins, "position-table", name, hide_index=True)
