"""Slicescope's front door: page config, navigation, and the sidebar's two choices."""

from pathlib import Path

import streamlit as st

from core import cohort, runs
from core.vocabulary import NOT_FOR_CLINICAL_USE
from pages.shared.state import COHORT, RUN, pages

ASSETS = Path(__file__).parent / "assets"

st.set_page_config(page_title="Slicescope", page_icon=str(ASSETS / "icon.svg"), layout="wide")
st.logo(str(ASSETS / "logo.svg"), icon_image=str(ASSETS / "icon.svg"), size="large")
st.html(ASSETS / "style.css")

page = st.navigation(pages())

with st.sidebar:
    cohorts = cohort.list_cohorts()
    finished = [run.id for run in runs.list_runs() if run.status["state"] == "done"]
    st.selectbox(
        "Cohort",
        cohorts,
        index=cohorts.index("phantom") if "phantom" in cohorts else 0,
        key=COHORT,
        bind="query-params",
    )
    st.selectbox(
        "Run", finished, index=finished.index("shipped") if "shipped" in finished else 0, key=RUN, bind="query-params"
    )
    st.caption(NOT_FOR_CLINICAL_USE)

page.run()
