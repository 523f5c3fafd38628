"""The network behind the shipped weights, and how it is trained: teachers, going on from others, averages."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from core import bundle
from core.config import RunConfig
from core.errors import BundleError
from core.phantom import render
from core.settings import WEIGHTS_DIR
from core.shipping.recipe import ANSWERS, BRAIN, Recipe
from core.shipping.shards import Data, numbers
from core.vocabulary import PLANES

#: What plane, sequence and brain count in the loss.
_HEAD_WEIGHTS = (0.5, 1.0, 0.3)
#: Slices that the final statistics of normalisation are taken over, and how slowly these follow a batch.
_SETTLING, _SETTLING_MOMENTUM = 15_360, 0.95


def train(recipe: Recipe, data: Data, checkpoint: Path):
    """Train the teachers and then the network, or go on from ``checkpoint``.

    Parameters
    ----------
    recipe : Recipe
    data : Data
    checkpoint : Path

    Returns
    -------
    model : keras.Model
        With the heads of `classes`, in single precision.
    classes : dict of list of str
    brain : dict
        The plane between brains and other things, as `core.novelty` reads it from the card.
    """
    teachers = []
    for number, tones in enumerate(recipe.teachers):
        own = replace(
            recipe, tones=tones, epochs=round(0.8 * recipe.epochs), random_state=recipe.random_state + number, kept=0.0
        )
        teachers.append(fit(own, data, checkpoint.with_name(f"{checkpoint.name}-teacher-{number}")))
    return answering(fit(recipe, data, checkpoint, teachers), recipe)


def answering(trained, recipe: Recipe):
    """Return what `train` does, from a network that `fit` trained: shipped heads, and the brain's plane."""
    kernel, bias = trained.get_layer(BRAIN).get_weights()
    brain = {"weight": (kernel[:, 1] - kernel[:, 0]).tolist(), "bias": float(bias[1] - bias[0])}
    classes = {"plane": list(PLANES), "sequence": list(ANSWERS)}
    shipped = _network(recipe, classes, "float32")
    kept = numbers(np.array(ANSWERS), list(render.LEAVES))
    for layer in shipped.layers:
        given = trained.get_layer(layer.name).get_weights()
        layer.set_weights([part[..., kept] for part in given] if layer.name == "sequence" else given)
    return shipped, classes, brain


def _start_from_shipped(network, recipe: Recipe) -> None:
    """Give a network of all that is taught the shipped weights: what `answering` does, undone."""
    shipped, card = bundle.load(WEIGHTS_DIR), bundle.read_card(WEIGHTS_DIR)
    if card["sha256"] != recipe.start:
        raise BundleError("The shipped weights are not those that this recipe goes on from.")
    kept = numbers(np.array(card["classes"]["sequence"]), list(render.LEAVES))
    for layer in network.layers:
        if layer.name == BRAIN:
            kernel, bias = map(np.zeros_like, layer.get_weights())
            kernel[:, 1], bias[1] = card["brain"]["weight"], card["brain"]["bias"]
            layer.set_weights([kernel, bias])
            continue
        given = shipped.get_layer(layer.name).get_weights()
        if layer.name == "sequence":
            kernel, bias = map(np.zeros_like, layer.get_weights())
            # What is not answered has been left out: it starts as the least likely.
            bias += given[1].min() - 2
            kernel[:, kept], bias[kept] = given
            given = [kernel, bias]
        layer.set_weights(given)


def _mean_with_shipped(network, recipe: Recipe) -> None:
    """Give a network that has gone on the mean of its weights and of the shipped ones, ``recipe.kept`` of these."""
    after = network.get_weights()
    _start_from_shipped(network, recipe)
    both = zip(network.get_weights(), after, strict=True)
    network.set_weights([recipe.kept * before + (1 - recipe.kept) * gone_on for before, gone_on in both])


def _network(recipe: Recipe, heads: dict[str, list[str]], dtype_policy: str):
    import keras

    from core.models import BUILDERS

    keras.config.set_dtype_policy(dtype_policy)
    config = RunConfig(
        name="shipped", kind="dual", cohort="phantom", weights="none", image_size=recipe.size, dropout=0.3
    )
    return BUILDERS["dual"](config, heads)


