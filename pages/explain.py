"""What the model looked at: image, overlay and heatmap; for a Siamese run, the jury."""

import streamlit as st

from core import figures, runs, studies
from core.errors import CoreError, InputError
from pages.shared import cached, intake, state, widgets
from pages.shared.components.slice_viewer import pack_heat, pack_stack, slice_viewer
from pages.shared.components.thumbnail_grid import Tile, sheet, thumbnail_grid
from pages.shared.subject import Subject, from_cohort, from_study

METHODS = {"grad_cam": "Grad-CAM", "grad_cam_plus_plus": "Grad-CAM++", "layer_cam": "Layer-CAM"}

widgets.header("Explain", "Which part of a slice speaks for a class, seen through the model's own eyes.")


def subject() -> Subject | None:
    """Return the slice that the address names, or None."""
    if state.get(state.SLICE):
        return from_cohort(st.session_state[state.COHORT], state.get(state.SLICE))
    if state.get(state.STUDY):
        study = studies.open_study(state.get(state.STUDY))
        if study.status["state"] == "running":
            intake.follow(study)
            return None
        return from_study(study, state.get_int(state.ITEM, studies.first_item(study)))
    return None
