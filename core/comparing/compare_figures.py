"""A comparison of runs as figures; a run has one colour in all of them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.comparing.compare import HeadComparison
from core.comparing.patient_scores import SCORES
from core.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, TEAL, TEMPLATE

#: Of the runs, in the order of the comparison.
COLOURS = (GREY, TEAL, ORANGE, BLUE, PURPLE, RED)


def curves(metrics: Sequence[pd.DataFrame], names: Sequence[str], head: str) -> go.Figure:
    """Overlay loss and accuracy over epochs: training dotted, validation solid, a colour a run.

    Parameters
    ----------
    metrics : sequence of DataFrame
        As `core.runs.Run.metrics` gives them; empty ones are left out.
    names : sequence of str
    head : str
        Whose accuracy is drawn where a run has several heads.
    """
    figure = make_subplots(rows=1, cols=2, subplot_titles=("Loss", f"Accuracy, {head}"), horizontal_spacing=0.08)
    # The first on top: two runs of one seed may share their curves for a while, and the longer one would hide it.
    for table, name, colour in reversed(list(zip(metrics, names, COLOURS, strict=False))):
        epochs = np.arange(1, len(table) + 1)
        accuracy = f"{head}_accuracy" if f"{head}_accuracy" in table else "accuracy"
        for column, measure in ((1, "loss"), (2, accuracy)):
            for field, dash, part in ((measure, "dot", "training"), (f"val_{measure}", "solid", "validation")):
                if field not in table:
                    continue
                figure.add_scatter(
                    x=epochs, y=table[field], mode="lines+markers" if len(epochs) < 3 else "lines", name=name,
                    legendgroup=name, showlegend=column == 1 and part == "validation", row=1, col=column,
                    line={"color": colour, "dash": dash, "width": 2.5 if dash == "solid" else 1.5},
                    hovertemplate=f"{name}, {part}, epoch %{{x}}: {'%{y:.1%}' if column == 2 else '%{y:.3f}'}"
                    "<extra></extra>",
                )  # fmt: skip
    figure.update_yaxes(rangemode="tozero", row=1, col=1)
    figure.update_yaxes(tickformat=".0%", row=1, col=2)
    figure.update_xaxes(title_text="Epoch", title_standoff=4)
    return figure.update_layout(
        template=TEMPLATE, height=320, legend={"y": -0.28, "yanchor": "top", "traceorder": "reversed"}
    )


def intervals(head: HeadComparison, names: Sequence[str]) -> go.Figure:
    """Draw each score of each run with its 95 % interval by patient, a panel a score."""
    figure = make_subplots(
        rows=1, cols=len(SCORES), subplot_titles=[score[0].upper() + score[1:] for score in SCORES],
        shared_yaxes=True, horizontal_spacing=0.04,
    )  # fmt: skip
    for at, (scores, name) in enumerate(zip(head.scores, names, strict=True)):
        low, high = scores.interval()
        for column, value in enumerate(scores.estimate):
            reach = {"array": [high[column] - value], "arrayminus": [value - low[column]], "thickness": 2.5, "width": 6}
            figure.add_scatter(
                x=[value], y=[name], row=1, col=column + 1, showlegend=False, mode="markers",
                marker={"color": COLOURS[at], "size": 9}, error_x=reach | {"color": COLOURS[at]},
                hovertemplate=f"{name}: %{{x:.1%}} ({low[column]:.1%} to {high[column]:.1%})<extra></extra>",
            )  # fmt: skip
    figure.update_xaxes(tickformat=".1%", nticks=5)
    figure.update_yaxes(categoryorder="array", categoryarray=list(names), autorange="reversed", ticklabelstandoff=8)
    return figure.update_layout(template=TEMPLATE, height=90 + 38 * len(names))


def matrix_difference(head: HeadComparison, other: int, names: Sequence[str]) -> go.Figure:
    """Draw the confusion matrix of another run less that of the first: green where that is better, red where worse."""
    counts = head.confusion(other).counts - head.confusion(0).counts
    classes = list(head.classes)
    # More on the diagonal is good, more beside it is bad.
    good = np.where(np.eye(len(classes), dtype=bool), counts, -counts)
    most = max(1, int(np.abs(counts).max()))
    figure = go.Figure(
        go.Heatmap(
            z=good, x=classes, y=classes, customdata=counts, zmin=-most, zmax=most, showscale=False, xgap=2, ygap=2,
            colorscale=[[0, _faded(RED, 0.45)], [0.5, _faded(GREY, 0.1)], [1, _faded(GREEN, 0.45)]],
            hovertemplate="%{y} taken for %{x}: %{customdata:+d} slices<extra></extra>",
        ),
        layout={"template": TEMPLATE, "height": 130 + 42 * len(classes)},
    )  # fmt: skip
    # As annotations they have the page's own text colour; a heatmap's texts are dark on a dark page.
    for i, j in np.argwhere(counts):
        said = f"<b>{counts[i, j]:+d}</b>".replace("-", "−")
        figure.add_annotation(x=classes[j], y=classes[i], text=said, font={"size": 15}, showarrow=False)
    figure.update_xaxes(title_text=f"Prediction ({names[other]} less {names[0]})", showgrid=False, type="category")
    return figure.update_yaxes(title_text="Truth", autorange="reversed", showgrid=False, type="category")


def _faded(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
