"""The stages of training: the head on stored features, then the whole network on changing views."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from core import batches
from core.backend_tensorflow import sharing, tensorboard
from core.config import RunConfig
from core.models.mc_dropout import head_model
from core.models.parts import features_model
from core.models.siamese import pair_head
from core.settings import get_settings
from core.sharing import even, even_size, predict

#: Fine-tuning's learning rate as a share of the head's; Keras' transfer-learning guide goes 100 times lower.
_FINE_TUNING = 0.02


@dataclass(frozen=True)
class Data:
    """Slices of a run with their answers.

    Attributes
    ----------
    images : ndarray
        (n, size, size) float32 in [0, 1].
    y : dict of ndarray
        Head to (n,) class numbers, -1 for none.
    patient, split : ndarray of str
        (n,)
    classes : dict of list of str
    """

    images: np.ndarray
    y: dict[str, np.ndarray]
    patient: np.ndarray
    split: np.ndarray
    classes: dict[str, list[str]]

    def rows(self, split: str) -> np.ndarray:
        """Return positions of a split's rows that have an answer for some head."""
        known = np.any([y >= 0 for y in self.y.values()], axis=0)
        return np.flatnonzero((self.split == split) & known)


@dataclass
class Watch:
    """Who is told of each epoch, and who may stop the work.

    Attributes
    ----------
    folder : Path
        The run folder, for ``metrics.jsonl`` and ``tensorboard/``.
    progress : callable
        Called with (stage, share of the stage from 0 to 1, message).
    cancelled : callable
        Tells whether to stop.
    on_best : callable
        Called after each better epoch of a stage that trains the whole network.
    """

    folder: Path
    progress: Callable[[str, float, str], None]
    cancelled: Callable[[], bool]
    on_best: Callable[[], None]
    epochs_done: int = field(default=0)


class _Epochs(keras.callbacks.Callback):
    """Write metrics, tell progress, keep the best weights, stop when asked."""

    def __init__(self, stage: str, title: str, epochs: int, watch: Watch, monitor: str, save_best: bool):
        super().__init__()
        self.stage, self.title, self.epochs, self.watch = stage, title, epochs, watch
        self.monitor, self.save_best = monitor, save_best
        self.best, self.best_weights, self.started = np.inf, None, time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        if self.watch.cancelled():
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        values = {name: float(value) for name, value in (logs or {}).items()}
        for prefix in ("", "val_"):
            heads = [
                value
                for name, value in values.items()
                if name.endswith("_accuracy") and name != "val_accuracy" and name.startswith("val_") == bool(prefix)
            ]
            if heads:
                values[f"{prefix}accuracy"] = float(np.mean(heads))
        seconds = time.monotonic() - self.started
        line = {"stage": self.stage, "epoch": epoch + 1, "seconds": round(seconds, 3), **values}
        with (self.watch.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.watch.epochs_done += 1
        if values[self.monitor] < self.best or self.best_weights is None:
            self.best = values[self.monitor]
            self.best_weights = self.model.get_weights()
            if self.save_best:
                self.watch.on_best()
        left = seconds / (epoch + 1) * (self.epochs - epoch - 1)
        message = f"{self.title}: epoch {epoch + 1} of {self.epochs}, about {left:.0f} s left in this stage"
        self.watch.progress(self.stage, (epoch + 1) / self.epochs, message)
        if self.watch.cancelled():
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)


class _Views(keras.utils.PyDataset):
    """Shuffled batches of augmented images."""

    def __init__(self, data: Data, rows: np.ndarray, weights: list[np.ndarray], config: RunConfig):
        super().__init__()
        self.data, self.rows, self.weights, self.size = data, rows, weights, config.batch_size
        self.rng = np.random.default_rng(config.random_state)
        self.order = self.rng.permutation(len(rows))
        self.augmented = config.augment_views > 0

    def __len__(self):
        return -(-len(self.rows) // self.size)

    def __getitem__(self, i):
        chosen = self.order[i * self.size : (i + 1) * self.size]
        rows = self.rows[chosen]
        x = self.data.images[rows]
        x = batches.augment(x, self.rng) if self.augmented else x
        y = [np.maximum(y[rows], 0) for y in self.data.y.values()]
        return x[..., None], _plain(y), _plain([w[chosen] for w in self.weights])

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.rows))


