"""Value objects to figures: Plotly for pages and reports, Pillow for files.

Figures have no background of their own and colours of middle lightness, so they stand on light and dark pages.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image, ImageDraw, ImageFont
from plotly.colors import hex_to_rgb, sequential
from plotly.subplots import make_subplots

from core.errors import InputError
from core.splits import summary
from core.vocabulary import NOT_FOR_CLINICAL_USE

if TYPE_CHECKING:
    from core.analysis.confusion import ConfusionMatrix
    from core.calibration import Reliability

TEAL, ORANGE, BLUE, PURPLE, GREEN, RED, GREY = (
    "#1b9a8c", "#d98a2b", "#3f7fd0", "#9b59b6", "#7a9a2a", "#d2453f", "#7d8c94",
)  # fmt: skip
SPLIT_COLOURS = {"train": TEAL, "validation": ORANGE, "test": BLUE}

_FAINT = "rgba(125,140,148,0.28)"
_AXIS = {"gridcolor": _FAINT, "zerolinecolor": _FAINT, "linecolor": _FAINT, "automargin": True}
_CLEAR = "rgba(0,0,0,0)"
TEMPLATE = go.layout.Template(
    layout={
        "paper_bgcolor": _CLEAR,
        "plot_bgcolor": _CLEAR,
        "font": {"color": GREY, "size": 13, "family": '"Source Sans", "Segoe UI", Helvetica, Arial, sans-serif'},
        "colorway": [TEAL, ORANGE, BLUE, PURPLE, GREEN, RED, GREY],
        "margin": {"l": 8, "r": 8, "t": 34, "b": 8},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "bgcolor": _CLEAR},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "bargap": 0.18,
    }
)

#: Classes that a Monte-Carlo histogram shows at most, the likeliest first.
_MOST_ROWS = 6


def mc_histogram(samples: np.ndarray, classes: Sequence[str]) -> go.Figure:
    """Draw how each class's probability spreads over Monte-Carlo passes, a row a class, likeliest on top.

    Parameters
    ----------
    samples : ndarray, shape (T, C)
        Probabilities of one slice.
    classes : sequence of str, length C

    Returns
    -------
    plotly.graph_objects.Figure
    """
    samples = np.asarray(samples, dtype=float)
    if samples.ndim != 2 or samples.shape[1] != len(classes):
        raise InputError(
            f"Passes of {len(classes)} classes have the shape (passes, classes); received {samples.shape}."
        )
    order = np.argsort(-samples.mean(axis=0), kind="stable")[:_MOST_ROWS]
    edges = np.linspace(0, 1, 41)
    figure = make_subplots(rows=len(order), cols=1, shared_xaxes=True, vertical_spacing=0.04)
    for row, index in enumerate(order, 1):
        count, _ = np.histogram(np.clip(samples[:, index], 0, 1), edges)
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2, y=count, width=np.diff(edges) * 0.92, row=row, col=1, showlegend=False,
            marker_color=TEAL if row == 1 else GREY,
            hovertemplate=f"{classes[index]} about %{{x:.2f}}: %{{y}} of {len(samples)} passes<extra></extra>",
        )  # fmt: skip
        # Each row to its own height: a class that spreads would be flat beside one that stands still.
        figure.update_yaxes(range=[0, 1.05 * count.max()], showticklabels=False, showgrid=False, row=row, col=1)
        figure.add_annotation(
            x=1, y=0.5, xref="paper", yref=f"y{row if row > 1 else ''} domain", xanchor="left", xshift=8,
            text=f"<b>{classes[index]}</b> {samples[:, index].mean():.2f}", showarrow=False, align="left",
        )  # fmt: skip
    figure.update_xaxes(range=[0, 1])
    figure.update_xaxes(title_text=f"Probability over {len(samples)} passes", row=len(order), col=1)
    return figure.update_layout(template=TEMPLATE, height=90 + 52 * len(order), margin={"r": 110, "t": 10})


def risk_coverage(coverage: np.ndarray, accuracy: np.ndarray, kept: float | None = None) -> go.Figure:
    """Draw accuracy on what is kept against the share kept.

    Parameters
    ----------
    coverage, accuracy : ndarray, shape (n,)
        From `core.uncertainty.risk_coverage`.
    kept : float, optional
        Share at which to mark the curve, 0 to 1.
    """
    figure = go.Figure(layout={"template": TEMPLATE, "height": 340, "showlegend": False})
    if len(coverage):
        # The browser need not draw more points than there are pixels.
        shown = np.unique(np.linspace(0, len(coverage) - 1, min(len(coverage), 1000)).astype(int))
        figure.add_scatter(
            x=coverage[shown], y=accuracy[shown], mode="lines", line={"color": TEAL, "width": 2.5},
            hovertemplate="keep %{x:.0%}: %{y:.1%} right<extra></extra>",
        )  # fmt: skip
        figure.add_hline(y=float(accuracy[-1]), line={"color": GREY, "dash": "dot", "width": 1})
        if kept is not None:
            at = min(len(coverage) - 1, max(0, round(kept * len(coverage)) - 1))
            figure.add_scatter(
                x=[coverage[at]], y=[accuracy[at]], mode="markers+text", text=[f"{accuracy[at]:.1%}"],
                textposition="bottom center", marker={"color": ORANGE, "size": 11}, hoverinfo="skip",
            )  # fmt: skip
    figure.update_xaxes(title_text="Share of slices kept, the most certain first", tickformat=".0%", range=[0, 1.02])
    # Beyond 100 % stands no line, but half of its label.
    figure.update_layout(margin={"r": 28})
    return figure.update_yaxes(title_text="Accuracy on them", tickformat=".3~%")


def label_counts(table: pd.DataFrame, label: str) -> go.Figure:
    """Draw how many slices of each class lie in each split of a slice table.

    Parameters
    ----------
    table : DataFrame
        With PatientID, split and the columns that `label` names.
    label : {"plane", "sequence", "plane-sequence"}
    """
    counts = summary(table, table["split"], label)
    figure = go.Figure(layout={"template": TEMPLATE, "height": 340, "barmode": "group"})
    for split, part in counts.groupby("split", sort=False):
        figure.add_bar(
            x=part[label], y=part["slices"], name=str(split), marker_color=SPLIT_COLOURS.get(str(split), GREY),
            customdata=part["patients"],
            hovertemplate=f"%{{x}}, {split}: %{{y}} slices of %{{customdata}} patients<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(categoryorder="total descending")
    return figure.update_yaxes(title_text="Slices")


def learning_curve(metrics: pd.DataFrame) -> go.Figure:
    """Draw loss and accuracy over epochs, training dotted and validation solid.

    Parameters
    ----------
    metrics : DataFrame
        One row an epoch, as in ``metrics.jsonl``: stage, epoch, loss, val_loss, accuracy, val_accuracy and, for
        several heads, <head>_accuracy and val_<head>_accuracy. Epochs of later stages follow on.
    """
    figure = make_subplots(rows=1, cols=2, subplot_titles=("Loss", "Accuracy"), horizontal_spacing=0.1)
    epochs = np.arange(1, len(metrics) + 1)
    heads = [name[: -len("_accuracy")] for name in metrics if name.endswith("_accuracy") and name[:4] != "val_"]
    mode = "lines+markers" if len(epochs) < 3 else "lines"
    curves = [("loss", "all", 1), *([(f"{h}_accuracy", h, 2) for h in heads] or [("accuracy", "all", 2)])]
    for colour, (name, shown, column) in zip((TEAL, TEAL, ORANGE, BLUE), curves, strict=False):
        for column_name, dash, part in ((name, "dot", "training"), (f"val_{name}", "solid", "validation")):
            if column_name not in metrics:
                continue
            figure.add_scatter(
                x=epochs, y=metrics[column_name], mode=mode, row=1, col=column,
                name=part if shown == "all" else f"{shown}, {part}", line={"color": colour, "dash": dash},
                legendgroup=part if shown == "all" else f"{shown}{part}", showlegend=column == 2,
                hovertemplate=f"epoch %{{x}}: {'%{y:.1%}' if column == 2 else '%{y:.3f}'}<extra>{part}</extra>",
            )  # fmt: skip
    if "stage" in metrics:
        stage = metrics["stage"].to_numpy()
        for place in np.flatnonzero(stage[1:] != stage[:-1]):
            figure.add_vline(x=place + 1.5, line={"color": GREY, "dash": "dash", "width": 1})
    figure.update_yaxes(rangemode="tozero", row=1, col=1)
    figure.update_yaxes(tickformat=".0%", row=1, col=2)
    figure.update_xaxes(title_text="Epoch", title_standoff=4)
    return figure.update_layout(template=TEMPLATE, height=300, legend={"y": -0.3, "yanchor": "top"})


def confusion_matrix(matrix: "ConfusionMatrix") -> go.Figure:
    """Draw a confusion matrix; rows are the truth, coloured by their share of it."""
    counts = matrix.counts
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Plotly takes a cell's colour for opaque, and would write dark on dark.
    written = [
        [f"<span style='color:{'white' if part > 0.5 else GREY}'>{n}</span>" for n, part in zip(*row, strict=True)]
        for row in zip(counts, share, strict=True)
    ]
    figure = go.Figure(
        go.Heatmap(
            z=share, x=list(matrix.classes), y=list(matrix.classes), text=written, texttemplate="%{text}",
            customdata=counts, textfont={"size": 14},
            zmin=0, zmax=1, colorscale=[[0, "rgba(27,154,140,0.06)"], [1, "rgba(27,154,140,0.9)"]],
            showscale=False, xgap=2, ygap=2,
            hovertemplate="%{y} taken for %{x}: %{customdata} slices, %{z:.0%} of the class<extra></extra>",
        ),
        layout={"template": TEMPLATE, "height": 140 + 40 * len(counts)},
    )  # fmt: skip
    figure.update_xaxes(title_text="Prediction", side="bottom", showgrid=False, type="category")
    return figure.update_yaxes(title_text="Truth", autorange="reversed", showgrid=False, type="category")


def reliability(bins: "Reliability") -> go.Figure:
    """Draw accuracy against confidence, a bar a bin; the line is where the two are equal."""
    n = len(bins.count)
    figure = go.Figure(layout={"template": TEMPLATE, "height": 340, "showlegend": False, "bargap": 0})
    figure.add_bar(
        x=(np.arange(n) + 0.5) / n, y=bins.accuracy, width=0.92 / n, marker_color=TEAL, customdata=bins.count,
        hovertemplate="%{customdata} slices, %{y:.0%} right<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": GREY, "dash": "dot"}, hoverinfo="skip")
    figure.update_xaxes(title_text="Confidence", tickformat=".0%", range=[0, 1])
    return figure.update_yaxes(title_text="Accuracy", tickformat=".0%", range=[0, 1.02])


def viridis(values: np.ndarray) -> np.ndarray:
    """Colour values from 0 to 1: ndarray of any shape to (..., 3) uint8.

    Examples
    --------
    >>> viridis(np.array([0.0, 1.0])).tolist()
    [[68, 1, 84], [253, 231, 37]]
    """
    anchors = np.array([hex_to_rgb(colour) for colour in sequential.Viridis], dtype=float)
    at = np.linspace(0, 1, len(anchors))
    channels = [np.interp(np.nan_to_num(values), at, channel) for channel in anchors.T]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def explanation_png(
    display: np.ndarray,
    heat: np.ndarray,
    title: str,
    path: Path | BytesIO,
    answer: str = "",
    aspect: float = 1.0,
    opacity: float = 0.5,
) -> None:
    """Draw image, overlay and heatmap side by side: the original project's figure.

    Parameters
    ----------
    display : ndarray of uint8, shape (rows, columns)
        The slice, as `core.images.to_display` gives it.
    heat : ndarray, shape (rows, columns)
        From 0 to 1, on the slice's own grid.
    title : str
        What is shown.
    path : Path or file open for writing bytes
    answer : str
        For example ``"FLAIR 97 %"``: the model's answer.
    aspect : float
        A pixel's width over its height.
    opacity : float
        Of the heatmap in the overlay, 0 to 1.

    Raises
    ------
    InputError
        When the heatmap is not on the slice's grid.
    """
    if display.shape != np.shape(heat):
        raise InputError(f"Slice and heatmap must lie on one grid; received {display.shape} and {np.shape(heat)}.")
    side, gap, head, foot = 384, 16, 72, 34
    rows, columns = display.shape
    scale = side / max(rows, columns * aspect)
    size = max(1, round(columns * aspect * scale)), max(1, round(rows * scale))
    image = Image.fromarray(display).convert("RGB").resize(size, Image.Resampling.BILINEAR)
    colours = Image.fromarray(viridis(np.asarray(heat))).resize(size, Image.Resampling.BILINEAR)
    panels = (("Image", image), ("Overlay", Image.blend(image, colours, opacity)), ("Heatmap", colours))
    canvas = Image.new("RGB", (3 * side + 4 * gap, head + side + foot + 26), "white")
    draw, ink, soft = ImageDraw.Draw(canvas), "#17242b", "#5f6f78"
    width = canvas.width - 2 * gap
    fitted_line(draw, (gap, 12), title, 19, ink, width)
    fitted_line(draw, (gap, 40), answer, 17, soft, width)
    for place, (name, panel) in enumerate(panels):
        left = gap + place * (side + gap)
        canvas.paste("black", (left, head, left + side, head + side))
        canvas.paste(panel, (left + (side - size[0]) // 2, head + (side - size[1]) // 2))
        fitted_line(draw, (left, head + side + 6), name, 15, soft, side)
    fitted_line(draw, (gap, head + side + 30), NOT_FOR_CLINICAL_USE, 15, "#b4444a", width)
    canvas.save(path, "PNG")


def fitted_line(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, colour: str, width: int
) -> None:
    """Write words into a picture, cut short with … where they are wider than `width` pixels."""
    font = ImageFont.load_default(size)
    whole = text
    while text and draw.textlength(text, font) > width:
        text = text[:-2].rstrip("…") + "…" if len(text) > 2 else ""
    draw.text(place, text or whole[:1], font=font, fill=colour)
