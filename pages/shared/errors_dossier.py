"""The dossier of one slice: picture, what the model says, its neighbours in training, why it has its label."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from core import cohort, figures, images, uncertainty
from core.errors import CoreError
from core.explanations.question import Question
from pages.shared import cached, errors_sayings, state, tasks, widgets
from pages.shared.components.thumbnail_grid import Tile, thumbnail_grid
from pages.shared.errors_choice import Chosen
from pages.shared.subject import from_cohort
from pages.shared.viewer import draw_stacks, header_facts, header_panel, why

MEASURES = {
    "Predictive entropy": (uncertainty.predictive_entropy, "All doubt, in nats"),
    "Expected entropy": (uncertainty.expected_entropy, "Doubt that lies in the picture, in nats"),
    "Mutual information": (uncertainty.mutual_information, "Doubt that lies in the model, in nats"),
}
_HEAT_PX = 200
PANELS = ("Answers", "Nearest in training", "Label", "Header")


@dataclass(frozen=True)
class Dossier:
    """The slice that is open, and what leads on from it.

    Attributes
    ----------
    chosen : Chosen
    at : int
        Which of the run's slices.
    row : Series
        Its prediction by the chosen head.
    made : Cohort
    listed : list of str
        Keys that the arrows lead through; empty where the slice stands in no list.
    """

    chosen: Chosen
    at: int
    row: pd.Series
    made: cohort.Cohort
    listed: list[str]

    @property
    def key(self) -> str:
        """Key of the slice."""
        return self.row["key"]


def open_chosen(chosen: Chosen, listed: Sequence[str] | None = None) -> None:
    """Open the dossier of the slice that the address names, if it is one of the run's."""
    if state.get(state.SLICE) in cached.places_of(chosen.run, chosen.head):
        draw(chosen, list(listed) if listed is not None else cell_keys(chosen))


def cell_keys(chosen: Chosen) -> list[str]:
    """Keys of the open cell, or without one of all mistakes, surest first."""
    rows = chosen.rows
    true, _, predicted = state.get(state.CELL).partition("|")
    in_cell = (rows["y_true"] == true) & (rows["y_pred"] == predicted)
    rows = rows[in_cell if in_cell.any() else rows["y_true"] != rows["y_pred"]]
    return list(rows.sort_values("p", ascending=False)["key"])


def leave() -> None:
    """Close the slice."""
    state.put(**{state.SLICE: None})


def go(key: str) -> None:
    """Open another slice's dossier."""
    state.put(**{state.SLICE: key})


@st.dialog("One slice", width="large", on_dismiss=leave)
def draw(chosen: Chosen, listed: list[str]) -> None:
    """Draw the dossier of the slice of the address; a step to another redraws nothing else."""
    places = cached.places_of(chosen.run, chosen.head)
    if (key := state.get(state.SLICE)) not in places:
        st.caption("This slice is none of the run's.")
        return
    at = places.get_loc(key)
    row = cached.predictions_of(chosen.run, chosen.head).iloc[at]
    one = Dossier(chosen, at, row, cached.open_cohort(row["cohort"]), listed if key in listed else [])
    if one.key not in one.made.table.index:
        st.warning("This slice is no longer in its cohort, so only the model's answers can be shown.")
        answers(one)
        return
    head(one)
    picture, words = st.columns([1, 1.2], gap="medium")
    with picture:
        image(one)
        errors_sayings.draw(one.made, one.key, chosen.head, row["y_true"], chosen.run.id)
    with words:
        panel = st.segmented_control(
            "Panel", PANELS, default=PANELS[0], required=True, key="dossier", bind="query-params",
            label_visibility="collapsed",
        )  # fmt: skip
        {"Answers": answers, "Nearest in training": alike, "Label": label, "Header": header}[panel](one)


def head(one: Dossier) -> None:
    """Draw who and what, the arrows, and the ways on."""
    row, keys = one.row, one.listed
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.html(f"<b>{widgets.escape(row['PatientID'])}</b> {verdict(row)} {widgets.chip(row['split'], 'plain')}")
        if keys:
            at = keys.index(one.key)
            st.button(
                ":material/chevron_left:", key="dossier-back", shortcut="Left", disabled=at == 0, on_click=go,
                args=(keys[max(at - 1, 0)],), help="The slice before it in this list",
            )  # fmt: skip
            st.button(
                ":material/chevron_right:", key="dossier-on", shortcut="Right", disabled=at == len(keys) - 1,
                on_click=go, args=(keys[min(at + 1, len(keys) - 1)],), help="The next slice of this list",
            )  # fmt: skip
            st.caption(f"{at + 1} of {len(keys):,}", width="content")
        for name, page, icon in (("Explain", "explain", "lightbulb"), ("Browse", "browse", "grid_view")):
            state.go_button(
                name, f"pages/{page}.py", key=f"dossier-{page}", icon=f":material/{icon}:",
                sidebar={state.COHORT: row["cohort"]}, **{state.SLICE: one.key},
            )  # fmt: skip


def verdict(row: pd.Series) -> str:
    """Return HTML of truth and prediction."""
    said = widgets.chip(f"model: {row['y_pred']} {_percent(row['p'])}", "plain" if pd.isna(row["y_true"]) else (
        "good" if row["y_true"] == row["y_pred"] else "bad"))  # fmt: skip
    truth = "not known" if pd.isna(row["y_true"]) else row["y_true"]
    return f"{widgets.chip(f'label: {truth}', 'plain')} {said}"


def _percent(p: float) -> str:
    return f"{100 * p:.0f} %" if np.isfinite(p) else ""


