"""A cohort's numbers as Plotly figures; a click on each says what it stands for through ``customdata``."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from core.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, TEAL, TEMPLATE
from core.vocabulary import SEQUENCES

PLANE_COLOURS = {"axial": TEAL, "coronal": ORANGE, "sagittal": BLUE}
#: The classic four stand apart; what is seldom trained on shares calmer colours.
SEQUENCE_COLOURS = {
    "T1": TEAL, "T1CE": ORANGE, "T2": BLUE, "FLAIR": PURPLE, "PD": "#5fb3d9", "T2STAR": "#4d6fae", "SWI": "#6a5acd",
    "DWI": RED, "ADC": "#e07a8b", "FA": "#b4446a", "PWI": GREEN, "ASL": "#a3a83a", "BOLD": "#b08a2e", "MRA": "#c4573a",
    "FIELDMAP": "#8a9a5b", "LOCALIZER": "#a0846b", "OTHER": GREY,
}  # fmt: skip
_PER_BAR_PX, _AROUND_PX = 26, 70


def plane_bars(planes: pd.DataFrame) -> go.Figure:
    """Draw slices by sequence, a bar each, its planes side by side in it.

    Parameters
    ----------
    planes : DataFrame of int
        Planes as rows, sequences as columns, as `core.cohorts.overview.Overview` has it.

    Returns
    -------
    plotly.graph_objects.Figure
        ``customdata`` of a part is its plane and sequence.
    """
    figure = go.Figure(layout={"template": TEMPLATE, "barmode": "stack", "height": _height(planes.shape[1])})
    for plane, counts in planes.iterrows():
        figure.add_bar(
            y=list(planes.columns), x=counts, orientation="h", name=str(plane),
            marker_color=PLANE_COLOURS.get(plane, GREY), customdata=[[plane, name] for name in planes.columns],
            hovertemplate=f"%{{y}}, {plane}: %{{x:,}} slices<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    return figure.update_xaxes(title_text="Slices")


def count_bars(counts: pd.Series, unit: str = "Series") -> go.Figure:
    """Draw a bar a word.

    Parameters
    ----------
    counts : Series of int
        By word; ``customdata`` of a bar is its word.
    unit : str
        What is counted.
    """
    layout = {"template": TEMPLATE, "height": _height(len(counts)), "showlegend": False, "margin": {"t": 4}}
    figure = go.Figure(layout=layout)
    figure.add_bar(
        y=list(counts.index), x=counts, orientation="h", marker_color=TEAL,
        customdata=[[word] for word in counts.index],
        text=[f"{count:,}" for count in counts], textposition="auto", textangle=0,
        hovertemplate="%{y}: %{x:,}<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    return figure.update_xaxes(title_text=unit)


def timing_scatter(timings: pd.DataFrame) -> go.Figure:
    """Draw where series lie by repetition and echo time, on logarithmic axes, coloured by sequence.

    Parameters
    ----------
    timings : DataFrame
        repetition_time_ms, echo_time_ms, sequence, n: a point each, larger for more series.

    Returns
    -------
    plotly.graph_objects.Figure
        ``customdata`` of a point is its times in ms and n.
    """
    figure = go.Figure(layout={"template": TEMPLATE, "height": 430, "dragmode": "select"})
    for name in [*SEQUENCES, *sorted(set(timings["sequence"].astype("str")) - set(SEQUENCES))]:
        part = timings[timings["sequence"] == name]
        if part.empty:
            continue
        figure.add_scatter(
            x=part["repetition_time_ms"], y=part["echo_time_ms"], mode="markers", name=name,
            # Lists: what Plotly packs as bytes comes back from a click in another shape.
            customdata=part[["repetition_time_ms", "echo_time_ms", "n"]].to_numpy().tolist(),
            marker={"color": SEQUENCE_COLOURS.get(name, GREY), "size": 7 + 4 * np.sqrt(part["n"] - 1).clip(0, 5),
                    "opacity": 0.75, "line": {"width": 0}},
            hovertemplate=f"{name}: TR %{{x:g}} ms, TE %{{y:g}} ms, %{{customdata[2]}} series<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(type="log", title_text="Repetition time (ms)")
    return figure.update_yaxes(type="log", title_text="Echo time (ms)")


def _height(n_bars: int) -> int:
    return _AROUND_PX + _PER_BAR_PX * max(3, n_bars)
