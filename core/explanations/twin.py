"""The twin of a model that has learnt nothing: the same layers, every weight drawn anew.

Adebayo et al., "Sanity checks for saliency maps" (NeurIPS 2018): a map that stays the same when the weights are
random does not speak of what the model has learnt, however convincing it looks. Weights are drawn anew rather than
shuffled: shuffled ones keep the sizes that training gave them, and with them part of its sureness.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
from scipy import ndimage

#: Pictures that batch normalisation takes its statistics from.
_PICTURES = 16


def twin_of(model: keras.Model, random_state: int = 0) -> keras.Model:
    """Make the weight-randomised twin of a flat model.

    Kernels come from a normal distribution (He et al., ICCV 2015), biases are 0. Batch normalisation starts anew,
    with the statistics that the new weights give to pictures of head-like blobs: with those of the trained weights
    the activations of a deep network would vanish or overflow, and its map would be empty for no good reason.

    Parameters
    ----------
    model : keras.Model
        Flat, from ``image`` (n, S, S, 1) in [0, 1]; it is left as it is.
    random_state : int
        One seed gives the same twin each time.

    Returns
    -------
    keras.Model
        With layers of its own.
    """
    twin = keras.models.clone_model(model)
    for number, layer in enumerate(twin.layers):
        if isinstance(layer, keras.layers.BatchNormalization):
            _start_anew(layer)
            continue
        for place, weight in enumerate(layer.trainable_weights + layer.non_trainable_weights):
            if not weight.dtype.startswith(("float", "bfloat")):
                continue
            if len(weight.shape) < 2:
                weight.assign(np.zeros(weight.shape, np.float32))
            else:
                weight.assign(keras.initializers.HeNormal(_seed(random_state, number, place))(weight.shape))
    _settle(twin)
    return twin


def _start_anew(layer: keras.layers.BatchNormalization) -> None:
    for weight, value in ((layer.gamma, 1.0), (layer.beta, 0.0), (layer.moving_mean, 0.0), (layer.moving_variance, 1)):
        if weight is not None:
            weight.assign(np.full(weight.shape, value, np.float32))


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _settle(twin: keras.Model) -> None:
    """Give batch normalisation the statistics of one batch, which each layer hands on already normalised."""
    norms = [layer for layer in twin.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return
    with _training_alone(twin, norms):
        twin(_heads(twin.inputs[0].shape[1]), training=True)


@contextmanager
def _training_alone(twin: keras.Model, norms: list) -> Iterator[None]:
    """Take over a batch's statistics whole, and drop nothing meanwhile."""
    droppers = [layer for layer in twin.layers if getattr(layer, "rate", None)]
    kept = [(layer, layer.rate) for layer in droppers], [(layer, layer.momentum, layer.trainable) for layer in norms]
    for layer in droppers:
        layer.rate = 0.0
    for layer in norms:
        layer.momentum, layer.trainable = 0.0, True
    try:
        yield
    finally:
        for layer, rate in kept[0]:
            layer.rate = rate
        for layer, momentum, trainable in kept[1]:
            layer.momentum, layer.trainable = momentum, trainable


def _heads(size: int) -> np.ndarray:
    """Ellipses of smooth tissue on black, (n, size, size, 1): about the grey levels of a slice, the same each time."""
    rng = np.random.default_rng(2018)
    grid = np.linspace(-1, 1, size)
    texture = ndimage.gaussian_filter(rng.standard_normal((_PICTURES, size, size)), (0, size / 24, size / 24))
    texture = 0.45 + 0.2 * texture / texture.std()
    reach = rng.uniform(0.6, 0.95, (2, _PICTURES, 1, 1))
    inside = (grid[:, None] / reach[0]) ** 2 + (grid / reach[1]) ** 2 < 1
    return np.clip(texture * inside + rng.normal(0, 0.02, texture.shape), 0, 1)[..., None].astype(np.float32)
