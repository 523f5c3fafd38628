"""The run's slices as a map: what the model sees alike lies together; what is chosen on it becomes a gallery."""

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from core.analysis import embedding_map, map_figures
from core.uncertainty import predictive_entropy
from pages.shared import cached, state, tasks, widgets
from pages.shared.errors_choice import Chosen
from pages.shared.errors_gallery import gallery

COLOURS = ("Label", "Prediction", "Right or wrong", "Uncertainty", "Vendor", "Patient", "Part")
#: Corners that a link keeps of a lasso.
_CORNERS = 48
_CHART = "map-chart"


def draw(chosen: Chosen) -> list[str] | None:
    """Draw the map and, of what is chosen on it, the slices; return their keys in order."""
    st.markdown("#### What does the model see alike?")
    kept = cached.map_of(chosen.run)
    if kept is None:
        widgets.empty(
            "This run has no map yet",
            f"It was evaluated before there were maps. Have it drawn: `python -m core evaluate {chosen.run.id}`",
        )
        return None
    method, by, everything = controls()
    if method not in kept.points:
        make(chosen, method)
        return None
    rows = cached.predictions_of(chosen.run, chosen.head).iloc[kept.slices]
    here = np.ones(len(rows), bool) if everything else (rows["split"] == chosen.part).to_numpy()
    points = kept.points[method]
    outline = area()
    thinned = f", {len(kept.slices):,} of {kept.of:,}, each kind by its share" if kept.of > len(kept.slices) else ""
    axes = [f"component {at} ({100 * share:.0f} % of the variance)" for at, share in enumerate(kept.explained, 1)]
    st.caption(f"Each point is a slice{thinned}. Draw a lasso or a box around some to see them beside it.")
    hover = rows["PatientID"] + " · label " + rows["y_true"].fillna("not known") + ", model " + rows["y_pred"]
    chart = map_figures.embedding_map(
        points[here], colours(by, chosen, kept.slices[here], rows[here]),
        hover[here].to_numpy(),
        tuple(axes) if method == "PCA" else ("", ""), outline,
    )  # fmt: skip
    left, right = widgets.halves(1.6, "map")
    # What is chosen belongs to one way of laying out.
    left.plotly_chart(
        chart, width="stretch", key=f"{_CHART}-{method}", on_select=partial(take_area, f"{_CHART}-{method}"),
        selection_mode=("box", "lasso"), config={"displaylogo": False, "scrollZoom": True},
    )  # fmt: skip
    with right:
        return selected(rows[here & embedding_map.inside(points, outline)]) if len(outline) else nothing_chosen()


def nothing_chosen() -> None:
    """Say how slices are chosen."""
    widgets.empty("Nothing chosen", "Draw around points to see their slices here.", ":material/lasso_select:")


def selected(rows: pd.DataFrame) -> list[str]:
    """Draw the slices that were chosen, the least sure first; return their keys."""
    rows = rows.sort_values("p")
    wrong = int((rows["y_true"].notna() & (rows["y_true"] != rows["y_pred"])).sum())
    patients = rows["PatientID"].nunique()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**{len(rows):,} slices of {patients} {'patient' if patients == 1 else 'patients'}**, {wrong:,} wrong; "
            "least sure first", width="content",
        )  # fmt: skip
        st.button("Let go", key="map-let-go", icon=":material/close:", type="tertiary", on_click=let_go)
    if len(rows):
        gallery(rows, tile, "map", 92)
    return list(rows["key"])


def tile(row) -> dict[str, str]:
    """What stands on a slice's thumbnail."""
    if pd.isna(row.y_true) or row.y_true == row.y_pred:
        return {"title": f"{row.y_pred} {100 * row.p:.0f} %", "note": row.PatientID}
    return {"title": f"{row.y_pred} {100 * row.p:.0f} %", "note": row.PatientID, "tone": "bad",
            "badge": f"{row.y_true} → {row.y_pred}"}  # fmt: skip


