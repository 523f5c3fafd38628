"""The confusion matrix, and the slices behind each cell."""

import streamlit as st

from core import evaluation
from pages.shared import cached, state, widgets
from pages.shared.components.confusion_matrix import confusion_matrix
from pages.shared.components.thumbnail_grid import Tile, thumbnail_grid
from pages.shared.errors_choice import Chosen

_WIDE = 6  # classes


def draw(chosen: Chosen) -> None:
    """Draw scores, matrix and, of the open cell, the slices."""
    rows, classes, names = chosen.rows, chosen.classes, chosen.names
    head, part = chosen.head, chosen.part
    matrix = evaluation.confusion(rows["y_true"], rows["y_pred"], classes)
    widgets.metrics(
        {
            "Accuracy": f"{100 * matrix.accuracy:.1f} %",
            "Majority baseline": f"{100 * matrix.majority:.1f} %",
            "Slices": f"{len(rows):,}",
            "Patients": rows["PatientID"].nunique(),
            "Mistakes": int((rows["y_true"] != rows["y_pred"]).sum()),
        }
    )
    true, _, predicted = state.get(state.CELL).partition("|")
    cell = (classes.index(true), classes.index(predicted)) if {true, predicted} <= set(classes) else None
    st.markdown(f"#### Confusion matrix: {head}, {part} slices")
    # A large matrix takes the whole width; beside a small one there is room for the slices of a cell.
    left, right = st.columns([1.1, 1], gap="large") if len(classes) <= _WIDE else (st.container(), st.container())
    with left:
        confusion_matrix(matrix.counts, classes, selected=cell, on_click=open_cell(classes), key="matrix")
        st.caption(
            "Rows are the truth, columns the prediction. Click a cell, or use arrow keys and Enter. "
            + ("" if len(classes) == len(names) else "Classes that neither occur nor are named are left out.")
        )
    with right:
        if cell:
            gallery(rows, true, predicted, 24 if len(classes) > _WIDE else 12)
        else:
            widgets.empty(
                "No cell chosen", "Click a cell of the matrix to see its slices here.", ":material/touch_app:"
            )


def open_cell(classes):
    """Return the callback that opens a cell of the matrix."""
    return lambda i, j: state.put(**{state.CELL: f"{classes[i]}|{classes[j]}", state.SLICE: None, state.PAGE: None})


def gallery(rows, true: str, predicted: str, per_page: int) -> None:
    """Draw the slices of one cell, most confident first."""
    rows = rows[(rows["y_true"] == true) & (rows["y_pred"] == predicted)].sort_values("p", ascending=False)
    right = true == predicted
    how = "named rightly" if right else f"taken for {predicted}"
    st.markdown(f"**{len(rows):,} slices of {true} {how}**, surest first")
    if rows.empty:
        st.caption("There is none. Choose another cell.")
        return
    shown = widgets.pager(
        len(rows), per_page, state.get_int(state.PAGE, 1), lambda page: state.put(**{state.PAGE: page}), "cell"
    )
    page = rows.iloc[shown]
    tiles = [
        Tile(key=row.key, title=f"{predicted} {100 * row.p:.0f} %", note=row.PatientID,
             badge="" if right else f"{true} → {predicted}", tone="good" if right else "bad")
        for row in page.itertuples()
    ]  # fmt: skip
    thumbnail_grid(
        tiles, cached.run_sheet(page), selected=state.get(state.SLICE) or None,
        on_click=lambda key: state.put(**{state.SLICE: key}), key="cell-tiles", tile_px=100,
    )  # fmt: skip
