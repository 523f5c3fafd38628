"""The confusion matrix a person can click."""

from collections.abc import Callable, Sequence

import numpy as np
import streamlit as st

from pages.shared.components import register

_component = register("confusion_matrix", '<div class="matrix"></div>')


def confusion_matrix(
    counts: np.ndarray,
    classes: Sequence[str],
    *,
    selected: tuple[int, int] | None,
    on_click: Callable[[int, int], None],
    key: str,
) -> None:
    """Draw a confusion matrix whose cells are buttons.

    Parameters
    ----------
    counts : ndarray of int, shape (n, n)
        Rows are the truth, columns the prediction.
    classes : sequence of str, length n
    selected : tuple of int or None
        Row and column of the cell that is marked.
    on_click : callable
        Called with row and column of a cell that holds at least one slice.
    key : str
        Streamlit key.
    """

    def clicked() -> None:
        cell = st.session_state[key].get("clicked")
        if cell:
            on_click(int(cell[0]), int(cell[1]))

    data = {"classes": list(classes), "counts": np.asarray(counts).tolist(), "selected": selected}
    _component(key=key, data=data, on_clicked_change=clicked)
