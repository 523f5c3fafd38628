"""The confusion matrix of slices, series or patients, and who stands in each cell."""

import streamlit as st

from core.analysis.confusion import ORDERS, UNITS
from core.comparing.bootstrap import FEW_PATIENTS
from pages.shared import cached, errors_gallery, state, train_views, widgets
from pages.shared.components.confusion_matrix import MANY, confusion_matrix
from pages.shared.errors_choice import Chosen, close

#: Classes up to which a matrix leaves room beside itself for the slices of a cell.
_WIDE = 8
_UNIT = {"slices": "slice", "series": "series", "patients": "patient"}
_SHOWN = {"counts": "Counts", "truth": "Of the truth", "answer": "Of the answer"}
_VOTED = {
    "slices": "",
    "series": " A series is answered by the mean of its slices' probabilities.",
    "patients": " A patient counts once for each class that is shown, and is answered by the mean of the probabilities "
    "of those slices.",
}


def draw(chosen: Chosen) -> None:
    """Draw scores, matrix and, of the open cell, those who stand in it."""
    unit, shares, order, heads = _choices(chosen)
    made = cached.verdicts(chosen.run, heads, chosen.part, unit)
    judged = made.judged
    if not len(judged.true):
        widgets.empty("Nothing to judge", f"No {_UNIT[unit]} of the {chosen.part} part has a truth and an answer.")
        return
    matrix = judged.matrix.ordered(order)
    classes = matrix.classes
    _scores(made, unit)
    true, _, named = state.get(state.CELL).partition("|")
    cell = (classes.index(true), classes.index(named)) if {true, named} <= set(classes) else None
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
        st.markdown(f"#### {' and '.join(heads)}: {unit} of the {chosen.part} part", width="content")
        _compare(chosen.run.id)
    # A large matrix takes the whole width; beside a small one there is room for the slices of a cell.
    share = 1.1 if len(classes) < MANY else 1.5
    left, right = widgets.halves(share, "matrix") if len(classes) <= _WIDE else (st.container(), st.container())
    with left:
        confusion_matrix(
            matrix, unit=unit, shown=shares, selected=cell, on_click=_open_cell(classes), key="matrix",
        )  # fmt: skip
        st.caption(_caption(chosen, made, unit, shares))
    with right:
        if cell:
            _cell(made, true, named, 24 if len(classes) > _WIDE else 12)
        else:
            widgets.empty(
                "No cell chosen", f"Click a cell of the matrix to see its {unit} here.", ":material/touch_app:"
            )


def _choices(chosen: Chosen) -> tuple[str, str, str, tuple[str, ...]]:
    """Draw what is counted and how it is shown."""
    both = {"plane", "sequence"} <= set(chosen.run.card()["classes"])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        unit = state.pick(
            st.segmented_control, "Count", {one: one.capitalize() for one in UNITS}, state.UNIT, required=True,
            on_change=close, help="Slices of one head are alike; series and patients are answered by vote.",
        )  # fmt: skip
        shares = state.pick(
            st.segmented_control, "Show", _SHOWN, state.SHARES, required=True,
            help="Shares of a row tell recall, shares of a column precision.",
        )  # fmt: skip
        order = state.pick(
            st.segmented_control, "Order by", {one: one.capitalize() for one in ORDERS}, state.ORDER, required=True,
            help="By confusion, classes that are taken for each other stand together.",
        )  # fmt: skip
        joint = both and st.toggle(
            "Both heads", key=state.JOINT, bind="query-params", on_change=close,
            help="Plane and sequence of a slice at once: right only where both are.",
        )  # fmt: skip
    return unit, shares, order, ("plane", "sequence") if joint else (chosen.head,)


def _compare(run_id: str) -> None:
    """Draw the way to the comparison with another run."""
    others = [one for one in cached.finished() if one != run_id]
    with st.popover(
        "Compare with another run",
        icon=":material/compare_arrows:",
        disabled=not others,
        help=None if others else "There is no other finished run.",
    ):
        other = st.selectbox("Run", others, key="compare-with")
        if other:
            state.go_button(
                "Compare", "pages/train.py", key="compare", icon=":material/compare_arrows:",
                sidebar={state.OPEN_VIEW: train_views.COMPARE, state.COMPARED: [run_id, other]},
                **{state.RUNS: f"{run_id},{other}"},
            )  # fmt: skip


def _scores(made: cached.Verdicts, unit: str) -> None:
    judged, (low, high) = made.judged, made.interval
    wrong = int((judged.true != judged.named).sum())
    widgets.metrics(
        {
            "Accuracy": f"{100 * judged.matrix.accuracy:.1f} %",
            "Balanced accuracy": f"{100 * judged.matrix.balanced_accuracy:.1f} %",
            "Majority baseline": f"{100 * judged.matrix.majority:.1f} %",
            unit.capitalize(): f"{len(judged.true):,}",
            "Mistakes": f"{wrong:,}",
            "From patients": f"{made.patients:,}",
        }
    )
    if low == low:
        few = "; with few patients such an interval is too narrow" if made.patients < FEW_PATIENTS else ""
        st.caption(f"95 % interval of the accuracy by patient: {100 * low:.1f} to {100 * high:.1f} %{few}.")


def _caption(chosen: Chosen, made: cached.Verdicts, unit: str, shares: str) -> str:
    beside = {
        "counts": "Small: share of the truth.",
        "truth": "Shares of each row.",
        "answer": "Shares of each column.",
    }
    cohorts = " and ".join(made.cohorts)
    said = (
        f"{unit.capitalize()} of the {chosen.part} part, cohort {cohorts}. Rows are the truth, columns the prediction. "
        f"{beside[shares]} Click a cell, or use arrow keys and Enter.{_VOTED[unit]}"
    )
    if made.judged.unanswered:
        said += f" {made.judged.unanswered:,} slices have no vote, for their probabilities are not numbers."
    return said


def _open_cell(classes):
    """Return the callback that opens a cell of the matrix."""
    return lambda i, j: state.put(**{state.CELL: f"{classes[i]}|{classes[j]}", state.SLICE: None, state.PAGE: None})


def _cell(made: cached.Verdicts, true: str, named: str, per_page: int) -> None:
    """Draw those who stand in one cell, most confident first."""
    judged = made.judged
    units = judged.members(true, named)
    how = "named rightly" if true == named else f"taken for {named}"
    st.markdown(
        f"**{len(units):,} {judged.unit if len(units) != 1 else _UNIT[judged.unit]} of {true} {how}**, surest first"
    )
    if not len(units):
        st.caption("There is none. Choose another cell.")
        return

    def tiles(page, shown):
        return [
            errors_gallery.tile(
                row.key, row.PatientID, true, named, judged.p[at],
                "" if judged.unit == "slices" else f" · {judged.slices[at]} slices",
            )
            for row, at in zip(page[["key", "PatientID"]].itertuples(), units[shown], strict=True)
        ]  # fmt: skip

    errors_gallery.draw(made.rows, judged.at[units], tiles, per_page, "cell")
