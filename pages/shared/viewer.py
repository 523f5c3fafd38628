"""One slice of a cohort in its stack: picture, another stack beside it, labels in words, and the whole header."""

from dataclasses import replace

import pandas as pd
import streamlit as st

from core import cohort
from core.cohorts.header_table import HIDDEN
from core.cohorts.stack_links import link_stacks
from core.errors import CoreError
from core.labelling.label_reasons import plane_words, sequence_words
from pages.shared import cached, state, widgets
from pages.shared.components.slice_viewer import slice_viewer
from pages.shared.stacks import order_words, where_it_lies

FACTS = {
    "Patient": "PatientID", "Description": "SeriesDescription", "Vendor": "Manufacturer",
    "Model": "ManufacturerModelName", "Field (T)": "MagneticFieldStrength", "TR (ms)": "RepetitionTime",
    "TE (ms)": "EchoTime", "TI (ms)": "InversionTime",
    "Flip angle (°)": "FlipAngle", "Thickness (mm)": "SliceThickness", "Rows × columns": "size", "Pixel (mm)": "pixel",
    "Position (mm)": "position_mm", "Tilt (°)": "tilt_deg", "Stack": "stack_note",
    "Contrast agent": "ContrastBolusAgent", "Image type": "ImageType", "Split": "split", "File": "shown_path",
}  # fmt: skip


def header_facts(row: pd.Series) -> dict[str, object]:
    """Return what a reader wants of the header, under plain names."""
    known = row.to_dict()
    known["size"] = f"{row['Rows']} × {row['Columns']}"
    if row["pixel_spacing_row_mm"] == row["pixel_spacing_row_mm"]:
        known["pixel"] = f"{row['pixel_spacing_row_mm']:.3g} × {row['pixel_spacing_column_mm']:.3g}"
    return {name: known.get(column) for name, column in FACTS.items()}


def why(row: pd.Series) -> None:
    """Say in words why the slice has its labels."""
    plane, sequence = (None if pd.isna(row[name]) else row[name] for name in ("plane", "sequence"))
    for label, value, rule, sentence in (
        ("plane", plane, row["plane_rule"], plane_words(plane, row["plane_rule"], row["tilt_deg"])),
        (
            "sequence", sequence, row["sequence_rule"],
            sequence_words(sequence, row["sequence_rule"], row["sequence_evidence"]),
        ),
    ):  # fmt: skip
        hover = f"Rule: {widgets.rule(rule)}"
        st.html(
            f"<b>{label.capitalize()}</b> {widgets.chip(widgets.show(value), 'info', hover)}"
            f'<p class="why" title="{widgets.escape(hover)}">{widgets.escape(sentence)}</p>'
        )
    if isinstance(row["conflict"], str) and row["conflict"]:
        st.warning(row["conflict"], icon=":material/warning:")


def header_panel(made: cohort.Cohort, key: str) -> None:
    """Draw every attribute of the slice's header, with a search; what names a person only on demand."""
    words = st.text_input("Search the header", key="header-search", placeholder="keyword, tag or value").lower()
    identity = st.toggle(
        "Show names and identifiers", key="identity",
        help="Names, identifiers, dates, places and private text stay hidden unless this is on. It is off again when "
        "you leave the page, and no link carries it.",
    )  # fmt: skip
    try:
        table = cached.attributes(made, key, identity)
    except CoreError as error:
        st.error(str(error))
        return
    hidden = int((table["value"] == HIDDEN).sum())
    joined = (table["tag"] + " " + table["name"] + " " + table["value"]).str.lower()
    for word in words.split():
        table = table[joined.loc[table.index].str.contains(word, regex=False)]
    if identity:
        st.warning("The patient can be named by what stands here: mind who sees this screen.", icon=":material/badge:")
    st.dataframe(
        table, hide_index=True, height=430,
        column_config={
            "tag": st.column_config.TextColumn("Tag", width=92),
            "name": st.column_config.TextColumn("Attribute", width=180),
            "vr": None,
            "value": st.column_config.TextColumn("Value", width="large"),
        },
    )  # fmt: skip
    st.caption(
        f"{len(table)} of {len(joined)} attributes" + (f"; {hidden} of all have a hidden value." if hidden else ".")
    )


