"""Backbones: image in, one map and one pooled vector of features out, preprocessing inside.

Everything is built flat (``input_tensor=``), because explainers cannot see into nested models.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
from keras import layers

from core import bundle, inference
from core.backend_tensorflow import half_precision
from core.config import BACKBONES, WEIGHT_FILES, RunConfig
from core.errors import BundleError, ConfigError, WeightsUnavailable
from core.images import MODEL_SIZE
from core.models.parts import FEATURES, encoder_of
from core.settings import WEIGHTS_DIR

#: Filters and residual blocks of each stage after the stem; each stage halves the map, so 192 pixels end in 6 × 6.
_STAGES = ((48, 1), (96, 2), (256, 1))


def backbone_of(config: RunConfig) -> keras.Model:
    """Build the backbone that a run asks for; with mixed precision it, and nothing after it, computes in half."""
    with _policy(half_precision() if config.mixed_precision else None):
        return build_backbone(config.backbone, config.weights, config.image_size)


@contextmanager
def _policy(name: str | None) -> Iterator[None]:
    before = keras.config.dtype_policy()
    if name:
        keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def build_backbone(name: str, weights: str = "none", size: int = MODEL_SIZE) -> keras.Model:
    """Build a backbone and fill in its weights.

    Parameters
    ----------
    name : {"slicescope", "ResNet50", "MobileNetV2", "EfficientNetV2B0"}
    weights : {"slicescope", "imagenet", "none"} or path
        See `RunConfig`.
    size : int
        Side of the input in pixels, at least 32.

    Returns
    -------
    keras.Model
        From ``image`` (size, size, 1) in [0, 1] to ``features`` (d,), the global average of the last map; d is
        256 for slicescope, 2048 for ResNet50, 1280 for the others.

    Raises
    ------
    ConfigError
        For an unknown name, and for weights of another architecture.
    WeightsUnavailable
        When weights could not be downloaded or read; the message names the offline choices.
    """
    if name not in BACKBONES:
        raise ConfigError(f"backbone must be one of {', '.join(BACKBONES)}. Received: {name!r}.")
    image = keras.Input((size, size, 1), name="image")
    last_map = _slicescope(image) if name == "slicescope" else _application(name, weights, image)
    # In single precision, as are the grey levels at the other end, whatever the rest is computed in: a half has
    # eight bits for a value, and heads and stores of features need more.
    features = layers.GlobalAveragePooling2D(name=FEATURES, dtype="float32")(last_map)
    backbone = keras.Model(image, features, name="backbone")
    if weights == "slicescope":
        if name != "slicescope":
            raise ConfigError(f"The slicescope weights fit the slicescope backbone only. Received: {name}.")
        _copy(shipped_model(), backbone, "the shipped weights")
    elif weights not in ("none", "imagenet"):
        _fill_from_file(backbone, Path(weights))
    elif weights == "imagenet" and name == "slicescope":
        raise ConfigError("There are no imagenet weights for the backbone slicescope: choose slicescope or none.")
    return backbone


def _slicescope(image):
    # Contrast shows in grey values, plane in shape: a few thin layers at high resolution, most weight at low.
    x = layers.Rescaling(2.0, -1.0, dtype="float32", name="slicescope_scale")(image)
    # Each 4 × 4 pixels become one place of 16 channels, and the stem looks at 12 × 12 pixels in steps of 4: a
    # convolution of that size over pixels would be the same, and training would take half as long again.
    x = layers.Conv2D(16, 4, 4, padding="same", use_bias=False, name="slicescope_patches_conv")(x)
    x = _conv(x, 16, 3, 1, "slicescope_stem")
    for stage, (filters, blocks) in enumerate(_STAGES, 1):
        x = _conv(x, filters, 3, 2, f"slicescope_{stage}_down")
        for block in range(1, blocks + 1):
            x = _residual(x, filters, f"slicescope_{stage}_{block}")
    return x


def _residual(x, filters: int, name: str):
    inner = min(filters, 64)
    # A bottleneck where there are many channels keeps the network under a million parameters.
    y = _conv(x, inner, 1, 1, f"{name}_in") if inner < filters else x
    y = _conv(y, inner, 3, 1, f"{name}_a")
    y = _conv(y, filters, 3, 1, f"{name}_b", activate=False)
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([x, y]))


def _conv(x, filters: int, width: int, stride: int, name: str, activate: bool = True):
    x = layers.Conv2D(filters, width, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    # 0.9 rather than 0.99: statistics must settle within the few hundred steps of a small cohort.
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if activate else x


def _application(name: str, weights: str, image):
    rgb = layers.Concatenate(dtype="float32", name="grey_to_rgb")([image, image, image])
    if name == "ResNet50":
        # What `resnet.preprocess_input` does ("caffe"); with three equal channels RGB and BGR are the same.
        x = layers.Rescaling(255.0, [-103.939, -116.779, -123.68], dtype="float32", name="preprocess")(rgb)
        more = {}
    elif name == "MobileNetV2":
        x = layers.Rescaling(2.0, -1.0, dtype="float32", name="preprocess")(rgb)
        more = {}
    else:
        x = layers.Rescaling(255.0, dtype="float32", name="preprocess")(rgb)
        more = {"include_preprocessing": True}
    start = "imagenet" if weights == "imagenet" else None
    try:
        model = getattr(keras.applications, name)(include_top=False, weights=start, input_tensor=x, **more)
    except Exception as error:
        # `keras.utils.get_file` raises a bare Exception for every failed download.
        if start is None:
            raise
        raise WeightsUnavailable(
            f"The ImageNet weights of {name} could not be downloaded ({str(error)[:200]}). Offline choices: the "
            "slicescope backbone with its shipped weights, weights none, or the path of a local .keras or .weights.h5."
        ) from error
    return model.output


def shipped_model() -> keras.Model:
    """Give the shipped model, for its weights; loaded once by a process.

    Raises
    ------
    WeightsUnavailable
        When it is gone or was changed; the message names the offline choices.
    """
    try:
        return inference.loaded_model(*inference.model_key(WEIGHTS_DIR, bundle.read_card(WEIGHTS_DIR)))
    except BundleError as error:
        raise WeightsUnavailable(
            f"The shipped weights cannot be used: {error} Offline choices: weights none, or the path of a local "
            ".keras or .weights.h5."
        ) from error


def _fill_from_file(backbone: keras.Model, path: Path) -> None:
    if not path.name.endswith(WEIGHT_FILES):
        raise ConfigError(f"A weights file must end in .keras or .weights.h5. Received: {path.name}.")
    if not path.is_file():
        raise WeightsUnavailable(f"There is no weights file {path.name}. Give the path of a .keras or .weights.h5.")
    try:
        if path.name.endswith(".keras"):
            source = keras.saving.load_model(path, compile=False, safe_mode=True)
        else:
            return backbone.load_weights(path)
    except (ValueError, OSError, TypeError, KeyError) as error:
        raise WeightsUnavailable(
            f"The weights file {path.name} does not fit the backbone or is damaged: {str(error)[:300]}"
        ) from error
    return _copy(source, backbone, path.name)


def _copy(source: keras.Model, target: keras.Model, where: str) -> None:
    named = {layer.name: layer for layer in encoder_of(source).layers}
    for layer in target.layers:
        if not layer.weights:
            continue
        given = named[layer.name].get_weights() if layer.name in named else []
        wanted = [tuple(w.shape) for w in layer.weights]
        if [w.shape for w in given] != wanted:
            raise WeightsUnavailable(
                f"In {where} the layer {layer.name} has shapes {[w.shape for w in given]}, expected {wanted}: it holds "
                "another architecture. Choose the backbone it was made with."
            )
        layer.set_weights(given)
