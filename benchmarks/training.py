"""How much less time a run takes than the `model.fit` that one writes first, and what fifty Monte-Carlo passes cost.

``python -m benchmarks.training [--cohort phantom] [--backbone slicescope] [--slices 400] [--repeats 3]``

*Plain* is a frozen backbone behind Keras' augmentation layers, trained by `fit` on images in memory. *First* and
*second* are `core.learning.fitting.fit_head` with an empty store and with what the first has left in it: the same
slices, classes, batch size, learning rate and epochs; each slice and two changed views. All arms start from images in
memory and from a model that is built. They take turns, so that what else the machine does falls on all alike; seconds
are medians, and each ratio is the median of the ratios of the rounds, by the clock and by the processor time of all
threads, which other programs disturb less.
"""

import argparse
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np

from core import batches, cohort, splits
from core.config import BACKBONES, RunConfig
from core.learning import features, fitting
from core.learning.training_callbacks import Watch
from core.models import BUILDERS
from core.models.mc_dropout import sample
from core.models.parts import features_model
from core.settings import get_settings

PASSES = 50


def timed(work: Callable[[], object]) -> tuple[float, float, object]:
    """Seconds by the clock, seconds of processor time, and what came out."""
    wall, cpu = time.perf_counter(), time.process_time()
    answer = work()
    return time.perf_counter() - wall, time.process_time() - cpu, answer


def slices_of(config: RunConfig, most: int) -> tuple[fitting.Data, dict[str, list[str]]]:
    """Read a cohort as a run does, and keep at most so many training slices, and in proportion of the others."""
    made = cohort.read(config.cohort)
    split = splits.patient_split(made.table, config.fractions, config.random_state, "sequence")
    table = made.table.assign(split=split)
    words = batches.label_values(table, config.label)
    classes = {config.label: batches.classes_of(words[split == "train"], config.label)}
    table = table[words.isin(classes[config.label])]
    share = min(1.0, most / max(1, (table["split"] == "train").sum()))
    table = table.sample(frac=share, random_state=0).reset_index(drop=True)
    images = batches.model_inputs(made, table, config.image_size)
    people, parts = table["PatientID"].to_numpy(str), table["split"].to_numpy(str)
    return fitting.Data(images, batches.targets(table, classes), people, parts, classes), classes


def accuracy(model: keras.Model, data: fitting.Data) -> float:
    """Share of right answers on the test patients."""
    ((_, y),) = data.y.items()
    rows = data.rows("test")
    return float(np.mean(model.predict(data.images[rows][..., None], verbose=0).argmax(axis=1) == y[rows]))


def plain(model: keras.Model, data: fitting.Data, config: RunConfig) -> None:
    """Fit the head as one writes it first."""
    for layer in model.layers[:-1]:
        layer.trainable = False
    image = x = keras.Input(model.input_shape[1:])
    for layer in (
        keras.layers.RandomFlip("horizontal"),
        keras.layers.RandomRotation(10 / 360),
        keras.layers.RandomZoom(0.12),
        keras.layers.RandomTranslation(0.06, 0.06),
        keras.layers.RandomBrightness(0.1, value_range=(0, 1)),
    ):
        x = layer(x)
    whole = keras.Model(image, model(x))
    whole.compile(keras.optimizers.Adam(config.learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    (y,) = data.y.values()
    train, held = data.rows("train"), data.rows("validation")
    weights = batches.balanced_weights(y[train], data.patient[train])
    whole.fit(
        data.images[train][..., None], y[train], sample_weight=weights, batch_size=config.batch_size,
        epochs=config.epochs, validation_data=(data.images[held][..., None], y[held]), verbose=0,
    )  # fmt: skip


def ours(model: keras.Model, data: fitting.Data, config: RunConfig) -> None:
    """Fit the head as a run does."""
    with tempfile.TemporaryDirectory() as folder:
        watch = Watch(Path(folder), lambda *told: None, lambda: False, lambda mark: None)
        fitting.fit_head(model, data, config, watch)


@contextmanager
def empty_store(workspace: Path) -> Iterator[None]:
    """Let runs keep features elsewhere for a while."""
    name = "SLICESCOPE_WORKSPACE"
    kept = os.environ.get(name)
    os.environ[name] = str(workspace)
    get_settings.cache_clear()
    try:
        yield
    finally:
        os.environ.pop(name) if kept is None else os.environ.update({name: kept})
        get_settings.cache_clear()


def compared(config: RunConfig, data: fitting.Data, classes: dict, repeats: int) -> None:
    """Let the arms take turns and print what they took."""
    rounds: list[dict[str, tuple[float, float, float]]] = []
    for number in range(repeats):
        rounds.append({})
        # Each round has a store of its own: the first run finds nothing, the second what the first has left.
        with tempfile.TemporaryDirectory() as workspace, empty_store(Path(workspace)):
            for arm, fit in (("plain", plain), ("first", ours), ("second", ours)):
                model = BUILDERS["transfer"](config, classes)
                wall, cpu, _ = timed(functools.partial(fit, model, data, config))
                rounds[-1][arm] = wall, cpu, accuracy(model, data)
                print(f"  round {number + 1}, {arm}: {wall:.1f} s, processor {cpu:.1f} s", flush=True)
    print(f"{config.backbone}, {config.image_size} px, {len(data.rows('train'))} slices, {config.epochs} epochs")
    print("| arm | seconds | processor seconds | plain ÷ this | the same in processor time | accuracy |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for arm in ("plain", "first", "second"):
        wall, cpu, right = (statistics.median(one[arm][at] for one in rounds) for at in range(3))
        ratios = [statistics.median(one["plain"][at] / one[arm][at] for one in rounds) for at in range(2)]
        print(f"| {arm} | {wall:.1f} | {cpu:.1f} | {ratios[0]:.1f} | {ratios[1]:.1f} | {right:.3f} |", flush=True)


def passes(config: RunConfig, data: fitting.Data, classes: dict, repeats: int) -> None:
    """Hold fifty passes, features computed once, against one deterministic pass."""
    model = BUILDERS["bayesian"](config, classes)
    images = data.images[:512]
    backbone = features_model(model)

    def one():
        return features._forward(model, images)

    def fifty():
        found = features._forward(backbone, images)
        return sample(model, found, PASSES, from_features=True)

    one(), fifty()
    pairs = [(timed(one), timed(fifty)) for _ in range(max(5, repeats))]
    wall, cpu = (statistics.median(many[at] / single[at] for single, many in pairs) for at in range(2))
    print(
        f"{PASSES} Monte-Carlo passes over {len(images)} slices: {wall:.2f} of the time of one deterministic pass, "
        f"{cpu:.2f} of its processor time",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", default="phantom", help="made by `python -m core demo`")
    parser.add_argument("--backbone", choices=BACKBONES, default="slicescope")
    parser.add_argument("--slices", type=int, default=400, help="most training slices")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    # Weights of others matter to accuracy, not to time.
    weights = "slicescope" if options.backbone == "slicescope" else "none"
    config = RunConfig(
        "benchmark", "transfer", options.cohort, backbone=options.backbone, weights=weights, epochs=options.epochs
    )
    data, classes = slices_of(config, options.slices)
    passes(config, data, classes, options.repeats)
    compared(config, data, classes, options.repeats)


if __name__ == "__main__":
    main()
