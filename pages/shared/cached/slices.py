"""Slices of cohorts: thumbnails, stacks for the viewer, pixels and headers."""

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from core import cohort, thumbnails
from core.errors import UnreadableFile
from core.sandbox import get_sandbox
from pages.shared.cached.cohorts import open_cohort, series_rows
from pages.shared.cached.keys import cohort_key, headers_key
from pages.shared.components.slice_viewer import Piece, Stack
from pages.shared.components.thumbnail_grid import sheet
from pages.shared.stacks import ReadPixels, piece_of, stack_of

THUMBNAIL_PX = 96


def cohort_sheet(made: cohort.Cohort, keys: tuple[str, ...]) -> dict:
    """One sheet with the thumbnails of these slices."""
    return _cohort_sheet(made, cohort_key(made.name), keys)


@st.cache_resource(max_entries=128, show_spinner="Drawing thumbnails")
def _cohort_sheet(_made: cohort.Cohort, key: tuple, keys: tuple[str, ...]) -> dict:
    return sheet(thumbnails.sprites(_made, _made.table.loc[list(keys)], THUMBNAIL_PX))


def run_sheet(rows: pd.DataFrame) -> dict:
    """One sheet with the thumbnails of predictions, which may be of several cohorts."""
    if rows["cohort"].nunique() == 1:
        return cohort_sheet(open_cohort(rows["cohort"].iloc[0]), tuple(rows["key"]))
    parts = {name: open_cohort(name) for name in rows["cohort"].unique()}
    pictures = [
        thumbnails.sprites(parts[name], parts[name].table.loc[[key]], THUMBNAIL_PX)
        for name, key in zip(rows["cohort"], rows["key"], strict=True)
    ]
    return sheet(np.concatenate(pictures))


def pair_sheet(made: cohort.Cohort, pairs: tuple[tuple[str, str], ...]) -> dict:
    """One sheet with two slices side by side each."""
    return _pair_sheet(made, cohort_key(made.name), pairs)


@st.cache_resource(max_entries=32, show_spinner="Drawing thumbnails")
def _pair_sheet(_made: cohort.Cohort, key: tuple, pairs: tuple[tuple[str, str], ...]) -> dict:
    one, other = (
        thumbnails.sprites(_made, _made.table.loc[list(keys)], THUMBNAIL_PX) for keys in zip(*pairs, strict=True)
    )
    return sheet(np.concatenate([one, np.full((len(one), THUMBNAIL_PX, 2), 128, np.uint8), other], axis=2))


def stack(made: cohort.Cohort, uid: str) -> Stack:
    """What the viewer is told of a series before its pixels come."""
    return _stack(made, headers_key(made.name), uid)


@st.cache_resource(max_entries=64, show_spinner="Opening the series")
def _stack(_made: cohort.Cohort, key: tuple, uid: str) -> Stack:
    return stack_of(series_rows(_made, uid), _reader(_made), str(key))


def piece(made: cohort.Cohort, uid: str, number: int) -> Piece:
    """Pixels of some neighbouring slices of a series, packed; at most 160 MB of them are kept."""
    return _piece(made, headers_key(made.name), uid, number)


# The least recently used go first: 64 pieces of 2.5 MB and less, for all sessions together.
@st.cache_resource(max_entries=64, show_spinner=False)
def _piece(_made: cohort.Cohort, key: tuple, uid: str, number: int) -> Piece:
    return piece_of(stack(_made, uid), series_rows(_made, uid), number, _reader(_made))


def _reader(made: cohort.Cohort) -> ReadPixels:
    return lambda path, frame: get_sandbox().pixels(made.root / path, frame)


def frame_of_reference(made: cohort.Cohort, key: str) -> str | None:
    """*FrameOfReferenceUID* of a slice, read from its file, for the slice table does not keep it; None without one."""
    row = made.table.loc[key]
    return _frame_of_reference(str(made.root / row["path"]), int(row["file_mtime_ns"]))


@st.cache_data(max_entries=256, show_spinner=False)
def _frame_of_reference(path: str, stamp: int) -> str | None:
    try:
        return get_sandbox().parse(Path(path))[0].get("FrameOfReferenceUID")
    except UnreadableFile:
        return None  # the viewer says of each slice that it cannot read why


def attributes(made: cohort.Cohort, key: str, identity: bool) -> pd.DataFrame:
    """All attributes of a slice's header; without `identity`, what could name a person never enters this process."""
    row = made.table.loc[key]
    return _attributes(str(made.root / row["path"]), int(row["frame"]), int(row["file_mtime_ns"]), identity)


@st.cache_resource(max_entries=32, ttl="15m", show_spinner="Reading the header")
def _attributes(path: str, frame: int, stamp: int, identity: bool) -> pd.DataFrame:
    rows = get_sandbox().attributes(Path(path), frame, identity)
    return pd.DataFrame(rows, columns=["tag", "name", "vr", "value"])


def cohort_pixels(made: cohort.Cohort, key: str) -> np.ndarray:
    """Pixels of a cohort's slice, parsed in the sandbox."""
    row = made.table.loc[key]
    return pixels_of_file(str(made.root / row["path"]), int(row["frame"]), int(row["file_mtime_ns"]))


@st.cache_resource(max_entries=32, show_spinner=False)
def pixels_of_file(path: str, frame: int, stamp: int) -> np.ndarray:
    """Pixels of a frame of a file, parsed in the sandbox; `stamp` is when the file was written."""
    return get_sandbox().pixels(Path(path), frame)
