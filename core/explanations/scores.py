"""What an explainer asks a model about: views with one output, class scores without a softmax.

tf-keras-vis 0.8.7 sees only flat models with one input, and wants scores that do not saturate: the gradient
of a softmax that is sure vanishes. So each head gets a *view*, a flat model from ``image`` to one score a
class. A view shares the layers of its model and changes nothing in it.
"""

import keras
import numpy as np
from keras import layers

from core.errors import InputError
from core.explanations.jury import COSINE_SCALE


def logits_view(model: keras.Model, head: str) -> keras.Model:
    """Give the scores of one head before its softmax.

    Parameters
    ----------
    model : keras.Model
        Flat, with a dense softmax layer named `head`.
    head : str

    Returns
    -------
    keras.Model
        From ``image`` to logits (n, classes).

    Raises
    ------
    InputError
        When there is no such head.
    """
    if head not in model.output_names:
        raise InputError(f"This model has no head {head!r}; it has {', '.join(model.output_names)}.")
    softmax = model.get_layer(head)
    linear = layers.Dense.from_config({**softmax.get_config(), "activation": "linear", "name": f"{head}_logits"})
    view = keras.Model(model.input, linear(softmax.input), name=f"{head}_view")
    linear.set_weights(softmax.get_weights())
    return view


def prototype_view(encoder: keras.Model, prototypes: np.ndarray) -> keras.Model:
    """Give a Siamese model's scores: the cosine to each class's prototype, or to a partner's embedding.

    Parameters
    ----------
    encoder : keras.Model
        Flat, from ``image`` to an embedding (n, d).
    prototypes : ndarray, shape (classes, d)
        Mean of the references' unit embeddings, or one partner's embedding as (1, d). Their length counts:
        with means of unit vectors, the score is the mean cosine to the references.

    Returns
    -------
    keras.Model
        From ``image`` to `COSINE_SCALE` times the mean cosine, (n, classes).
    """
    unit = layers.UnitNormalization(name="unit")(encoder.output)
    cosine = layers.Dense(len(prototypes), use_bias=False, name="prototypes")
    view = keras.Model(encoder.input, cosine(unit), name="prototype_view")
    cosine.set_weights([COSINE_SCALE * np.asarray(prototypes, np.float32).T])
    return view


def aims(classes: int, class_index: np.ndarray, against: np.ndarray | None = None) -> np.ndarray:
    """Say how each output of a view counts in the score that a map explains.

    Parameters
    ----------
    classes : int
    class_index : ndarray of int, shape (n,)
        The class that each map is of.
    against : ndarray of int, shape (n,), optional
        The class whose score is taken off.

    Returns
    -------
    ndarray of float32, shape (n, classes)
        1 for the class and -1 for the other; only 0 where they are the same.

    Examples
    --------
    >>> aims(3, np.array([0, 2]), np.array([1, 2])).tolist()
    [[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    one_hot = np.eye(classes, dtype=np.float32)
    return one_hot[class_index] - (0 if against is None else one_hot[against])
