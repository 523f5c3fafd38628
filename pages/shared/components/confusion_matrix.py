"""The confusion matrix a person can click."""

from collections.abc import Callable

import numpy as np
import streamlit as st

from core.analysis.confusion import SHARES, ConfusionMatrix
from pages.shared.components import register

#: Classes from which on cells are drawn narrower, and from which on as narrow as can be.
MANY, CROWD = 7, 17

_component = register("confusion_matrix", '<div class="matrix"></div>')


def confusion_matrix(
    matrix: ConfusionMatrix,
    *,
    unit: str = "slices",
    shown: str = "counts",
    selected: tuple[int, int] | None,
    on_click: Callable[[int, int], None],
    key: str,
) -> None:
    """Draw a confusion matrix whose cells are buttons.

    Parameters
    ----------
    matrix : ConfusionMatrix
    unit : str
        What is counted, for its words.
    shown : {"counts", "truth", "answer"}
        What stands large in a cell: how many, or their share of the row or of the column.
    selected : tuple of int or None
        Row and column of the cell that is marked.
    on_click : callable
        Called with row and column of a cell that holds at least one.
    key : str
        Streamlit key.
    """

    def clicked() -> None:
        cell = st.session_state[key].get("clicked")
        if cell:
            on_click(int(cell[0]), int(cell[1]))

    of = shown if shown in SHARES else SHARES[0]
    n = len(matrix.classes)
    data = {
        "classes": list(matrix.classes), "counts": matrix.counts.tolist(), "selected": selected, "unit": unit, "of": of,
        "shares": np.nan_to_num(matrix.shares(of)).round(4).tolist(), "large": "share" if shown in SHARES else "count",
        "density": "crowd" if n >= CROWD else "many" if n >= MANY else "",
    }  # fmt: skip
    _component(key=key, data=data, on_clicked_change=clicked)
