"""The tray of strange slices: not a brain, not MRI, something else."""

import numpy as np
import streamlit as st

from core.analysis import doubt_figures, novelty_report
from pages.shared import cached, state, widgets
from pages.shared.errors_analysis import first_page, gallery, read
from pages.shared.errors_choice import Chosen

#: Opinion → its words, and what is measured.
KINDS = {
    "plane": ("Not a brain", "One less the probability of a brain"),
    "distance": ("Unlike the training slices", "Distance from the training slices; theirs is about 1"),
}


def draw(chosen: Chosen) -> None:
    """Draw how strange slices are, a threshold, and the tray."""
    st.markdown(f"#### Not a brain, not MRI, or something else? {chosen.part} slices")
    found = read(chosen, novelty_report.FILE)
    values = cached.analysis(chosen.run, novelty_report.VALUES_FILE)
    if found is None or values is None:
        return
    if not found["kinds"]:
        widgets.empty("Nothing can tell", found["why_not"], ":material/help:")
        return
    words = {name: KINDS[name][0] for name in found["kinds"]}
    name = state.pick(
        st.segmented_control, "Judged by", words, state.STRANGE, default=list(words)[-1], required=True,
        on_change=_other_kind,
        help="Not a brain: a plane that the shipped model learnt between brains and other things. Unlike the training "
        "slices: how far a slice's features lie from theirs.",
    )  # fmt: skip
    kind = found["kinds"][name]
    # Slices stand in the order of one head's predictions, and every head has the same.
    order = np.arange(len(cached.predictions(chosen.run))) % len(values)
    mine = values[name].to_numpy()[order[chosen.rows.index]]
    # Beside the distance, which says that a slice is unusual, the plane says that it is no brain.
    plane = found["kinds"].get("plane")
    other = (
        values["plane"].to_numpy()[order[chosen.rows.index]] >= plane["above"] if plane else np.zeros(len(mine), bool)
    )
    left, right = st.columns([1, 2], gap="large")
    with left:
        top = kind["edges"][-1]
        above = st.slider(
            "Strange from", 0.0, float(top), float(min(kind["above"], top)), step=float(top) / 200,
            key=state.STRANGE_FROM, bind="query-params", on_change=first_page, format="%.3f",
        )  # fmt: skip
        strange = np.flatnonzero(~(mine < above))
        st.metric("Strange slices", f"{len(strange):,}", f"of {len(mine):,}", delta_color="off", delta_arrow="off")
        st.caption(_threshold_words(name, found))
    with right:
        widgets.chart(
            cached.of_analysis(
                chosen.run, novelty_report.FILE, doubt_figures.strangeness, kind, above, KINDS[name][1],
                at=(name, above),
            ), "strangeness", f"{chosen.run.id}-{chosen.head}-strangeness")  # fmt: skip
    strange = strange[np.argsort(-np.nan_to_num(mine[strange], nan=np.inf), kind="stable")]
    st.markdown(f"**The tray: {len(strange):,} slices**, strangest first")
    gallery(
        chosen.rows, strange, lambda place: f"{mine[place]:.2f}{', no brain' if other[place] else ''}", "strange",
        "No slice is as strange as that.",
    )  # fmt: skip


def _other_kind() -> None:
    """Let the threshold of another measure begin where that one's stands."""
    st.session_state.pop(state.STRANGE_FROM, None)
    first_page()


def _threshold_words(name: str, found: dict) -> str:
    if name == "plane":
        return (
            "The threshold came with the model: `classify` and Study call what lies above it *not a brain*. "
            + found["why_not"]
        )
    slices, patients = found["fitted"]
    return (
        f"Fitted on {slices:,} training slices of {patients} patients; the threshold is where "
        f"{100 * novelty_report.LOST:g} in 100 validation slices are called strange. It asks whether a slice is like "
        "the training slices, so those of another scanner may be strange and brains all the same."
    )
