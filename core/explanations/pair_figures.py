"""Juries and pairs as figures."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.colors import qualitative

from core.explanations.pairs import GRID
from core.explanations.votes import Verdict
from core.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, TEAL, TEMPLATE

#: Colours of classes, of middle lightness first.
_COLOURS = (TEAL, ORANGE, BLUE, PURPLE, GREEN, RED, *qualitative.Dark24)
_DIFFERENT, _SAME = ORANGE, TEAL
_FAINT = 0.28


def similarities(verdict: Verdict, classes: Sequence[str]) -> go.Figure:
    """Draw the cosine to every reference, the most alike first; faint are those that had no say.

    Parameters
    ----------
    verdict : Verdict
    classes : sequence of str
        In the order of their colours.
    """
    figure = go.Figure(layout={"template": TEMPLATE, "height": 300, "bargap": 0.12})
    labels, place = np.array(verdict.labels), np.arange(1, len(verdict.labels) + 1)
    for number, name in enumerate(classes):
        mine = labels == name
        opacity = np.where(verdict.counted[mine], 1.0, _FAINT)
        figure.add_bar(
            x=place[mine], y=verdict.similarities[mine], name=name, customdata=np.array(verdict.patients)[mine],
            marker={"color": _COLOURS[number % len(_COLOURS)], "opacity": opacity},
            hovertemplate=f"{name}, place %{{x}}: %{{y:.3f}}, patient %{{customdata}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="References, the most alike first", showgrid=False, dtick=max(1, len(labels) // 10))
    return figure.update_yaxes(title_text="Cosine similarity")


def roc(facts: dict) -> go.Figure:
    """Draw the ROC of same against different, its 95 % band by patient and the equal error rate.

    Parameters
    ----------
    facts : dict
        Of one head, as `core.explanations.pairs` keeps them.
    """
    figure = go.Figure(layout={"template": TEMPLATE, "height": 380, "showlegend": False})
    low, high = facts["tpr_low"], facts["tpr_high"]
    if None not in (*low, *high):
        figure.add_scatter(
            x=[*GRID, *GRID[::-1]], y=[*high, *low[::-1]], fill="toself", mode="lines", hoverinfo="skip",
            fillcolor="rgba(27,154,140,0.18)", line={"width": 0},
        )  # fmt: skip
    figure.add_scatter(
        x=GRID, y=facts["tpr"], mode="lines", line={"color": TEAL, "width": 2.5},
        hovertemplate="%{x:.0%} of the different taken for the same:<br>%{y:.1%} of the same found<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[0, 1], y=[1, 0], mode="lines", line={"color": GREY, "dash": "dot", "width": 1}, hoverinfo="skip"
    )  # fmt: skip
    eer = facts["eer"]
    figure.add_scatter(
        x=[eer], y=[1 - eer], mode="markers+text", text=[f"  equal error rate {eer:.1%}"],
        textposition="middle right", marker={"color": ORANGE, "size": 11}, hoverinfo="skip",
    )  # fmt: skip
    figure.update_xaxes(title_text="Different pairs taken for the same", tickformat=".0%", range=[-0.01, 1.01])
    return figure.update_yaxes(title_text="Same pairs found", tickformat=".0%", range=[0, 1.02])


def histogram(facts: dict) -> go.Figure:
    """Draw how cosines of the same and of different pairs spread, and where the equal error rate divides them."""
    figure = go.Figure(layout={"template": TEMPLATE, "height": 380, "barmode": "overlay", "bargap": 0})
    edges = np.array(facts["histogram"]["edges"])
    for kind, colour in (("different", _DIFFERENT), ("same", _SAME)):
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2, y=facts["histogram"][kind], width=np.diff(edges), opacity=0.6,
            name=f"{kind} class: {facts[kind]:,} pairs", marker={"color": colour, "line": {"width": 0}},
            hovertemplate=f"{kind}: %{{y:.1%}} about %{{x:.2f}}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(
        x=facts["threshold"], line={"color": GREY, "dash": "dot", "width": 1.5},
        annotation={"text": f"equal errors at {facts['threshold']:.2f}"},
    )  # fmt: skip
    figure.update_xaxes(title_text="Cosine similarity", showgrid=False)
    return figure.update_yaxes(title_text="Share of the pairs", tickformat=".0%")
