"""Two or more runs side by side: scores with intervals by patient, settings, curves, and the slices that flipped."""

import pandas as pd
import streamlit as st

from core.comparing import compare_report
from core.comparing.compare import MOST_RUNS, PART, Comparison, HeadComparison
from core.comparing.compare_figures import COLOURS
from core.errors import CoreError
from pages.shared import cached, state, widgets
from pages.shared.components.thumbnail_grid import Tile, thumbnail_grid

_PER_PAGE = 12
_RIGHT, _WRONG = "Now right", "Now wrong"


def draw() -> None:
    """Draw the choice of runs and, for two or more, the comparison."""
    st.caption("Finished runs on the test slices that they share; the others are compared with the first.")
    made = _comparison(_choose(cached.run_table()))
    if made is None:
        return
    _legend(made)
    at = _head(made)
    head = made.heads[at]
    with st.container(border=True):
        for other in range(1, len(made.ids)):
            st.markdown(f"**{compare_report.sentence(head, made.names, other)}**")
        said = f"{compare_report.basis(head, made.names)} {compare_report.caution(head)}"
        st.caption(" ".join([said, *made.left_out]))
    for sentence in made.leaks:
        st.warning(sentence, icon=":material/warning:")
    other = _other(made)
    intervals, curves, matrix = cached.comparison_figures(made, at, other)
    st.plotly_chart(intervals, width="stretch", key="intervals")
    st.dataframe(compare_report.score_table(head, made.names), key="scores")
    st.caption(
        "95 % intervals from drawing the patients anew 2,000 times, the same draws for all runs. The ECE of drawn "
        "patients is a little higher than that of all, for fewer different slices fill its bins."
    )
    left, right = st.columns([1, 2], gap="large")
    with left:
        st.markdown("#### What was set otherwise")
        _configuration(made)
    with right:
        st.markdown("#### How they learnt")
        if curves.data:
            st.plotly_chart(curves, width="stretch", key="curves")
        else:
            st.markdown("None of them keeps its epochs.")
    _flips(made, head, other, matrix)


def _choose(table: pd.DataFrame) -> tuple[list[str], tuple[str, ...]]:
    """Draw the choice of runs, which the address keeps; return ids and names."""
    done = table[table["state"] == "done"]
    names = dict(zip(done["id"], done["name"], strict=True))
    asked = state.get_ids(state.RUNS)
    if unknown := [run_id for run_id in asked if run_id not in names]:
        st.warning(f"Not among the finished runs, so not compared: {', '.join(one[:80] for one in unknown)}")
    if state.COMPARED not in st.session_state:
        st.session_state[state.COMPARED] = [run_id for run_id in asked if run_id in names][:MOST_RUNS]

    def changed() -> None:
        state.put(**{state.RUNS: ",".join(st.session_state[state.COMPARED]), state.SLICE: None, state.PAGE: None})

    def turn() -> None:
        st.session_state[state.COMPARED] = st.session_state[state.COMPARED][1:] + st.session_state[state.COMPARED][:1]
        changed()

    field, button = st.columns([8, 1], vertical_alignment="bottom")
    chosen = field.multiselect(
        "Runs", list(names), key=state.COMPARED, format_func=lambda run_id: f"{names[run_id]} · {run_id[-20:]}",
        max_selections=MOST_RUNS, on_change=changed, placeholder="choose two or more",
    )  # fmt: skip
    button.button(
        "Turn", icon=":material/swap_horiz:", on_click=turn, disabled=len(chosen) < 2, width="stretch",
        help="Compare the others with the next run.",
    )  # fmt: skip
    return chosen, tuple(names[run_id] for run_id in chosen)


def _comparison(chosen: tuple[list[str], tuple[str, ...]]) -> Comparison | None:
    ids, names = chosen
    if len(ids) < 2:
        widgets.empty(
            "Choose two or more runs", "Here, or by ticking them under **Runs**.", ":material/compare_arrows:"
        )
        return None
    made = cached.comparison(tuple(ids), names)
    if isinstance(made, str):
        st.warning(made, icon=":material/block:")
        return None
    return made


def _legend(made: Comparison) -> None:
    """Say which colour is which run; it is the same in every figure."""
    chips = (
        f'<span style="display:inline-flex;align-items:center;gap:.45rem;margin-right:1.4rem">'
        f'<i style="width:.9rem;height:.9rem;border-radius:50%;background:{colour}"></i><b>{widgets.escape(name)}</b>'
        f"{'' if at else ' <span class=small>the others are compared with it</span>'}</span>"
        for at, (name, colour) in enumerate(zip(made.names, COLOURS, strict=False))
    )
    st.html("".join(chips))


