"""Two slices beside each other, each with the map of what makes it like the other."""

import streamlit as st

from core import runs
from core.explanations.question import METHOD_WORDS, Question
from pages.shared import cached, state
from pages.shared.components.slice_viewer import one_slice, pack_heat, slice_viewer
from pages.shared.subject import Subject


def draw(run: runs.Run, one: Subject, other: Subject, titles: tuple[str, str], key: str) -> None:
    """Draw both sides of a pair.

    Parameters
    ----------
    run : Run
    one, other : Subject
    titles : (str, str)
        What stands above each side.
    key : str
        Streamlit key.
    """
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    method = state.pick(left.selectbox, "Method", METHOD_WORDS, state.PAIR_METHOD)
    with st.spinner("Asking the model about both sides"):
        head = list(run.card()["classes"])[-1]
        *maps, cosine = cached.explain_pair(run, one, other, Question(head, method=method))
    right.markdown(
        f"Cosine similarity **{cosine:.2f}**. Bright is what makes each side like the other, in layer "
        f"`{maps[0].layer}`; each side is asked with the other held still. Dark everywhere: nothing on that side "
        "speaks for likeness."
    )
    for column, it, made, title, side in zip(st.columns(2), (one, other), maps, titles, "ab", strict=True):
        with column:
            st.markdown(f"**{title}** · {it.title}")
            stack, piece = one_slice(it.pixels, it.place)
            slice_viewer(
                [stack], [piece], key=f"{key}-{side}", heat=pack_heat(made.heat[0]), height_px=320,
                panels=(("image", "Image"), ("overlay", "Overlay")),
            )  # fmt: skip
