"""What all maps share: their range, and peace from tf-keras-vis."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def scaled(heat: np.ndarray) -> np.ndarray:
    """Drop what is negative and bring each map's maximum to 1; a map without any stays 0.

    Examples
    --------
    >>> scaled(np.array([[[-1.0, 4.0]], [[-1.0, 0.0]]])).tolist()
    [[[0.0, 1.0]], [[0.0, 0.0]]]
    """
    heat = np.maximum(heat, 0).astype(np.float32)
    peak = heat.max(axis=(1, 2), keepdims=True)
    return np.divide(heat, peak, out=np.zeros_like(heat), where=peak > 0)


@contextmanager
def quiet() -> Iterator[None]:
    """Swallow Keras' remark that tf-keras-vis passes inputs as a list."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The structure of `inputs`")
        yield
