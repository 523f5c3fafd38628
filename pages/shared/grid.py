"""The grid of a cohort: facets, thumbnails, tiles that are picked, and what can be done with them."""

import numpy as np
import pandas as pd
import streamlit as st

from core import cohort
from core.cohorts import similar, subsets
from core.cohorts.facets import FACETS, Answer, Choice, select
from core.errors import CoreError
from pages.shared import cached, state, tasks, widgets
from pages.shared.components.facet_panel import facet_panel
from pages.shared.components.thumbnail_grid import Tile, thumbnail_grid

PER_PAGE = [60, 120, 240]
_PICKED = "picked"


def choice(text: str) -> Choice:
    """Return what the address asks for; `text` stands in a widget, which is ahead of it."""
    timing = None
    try:
        numbers = tuple(float(text) for text in state.get(state.TIMING).split("~"))
        timing = numbers if len(numbers) == 4 else None
    except ValueError:
        pass  # no box, or nonsense in the address
    return Choice({name: state.get_all(state.facet(name)) for name in FACETS}, text, timing)


def first_page() -> None:
    """Turn back to the first page when a filter changes."""
    state.put(**{state.PAGE: None, state.SLICE: None})


def show_grid(made: cohort.Cohort, by_series: bool) -> None:
    """Draw facets at the left; at the right what they keep."""
    panel, main = st.columns([1, 4.4], gap="medium")
    with panel:
        text = st.text_input(
            "Words", key=state.TEXT, bind="query-params", placeholder="description or patient", on_change=first_page,
            help="All words must stand in the series description, or begin the patient's pseudonym.",
        )  # fmt: skip
        asked = choice(text)
        answer = select(cached.facet_index(made), asked)
        facet_panel(FACETS, answer.counts, asked.values, on_change=_choose, key="facets")
    with main:
        per_page = _count(asked, answer)
        rows = _kept(made, cached.grid_rows(made, by_series), answer, by_series)
        like = state.get(state.LIKE)
        cosine = _likeness(made, like, by_series) if like in made.table.index else None
        if cosine is not None:
            order = np.argsort(-cosine[rows["at"].to_numpy()], kind="stable")
            rows = rows.iloc[order]
        if rows.empty:
            widgets.empty("Nothing fits these filters", "Remove one of them to see more.", ":material/filter_alt_off:")
            return
        picked = _picked(made, by_series)
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            _actions(made, answer, picked, by_series)
            shown = widgets.pager(
                len(rows), per_page, state.get_int(state.PAGE, 1), lambda page: state.put(**{state.PAGE: page}), "grid"
            )
        _tiles(made, rows.iloc[shown], cosine, picked, by_series)


def _choose(chosen: dict[str, list[str]]) -> None:
    state.put(**{state.facet(name): words for name, words in chosen.items()})
    first_page()


def _count(asked: Choice, answer: Answer) -> int:
    """Say how much is kept; return how many tiles a page shall have."""
    counted, size = st.columns([4, 1], vertical_alignment="center")
    with counted.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f"{answer.slices:,} slices in {answer.series:,} series of {answer.patients:,} patients", width="content"
        )
        if asked.timing_ms:
            low, high, least, most = asked.timing_ms
            st.html(widgets.chip(f"TR {_range(low, high)} ms · TE {_range(least, most)} ms", "info"), width="content")
        if asked:
            st.button("Clear the filters", icon=":material/filter_alt_off:", type="tertiary", on_click=_clear)
    return size.segmented_control(
        "Tiles a page", PER_PAGE, default=PER_PAGE[0], key="per_page", bind="query-params", required=True,
        on_change=first_page, label_visibility="collapsed", help="Tiles a page",
    )  # fmt: skip


