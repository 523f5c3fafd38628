"""What people and models said of a cohort's slices."""

import pandas as pd
import streamlit as st

from core import cohort
from core.labelling import label_log, label_overrides, label_report
from core.labelling.label_queue import build_queue, named_queue, read_queue
from core.labelling.model_answers import Answers
from pages.shared.cached.cohorts import headers
from pages.shared.cached.keys import cohort_key, headers_key, log_key, stamp_of


def labels_given(name: str) -> list[dict]:
    """Read what people said of a cohort's slices."""
    return _labels_given(name, log_key(name))


@st.cache_resource(max_entries=8, show_spinner=False)
def _labels_given(name: str, key: tuple) -> list[dict]:
    return cohort.read_log(headers(name))


def label_csv(name: str) -> bytes:
    """What people said of a cohort's slices, as a label table."""
    return _label_csv(name, cohort_key(name))


@st.cache_data(max_entries=8, show_spinner=False)
def _label_csv(name: str, key: tuple) -> bytes:
    return label_report.label_table(headers(name).table, labels_given(name)).to_csv(index=False).encode()


def label_lines(name: str) -> pd.DataFrame:
    """What people said of a cohort's slices, as the Label page lists it."""
    return _label_lines(name, cohort_key(name))


@st.cache_resource(max_entries=8, show_spinner=False)
def _label_lines(name: str, key: tuple) -> pd.DataFrame:
    return label_report.log_table(headers(name).table, labels_given(name))


def label_table(made: cohort.Cohort) -> bytes:
    """The labels of a cohort as a label table, CSV."""
    return _label_table(made, cohort_key(made.name))


@st.cache_data(max_entries=4, show_spinner="Writing the labels")
def _label_table(_made: cohort.Cohort, key: tuple) -> bytes:
    return label_overrides.label_table(_made).to_csv(index=False).encode()


def standing_batches(made: cohort.Cohort) -> list[dict]:
    """Label tables that were given to a cohort and not undone, newest first."""
    return _standing_batches(made, cohort_key(made.name))


@st.cache_data(max_entries=8, show_spinner=False)
def _standing_batches(_made: cohort.Cohort, key: tuple) -> list[dict]:
    return label_log.standing_batches(cohort.read_log(_made))


def queue(name: str, queue_name: str | None, answers: Answers | None) -> pd.DataFrame:
    """A cohort's queue: a named one, or what needs a look; with a model's answers where there are some."""
    stamps = stamp_of(answers.folder / "status.json") if answers and answers.status["state"] == "done" else (0,)
    if queue_name:
        stamps += stamp_of(headers(name).folder / "queues" / f"{queue_name}.json")
    return _queue(name, queue_name, headers_key(name), str(answers and answers.folder), stamps, answers)


@st.cache_resource(max_entries=16, show_spinner="Making the queue")
def _queue(name: str, queue_name: str | None, key: tuple, folder: str, stamps: tuple, _answers) -> pd.DataFrame:
    made = headers(name)
    tables = [_answers.table(part) for part in ("slices", "series")] if stamps[0] else [None, None]
    if queue_name:
        return named_queue(made.table, read_queue(made, queue_name), *tables)
    return build_queue(made.table, *tables)
