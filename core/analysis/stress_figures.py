"""Figures of the stress bench and of mistakes along the head."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.analysis import positions, stress
from core.analysis.stress_changes import CHANGES, Change
from core.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, TEAL, TEMPLATE

_COLOURS = (TEAL, ORANGE, BLUE, PURPLE, GREEN)
_COLUMNS = 3
_MOST_PAIRS = 8


def faint(colour: str, opacity: float = 0.18) -> str:
    """Return a colour ``#rrggbb`` that lets through what is below it."""
    return f"rgba({int(colour[1:3], 16)},{int(colour[3:5], 16)},{int(colour[5:7], 16)},{opacity})"


def stress_curves(drawn: pd.DataFrame, heads: Sequence[str], changes: Sequence[Change] = CHANGES) -> go.Figure:
    """Draw a small panel for each change: accuracy with its interval, and dotted the share of sure answers.

    Parameters
    ----------
    drawn : DataFrame
        From `core.analysis.stress.curves`.
    heads : sequence of str
        A colour each.
    changes : sequence of Change
    """
    rows = -(-len(changes) // _COLUMNS)
    figure = make_subplots(
        rows=rows, cols=_COLUMNS, shared_yaxes=True, horizontal_spacing=0.035, vertical_spacing=0.52 / rows / 1.4,
        subplot_titles=[f"<b>{change.title}</b>" for change in changes],
    )  # fmt: skip
    for place, change in enumerate(changes):
        at = {"row": place // _COLUMNS + 1, "col": place % _COLUMNS + 1}
        for colour, head in zip(_COLOURS, heads, strict=False):
            _curve(figure, stress.curve(drawn, head, change), head, colour, first=place == 0, **at)
        figure.update_xaxes(type="category", title={"text": change.unit, "standoff": 2, "font": {"size": 12}}, **at)
    figure.update_yaxes(range=[-0.02, 1.04], tickformat=".0%", dtick=0.25)
    figure.update_annotations(font={"size": 14})
    legend = {"y": 1 + 0.16 / rows, "yanchor": "bottom"}
    return figure.update_layout(
        template=TEMPLATE, height=50 + 245 * rows, hovermode="x", legend=legend, margin={"t": 84, "b": 16}
    )


def _curve(figure: go.Figure, rows: pd.DataFrame, head: str, colour: str, first: bool, **at: int) -> None:
    x = rows["strength"].tolist()
    if rows["low"].notna().all():
        figure.add_scatter(
            x=[*x, *x[::-1]], y=[*rows["high"], *rows["low"][::-1]], fill="toself", fillcolor=faint(colour),
            line={"width": 0}, mode="lines", hoverinfo="skip", showlegend=False, legendgroup=head, **at,
        )  # fmt: skip
    band = np.stack([rows["low"], rows["high"], rows["mean_p"], rows["sure_right"]], axis=1)
    figure.add_scatter(
        x=x, y=rows["accuracy"], mode="lines+markers", line={"color": colour, "width": 2.5}, marker={"size": 6},
        name=f"{head}: accuracy, band: 95 % interval by patient", legendgroup=head, showlegend=first, customdata=band,
        hovertemplate="%{y:.0%} right (%{customdata[0]:.0%} to %{customdata[1]:.0%}), "
        f"mean probability %{{customdata[2]:.2f}}<extra>{head}</extra>", **at,
    )  # fmt: skip
    figure.add_scatter(
        x=x, y=rows["sure"], mode="lines", line={"color": colour, "width": 1.8, "dash": "dot"}, legendgroup=head,
        name=f"{head}: share of answers above {stress.SURE:g}", showlegend=first, customdata=band,
        hovertemplate="%{y:.0%} sure, %{customdata[3]:.0%} of them right<extra></extra>", **at,
    )  # fmt: skip


def position_curves(bins: pd.DataFrame) -> go.Figure:
    """Draw accuracy along the stack, a panel a plane, over bars of how many slices there are.

    Parameters
    ----------
    bins : DataFrame
        Rows of one head and part, from `core.analysis.positions.by_bin`.
    """
    planes = _planes(bins)
    figure = make_subplots(rows=1, cols=len(planes), shared_yaxes=True, horizontal_spacing=0.04,
                           subplot_titles=[f"<b>{plane}</b>" for plane in planes])  # fmt: skip
    most = bins["slices"].max()
    for column, plane in enumerate(planes, 1):
        rows = bins[bins["plane"] == plane].sort_values("bin")
        x = (rows["bin"] + 0.5) / positions.BINS
        figure.add_bar(
            x=x, y=rows["slices"] / most * 0.25, customdata=rows["slices"], marker_color=faint(GREY, 0.35), row=1,
            col=column, name="slices", showlegend=column == 1, legendgroup="n",
            hovertemplate="%{customdata} slices<extra></extra>",
        )  # fmt: skip
        if rows["low"].notna().all():
            figure.add_scatter(
                x=[*x, *x[::-1]], y=[*rows["high"], *rows["low"][::-1]], fill="toself", fillcolor=faint(TEAL),
                line={"width": 0}, mode="lines", hoverinfo="skip", showlegend=False, row=1, col=column,
            )  # fmt: skip
        figure.add_scatter(
            x=x, y=rows["accuracy"], mode="lines+markers", line={"color": TEAL, "width": 2.5}, row=1, col=column,
            name="accuracy, band: 95 % interval by patient", showlegend=column == 1, legendgroup="accuracy",
            hovertemplate="%{y:.0%} right<extra></extra>",
        )  # fmt: skip
        _along(figure, plane, column)
    figure.update_yaxes(range=[0, 1.04], tickformat=".0%", row=1)
    return figure.update_layout(
        template=TEMPLATE, height=360, margin={"t": 76}, bargap=0.1, legend={"y": 1.14, "yanchor": "bottom"}
    )


def position_pairs(found: pd.DataFrame) -> go.Figure | None:
    """Draw where the commonest mistakes are, a row a mistake and a panel a plane; None without a mistake.

    Parameters
    ----------
    found : DataFrame
        Rows of one head and part, from `core.analysis.positions.pairs`.
    """
    total = found.groupby(["plane", "bin"])["slices"].sum()
    wrong = found[found["y_true"] != found["y_pred"]]
    if wrong.empty:
        return None
    wrong = wrong.assign(pair=wrong["y_true"] + " → " + wrong["y_pred"])
    common = wrong.groupby("pair")["slices"].sum().sort_values(ascending=False).index[:_MOST_PAIRS]
    planes = _planes(found)
    figure = make_subplots(rows=1, cols=len(planes), shared_yaxes=True, horizontal_spacing=0.04)
    for column, plane in enumerate(planes, 1):
        part = wrong[(wrong["plane"] == plane) & wrong["pair"].isin(common)]
        counts = part.pivot_table(index="pair", columns="bin", values="slices", aggfunc="sum", fill_value=0)
        counts = counts.reindex(index=common, columns=range(positions.BINS), fill_value=0).to_numpy(float)
        n = total[plane].reindex(range(positions.BINS)).to_numpy(float)
        figure.add_heatmap(
            z=counts / n, x=(np.arange(positions.BINS) + 0.5) / positions.BINS, y=list(common), customdata=counts,
            coloraxis="coloraxis", row=1, col=column, xgap=1, ygap=1,
            hovertemplate="%{y}: %{customdata} slices, %{z:.0%} of those here<extra></extra>",
        )  # fmt: skip
        _along(figure, plane, column)
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    scale = [[0, "rgba(210,69,63,0.05)"], [1, "rgba(210,69,63,0.95)"]]
    bar = {"tickformat": ".0%", "thickness": 10, "title": {"text": "of slices"}}
    return figure.update_layout(
        template=TEMPLATE, height=110 + 30 * len(common), coloraxis={"colorscale": scale, "colorbar": bar}
    )


def _planes(table: pd.DataFrame) -> list[str]:
    there = set(table["plane"])
    return [plane for plane in positions.ENDS if plane in there]


def _along(figure: go.Figure, plane: str, column: int) -> None:
    first, last = positions.ENDS[plane]
    figure.update_xaxes(
        range=[0, 1], tickvals=[0.02, 0.5, 0.98], ticktext=[first, "middle", last], showgrid=False, row=1, col=column
    )
