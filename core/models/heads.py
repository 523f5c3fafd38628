"""Heads right after ``features``: a softmax each, which starts with what the shipped model knows of its classes."""

import keras
import numpy as np
from keras import layers

from core import bundle
from core.config import RunConfig
from core.models.backbones import shipped_model
from core.settings import WEIGHTS_DIR


def softmax_heads(x, config: RunConfig, classes: dict[str, list[str]]) -> list:
    """Put a softmax for each head behind features.

    Parameters
    ----------
    x : KerasTensor
        Features (n, d) of the backbone that `config` names, with or without dropout.
    config : RunConfig
        Its ``weights`` say whether the heads start from the shipped ones.
    classes : dict of list of str
        Of each head.

    Returns
    -------
    list of KerasTensor
        Probabilities (n, classes), each of a layer named after its head.
    """
    # In single precision, whatever the rest is computed in.
    heads = {
        name: layers.Dense(len(words), activation="softmax", dtype="float32", name=name)
        for name, words in classes.items()
    }
    answers = [head(x) for head in heads.values()]
    if config.weights == "slicescope":
        shipped, known = shipped_model(), bundle.read_card(WEIGHTS_DIR)["classes"]
        for name, head in heads.items():
            _start(head, classes[name], shipped, known)
    return answers


def _start(head: layers.Dense, names: list[str], shipped: keras.Model, known: dict[str, list[str]]) -> None:
    """Give a head the shipped weights of its classes; those that the shipped model cannot name stay as drawn.

    A class of two words, as of ``plane-sequence``, gets the sum of both, which is the product of their probabilities.
    """
    kernel, bias = (np.array(part) for part in head.get_weights())
    given = {part: shipped.get_layer(part).get_weights() for part in head.name.split("-")}
    for column, name in enumerate(names):
        words = dict(zip(given, name.split("-") if len(given) > 1 else [name], strict=True))
        if all(word in known[part] for part, word in words.items()):
            places = {part: known[part].index(word) for part, word in words.items()}
            kernel[:, column] = sum(given[part][0][:, place] for part, place in places.items())
            bias[column] = sum(given[part][1][place] for part, place in places.items())
    head.set_weights([kernel, bias])
