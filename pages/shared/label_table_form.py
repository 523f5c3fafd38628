"""Label tables on the pages: labels of a cohort out, a table in, and its batch of labels taken back."""

import tempfile
from pathlib import Path

import streamlit as st

from core import cohort
from core.errors import CoreError
from core.labelling import label_overrides, label_tables
from core.labelling.label_tables import LabelTable
from core.settings import get_settings
from pages.shared import cached

TYPES = ["csv", "tsv", "parquet", "json"]
HELP = (
    "One row a slice, a file or a series, named by path, SOPInstanceUID or SeriesInstanceUID; columns for plane and "
    "sequence in any common words, and for the subject of NIfTI volumes and pictures."
)
_BY = "person on the Browse page"
_SAID = "label-table-said"


def read_upload(given) -> LabelTable:
    """Read an uploaded table in the sandbox.

    Raises
    ------
    InputError
        When it cannot be used.
    """
    workspace = get_settings().workspace
    workspace.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workspace) as folder:
        # What the browser calls the file is text to show, not a place to write to.
        path = Path(folder, f"table{Path(given.name).suffix.lower()}")
        path.write_bytes(given.getbuffer())
        return label_tables.read(path, Path(given.name).name)


def say(sentences: list[str]) -> None:
    """Say what a table did: the first sentence is the answer, the others what to look at."""
    for place, sentence in enumerate(sentences):
        (st.warning if place else st.success)(_plain(sentence))


def form(made: cohort.Cohort) -> None:
    """Draw the labels' download, the form that gives a table to an open cohort, and what can be undone."""
    st.markdown(
        "A **label table** says plane and sequence of slices, files or series. Download this cohort's labels as one, "
        "change them in a spreadsheet, and apply it again; what it changes stands in the cohort's label log under its "
        "name and can be undone as a whole."
    )
    st.download_button(
        "Download labels.csv", cached.label_table(made), f"{made.name}-labels.csv", "text/csv",
        icon=":material/download:",
    )  # fmt: skip
    with st.form("label-table", border=True, clear_on_submit=True):
        given = st.file_uploader("Label table: CSV, Parquet or mri-images.json", type=TYPES, help=HELP)
        go = st.form_submit_button("Apply it to this cohort", icon=":material/playlist_add_check:")
    if go and given:
        _apply(made, given)
    elif go:
        st.info("Choose a file first.")
    if made.name == st.session_state.get(_SAID, ("", []))[0]:
        say(st.session_state.pop(_SAID)[1])
    for batch in cached.standing_batches(made):
        with st.container(horizontal=True, vertical_alignment="center"):
            at = batch["at"][:16].replace("T", " ")
            st.markdown(f"{_plain(batch['by'])} · {at} · {_lines(batch)}", width="stretch")
            st.button("Undo", key=f"undo-{batch['batch']}", icon=":material/undo:", on_click=_undo, args=(made, batch))


def _apply(made: cohort.Cohort, given) -> None:
    try:
        labels = read_upload(given)
        with st.spinner("Applying the labels"):
            outcome = label_overrides.apply(labels, made)
    except CoreError as error:
        st.error(str(error))
        return
    # Drawn after the page has read the cohort anew.
    st.session_state[_SAID] = (made.name, outcome.sentences(labels.name))
    st.rerun()


def _undo(made: cohort.Cohort, batch: dict) -> None:
    try:
        cohort.undo_label(made, batch["batch"], by=_BY)
    except CoreError as error:
        st.error(str(error))
        return
    st.session_state[_SAID] = (made.name, [f"Undone: {batch['by']}, {_lines(batch)}."])


def _lines(batch: dict) -> str:
    """How long a batch is; one line may stand for a whole series."""
    return f"{batch['changes']:,} {'line' if batch['changes'] == 1 else 'lines'} of the label log"


def _plain(text: str) -> str:
    """A file's name as text, none of it Markdown."""
    return "".join(f"\\{character}" if character in r"\`*_{}[]()#+-.!|<>~$:" else character for character in text)
