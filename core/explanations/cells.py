"""Where the cells of a layer lie in the image, and maps resampled from there to the image's own pixels.

A strided convolution that pads one side more than the other moves what its cells look at: with three strides of two
over patches of four pixels, `same` padding and 192 pixels, the middle of a cell's field lies 14 pixels further down and
right than the middle of the 32 pixels that the cell seems to cover; of ResNet50, 15.5 pixels further up and left. A
merely stretched map is off by as much.
"""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers


@dataclass(frozen=True)
class Centres:
    """Middles of the receptive fields along one axis: cell i looks at pixel ``start + i * stride``."""

    stride: float
    start: float

    def after(self, stride: float, start: float) -> "Centres":
        """Return the middles of cells that are ``start + i * stride`` cells of these."""
        return Centres(self.stride * stride, self.start + self.stride * start)


def centres(view: keras.Model, layer: str) -> tuple[Centres, Centres]:
    """Find what the cells of a layer look at.

    Parameters
    ----------
    view : keras.Model
        Flat, from an image (rows, columns, channels).
    layer : str
        One with an output (rows, columns, channels).

    Returns
    -------
    rows, columns : Centres
        In pixels of the image. Exact for convolutions, pooling, padding and cropping; where another layer changes the
        number of cells, they are taken to share the room evenly.
    """
    known = {id(tensor): (Centres(1, 0), Centres(1, 0)) for tensor in view.inputs}
    for one in view.operations:
        (node, *_) = one._inbound_nodes
        for output in node.output_tensors:
            given = [tensor for tensor in node.input_tensors if id(tensor) in known and _is_map(tensor)]
            if _is_map(output) and given:
                # Where a map is multiplied by one of a single cell, the finer one says where things are.
                finest = max(given, key=lambda tensor: tensor.shape[1])
                known[id(output)] = tuple(
                    before.after(*_step(one, axis, finest.shape[1 + axis], output.shape[1 + axis]))
                    for axis, before in enumerate(known[id(finest)])
                )
    return known[id(view.get_layer(layer).output)]


def _is_map(tensor) -> bool:
    return len(tensor.shape) == 4


def _step(layer, axis: int, given: int, made: int) -> tuple[float, float]:
    """Say at which of its input's cells a layer's output cells look: stride and start."""
    if isinstance(layer, layers.ZeroPadding2D):
        return 1, -layer.padding[axis][0]
    if isinstance(layer, layers.Cropping2D):
        return 1, layer.cropping[axis][0]
    window = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if window is None or isinstance(layer, layers.Conv2DTranspose):
        return given / made, (given / made - 1) / 2
    stride = layer.strides[axis]
    width = 1 + (window[axis] - 1) * getattr(layer, "dilation_rate", (1, 1))[axis]
    added = max((made - 1) * stride + width - given, 0) if layer.padding == "same" else 0
    return stride, (width - 1) / 2 - added // 2


def enlarged(heat: np.ndarray, where: tuple[Centres, Centres], side: int) -> np.ndarray:
    """Resample maps linearly to the image's pixels; beyond the outermost middles the outer cells go on.

    Parameters
    ----------
    heat : ndarray, shape (..., rows, columns)
        A value a cell.
    where : (Centres, Centres)
        From `centres`.
    side : int
        Of the image in pixels.

    Returns
    -------
    ndarray of float32, shape (..., side, side)

    Examples
    --------
    >>> enlarged(np.array([[0.0, 1.0]]), (Centres(1, 0), Centres(2, 1)), 4)[0].tolist()
    [0.0, 0.0, 0.5, 1.0]
    """
    rows, columns = (_weights(one, count, side) for one, count in zip(where, heat.shape[-2:], strict=True))
    return rows @ heat.astype(np.float32) @ columns.T


def _weights(where: Centres, cells: int, side: int) -> np.ndarray:
    at = np.clip((np.arange(side) - where.start) / where.stride, 0, cells - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells))).astype(np.float32)
