"""Maps of the class score's gradient at each pixel of the slice; none is made at a layer."""

import weakref

import keras
import numpy as np
from keras import layers, ops
from tf_keras_vis.saliency import Saliency

from core.explanations.cuts import chunks, cut
from core.explanations.scaling import quiet, scaled
from core.explanations.scores import aims

#: Noisy copies of a slice for SmoothGrad, and the noise's standard deviation as a share of the slice's range.
COPIES, NOISE = 25, 0.15

_GUIDED_ACTIVATIONS = ("relu", "relu6", "silu", "swish", "gelu", "elu", "leaky_relu")


def saliency(view: keras.Model, images, class_index, layer: str = "", against=None, random_state: int = 0):
    """Size of the class score's gradient at each pixel (Simonyan et al., 2013)."""
    return scaled(_gradient(view, images, aims(view.output_shape[-1], class_index, against)))


def smooth_grad(view: keras.Model, images, class_index, layer: str = "", against=None, random_state: int = 0):
    """Mean size of the gradient over noisy copies of the slice (Smilkov et al., 2017).

    Each slice gets the same noise, in units of its own range, so that its map does not depend on its neighbours in a
    batch.
    """
    noise = np.random.default_rng(random_state).standard_normal((COPIES, *images.shape[1:]), np.float32)
    heat = np.zeros(images.shape, np.float32)
    for image, weights, place in zip(images, aims(view.output_shape[-1], class_index, against), heat, strict=True):
        noisy = image + NOISE * np.ptp(image) * noise
        place[...] = _gradient(view, noisy, np.broadcast_to(weights, (COPIES, len(weights)))).mean(axis=0)
    return scaled(heat)


def guided_gradients(view: keras.Model, images, class_index, layer: str = "", against=None, random_state: int = 0):
    """Gradient of which each activation lets through only what is positive (Springenberg et al., 2014).

    A sharp picture of the image's edges that hardly depends on the class or on the model's weights (Adebayo et al.,
    "Sanity checks for saliency maps", 2018; Nie et al., "A theoretical explanation for perplexing behaviors of
    backpropagation-based visualizations", 2018): kept because it is well known, not because it explains.
    """
    if view not in _guided:
        _guided[view] = _with_guided_activations(view)
    return scaled(_gradient(_guided[view], images, aims(view.output_shape[-1], class_index, against)))


def _gradient(view: keras.Model, images, weights) -> np.ndarray:
    heat = np.empty(images.shape, np.float32)
    whole = cut(view)
    for some in chunks(view, len(images)):
        whole.aimed.aim(weights[some])
        with quiet():
            heat[some] = Saliency(whole.tail)(
                lambda outputs: outputs[:, 0], whole.cells(images[some]), normalize_map=False
            )
    return heat


# Guided backpropagation: tf-keras-vis' own reaches no `ReLU` layer ----------------------------------------

#: Views with guided activations, by the view that they were made of; they share its other layers.
_guided: "weakref.WeakKeyDictionary[keras.Model, keras.Model]" = weakref.WeakKeyDictionary()


def _with_guided_activations(view: keras.Model) -> keras.Model:
    renewed = {}

    def guided(layer):
        if isinstance(layer, layers.ReLU):
            return layers.Activation(_guide(layer.call), name=layer.name)
        activation = getattr(layer, "activation", None)
        if getattr(activation, "__name__", "") not in _GUIDED_ACTIVATIONS:
            return layer
        renewed[layer] = type(layer).from_config({**layer.get_config(), "activation": _guide(activation)})
        return renewed[layer]

    made = keras.models.clone_model(view, clone_function=guided)
    for old, new in renewed.items():
        new.set_weights(old.get_weights())
    return made


def _guide(activation):
    @ops.custom_gradient
    def guided(x):
        def backward(given):
            return ops.relu(given) * ops.cast(x > 0, given.dtype)

        return activation(x), backward

    # A layer compares and names what it is given.
    return lambda x: guided(x)
