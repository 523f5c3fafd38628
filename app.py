"""Slicescope's front door: page config, navigation, and the sidebar's two choices."""

from pathlib import Path

import streamlit as st

from core import cohort
from core.publishing import registry
from core.vocabulary import NOT_FOR_CLINICAL_USE
from pages.shared import cached
from pages.shared.state import COHORT, RUN, pages

ASSETS = Path(__file__).parent / "assets"

st.set_page_config(page_title="Slicescope", page_icon=str(ASSETS / "icon.svg"), layout="wide")
st.logo(str(ASSETS / "logo.svg"), icon_image=str(ASSETS / "icon.svg"), size="large")
st.html(ASSETS / "style.css")

page = st.navigation(pages())

with st.sidebar:
    cohorts, finished = cohort.list_cohorts(), cached.finished()
    current = registry.current().id
    finished.sort(key=lambda run_id: run_id != current)
    at = cohorts.index("phantom") if "phantom" in cohorts else 0
    st.selectbox("Cohort", cohorts, index=at, key=COHORT, bind="query-params", placeholder="none yet")
    st.selectbox("Run", finished, key=RUN, bind="query-params", placeholder="none yet")
    st.caption(NOT_FOR_CLINICAL_USE)

page.run()
