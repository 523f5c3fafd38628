"""Resampling and noise: as SciPy and theory say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from core.learning import warp


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(2, 40), degrees=st.floats(-180, 180), zoom=st.floats(0.5, 2), seed=st.integers(0, 99),
    shift=st.tuples(st.floats(-50, 50), st.floats(-50, 50)), mode=st.sampled_from(["constant", "nearest"]),
)  # fmt: skip
def test_resampling_is_scipys(size, degrees, zoom, seed, shift, mode):
    image = np.random.default_rng(seed).random((size, size), dtype=np.float32)
    angle = np.deg2rad(degrees)
    matrix = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    theirs = ndimage.affine_transform(
        image, matrix, shift, order=1, mode={"constant": "grid-constant", "nearest": "nearest"}[mode]
    )
    np.testing.assert_allclose(warp.affine(image, matrix, np.array(shift), mode), theirs, atol=2e-4)


def test_noise_is_normal_and_differs_from_draw_to_draw():
    rng = np.random.default_rng(0)
    first, second = warp.noise(96, rng), warp.noise(96, rng)
    assert stats.kstest(first.ravel(), "norm").pvalue > 0.001
    assert first.std() == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
    np.testing.assert_array_equal(first, warp.noise(96, np.random.default_rng(0)))
