"""The only place that speaks to TensorFlow directly; with another Keras backend each function does what Keras can."""

import keras

from core.errors import ConfigError


def is_tensorflow() -> bool:
    """Tell whether Keras runs on TensorFlow."""
    return keras.backend.backend() == "tensorflow"


def set_determinism(seed: int) -> None:
    """Seed Python, NumPy and Keras, and make TensorFlow's operations repeatable."""
    keras.utils.set_random_seed(seed)
    if is_tensorflow():
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def choose_device(device: str = "auto") -> str:
    """Choose what to train on; must come before anything is computed.

    Parameters
    ----------
    device : str
        ``auto`` (what TensorFlow finds), ``cpu`` or ``gpu:N``.

    Returns
    -------
    str
        Words for the log.

    Raises
    ------
    ConfigError
        For another word, for a GPU that is not there, and for any choice but ``auto`` on another backend.
    """
    kind, _, number = device.partition(":")
    if device not in ("auto", "cpu") and not (kind == "gpu" and number.isdigit()):
        raise ConfigError(f"device must be auto, cpu or gpu:N. Received: {device!r}. Set SLICESCOPE_DEVICE.")
    if not is_tensorflow():
        if device != "auto":
            raise ConfigError(f"On the {keras.backend.backend()} backend only device auto is known: set it there.")
        return keras.backend.backend()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if kind == "gpu" and int(number) >= len(gpus):
        raise ConfigError(f"{device} is not there ({len(gpus)} GPUs found). Set SLICESCOPE_DEVICE to auto or cpu.")
    chosen = [] if device == "cpu" else gpus[int(number) : int(number) + 1] if kind == "gpu" else gpus[:1]
    if gpus:
        tf.config.set_visible_devices(chosen, "GPU")
    for gpu in chosen:
        tf.config.experimental.set_memory_growth(gpu, True)
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


def limit_threads(threads: int) -> None:
    """Limit TensorFlow to so many threads; must come before anything is computed. Nothing on other backends."""
    if is_tensorflow():
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
