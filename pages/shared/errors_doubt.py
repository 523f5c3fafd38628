"""Whether a model knows when it is wrong."""

import numpy as np
import streamlit as st

from core import figures, uncertainty
from pages.shared import widgets
from pages.shared.errors_choice import Chosen

MEASURES = {
    "Predictive entropy": uncertainty.predictive_entropy,
    "Mutual information": uncertainty.mutual_information,
    "Expected entropy": uncertainty.expected_entropy,
    "Variation ratio": uncertainty.variation_ratio,
}


def draw(chosen: Chosen) -> None:
    """Draw accuracy against the share of slices kept, and what a threshold would mean."""
    table, samples = chosen.rows, chosen.samples
    st.markdown("#### Does it know when it is wrong?")
    left, right = st.columns([1, 2.2], gap="large")
    with left:
        options = list(MEASURES) if samples is not None else ["Predictive entropy"]
        measure = st.selectbox(
            "Uncertainty", options, key="measure", bind="query-params",
            help="From the Monte-Carlo passes where the run keeps them, else from its probabilities.",
        )  # fmt: skip
        kept = st.slider("Slices kept (%)", 5, 100, 90, key="kept", bind="query-params")
        passes = samples if samples is not None else np.stack([np.asarray(p)[None] for p in table["y_proba"]])
        values = MEASURES[measure](passes)
        correct = (table["y_true"] == table["y_pred"]).to_numpy()
        coverage, accuracy = uncertainty.risk_coverage(correct, values)
        at = max(0, round(kept / 100 * len(correct)) - 1)
        gain = 100 * (accuracy[at] - correct.mean())
        st.metric("Accuracy on what is kept", f"{100 * accuracy[at]:.1f} %", f"{gain:+.1f} points against all")
        st.markdown(
            f"**{len(correct) - at - 1:,}** of {len(correct):,} slices go to a person, the least certain first."
        )
    with right:
        figure = figures.risk_coverage(coverage, accuracy, kept / 100)
        widgets.chart(figure, "risk-coverage", f"{chosen.run.id}-{chosen.head}-{chosen.part}-risk-coverage")
