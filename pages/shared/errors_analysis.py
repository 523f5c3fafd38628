"""What the views of Errors that read analyses have in common: what is missing, and galleries of slices."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import streamlit as st

from pages.shared import cached, errors_gallery, state, widgets
from pages.shared.errors_choice import Chosen


def read(chosen: Chosen, file: str) -> dict | None:
    """Read an analysis, or say how to have it made and return None."""
    found = cached.analysis(chosen.run, file)
    if found is None:
        widgets.empty(
            "Not worked out yet",
            f"This run was judged before this was part of it. Have it judged anew: "
            f"`python -m core evaluate {chosen.run.id}`",
            ":material/calculate:",
        )
    return found


def gallery(rows: pd.DataFrame, places: np.ndarray, note: Callable[[int], str], key: str, none: str) -> None:
    """Draw some of the rows, in an order; a click opens the dossier.

    Parameters
    ----------
    rows : DataFrame
        Predictions, with ``key`` and ``p``.
    places : ndarray of int
        Which of them, by their number; only those of a page are looked at.
    note : callable
        Number to the second line of its tile.
    key : str
        Streamlit key.
    none : str
        What to say when there is none.
    """
    if not len(places):
        st.caption(none)
        return
    errors_gallery.draw(
        rows, places,
        lambda page, shown: [
            errors_gallery.tile(row.key, "", row.y_true, row.y_pred, row.p, note(place))
            for place, row in zip(places[shown], page.itertuples(), strict=True)
        ],
        errors_gallery.PER_PAGE, key,
    )  # fmt: skip


def first_page() -> None:
    """Turn back to the first page of a gallery, whose slices change."""
    state.put(**{state.PAGE: None, state.SLICE: None})


def between(low: float | None, high: float | None, few: bool) -> str:
    """Put an interval into words.

    Examples
    --------
    >>> between(0.81, 0.934, False), between(None, None, True)
    ('95 % by patient: 0.810 to 0.934', 'too few patients for an interval')
    """
    if low is None or high is None:
        return "too few patients for an interval"
    return f"95 % by patient: {low:.3f} to {high:.3f}{', of few patients' if few else ''}"
