"""Monte-Carlo dropout with a switch of its own.

Gal and Ghahramani, "Dropout as a Bayesian Approximation" (ICML 2016): dropout left on at inference samples
from an approximate posterior. Calling a whole model with ``training=True`` would also move the statistics of
its batch normalisation; this layer alone is switched instead.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
from keras import ops

from core.errors import ConfigError
from core.models.parts import FEATURES, features_model

_ROWS_AT_ONCE = 16_384


@keras.saving.register_keras_serializable("slicescope")
class MCDropout(keras.layers.Layer):
    """Dropout in training; the identity at inference unless `switch` is on.

    Parameters
    ----------
    rate : float
        Share of units set to 0; the others are scaled by ``1 / (1 - rate)``. At least 0 and below 1.
    seed : int, optional
        First seed of the layer's generator.

    Attributes
    ----------
    switch : keras.Variable
        Scalar 0 or 1, not trainable; a variable so that compiled graphs see it change.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be at least 0 and below 1. Received: rate={rate}")
        self.rate, self.seed = float(rate), seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.switch = self.add_weight(name="switch", shape=(), initializer="zeros", trainable=False)
        self.supports_masking = True
        self.built = True

    def call(self, inputs, training=False):
        if self.rate == 0:
            return inputs
        dropped = keras.random.dropout(inputs, self.rate, seed=self.seed_generator)
        return dropped if training else ops.where(self.switch > 0.5, dropped, inputs)

    def compute_output_shape(self, input_shape):
        return input_shape

    def reset(self, seed: int) -> None:
        """Restart the generator, so that what follows is the same each time."""
        self.seed_generator.state.assign(np.array([seed % 2**31, 0], dtype="uint32"))

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


def dropouts(model: keras.Model) -> list[MCDropout]:
    """List a model's MC-dropout layers."""
    return [layer for layer in model.layers if isinstance(layer, MCDropout)]


@contextmanager
def dropping(model: keras.Model, seed: int = 0) -> Iterator[None]:
    """Turn a model's Monte-Carlo dropout on, and let each layer's generator start again.

    Parameters
    ----------
    model : keras.Model
    seed : int
        One seed gives the same draws each time.
    """
    switches = dropouts(model)
    before = [float(layer.switch.value) for layer in switches]
    try:
        for number, layer in enumerate(switches):
            layer.reset(seed * 1009 + number)
            layer.switch.assign(1.0)
        yield
    finally:
        for layer, state in zip(switches, before, strict=True):
            layer.switch.assign(state)


def head_model(model: keras.Model) -> keras.Model:
    """Return the part of a classifier from ``features`` to its heads; it shares its layers."""
    outputs = model.outputs if len(model.outputs) > 1 else model.outputs[0]
    return keras.Model(model.get_layer(FEATURES).output, outputs, name="head")


def sample(
    model: keras.Model, inputs: np.ndarray, n_samples: int, seed: int = 0, from_features: bool = False
) -> dict[str, np.ndarray]:
    """Draw class probabilities with dropout on.

    Only the head is repeated: the backbone has no dropout, so its features are computed once.

    Parameters
    ----------
    model : keras.Model
        A classifier with `MCDropout` in its head.
    inputs : ndarray
        Images (n, size, size) or (n, size, size, 1) in [0, 1]; or features (n, d) with `from_features`.
    n_samples : int
        Passes T, at least 1.
    seed : int
        One seed gives the same samples each time.
    from_features : bool
        Whether `inputs` are features of this model's backbone.

    Returns
    -------
    dict of ndarray
        Head name to (n, T, classes) float32; each pass sums to 1 over classes.

    Raises
    ------
    ConfigError
        For a model without `MCDropout`, and for n_samples below 1.
    """
    if not dropouts(model):
        raise ConfigError("This model has no Monte-Carlo dropout: train a bayesian, dual or transfer run.")
    if n_samples < 1:
        raise ConfigError(f"n_samples must be at least 1. Received: {n_samples}.")
    features = np.asarray(inputs, dtype=np.float32)
    if not from_features:
        images = features[..., None] if features.ndim == 3 else features
        features = features_model(model).predict(images, batch_size=64, verbose=0)
    head, names = head_model(model), model.output_names
    parts: list[list[np.ndarray]] = [[] for _ in names]
    block = max(1, _ROWS_AT_ONCE // n_samples)
    with dropping(model, seed):
        for first in range(0, len(features), block):
            rows = features[first : first + block]
            outputs = head(np.repeat(rows, n_samples, axis=0), training=False)
            outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
            for part, output in zip(parts, outputs, strict=True):
                part.append(ops.convert_to_numpy(output).reshape(len(rows), n_samples, -1))
    widths = [output.shape[-1] for output in model.outputs]
    empty = [np.empty((0, n_samples, width), np.float32) for width in widths]
    return {name: np.concatenate(part) if part else none for name, part, none in zip(names, parts, empty, strict=True)}
