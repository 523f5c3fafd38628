"""One backbone, a head for the plane and a head for the sequence."""

import keras

from core.config import RunConfig
from core.models.backbones import backbone_of
from core.models.heads import softmax_heads
from core.models.mc_dropout import MCDropout


def build_dual(config: RunConfig, classes: dict[str, list[str]]) -> keras.Model:
    """Build backbone → dropout → a softmax for each head.

    Parameters
    ----------
    config : RunConfig
        Takes backbone, weights, image_size, mixed_precision, dropout and random_state from it.
    classes : dict of list of str
        ``{"plane": [...], "sequence": [...]}``.

    Returns
    -------
    keras.Model
        From ``image`` (n, size, size, 1) in [0, 1] to a list of probabilities (n, classes), in the order of
        `classes`; each a layer named after its head.
    """
    backbone = backbone_of(config)
    x = MCDropout(config.dropout, config.random_state, name="dropout")(backbone.output)
    return keras.Model(backbone.input, softmax_heads(x, config, classes), name="dual")
