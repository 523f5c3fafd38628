"""Class activation maps: channels of a layer, weighted by what they do for the class score."""

import keras
import numpy as np
from scipy.special import softmax
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.layercam import Layercam

from core.explanations.cells import Centres, centres, enlarged
from core.explanations.cuts import CELLS, chunks, cut
from core.explanations.scaling import quiet, scaled
from core.explanations.scores import aims

#: Channels that Score-CAM tries: those that vary most over the slice. Each costs a pass, and ResNet50 has 2,048.
SCORE_CAM_CHANNELS = 256


def grad_cam(view: keras.Model, images, class_index, layer: str, against=None, random_state: int = 0) -> np.ndarray:
    """Channels of a layer, weighted by the mean gradient of the class score (Selvaraju et al., ICCV 2017)."""
    return _gradient_cam(Gradcam, view, images, aims(view.output_shape[-1], class_index, against), layer)


def grad_cam_plus_plus(
    view: keras.Model, images, class_index, layer: str, against=None, random_state: int = 0
) -> np.ndarray:
    """Like Grad-CAM, with weights that let several places count (Chattopadhay et al., WACV 2018)."""
    return _gradient_cam(
        GradcamPlusPlus, view, images, aims(view.output_shape[-1], class_index, against), layer, _anchored
    )


def layer_cam(view: keras.Model, images, class_index, layer: str, against=None, random_state: int = 0) -> np.ndarray:
    """Channels weighted at each place by its own gradient; sharp in early layers too (Jiang et al., TIP 2021)."""
    return _gradient_cam(Layercam, view, images, aims(view.output_shape[-1], class_index, against), layer)


def score_cam(view: keras.Model, images, class_index, layer: str, against=None, random_state: int = 0) -> np.ndarray:
    """Channels weighted by the class's probability when they mask the image (Wang et al., CVPRW 2020).

    No gradient, but a forward pass a channel. Against a second class, the difference of the two probabilities. A view
    with one score alone, likeness to a partner, has no probability: its channels are weighted by a softmax of that
    score over channels, as in the paper. Not by tf-keras-vis, whose masks are stretched over the image and so lie up to
    half a cell off, and which holds all masked copies at once.
    """
    heat = np.zeros(images.shape, np.float32)
    halves, where = keras.Model(view.inputs[0], view.get_layer(layer).output), centres(view, layer)
    for image, weights, place in zip(images, aims(view.output_shape[-1], class_index, against), heat, strict=True):
        (cells,) = halves(image[None, ..., None], training=False).numpy()
        cells = np.moveaxis(cells, -1, 0)
        chosen = np.argsort(-cells.std(axis=(1, 2)), kind="stable")[:SCORE_CAM_CHANNELS]
        place[...] = _by_masks(view, image, weights, cells[chosen], where)
    return scaled(heat)


def _by_masks(view: keras.Model, image, weights, cells, where: tuple[Centres, Centres]) -> np.ndarray:
    low, high = (edge(cells, axis=(1, 2), keepdims=True) for edge in (np.min, np.max))
    masks = (cells - low) / (high - low + keras.config.epsilon())
    says = []
    for some in chunks(view, len(cells)):
        masked = enlarged(masks[some], where, len(image)) * image
        says.append(view.predict_on_batch(masked[..., None]))
    says = np.concatenate(says)
    counts = softmax(says, axis=-1 if says.shape[-1] > 1 else 0) @ weights
    return enlarged(np.maximum(np.tensordot(counts, cells, 1), 0), where, len(image))


def _gradient_cam(method: type, view: keras.Model, images, weights, layer: str, score=None) -> np.ndarray:
    heat = np.empty(images.shape, np.float32)
    for some in chunks(view, len(images)):
        try:
            halves = cut(view, layer)
        except ValueError:
            cells, where = _uncut(method, view, images[some], weights[some], layer, score), centres(view, layer)
        else:
            halves.aimed.aim(weights[some])
            cells = _asked(method, halves.tail, halves.cells(images[some]), CELLS, score or _as_it_is)
            where = halves.where
        heat[some] = enlarged(cells, where, images.shape[1])
    return scaled(heat)


def _uncut(method: type, view: keras.Model, images, weights, layer: str, score) -> np.ndarray:
    """Make maps at a layer beside which other ways lead to the score, a block's branch for example: slower."""

    def aimed(outputs):
        total = keras.ops.sum(outputs * weights, axis=-1, keepdims=True)
        return (score or _as_it_is)(total)

    return _asked(method, view, images[..., None], layer, aimed)


def _asked(method: type, model: keras.Model, inputs, layer: str, score) -> np.ndarray:
    with quiet():
        heat = method(model)(
            score, inputs, penultimate_layer=layer, seek_penultimate_conv_layer=False, expand_cam=False,
            normalize_cam=False,
        )  # fmt: skip
    return np.asarray(heat)


def _as_it_is(outputs):
    return outputs[:, 0]


def _anchored(outputs):
    """Return a score that is 0 wherever it is taken, with the class score's gradient.

    Grad-CAM++ multiplies by the exponential of the score, which overflows for a logit of 90. The factor is the
    same at every pixel, so that the map does not change when it is one.
    """
    return outputs[:, 0] - keras.ops.stop_gradient(outputs[:, 0])
