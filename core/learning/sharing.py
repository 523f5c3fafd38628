"""Batches that fall into equal parts, for models that several devices share; with one device nothing changes."""

from typing import Any

import keras
import numpy as np

from core.backend_tensorflow import shared_by, sharing


class _Even(keras.utils.PyDataset):
    """The batches of another one, each cut to a multiple of the devices; never to nothing."""

    def __init__(self, source: keras.utils.PyDataset, devices: int):
        super().__init__()
        self.source, self.devices = source, devices

    def __len__(self):
        return len(self.source)

    def __getitem__(self, i):
        batch = self.source[i]
        n = len(keras.tree.flatten(batch)[0])
        # A last batch of fewer slices than devices gives each device one, so some stand in it twice.
        rows = np.arange(n // self.devices * self.devices) if n >= self.devices else np.arange(self.devices) % n
        return batch if len(rows) == n else keras.tree.map_structure(lambda part: part[rows], batch)

    def on_epoch_end(self):
        self.source.on_epoch_end()


def even(source: Any, batch_size: int) -> Any:
    """Make what goes into ``fit`` fall into equal parts.

    Parameters
    ----------
    source : tuple of arrays, PyDataset, or None
        As ``fit`` takes it; a tuple is cut into batches of `batch_size`.
    batch_size : int

    Returns
    -------
    The same, or with fewer slices: at most one less than there are devices is left out of each batch of a PyDataset,
    and of the last batch of a tuple.
    """
    devices = shared_by()
    if devices == 1 or source is None:
        return source
    if isinstance(source, keras.utils.PyDataset):
        return _Even(source, devices)
    n = len(keras.tree.flatten(source)[0])
    kept = np.arange(n)[: n - n % batch_size % devices] if n >= devices else np.arange(devices) % n
    return keras.tree.map_structure(lambda part: part[kept], source)


def even_size(batch_size: int) -> int:
    """Return the nearest size of a batch, at least one slice a device, that falls into equal parts."""
    devices = shared_by()
    return max(batch_size // devices, 1) * devices


def predict(model: keras.Model, x: np.ndarray, batch_size: int = 64) -> Any:
    """Ask a model, on all devices that share; the answer is for each of the n rows of `x`."""
    n, devices = len(x), shared_by()
    if devices == 1 or not n:
        return model.predict(x, batch_size=batch_size, verbose=0)
    padded = np.concatenate([x, x[np.zeros(-n % devices, int)]])
    with sharing():
        # A model of the same layers, as new: under JAX one that has answered before remembers which of its layers were
        # trainable then, and fails once that has changed.
        answer = keras.Model(model.input, model.output).predict(padded, batch_size=even_size(batch_size), verbose=0)
    return keras.tree.map_structure(lambda part: part[:n], answer)
