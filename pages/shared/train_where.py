"""Where a new run trains: this machine, or the Ray cluster that the installation names."""

import streamlit as st

from core.queueing import ray_runner, runners
from core.settings import get_settings
from pages.shared import state

# The words stand in the address, too.
_HERE, _RAY = "this machine", "Ray"


def draw() -> str:
    """Draw the choice where there is one, and return the runner; without a cluster nothing is drawn."""
    if not ray_runner.offered():
        return runners.PROCESS
    place = st.segmented_control(
        "Run on", (_HERE, _RAY), default=_HERE, key=state.RUNNER, bind="query-params", required=True,
        help="A run on the cluster has its files here when it has ended, as any other.",
    )  # fmt: skip
    if place == _HERE:
        return runners.PROCESS
    st.caption(
        f"{get_settings().ray_address} gets code, labels and the pictures of the slices that this run needs; no "
        "patient's name and no file path. Copies may stay there until its Ray session ends."
    )
    return runners.RAY
