"""Features of slices and of their changed views, from the store where they are known; and a model's answers from them.

A backbone that is not trained gives the same features each time, so they are computed once for all runs, their
evaluation and their Monte-Carlo passes.
"""

import hashlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from core import batches
from core.learning import feature_store, warp

if TYPE_CHECKING:
    import keras

_BATCH = 64
#: The view that shows an image in the mirror, for models that look at both.
MIRRORED = "mirrored"


def view_features(
    backbone: "keras.Model",
    images: np.ndarray,
    view: int | str = 0,
    report: Callable[[int, int], None] | None = None,
    augmentation: str = "scanner",
) -> np.ndarray:
    """Return features of a view of each image, from the store where they are known.

    Parameters
    ----------
    backbone : keras.Model
        See `core.models.parts.features_model`; what it computes and its weights are part of the key.
    images : ndarray
        (n, size, size) as `core.batches.as_floats` takes it.
    view : int or "mirrored"
        0 is the image itself, higher numbers are changed; see `core.batches.augmented_view`.
    report : callable, optional
        Called with (done, total).
    augmentation : {"scanner", "original"}
        How views after 0 are made.

    Returns
    -------
    ndarray of float32, shape (n, d)

    Raises
    ------
    StorageFull
        When the disk has no room to keep them.
    """
    if not len(images):
        return np.empty((0, backbone.output_shape[-1]), np.float32)
    # View 0 is no augmentation's: a change of how views are made must not be answered from the store.
    suffix = f"-{view}-{augmentation}-{_recipe()}" if view not in (0, MIRRORED) else f"-{view}"
    keys = [key + suffix for key in batches.content_keys(images)]

    def compute(positions: np.ndarray) -> np.ndarray:
        part = batches.as_floats(images[positions])
        seen = part[:, :, ::-1] if view == MIRRORED else batches.augmented_view(part, view, augmentation)
        return _forward(backbone, seen)

    return feature_store.shared(f"features-{_digest(backbone)}", keys, compute, report)


def _forward(backbone: "keras.Model", images: np.ndarray) -> np.ndarray:
    """Send images through in batches of one size: another size would be compiled anew."""
    from core.backend_tensorflow import shared_by
    from core.learning.sharing import predict

    if shared_by() > 1:
        return predict(backbone, images[..., None])
    size = min(_BATCH, len(images))
    parts = []
    for start in range(0, len(images), size):
        part = images[start : start + size]
        padded = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        parts.append(np.asarray(backbone.predict_on_batch(padded[..., None]), np.float32)[: len(part)])
    return np.concatenate(parts)


def _digest(backbone: "keras.Model") -> str:
    """Name what a backbone computes: its layers, whatever a file calls them, and its weights."""
    digest = hashlib.sha256()
    for layer in backbone.layers:
        config = {name: value for name, value in layer.get_config().items() if name not in _NOT_COMPUTED}
        digest.update(f"{type(layer).__name__}{sorted(config.items(), key=str)}".encode())
        for weight in layer.get_weights():
            digest.update(np.ascontiguousarray(weight))
    return digest.hexdigest()[:24]


#: Of a layer's configuration, what does not change its output.
_NOT_COMPUTED = ("name", "trainable", "build_config")


def _recipe() -> str:
    """Name the code that changes views."""
    source = "".join(inspect.getsource(part) for part in (warp, batches.augment, *batches.CHANGES.values()))
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def forward(model: "keras.Model", images: np.ndarray, mirrored: bool = False) -> tuple[list[np.ndarray], np.ndarray]:
    """Answer for images as `core.inference.forward` does, with features from the store.

    Parameters
    ----------
    model : keras.Model
        A classifier, or a Siamese model's encoder.
    images : ndarray
        (n, size, size) as `core.batches.as_floats` takes it.
    mirrored : bool
        Whether each output is the mean over the image and its mirror image; see `core.inference.mirrored_mean`.

    Returns
    -------
    outputs : list of ndarray of float32, shape (n, ...)
        The model's.
    features : ndarray of float32, shape (n, d)
    """
    from core.models.mc_dropout import head_model
    from core.models.parts import features_model

    backbone, head = features_model(model), head_model(model)
    outputs, features = [], []
    for view in (0, MIRRORED) if mirrored else (0,):
        found = view_features(backbone, images, view)
        answers = head.predict(found, batch_size=4096, verbose=0)
        outputs.append(answers if isinstance(answers, list) else [answers])
        features.append(found)
    return [np.mean(parts, axis=0) for parts in zip(*outputs, strict=True)], np.mean(features, axis=0)