def beside_choice(made: cohort.Cohort, row: pd.Series) -> str | None:
    """Offer the study's other series, and return the chosen one."""
    others = cached.study_series(made, row["StudyInstanceUID"])
    others = others[others["SeriesInstanceUID"] != row["SeriesInstanceUID"]]
    if others.empty:
        return None
    names = {
        one.SeriesInstanceUID: f"{widgets.show(one.plane)} · {widgets.show(one.sequence)} · "
        f"{widgets.show(one.SeriesDescription)} ({one.n})"
        for one in others.itertuples()
    }
    asked = state.get(state.BESIDE)
    chosen = st.selectbox(
        "Beside it", list(names), index=list(names).index(asked) if asked in names else None,
        format_func=names.get, placeholder="another series of this study", label_visibility="collapsed", width=340,
        key=f"beside-{row['SeriesInstanceUID']}",
    )  # fmt: skip
    state.put(**{state.BESIDE: chosen})
    return chosen


def draw_stacks(
    made: cohort.Cohort,
    uid: str,
    at: int,
    beside: str | None = None,
    *,
    key: str,
    height_px: int,
    named: bool = True,
    follow: bool = True,
) -> None:
    """Draw a series, and another beside it; send the pixels that the browser has asked for.

    Parameters
    ----------
    made : Cohort
    uid : str
        *SeriesInstanceUID*.
    at : int
        Slice to show, counted in the order of `cached.series_rows`.
    beside : str, optional
        *SeriesInstanceUID* of another series of the study.
    key : str
        Streamlit key.
    height_px : int
    named : bool
        Without, nothing says what the series is, for readers who must not know yet.
    follow : bool
        Whether the address follows the reader to other slices.
    """
    rows = cached.series_rows(made, uid)
    uids = [uid, beside] if beside else [uid]
    stacks = [cached.stack(made, one) for one in uids]
    if named:
        # Not kept with the pixels: people change labels.
        firsts = [cached.series_rows(made, one).iloc[0] for one in uids]
        titles = [" · ".join(widgets.show(first[label]) for label in ("plane", "sequence")) for first in firsts]
        stacks = [replace(stack, title=title) for stack, title in zip(stacks, titles, strict=True)]
    link = ("share", "")
    if beside:
        parts = [cached.series_rows(made, other) for other in uids]
        answer = link_stacks(*(where_it_lies(part, cached.frame_of_reference(made, part.index[0])) for part in parts))
        link = (answer.by, answer.why)
    # The piece around the reader goes with the first message; after that the browser asks.
    asked = f"{key}-wants"  # which piece of which stack; read once by the rerun that the browser's asking makes
    wanted = st.session_state.pop(asked, None)
    if wanted is None and key not in st.session_state:
        wanted = stacks[0].id, at // stacks[0].per_piece
    pieces = [
        cached.piece(made, one, wanted[1])
        for one, stack in zip(uids, stacks, strict=True)
        if wanted and wanted[0] == stack.id and stack.piece_range(wanted[1])
    ]

    def step(index: int) -> None:
        state.put(**{state.SLICE: rows.index[index]})

    def want(stack_id: str, number: int) -> None:
        st.session_state[asked] = stack_id, number

    slice_viewer(stacks, pieces, key=key, index=at, link=link, height_px=height_px,
                 on_step=step if follow else None, on_want=want)  # fmt: skip
    if named:
        st.caption(order_words(rows))


def more_like(key: str) -> None:
    """Open the grid of slices, sorted by likeness to one."""
    state.put(**{state.LIKE: key, state.SLICE: None, state.PAGE: None})
    state.choose(**{state.VIEW: "Slices"})


@st.fragment
def show_slice(made: cohort.Cohort, key: str) -> None:
    """Draw a slice in its series, with arrow keys to its neighbours."""
    key = state.get(state.SLICE, key)
    row = made.table.loc[key]
    uid = row["SeriesInstanceUID"]
    at = cached.series_rows(made, uid).index.get_loc(key)
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Back to the grid", icon=":material/arrow_back:"):
            state.put(**{state.SLICE: None, state.BESIDE: None})
            st.rerun()
        state.go_button(
            "Explain this slice", "pages/explain.py", key="explain", icon=":material/lightbulb:", **{state.SLICE: key}
        )
        if st.button("More like this", icon=":material/image_search:", on_click=more_like, args=(key,)):
            st.rerun()
        beside = beside_choice(made, row)
    picture, words = st.columns([2.2, 1] if beside else [1.45, 1], gap="medium")
    with picture:
        draw_stacks(made, uid, at, beside, key="viewer", height_px=600)
    with words:
        panel = st.segmented_control(
            "Panel", ["Labels", "Header"], default="Labels", required=True, key="panel", bind="query-params",
            label_visibility="collapsed",
        )  # fmt: skip
        if panel == "Header":
            header_panel(made, key)
        else:
            why(row)
            st.html(widgets.facts(header_facts(row)))
