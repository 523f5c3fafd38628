"""How fast this machine trains, measured once for each network, and how long a run will take by that.

A child process (``python -m core.learning.pace_measure``) builds the network with random weights, which are as fast as
any, and measures for some seconds what one image costs; the answer is kept in the workspace, so that it is asked for
once.
"""

import hashlib
import json
import os
import platform
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from core.child import Child, serve
from core.cohorts.slice_table import Cohort, replaced
from core.config import WEIGHTS, RunConfig
from core.errors import ChildError, WeightsUnavailable
from core.settings import get_settings

#: Raised whenever what is measured changes its meaning.
_VERSION = 1
#: Seconds that the whole measurement may take: ResNet50 at 512 pixels on one core needs minutes to build alone.
_LIMIT_S = 300.0
#: Seconds for which one thing is repeated.
_REPEAT_S = 1.0
_CHUNK = 64
#: Seconds of a run that no measurement of single images sees: tables, files, the figures of the evaluation.
_AROUND_S = 4.0
#: MiB of a run that neither network nor pictures account for, by comparison with real runs.
_AROUND_MB = 150.0
#: What a slice costs that is in the store already, milliseconds.
_STORED_MS = 0.05


@dataclass(frozen=True)
class Measured:
    """What one network costs on this machine.

    Attributes
    ----------
    device : str
        Words for it, for example ``CPU``.
    start_s : float
        Importing Keras and building the network, seconds.
    trace_s : float
        What the first training step costs more than the others, seconds.
    forward_ms, step_ms, augment_ms : float
        Milliseconds an image: through the network, in a training step of the whole network, and for changing it.
    head_step_ms : float
        Milliseconds a step of training a head on stored features.
    features : int
        Length of the feature vector.
    weights_mb, forward_mb, step_mb, base_mb : float
        MiB: the network's weights; what one more image of a batch takes in a forward pass and in a training step;
        and the process with Keras and the network before either.
    load : float
        Processes that waited for each core while this was measured, in the mean of a minute; above 1 it was busy.
    """

    device: str
    start_s: float
    trace_s: float
    forward_ms: float
    step_ms: float
    augment_ms: float
    head_step_ms: float
    features: int
    weights_mb: float
    forward_mb: float
    step_mb: float
    base_mb: float
    load: float

    @property
    def busy(self) -> bool:
        """Whether the machine had other work, so that all took longer than it should; the child itself is some."""
        return self.load > 1.5


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes
    ----------
    seconds : dict of float
        By stage: start, reading, features, head, whole, fine-tuning, evaluation; only those that the run has.
    memory_mb : float
        Of the training process at its peak, MiB.
    """

    seconds: dict[str, float]
    memory_mb: float

    @property
    def total_s(self) -> float:
        """Seconds in all."""
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Amounts:
    """How much a run has to do.

    Attributes
    ----------
    train, validation, test : int
        Slices with an answer.
    read_ms : float
        Milliseconds to read one slice and bring it to size.
    inputs_stored, features_stored : bool
        Whether another run has left the slices at this size, and their features, in the store.
    """

    train: int
    validation: int
    test: int
    read_ms: float
    inputs_stored: bool = False
    features_stored: bool = False

    @property
    def slices(self) -> int:
        return self.train + self.validation + self.test


def estimate(config: RunConfig, measured: Measured, amounts: Amounts) -> Estimate:
    """Work out how long a run takes and how much memory, from what single images cost.

    Parameters
    ----------
    config : RunConfig
    measured : Measured
        Of its backbone, image size and precision.
    amounts : Amounts

    Returns
    -------
    Estimate
        For a run that no early stopping ends sooner.

    Examples
    --------
    >>> one = Measured("CPU", 6, 2, 1.0, 3.0, 0.5, 2.0, 176, 2, 0.5, 2, 500, 0.2)
    >>> config = RunConfig("x", "transfer", "c", epochs=10, augment_views=1, batch_size=50)
    >>> taken = estimate(config, one, Amounts(train=1000, validation=200, test=200, read_ms=5))
    >>> {stage: round(seconds, 1) for stage, seconds in taken.seconds.items()}
    {'start': 10.0, 'reading': 7.0, 'features': 2.7, 'head': 1.8, 'evaluation': 3.4}
    """
    n = amounts.slices
    seconds = {
        "start": measured.start_s + _AROUND_S,
        "reading": n * (_STORED_MS if amounts.inputs_stored else amounts.read_ms) / 1000,
    }
    if config.weights == "none":
        seconds["whole"] = _whole(config, measured, amounts, config.epochs)
    else:
        views = 1 + config.augment_views
        computed = amounts.train * views + amounts.validation
        changed = amounts.train * config.augment_views
        forward = computed * measured.forward_ms + changed * measured.augment_ms
        seconds["features"] = (computed * _STORED_MS if amounts.features_stored else forward) / 1000
        seconds["head"] = measured.trace_s / 2 + config.epochs * _head_epoch_s(config, measured, amounts, views)
    if config.fine_tune_epochs:
        seconds["fine-tuning"] = _whole(config, measured, amounts, config.fine_tune_epochs)
    # The model is loaded anew and asked about every slice; samples are drawn from features, passes × slices of them.
    passes = n * (1 if config.kind == "siamese" else 1 + config.mc_samples * measured.features / 1e6)
    seconds["evaluation"] = measured.trace_s + passes * measured.forward_ms / 1000
    return Estimate(seconds, _memory(config, measured, amounts))


def _head_epoch_s(config: RunConfig, measured: Measured, amounts: Amounts, views: int) -> float:
    rows = max(2 * config.batch_size, amounts.train) if config.kind == "siamese" else amounts.train * views
    steps = -(-rows // config.batch_size)
    # Validation goes in chunks of 32, as Keras does, and a pass is a third of a step.
    return (steps + -(-amounts.validation // 32) / 3) * measured.head_step_ms / 1000


def _whole(config: RunConfig, measured: Measured, amounts: Amounts, epochs: int) -> float:
    sides = 2 if config.kind == "siamese" else 1
    seen = max(2 * config.batch_size, amounts.train) if sides == 2 else amounts.train
    each = measured.step_ms + (measured.augment_ms if config.augment_views else 0)
    epoch = sides * (seen * each + amounts.validation * measured.forward_ms) / 1000
    return measured.trace_s + epochs * epoch


def _memory(config: RunConfig, measured: Measured, amounts: Amounts) -> float:
    sides = 2 if config.kind == "siamese" else 1
    # Slices are held in eight bits.
    slice_mb = config.image_size**2 / 2**20
    images = amounts.slices * slice_mb
    features = amounts.slices * (1 + config.augment_views) * measured.features * 4 / 2**20
    batch = sides * _CHUNK * measured.forward_mb
    if config.weights == "none" or config.fine_tune_epochs:
        # Beside the weights: gradients, two moments of the optimiser, and the best weights so far.
        batch = max(batch, sides * config.batch_size * measured.step_mb) + 4 * measured.weights_mb
        # Keras wants those of validation as floats.
        images += 4 * amounts.validation * slice_mb
    return _AROUND_MB + measured.base_mb + images + 2 * features + batch


# What is known, and finding it out ------------------------------------------------------------------------


def name_of(config: RunConfig) -> str:
    """Name what has to be measured for a configuration: equal names, one measurement."""
    return _place(config).stem


def known(config: RunConfig) -> Measured | None:
    """Return what has been measured of a configuration's network on this machine, or None."""
    try:
        return Measured(**json.loads(_place(config).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def worth_repeating(measured: Measured) -> bool:
    """Tell whether a measurement was made on a busy machine that has become calm."""
    return measured.busy and psutil.getloadavg()[0] / (os.cpu_count() or 1) < 0.5


def measure(config: RunConfig) -> Measured:
    """Measure a configuration's network in a child process, some seconds for a small one, and keep the answer.

    Raises
    ------
    ChildError
        When the network cannot be built here, or the child died; the message says why.
    """
    ask = {"backbone": config.backbone, "size": config.image_size, "mixed": config.mixed_precision}
    found = Measured(**_asked({"do": "measure", **ask, "batch_size": config.batch_size}))
    found = replace(found, load=round(psutil.getloadavg()[0] / (os.cpu_count() or 1), 2))
    _keep(_place(config), asdict(found))
    return found


def check_weights(config: RunConfig) -> None:
    """Make sure that a local weights file fits the backbone; a child process tries, once for each file.

    Raises
    ------
    WeightsUnavailable
        When it is missing, damaged or of another architecture.
    """
    if config.weights in WEIGHTS:
        return
    path = Path(config.weights)
    if not path.is_file():
        raise WeightsUnavailable(f"There is no weights file {path.name}. Give the path of a .keras or .weights.h5.")
    facts = path.stat()
    place = _folder() / f"fits-{_named(path.resolve(), facts.st_mtime_ns, facts.st_size, *_network(config))}.json"
    if not place.exists():
        ask = {"backbone": config.backbone, "size": config.image_size, "weights": str(path)}
        try:
            answer = _asked({"do": "fit", **ask})
        except ChildError as error:
            if getattr(error, "kind", "") not in ("WeightsUnavailable", "ConfigError"):
                raise
            answer = {"refused": str(error)}
        _keep(place, answer)
    if refused := json.loads(place.read_text("utf-8")).get("refused"):
        raise WeightsUnavailable(refused)


def read_ms(made: Cohort, rows: pd.DataFrame, size: int) -> float:
    """Measure how long it takes to read a slice of a cohort and bring it to size, milliseconds.

    Parameters
    ----------
    made : Cohort
    rows : DataFrame
        Some of its rows; the first is read before the clock starts. Those that cannot be read are passed over.
    size : int
    """
    from core import images
    from core.errors import UnreadableFile
    from core.sandbox import get_sandbox

    taken = []
    for row in rows.to_dict("records"):
        started = time.perf_counter()
        try:
            pixels = get_sandbox().pixels(made.root / row["path"], int(row["frame"]))
        except UnreadableFile:
            continue
        images.to_model_input(pixels, (row["pixel_spacing_row_mm"], row["pixel_spacing_column_mm"]), size)
        taken.append(1000 * (time.perf_counter() - started))
    return float(np.mean(taken[1:])) if len(taken) > 1 else 10.0


def _asked(header: dict) -> dict:
    child = Child("core.learning.pace_measure", env={"TF_CPP_MIN_LOG_LEVEL": "3"})
    try:
        return child.request(header, timeout_s=_LIMIT_S)[0]
    finally:
        child.close()


def _folder() -> Path:
    return get_settings().workspace / "measured"


def _network(config: RunConfig) -> tuple:
    return config.backbone, config.image_size, get_settings().device


def _place(config: RunConfig) -> Path:
    # A training step's cost an image is that of a batch, so batches of one size share an answer.
    machine = (platform.node(), os.cpu_count(), os.environ.get("KERAS_BACKEND", ""), _VERSION)
    return _folder() / f"pace-{_named(*machine, *_network(config), config.mixed_precision, config.batch_size)}.json"


def _named(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _keep(path: Path, values: dict) -> None:
    with replaced(path) as fresh:
        fresh.write_text(json.dumps(values, indent=1), "utf-8")


# In the child ---------------------------------------------------------------------------------------------


def _measure(header: dict, arrays: dict) -> tuple[dict, dict]:
    started = time.perf_counter()
    import keras

    from core import backend_tensorflow, batches
    from core.models.backbones import build_backbone

    device = backend_tensorflow.choose_device(get_settings().device)
    backend_tensorflow.set_determinism(0)
    if header["mixed"] and device != "CPU":
        keras.mixed_precision.set_global_policy("mixed_float16")
    size = header["size"]
    backbone = build_backbone(header["backbone"], "none", size)
    start_s = time.perf_counter() - started
    base = _resident_mb()
    rng = np.random.default_rng(0)
    images = rng.random((_CHUNK, size, size, 1), dtype=np.float32)
    small = max(4, min(_CHUNK, 2**18 // size**2))
    forward_ms = _pace(lambda: backbone.predict_on_batch(images[:small])) / small
    forward_mb = _pixels_mb(backbone)
    augment_ms = _pace(lambda: batches.augment(images[:8, ..., 0], rng)) / 8
    features = backbone.output_shape[-1]
    batch = max(2, min(header["batch_size"], int(2000 / max(forward_ms, 0.1) / 4), _CHUNK))
    answer = keras.layers.Dense(4, activation="softmax")(backbone.output)
    trace_s, step_ms = _training(keras, keras.Model(backbone.input, answer), images[:batch])
    given = keras.Input((features,))
    head = keras.Model(given, keras.layers.Dense(4, activation="softmax")(keras.layers.Dropout(0.3)(given)))
    head_ms = _training_loop(keras, head, rng.random((header["batch_size"], features), dtype=np.float32))
    weights_mb = sum(int(np.prod(w.shape)) for w in backbone.weights) * 4 / 2**20
    found = Measured(
        device, start_s, trace_s, forward_ms, step_ms / batch, augment_ms, head_ms, features, weights_mb,
        forward_mb, 3 * forward_mb, base, 0.0,
    )  # fmt: skip
    return asdict(found), {}


def _training(keras, model, x: np.ndarray) -> tuple[float, float]:
    """Seconds of the first step beyond an ordinary one, and milliseconds of an ordinary one."""
    y = np.arange(len(x)) % 4
    model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    started = time.perf_counter()
    model.train_on_batch(x, y)
    first_s = time.perf_counter() - started
    step_ms = _pace(lambda: model.train_on_batch(x, y), warm=False)
    return max(0.0, first_s - step_ms / 1000), step_ms


def _training_loop(keras, model, x: np.ndarray) -> float:
    """Milliseconds a step of a ``fit`` over many batches, what Keras does around them included."""
    steps = 100
    many, y = np.concatenate([x] * steps), np.arange(steps * len(x)) % 4
    model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    model.fit(x, y[: len(x)], batch_size=len(x), verbose=0)
    started = time.perf_counter()
    model.fit(many, y, batch_size=len(x), verbose=0)
    return 1000 * (time.perf_counter() - started) / steps


def _pace(work, warm: bool = True) -> float:
    """Milliseconds of one repetition, in the mean of those that fit into a second."""
    if warm:
        work()
    started, times = time.perf_counter(), 0
    while times == 0 or time.perf_counter() - started < _REPEAT_S:
        work()
        times += 1
    return 1000 * (time.perf_counter() - started) / times


def _pixels_mb(model) -> float:
    """MiB of all maps of one image in single precision, a quarter of which a forward pass holds at once."""
    values = sum(int(np.prod(layer.output.shape[1:])) for layer in model.layers)
    return values * 4 / 2**20


def _resident_mb() -> float:
    return psutil.Process().memory_info().rss / 2**20


def _fit(header: dict, arrays: dict) -> tuple[dict, dict]:
    from core.models.backbones import build_backbone

    build_backbone(header["backbone"], header["weights"], header["size"])
    return {}, {}


if __name__ == "__main__":
    serve({"measure": _measure, "fit": _fit})
