"""Cohorts: their tables, what filters and charts make of them, their splits."""

from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from core import cohort, figures, splits
from core.cohorts import cohort_figures, facets, similar
from core.cohorts.overview import Overview, look_over
from pages.shared.cached.keys import cohort_key, headers_key, stamp_of


def headers(name: str) -> cohort.Cohort:
    """Read a cohort as its headers label it, whatever people said; the index of its table is the slice key."""
    return _headers(name, headers_key(name))


@st.cache_resource(max_entries=8, show_spinner="Opening the cohort")
def _headers(name: str, key: tuple) -> cohort.Cohort:
    made = cohort.read_unlogged(name)
    return replace(made, table=made.table.set_index(pd.Index(cohort.slice_keys(made.table), name="key")))


def open_cohort(name: str) -> cohort.Cohort:
    """Read a cohort; the index of its table is the slice key."""
    return _open_cohort(name, cohort_key(name))


@st.cache_resource(max_entries=8, show_spinner=False)
def _open_cohort(name: str, key: tuple) -> cohort.Cohort:
    # A new label reads the log, not the whole cohort.
    return cohort.with_changes(headers(name))


def series_table(made: cohort.Cohort) -> pd.DataFrame:
    """One row a series: that of its middle slice, with ``n``, the number of slices."""
    return _series_table(made, cohort_key(made.name))


@st.cache_resource(max_entries=8, show_spinner=False)
def _series_table(_made: cohort.Cohort, key: tuple) -> pd.DataFrame:
    table = _made.table.sort_values(["PatientID", "SeriesInstanceUID", "image_number"], kind="stable")
    by_series = table.groupby("SeriesInstanceUID", sort=False)["frame"]
    n = by_series.transform("size")
    return table.assign(n=n)[by_series.cumcount() == n // 2]


def facet_index(made: cohort.Cohort) -> facets.FacetIndex:
    """What filters look at instead of the table."""
    return _facet_index(made, cohort_key(made.name))


@st.cache_resource(max_entries=8, show_spinner="Preparing the filters")
def _facet_index(_made: cohort.Cohort, key: tuple) -> facets.FacetIndex:
    return facets.build_index(_made.table)


def overview(made: cohort.Cohort) -> Overview:
    """A cohort at a glance."""
    return _overview(made, cohort_key(made.name))


@st.cache_resource(max_entries=8, show_spinner="Counting")
def _overview(_made: cohort.Cohort, key: tuple) -> Overview:
    return look_over(_made, facet_index(_made))


def overview_figures(made: cohort.Cohort) -> dict[str, go.Figure]:
    """Its charts: planes, vendors, fields and timings."""
    return _overview_figures(made, cohort_key(made.name))


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
    return _grid_rows(made, cohort_key(made.name), by_series)


@st.cache_resource(max_entries=8, show_spinner=False)
def _grid_rows(_made: cohort.Cohort, key: tuple, by_series: bool) -> pd.DataFrame:
    table = _made.table.assign(at=np.arange(len(_made.table)))
    if by_series:
        return series_table(_made).assign(at=lambda rows: table.loc[rows.index, "at"])
    return table.sort_values(["PatientID", "SeriesInstanceUID", "image_number"], kind="stable")


def embeddings(made: cohort.Cohort) -> similar.Embeddings | None:
    """Embeddings of a cohort's slices by the shipped model; None until all are known."""
    return _embeddings(made, (*cohort_key(made.name), *stamp_of(*(made.folder / "embeddings").glob("*"))))


@st.cache_resource(max_entries=4, show_spinner=False)
def _embeddings(_made: cohort.Cohort, key: tuple) -> similar.Embeddings | None:
    return similar.known(_made)


def series_rows(made: cohort.Cohort, uid: str) -> pd.DataFrame:
    """Slices of a series, in the order in which they are shown."""
    return _series_rows(made, cohort_key(made.name), uid)


@st.cache_resource(max_entries=64, show_spinner=False)
def _series_rows(_made: cohort.Cohort, key: tuple, uid: str) -> pd.DataFrame:
    table = _made.table
    return table[table["SeriesInstanceUID"] == uid].sort_values(["stack", "image_number"], kind="stable")


def study_series(made: cohort.Cohort, study_uid: str) -> pd.DataFrame:
    """One row a series of a study, as `series_table` has them."""
    return _study_series(made, cohort_key(made.name), study_uid)


@st.cache_resource(max_entries=64, show_spinner=False)
def _study_series(_made: cohort.Cohort, key: tuple, study_uid: str) -> pd.DataFrame:
    series = series_table(_made)
    return series[series["StudyInstanceUID"] == study_uid]


def manifest(made: cohort.Cohort) -> str:
    """The original project's manifest of a cohort."""
    return _manifest(made, cohort_key(made.name))


@st.cache_data(max_entries=4, show_spinner="Writing the manifest")
def _manifest(_made: cohort.Cohort, key: tuple) -> str:
    return cohort.manifest_json(_made)


def split(
    made: cohort.Cohort, fractions: tuple, random_state: int, label: str, test_patients: tuple[str, ...] = ()
) -> tuple[pd.Series, pd.DataFrame]:
    """Split of a cohort by patient, and the table it belongs to."""
    return _split(made, cohort_key(made.name), fractions, random_state, label, test_patients), made.table


@st.cache_data(max_entries=32, show_spinner=False)
def _split(
    _made: cohort.Cohort, key: tuple, fractions: tuple, random_state: int, label: str, test_patients: tuple
) -> pd.Series:
    return splits.patient_split(_made.table, fractions, random_state, label, test_patients)


def split_facts(made: cohort.Cohort, split: pd.Series, words: tuple, label: str) -> tuple[str, pd.DataFrame, go.Figure]:
    """Hash of a split, classes × parts in words, and their chart; `words` tells one split of a cohort from another."""
    return _split_facts(made, split, cohort_key(made.name), words, label)


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
