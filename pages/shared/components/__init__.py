"""Small components of the pages: a clickable confusion matrix, a thumbnail grid and a slice viewer.

Each is inline HTML, CSS and JavaScript beside this file, registered once when it is imported. What a
person clicks comes back through a callback, which writes it to the address; the component itself
remembers nothing that a link could not bring back.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner_utils.script_run_context import ThreadState, get_script_run_ctx

_FOLDER = Path(__file__).resolve().parent


def register(name: str, html: str) -> Callable[..., None]:
    """Register the component whose ``name.css`` and ``name.js`` lie in this folder.

    Parameters
    ----------
    name : str
        Also the file name of its style and script.
    html : str
        Fixed markup; data only ever reaches it as text, through the script.

    Returns
    -------
    callable
        Mounts the component, as `streamlit.components.v2.component` describes.
    """
    style, script = (_FOLDER / f"{name}.{kind}" for kind in ("css", "js"))
    mount = st.components.v2.component(
        f"slicescope.{name}", html=html, css=style.read_text("utf-8"), js=script.read_text("utf-8")
    )

    def draw(**arguments: Any) -> None:
        fragment = ThreadState.get().fragment_id
        mount(**{key: _then_drawn(it, fragment) if key.startswith("on_") else it for key, it in arguments.items()})

    return draw


def _then_drawn(callback: Callable[[], None], fragment: str | None) -> Callable[[], None]:
    """Return a callback after which the part of the page that it belongs to is drawn for sure.

    What several components say within a few milliseconds, the browser sends in one message, and Streamlit then runs a
    single fragment of them: where a label and a viewer's request for pixels fell together, the label was written and
    the page went on showing the item before it.
    """

    def act() -> None:
        callback()
        ran = get_script_run_ctx().fragment_ids_this_run
        if ran and fragment not in ran:
            st.rerun()

    return act
