"""Figures of what a model gets wrong."""

from html import escape

import pandas as pd
import plotly.graph_objects as go

from core.figures import GREY, TEAL, TEMPLATE

_SAID = {
    "roc": ("ROC", "auroc", "False positive rate", "True positive rate"),
    "pr": ("Precision–recall", "ap", "Recall", "Precision"),
}


def class_curves(curves: pd.DataFrame, table: pd.DataFrame, name: str, kind: str) -> go.Figure:
    """Draw the curves of all classes, each against the others, one of them standing out.

    Parameters
    ----------
    curves : DataFrame
        Points of one head, part and kind of curve, as `core.analysis.class_scores` has them: name, x, y.
    table : DataFrame
        Scores by class name.
    name : str
        The class that stands out.
    kind : {"roc", "pr"}
    """
    title, area, x_title, y_title = _SAID[kind]
    figure = go.Figure(layout={"template": TEMPLATE, "height": 380, "showlegend": False, "hovermode": "closest"})
    # What stands out is drawn last, over the others.
    for other in sorted(curves["name"].unique(), key=lambda one: one == name):
        points, chosen = curves[curves["name"] == other], other == name
        figure.add_scatter(
            x=points["x"], y=points["y"], mode="lines", name=escape(other), opacity=1.0 if chosen else 0.35,
            line={"color": TEAL if chosen else GREY, "width": 3 if chosen else 1.2},
            hovertemplate=f"{escape(other)}: %{{x:.3f}}, %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
    if kind == "roc":
        figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": GREY, "dash": "dot"}, hoverinfo="skip")
    value = table[area].get(name, float("nan"))
    said = f"{title} of {escape(name)}" + ("" if value != value else f": area {value:.3f}")
    figure.update_xaxes(title_text=x_title, range=[-0.01, 1.01])
    figure.update_yaxes(title_text=y_title, range=[-0.01, 1.02])
    return figure.update_layout(title={"text": said, "font": {"size": 15}, "x": 0, "xref": "paper"})