class _Pairs(keras.utils.PyDataset):
    """Batches of pairs: of stored features (views, m, d), or of images that are augmented on the way."""

    def __init__(self, x: np.ndarray, y: np.ndarray, patient: np.ndarray, config: RunConfig, images: bool):
        super().__init__()
        self.x, self.y, self.patient, self.images = x, y, patient, images
        self.config, self.rng = config, np.random.default_rng(config.random_state)
        self.n = max(2 * config.batch_size, len(y))
        self.on_epoch_end()

    def __len__(self):
        return -(-self.n // self.config.batch_size)

    def __getitem__(self, i):
        part = slice(i * self.config.batch_size, (i + 1) * self.config.batch_size)
        sides = [self._side(rows[part]) for rows in self.drawn[:2]]
        return tuple(sides), self.drawn[2][part, None]

    def _side(self, rows: np.ndarray) -> np.ndarray:
        if not self.images:
            return self.x[self.rng.integers(0, len(self.x), len(rows)), rows]
        images = self.x[rows]
        return (batches.augment(images, self.rng) if self.config.augment_views else images)[..., None]

    def on_epoch_end(self):
        self.drawn = batches.pairs(self.y, self.patient, self.rng, self.n)


def _plain(parts: list):
    # A tuple, because TensorFlow takes a list in a batch for a tensor.
    return tuple(parts) if len(parts) > 1 else parts[0]


def view_features(
    backbone: keras.Model, images: np.ndarray, view: int, report: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Return features (n, d) of view number `view` of each image, from the store where they are known.

    Parameters
    ----------
    backbone : keras.Model
        See `core.models.backbones.features_model`; its weights are part of the key.
    images : ndarray
        (n, size, size) in [0, 1].
    view : int
        0 is the image itself; see `core.batches.augmented_view`.
    report : callable, optional
        Called with (done, total).
    """
    digest = hashlib.sha256(backbone.to_json().encode())
    for weight in backbone.get_weights():
        digest.update(np.ascontiguousarray(weight))
    keys = [f"{key}-{view}" for key in batches.content_keys(images)]

    def compute(positions: np.ndarray) -> np.ndarray:
        changed = batches.augmented_view(images[positions], view)
        return predict(backbone, changed[..., None])

    return batches.stored(get_settings().features_dir / f"features-{digest.hexdigest()[:24]}", keys, compute, report)


def fit_head(model: keras.Model, data: Data, config: RunConfig, watch: Watch) -> None:
    """Train what follows ``features`` on stored features of each slice and its views; `model` is changed in place."""
    backbone = features_model(model)
    train, held = data.rows("train"), data.rows("validation")
    n_views = 1 + config.augment_views

    def report(view: int, done: int, total: int) -> None:
        share = (view + done / total) / (n_views + 1)
        watch.progress("features", share, f"Features: view {view + 1} of {n_views}, slice {done} of {total}")

    stacked = [
        view_features(backbone, data.images[train], v, lambda d, t, v=v: report(v, d, t)) for v in range(n_views)
    ]
    held_features = view_features(backbone, data.images[held], 0) if len(held) else None
    if config.kind == "siamese":
        (y,) = data.y.values()
        source = _Pairs(np.stack(stacked), y[train], data.patient[train], config, images=False)
        validation = _held_pairs(held_features, y[held], data.patient[held], config)
        _fit(pair_head(model), source, validation, config, config.epochs, 1.0, "head", watch)
        return
    weights = _weights(data, train)
    y = [np.tile(np.maximum(y[train], 0), n_views) for y in data.y.values()]
    source = (np.concatenate(stacked), _plain(y), _plain([np.tile(w, n_views) for w in weights]))
    _fit(head_model(model), source, _held(held_features, data, held), config, config.epochs, 1.0, "head", watch)


def fit_whole(model: keras.Model, data: Data, config: RunConfig, watch: Watch, stage: str) -> None:
    """Train the whole network in place.

    Parameters
    ----------
    stage : {"whole", "fine-tuning"}
        ``whole`` starts from random weights. ``fine-tuning`` goes at a low rate and leaves the statistics of batch
        normalisation alone, which a few small batches would spoil.
    """
    train, held = data.rows("train"), data.rows("validation")
    fine = stage == "fine-tuning"
    for layer in features_model(model).layers:
        layer.trainable = not (fine and isinstance(layer, keras.layers.BatchNormalization))
    epochs = config.fine_tune_epochs if fine else config.epochs
    if config.kind == "siamese":
        (y,) = data.y.values()
        source = _Pairs(data.images[train], y[train], data.patient[train], config, images=True)
        validation = _held_pairs(data.images[held][..., None], y[held], data.patient[held], config)
    else:
        source = _Views(data, train, _weights(data, train), config)
        validation = _held(data.images[held][..., None], data, held)
    _fit(model, source, validation, config, epochs, _FINE_TUNING if fine else 1.0, stage, watch)


def _weights(data: Data, rows: np.ndarray) -> list[np.ndarray]:
    return [batches.balanced_weights(y[rows], len(data.classes[head])) for head, y in data.y.items()]


def _held(x: np.ndarray | None, data: Data, rows: np.ndarray):
    if x is None or not len(rows):
        return None
    y = [np.maximum(y[rows], 0) for y in data.y.values()]
    return x, _plain(y), _plain([(y[rows] >= 0).astype(np.float32) for y in data.y.values()])


def _held_pairs(x: np.ndarray | None, y: np.ndarray, patient: np.ndarray, config: RunConfig):
    if x is None or len(np.unique(y[y >= 0])) < 2:
        return None
    rng = np.random.default_rng(config.random_state + 1)
    first, second, same = batches.pairs(y, patient, rng, min(512, max(64, 2 * len(y))))
    return (x[first], x[second]), same[:, None]


def _fit(model, source, validation, config: RunConfig, epochs: int, rate: float, stage: str, watch: Watch) -> None:
    with sharing():
        _fit_shared(model, source, validation, config, epochs, rate, stage, watch)


def _fit_shared(model, source, validation, config, epochs, rate, stage, watch) -> None:
    n_outputs = len(model.outputs)
    siamese = config.kind == "siamese"
    loss = "binary_crossentropy" if siamese else "sparse_categorical_crossentropy"
    metrics = ["accuracy"] if n_outputs == 1 else [["accuracy"]] * n_outputs
    model.compile(
        keras.optimizers.Adam(config.learning_rate * rate),
        loss if n_outputs == 1 else [loss] * n_outputs,
        weighted_metrics=metrics,
    )
    title = {"head": "Head", "whole": "Whole network", "fine-tuning": "Fine-tuning"}[stage]
    monitor = "val_loss" if validation is not None else "loss"
    told = _Epochs(stage, title, epochs, watch, monitor, save_best=stage != "head")
    callbacks = [told, *tensorboard(watch.folder / "tensorboard" / stage)]
    size = even_size(config.batch_size)
    options = {"epochs": epochs, "callbacks": callbacks, "verbose": 0}
    options |= {"validation_data": even(validation, size), "validation_batch_size": size}
    if isinstance(source, tuple):
        x, y, weights = even(source, size)
        model.fit(x, y, sample_weight=weights, batch_size=size, **options)
    else:
        model.fit(even(source, size), **options)
