"""A Siamese network: one encoder for both slices of a pair, and how alike they are.

Koch, Zemel, Salakhutdinov, "Siamese neural networks for one-shot image recognition" (2015).
"""

import keras
from keras import layers

from core.config import RunConfig
from core.models.backbones import backbone_of
from core.models.mc_dropout import MCDropout
from core.models.parts import FEATURES, encoder_of

EMBEDDING = "embedding"
_WIDTH = 64


def build_siamese(config: RunConfig, classes: dict[str, list[str]]) -> keras.Model:
    """Build encoder(a) · encoder(b), both of length one, → probability of the same class.

    Parameters
    ----------
    config : RunConfig
        Takes backbone, weights, image_size, mixed_precision, dropout and random_state from it.
    classes : dict of list of str
        Not used: a jury of reference slices names the class, so one model serves any classes.

    Returns
    -------
    keras.Model
        From ``[a, b]``, images (n, size, size, 1) in [0, 1] each, to (n, 1) in [0, 1]. Its layer ``encoder`` is a flat
        model from ``image`` to ``embedding`` (n, 64).
    """
    backbone = backbone_of(config)
    x = MCDropout(config.dropout, config.random_state, name="dropout")(backbone.output)
    encoder = keras.Model(backbone.input, layers.Dense(_WIDTH, name=EMBEDDING)(x), name="encoder")
    shape = (config.image_size, config.image_size, 1)
    a, b = keras.Input(shape, name="a"), keras.Input(shape, name="b")
    alike = layers.Dot(1, normalize=True, name="cosine")([encoder(a), encoder(b)])
    # A cosine of 1 must be able to mean "surely the same": the slope starts steep. The contrastive loss works on
    # distances alone, so there the answer is a fixed reading of them: 0.95 for none, 0.5 for half the margin.
    slope, shift = (5.0, 0.0)
    if config.pair_loss == "contrastive":
        slope = 24 / config.margin**2
        shift = 3 - slope
    same = layers.Dense(
        1, activation="sigmoid", kernel_initializer=keras.initializers.Constant(slope),
        bias_initializer=keras.initializers.Constant(shift), name="same",
    )  # fmt: skip
    return keras.Model([a, b], same(alike), name="siamese")


def pair_head(model: keras.Model) -> keras.Model:
    """Return a Siamese model's part from a pair of ``features`` to its answer; it shares its layers."""
    encoder = encoder_of(model)
    width = encoder.get_layer(FEATURES).output.shape[-1]
    a, b = keras.Input((width,), name="features_a"), keras.Input((width,), name="features_b")
    half = embedding_head(model)
    return keras.Model([a, b], model.get_layer("same")(model.get_layer("cosine")([half(a), half(b)])), name="pair_head")


def cosine_model(model: keras.Model) -> keras.Model:
    """Return a Siamese model, or its `pair_head`, up to the cosine of a pair; it shares its layers."""
    history = model.outputs[0]._keras_history
    (cosine,) = history.operation._inbound_nodes[history.node_index].input_tensors
    return keras.Model(model.inputs, cosine, name="pair_cosine")


def embedding_head(model: keras.Model) -> keras.Model:
    """Return the encoder's part from ``features`` to ``embedding``; it shares its layers."""
    encoder = encoder_of(model)
    return keras.Model(encoder.get_layer(FEATURES).output, encoder.output, name="embedding_head")
