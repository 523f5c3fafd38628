"""The only place with ``st.cache_data`` and ``st.cache_resource``.

Both are shared by all sessions. Every key holds what the answer depends on (a file's change time, a
run's id, a slice's place), never just a name, so nothing stale is shown; arguments with an underscore
are not part of the key. What is returned is read-only.
"""

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from PIL import Image

from core import cohort, figures, images, inference, runs, splits, studies, thumbnails
from core.analysis import (
    analyses,
    confusion,
    embedding_map,
    error_figures,
    label_issues,
    neighbours,
    stress,
    stress_changes,
    stress_figures,
)
from core.analysis import class_scores as scores_by_class
from core.analysis import weak_spots as spots
from core.cohorts import cohort_figures, facets, similar
from core.cohorts.overview import Overview, look_over
from core.commons import idc
from core.comparing import compare, compare_figures
from core.comparing.bootstrap import patient_bootstrap
from core.comparing.run_table import RunTable
from core.config import WEIGHTS, RunConfig
from core.errors import CoreError, RunError, UnreadableFile
from core.explanations import juries, jury_making, map_store, pair_figures, shortcut
from core.explanations.jury import JURY_FILE, unit
from core.explanations.question import Maps, Question
from core.explanations.votes import Verdict, deliberate
from core.labelling import label_log, label_overrides, label_report
from core.labelling.label_queue import build_queue, named_queue, read_queue
from core.labelling.model_answers import Answers
from core.learning import epochs, lesson_figures, lesson_results, lessons, preflight
from core.learning.view_samples import Samples
from core.publishing import model_card, registry
from core.sandbox import get_sandbox
from core.settings import PROJECT_DIR, get_settings
from core.uncertainty import risk_coverage
from pages.shared.components.slice_viewer import Piece, Stack
from pages.shared.components.thumbnail_grid import sheet
from pages.shared.stacks import ReadPixels, piece_of, stack_of

THUMBNAIL_PX = 96
#: Slices of a stress bench that can be looked at.
_MOST_OFFERED = 200


def _stamp(*paths: Path) -> tuple[int, ...]:
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


# Cohorts --------------------------------------------------------------------------------------------


def _headers_key(name: str) -> tuple:
    folder = get_settings().cohorts_dir / name
    return str(folder), *_stamp(folder / "cohort.parquet", folder / "split.json")


def _log_key(name: str) -> tuple:
    """Two lines of one moment have one change time, so the length counts too."""
    path = get_settings().cohorts_dir / name / cohort.LOG_NAME
    return str(path), *_stamp(path), path.stat().st_size if path.exists() else 0


def _cohort_key(name: str) -> tuple:
    return *_headers_key(name), *_log_key(name)


def headers(name: str) -> cohort.Cohort:
    """Read a cohort as its headers label it, whatever people said; the index of its table is the slice key."""
    return _headers(name, _headers_key(name))


@st.cache_resource(max_entries=8, show_spinner="Opening the cohort")
def _headers(name: str, key: tuple) -> cohort.Cohort:
    made = cohort.read_unlogged(name)
    return replace(made, table=made.table.set_index(pd.Index(cohort.slice_keys(made.table), name="key")))


def open_cohort(name: str) -> cohort.Cohort:
    """Read a cohort; the index of its table is the slice key."""
    return _open_cohort(name, _cohort_key(name))


@st.cache_resource(max_entries=8, show_spinner=False)
def _open_cohort(name: str, key: tuple) -> cohort.Cohort:
    # A new label reads the log, not the whole cohort.
    return cohort.with_changes(headers(name))


def series_table(made: cohort.Cohort) -> pd.DataFrame:
    """One row a series: that of its middle slice, with ``n``, the number of slices."""
    return _series_table(made, _cohort_key(made.name))


