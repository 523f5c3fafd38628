"""What the index of the Imaging Data Commons says."""

import pandas as pd
import streamlit as st

from core.commons import idc
from core.settings import get_settings


def idc_collections(query: idc.Query) -> pd.DataFrame:
    """Collections that hold what is looked for."""
    return _idc("collections", idc.index_version(), "", query)


def idc_series(query: idc.Query) -> pd.DataFrame:
    """Series of one collection, patients under this workspace's pseudonyms."""
    return _idc("series", idc.index_version(), str(get_settings().workspace), query)


def idc_sources(dois: tuple[str, ...]) -> pd.DataFrame:
    """Citations and licences of series' sources."""
    return _idc("sources", idc.index_version(), "", dois)


def idc_modalities() -> list[str]:
    """Modalities that there are."""
    return _idc("modalities", idc.index_version(), "", "")


def about_tcga_gbm() -> str:
    """Where the original project's images are."""
    return _idc("about_tcga_gbm", idc.index_version(), "")


@st.cache_resource(max_entries=64, show_spinner="Searching the index")
def _idc(question: str, version: str, workspace: str, *asked: object) -> object:
    return getattr(idc, question)(*asked)
