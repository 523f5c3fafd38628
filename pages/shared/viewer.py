"""One slice of a cohort in its stack: picture, labels and their rules, header facts."""

import pandas as pd
import streamlit as st

from core import cohort, images
from pages.shared import cached, state, widgets
from pages.shared.components.slice_viewer import NO_LETTERS, slice_viewer

FACTS = {
    "Patient": "PatientID", "Description": "SeriesDescription", "Vendor": "Manufacturer",
    "Model": "ManufacturerModelName", "Field (T)": "MagneticFieldStrength", "TR (ms)": "RepetitionTime",
    "TE (ms)": "EchoTime", "TI (ms)": "InversionTime",
    "Flip angle (°)": "FlipAngle", "Thickness (mm)": "SliceThickness", "Rows × columns": "size", "Pixel (mm)": "pixel",
    "Position (mm)": "position_mm", "Tilt (°)": "tilt_deg", "Contrast agent": "ContrastBolusAgent",
    "Image type": "ImageType", "Split": "split", "File": "shown_path",
}  # fmt: skip


def letters_of(row: pd.Series) -> dict[str, str]:
    """Return the patient's sides at the slice's edges; empty where the header does not tell."""
    text = row["orientation"]
    if not isinstance(text, str) or not text:
        return dict(NO_LETTERS)
    return images.orientation_letters([float(number) for number in text.split("\\")])


def aspect_of(row: pd.Series) -> float:
    """Return a pixel's width over its height; 1 where the header does not tell."""
    across, down = row["pixel_spacing_column_mm"], row["pixel_spacing_row_mm"]
    return float(across / down) if across == across and down == down and across > 0 and down > 0 else 1.0


def header_facts(row: pd.Series) -> dict[str, object]:
    """Return what a reader wants of the header, under plain names."""
    known = row.to_dict()
    known["size"] = f"{row['Rows']} × {row['Columns']}"
    if row["pixel_spacing_row_mm"] == row["pixel_spacing_row_mm"]:
        known["pixel"] = f"{row['pixel_spacing_row_mm']:.3g} × {row['pixel_spacing_column_mm']:.3g}"
    return {name: known.get(column) for name, column in FACTS.items()}


def why(row: pd.Series) -> None:
    """Say which rule gave each label, and from what."""
    oblique = (
        f" Oblique: tilted by {row['tilt_deg']:.0f}°."
        if row["tilt_deg"] == row["tilt_deg"] and row["tilt_deg"] > 30
        else ""
    )
    for label, rule, evidence in (
        ("plane", row["plane_rule"], oblique),
        ("sequence", row["sequence_rule"], row["sequence_evidence"]),
    ):
        st.html(
            f"<b>{label.capitalize()}</b> {widgets.chip(widgets.show(row[label]), 'info')}"
            f'<p class="why">{widgets.escape(widgets.rule(rule))} '
            f'<span style="opacity:.7">{widgets.escape(widgets.show(evidence)) if evidence else ""}</span></p>'
        )
    if isinstance(row["conflict"], str) and row["conflict"]:
        st.warning(row["conflict"], icon=":material/warning:")


def around(stack: pd.DataFrame, at: int) -> tuple[pd.DataFrame, int]:
    """Return the part of a long stack that is sent, and where it starts.

    It moves by half its length, so that stepping within it sends nothing anew.
    """
    half = max(4, cached.STACK_PIXELS // max(1, int((stack["Rows"] * stack["Columns"]).max())) // 2)
    start = max(0, min(at // half * half - half // 2, len(stack) - 2 * half))
    return stack.iloc[start : start + 2 * half], start


def more_like(key: str) -> None:
    """Open the grid of slices, sorted by likeness to one."""
    state.put(**{state.LIKE: key, state.SLICE: None, state.PAGE: None})
    state.choose(**{state.VIEW: "Slices"})


@st.fragment
def show_slice(made: cohort.Cohort, key: str) -> None:
    """Draw a slice in its series, with arrow keys to its neighbours."""
    key = state.get(state.SLICE, key)
    row = made.table.loc[key]
    stack = made.table[made.table["SeriesInstanceUID"] == row["SeriesInstanceUID"]].sort_values(
        "image_number", kind="stable"
    )
    at = stack.index.get_loc(key)
    part, start = around(stack, at)
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Back to the grid", icon=":material/arrow_back:"):
            state.put(**{state.SLICE: None})
            st.rerun()
        state.go_button(
            "Explain this slice", "pages/explain.py", key="explain", icon=":material/lightbulb:", **{state.SLICE: key}
        )
        if st.button("More like this", icon=":material/image_search:", on_click=more_like, args=(key,)):
            st.rerun()
    picture, words = st.columns([1.55, 1], gap="large")
    with picture:
        packed, window = cached.stack(made, tuple(part.index), aspect_of(row))
        slice_viewer(
            packed, window, key="viewer", index=at - start, letters=letters_of(row), height_px=560,
            panels=(("image", f"{widgets.show(row['plane'])} · {widgets.show(row['sequence'])}"),),
            first=start, total=len(stack), on_step=lambda index: state.put(**{state.SLICE: part.index[index]}),
        )  # fmt: skip
        if len(part) < len(stack):
            st.caption(f"Slices {start + 1} to {start + len(part)} of {len(stack)}; the rest comes as you step on.")
    with words:
        why(row)
        st.html(widgets.facts(header_facts(row)))
