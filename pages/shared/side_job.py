"""Work beside the queue (`core.queueing.side_jobs`) as pages start and follow it."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from core.cohorts.pace import spelled
from core.errors import CoreError
from pages.shared import widgets


def starter(where, label: str, start: Callable[[], None], **how: Any) -> None:
    """Draw the button that starts it, and why it could not be started.

    Parameters
    ----------
    where
        Streamlit's container, or `streamlit` itself.
    label : str
    start : callable
        Raises `CoreError` when it cannot be started.
    **how
        As ``button`` takes it.
    """
    if where.button(label, type="primary", icon=":material/play_arrow:", **how):
        try:
            start()
        except CoreError as error:
            st.error(str(error))
        else:
            st.rerun()


def how_long(seconds: float | None, unknown: str) -> None:
    """Say how long it takes; `unknown` says what can be said before that was measured."""
    said = f"It takes about {spelled(seconds)} on this machine" if seconds else (
        f"How long it takes is seen after the first slices; {unknown} for a small network"
    )  # fmt: skip
    st.caption(f"{said}, and can be cancelled. Nothing else waits for it.")


@st.fragment(run_every=0.7)
def follow(status: Callable[[], dict[str, Any]], cancel: Callable[[], None], doing: str = "") -> None:
    """Show how far it is, with a button that ends it; redraw the page when it has ended.

    Parameters
    ----------
    status, cancel : callable
        As a `SideJob` has them.
    doing : str
        What stands before the message of the status.
    """
    now = status()
    if now["state"] != "running":
        st.rerun()
    if widgets.progress(now["done"], now["total"], f"{doing}{now['message']}", width="stretch"):
        cancel()
        st.rerun()
