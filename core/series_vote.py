"""One answer for many slices: the project's only way to let a series vote."""

from collections.abc import Sequence

import numpy as np

from core.errors import InputError


def vote(proba: np.ndarray) -> np.ndarray:
    """Mean of calibrated probabilities.

    Parameters
    ----------
    proba : ndarray, shape (n, C)
        One row a slice; at least one.

    Returns
    -------
    ndarray, shape (C,)

    Raises
    ------
    InputError
        When there is no slice.

    Examples
    --------
    >>> vote(np.array([[0.9, 0.1], [0.3, 0.7]])).round(2).tolist()
    [0.6, 0.4]
    """
    proba = np.asarray(proba, dtype=float)
    if proba.ndim != 2 or not len(proba):
        raise InputError(f"A vote needs the probabilities of at least one slice, (n, classes); received {proba.shape}.")
    return proba.mean(axis=0)


def vote_by(proba: np.ndarray, groups: Sequence) -> tuple[list, np.ndarray]:
    """Let each group vote.

    Parameters
    ----------
    proba : ndarray, shape (n, C)
    groups : sequence of length n
        For example SeriesInstanceUID.

    Returns
    -------
    names : list
        Groups, in the order in which they first appear.
    ndarray, shape (len(names), C)

    Examples
    --------
    >>> vote_by(np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]), ["b", "a", "b"])[0]
    ['b', 'a']
    """
    members: dict = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    proba = np.asarray(proba, dtype=float)
    answer = np.array([vote(proba[rows]) for rows in members.values()])
    return list(members), answer.reshape(len(members), proba.shape[-1])
