"""The stages of training: the head on stored features, then the whole network on changing views."""

from dataclasses import dataclass

import keras
import numpy as np

from core import batches
from core.backend_tensorflow import sharing
from core.config import RunConfig
from core.learning import compiling, epochs
from core.learning.features import view_features
from core.learning.sharing import even, even_size
from core.learning.training_answers import by_batches, head_ask, in_chunks, prototype_ask
from core.learning.training_callbacks import STAGES, Ask, Epochs, Watch
from core.models.mc_dropout import head_model
from core.models.parts import encoder_of, features_model
from core.models.siamese import cosine_model, embedding_head, pair_head
from core.publishing import tensorboard


@dataclass(frozen=True)
class Data:
    """Slices of a run with their answers.

    Attributes
    ----------
    images : ndarray
        (n, size, size) as `core.batches.as_floats` takes it.
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

    @property
    def asked(self) -> np.ndarray:
        """Positions of the rows whose answers are kept by epoch, those of validation and test."""
        return np.sort(np.concatenate([self.rows(split) for split in epochs.ASKED]))


class _Batches(keras.utils.PyDataset):
    """Batches that depend on seed, stage and epoch alone, so that a resumed run sees those of an unbroken one."""

    def __init__(self, config: RunConfig, stage: str, n: int):
        super().__init__()
        self.size, self.n = config.batch_size, n
        self.augmentation = config.augmentation if config.augment_views else ""
        self.seed = (config.random_state, STAGES.index(stage))
        self.begin(0)

    def __len__(self):
        return -(-self.n // self.size)

    def begin(self, epoch: int) -> None:
        """Draw an epoch's order."""
        self.epoch = epoch
        self.draw(self.rng())

    def draw(self, rng: np.random.Generator) -> None:
        self.order = rng.permutation(self.n)

    def rng(self, *more: int) -> np.random.Generator:
        return np.random.default_rng([*self.seed, self.epoch, *more])

    def part(self, i: int) -> slice:
        return slice(i * self.size, (i + 1) * self.size)

    def shown(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return images as the network sees them this time, (n, size, size, 1)."""
        if self.augmentation:
            return batches.augment(images, rng, self.augmentation)[..., None]
        return batches.as_floats(images)[..., None]


class _Rows(_Batches):
    """Shuffled batches of stored features."""

    def __init__(self, x: np.ndarray, y: list, weights: list, config: RunConfig):
        self.x, self.y, self.weights = x, y, weights
        super().__init__(config, "head", len(x))

    def __getitem__(self, i):
        chosen = self.order[self.part(i)]
        return self.x[chosen], _plain([y[chosen] for y in self.y]), _plain([w[chosen] for w in self.weights])


class _Views(_Batches):
    """Shuffled batches of augmented images."""

    def __init__(self, data: Data, rows: np.ndarray, weights: list[np.ndarray], config: RunConfig, stage: str):
        self.data, self.rows, self.weights = data, rows, weights
        super().__init__(config, stage, len(rows))

    def __getitem__(self, i):
        chosen = self.order[self.part(i)]
        rows = self.rows[chosen]
        x = self.shown(self.data.images[rows], self.rng(i))
        y = [np.maximum(y[rows], 0) for y in self.data.y.values()]
        return x, _plain(y), _plain([w[chosen] for w in self.weights])


class _Pairs(_Batches):
    """Batches of pairs: of stored features (views, m, d), or of images that are augmented on the way."""

    def __init__(self, x: np.ndarray, y: np.ndarray, patient: np.ndarray, config: RunConfig, stage: str):
        self.x, self.y, self.patient, self.images = x, y, patient, stage != "head"
        self.balanced = config.class_balance != "none"
        super().__init__(config, stage, max(2 * config.batch_size, len(y)))

    def draw(self, rng: np.random.Generator) -> None:
        self.drawn = batches.pairs(self.y, self.patient, rng, self.n, self.balanced)

    def __getitem__(self, i):
        rng = self.rng(i)
        sides = [self._side(rows[self.part(i)], rng) for rows in self.drawn[:2]]
        return tuple(sides), self.drawn[2][self.part(i), None]

    def _side(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if not self.images:
            return self.x[rng.integers(0, len(self.x), len(rows)), rows]
        return self.shown(self.x[rows], rng)


def _plain(parts: list):
    # A tuple, because TensorFlow takes a list in a batch for a tensor.
    return tuple(parts) if len(parts) > 1 else parts[0]


def fit_head(model: keras.Model, data: Data, config: RunConfig, watch: Watch) -> None:
    """Train what follows ``features`` on stored features of each slice and its views; `model` is changed in place."""
    siamese = config.kind == "siamese"
    head = _pairs_model(pair_head(model), config) if siamese else head_model(model)
    before = watch.checkpoint_of("head")
    if before and before.over:
        # No epoch is left, so no features are needed.
        Epochs(head, "head", config.epochs, watch, before.now.monitor).finish()
        return
    backbone = features_model(model)
    train, held, asked = data.rows("train"), data.rows("validation"), data.asked
    n_views = 1 + config.augment_views

    def report(view: int, done: int, total: int) -> None:
        share = (view + done / total) / (n_views + 1)
        watch.progress("features", share, f"Features: view {view + 1} of {n_views}, slice {done} of {total}")

    stacked = [
        view_features(backbone, data.images[train], v, lambda d, t, v=v: report(v, d, t), config.augmentation)
        for v in range(n_views)
    ]
    # Validation and test at one go; only the former is trained by.
    asked_features = view_features(backbone, data.images[asked], 0) if len(asked) else stacked[0][:0]
    held_features = asked_features[np.searchsorted(asked, held)] if len(held) else None
    if siamese:
        (y,) = data.y.values()
        source = _Pairs(np.stack(stacked), y[train], data.patient[train], config, "head")
        validation = _held_pairs(held_features, y[held], data.patient[held], config)
        embed = embedding_head(model)
        ask = prototype_ask(lambda x: in_chunks(embed, x), stacked[0], y[train], data.classes, asked_features)
    else:
        order = _repeats(data, train, config)
        weights = _weights(data, train[order], config)
        y = [np.tile(np.maximum(y[train[order]], 0), n_views) for y in data.y.values()]
        x = np.concatenate([features[order] for features in stacked])
        source = _Rows(x, y, [np.tile(w, n_views) for w in weights], config)
        validation = _held(held_features, data, held)
        ask = head_ask(lambda: in_chunks(head, asked_features), data.classes)
    _fit(head, source, validation, config, config.epochs, 1.0, "head", watch, ask)


def fit_whole(model: keras.Model, data: Data, config: RunConfig, watch: Watch, stage: str) -> None:
    """Train the whole network in place.

    Parameters
    ----------
    stage : {"whole", "fine-tuning"}
        ``whole`` starts from random weights. ``fine-tuning`` goes at a low rate and leaves the statistics of batch
        normalisation alone, which a few small batches would spoil.
    """
    train, held, asked = data.rows("train"), data.rows("validation"), data.asked
    fine = stage == "fine-tuning"
    for layer in features_model(model).layers:
        layer.trainable = not (fine and isinstance(layer, keras.layers.BatchNormalization))
    n_epochs = config.fine_tune_epochs if fine else config.epochs
    if config.kind == "siamese":
        (y,) = data.y.values()
        source = _Pairs(data.images[train], y[train], data.patient[train], config, stage)
        validation = _held_pairs(batches.as_floats(data.images[held])[..., None], y[held], data.patient[held], config)
        embed = encoder_of(model)
        ask = prototype_ask(
            lambda x: by_batches(embed, x, watch.cancelled), data.images[train], y[train], data.classes,
            data.images[asked],
        )  # fmt: skip
    else:
        train = train[_repeats(data, train, config)]
        source = _Views(data, train, _weights(data, train, config), config, stage)
        validation = _held(batches.as_floats(data.images[held])[..., None], data, held)
        ask = head_ask(lambda: by_batches(model, data.images[asked], watch.cancelled), data.classes)
    fitted = _pairs_model(model, config) if config.kind == "siamese" else model
    _fit(fitted, source, validation, config, n_epochs, config.fine_tune_rate if fine else 1.0, stage, watch, ask)


def _pairs_model(model: keras.Model, config: RunConfig) -> keras.Model:
    """Return what a Siamese stage trains: the contrastive loss judges the cosine itself."""
    return cosine_model(model) if config.pair_loss == "contrastive" else model


def training_embeddings(model: keras.Model, data: Data, frozen: bool) -> np.ndarray:
    """Return a Siamese model's embeddings (n, e) of the training slices; quick while the backbone is `frozen`."""
    images = data.images[data.rows("train")]
    if frozen:
        return in_chunks(embedding_head(model), view_features(features_model(model), images, 0))[0]
    return by_batches(encoder_of(model), images)[0]


def _repeats(data: Data, rows: np.ndarray, config: RunConfig) -> np.ndarray:
    """Return positions in `rows`, each once or, where rare classes are to be oversampled, as often as that takes."""
    if config.class_balance != "oversample":
        return np.arange(len(rows))
    return batches.oversampled([y[rows] for y in data.y.values()], np.random.default_rng(config.random_state))


def _weights(data: Data, rows: np.ndarray, config: RunConfig) -> list[np.ndarray]:
    if config.class_balance != "weights":
        return [(y[rows] >= 0).astype(np.float32) for y in data.y.values()]
    return [batches.balanced_weights(y[rows], data.patient[rows]) for y in data.y.values()]


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


def _fit(
    model, source, validation, config: RunConfig, n_epochs: int, rate: float, stage: str, watch: Watch, ask: Ask
) -> None:
    size = even_size(config.batch_size)
    with sharing():
        compiling.compile_stage(model, config, rate, n_epochs * len(source))
        monitor = "val_loss" if validation is not None else "loss"
        told = Epochs(model, stage, n_epochs, watch, monitor, source, ask, config.early_stopping)
        if not told.over:
            callbacks = [told, tensorboard.callback(watch.folder / "tensorboard" / stage)]
            # Sources shuffle by themselves; Keras would deal their batches in an order that no resumed run can know.
            model.fit(
                even(source, size), epochs=n_epochs, initial_epoch=told.first, callbacks=callbacks, shuffle=False,
                validation_data=even(validation, size), validation_batch_size=size, verbose=0,
            )  # fmt: skip
        told.finish()
