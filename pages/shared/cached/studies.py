"""What was dropped on the Study page: its tables, stacks and pixels."""

import numpy as np
import pandas as pd
import streamlit as st

from core import studies
from core.sandbox import get_sandbox
from pages.shared.cached.keys import stamp_of
from pages.shared.cached.slices import pixels_of_file
from pages.shared.components.slice_viewer import Piece, Stack
from pages.shared.stacks import ReadPixels, piece_of, stack_of


def study_tables(study: studies.Study) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Slices, series and rejected files of a finished study."""
    return _study_tables(study.id, stamp_of(study.folder / "series.parquet"))


@st.cache_resource(max_entries=16, show_spinner=False)
def _study_tables(study_id: str, stamp: tuple) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    study = studies.open_study(study_id)
    return study.table("slices"), study.table("series"), study.table("rejected")


@st.cache_data(max_entries=16, show_spinner=False)
def study_csv(study_id: str, name: str) -> bytes:
    """A finished study's table as CSV, with no path that names a patient."""
    slices, series, _ = study_tables(studies.open_study(study_id))
    return studies.public(slices if name == "slices" else series).to_csv(index=False).encode()


def study_pixels(study: studies.Study, item: int) -> np.ndarray:
    """Pixels of a study's slice."""
    row = study_tables(study)[0].iloc[item]
    path = study.files / row["path"]
    return pixels_of_file(str(path), int(row["frame"]), stamp_of(path)[0])


def study_stack(study: studies.Study, uid: str) -> tuple[Stack | None, pd.DataFrame]:
    """What the viewer is told of a series of a study, and its slices in the order in which they are shown.

    The index of the slices are their rows in the study's table. There is no stack of a study that was read by a
    version which did not note where its slices lie.
    """
    return _study_stack(study.id, stamp_of(study.folder / "series.parquet"), uid)


@st.cache_resource(max_entries=32, show_spinner="Opening the series")
def _study_stack(study_id: str, stamp: tuple, uid: str) -> tuple[Stack | None, pd.DataFrame]:
    study = studies.open_study(study_id)
    slices = study_tables(study)[0]
    rows = slices[slices["SeriesInstanceUID"] == uid]
    if "Rows" not in rows or rows["Rows"].isna().any():
        return None, rows
    rows = rows.sort_values(["stack", "image_number"], kind="stable")
    return stack_of(rows, _study_reader(study), f"{study_id} {stamp}"), rows


def study_piece(study: studies.Study, uid: str, number: int) -> Piece:
    """Pixels of some neighbouring slices of a study's series, packed."""
    return _study_piece(study.id, stamp_of(study.folder / "series.parquet"), uid, number)


@st.cache_resource(max_entries=32, show_spinner=False)
def _study_piece(study_id: str, stamp: tuple, uid: str, number: int) -> Piece:
    study = studies.open_study(study_id)
    stack, rows = study_stack(study, uid)
    return piece_of(stack, rows, number, _study_reader(study))


def _study_reader(study: studies.Study) -> ReadPixels:
    return lambda path, frame: get_sandbox().pixels(study.files / path, frame)
