"""Maps of many slices together: where decisions are made, by class and plane."""

from functools import partial

import pandas as pd
import streamlit as st

from core import runs
from core.explanations import cohort_maps, heat_figures
from core.explanations.question import METHOD_WORDS, Question
from pages.shared import cached, side_job, state, widgets
from pages.shared.components.thumbnail_grid import Tile, sheet, thumbnail_grid

_MOST_SLICES = 60


def draw(run: runs.Run) -> None:
    """Draw the mean maps, the slices with most heat outside the head, and right against wrong; or how to start it."""
    st.markdown("#### Where are decisions made?")
    st.caption(
        "Maps of many test slices, each for the model's own answer, laid over each other in head coordinates: nose "
        "and crown always at the same place. What one map hints at, a mean of many shows or refutes."
    )
    question = _question(run)
    status = cohort_maps.status(run, question)
    if status["state"] == "running":
        side_job.follow(
            partial(cohort_maps.status, run, question), partial(cohort_maps.cancel, run, question), "Making maps: "
        )
        return
    if status["state"] in ("failed", "interrupted", "cancelled"):
        st.warning(f"{status['message'].rstrip('.')}. What was done by then is kept.", icon=":material/error:")
    found, cells, means, strays = (
        cached.analysis(run, cohort_maps.name_of(question, ending))
        for ending in (".parquet", "-cells.parquet", "-means.npy", "-strays.npy")
    )
    if found is None or cells is None or means is None or strays is None:
        widgets.empty(
            "No maps of many slices yet", "Start them below: a sample of this run's test slices is explained, in a "
            "process of its own.", ":material/stacks:",
        )  # fmt: skip
        _start(run, question)
        return
    if status.get("sha256") not in (None, run.card()["sha256"]):
        st.warning("The model has been replaced since. Make the maps anew.", icon=":material/history:")
    _means(run, question, found, cells, means)
    _strays(run, question, found, strays)
    _right_and_wrong(run, question, found, cells, means)
    with st.expander("Make them anew", icon=":material/replay:"):
        _start(run, question)


def _question(run: runs.Run) -> Question:
    one, two, _ = st.columns([1, 1, 2])
    # The sequence first, as on a single slice.
    head = one.selectbox("Head", list(run.card()["classes"])[::-1], key=state.X_HEAD, bind="query-params")
    method = state.pick(two.selectbox, "Method", METHOD_WORDS, state.X_METHOD)
    return Question(head, method=method)


def _means(run: runs.Run, question: Question, found: pd.DataFrame, cells: pd.DataFrame, means) -> None:
    file, at = cohort_maps.name_of(question, "-means.npy"), (question.head, question.method)
    st.caption(
        f"{len(found)} slices of {found['PatientID'].nunique()} patients, as many of each class and plane as there "
        "were up to a limit; here by what the model said. Each map is scaled to its own maximum: compare places, not "
        "strengths. Below each: how many slices, and how much of their heat lies outside the head."
    )
    figure = cached.of_analysis(run, file, heat_figures.mean_maps, cells, means, at=at)
    widgets.chart(figure, "heat-means", f"{run.id}-maps-{question.head}")
    with st.container(border=True):
        said = cached.of_analysis(run, file, heat_figures.sayings, found, cells, means, at=at)
        st.markdown("**What they say**\n" + "\n".join(f"- {sentence}" for sentence in said))


def _strays(run: runs.Run, question: Question, found: pd.DataFrame, pictures) -> None:
    st.markdown("##### Most heat outside the head")
    rows = cohort_maps.strays(found)
    if rows.empty:
        st.caption("No map had any heat, so there is none outside the head either.")
        return
    st.caption(
        "Air, borders and printed letters tell nothing about a head. A model that looks there may have found a "
        "shortcut. A click opens the slice."
    )
    tiles = [
        Tile(key=row.key, title=f"{100 * row.outside:.0f} % outside", note=f"{row.y_pred}, {row.plane}",
             badge="" if row.right else f"truth: {row.y_true}", tone="" if row.right else "bad",
             hover=f"{row.PatientID}: {row.y_pred} {100 * row.p:.0f} %")
        for row in rows.itertuples()
    ]  # fmt: skip
    of = rows.set_index("key")

    def open_slice(key: str) -> None:
        state.choose(**{state.COHORT: of.at[key, "cohort"], state.VIEW: "Slice"})
        state.put(**{state.SLICE: key})

    made = cached.of_analysis(
        run, cohort_maps.name_of(question, "-strays.npy"), sheet, pictures, at=(question.head, question.method)
    )
    thumbnail_grid(tiles, made, selected=None, on_click=open_slice, key="heat-strays", tile_px=150)


def _right_and_wrong(run: runs.Run, question: Question, found: pd.DataFrame, cells: pd.DataFrame, means) -> None:
    st.markdown("##### Does it look elsewhere when it is wrong?")
    wrong = int((~found["right"]).sum())
    file, at = cohort_maps.name_of(question, "-means.npy"), (question.head, question.method)
    figure = cached.of_analysis(run, file, heat_figures.right_and_wrong, cells, means, at=at)
    if figure is None:
        said = "None of these decisions is wrong" if not wrong else (
            f"Of these decisions {wrong} {'is' if wrong == 1 else 'are'} wrong, in no class and plane as many as "
            f"{heat_figures.LEAST_WRONG}"
        )  # fmt: skip
        widgets.empty("Nothing to compare", f"{said}; make the maps of more slices, or look at Errors.")
        return
    st.caption(
        f"{wrong} of {len(found)} decisions are wrong. Maps here keep their own scale; the last column is red where "
        "wrong decisions have more heat than right ones, blue where less. Few slices make a noisy mean."
    )
    widgets.chart(figure, "heat-wrong", f"{run.id}-right-and-wrong-{question.head}")


def _start(run: runs.Run, question: Question) -> None:
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    slices = left.slider(
        "Slices of each class and plane", 4, _MOST_SLICES, cohort_maps.SLICES, 4, key="heat_n",
        help="Spread over patients; the same ones each time.",
    )  # fmt: skip
    seconds = cached.of_analysis(
        run, cohort_maps.name_of(question, ".json"), cohort_maps.estimate_s, run, question, slices,
        at=(question.head, question.method, slices),
    )  # fmt: skip
    side_job.starter(right, "Make the maps", partial(cohort_maps.start, run, question, slices), width="stretch")
    side_job.how_long(seconds, "less than a minute")
