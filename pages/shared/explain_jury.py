"""The jury of a Siamese run: reference slices that a slice is compared with, and their vote."""

import streamlit as st

from core import runs
from pages.shared import cached, explain_slice, widgets
from pages.shared.components.thumbnail_grid import Tile, sheet, thumbnail_grid
from pages.shared.subject import Subject


def jury(run: runs.Run, it: Subject) -> None:
    """Draw the reference slices of each class, most alike first, and the vote."""
    st.markdown("#### The jury")
    with st.spinner("Calling the jury"):
        verdict = cached.jury(run, it)
    st.markdown(
        f"The slice was compared with {len(verdict.similarities)} reference slices of training patients. "
        f"They vote for **{verdict.winner}**."
    )
    columns = st.columns(len(verdict.votes))
    for column, (name, share) in zip(columns, verdict.votes.items(), strict=True):
        column.metric(name, f"{100 * share:.0f} %")
    tiles = [
        Tile(key=str(place), title=f"{label} · {alike:.2f}", note=patient, badge=f"#{place + 1}",
             tone="good" if label == verdict.winner else "")
        for place, (label, alike, patient) in enumerate(
            zip(verdict.labels, verdict.similarities, verdict.patients, strict=True)
        )
    ]  # fmt: skip
    thumbnail_grid(tiles, sheet(verdict.pictures), selected=None, on_click=lambda key: None, key="jury", tile_px=104)
    st.caption("Reference slices, most alike first, with their cosine similarity (1 is the same direction).")


def draw(run: runs.Run) -> None:
    """Draw the vote on the slice of the address."""
    if run.config.kind != "siamese":
        widgets.empty("Only a Siamese run has a jury", "Choose one in the sidebar, or train one on **Train**.")
        return
    it = explain_slice.subject()
    if it is None:
        explain_slice.choose_subject(run)
        return
    jury(run, it)
