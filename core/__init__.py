"""Slicescope's core: everything behind the pages, free of Streamlit."""

__version__ = "0.2.0"
