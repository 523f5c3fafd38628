"""Small components of the pages: a clickable confusion matrix, a thumbnail grid and a slice viewer.

Each is inline HTML, CSS and JavaScript beside this file, registered once when it is imported. What a
person clicks comes back through a callback, which writes it to the address; the component itself
remembers nothing that a link could not bring back.
"""

from pathlib import Path

import streamlit as st

_FOLDER = Path(__file__).resolve().parent


def register(name: str, html: str):
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
    return st.components.v2.component(
        f"slicescope.{name}", html=html, css=style.read_text("utf-8"), js=script.read_text("utf-8")
    )