@st.cache_resource(max_entries=8, show_spinner=False)
def _series_table(_made: cohort.Cohort, key: tuple) -> pd.DataFrame:
    table = _made.table.sort_values(["PatientID", "SeriesInstanceUID", "image_number"], kind="stable")
    by_series = table.groupby("SeriesInstanceUID", sort=False)["frame"]
    n = by_series.transform("size")
    return table.assign(n=n)[by_series.cumcount() == n // 2]


def facet_index(made: cohort.Cohort) -> facets.FacetIndex:
    """What filters look at instead of the table."""
    return _facet_index(made, _cohort_key(made.name))


@st.cache_resource(max_entries=8, show_spinner="Preparing the filters")
def _facet_index(_made: cohort.Cohort, key: tuple) -> facets.FacetIndex:
    return facets.build_index(_made.table)


def overview(made: cohort.Cohort) -> Overview:
    """A cohort at a glance."""
    return _overview(made, _cohort_key(made.name))


@st.cache_resource(max_entries=8, show_spinner="Counting")
def _overview(_made: cohort.Cohort, key: tuple) -> Overview:
    return look_over(_made, facet_index(_made))


def overview_figures(made: cohort.Cohort) -> dict[str, go.Figure]:
    """Its charts: planes, vendors, fields and timings."""
    return _overview_figures(made, _cohort_key(made.name))


@st.cache_resource(max_entries=8, show_spinner=False)
def _overview_figures(_made: cohort.Cohort, key: tuple) -> dict[str, go.Figure]:
    seen = overview(_made)
    return {
        "planes": cohort_figures.plane_bars(seen.planes),
        "vendors": cohort_figures.count_bars(seen.vendors),
        "fields": cohort_figures.count_bars(seen.fields),
        "timings": cohort_figures.timing_scatter(seen.timings),
    }


def grid_rows(made: cohort.Cohort, by_series: bool) -> pd.DataFrame:
    """Rows of a grid in its order: slices by patient, series and place, or one row a series with ``at``.

    ``at`` is a row's place in the cohort's table.
    """
    return _grid_rows(made, _cohort_key(made.name), by_series)


@st.cache_resource(max_entries=8, show_spinner=False)
def _grid_rows(_made: cohort.Cohort, key: tuple, by_series: bool) -> pd.DataFrame:
    table = _made.table.assign(at=np.arange(len(_made.table)))
    if by_series:
        return series_table(_made).assign(at=lambda rows: table.loc[rows.index, "at"])
    return table.sort_values(["PatientID", "SeriesInstanceUID", "image_number"], kind="stable")


def embeddings(made: cohort.Cohort) -> similar.Embeddings | None:
    """Embeddings of a cohort's slices by the shipped model; None until all are known."""
    return _embeddings(made, (*_cohort_key(made.name), *_stamp(*(made.folder / "embeddings").glob("*"))))


@st.cache_resource(max_entries=4, show_spinner=False)
def _embeddings(_made: cohort.Cohort, key: tuple) -> similar.Embeddings | None:
    return similar.known(_made)


def cohort_sheet(made: cohort.Cohort, keys: tuple[str, ...]) -> dict:
    """One sheet with the thumbnails of these slices."""
    return _cohort_sheet(made, _cohort_key(made.name), keys)


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
    return _pair_sheet(made, _cohort_key(made.name), pairs)


@st.cache_resource(max_entries=32, show_spinner="Drawing thumbnails")
def _pair_sheet(_made: cohort.Cohort, key: tuple, pairs: tuple[tuple[str, str], ...]) -> dict:
    one, other = (
        thumbnails.sprites(_made, _made.table.loc[list(keys)], THUMBNAIL_PX) for keys in zip(*pairs, strict=True)
    )
    return sheet(np.concatenate([one, np.full((len(one), THUMBNAIL_PX, 2), 128, np.uint8), other], axis=2))


def series_rows(made: cohort.Cohort, uid: str) -> pd.DataFrame:
    """Slices of a series, in the order in which they are shown."""
    return _series_rows(made, _cohort_key(made.name), uid)


@st.cache_resource(max_entries=64, show_spinner=False)
def _series_rows(_made: cohort.Cohort, key: tuple, uid: str) -> pd.DataFrame:
    table = _made.table
    return table[table["SeriesInstanceUID"] == uid].sort_values(["stack", "image_number"], kind="stable")


def study_series(made: cohort.Cohort, study_uid: str) -> pd.DataFrame:
    """One row a series of a study, as `series_table` has them."""
    return _study_series(made, _cohort_key(made.name), study_uid)


@st.cache_resource(max_entries=64, show_spinner=False)
def _study_series(_made: cohort.Cohort, key: tuple, study_uid: str) -> pd.DataFrame:
    series = series_table(_made)
    return series[series["StudyInstanceUID"] == study_uid]


def stack(made: cohort.Cohort, uid: str) -> Stack:
    """What the viewer is told of a series before its pixels come."""
    return _stack(made, _headers_key(made.name), uid)


@st.cache_resource(max_entries=64, show_spinner="Opening the series")
def _stack(_made: cohort.Cohort, key: tuple, uid: str) -> Stack:
    return stack_of(series_rows(_made, uid), _reader(_made), str(key))


def piece(made: cohort.Cohort, uid: str, number: int) -> Piece:
    """Pixels of some neighbouring slices of a series, packed; at most 160 MB of them are kept."""
    return _piece(made, _headers_key(made.name), uid, number)


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
    return _pixels(str(made.root / row["path"]), int(row["frame"]), int(row["file_mtime_ns"]))


@st.cache_resource(max_entries=32, show_spinner=False)
def _pixels(path: str, frame: int, stamp: int) -> np.ndarray:
    return get_sandbox().pixels(Path(path), frame)


def manifest(made: cohort.Cohort) -> str:
    """The original project's manifest of a cohort."""
    return _manifest(made, _cohort_key(made.name))


@st.cache_data(max_entries=4, show_spinner="Writing the manifest")
def _manifest(_made: cohort.Cohort, key: tuple) -> str:
    return cohort.manifest_json(_made)


def label_table(made: cohort.Cohort) -> bytes:
    """The labels of a cohort as a label table, CSV."""
    return _label_table(made, _cohort_key(made.name))


@st.cache_data(max_entries=4, show_spinner="Writing the labels")
def _label_table(_made: cohort.Cohort, key: tuple) -> bytes:
    return label_overrides.label_table(_made).to_csv(index=False).encode()


def standing_batches(made: cohort.Cohort) -> list[dict]:
    """Label tables that were given to a cohort and not undone, newest first."""
    return _standing_batches(made, _cohort_key(made.name))


@st.cache_data(max_entries=8, show_spinner=False)
def _standing_batches(_made: cohort.Cohort, key: tuple) -> list[dict]:
    return label_log.standing_batches(cohort.read_log(_made))


def split(
    made: cohort.Cohort, fractions: tuple, random_state: int, label: str, test_patients: tuple[str, ...] = ()
) -> tuple[pd.Series, pd.DataFrame]:
    """Split of a cohort by patient, and the table it belongs to."""
    return _split(made, _cohort_key(made.name), fractions, random_state, label, test_patients), made.table


@st.cache_data(max_entries=32, show_spinner=False)
def _split(
    _made: cohort.Cohort, key: tuple, fractions: tuple, random_state: int, label: str, test_patients: tuple
) -> pd.Series:
    return splits.patient_split(_made.table, fractions, random_state, label, test_patients)


def preflight_look(made: cohort.Cohort, config: RunConfig) -> tuple[preflight.Preflight, pd.DataFrame]:
    """The quick half of the look before a start, and classes × parts in words."""
    config.validate()
    there = (made.root.exists(), *weights_stamp(config), *(getattr(config, name) for name in preflight.FIELDS))
    return _preflight_look(made, config, _cohort_key(made.name), there)


def weights_stamp(config: RunConfig) -> tuple[int, ...]:
    """When a local weights file was written; nothing for weights that come with us or from the network."""
    return () if config.weights in WEIGHTS else _stamp(Path(config.weights))


@st.cache_resource(max_entries=64, show_spinner=False)
def _preflight_look(_made: cohort.Cohort, _config: RunConfig, key: tuple, there: tuple) -> tuple:
    seen = preflight.look(_made, _config)
    counts = seen.counts
    said = [f"{s:,} · {p}" for s, p in zip(counts["slices"], counts["patients"], strict=True)]
    heads = counts["head"].nunique() > 1
    names = counts["head"] + ": " + counts["label"] if heads else counts["label"]
    wide = counts.assign(said=said, name=pd.Categorical(names, names.unique()))
    wide = wide.pivot(index="name", columns="split", values="said").reindex(columns=splits.SPLITS).fillna("none")
    wide.index.name = "class" if heads else counts["head"].iloc[0] if len(counts) else "class"
    wide.columns = [f"{part} ({seen.amounts[part][1]} patients)" for part in wide]
    return seen, wide.set_axis(wide.index.astype("str"))


def run_configs() -> tuple[tuple[str, RunConfig], ...]:
    """Id and configuration of every run whose configuration can be read."""
    return _run_configs(str(get_settings().runs_dir), _stamp(get_settings().runs_dir))


@st.cache_resource(max_entries=4, show_spinner=False)
def _run_configs(folder: str, key: tuple) -> tuple:
    found = []
    for run in runs.list_runs():
        with suppress(RunError):
            found.append((run.id, run.config))
    return tuple(found)


@st.cache_resource(max_entries=64, show_spinner=False)
def sample_strip(key: tuple, _samples: Samples) -> str:
    """Address of one picture: slices in the upper row, how augmentation changes them in the lower."""
    laid = [np.concatenate(list(row), axis=1) for row in (_samples.originals, _samples.changed)]
    file = BytesIO()
    Image.fromarray(np.concatenate(laid)).save(file, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def split_facts(made: cohort.Cohort, split: pd.Series, words: tuple, label: str) -> tuple[str, pd.DataFrame, go.Figure]:
    """Hash of a split, classes × parts in words, and their chart; `words` tells one split of a cohort from another."""
    return _split_facts(made, split, _cohort_key(made.name), words, label)


@st.cache_resource(max_entries=32, show_spinner=False)
def _split_facts(_made: cohort.Cohort, _split: pd.Series, key: tuple, words: tuple, label: str) -> tuple:
    counts = splits.summary(_made.table, _split, label)
    said = [f"{s:,} slices · {p} patients" for s, p in zip(counts["slices"], counts["patients"], strict=True)]
    wide = counts.assign(said=said).pivot(index=label, columns="split", values="said")
    patients = _made.table.groupby(_split)["PatientID"].nunique()
    wide = wide.reindex(columns=splits.SPLITS).fillna("none")
    wide.columns = [f"{part} ({patients.get(part, 0)} patients)" for part in wide]
    figure = figures.label_counts(_made.table.assign(split=_split), label)
    return splits.split_hash(_made.table, _split), wide, figure


# The Imaging Data Commons ---------------------------------------------------------------------------


def idc_collections(query: idc.Query) -> pd.DataFrame:
    """Collections that hold what is looked for."""
    return _idc("collections", idc.index_version(), "", query)


def idc_series(query: idc.Query) -> pd.DataFrame:
    """Series of one collection, patients under this workspace's pseudonyms."""
    return _idc("series", idc.index_version(), str(get_settings().workspace), query)


def idc_sources(dois: tuple[str, ...]) -> pd.DataFrame:
    """Citations and licences of series' sources."""
    return _idc("sources", idc.index_version(), "", dois)


def idc_modalities() -> list[str]:
    """Modalities that there are."""
    return _idc("modalities", idc.index_version(), "", "")


def about_tcga_gbm() -> str:
    """Where the original project's images are."""
    return _idc("about_tcga_gbm", idc.index_version(), "")


@st.cache_resource(max_entries=64, show_spinner="Searching the index")
def _idc(question: str, version: str, workspace: str, *asked: object) -> object:
    return getattr(idc, question)(*asked)


# Labels ---------------------------------------------------------------------------------------------


def labels_given(name: str) -> list[dict]:
    """Read what people said of a cohort's slices."""
    return _labels_given(name, _log_key(name))


@st.cache_resource(max_entries=8, show_spinner=False)
def _labels_given(name: str, key: tuple) -> list[dict]:
    return cohort.read_log(headers(name))


def label_csv(name: str) -> bytes:
    """What people said of a cohort's slices, as a label table."""
    return _label_csv(name, _cohort_key(name))


@st.cache_data(max_entries=8, show_spinner=False)
def _label_csv(name: str, key: tuple) -> bytes:
    return label_report.label_table(headers(name).table, labels_given(name)).to_csv(index=False).encode()


def label_lines(name: str) -> pd.DataFrame:
    """What people said of a cohort's slices, as the Label page lists it."""
    return _label_lines(name, _cohort_key(name))


@st.cache_resource(max_entries=8, show_spinner=False)
def _label_lines(name: str, key: tuple) -> pd.DataFrame:
    return label_report.log_table(headers(name).table, labels_given(name))


def queue(name: str, queue_name: str | None, answers: Answers | None) -> pd.DataFrame:
    """A cohort's queue: a named one, or what needs a look; with a model's answers where there are some."""
    stamps = _stamp(answers.folder / "status.json") if answers and answers.status["state"] == "done" else (0,)
    if queue_name:
        stamps += _stamp(headers(name).folder / "queues" / f"{queue_name}.json")
    return _queue(name, queue_name, _headers_key(name), str(answers and answers.folder), stamps, answers)


@st.cache_resource(max_entries=16, show_spinner="Making the queue")
def _queue(name: str, queue_name: str | None, key: tuple, folder: str, stamps: tuple, _answers) -> pd.DataFrame:
    made = headers(name)
    tables = [_answers.table(part) for part in ("slices", "series")] if stamps[0] else [None, None]
    if queue_name:
        return named_queue(made.table, read_queue(made, queue_name), *tables)
    return build_queue(made.table, *tables)


# Studies --------------------------------------------------------------------------------------------


def study_tables(study: studies.Study) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Slices, series and rejected files of a finished study."""
    return _study_tables(study.id, _stamp(study.folder / "series.parquet"))


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
    return _pixels(str(path), int(row["frame"]), _stamp(path)[0])


def study_stack(study: studies.Study, uid: str) -> tuple[Stack | None, pd.DataFrame]:
    """What the viewer is told of a series of a study, and its slices in the order in which they are shown.

    The index of the slices are their rows in the study's table. There is no stack of a study that was read by a
    version which did not note where its slices lie.
    """
    return _study_stack(study.id, _stamp(study.folder / "series.parquet"), uid)


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
    return _study_piece(study.id, _stamp(study.folder / "series.parquet"), uid, number)


@st.cache_resource(max_entries=32, show_spinner=False)
def _study_piece(study_id: str, stamp: tuple, uid: str, number: int) -> Piece:
    study = studies.open_study(study_id)
    stack, rows = study_stack(study, uid)
    return piece_of(stack, rows, number, _study_reader(study))


def _study_reader(study: studies.Study) -> ReadPixels:
    return lambda path, frame: get_sandbox().pixels(study.files / path, frame)


# Runs -----------------------------------------------------------------------------------------------


def run_table() -> pd.DataFrame:
    """All runs, newest first, as `core.comparing.run_table.RunTable.read` gives them."""
    return _run_table(str(get_settings().runs_dir)).read()


@st.cache_resource(max_entries=4, show_spinner=False)
def _run_table(folder: str) -> RunTable:
    # The table itself looks which folders have changed.
    return RunTable(Path(folder))


def finished() -> list[str]:
    """Ids of finished runs, newest first."""
    table = run_table()
    return table["id"][table["state"] == "done"].tolist()


def comparison(ids: tuple[str, ...], names: tuple[str, ...]) -> compare.Comparison | str:
    """Runs side by side, or the sentence why they cannot be."""
    return _comparison(ids, names, _compared(ids))


def _compared(ids: tuple[str, ...]) -> tuple[int, ...]:
    files = ("predictions.parquet", "config.json", "bundle/card.json", "metrics.jsonl")
    return _stamp(*(runs.read_run(run_id).folder / file for run_id in ids for file in files))


# A refusal is kept, too: it costs as much to find out.
@st.cache_resource(max_entries=8, show_spinner="Comparing the runs")
def _comparison(ids: tuple[str, ...], names: tuple[str, ...], stamps: tuple) -> compare.Comparison | str:
    try:
        return compare.compare([runs.read_run(run_id) for run_id in ids], names)
    except RunError as error:
        return str(error)


def comparison_figures(made: compare.Comparison, head: int, other: int) -> tuple[go.Figure, go.Figure, go.Figure]:
    """Intervals, curves and the difference matrix of a comparison's head and pair."""
    return _comparison_figures(made.ids, made.names, _compared(made.ids), head, other, made)


@st.cache_resource(max_entries=16, show_spinner=False)
def _comparison_figures(
    ids: tuple[str, ...], names: tuple[str, ...], stamps: tuple, head: int, other: int, _made: compare.Comparison
) -> tuple[go.Figure, go.Figure, go.Figure]:
    one = _made.heads[head]
    metrics = [runs.read_run(run_id).metrics() for run_id in ids]
    return (
        compare_figures.intervals(one, names),
        compare_figures.curves(metrics, names, one.head),
        compare_figures.matrix_difference(one, other, names),
    )


def list_lessons() -> list[lessons.Lesson]:
    """All lessons, newest first."""
    folder = get_settings().lessons_dir
    return _list_lessons(str(folder), _stamp(folder))


# A lesson's file never changes: it comes and goes, and the folder's time tells.
@st.cache_resource(max_entries=4, show_spinner=False)
def _list_lessons(folder: str, stamp: tuple) -> list[lessons.Lesson]:
    return lessons.list_lessons()


def lesson_result(lesson: lessons.Lesson, done: tuple[str, ...]) -> tuple[object, go.Figure | None]:
    """What came of a lesson's runs that are done, as `lesson_results` gives it; and its figure, if there is one.

    Raises
    ------
    RunError
        When these runs cannot be judged together.
    """
    files = [get_settings().runs_dir / run_id / "predictions.parquet" for run_id in done]
    return _lesson_result(lesson.id, str(get_settings().lessons_dir), done, _stamp(*files), lesson)


@st.cache_resource(max_entries=32, show_spinner="Judging the runs")
def _lesson_result(lesson_id: str, folder: str, done: tuple, stamps: tuple, _lesson: lessons.Lesson) -> tuple:
    if _lesson.kind == "naive":
        result = lesson_results.naive_result(_lesson)
        return result, (lesson_figures.naive(result.heads) if result else None)
    heads = lesson_results.curve_result(_lesson)
    return heads, (lesson_figures.curve(heads) if heads else None)


def learning_curve(run: runs.Run) -> tuple[go.Figure | None, int]:
    """Loss and accuracy over a run's epochs, None before the first; and how many epochs there are."""
    path = run.folder / "metrics.jsonl"
    return _learning_curve(str(path), _stamp(path), path.stat().st_size if path.exists() else 0, run)


@st.cache_resource(max_entries=64, show_spinner=False)
def _learning_curve(path: str, stamp: tuple, size: int, _run: runs.Run) -> tuple[go.Figure | None, int]:
    metrics = _run.metrics()
    return (figures.learning_curve(metrics) if len(metrics) else None), len(metrics)


def card_sections(model_id: str) -> list[model_card.Section]:
    """Parts of a model's card."""
    found, config = model_card.of(model_id)
    return _card_sections(model_id, _stamp(found.bundle / "card.json"), found, config)


@st.cache_resource(max_entries=16, show_spinner=False)
def _card_sections(model_id: str, stamp: tuple, _model, _config) -> list[model_card.Section]:
    return model_card.sections(_model, _config)


def predictions(run: runs.Run) -> pd.DataFrame:
    """One row a slice and head, as evaluation stored them, with ``key`` and ``p``, the answer's probability."""
    return _predictions(run.id, _stamp(run.folder / "predictions.parquet"))


@st.cache_resource(max_entries=8, show_spinner="Reading the predictions")
def _predictions(run_id: str, stamp: tuple) -> pd.DataFrame:
    table = runs.read_run(run_id).predictions()
    return table.assign(
        key=cohort.slice_keys(table),
        p=np.fromiter(map(np.max, table["y_proba"]), float, len(table)),
    )


def epoch_answers(run: runs.Run) -> epochs.EpochAnswers | None:
    """What a run's model answered after each epoch; None for a run that kept nothing of it."""
    return _epoch_answers(str(run.folder), _stamp(run.folder / epochs.EPOCHS_FILE))


@st.cache_resource(max_entries=8, show_spinner=False)
def _epoch_answers(folder: str, stamp: tuple) -> epochs.EpochAnswers | None:
    return epochs.read(Path(folder))


@dataclass(frozen=True)
class Asked:
    """What one head answered about the slices of one part whose truth is known.

    Attributes
    ----------
    rows : DataFrame
        Their predictions, n of them, as `predictions` gives them.
    kept : ndarray of bool
        Which of the head's predictions these are.
    seen : frozenset of str
        Classes that occur or are named.
    """

    rows: pd.DataFrame
    kept: np.ndarray
    seen: frozenset[str]


def heads_and_parts(run: runs.Run) -> tuple[list[str], list[str]]:
    """List what a run's predictions are of: its heads, and the parts of its split, test first."""
    return _heads_and_parts(run.id, _stamp(run.folder / "predictions.parquet"))


@st.cache_resource(max_entries=64, show_spinner=False)
def _heads_and_parts(run_id: str, stamp: tuple) -> tuple[list[str], list[str]]:
    table = predictions(runs.read_run(run_id))
    parts = table["split"].unique().tolist()
    return table["head"].unique().tolist(), sorted(parts, key=lambda part: (*reversed(splits.SPLITS), part).index(part))


def asked(run: runs.Run, head: str, part: str) -> Asked:
    """Return what a head answered about the slices of a part, a fifth of a second of sorting out at half a million."""
    return _asked(run.id, _stamp(run.folder / "predictions.parquet"), head, part)


@st.cache_resource(max_entries=12, show_spinner="Sorting the predictions")
def _asked(run_id: str, stamp: tuple, head: str, part: str) -> Asked:
    table = predictions(runs.read_run(run_id))
    rows = table[(table["head"] == head).to_numpy()]
    # A slice of which nobody knows the truth was answered, but is neither right nor wrong.
    kept = ((rows["split"] == part) & rows["y_true"].notna()).to_numpy()
    rows = rows[kept]
    return Asked(rows, kept, frozenset(rows["y_true"].unique()) | frozenset(rows["y_pred"].unique()))


@dataclass(frozen=True)
class Verdicts:
    """Units of a part with their truth and answer, the slices that stand for them, and the accuracy's interval."""

    judged: confusion.Judged
    rows: pd.DataFrame
    interval: tuple[float, float]
    patients: int
    cohorts: tuple[str, ...]


def verdicts(run: runs.Run, heads: tuple[str, ...], part: str, unit: str) -> Verdicts:
    """Judge slices, series or patients; two heads are judged by their joint classes."""
    return _verdicts(run.id, _stamp(run.folder / "predictions.parquet", run.bundle / "card.json"), heads, part, unit)


@st.cache_resource(max_entries=12, show_spinner="Counting")
def _verdicts(run_id: str, stamp: tuple, heads: tuple[str, ...], part: str, unit: str) -> Verdicts:
    run = runs.read_run(run_id)
    classes = run.card()["classes"]
    parts = [asked(run, head, part).rows for head in heads]
    if len(parts) > 1:
        common = set(parts[0]["key"]).intersection(*(one["key"] for one in parts[1:]))
        parts = [one[one["key"].isin(common)].sort_values("key") for one in parts]
    judged = confusion.judge(parts, [classes[head] for head in heads], unit)
    interval = float("nan"), float("nan")
    if len(judged.patient):
        right = (judged.true == judged.named).astype(float)
        low, high = patient_bootstrap(judged.patient, right).interval()
        interval = float(low), float(high)
    cohorts = tuple(parts[0]["cohort"].unique())
    # The first click should find ready what it needs: who stands in which cell, and where pictures are.
    judged.members(*judged.classes[:1] * 2 or ("", ""))
    for name in cohorts:
        with suppress(CoreError):
            open_cohort(name).table.index.get_indexer(parts[0]["key"][:1])
    return Verdicts(judged, parts[0], interval, len(np.unique(judged.patient)), cohorts)


def class_scores(run: runs.Run) -> scores_by_class.ClassScores | None:
    """Scores and curves by class, as evaluation stored them; None for an older run."""
    folder = analyses.folder(run)
    return _class_scores(str(folder), _stamp(*scores_by_class.files(folder)))


@st.cache_resource(max_entries=16, show_spinner=False)
def _class_scores(folder: str, stamp: tuple) -> scores_by_class.ClassScores | None:
    return scores_by_class.read(Path(folder))


def class_curves(run: runs.Run, head: str, part: str, name: str) -> tuple[go.Figure, go.Figure]:
    """ROC and precision–recall curves of a head's classes, one of them standing out."""
    folder = analyses.folder(run)
    return _class_curves(str(folder), _stamp(*scores_by_class.files(folder)), head, part, name)


@st.cache_resource(max_entries=64, show_spinner=False)
def _class_curves(folder: str, stamp: tuple, head: str, part: str, name: str) -> tuple[go.Figure, go.Figure]:
    made = _class_scores(folder, stamp)
    kept = (made.curves["head"] == head) & (made.curves["part"] == part)
    table = made.table[(made.table["head"] == head) & (made.table["part"] == part)].set_index("name")
    return (
        error_figures.class_curves(made.curves[kept & (made.curves["curve"] == "roc")], table, name, "roc"),
        error_figures.class_curves(made.curves[kept & (made.curves["curve"] == "pr")], table, name, "pr"),
    )


def weak_spots(run: runs.Run, head: str, part: str) -> pd.DataFrame | None:
    """Weak spots of a head in a part, worst first, as evaluation stored them; None for an older run."""
    folder = analyses.folder(run)
    return _weak_spots(str(folder), _stamp(*spots.files(folder)), head, part)


@st.cache_resource(max_entries=32, show_spinner=False)
def _weak_spots(folder: str, stamp: tuple, head: str, part: str) -> pd.DataFrame | None:
    table = spots.read_spots(Path(folder))
    if table is None:
        return None
    return table[(table["head"] == head) & (table["part"] == part)].reset_index(drop=True)


def slices_of_spot(run: runs.Run, head: str, part: str, spot: tuple[tuple[str, str], ...]) -> np.ndarray:
    """Places of a spot's slices among those asked about, the surest mistakes first, then the least sure right ones."""
    stamps = _stamp(run.folder / "predictions.parquet", *spots.files(analyses.folder(run)))
    return _slices_of_spot(run.id, stamps, head, part, spot)


@st.cache_resource(max_entries=64, show_spinner=False)
def _slices_of_spot(run_id: str, stamps: tuple, head: str, part: str, spot: tuple[tuple[str, str], ...]) -> np.ndarray:
    run = runs.read_run(run_id)
    rows, facts = asked(run, head, part).rows, _slice_facts(str(analyses.folder(run)), stamps)
    inside = np.flatnonzero(spots.members(facts.reindex(rows["key"]), spot))
    wrong = (rows["y_true"] != rows["y_pred"]).to_numpy()[inside]
    p = np.nan_to_num(rows["p"].to_numpy()[inside])
    return inside[np.lexsort((np.where(wrong, -p, p), ~wrong))]


@st.cache_resource(max_entries=4, show_spinner=False)
def _slice_facts(folder: str, stamps: tuple) -> pd.DataFrame:
    facts = spots.read_facts(Path(folder))
    return facts[~facts.index.duplicated()]


def kept_samples(run: runs.Run, head: str, part: str) -> np.ndarray | None:
    """Monte-Carlo samples of the slices of a part whose truth is known, (n, T, classes); None without."""
    stamps = _stamp(run.folder / "mc_samples.npz", run.folder / "predictions.parquet")
    return _kept_samples(run.id, stamps, head, part)


@st.cache_resource(max_entries=4, show_spinner=False)
def _kept_samples(run_id: str, stamps: tuple, head: str, part: str) -> np.ndarray | None:
    run = runs.read_run(run_id)
    samples, kept = mc_samples(run, head), asked(run, head, part).kept
    # Samples are large, and mostly all of them are kept.
    return samples if samples is None or kept.all() else samples[kept]


def analysis(run: runs.Run, file: str):
    """What an analysis left in a run's folder: a JSON's content, a table or an array; None where there is no file."""
    path = analyses.folder(run) / file
    return _analysis(str(path), _stamp(path))


@st.cache_resource(max_entries=32, show_spinner="Reading the analysis")
def _analysis(path: str, stamp: tuple):
    if not stamp[0]:
        return None
    if path.endswith(".parquet"):
        return pd.read_parquet(path)
    return np.load(path, allow_pickle=False) if path.endswith(".npy") else json.loads(Path(path).read_text("utf-8"))


def of_analysis(run: runs.Run, file: str, make: Callable, *given: object, at: tuple):
    """What ``make(*given)`` makes of parts of an analysis: a figure, an order.

    Parameters
    ----------
    run : Run
    file : str
        The analysis' file; when it has changed, all is made anew.
    make : callable
    *given
        Parts of the analysis and of the predictions.
    at : tuple
        Words and numbers that, with the files, tell what is given.
    """
    path = analyses.folder(run) / file
    stamp = _stamp(path, run.folder / "predictions.parquet")
    return _of_analysis(str(path), stamp, f"{make.__module__}.{make.__qualname__}", at, make, given)


@st.cache_resource(max_entries=128, show_spinner=False)
def _of_analysis(path: str, stamp: tuple, name: str, at: tuple, _make: Callable, _given: tuple):
    return _make(*_given)


def mc_samples(run: runs.Run, head: str) -> np.ndarray | None:
    """Monte-Carlo samples of a head, (n, T, classes), in the order of its predictions; None without."""
    return _mc_samples(str(run.folder / "mc_samples.npz"), _stamp(run.folder / "mc_samples.npz"), head)


@st.cache_resource(max_entries=8, show_spinner="Reading the Monte-Carlo samples")
def _mc_samples(path: str, stamp: tuple, head: str) -> np.ndarray | None:
    if not stamp[0]:
        return None
    with np.load(path, allow_pickle=False) as stored:
        return stored.get(head)


def neighbours_of(run: runs.Run) -> neighbours.Neighbours | None:
    """Nearest training slices of a run's slices; None for a run that was evaluated before they were kept."""
    return _neighbours_of(run.id, _analyses_key(run, "neighbours.npz"), run)


def _analyses_key(run: runs.Run, *names: str) -> tuple:
    folder = analyses.folder(run)
    return str(folder), *_stamp(*(folder / name for name in names))


@st.cache_resource(max_entries=4, show_spinner=False)
def _neighbours_of(run_id: str, key: tuple, _run: runs.Run) -> neighbours.Neighbours | None:
    return neighbours.read(_run)


def issues_of(run: runs.Run, head: str) -> label_issues.LabelIssues | None:
    """Doubtful labels of a head; None for a run that was evaluated before they were kept."""
    return _issues_of(run.id, _analyses_key(run, "label_issues.parquet", "label_issues.json"), head, run)


@st.cache_resource(max_entries=8, show_spinner=False)
def _issues_of(run_id: str, key: tuple, head: str, _run: runs.Run) -> label_issues.LabelIssues | None:
    return label_issues.read(_run, head)


def map_of(run: runs.Run) -> embedding_map.EmbeddingMap | None:
    """Points of a run's slices; None for a run that was evaluated before they were kept."""
    files = ("map.npz", *(f"map-{method.lower()}.npy" for method in embedding_map.METHODS[1:]))
    return _map_of(run.id, _analyses_key(run, *files), run)


@st.cache_resource(max_entries=4, show_spinner=False)
def _map_of(run_id: str, key: tuple, _run: runs.Run) -> embedding_map.EmbeddingMap | None:
    return embedding_map.read(_run)


def predictions_of(run: runs.Run, head: str) -> pd.DataFrame:
    """Predictions of one head, a row a slice in the order of the run's split; others as `predictions` has them."""
    return _predictions_of(run.id, _stamp(run.folder / "predictions.parquet"), head)


@st.cache_resource(max_entries=8, show_spinner=False)
def _predictions_of(run_id: str, stamp: tuple, head: str) -> pd.DataFrame:
    table = predictions(runs.read_run(run_id))
    return table[table["head"] == head].reset_index(drop=True)


def places_of(run: runs.Run, head: str) -> pd.Index:
    """Keys of a head's predictions, for asking at which place a slice stands."""
    return _places_of(run.id, _stamp(run.folder / "predictions.parquet"), head)


@st.cache_resource(max_entries=8, show_spinner=False)
def _places_of(run_id: str, stamp: tuple, head: str) -> pd.Index:
    return pd.Index(predictions_of(runs.read_run(run_id), head)["key"])


def stress_figure(run: runs.Run, heads: tuple[str, ...]) -> go.Figure:
    """Curves of a run's stress bench, a small panel a change."""
    return _stress_figure(run.id, _stamp(analyses.folder(run) / "stress_curves.parquet"), heads, run)


@st.cache_resource(max_entries=8, show_spinner=False)
def _stress_figure(run_id: str, stamp: tuple, heads: tuple[str, ...], _run: runs.Run) -> go.Figure:
    return stress_figures.stress_curves(analysis(_run, "stress_curves.parquet"), heads)


def stress_head(run: runs.Run, head: str) -> tuple[list[str], dict[str, str], pd.DataFrame]:
    """What the stress bench says of a head: a sentence a change, slices to look at by key, and their answers."""
    return _stress_head(run.id, _stamp(analyses.folder(run) / "stress_curves.parquet"), head, run)


@st.cache_resource(max_entries=16, show_spinner=False)
def _stress_head(
    run_id: str, stamp: tuple, head: str, _run: runs.Run
) -> tuple[list[str], dict[str, str], pd.DataFrame]:
    drawn, answers = analysis(_run, "stress_curves.parquet"), analysis(_run, "stress.parquet")
    said = [stress.sentence(drawn, head, change) for change in stress_changes.CHANGES]
    answers = answers[answers["head"] == head]
    before = answers[answers["change"] == ""].head(_MOST_OFFERED)
    before = before.sort_values(["y_true", "PatientID"], kind="stable")
    titles = {row.key: f"{row.y_true}, {row.PatientID} ({at})" for at, row in enumerate(before.itertuples(), 1)}
    return said, titles, answers[answers["key"].isin(titles)].set_index("key").sort_index(kind="stable")


def stress_seconds(run: runs.Run, slices: int) -> float | None:
    """About how long a run's stress bench takes."""
    stamps = _stamp(run.folder / "predictions.parquet", analyses.folder(run) / "stress_curves.parquet")
    return _stress_seconds(run.id, stamps, slices, run)


@st.cache_data(max_entries=64, ttl="1m", show_spinner=False)
def _stress_seconds(run_id: str, stamps: tuple, slices: int, _run: runs.Run) -> float | None:
    return stress.estimate_s(_run, slices)


def stress_strip(run: runs.Run, made: cohort.Cohort, key: str, change: str, random_state: int) -> list[str]:
    """Addresses of the pictures of one slice at each strength of a change, as the model sees them."""
    return _stress_strip(_headers_key(made.name), key, change, random_state, run.card()["input_shape"][0], made)


@st.cache_data(max_entries=128, show_spinner="Changing the slice")
def _stress_strip(
    headers_key: tuple, key: str, change: str, random_state: int, size: int, _made: cohort.Cohort
) -> list[str]:
    row = _made.table.loc[key]
    spacing = (row["pixel_spacing_row_mm"], row["pixel_spacing_column_mm"])
    one = stress_changes.slice_of(cohort_pixels(_made, key), spacing)
    drawn = stress.pictures(one, key, size, random_state, stress.steps_of(change))
    pngs = (images.to_png(np.rint(picture * 255).astype(np.uint8)) for picture in drawn)
    return ["data:image/png;base64," + base64.b64encode(png).decode() for png in pngs]


def shortcut_result() -> tuple[shortcut.Result | None, dict[str, np.ndarray]]:
    """What the shortcut demonstration found, and its pictures; None and nothing while it is not made."""
    return _shortcut_result(*_shortcut_key())


@st.cache_resource(max_entries=2, show_spinner=False)
def _shortcut_result(folder: str, stamp: tuple) -> tuple[shortcut.Result | None, dict[str, np.ndarray]]:
    found = shortcut.result()
    if found is None or not all(stamp):
        return None, {}
    with np.load(Path(folder) / "pictures.npz", allow_pickle=False) as stored:
        return found, dict(stored)


def shortcut_figure(make: Callable[..., go.Figure]) -> go.Figure:
    """A figure of the shortcut demonstration: ``make(found, pictures)``."""
    return _shortcut_figure(*_shortcut_key(), make.__name__, make)


@st.cache_resource(max_entries=8, show_spinner=False)
def _shortcut_figure(folder: str, stamp: tuple, name: str, _make: Callable[..., go.Figure]) -> go.Figure:
    return _make(*_shortcut_result(folder, stamp))


def _shortcut_key() -> tuple[str, tuple]:
    folder = shortcut.folder()
    return str(folder), _stamp(folder / "result.json", folder / "pictures.npz")


def position_figures(run: runs.Run, head: str, part: str) -> tuple[go.Figure, go.Figure | None]:
    """Accuracy along the stack, and where the commonest mistakes are."""
    return _position_figures(run.id, _stamp(analyses.folder(run) / "positions.parquet"), head, part, run)


@st.cache_resource(max_entries=16, show_spinner=False)
def _position_figures(
    run_id: str, stamp: tuple, head: str, part: str, _run: runs.Run
) -> tuple[go.Figure, go.Figure | None]:
    bins, found = (
        table[(table["head"] == head) & (table["split"] == part)]
        for table in (analysis(_run, "positions.parquet"), analysis(_run, "position_pairs.parquet"))
    )
    return stress_figures.position_curves(bins), stress_figures.position_pairs(found)


# The model's answers --------------------------------------------------------------------------------


@st.cache_data(max_entries=512, show_spinner=False)
def _model_input(subject_id: str, size: int, _subject) -> tuple[np.ndarray, images.Geometry]:
    return images.to_model_input(_subject.pixels, _subject.spacing_mm, size)


def explain(run: runs.Run, subject, question: Question) -> Maps:
    """The map of one slice, on the slice's own grid; waits for it, so not for a page's own thread."""
    return _explain(run.id, subject.id, map_store.stamp(run.bundle), question, run, subject)


@st.cache_data(max_entries=256, show_spinner=False)
def _explain(run_id: str, subject_id: str, stamp: str, question: Question, _run: runs.Run, _subject) -> Maps:
    image, geometry = _model_input(subject_id, _run.card()["input_shape"][0], _subject)
    maps = map_store.maps(_run.bundle, image[None], question, inference.get_explainer().explain)
    return replace(maps, heat=images.from_model_grid(maps.heat[0], geometry)[None])


def badge_table() -> str:
    """The tables of ``docs/explanations.md``; empty where the docs are not installed."""
    path = PROJECT_DIR / "docs" / "explanations.md"
    return _badge_table(str(path), _stamp(path))


@st.cache_data(max_entries=2, show_spinner=False)
def _badge_table(path: str, stamp: tuple) -> str:
    if not stamp[0]:
        return ""
    text = Path(path).read_text("utf-8")
    return text.partition("<!-- badge -->")[2].partition("<!-- /badge -->")[0].strip()


def embedding(run: runs.Run, subject) -> np.ndarray:
    """Where a run's model sees one slice, (d,)."""
    return _embedding(run.id, subject.id, _stamp(run.bundle / "card.json"), run, subject)


@st.cache_data(max_entries=512, show_spinner=False)
def _embedding(run_id: str, subject_id: str, stamp: tuple, _run: runs.Run, _subject) -> np.ndarray:
    image, _ = _model_input(subject_id, _run.card()["input_shape"][0], _subject)
    return inference.get_worker().predict(_run.bundle, image[None]).embeddings[0]


def jury(run: runs.Run, name: str) -> juries.NamedJury:
    """A jury of a run by name; without one a Siamese run's own."""
    return _jury(run.id, name, _jury_stamp(run, name), run)


def _jury_stamp(run: runs.Run, name: str) -> tuple[int, ...]:
    own = (run.bundle / JURY_FILE, run.folder / "embeddings.npy")
    return _stamp(run.bundle / "card.json", *([juries.folder(run.id) / f"{name}.npz"] if name else own))


@st.cache_resource(max_entries=16, show_spinner="Calling the jury")
def _jury(run_id: str, name: str, stamp: tuple, _run: runs.Run) -> juries.NamedJury:
    return juries.read(name, registry.find(run_id)) if name else jury_making.of_run(_run)


def ruled_jury(run: runs.Run, name: str, rule: str, k: int, target: float) -> juries.NamedJury:
    """A jury under other rules than its own, with the threshold that its trial gives them."""
    return _ruled_jury(run.id, name, _jury_stamp(run, name), rule, k, target, jury(run, name))


@st.cache_resource(max_entries=64, show_spinner=False)
def _ruled_jury(run_id: str, name: str, stamp: tuple, rule: str, k: int, target: float, _made) -> juries.NamedJury:
    made = juries.ruled(_made, rule, k, target)
    # The run's own jury by its own rule says what the run says.
    return made if name or rule != "mean" else replace(made, temperature=_made.temperature)


def verdict(run: runs.Run, made: juries.NamedJury, subject) -> tuple[Verdict, go.Figure]:
    """What a jury says of one slice, and the figure of its similarities."""
    at = run.id, made.name, _jury_stamp(run, made.name), made.vote, made.k, made.temperature
    return _verdict(at, subject.id, run, made, subject)


@st.cache_resource(max_entries=128, show_spinner=False)
def _verdict(at: tuple, subject_id: str, _run: runs.Run, _made, _subject) -> tuple[Verdict, go.Figure]:
    said = deliberate(_made.jury, embedding(_run, _subject), _made.vote, _made.k, _made.temperature)
    return said, pair_figures.similarities(said, _made.jury.classes)


def jury_trial_figure(run: runs.Run, made: juries.NamedJury) -> go.Figure:
    """Accuracy of a jury in its trial against the share that it answers."""
    at = run.id, made.name, _jury_stamp(run, made.name), made.vote, made.k, made.threshold
    return _jury_trial_figure(at, made)


@st.cache_resource(max_entries=32, show_spinner=False)
def _jury_trial_figure(at: tuple, _made) -> go.Figure:
    said, right = _made.trial.ask(_made.jury, _made.vote, _made.k)
    return figures.risk_coverage(*risk_coverage(right, -said.margin), _made.facts["kept"])


def explain_pair(run: runs.Run, one, other, question: Question) -> tuple[Maps, Maps, float]:
    """Maps of what makes either slice like the other, on their own grids, and the cosine of the two."""
    return _explain_pair(run.id, one.id, other.id, _stamp(run.bundle / "card.json"), question, run, one, other)


@st.cache_data(max_entries=128, show_spinner=False)
def _explain_pair(run_id: str, id_one: str, id_other: str, stamp: tuple, question: Question, _run, _one, _other):
    size, maps = _run.card()["input_shape"][0], []
    (image, geometry), (partner, other_geometry) = (_model_input(it.id, size, it) for it in (_one, _other))
    ask = inference.get_explainer().explain
    for (seen, beside), on in zip(((image, partner), (partner, image)), (geometry, other_geometry), strict=True):
        made = ask(_run.bundle, seen[None], question, beside)
        maps.append(replace(made, heat=images.from_model_grid(made.heat[0], on)[None]))
    vectors = [unit(embedding(_run, it)) for it in (_one, _other)]
    return maps[0], maps[1], float(vectors[0] @ vectors[1])
