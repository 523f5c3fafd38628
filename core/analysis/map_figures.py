"""The embedding map as a figure."""

import numpy as np
import plotly.graph_objects as go
from plotly.colors import qualitative

from core.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, TEAL, TEMPLATE

#: Colours of middle lightness, then those of Plotly for whoever has more kinds; beyond, they come again.
_COLOURS = (TEAL, ORANGE, BLUE, PURPLE, GREEN, RED, *qualitative.Dark24)
_MOST_NAMED = 24


def embedding_map(
    points: np.ndarray,
    colour: np.ndarray,
    hover: np.ndarray,
    axes: tuple[str, str],
    outline: np.ndarray | None = None,
) -> go.Figure:
    """Draw slices as points.

    Parameters
    ----------
    points : ndarray, shape (n, 2)
    colour : ndarray, shape (n,)
        Words, or numbers; NaN numbers are drawn grey.
    hover : ndarray of str, shape (n,)
    axes : (str, str)
        Names; empty ones for axes that mean nothing.
    outline : ndarray, shape (k, 2), optional
        Corners of what is chosen.
    """
    figure = go.Figure(layout={"template": TEMPLATE, "height": 600, "dragmode": "lasso"})
    numbers = colour.dtype.kind == "f"
    said = {"mode": "markers", "hovertemplate": "%{text}<extra></extra>"}
    size = 7 if len(points) < 3000 else 5
    if numbers:
        marker = {"color": np.nan_to_num(colour), "colorscale": "Viridis", "size": size, "opacity": 0.8,
                  "colorbar": {"thickness": 12, "outlinewidth": 0}}  # fmt: skip
        figure.add_scattergl(x=points[:, 0], y=points[:, 1], text=hover, marker=marker, showlegend=False, **said)
    else:
        names, counts = np.unique(colour, return_counts=True)
        # The commonest first, so that the rare are drawn over them.
        named = names[np.argsort(-counts, kind="stable")]
        for number, name in enumerate(named[:_MOST_NAMED]):
            these = colour == name if number < _MOST_NAMED - 1 or len(named) <= _MOST_NAMED else np.isin(
                colour, named[number:])  # fmt: skip
            rest = number == _MOST_NAMED - 1 and len(named) > _MOST_NAMED
            figure.add_scattergl(
                x=points[these, 0], y=points[these, 1], text=hover[these],
                name=f"{len(named) - number} others" if rest else str(name),
                marker={"color": GREY if rest else _special(str(name), number), "size": size, "opacity": 0.75}, **said,
            )  # fmt: skip
    if outline is not None and len(outline):
        path = "M" + " L".join(f"{x},{y}" for x, y in outline) + " Z"
        figure.add_shape(type="path", path=path, line={"color": GREY, "width": 1.5, "dash": "dot"})
    bare = {"showticklabels": False, "zeroline": False}
    figure.update_xaxes(title_text=axes[0], **bare).update_yaxes(title_text=axes[1], **bare)
    return figure.update_layout(legend={"itemsizing": "constant"}, margin={"t": 60})


def _special(name: str, number: int) -> str:
    return {"right": TEAL, "wrong": RED, "not known": GREY}.get(name, _COLOURS[number % len(_COLOURS)])