def controls() -> tuple[str, str, bool]:
    """Draw the choice of layout, colour and parts."""
    left, middle, right = st.columns([1.2, 1.2, 2], vertical_alignment="bottom")
    method = left.segmented_control(
        "Laid out by", embedding_map.METHODS, default=embedding_map.METHODS[0], key="layout", bind="query-params",
        required=True, on_change=let_go,
        help="Principal components are there at once. t-SNE and UMAP keep neighbours together better and take minutes.",
    )  # fmt: skip
    by = middle.selectbox("Coloured by", COLOURS, key="colour", bind="query-params")
    everything = right.toggle("Slices of all parts", value=True, key="all_parts", bind="query-params")
    return method, by, everything


def make(chosen: Chosen, method: str) -> None:
    """Offer to lay out by another way, or show how far that is."""
    key = ("map", chosen.run.id, method)
    task = tasks.get(key)
    if task is not None and not task.finished:
        tasks.follow(key, f"Laying out by {method}", "seconds, about")
        return
    if method == "UMAP" and not embedding_map.has_umap():
        widgets.empty("UMAP is not installed", embedding_map.NO_UMAP, ":material/extension:")
        return
    if task is not None and task.error:
        st.error(task.error)
    widgets.empty(
        f"Not yet laid out by {method}",
        "It is made once and kept in the run's folder: seconds for a thousand slices, minutes for twenty thousand.",
        ":material/scatter_plot:",
    )
    if st.button(f"Lay out by {method}", type="primary", icon=":material/play_arrow:"):
        tasks.forget(key)
        tasks.start(key, lambda report: embedding_map.lay_out_apart(chosen.run, method, report))
        st.rerun()


def colours(by: str, chosen: Chosen, slices: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    """Return each point's word or, for uncertainty, number."""
    truth = rows["y_true"].fillna("not known").to_numpy(object)
    if by == "Uncertainty":
        samples = cached.mc_samples(chosen.run, chosen.head)
        passes = samples[slices] if samples is not None else np.stack(rows["y_proba"].to_list())[:, None]
        return predictive_entropy(passes)
    if by == "Right or wrong":
        right = np.where((rows["y_true"] == rows["y_pred"]).to_numpy(bool), "right", "wrong")
        return np.where(rows["y_true"].isna(), "not known", right).astype(object)
    if by == "Vendor":
        vendors = pd.Series("not known", rows["key"], dtype=object)
        for name in rows["cohort"].unique():
            there = cached.headers(name).table["Manufacturer"].reindex(rows["key"])
            vendors = vendors.where(there.isna().to_numpy(), there.to_numpy(object))
        return vendors.replace("", "not known").to_numpy(object)
    column = {"Prediction": "y_pred", "Patient": "PatientID", "Part": "split"}.get(by)
    return truth if column is None else rows[column].to_numpy(object)


def area() -> np.ndarray:
    """Return the corners that the address names, (k, 2); none where it names nothing usable."""
    try:
        numbers = np.array([float(word) for word in state.get(state.AREA).split()])
    except ValueError:
        numbers = np.empty(0)
    usable = len(numbers) >= 6 and len(numbers) % 2 == 0 and np.isfinite(numbers).all()
    return numbers[: 2 * _CORNERS].reshape(-1, 2) if usable else np.empty((0, 2))


def take_area(chart: str) -> None:
    """Write what was drawn on the map to the address, as a callback."""
    drawn = st.session_state[chart].selection
    corners: list[tuple[float, float]] = []
    if drawn.lasso:
        x, y = drawn.lasso[-1]["x"], drawn.lasso[-1]["y"]
        step = max(1, -(-len(x) // _CORNERS))
        corners = list(zip(x[::step], y[::step], strict=True))
    elif drawn.box:
        (x0, x1), (y0, y1) = drawn.box[-1]["x"], drawn.box[-1]["y"]
        corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    text = " ".join(f"{number:.4g}" for corner in corners for number in corner)
    state.put(**{state.AREA: text, state.PAGE: None, state.SLICE: None})


def let_go() -> None:
    """Forget what is chosen on the map."""
    state.put(**{state.AREA: None, state.PAGE: None, state.SLICE: None})
