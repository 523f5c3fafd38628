"""One look before the start: what would be learnt from what, and whether that can work."""

import streamlit as st

from core import cohort, splits
from core.config import RunConfig
from pages.shared import cached


def draw(made: cohort.Cohort, config: RunConfig) -> None:
    """Show how patients and slices fall into the split that this run would use."""
    st.markdown("#### The split, by patient")
    label = "sequence" if config.kind == "dual" else config.label
    split, table = cached.split(made, config.fractions, config.random_state, label)
    counts = splits.summary(table, split, label)
    shown = counts["slices"].astype("str") + " from " + counts["patients"].astype("str")
    wide = counts.assign(shown=shown).pivot(index=label, columns="split", values="shown")
    st.dataframe(wide.reindex(columns=splits.SPLITS).fillna("none"))
    st.caption("Slices, and from how many patients.")
    shared = splits.leaks(table, split)
    if shared.empty:
        st.caption(
            ":material/verified: No patient is in more than one part, so the test says something about new people."
        )
    else:
        st.error(f"{len(shared)} patients are in more than one part: {', '.join(shared['PatientID'].astype(str)[:5])}")
