"""One answer for many slices: the project's only way to let a series vote."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

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
    proba = np.asarray(proba, dtype=float)
    if not len(groups):
        return [], np.empty((0, proba.shape[-1]))
    code, names = pd.factorize(pd.Series(groups, dtype=None if isinstance(groups, np.ndarray) else object))
    sums = np.stack([np.bincount(code, column, len(names)) for column in proba.T], axis=1)
    return list(names), sums / np.bincount(code)[:, None]
