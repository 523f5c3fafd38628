"""Buttons that save a chart as a picture, PNG or SVG, drawn by the browser that shows it."""

from pages.shared.components import register

_component = register("chart_save", '<div class="save" role="group" aria-label="Save as a picture"></div>')


def chart_save(chart: str, filename: str, *, key: str) -> None:
    """Draw the buttons.

    Parameters
    ----------
    chart : str
        Streamlit key of the container in which the Plotly chart stands.
    filename : str
        Without its ending.
    key : str
        Streamlit key.
    """
    _component(key=key, data={"chart": chart, "filename": filename})
