"""Figures of whether a model knew: what `core.analysis.doubt` and its neighbours worked out, drawn."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.analysis import positions
from core.figures import GREY, ORANGE, RED, SPLIT_COLOURS, TEAL, TEMPLATE


def right_against_wrong(histogram: dict[str, Sequence[float]], words: str) -> go.Figure:
    """Draw how doubt spreads over right and over wrong answers, each as a share of its own.

    Parameters
    ----------
    histogram : dict
        ``edges``, ``right`` and ``wrong``, from `core.analysis.doubt.histogram`.
    words : str
        The measure's name.
    """
    edges = np.asarray(histogram["edges"])
    figure = go.Figure(layout={"template": TEMPLATE, "height": 300, "barmode": "overlay", "bargap": 0})
    for name, colour in (("right", TEAL), ("wrong", RED)):
        counts = np.asarray(histogram[name])
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2, y=counts / max(1, counts.sum()), width=np.diff(edges) * 0.94,
            name=f"{counts.sum():,} {name}", marker_color=colour, opacity=0.62, customdata=counts,
            hovertemplate=f"about %{{x:.3g}}: %{{customdata:,}} {name} answers<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text=words)
    return figure.update_yaxes(title_text="Share of each", tickformat=".0%")


def detection(parts: dict[str, dict], words: dict[str, str]) -> go.Figure:
    """Draw each measure's area under the curve of error detection, with its 95 % interval by patient.

    Parameters
    ----------
    parts : dict of dict
        By measure, from `core.analysis.doubt.detection`.
    words : dict of str
        Names of the measures.
    """
    rows = [(words[name], one) for name, one in parts.items() if one["auroc"] is not None][::-1]
    figure = go.Figure(layout={"template": TEMPLATE, "height": 300, "showlegend": False})
    if rows:
        value = np.array([one["auroc"] for _, one in rows])
        low, high = (np.array([_or(one[end], one["auroc"]) for _, one in rows]) for end in ("low", "high"))
        figure.add_scatter(
            x=value, y=[name for name, _ in rows], mode="markers+text", text=[f"{v:.3f}" for v in value],
            textposition="top center", marker={"color": TEAL, "size": 11}, cliponaxis=False,
            error_x={"array": high - value, "arrayminus": value - low, "color": GREY, "thickness": 2},
            customdata=np.column_stack([low, high]),
            hovertemplate="%{y}: %{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})<extra></extra>",
        )  # fmt: skip
        figure.update_xaxes(range=[min(0.48, float(low.min()) - 0.02), 1.02])
        figure.add_vline(x=0.5, line={"color": GREY, "dash": "dot", "width": 1})
    return figure.update_xaxes(title_text="Chance that a wrong answer has more doubt than a right one")


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def reliability(part: dict) -> go.Figure:
    """Draw accuracy against confidence before and after scaling, and below them how many slices stand in each bin.

    Parameters
    ----------
    part : dict
        ``before`` and ``after``, from `core.analysis.calibration_report`.
    """
    figure = make_subplots(
        rows=2, cols=2, shared_xaxes=True, shared_yaxes="rows", row_heights=[0.74, 0.26], vertical_spacing=0.05,
        horizontal_spacing=0.05, subplot_titles=("Before scaling", "After scaling"),
    )  # fmt: skip
    for column, (name, colour) in enumerate((("before", ORANGE), ("after", TEAL)), 1):
        bins = part[name]
        n = len(bins["count"])
        middle, counts = (np.arange(n) + 0.5) / n, np.asarray(bins["count"])
        accuracy = np.array([np.nan if value is None else value for value in bins["accuracy"]])
        figure.add_bar(
            x=middle, y=accuracy, width=0.92 / n, marker_color=colour, customdata=counts, row=1, col=column,
            hovertemplate="%{customdata:,} slices, %{y:.0%} right<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=[0, 1], y=[0, 1], mode="lines", line={"color": GREY, "dash": "dot"}, hoverinfo="skip", row=1, col=column,
        )  # fmt: skip
        figure.add_bar(
            x=middle, y=counts, width=0.92 / n, marker_color=GREY, row=2, col=column,
            hovertemplate="%{y:,} slices<extra></extra>",
        )  # fmt: skip
        figure.update_xaxes(title_text="Confidence", row=2, col=column)
    figure.update_xaxes(range=[0, 1], tickformat=".0%")
    figure.update_yaxes(title_text="Accuracy", tickformat=".0%", range=[0, 1.02], row=1, col=1)
    # Most answers are sure ones, and the few others would not be seen beside them.
    most = max(max(part[name]["count"]) for name in ("before", "after"))
    figure.update_yaxes(type="log", range=[-0.3, np.log10(2 * max(most, 1))], dtick=1, row=2)
    figure.update_yaxes(title_text="Slices", row=2, col=1)
    return figure.update_layout(template=TEMPLATE, height=430, showlegend=False, bargap=0)


def coverage(facts: list[dict], level: float) -> go.Figure:
    """Draw how often sets of answers held the truth, for all slices and class by class.

    Parameters
    ----------
    facts : list of dict
        From `core.analysis.conformal.coverage`.
    level : float
        What was promised.
    """
    rows = facts[::-1]
    colours = [GREY if one["few"] else ORANGE if one["under"] else TEAL for one in rows]
    figure = go.Figure(
        layout={"template": TEMPLATE, "height": 120 + 26 * len(rows), "showlegend": False, "margin": {"r": 28}}
    )
    figure.add_bar(
        x=[one["covered"] for one in rows], y=[one["class"] or "<b>all</b>" for one in rows], orientation="h",
        marker_color=colours, text=[f"{one['covered']:.0%}" for one in rows], textposition="inside",
        cliponaxis=False,
        customdata=[[one["slices"], one["patients"], one["size"]] for one in rows],
        hovertemplate="%{y}: %{x:.1%} of %{customdata[0]:,} slices of %{customdata[1]} patients, "
        "%{customdata[2]:.2f} answers a set<extra></extra>",
    )  # fmt: skip
    figure.add_vline(x=level, line={"color": GREY, "dash": "dot", "width": 2})
    figure.update_yaxes(type="category", showgrid=False)
    return figure.update_xaxes(title_text="Sets that hold the truth", tickformat=".0%", range=[0, 1.02])


def strangeness(kind: dict, above: float, words: str) -> go.Figure:
    """Draw how strange the slices of each part are, and from where on they are called so.

    Parameters
    ----------
    kind : dict
        From `core.analysis.novelty_report`: ``edges`` and ``parts``.
    above : float
        The threshold.
    words : str
        What is measured.
    """
    edges = np.asarray(kind["edges"])
    figure = go.Figure(layout={"template": TEMPLATE, "height": 300, "barmode": "overlay", "bargap": 0})
    for name, part in kind["parts"].items():
        counts = np.asarray(part["counts"])
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2, y=counts / max(1, counts.sum()), width=np.diff(edges) * 0.94,
            name=f"{name}, {part['slices']:,} slices", marker_color=SPLIT_COLOURS[name], opacity=0.6,
            customdata=counts, hovertemplate=f"about %{{x:.3g}}: %{{customdata:,}} {name} slices<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=above, line={"color": RED, "dash": "dash", "width": 2})
    figure.update_xaxes(title_text=words)
    # Most slices are not strange, and the few that are would not be seen beside them.
    least = 0.5 / max((part["slices"] for part in kind["parts"].values()), default=1)
    return figure.update_yaxes(
        title_text="Share of each part", type="log", tickformat=".2~%", dtick=1, range=[np.log10(least), 0.1]
    )


def along(counts: dict[str, list[int]]) -> go.Figure:
    """Draw accuracy by place in the stack, and how many slices lie there.

    Parameters
    ----------
    counts : dict
        ``right`` and ``all``, from `core.analysis.series_report.along`.
    """
    right, every = np.asarray(counts["right"]), np.asarray(counts["all"])
    middle = (np.arange(positions.BINS) + 0.5) / positions.BINS
    share = np.where(every > 0, right / np.maximum(every, 1), np.nan)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.72, 0.28], vertical_spacing=0.06)
    figure.add_scatter(
        x=middle, y=share, mode="lines+markers", line={"color": TEAL, "width": 2.5}, row=1, col=1, customdata=every,
        hovertemplate="%{y:.1%} of %{customdata:,} slices<extra></extra>",
    )  # fmt: skip
    figure.add_bar(x=middle, y=every, marker_color=GREY, row=2, col=1, hovertemplate="%{y:,} slices<extra></extra>")
    figure.update_yaxes(title_text="Accuracy", tickformat=".0%", row=1, col=1)
    figure.update_yaxes(title_text="Slices", row=2, col=1)
    figure.update_xaxes(
        range=[0, 1], tickvals=[0.08, 0.5, 0.92], ticktext=["feet, front or right", "middle", "head, back or left"],
        row=2, col=1, title_text="Place in its stack",
    )  # fmt: skip
    return figure.update_layout(template=TEMPLATE, height=380, showlegend=False)


def one_series(proba: np.ndarray, y: np.ndarray, names: Sequence[str]) -> go.Figure:
    """Draw the probabilities of one series' slices along its stack; slices named wrongly have a cross.

    Parameters
    ----------
    proba : ndarray, shape (n, C)
        In the order of the stack.
    y : ndarray of int, shape (n,)
        True classes.
    names : sequence of str, length C
    """
    figure = go.Figure(layout={"template": TEMPLATE, "height": 320})
    number = np.arange(1, len(proba) + 1)
    # Classes that nobody would see are left out.
    shown = [at for at in np.argsort(-proba.mean(axis=0), kind="stable") if proba[:, at].max() >= 0.2 or at in y][:6]
    for at in shown:
        figure.add_scatter(
            x=number, y=proba[:, at], name=f"{names[at]}{' (true)' if (y == at).all() else ''}", mode="lines",
            line={"width": 3 if at in y else 1.5}, hovertemplate=f"slice %{{x}}: {names[at]} %{{y:.0%}}<extra></extra>",
        )  # fmt: skip
    wrong = proba.argmax(axis=1) != y
    figure.add_scatter(
        x=number[wrong], y=proba.max(axis=1)[wrong], mode="markers", name=f"{int(wrong.sum())} wrong",
        marker={"symbol": "x", "size": 9, "color": RED},
        text=[names[at] for at in proba.argmax(axis=1)[wrong]],
        hovertemplate="slice %{x}: named %{text}, %{y:.0%}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title_text="Slice of the stack")
    return figure.update_yaxes(title_text="Probability", tickformat=".0%", range=[0, 1.04])