def fit(recipe: Recipe, data: Data, checkpoint: Path, teachers: list = ()):
    """Train one network with all that is taught, or go on from ``checkpoint``.

    Parameters
    ----------
    recipe : Recipe
    data : Data
    checkpoint : Path
    teachers : list of keras.Model
        Networks that this function has trained.

    Returns
    -------
    keras.Model
        In single precision.
    """
    import keras

    from core.shipping.changes import Changes, Distillation

    keras.utils.set_random_seed(recipe.random_state)
    pictures, plane, sequence = data
    # Whole batches alone: a last one of another size would be compiled by itself.
    whole = len(pictures) // recipe.batch_size * recipe.batch_size
    pictures, plane, sequence = pictures[:whole, ..., None], plane[:whole], sequence[:whole]
    taught = {"plane": list(PLANES), "sequence": list(render.LEAVES), BRAIN: ["other", "brain"]}
    y = [numbers(plane, taught["plane"]), numbers(sequence, taught["sequence"]), (plane != "").astype(int)]
    # What has no answer for a head has no weight there.
    weights = [(answer >= 0).astype(np.float32) for answer in y]
    steps = recipe.epochs * (whole // recipe.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(
        recipe.learning_rate / 20, steps, warmup_target=recipe.learning_rate, warmup_steps=steps // 20, alpha=0.01
    )
    network = _network(recipe, taught, recipe.dtype_policy)
    if recipe.start:
        _start_from_shipped(network, recipe)
    changes = Changes(recipe.changes, recipe.tones, seed=recipe.random_state, dtype="float32", name="changes")
    raw = keras.Input(pictures.shape[1:], dtype="uint8")
    changed = changes(raw)
    answers = network(changed)
    if teachers:
        for number, teacher in enumerate(teachers):
            teacher.name, teacher.trainable = f"teacher_{number}", False
        told = [teacher(changed, training=False) for teacher in teachers]
        answers = [
            Distillation(weight, name=f"distilled_{head}", dtype="float32")([own, *others])
            for head, weight, own, *others in zip(taught, _HEAD_WEIGHTS, answers, *told, strict=True)
        ]
    model = keras.Model(raw, answers)
    averaged = {"use_ema": True, "ema_momentum": recipe.averaging} if recipe.averaging else {}
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=1e-4, **averaged),
        [keras.losses.SparseCategoricalCrossentropy() for _ in taught],
        loss_weights=list(_HEAD_WEIGHTS),
        weighted_metrics=[["accuracy"] for _ in taught],
    )
    callbacks = [keras.callbacks.BackupAndRestore(checkpoint, delete_checkpoint=False)]
    if averaged:
        callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=False))
    model.fit(
        pictures, [np.maximum(answer, 0) for answer in y], sample_weight=weights, batch_size=recipe.batch_size,
        epochs=recipe.epochs, callbacks=callbacks, verbose=2,
    )  # fmt: skip
    trained = _network(recipe, taught, "float32")
    trained.set_weights(network.get_weights())
    if recipe.kept:
        _mean_with_shipped(trained, recipe)
    picked = np.random.default_rng([43, recipe.random_state]).integers(0, len(pictures), min(_SETTLING, len(pictures)))
    settle(trained, keras.Model(raw, trained(changes(raw))), pictures[picked], [answer[picked] for answer in y])
    return trained


def settle(trained, model, pictures: np.ndarray, y: list[np.ndarray]) -> None:
    """Take the statistics of batch normalisation anew over ``pictures``: those of training belong to older weights.

    ``model`` leads to ``trained``, which ends with all else as it was: steps of length 0 move nothing but statistics.
    """
    import keras

    layers = [layer for layer in trained.layers if isinstance(layer, keras.layers.BatchNormalization)]
    kept = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = _SETTLING_MOMENTUM
    model.compile(keras.optimizers.SGD(0.0), [keras.losses.SparseCategoricalCrossentropy() for _ in y])
    model.fit(pictures, [np.maximum(answer, 0) for answer in y], batch_size=128, verbose=0)
    for layer, momentum in zip(layers, kept, strict=True):
        layer.momentum = momentum
