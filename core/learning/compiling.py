"""How a stage of training is compiled: what it minimises, by what steps, and when it ends early."""

import keras
from keras import ops

from core.config import RunConfig
from core.models.parts import encoder_of

#: Adam's sister with decoupled weight decay, at Keras' own rate; norms and biases are left out.
_DECAY = 0.004
#: Where the cosine schedule ends, as a share of where it starts.
_FLOOR = 0.01


def contrastive(y_true, y_pred, margin: float):
    """Return the contrastive loss of each pair: ``y d² + (1 - y) max(0, margin - d)²``.

    Hadsell, Chopra, LeCun, "Dimensionality reduction by learning an invariant mapping" (CVPR 2006).

    Parameters
    ----------
    y_true : tensor, shape (n, 1)
        1 for a pair of one class, 0 for two.
    y_pred : tensor, shape (n, 1)
        Cosine of the embeddings; d is the distance of the two at length 1, from 0 to 2.
    margin : float

    Returns
    -------
    tensor, shape (n, 1)
    """
    same = ops.cast(y_true, y_pred.dtype)
    # Never quite 0, where a square root has no slope.
    squared = ops.maximum(2 - 2 * y_pred, 1e-7)
    return same * squared + (1 - same) * ops.square(ops.maximum(margin - ops.sqrt(squared), 0))


def smoothed(y_true, y_pred, smoothing: float):
    """Return the cross-entropy of each row with a share of its answer spread over all classes.

    Szegedy et al., "Rethinking the Inception architecture" (CVPR 2016). Keras smooths one-hot answers only.

    Parameters
    ----------
    y_true : tensor of int, shape (n,) or (n, 1)
    y_pred : tensor, shape (n, classes)
        Probabilities.
    smoothing : float
        0 is the plain cross-entropy.

    Returns
    -------
    tensor, shape (n,)
    """
    truth = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), y_pred.shape[-1])
    return keras.losses.categorical_crossentropy(truth, y_pred, label_smoothing=smoothing)


def loss_and_metric(config: RunConfig):
    """Return what a head of this run minimises, and its accuracy.

    Returns
    -------
    loss, metric : str, callable or keras.metrics.Metric
        As ``compile`` takes them.
    """
    smoothing, margin = config.label_smoothing, config.margin
    if config.kind == "siamese" and config.pair_loss == "contrastive":
        # Half the margin is as far from "the same" as from "sure to be two".
        near = keras.metrics.BinaryAccuracy("accuracy", threshold=1 - margin**2 / 8)
        return lambda y_true, y_pred: contrastive(y_true, y_pred, margin), near
    if config.kind == "siamese":
        return keras.losses.BinaryCrossentropy(label_smoothing=smoothing), "accuracy"
    if smoothing:
        return lambda y_true, y_pred: smoothed(y_true, y_pred, smoothing), "accuracy"
    return "sparse_categorical_crossentropy", "accuracy"


def optimiser(config: RunConfig, share: float, steps: int) -> keras.optimizers.Optimizer:
    """Return a stage's optimiser.

    Parameters
    ----------
    config : RunConfig
    share : float
        Of the run's learning rate.
    steps : int
        Batches of the whole stage: the cosine schedule falls over them, to a hundredth.
    """
    rate = config.learning_rate * share
    if config.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps, alpha=_FLOOR)
    if config.optimiser == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
    if config.optimiser == "adam":
        return keras.optimizers.Adam(rate)
    chosen = keras.optimizers.AdamW(rate, weight_decay=_DECAY)
    chosen.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return chosen


def compile_stage(model: keras.Model, config: RunConfig, share: float, steps: int) -> None:
    """Compile a model for one stage; see `optimiser`."""
    chosen = optimiser(config, share, steps)
    if any(layer.dtype_policy.name == "mixed_float16" for layer in encoder_of(model).layers):
        # Keras does this by itself only where the model, and not its layers alone, has that policy.
        chosen = keras.optimizers.LossScaleOptimizer(chosen)
    loss, metric = loss_and_metric(config)
    n = len(model.outputs)
    model.compile(
        chosen,
        loss if n == 1 else [loss] * n,
        weighted_metrics=[metric] if n == 1 else [[metric]] * n,
    )
