"""A view cut in two at a layer: up to it computed once, from it on differentiated, both compiled.

tf-keras-vis builds a model and calls its layers one by one for each map, which costs more than the arithmetic. It is
given a small model instead: its input is the layer's output, its output is the score that is asked about, and both the
score and its gradient come from one compiled function.
"""

import math
import weakref
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from core.backend_tensorflow import score_and_gradient
from core.explanations.cells import Centres, centres

#: Slices that go through a network at once, as more gain no time on processors; and how many values its largest map may
#: hold of all of them: near the image, layers of ResNet50 hold twenty times as many as ours.
_AT_ONCE, _VALUES_AT_ONCE = 32, 2**22

CELLS = "cells"


class Aimed(keras.layers.Layer):
    """Rows to the score of what each is aimed at; explainers read it as a model's only output."""

    def __init__(self, model: keras.Model):
        super().__init__(name="score", trainable=False)
        self._both = score_and_gradient(model)
        self._classes = model.outputs[0].shape[-1]
        self._weights = None

    def aim(self, weights: np.ndarray) -> None:
        """Set how each output counts in the score of each row, (n, classes)."""
        self._weights = ops.convert_to_tensor(weights, "float32")

    def call(self, inputs):
        # The tape that an explainer holds over this must not look into it.
        value, gradient = self._both(ops.stop_gradient(inputs), self._weights)

        @ops.custom_gradient
        def score(rows):
            def backward(given):
                return ops.reshape(given, (-1,) + (1,) * (len(rows.shape) - 1)) * gradient

            return value[:, None], backward

        return score(inputs)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((inputs.shape[0], 1), "float32")


@dataclass(frozen=True)
class Cut:
    """A view in two parts.

    Attributes
    ----------
    trunk : keras.Model or None
        From the image to the layer; None for a cut at the image itself.
    tail : keras.Model
        From the layer, an input called `CELLS`, to the score (n, 1) of what `aimed` is aimed at.
    aimed : Aimed
        The tail's only layer.
    where : (Centres, Centres)
        What the layer's cells look at.
    """

    trunk: keras.Model | None
    tail: keras.Model
    aimed: Aimed
    where: tuple[Centres, Centres]

    def cells(self, images: np.ndarray) -> np.ndarray:
        """Return the layer's output for images (n, S, S), shape (n, rows, columns, channels)."""
        if self.trunk is None:
            return images[..., None]
        if images.strides[0] == 0:
            # One slice, repeated for passes that differ only behind the layer.
            return np.broadcast_to(self.trunk.predict_on_batch(images[:1, ..., None]), (len(images), *self._shape))
        return self.trunk.predict_on_batch(images[..., None])

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(self.trunk.outputs[0].shape[1:])


#: What was cut before, by view and layer; it goes with its view.
_cuts: "weakref.WeakKeyDictionary[keras.Model, dict[str | None, Cut]]" = weakref.WeakKeyDictionary()


def cut(view: keras.Model, layer: str | None = None) -> Cut:
    """Cut a view at a layer, or at its image without one; the same cut the next time.

    Parameters
    ----------
    view : keras.Model
        Flat, from ``image`` to one score a class; it must not keep what is only used on other ways to the score.
    layer : str, optional

    Raises
    ------
    ValueError
        When some way from the image to the score does not lead through the layer.
    """
    known = _cuts.setdefault(view, {})
    if layer not in known:
        known[layer] = _made(view, layer)
    return known[layer]


def _made(view: keras.Model, layer: str | None) -> Cut:
    if layer is None:
        trunk, start, where = None, view.inputs[0], (Centres(1, 0), Centres(1, 0))
    else:
        start = view.get_layer(layer).output
        trunk, where = keras.Model(view.inputs[0], start), centres(view, layer)
    # A model of its own: what is kept must not keep its key.
    aimed = Aimed(keras.Model(start, view.outputs[0]))
    cells = keras.Input(start.shape[1:], name=CELLS)
    return Cut(trunk, keras.Model(cells, aimed(cells)), aimed, where)


def chunks(view: keras.Model, n: int) -> list[slice]:
    """Divide n images into parts whose way through the view memory holds."""
    maps = [layer.output.shape[1:] for layer in view.layers if len(getattr(layer.output, "shape", ())) == 4]
    size = min(_AT_ONCE, max(1, _VALUES_AT_ONCE // max(math.prod(shape) for shape in maps)))
    return [slice(start, start + size) for start in range(0, n, size)]
