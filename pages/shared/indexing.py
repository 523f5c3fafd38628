"""The form that indexes a folder or an archive of the server's disk, and the progress of what is being indexed."""

import os
import threading
from pathlib import Path

import streamlit as st

from core import cohort
from core.cohorts.pace import Pace
from core.errors import CoreError, InputError
from core.labelling import label_overrides
from core.labelling.label_tables import LabelTable
from core.reading import archives
from core.settings import get_settings
from pages.shared import label_table_form

#: Scans of this process by cohort name: share and text of the progress, stop, error, finished.
_scans: dict[str, dict] = {}


def within_roots(text: str) -> Path:
    """Return the place on the server that a person named, if it lies where this server may look.

    Raises
    ------
    InputError
        It lies outside `core.settings.Settings.index_roots` and the workspace.
    """
    path, settings = Path(text.strip()).expanduser().resolve(), get_settings()
    roots = [Path(root).resolve() for root in settings.index_roots.split(":") if root]
    if not any(path.is_relative_to(root) for root in (*roots, settings.workspace.resolve())):
        raise InputError(f"This server opens only what lies under {', '.join(map(str, roots))}; received {text!r}.")
    return path


def allowed(text: str) -> Path:
    """Return the folder or archive a person named, if it may be indexed.

    Raises
    ------
    InputError
        It does not exist, or lies outside `core.settings.Settings.index_roots`.
    """
    path = Path(text.strip()).expanduser().resolve()
    roots = [Path(root).resolve() for root in get_settings().index_roots.split(":") if root]
    if not any(path.is_relative_to(root) for root in roots):
        raise InputError(f"This server indexes only folders under {', '.join(map(str, roots))}; received {text!r}.")
    if not (path.is_dir() or archives.is_archive(path)):
        raise InputError(
            f"There is no folder, zip or tar.gz {text!r} on the server. Check the spelling; it is the server's disk, "
            "not yours."
        )
    return path


def start(folder: Path, name: str, labels: LabelTable | None = None) -> None:
    """Scan a folder or an archive in a thread of this process, write the cohort when done, and give it the labels."""
    cohort.check_name(name)
    scan = _scans.get(name)
    if scan and not scan["finished"]:
        raise InputError(f"Cohort {name!r} is being indexed already.")
    progress = {
        "share": 0.0, "text": "looking through the folder", "stop": False, "error": "", "said": [], "finished": False,
    }  # fmt: skip
    _scans[name], pace = progress, Pace()

    def run() -> None:
        def report(done: int, total: int) -> None:
            if progress["stop"]:
                raise InputError("Stopped. What was read is kept: index the same folder again to go on from there.")
            progress.update(share=done / total if total else 0.0, text=f"{pace(done, total)} files")

        try:
            _, outcome = label_overrides.index(folder, name, labels, workers=os.cpu_count() or 1, report=report)
            progress["said"] = outcome.sentences(labels.name) if outcome else []
        except CoreError as error:
            progress["error"] = str(error)
        finally:
            progress["finished"] = True

    threading.Thread(target=run, name=f"index-{name}", daemon=True).start()


@st.fragment(run_every=0.5)
def follow(name: str) -> None:
    """Show a scan's progress; redraw the page when it ends."""
    scan = _scans[name]
    if scan["finished"]:
        st.rerun()
    st.progress(scan["share"], text=f"Indexing {name}: {scan['text']}")
    if st.button("Stop", icon=":material/stop_circle:", help="What was read until now is kept."):
        scan["stop"] = True


def form() -> None:
    """Draw the form, and what came of the last scan."""
    st.markdown(
        "Name a folder, a zip or a tar.gz **on the server's disk**. Files stay where they are and are not changed; the "
        "workspace keeps a table with one row a slice. Indexing the same folder again reads only what is new or "
        "changed."
    )
    with st.form("index", border=True):
        where, called = st.columns([3, 1])
        folder = where.text_input("Folder", placeholder="/data/study-export")
        name = called.text_input("Name of the cohort", placeholder="my-cohort")
        given = st.file_uploader(
            "Label table (optional): CSV, Parquet or mri-images.json", type=label_table_form.TYPES,
            help=label_table_form.HELP,
        )  # fmt: skip
        go = st.form_submit_button("Index", type="primary", icon=":material/travel_explore:")
    if go:
        start(allowed(folder), name.strip(), label_table_form.read_upload(given) if given else None)
        st.session_state["indexing"] = name.strip()
    name = st.session_state.get("indexing")
    scan = _scans.get(name)
    if scan is None:
        return
    if not scan["finished"]:
        follow(name)
    elif scan["error"]:
        st.error(scan["error"])
    else:
        made = cohort.read(name)
        st.success(
            f"Cohort {name} has {len(made.table):,} slices; {len(made.rejected):,} files were not read. "
            "Choose it in the sidebar."
        )
        label_table_form.say(scan["said"])
