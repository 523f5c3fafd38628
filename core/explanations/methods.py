"""Maps of what speaks for a class, through tf-keras-vis; one function a method, one signature for all.

Each takes a view (`core.explanations.scores`), images (n, S, S) in [0, 1], a class a row (n,) and the name of a
layer, and gives maps (n, S, S): float32, not negative, 1 at each map's maximum, all 0 where nothing speaks for
the class. Maps say what a model used, not what is true.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout

import keras
import numpy as np
from scipy import ndimage
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.layercam import Layercam
from tf_keras_vis.saliency import Saliency
from tf_keras_vis.scorecam import Scorecam
from tf_keras_vis.utils.scores import CategoricalScore

from core.errors import InputError
from core.explanations.scores import anchored, map_layers

Method = Callable[[keras.Model, np.ndarray, np.ndarray, str], np.ndarray]


def grad_cam(view: keras.Model, images: np.ndarray, class_index: np.ndarray, layer: str) -> np.ndarray:
    """Channels of a layer, weighted by the mean gradient of the class score (Selvaraju et al., ICCV 2017)."""
    return _cam(Gradcam, view, images, class_index, layer)


def grad_cam_plus_plus(view: keras.Model, images: np.ndarray, class_index: np.ndarray, layer: str) -> np.ndarray:
    """Like Grad-CAM, with weights that let several places count (Chattopadhay et al., WACV 2018)."""
    return _cam(GradcamPlusPlus, view, images, class_index, layer, anchored(class_index))


def layer_cam(view: keras.Model, images: np.ndarray, class_index: np.ndarray, layer: str) -> np.ndarray:
    """Channels weighted at each place by its own gradient; sharp in early layers too (Jiang et al., TIP 2021)."""
    return _cam(Layercam, view, images, class_index, layer)


def score_cam(view: keras.Model, images: np.ndarray, class_index: np.ndarray, layer: str) -> np.ndarray:
    """Channels weighted by the class's probability when they mask the image (Wang et al., CVPRW 2020).

    No gradient, but a forward pass a channel: ten times slower than the others.
    """
    # One image at a time: it holds channels × images masked copies at once.
    parts = [_cam(Scorecam, view, images[[i]], class_index[[i]], layer) for i in range(len(images))]
    return np.concatenate(parts) if parts else np.empty(images.shape, np.float32)


def saliency(view: keras.Model, images: np.ndarray, class_index: np.ndarray, layer: str) -> np.ndarray:
    """Size of the class score's gradient at each pixel (Simonyan et al., 2013); `layer` is not used."""
    with _quiet():
        heat = Saliency(view)(_score(class_index), images[..., None], normalize_map=False)
    return _scaled(np.asarray(heat))


#: Every method by the name that pages, links and the command line use.
METHODS: dict[str, Method] = {
    method.__name__: method for method in (grad_cam, grad_cam_plus_plus, layer_cam, score_cam, saliency)
}


def check(view: keras.Model, images: np.ndarray, layer: str) -> None:
    """Refuse what no map can be made of.

    Raises
    ------
    InputError
        For images that are not finite, and for a layer that the view does not have, or one without a map.
    """
    if not np.isfinite(images).all():
        raise InputError("The picture holds values that are not finite (NaN or infinity), so it cannot be explained.")
    found = next((one for one in view.layers if one.name == layer), None)
    if found is None or len(getattr(found.output, "shape", ())) != 4:
        known = ", ".join(map_layers(view)) or "no layer with a map: it has no convolution"
        raise InputError(f"No map can be made at layer {layer!r}. This model has {known}.")


def _cam(method: type, view: keras.Model, images, class_index, layer: str, score=None) -> np.ndarray:
    if not len(images):
        return np.empty(images.shape, np.float32)
    with _quiet():
        heat = method(view)(
            score or _score(class_index),
            images[..., None],
            penultimate_layer=layer,
            seek_penultimate_conv_layer=False,
            expand_cam=False,
            normalize_cam=False,
        )
    return _scaled(_enlarged(np.asarray(heat), images.shape))


def _score(class_index: np.ndarray) -> CategoricalScore:
    return CategoricalScore([int(index) for index in class_index])


def _enlarged(heat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Resample linearly so that a cell covers its own pixels.

    tf-keras-vis would put the outer cells' centres on the outer pixels, which moves a map of 8 × 8 cells by up to
    half a cell.
    """
    factors = [wanted / given for wanted, given in zip(shape, heat.shape, strict=True)]
    return ndimage.zoom(heat, factors, order=1, mode="nearest", grid_mode=True)


def _scaled(heat: np.ndarray) -> np.ndarray:
    heat = np.maximum(heat, 0).astype(np.float32)
    peak = heat.max(axis=(1, 2), keepdims=True)
    return np.divide(heat, peak, out=np.zeros_like(heat), where=peak > 0)


@contextmanager
def _quiet() -> Iterator[None]:
    """Swallow Score-CAM's progress bar, and Keras' remark that tf-keras-vis passes inputs as a list."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.filterwarnings("ignore", message="The structure of `inputs`")
        yield
