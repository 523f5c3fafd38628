"""What a named jury adds to the tables of ``classify``: columns at their end, so that all else stays as it is.

The jury's word may be none of the vocabulary (a new class), so ``plane`` and ``sequence`` stay the model's.
"""

from dataclasses import fields

import numpy as np
import pandas as pd

from core.explanations.juries import NamedJury
from core.explanations.votes import Vote

#: The jury's class, its probability, its margin, and whether the jury would rather not say.
JURY_COLUMNS = ("jury", "jury_p", "jury_margin", "jury_abstains")


def joined(made: NamedJury, parts: list[Vote], kept: np.ndarray) -> Vote:
    """Join votes on parts of a table, and keep some of its rows: ndarray of bool, shape (n,)."""
    parts = [made.ask(made.jury.embeddings[:0])[0], *parts]
    return Vote(*(np.concatenate([getattr(part, one.name) for part in parts])[kept] for one in fields(Vote)))


def columns(made: NamedJury, said: Vote, other: np.ndarray) -> pd.DataFrame:
    """Give the columns of n slices.

    Parameters
    ----------
    made : NamedJury
    said : Vote
        What it said about them.
    other : ndarray of bool, shape (n,)
        Which show no brain: about these it abstains.

    Returns
    -------
    DataFrame
        `JURY_COLUMNS`, n rows.
    """
    rows = np.arange(len(other))
    return pd.DataFrame({
        "jury": pd.array([made.jury.classes[at] for at in said.winner], dtype="str"),
        "jury_p": said.probabilities(made.temperature)[rows, said.winner],
        "jury_margin": said.margin,
        "jury_abstains": (said.margin < made.threshold) | other,
    })  # fmt: skip


def of_series(made: NamedJury, said: Vote, groups: list[np.ndarray], other: np.ndarray) -> pd.DataFrame:
    """Give the columns of series: the vote by the mean of their slices' scores.

    Parameters
    ----------
    made, said, other
        As for `columns`.
    groups : list of ndarray of int
        Rows of each series. Slices without brain have no say, unless a series shows nothing else.

    Returns
    -------
    DataFrame
        `JURY_COLUMNS`, a row a series.
    """
    heard = [rows[~other[rows]] if not other[rows].all() else rows for rows in groups]
    scores = np.array([said.scores[rows].mean(axis=0) for rows in heard]).reshape(len(groups), len(made.jury.classes))
    mostly = np.array([other[rows].mean() > 0.5 for rows in groups], bool)
    return columns(made, Vote.of(scores), mostly)
