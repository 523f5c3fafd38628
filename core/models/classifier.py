"""Classifiers with one head: transfer learning, and its Bayesian sister."""

import keras
from keras import layers

from core.config import RunConfig
from core.models.backbones import backbone_of
from core.models.heads import softmax_heads
from core.models.mc_dropout import MCDropout


def build_transfer(config: RunConfig, classes: dict[str, list[str]]) -> keras.Model:
    """Build backbone → dropout → softmax.

    Parameters
    ----------
    config : RunConfig
        Takes backbone, weights, image_size, mixed_precision, dropout and random_state from it.
    classes : dict of list of str
        One head's name and its classes.

    Returns
    -------
    keras.Model
        From ``image`` (n, size, size, 1) in [0, 1] to probabilities (n, classes), a layer named after the head.
    """
    backbone = backbone_of(config)
    x = MCDropout(config.dropout, config.random_state, name="dropout")(backbone.output)
    (answer,) = softmax_heads(x, config, classes)
    return keras.Model(backbone.input, answer, name="transfer")


def build_bayesian(config: RunConfig, classes: dict[str, list[str]]) -> keras.Model:
    """Build backbone → (dense → Monte-Carlo dropout) twice → softmax; see `build_transfer`."""
    ((head, names),) = classes.items()
    backbone = backbone_of(config)
    x = backbone.output
    for number, units in enumerate((128, 64), 1):
        x = layers.Dense(units, activation="relu", name=f"dense_{number}")(x)
        x = MCDropout(config.dropout, config.random_state + number, name=f"dropout_{number}")(x)
    answer = layers.Dense(len(names), activation="softmax", name=head)(x)
    return keras.Model(backbone.input, answer, name="bayesian")