def image(one: Dossier) -> None:
    """Draw the slice in its series; the arrow keys of the picture lead to its neighbours there."""
    uid = one.row["SeriesInstanceUID"]
    try:
        place = cached.series_rows(one.made, uid).index.get_loc(one.key)
        draw_stacks(one.made, uid, place, key="dossier-viewer", height_px=330, follow=False)
    except CoreError as error:
        st.warning(f"This series cannot be drawn: {error}")


def answers(one: Dossier) -> None:
    """Draw each head's decision, the spread over Monte-Carlo passes, the doubt, and where the model looked."""
    run, classes = one.chosen.run, one.chosen.run.card()["classes"]
    columns = st.columns(len(classes), gap="medium")
    for column, (name, names) in zip(columns, classes.items(), strict=True):
        row = cached.predictions_of(run, name).iloc[one.at]
        proba = np.asarray(row["y_proba"], float)
        column.html(
            f"<b>{name.capitalize()}</b> {verdict(row)}"
            + (widgets.bars(proba, names) if np.isfinite(proba).all() else "<br>Its probabilities are no numbers.")
        )
    samples = cached.mc_samples(run, one.chosen.head)
    drawn = None if samples is None else np.asarray(samples[one.at], float)
    spread, looked = st.columns([2, 1], gap="medium")
    with looked:
        heat(one)
    if drawn is None or not np.isfinite(drawn).all():
        spread.caption("This run keeps no Monte-Carlo samples of this slice, so there is no histogram to show.")
        return
    with spread:
        widgets.chart(
            figures.mc_histogram(drawn, one.chosen.names), "dossier-mc", f"{one.chosen.run.id}-{one.chosen.head}-passes"
        )
    for column, (name, (measure, meaning)) in zip(st.columns(len(MEASURES)), MEASURES.items(), strict=True):
        column.metric(name, f"{float(measure(drawn[None])[0]):.3f}", help=meaning)


def heat(one: Dossier) -> None:
    """Draw the Grad-CAM thumbnail when it is there; it is made meanwhile, and nothing waits for it."""
    key = ("grad-cam", one.chosen.run.id, one.chosen.head, one.row["cohort"], one.key)
    if tasks.get(key) is None:
        tasks.start(key, lambda report: heat_png(one))
    waiting = not tasks.get(key).finished
    st.fragment(show_heat, run_every=1.0 if waiting else None)(key)


def show_heat(key: tuple) -> None:
    """Draw a finished task's picture, or say that it is being made."""
    task = tasks.get(key)
    if task is None or not task.finished:
        st.caption("Asking the model where it looked …")
    elif task.result is None:
        st.caption(f"No Grad-CAM: {task.error or 'it could not be made.'}")
    else:
        st.image(task.result, width=190)
        st.caption("Grad-CAM: what speaks for the answer. More on *Explain*.")


def heat_png(one: Dossier) -> np.ndarray:
    """Ask the worker where the model looked, and lay it over the slice: (rows, columns, 3) uint8."""
    it = from_cohort(one.row["cohort"], one.key)
    found = cached.explain(one.chosen.run, it, Question(one.chosen.head)).heat[0]
    shown = Image.fromarray(images.to_display(it.pixels)).convert("RGB")
    shown = Image.blend(shown, Image.fromarray(figures.viridis(found)), 0.5)
    return np.asarray(shown.resize((round(_HEAT_PX * it.aspect * shown.width / shown.height), _HEAT_PX)))


def alike(one: Dossier) -> None:
    """Draw the nearest training slices: their labels, whether these are doubtful, whose they are."""
    kept = cached.neighbours_of(one.chosen.run)
    if kept is None:
        st.caption(f"This run was evaluated before neighbours were kept: `python -m core evaluate {one.chosen.run.id}`")
        return
    found, cosine = kept.of(one.at)
    if not len(found):
        st.caption("Neighbours are kept of validation and test slices, where there are slices of other patients.")
        return
    rows = cached.predictions_of(one.chosen.run, one.chosen.head).iloc[found]
    issues = cached.issues_of(one.chosen.run, one.chosen.head)
    doubtful = set() if issues is None else set(issues.table.loc[issues.table["suspected"], "at"])
    same = (rows["PatientID"] == one.row["PatientID"]).to_numpy()
    right = (rows["y_true"] == one.row["y_true"]).to_numpy()
    among = "training slices" if kept.among == "train" else "slices of other patients (this run has no training part)"
    st.markdown(
        f"The {len(found)} nearest {among}: **{int(right.sum())}** have this slice's label"
        + (f", **{n}** a doubtful one" if (n := sum(at in doubtful for at in found.tolist())) else "")
        + "."
    )
    if same.any():
        st.warning("Some are of the same patient: the split leaks, and scores are too good.", icon=":material/warning:")
    tiles = [
        Tile(
            key=row.key, title=f"{widgets.show(row.y_true)} · {alike:.2f}", note=row.PatientID,
            badge="label doubtful" if at in doubtful else "same patient" if its else "",
            tone="warn" if at in doubtful else "bad" if its else "good" if fits else "",
            hover=f"{row.split}, model: {row.y_pred}",
        )
        for at, row, alike, its, fits in zip(found.tolist(), rows.itertuples(), cosine, same, right, strict=True)
    ]  # fmt: skip
    thumbnail_grid(tiles, cached.run_sheet(rows), selected=None, on_click=go, key="dossier-alike", tile_px=112)
    st.caption("Label and cosine of the embeddings (1 is the same direction). A click opens a neighbour's dossier.")


def label(one: Dossier) -> None:
    """Say by which rule and evidence the slice has its labels, as they are now."""
    row = one.made.table.loc[one.key]
    why(row)
    # The cohort's present split need not be that of the run.
    st.html(widgets.facts({name: value for name, value in header_facts(row).items() if name != "Split"}))


def header(one: Dossier) -> None:
    """Draw every attribute of the header."""
    header_panel(one.made, one.key)
