"""The only place with ``st.cache_data`` and ``st.cache_resource``.

Both are shared by all sessions. Every key holds what the answer depends on (a file's change time, a
run's id, a slice's place), never just a name, so nothing stale is shown. What is returned is read-only.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from core import cohort, evaluation, images, inference, runs, studies, thumbnails
from core.sandbox import get_sandbox
from core.settings import get_settings
from pages.shared.components.slice_viewer import pack_stack
from pages.shared.components.thumbnail_grid import sheet

#: Limits of what one viewer is sent: slices of a stack, and pixels along a side.
STACK_SLICES, STACK_SIDE = 120, 320
THUMBNAIL_PX = 96


def stamp(*paths: Path) -> tuple[int, ...]:
    """Change times of files in nanoseconds; 0 where there is none."""
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


# Cohorts --------------------------------------------------------------------------------------------


def open_cohort(name: str) -> cohort.Cohort:
    """Read a cohort; the index of its table is the slice key."""
    folder = get_settings().cohorts_dir / name
    return _cohort(name, str(folder), stamp(folder / "cohort.parquet", folder / "label_log.jsonl"))


@st.cache_resource(max_entries=8, show_spinner="Opening the cohort")
def _cohort(name: str, folder: str, stamps: tuple) -> cohort.Cohort:
    from dataclasses import replace

    made = cohort.read(name)
    keys = made.table["SOPInstanceUID"].astype(str) + ":" + made.table["frame"].astype(str)
    return replace(made, table=made.table.set_index(pd.Index(keys, name="key")))


def series_table(made: cohort.Cohort, name: str) -> pd.DataFrame:
    """One row a series: number of slices and the key of the middle one, with that one's columns."""
    return _series(made, name, stamp(made.folder / "cohort.parquet"))


@st.cache_resource(max_entries=8, show_spinner=False)
def _series(_made: cohort.Cohort, name: str, stamps: tuple) -> pd.DataFrame:
    table = _made.table.sort_values(["SeriesInstanceUID", "image_number"], kind="stable")
    place = table.groupby("SeriesInstanceUID", sort=False).cumcount()
    count = table.groupby("SeriesInstanceUID", sort=False)["frame"].transform("size")
    return table[place == count // 2].assign(n=count[place == count // 2])


@st.cache_data(max_entries=256, show_spinner="Drawing thumbnails")
def thumbnail_sheet(name: str, keys: tuple[str, ...], stamps: tuple) -> dict:
    """Return one sheet with the thumbnails of these slices."""
    made = open_cohort(name)
    return sheet(thumbnails.sprites(made, made.table.loc[list(keys)], THUMBNAIL_PX))


@st.cache_resource(max_entries=64, show_spinner="Reading the slices")
def stack(root: str, files: tuple[tuple[str, int], ...], aspect: float, stamps: tuple) -> tuple[dict, tuple[float, float]]:
    """Return what the viewer is sent of these slices, and a window for them.

    Slices larger than the viewer's limit are thinned by whole steps, never resampled.
    """
    planes = [pixels(root, path, frame, stamps) for path, frame in files]
    step = max(1, -(-max(planes[0].shape) // STACK_SIDE))
    planes = [plane[::step, ::step] for plane in planes]
    made = np.stack(planes)
    return pack_stack(made, aspect), images.default_window(made[len(made) // 2])


@st.cache_resource(max_entries=64, show_spinner=False)
def pixels(root: str, path: str, frame: int, stamps: tuple) -> np.ndarray:
    """Return one slice, parsed in the sandbox."""
    return get_sandbox().pixels(Path(root) / path, frame)


# Runs -----------------------------------------------------------------------------------------------


def predictions(run: runs.Run) -> pd.DataFrame:
    """One row a slice and head, as `core.evaluation` stored them, with ``key``, ``p`` and ``entropy``."""
    return _predictions(run.id, stamp(run.folder / "predictions.parquet"))


@st.cache_resource(max_entries=8, show_spinner="Reading the predictions")
def _predictions(run_id: str, stamps: tuple) -> pd.DataFrame:
    table = runs.read_run(run_id).predictions()
    proba = [np.asarray(p, float) for p in table["y_proba"]]
    return table.assign(
        key=table["SOPInstanceUID"].astype(str) + ":" + table["frame"].astype(str),
        p=[float(p.max()) for p in proba],
        entropy=[float(-(p[p > 0] * np.log(p[p > 0])).sum()) for p in proba],
    )
