"""Taking files from a browser, and following a study while it is read."""

import time

import streamlit as st

from core import demo, studies
from core.errors import CoreError
from pages.shared import state


def open_study(study: studies.Study) -> None:
    """Start reading a study and let the address name it."""
    studies.start(study)
    state.put(**{state.STUDY: study.id, state.PAGE: None, state.ITEM: None})
    # Another key is another uploader: an emptied one frees the memory that its files took.
    st.session_state["uploads"] = st.session_state.get("uploads", 0) + 1
    st.rerun()


def uploader(key: str) -> None:
    """Take files, a folder or an archive, or load the example."""
    with st.container(border=True):
        kind = st.segmented_control(
            "What to drop", ["Files or archives", "A folder"], default="Files or archives", key=f"{key}-kind",
            label_visibility="collapsed", required=True,
        )  # fmt: skip
        given = st.file_uploader(
            "Drop them here, or choose: DICOM with or without extension, NIfTI, PNG, JPEG, zip or tar.gz",
            accept_multiple_files="directory" if kind == "A folder" else True,
            key=f"{key}-{kind}-{st.session_state.get('uploads', 0)}",
            help="Files stay on this server, in its workspace. Patients' names and numbers are not shown.",
        )
        with st.container(horizontal=True):
            go = st.button("Read these files", type="primary", disabled=not given, icon=":material/play_arrow:")
            example = st.button("Load an example study", icon=":material/science:")
    try:
        if go:
            with st.spinner("Saving the files"):
                study = studies.create((file.name, file) for file in given)
            open_study(study)
        if example:
            with st.spinner("Preparing the example: one synthetic patient, its series mixed"):
                study = studies.create_from_folder(demo.example_study())
            open_study(study)
    except CoreError as error:
        st.error(str(error))


@st.fragment(run_every=0.5)
def follow(study: studies.Study) -> None:
    """Show how far reading is; draw the page anew when it ends."""
    status = study.status
    if status["state"] != "running":
        st.rerun()
    done, total = status["done"], status["total"]
    share = done / total if total else 0.0
    spent = time.time() - status["phase_started"]
    left = f" · about {spent / share * (1 - share):.0f} s left" if share > 0.05 else ""
    st.progress(share, text=f"{status['message']}: {done:,} of {total:,}{left}" if total else status["message"])
