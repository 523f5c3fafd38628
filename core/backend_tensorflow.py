"""The only place that speaks to TensorFlow directly; with another Keras backend each function does what Keras can.

Several devices: each has a copy of the model and takes its part of each batch (TensorFlow's MirroredStrategy, Keras'
DataParallel under JAX). A batch that does not fall into equal parts is not an inconvenience but a fault: under
TensorFlow a copy without slices makes batch normalisation NaN, and JAX refuses. So `core.learning.sharing` makes
batches even.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from typing import Any

import keras

from core.errors import ConfigError
from core.settings import get_settings

#: The strategy or distribution of this process, from `choose_device`, and how many devices share a batch.
_shared: dict[str, Any] = {"by": 1, "how": None}


def is_tensorflow() -> bool:
    """Tell whether Keras runs on TensorFlow."""
    return keras.backend.backend() == "tensorflow"


def set_determinism(seed: int) -> None:
    """Seed Python, NumPy and Keras, and make TensorFlow's operations repeatable."""
    keras.utils.set_random_seed(seed)
    if is_tensorflow():
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def choose_device(device: str = "auto", devices: int = 1) -> str:
    """Choose what to train on; must come before anything is computed.

    Parameters
    ----------
    device : str
        ``auto`` (what TensorFlow finds), ``cpu`` or ``gpu:N``.
    devices : int
        How many share each batch of what is built and trained inside `sharing`, from ``gpu:N`` on. Processors count
        as one device, or as many as the setting ``logical_cpus`` splits them into.

    Returns
    -------
    str
        Words for the log.

    Raises
    ------
    ConfigError
        For another word, for a GPU that is not there, for any choice but ``auto`` on another backend, and for more
        devices than there are.
    """
    kind, _, number = device.partition(":")
    if device not in ("auto", "cpu") and not (kind == "gpu" and number.isdigit()):
        raise ConfigError(f"device must be auto, cpu or gpu:N. Received: {device!r}. Set SLICESCOPE_DEVICE.")
    _shared.update(by=1, how=None)
    if not is_tensorflow():
        _keep_tensorflow_out()
        if device != "auto":
            raise ConfigError(f"On the {keras.backend.backend()} backend only device auto is known: set it there.")
        _split_processor()
        _share(devices, [] if devices == 1 else _keras_devices())
        return keras.backend.backend()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if kind == "gpu" and int(number) >= len(gpus):
        raise ConfigError(f"{device} is not there ({len(gpus)} GPUs found). Set SLICESCOPE_DEVICE to auto or cpu.")
    first = int(number) if kind == "gpu" else 0
    chosen = [] if device == "cpu" else gpus[first : first + devices]
    if gpus:
        tf.config.set_visible_devices(chosen, "GPU")
    for gpu in chosen:
        tf.config.experimental.set_memory_growth(gpu, True)
    _split_processor()
    if devices > 1:
        _share(devices, [one.name for one in tf.config.list_logical_devices("GPU" if chosen else "CPU")])
    return "GPU" if chosen else "CPU"


def half_precision() -> str:
    """Name the Keras dtype policy for mixed precision here.

    Returns
    -------
    str
        ``mixed_bfloat16``, which keeps the range of single precision; ``mixed_float16`` on NVIDIA GPUs before compute
        capability 8, which are quick in that alone.
    """
    if is_tensorflow():
        import tensorflow as tf

        for gpu in tf.config.get_visible_devices("GPU"):
            capability = tf.config.experimental.get_device_details(gpu).get("compute_capability")
            if capability and capability < (8, 0):
                return "mixed_float16"
    return "mixed_bfloat16"


def score_and_gradient(model: keras.Model) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Compile what explainers ask of a model, so that its layers are not called one by one each time.

    Parameters
    ----------
    model : keras.Model
        With one input and one output (n, classes).

    Returns
    -------
    callable
        Takes inputs and weights (n, classes); gives each row's weighted sum of outputs (n,), and its gradient by the
        input, of the input's shape. The model computes as it does when it answers; no statistic moves.

    Raises
    ------
    ConfigError
        On another backend.
    """
    if not is_tensorflow():
        raise ConfigError(f"Heatmaps need the backend tensorflow. Received: {keras.backend.backend()}.")
    import tensorflow as tf

    shapes = [tf.TensorSpec((None, *tensor.shape[1:]), tf.float32) for tensor in (model.inputs[0], model.outputs[0])]

    @tf.function(input_signature=shapes)
    def both(inputs, weights):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            score = tf.reduce_sum(model(inputs, training=False) * weights, axis=-1)
        return score, tape.gradient(score, inputs)

    return both


class _Absent(MetaPathFinder):
    """Lets nothing find TensorFlow."""

    def find_spec(self, fullname, path, target=None):
        if fullname.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"TensorFlow is kept out: Keras runs on {keras.backend.backend()}.")


def _keep_tensorflow_out() -> None:
    # Keras looks for TensorFlow's classes when it saves, and would import it where it is installed: many seconds, and
    # from then on each preprocessing layer asks it whether it is at work.
    if not any(isinstance(finder, _Absent) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Absent())


def _split_processor() -> None:
    parts = get_settings().logical_cpus
    if not parts:
        return
    if not is_tensorflow():
        # Read when JAX first looks for devices.
        flag = f"--xla_force_host_platform_device_count={parts}"
        if flag not in os.environ.get("XLA_FLAGS", ""):
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
        return
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    configured = tf.config.get_logical_device_configuration(cpu)
    if len(configured or ()) != parts:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * parts)


def _keras_devices() -> list[str]:
    if keras.backend.backend() != "jax":
        raise ConfigError(
            f"Several devices need the backend tensorflow or jax. Received: {keras.backend.backend()}. Choose 1 device."
        )
    return keras.distribution.list_devices()


def _share(devices: int, names: list[str]) -> None:
    if devices == 1:
        return
    if devices > len(names):
        raise ConfigError(
            f"{devices} devices are asked for and {len(names)} found ({', '.join(names)}). Choose at most that many."
        )
    if is_tensorflow():
        import tensorflow as tf

        # Without NCCL between parts of one processor.
        across = tf.distribute.ReductionToOneDevice() if "CPU" in names[0] else None
        how = tf.distribute.MirroredStrategy(names[:devices], cross_device_ops=across)
    else:
        how = keras.distribution.DataParallel(devices=names[:devices])
    _shared.update(by=devices, how=how)


def shared_by() -> int:
    """Tell how many devices share each batch inside `sharing`."""
    return _shared["by"]


@contextmanager
def sharing() -> Iterator[None]:
    """Give what is built, compiled and trained inside to the devices that `choose_device` chose."""
    if _shared["how"] is None:
        yield
        return
    with _shared["how"].scope():
        yield


def limit_threads(threads: int) -> None:
    """Limit TensorFlow to so many threads; must come before anything is computed. Nothing on other backends."""
    if is_tensorflow():
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
