"""Lessons as figures: what was promised against what came, and accuracy over training patients."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.figures import GREY, ORANGE, TEAL, TEMPLATE
from core.learning.lesson_report import ROWS, accuracies
from core.learning.lesson_results import CurveHead, NaiveHead

#: Of `ROWS`: the naive model's promise, what came of it, and the honest model.
_MARKS = ((ORANGE, "circle-open"), (ORANGE, "circle"), (TEAL, "circle"))
_BAND = "rgba(27,154,140,0.16)"


def naive(heads: Sequence[NaiveHead]) -> go.Figure:
    """Draw the three accuracies with their 95 % intervals by patient, a panel a head."""
    figure = make_subplots(
        rows=1, cols=len(heads), subplot_titles=_titles(heads), shared_yaxes=True, horizontal_spacing=0.05
    )
    for column, head in enumerate(heads, 1):
        for name, scores, (colour, symbol) in zip(ROWS, accuracies(head), _MARKS, strict=True):
            value, reach, said = _reach(scores)
            figure.add_scatter(
                x=[value], y=[name], row=1, col=column, mode="markers+text", showlegend=False,
                text=[f"<b>{100 * value:.1f} %</b>"], textposition="top center", cliponaxis=False,
                marker={"color": colour, "size": 13, "symbol": symbol, "line": {"width": 2.5, "color": colour}},
                error_x=reach | {"color": colour}, hovertemplate=f"{name}: {said}<extra></extra>",
            )  # fmt: skip
    figure.update_xaxes(tickformat=".0%", title_text="Accuracy", nticks=7)
    figure.update_yaxes(
        categoryorder="array", categoryarray=ROWS, autorange="reversed", ticklabelstandoff=8, tickfont_size=15
    )
    return figure.update_layout(template=TEMPLATE, height=300, font={"size": 15})


def curve(heads: Sequence[CurveHead]) -> go.Figure:
    """Draw accuracy over the number of training patients with 95 % intervals by patient, a panel a head."""
    figure = make_subplots(rows=1, cols=len(heads), subplot_titles=_titles(heads), horizontal_spacing=0.08)
    for column, head in enumerate(heads, 1):
        _law(figure, head, column)
        values, low, high = (np.array(part, float) for part in _ends(head))
        known = ~np.isnan(low)
        figure.add_scatter(
            x=head.trained, y=values, row=1, col=column, mode="lines+markers", showlegend=False,
            line={"color": TEAL, "width": 2.5}, marker={"size": 11},
            error_y={"array": np.where(known, high - values, 0), "arrayminus": np.where(known, values - low, 0),
                     "thickness": 2, "width": 6, "color": TEAL},
            customdata=np.column_stack([low, high]),
            hovertemplate="%{x} patients: %{y:.1%} (%{customdata[0]:.1%} to %{customdata[1]:.1%})<extra></extra>",
        )  # fmt: skip
        ticks = sorted({*head.trained, *([2 * head.trained[-1]] if head.law else [])})
        figure.update_xaxes(
            type="log", tickvals=ticks, ticktext=list(map(str, ticks)), title_text="Training patients",
            range=np.log10([ticks[0] / 1.12, ticks[-1] * 1.12]), row=1, col=column,
        )  # fmt: skip
        figure.update_yaxes(range=_visible(values, low, high), tickformat=".0%", row=1, col=column)
    figure.update_yaxes(title_text="Accuracy on the test patients", row=1, col=1)
    # Below, for above stand the names of heads.
    return figure.update_layout(template=TEMPLATE, height=420, font={"size": 15}, legend={"y": -0.2, "yanchor": "top"})


def _visible(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    """Give the points the height: a band of few points may reach far below and above them."""
    bottom, top = (float(end(part)) for end, part in ((np.nanmin, [*values, *low]), (np.nanmax, [*values, *high])))
    air = max(0.02, 0.35 * (top - bottom))
    return max(0.0, bottom - air), min(1.0, top + air) + 0.004


def _law(figure: go.Figure, head: CurveHead, column: int) -> None:
    law = head.law
    if law is None:
        return
    x = np.concatenate([law.patients, law.patients[::-1]])
    figure.add_scatter(
        x=x, y=np.concatenate([law.high, law.low[::-1]]), row=1, col=column, fill="toself", mode="none",
        fillcolor=_BAND, hoverinfo="skip", name="its 95 % band", legendgroup="band", showlegend=column == 1,
    )  # fmt: skip
    figure.add_scatter(
        x=law.patients, y=law.accuracy, row=1, col=column, mode="lines", name="fitted power law", legendgroup="law",
        line={"color": GREY, "dash": "dash", "width": 2}, showlegend=column == 1,
        hovertemplate="fitted, %{x:.0f} patients: %{y:.1%}<extra></extra>",
    )  # fmt: skip


def _titles(heads: Sequence[NaiveHead | CurveHead]) -> list[str] | None:
    return [head.head for head in heads] if len(heads) > 1 else None


def _ends(head: CurveHead) -> tuple[list, list, list]:
    values = [float(scores.estimate) for scores in head.accuracy]
    low, high = zip(*(scores.interval() for scores in head.accuracy), strict=True)
    return values, list(low), list(high)


def _reach(scores) -> tuple[float, dict, str]:
    value, (low, high) = float(scores.estimate), map(float, scores.interval())
    if np.isnan(low):
        return value, {"array": [0], "arrayminus": [0]}, f"{value:.1%}, of one patient"
    bars = {"array": [high - value], "arrayminus": [value - low], "thickness": 3, "width": 8}
    return value, bars, f"{value:.1%} ({low:.1%} to {high:.1%})"