def _range(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"


def _clear() -> None:
    state.put(**dict.fromkeys((*map(state.facet, FACETS), state.TIMING, state.PAGE)))
    state.choose(**{state.TEXT: ""})


def _kept(made: cohort.Cohort, rows: pd.DataFrame, answer: Answer, by_series: bool) -> pd.DataFrame:
    """Keep the rows of a grid that the filters leave; a series stays with any of its slices."""
    if answer.rows.all():
        return rows
    if not by_series:
        return rows[answer.rows[rows["at"].to_numpy()]]
    index = cached.facet_index(made)
    series = index.codes["series"][index.cell]
    kept = np.zeros(len(index.words["series"]), bool)
    kept[series[answer.rows]] = True
    return rows[kept[series[rows["at"].to_numpy()]]]


# Likeness -------------------------------------------------------------------------------------------


def _likeness(made: cohort.Cohort, like: str, by_series: bool) -> np.ndarray | None:
    """Draw what the grid is sorted by; return each row's cosine to it, None while that is not known."""
    row = made.table.loc[like]
    with st.container(horizontal=True, vertical_alignment="center"):
        what = "" if by_series else f" · slice {row['image_number']}"
        st.html(
            f"Most like <b>{widgets.escape(row['PatientID'])}</b> · "
            f"{widgets.escape(widgets.show(row['SeriesDescription']))}{what}, as the shipped model sees it",
            width="content",
        )
        st.button(
            "Usual order", icon=":material/close:", type="tertiary", on_click=state.put, kwargs={state.LIKE: None}
        )
    known = cached.embeddings(made)
    at = made.table.index.get_loc(like)
    if known is not None:
        series = made.table["SeriesInstanceUID"].to_numpy()
        return known.nearest_series(at, series) if by_series else known.nearest(at)
    key = ("embed", made.name, made.created)
    task = tasks.get(key)
    if task is None or (task.finished and not task.error and not task.cancelled):
        tasks.start(key, lambda report: similar.embed(made, report=report))
    elif task.finished:
        st.warning(task.error or "It was cancelled; what is done is kept.")
        st.button("Go on", on_click=tasks.start, args=(key, lambda report: similar.embed(made, report=report)))
        return None
    tasks.follow(key, "Looking at every slice once")
    return None


# Picking --------------------------------------------------------------------------------------------


def _picked(made: cohort.Cohort, by_series: bool) -> set[str]:
    """Return the picked tiles' keys; they are forgotten when cohort or view changes."""
    where = (made.name, made.created, by_series)
    held = st.session_state.get(_PICKED)
    if held is None or held[0] != where:
        held = st.session_state[_PICKED] = (where, set())
    return held[1]


def _keys(made: cohort.Cohort, answer: Answer, picked: set[str], by_series: bool) -> list[str]:
    """List the slices that an action is about: the picked ones, or all that fit."""
    if not picked:
        return made.table.index[answer.rows].tolist()
    if not by_series:
        return [key for key in made.table.index if key in picked]
    series = made.table.loc[list(picked), "SeriesInstanceUID"]
    return made.table.index[made.table["SeriesInstanceUID"].isin(series)].tolist()


def _actions(made: cohort.Cohort, answer: Answer, picked: set[str], by_series: bool) -> None:
    unit = "series" if by_series else "slices"
    about = f"{len(picked):,} picked {unit}" if picked else f"all {answer.slices:,} slices"

    def keys() -> list[str]:
        return _keys(made, answer, picked, by_series)

    with st.container(horizontal=True, vertical_alignment="center", width="content"):
        st.caption(f"{len(picked):,} {unit} picked" if picked else "Tick tiles to pick them", width="content")
        if picked:
            st.button("Pick none", type="tertiary", on_click=picked.clear)
        with st.popover("Use them" if picked else "Use all", icon=":material/checklist:"):
            st.markdown(f"**{about[0].upper()}{about[1:]}**")
            st.download_button(
                "Download as CSV", lambda: _csv(made, keys()), f"{made.name}.csv", "text/csv",
                icon=":material/download:", width="stretch",
            )  # fmt: skip
            with st.form("subset", border=False):
                name = st.text_input("Save as a cohort", placeholder="name")
                if st.form_submit_button("Save", icon=":material/library_add:", width="stretch"):
                    _save(made, keys(), name.strip(), about)
            with st.form("queue", border=False):
                name = st.text_input("Hand over to be labelled", placeholder="name of the queue")
                if st.form_submit_button("Hand over", icon=":material/label:", width="stretch"):
                    _hand_over(made, keys(), name.strip())
        if len(picked) == 1:
            st.button("More like this", icon=":material/image_search:", on_click=_sort_by, args=(next(iter(picked)),))


def _sort_by(key: str) -> None:
    state.put(**{state.LIKE: key, state.PAGE: None})


def _csv(made: cohort.Cohort, keys: list[str]) -> bytes:
    rows = made.table.loc[keys]
    return rows.assign(path=rows["shown_path"]).drop(columns="shown_path").to_csv(index=False).encode()


def _save(made: cohort.Cohort, keys: list[str], name: str, about: str) -> None:
    try:
        part = subsets.save_subset(made, keys, name, about)
    except CoreError as error:
        st.error(str(error))
    else:
        st.success(f"Cohort {name} has {len(part.table):,} slices. Choose it in the sidebar.")


def _hand_over(made: cohort.Cohort, keys: list[str], name: str) -> None:
    try:
        subsets.write_queue(made, keys, name)
    except CoreError as error:
        st.error(str(error))
    else:
        st.success(f"Queue {name} has {len(keys):,} slices.")


# Tiles ----------------------------------------------------------------------------------------------


def _tiles(
    made: cohort.Cohort, rows: pd.DataFrame, cosine: np.ndarray | None, picked: set[str], by_series: bool
) -> None:
    # Rows of all forty columns would take ten times as long.
    number = "n" if by_series else "image_number"
    shown = rows[["plane", "sequence", "PatientID", "SeriesDescription", "conflict", "at", number]]
    tiles = [
        Tile(
            key=row.Index,
            title=f"{widgets.show(row.plane)} · {widgets.show(row.sequence)}",
            note=row.PatientID,
            corner=_corner(row, cosine, by_series),
            badge="conflict" if row.conflict else "",
            tone="warn",
            hover=f"{widgets.show(row.SeriesDescription)} · {row.PatientID}",
        )
        for row in shown.itertuples()
    ]

    def ticked(keys: list[str]) -> None:
        picked.difference_update(rows.index)
        picked.update(keys)

    thumbnail_grid(
        tiles, cached.cohort_sheet(made, tuple(rows.index)), selected=None, key="grid-tiles", tile_px=128,
        on_click=lambda key: state.put(**{state.SLICE: key}), picked=picked, on_pick=ticked,
    )  # fmt: skip


def _corner(row, cosine: np.ndarray | None, by_series: bool) -> str:
    if cosine is not None:
        return f"{cosine[row.at]:.2f}"
    return f"{row.n}" if by_series else f"{row.image_number}"
