"""Where a model fails, whether it knew, and the slices themselves."""

import numpy as np
import streamlit as st

from core import evaluation, figures, runs, uncertainty
from core.errors import CoreError
from pages.shared import cached, state, widgets
from pages.shared.components.confusion_matrix import confusion_matrix
from pages.shared.components.slice_viewer import one_slice, slice_viewer
from pages.shared.components.thumbnail_grid import Tile, thumbnail_grid
from pages.shared.stacks import place_of

WIDE = 6  # classes
MEASURES = {
    "Predictive entropy": uncertainty.predictive_entropy,
    "Mutual information": uncertainty.mutual_information,
    "Expected entropy": uncertainty.expected_entropy,
    "Variation ratio": uncertainty.variation_ratio,
}

widgets.header("Errors", "Where a model is wrong, whether it knew, and the very slices it got wrong.")


def choose(table) -> tuple:
    """Draw head and split choice; return both, and which of the head's predictions they leave."""
    heads = list(dict.fromkeys(table["head"]))
    parts = [part for part in ("test", "validation", "train") if (table["split"] == part).any()]
    left, right, _ = st.columns([1, 1.2, 2])
    head = left.segmented_control(
        "Head", heads, default=heads[-1], key="of_head", bind="query-params", required=True, on_change=close,
        help="Which answer of the model is looked at.",
    )  # fmt: skip
    part = right.segmented_control(
        "Slices of", parts, default=parts[0], key="of_split", bind="query-params", required=True, on_change=close,
        help="Patients of the test part were never used in training.",
    )  # fmt: skip
    rows = table[table["head"] == head]
    # A slice of which nobody knows the truth was answered, but is neither right nor wrong.
    return head, part, rows, ((rows["split"] == part) & rows["y_true"].notna()).to_numpy()


def close() -> None:
    """Forget the open cell and slice."""
    state.put(**{state.CELL: None, state.SLICE: None, state.PAGE: None})


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


def leave() -> None:
    """Close the slice."""
    state.put(**{state.SLICE: None})


@st.dialog("One slice", width="large", on_dismiss=leave)
def dossier(row, samples: np.ndarray | None, classes: list[str]) -> None:
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
            st.plotly_chart(figures.mc_histogram(samples, classes), width="stretch")
            widgets.metrics({name: f"{float(f(samples[None])[0]):.3f}" for name, f in MEASURES.items()})
            st.caption("Entropies and information in nats. Each pass drops other units: spread means doubt.")


def risk(table, samples: np.ndarray | None) -> None:
    """Draw accuracy against the share of slices kept, and what a threshold would mean."""
    left, right = st.columns([1, 2.2], gap="large")
    with left:
        options = list(MEASURES) if samples is not None else ["Predictive entropy"]
        measure = st.selectbox(
            "Uncertainty", options, key="measure", bind="query-params",
            help="From the Monte-Carlo passes where the run keeps them, else from its probabilities.",
        )  # fmt: skip
        kept = st.slider("Slices kept (%)", 5, 100, 90, key="kept", bind="query-params")
        passes = samples if samples is not None else np.stack([np.asarray(p)[None] for p in table["y_proba"]])
        values = MEASURES[measure](passes)
        correct = (table["y_true"] == table["y_pred"]).to_numpy()
        coverage, accuracy = uncertainty.risk_coverage(correct, values)
        at = max(0, round(kept / 100 * len(correct)) - 1)
        gain = 100 * (accuracy[at] - correct.mean())
        st.metric("Accuracy on what is kept", f"{100 * accuracy[at]:.1f} %", f"{gain:+.1f} points against all")
        st.markdown(
            f"**{len(correct) - at - 1:,}** of {len(correct):,} slices go to a person, the least certain first."
        )
    with right:
        st.plotly_chart(figures.risk_coverage(coverage, accuracy, kept / 100), width="stretch")


def page(run: runs.Run) -> None:
    """Draw the page of one run."""
    table = cached.predictions(run)
    head, part, rows, kept = choose(table)
    rows = rows[kept]
    names = run.card()["classes"][head]
    seen = set(rows["y_true"]) | set(rows["y_pred"])
    classes = [name for name in names if name in seen]
    samples = cached.mc_samples(run, head)
    if samples is not None:
        samples = samples[kept]
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
    chosen = (classes.index(true), classes.index(predicted)) if {true, predicted} <= set(classes) else None
    st.markdown(f"#### Confusion matrix: {head}, {part} slices")
    # A large matrix takes the whole width; beside a small one there is room for the slices of a cell.
    left, right = st.columns([1.1, 1], gap="large") if len(classes) <= WIDE else (st.container(), st.container())
    with left:
        confusion_matrix(matrix.counts, classes, selected=chosen, on_click=open_cell(classes), key="matrix")
        st.caption(
            "Rows are the truth, columns the prediction. Click a cell, or use arrow keys and Enter. "
            + ("" if len(classes) == len(names) else "Classes that neither occur nor are named are left out.")
        )
    with right:
        if chosen:
            gallery(rows, true, predicted, 24 if len(classes) > WIDE else 12)
        else:
            widgets.empty(
                "No cell chosen", "Click a cell of the matrix to see its slices here.", ":material/touch_app:"
            )
    found = np.flatnonzero(rows["key"] == state.get(state.SLICE))
    if len(found):
        dossier(rows.iloc[found[0]], samples[found[0]] if samples is not None else None, names)
    st.markdown("#### Does it know when it is wrong?")
    risk(rows, samples)


try:
    run_id = st.session_state[state.RUN]
    if run_id is None:
        widgets.empty("No finished run yet", "Start one on **Train**; when it is done it can be chosen in the sidebar.")
    else:
        page(runs.read_run(run_id))
except CoreError as error:
    st.error(str(error))
