"""The dossier of one slice: picture, probabilities, Monte-Carlo histogram, uncertainties."""

import numpy as np
import streamlit as st

from core import figures
from pages.shared import cached, state, widgets
from pages.shared.components.slice_viewer import one_slice, slice_viewer
from pages.shared.errors_choice import Chosen
from pages.shared.errors_doubt import MEASURES
from pages.shared.stacks import place_of


def open_chosen(chosen: Chosen) -> None:
    """Open the dossier of the slice that the address names, if it is among those that are looked at."""
    found = np.flatnonzero(chosen.rows["key"] == state.get(state.SLICE))
    if len(found):
        samples = None if chosen.samples is None else chosen.samples[found[0]]
        draw(chosen.rows.iloc[found[0]], samples, chosen.names)


def leave() -> None:
    """Close the slice."""
    state.put(**{state.SLICE: None})


@st.dialog("One slice", width="large", on_dismiss=leave)
def draw(row, samples: np.ndarray | None, classes: list[str]) -> None:
    """Draw one slice: picture, probabilities, Monte-Carlo histogram, uncertainties."""
    made = cached.open_cohort(row["cohort"])
    facts = made.table.loc[row["key"]]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html(
            f"<b>{widgets.escape(row['PatientID'])}</b> &nbsp;{widgets.chip('true: ' + row['y_true'], 'plain')} "
            f"{widgets.chip('predicted: ' + row['y_pred'], 'good' if row['y_true'] == row['y_pred'] else 'bad')}"
        )
        state.go_button(
            "Explain", "pages/explain.py", key="explain", icon=":material/lightbulb:",
            sidebar={state.COHORT: row["cohort"]}, **{state.SLICE: row["key"]},
        )  # fmt: skip
        state.go_button(
            "See it in its series", "pages/browse.py", key="browse", icon=":material/grid_view:",
            sidebar={state.COHORT: row["cohort"]}, **{state.SLICE: row["key"]},
        )  # fmt: skip
    picture, words = st.columns([1, 1.35], gap="large")
    with picture:
        pixels = cached.cohort_pixels(made, row["key"])
        stack, piece = one_slice(pixels, place_of(facts, pixels.shape))
        slice_viewer([stack], [piece], key="error-viewer", height_px=360)
    with words:
        proba = np.asarray(row["y_proba"])
        st.html(widgets.bars(proba, classes))
        if samples is None:
            st.caption("This run keeps no Monte-Carlo samples, so there is no histogram to show.")
        else:
            widgets.chart(figures.mc_histogram(samples, classes), "mc-histogram", "monte-carlo-histogram")
            widgets.metrics({name: f"{float(f(samples[None])[0]):.3f}" for name, f in MEASURES.items()})
            st.caption("Entropies and information in nats. Each pass drops other units: spread means doubt.")