def _head(made: Comparison) -> int:
    """Draw the choice of head where there are several; return its number."""
    heads = [head.head for head in made.heads]
    if len(heads) == 1:
        return 0
    asked = st.segmented_control("Head", heads, default=heads[-1], key=state.HEAD, bind="query-params", required=True)
    return heads.index(asked)


def _other(made: Comparison) -> int:
    """Return which run's flips are asked for; `_flips` draws the choice, but its figure is made before."""
    asked = st.session_state.get(state.AGAINST) or state.get(state.AGAINST)
    return made.names.index(asked) if asked in made.names[1:] else 1


def _configuration(made: Comparison) -> None:
    if made.configuration.empty:
        st.markdown("Nothing: their configurations are the same.")
        return
    st.dataframe(made.configuration.set_axis(list(made.names), axis=1), key="configuration")


# Slices that flipped --------------------------------------------------------------------------------


def _flips(made: Comparison, head: HeadComparison, other: int, matrix) -> None:
    st.markdown("#### Which slices flipped")
    if len(made.ids) > 2:
        st.segmented_control(
            f"Against {made.names[0]}", made.names[1:], default=made.names[other], key=state.AGAINST,
            bind="query-params", required=True, on_change=_close,
        )  # fmt: skip
    st.markdown(compare_report.mcnemar_sentence(head, made.names, other))
    left, right = st.columns([1, 1.25], gap="large")
    with left:
        st.plotly_chart(matrix, width="stretch", key="matrix-difference")
        st.caption("How many more slices (+) or fewer (−) in each cell. Green is better, red worse.")
    with right:
        counts = head.mcnemar(other)
        way = st.segmented_control(
            "Way", [_RIGHT, _WRONG], default=_RIGHT if counts.mended else _WRONG, key=state.FLIP, bind="query-params",
            required=True, on_change=_close, label_visibility="collapsed",
        )  # fmt: skip
        rows = head.flips(other, way == _RIGHT)
        if rows.empty:
            widgets.empty("No slice flipped this way", "Look at the other.", ":material/check:")
            return
        _gallery(rows, way == _RIGHT)
        chosen = rows[rows["key"] == state.get(state.SLICE)]
        if len(chosen):
            _one(made, head.head, other, chosen.iloc[0])
        else:
            st.caption("Click a slice to open it in Errors or Explain.")


def _close() -> None:
    state.put(**{state.SLICE: None, state.PAGE: None})


def _gallery(rows: pd.DataFrame, mended: bool) -> None:
    shown = widgets.pager(
        len(rows), _PER_PAGE, state.get_int(state.PAGE, 1), lambda page: state.put(**{state.PAGE: page}), "flips"
    )
    page = rows.iloc[shown]
    tiles = [
        Tile(key=row.key, title=f"{row.y_other} {100 * row.p_other:.0f} %", note=row.PatientID,
             badge=f"{row.y_first} → {row.y_other}", tone="good" if mended else "bad",
             hover=f"Truth: {row.y_true}")
        for row in page.itertuples()
    ]  # fmt: skip
    try:
        pictures = cached.run_sheet(page)
    except CoreError as error:
        # Answers outlive the pictures that they are about.
        st.info(f"The pictures cannot be shown. {error}")
        return
    thumbnail_grid(
        tiles, pictures, selected=state.get(state.SLICE) or None, key="flip-tiles", tile_px=100,
        on_click=lambda key: state.put(**{state.SLICE: key}),
    )  # fmt: skip


def _one(made: Comparison, head: str, other: int, row: pd.Series) -> None:
    """Draw what both runs say of a slice, and where else it can be looked at."""
    st.html(
        f"<b>{widgets.escape(row['PatientID'])}</b> &nbsp;{widgets.chip('truth: ' + row['y_true'], 'plain')}",
        width="content",
    )
    for at, said in ((0, "first"), (other, "other")):
        answer = row[f"y_{said}"]
        with st.container(horizontal=True, vertical_alignment="center"):
            st.html(
                f"{widgets.escape(made.names[at])}: "
                + widgets.chip(
                    f"{answer} {100 * row[f'p_{said}']:.0f} %", "good" if answer == row["y_true"] else "bad"
                ),
                width="content",
            )
            for label, page, icon in (("Errors", "errors", "troubleshoot"), ("Explain", "explain", "lightbulb")):
                place = {state.CELL: f"{row['y_true']}|{answer}", "of_head": head, "of_split": PART}
                state.go_button(
                    label, f"pages/{page}.py", key=f"{page}-{said}", icon=f":material/{icon}:",
                    sidebar={state.RUN: made.ids[at], state.COHORT: row["cohort"]},
                    **({"x_head": head} if page == "explain" else place), **{state.SLICE: row["key"]},
                )  # fmt: skip
