"""What is done to a slice each time it is seen in training, on the device that trains."""

import keras
import numpy as np
from keras import ops


class Distillation(keras.layers.Layer):
    """Hand answers on, and count how far they are from the mean answer of teachers (Hinton et al., arXiv:1503.02531).

    Parameters
    ----------
    weight : float
        Of this part of the loss.
    """

    def __init__(self, weight: float, **kwargs):
        super().__init__(**kwargs)
        self.weight = weight

    def call(self, inputs):
        """Take own answers and then each teacher's, [(n, classes), …], probabilities; give back the own ones."""
        own, *teachers = inputs
        wanted = ops.stop_gradient(sum(teachers) / len(teachers))
        self.add_loss(self.weight * ops.mean(ops.categorical_crossentropy(wanted, own)))
        return own


class Changes(keras.layers.Layer):
    """Change slices as scanners, exporters and heads do: place, tone, shading, sharpness, noise.

    Phantoms are rendered once and seen many times; this makes each time another. Everything keeps plane and sequence:
    tones are monotone, turns are small. At inference slices are only scaled.

    Parameters
    ----------
    strength : float
        1 as measured best; 0 only mirrors left to right, half the time.
    tones : float
        How much of that tones take part in: strong ones hide a dim scalp, which tells an echo-planar readout.
    seed : int, optional
    """

    def __init__(self, strength: float = 1.0, tones: float = 1.0, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.strength, self.tones = strength, tones
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        """Turn uint8 (n, size, size, 1) into float32 in [0, 1]."""
        x = ops.cast(inputs, "float32") / 255.0
        if not training:
            return x
        if self.strength:
            x = self._moved(x)
        x = ops.where(self._uniform(x, 0, 1) < 0.5, ops.flip(x, axis=2), x)
        if self.strength:
            x = self._sharpened(self._shaded(self._toned(x)))
            x = x + self._uniform(x, 0, 0.04 * self.strength) * self._normal(ops.shape(x), 1.0)
        return ops.clip(x, 0.0, 1.0)

    def compute_output_shape(self, input_shape):
        return input_shape

    def _uniform(self, x, low: float, high: float):
        return keras.random.uniform((ops.shape(x)[0], 1, 1, 1), low, high, seed=self.seed_generator)

    def _normal(self, shape, spread: float):
        return spread * keras.random.normal(shape, seed=self.seed_generator)

    def _moved(self, x):
        n, size, s = ops.shape(x)[0], x.shape[1], self.strength
        angle, shear = self._normal((n,), 0.1 * s), self._normal((n,), 0.04 * s)
        zoom = ops.exp(self._normal((n, 2), 0.05 * s) + self._normal((n, 1), 0.08 * s))
        a, b = ops.cos(angle) / zoom[:, 0], -ops.sin(angle) / zoom[:, 0] + shear
        c, d = ops.sin(angle) / zoom[:, 1], ops.cos(angle) / zoom[:, 1]
        away = self._normal((n, 2), 0.03 * s * size)
        middle, zero = (size - 1) / 2, ops.zeros((n,))
        # Around the middle of the picture rather than its corner.
        right = middle - a * middle - b * middle + away[:, 0]
        down = middle - c * middle - d * middle + away[:, 1]
        transform = ops.stack([a, b, right, c, d, down, zero, zero], axis=1)
        return ops.image.affine_transform(x, transform, interpolation="bilinear", fill_mode="constant")

    def _toned(self, x):
        s = self.strength * self.tones
        low, high = self._uniform(x, -0.05 * s, 0.05 * s), self._uniform(x, 1 - 0.2 * s, 1 + 0.2 * s)
        x = ops.clip((x - low) / (high - low), 0.0, 1.0)
        return (x + 1e-6) ** ops.exp(self._normal((ops.shape(x)[0], 1, 1, 1), 0.22 * s))

    def _shaded(self, x):
        n, size = ops.shape(x)[0], x.shape[1]
        ramp = np.linspace(-1, 1, size, dtype="float32")
        across, down = np.meshgrid(ramp, ramp)
        shapes = np.stack([across, down, across * down, across**2 - 1 / 3, down**2 - 1 / 3], axis=-1)
        bias = ops.tensordot(self._normal((n, shapes.shape[-1]), 0.12 * self.strength), shapes, axes=[[1], [2]])
        return x * ops.exp(bias)[..., None]

    def _sharpened(self, x):
        s = self.strength
        kernel = np.outer([1, 2, 1], [1, 2, 1]).astype("float32")[..., None, None] / 16
        smooth = ops.depthwise_conv(x, kernel, padding="same")
        return x + self._uniform(x, -0.8 * s, 1.2 * s) * (x - smooth)
