"""The confusion matrix of a run, epoch by epoch."""

import streamlit as st

from core import figures, runs
from core.learning import epoch_figures
from pages.shared import cached, state

MONITORS = {"val_loss": "validation loss", "loss": "training loss"}


@st.fragment
def draw(run: runs.Run) -> None:
    """Draw a slider over epochs, the confusion matrix after the chosen one, and accuracy beside it.

    Nothing is drawn for a run that kept no answers by epoch, such as the shipped model.
    """
    kept = cached.epoch_answers(run)
    if kept is None or not kept.numbers:
        return
    heads = [head for head in kept.classes if kept.parts(head)]
    if not heads:
        return
    st.markdown("**Confusion matrix by epoch**")
    st.caption("Move the slider and see which classes the model learns to tell apart first, and which it never does.")
    place, head, part = _choose(run, kept, heads)
    matrix = kept.matrix(head, part, place)
    left, right = st.columns([1.15, 1], gap="large")
    with left:
        st.plotly_chart(figures.confusion_matrix(matrix), width="stretch", key=f"epoch-matrix-{run.id}")
    with right:
        mark = kept.marks[place]
        gain = matrix.accuracy - kept.accuracy(head, part)[0]
        one, other = st.columns(2)
        one.metric(
            f"Accuracy, {part}", f"{100 * matrix.accuracy:.1f} %",
            f"{100 * gain:+.1f} points since epoch {kept.numbers[0]}" if place else None,
        )  # fmt: skip
        other.metric(MONITORS[mark.monitor].capitalize(), f"{mark.value:.3f}")
        st.plotly_chart(
            epoch_figures.accuracy_by_epoch(kept, head, place), width="stretch", key=f"epoch-curve-{run.id}"
        )
    st.caption(_small_print(run, kept))


def _choose(run: runs.Run, kept, heads: list[str]) -> tuple[int, str, str]:
    """Draw the choices; returns which kept epoch, which head and which part of the split."""
    slide, left, right = st.columns([2.4, 1, 1.2], gap="medium")
    head = heads[0]
    if len(heads) > 1:
        head = left.segmented_control("Head", heads, default=heads[-1], key=f"epoch-head-{run.id}", required=True)
    parts = kept.parts(head)
    default = "test" if "test" in parts else parts[0]
    part = right.segmented_control("Slices of", parts, default=default, key=f"epoch-part-{run.id}", required=True)
    numbers = list(kept.numbers)
    if len(numbers) == 1:
        slide.caption(f"Epoch {numbers[0]}; the slider comes with the second one.")
        return 0, head, part
    asked = state.get_int(state.EPOCH) if state.get(state.FOLLOWED) == run.id else 0
    first = next(number for number in (asked, kept.best, numbers[-1]) if number in numbers)
    key = f"epoch-{run.id}"
    number = slide.select_slider(
        "After epoch", numbers, value=first, key=key, on_change=_remember, args=(run.id, key),
        format_func=lambda number: epoch_figures.epoch_name(kept, numbers.index(number)),
    )  # fmt: skip
    return numbers.index(number), head, part


def _remember(run_id: str, key: str) -> None:
    state.put(**{state.FOLLOWED: run_id, state.EPOCH: st.session_state[key]})


def _small_print(run: runs.Run, kept) -> str:
    how = "by the class whose training slices lie nearest" if run.config.kind == "siamese" else "its likeliest class"
    thinned = "" if len(kept.numbers) == kept.numbers[-1] else "Of many epochs an even choice is kept. "
    return (
        f"Each slice counts as {how}. {thinned}The best epoch is the one with the least "
        f"{MONITORS[kept.marks[-1].monitor]}; its model is what the run keeps."
    )
