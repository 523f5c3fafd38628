"""How a run's answers went, epoch by epoch, as Plotly figures."""

import numpy as np
import plotly.graph_objects as go

from core.figures import GREY, ORANGE, SPLIT_COLOURS, TEMPLATE
from core.learning.epochs import EpochAnswers

_NAMES = {"head": "head", "whole": "whole network", "fine-tuning": "fine-tuning"}


def epoch_name(kept: EpochAnswers, place: int) -> str:
    """Name a kept epoch for people, for example ``"12 · fine-tuning 2"``; the best one says so."""
    mark, number = kept.marks[place], kept.numbers[place]
    several = len({mark.stage for mark in kept.marks}) > 1
    words = [str(number), *([f"{_NAMES[mark.stage]} {mark.epoch}"] if several else [])]
    return " · ".join([*words, *(["best"] if number == kept.best else [])])


def accuracy_by_epoch(kept: EpochAnswers, head: str, place: int) -> go.Figure:
    """Draw the share of right answers over epochs, a line a part of the split, and mark one epoch and the best.

    Parameters
    ----------
    kept : EpochAnswers
        With one epoch at least.
    head : str
    place : int
        Which of the kept epochs is marked, from 0.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    figure = go.Figure(layout={"template": TEMPLATE, "height": 260})
    shares = {split: kept.accuracy(head, split) for split in kept.parts(head)}
    for split, share in shares.items():
        figure.add_scatter(
            x=kept.numbers, y=share, mode="lines+markers", name=split,
            line={"color": SPLIT_COLOURS[split], "width": 2},
            marker={"size": np.where(np.arange(len(share)) == place, 12, 4)},
            hovertemplate=f"epoch %{{x}}: %{{y:.1%}} right<extra>{split}</extra>",
        )  # fmt: skip
    figure.add_vline(x=kept.numbers[place], line={"color": GREY, "width": 1})
    if kept.best in kept.numbers:
        figure.add_vline(
            x=kept.best, line={"color": ORANGE, "width": 1, "dash": "dot"}, annotation_text="best",
            annotation_position="bottom left" if kept.best > kept.numbers[-1] / 2 else "bottom right",
        )  # fmt: skip
    # From the tenth below the worst epoch: what changes late is small beside what is right from the start.
    lowest = min((share.min() for share in shares.values()), default=0.0)
    floor = max(0.0, np.floor(10 * lowest - 0.5) / 10)
    figure.update_xaxes(
        title_text="Epoch", title_standoff=4, range=[0.5, kept.numbers[-1] + 0.5], tickformat="d", nticks=8
    )
    return figure.update_yaxes(title_text="Accuracy", tickformat=".0%", range=[floor, 1 + 0.04 * (1 - floor)])
