"""Head coordinates: one frame whichever way a slice lies, and a mask that no print enters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.explanations.head_frame import BOX, GRID, head_mask, share_outside, to_frame, upright

#: Each plane as scanners mostly store it, and as the frame has it.
USUAL = {"axial": (1, 0, 0, 0, 1, 0), "coronal": (1, 0, 0, 0, 0, -1), "sagittal": (0, 1, 0, 0, 0, -1)}


def a_head(rows: int = 96, columns: int = 80, noise: float = 0.02) -> np.ndarray:
    """Scalp, dark skull, brain with a dark hole, a bright spot in the upper left, and noisy air."""
    y, x = np.mgrid[:rows, :columns]
    from_middle = np.hypot((y - 0.52 * rows) / (0.42 * rows), (x - 0.5 * columns) / (0.36 * columns))
    slice_ = np.select([from_middle < 0.8, from_middle < 0.88, from_middle < 1], [0.5, 0.05, 0.9], 0.0)
    slice_[np.hypot(y - 0.5 * rows, x - 0.5 * columns) < 0.06 * rows] = 0.02
    slice_[np.hypot(y - 0.3 * rows, x - 0.38 * columns) < 0.05 * rows] = 1.0
    rng = np.random.default_rng(0)
    return np.hypot(slice_ + noise * rng.normal(size=slice_.shape), noise * rng.normal(size=slice_.shape))


def the_truth(rows: int = 96, columns: int = 80) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return np.hypot((y - 0.52 * rows) / (0.42 * rows), (x - 0.5 * columns) / (0.36 * columns)) < 1


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("shape", [(96, 80), (256, 256), (61, 97)])
@pytest.mark.parametrize("unit", [1.0, 2000.0])
def test_the_mask_is_the_head_with_its_dark_parts(shape, unit):
    mask = head_mask(unit * a_head(*shape) - 0.1 * unit)
    assert overlap(mask, the_truth(*shape)) > 0.9
    assert mask[round(0.5 * shape[0]), round(0.5 * shape[1])], "a dark ventricle is in the head"


@pytest.mark.parametrize("corner", [(2, 2), (2, 66), (84, 2), (84, 66)])
def test_text_outside_does_not_enter_the_mask(corner):
    printed = a_head()
    top, left = corner
    printed[top : top + 10, left : left + 3] = 1.5
    printed[top : top + 2, left : left + 10] = 1.5
    mask = head_mask(printed)
    assert not mask[top : top + 10, left : left + 3].any()
    assert overlap(mask, head_mask(a_head())) > 0.98


def test_values_that_are_not_finite_are_air():
    broken = a_head()
    broken[:6] = np.nan
    broken[-3:] = np.inf
    mask = head_mask(broken)
    assert overlap(mask, the_truth()) > 0.88
    assert not mask[:4].any()


@pytest.mark.parametrize("slice_", [np.zeros((16, 16)), np.full((5, 9), 7.0), np.full((8, 8), np.nan)])
def test_a_slice_in_which_nothing_can_be_told_apart_is_all_head(slice_):
    assert head_mask(slice_).all()


def test_what_is_no_slice_is_refused():
    with pytest.raises(InputError, match="rows and columns"):
        head_mask(np.zeros((2, 3, 4)))
    with pytest.raises(InputError, match="one of axial"):
        upright(np.zeros((2, 2)), "oblique", None)
    with pytest.raises(InputError, match="one grid"):
        to_frame(np.zeros((4, 4)), np.zeros((4, 4), bool), "axial")


@settings(max_examples=40, deadline=None)
@given(
    plane=st.sampled_from(sorted(USUAL)),
    turned=st.booleans(),
    mirrored=st.booleans(),
    upside_down=st.booleans(),
    tilt=st.floats(-0.3, 0.3),
)
def test_every_orientation_leads_to_the_same_frame(plane, turned, mirrored, upside_down, tilt):
    head, orientation = a_head(noise=0), np.array(USUAL[plane], float).reshape(2, 3)
    expected = to_frame(head, head_mask(head), plane, USUAL[plane])
    # What lies along the third axis must not matter.
    stored, (along, down) = head, orientation + tilt * np.cross(*orientation)
    if turned:
        stored, along, down = stored.T, down, along
    if mirrored:
        stored, along = stored[:, ::-1], -along
    if upside_down:
        stored, down = stored[::-1], -down
    framed = to_frame(stored, head_mask(stored), plane, (*along, *down))
    np.testing.assert_allclose(framed, expected, atol=0.05, equal_nan=True)


def test_the_head_fills_its_part_of_the_frame_wherever_it_lay():
    small = np.zeros((96, 96))
    small[8:56, 40:80] = 1
    framed = to_frame(small, small > 0, "sagittal", USUAL["sagittal"])
    rows, columns = (np.flatnonzero((np.nan_to_num(framed) > 0.5).any(axis=axis)) for axis in (1, 0))
    assert framed.shape == (GRID, GRID)
    assert (rows[0], rows[-1] - rows[0] + 1) == ((GRID - BOX["sagittal"][0]) // 2, BOX["sagittal"][0])
    assert (columns[0], columns[-1] - columns[0] + 1) == ((GRID - BOX["sagittal"][1]) // 2, BOX["sagittal"][1])


def test_beyond_the_slice_there_is_nothing():
    tight = np.ones((40, 40))
    framed = to_frame(tight, tight > 0, "axial")
    top, left = ((GRID - size) // 2 for size in BOX["axial"])
    assert np.isnan(framed[: top - 1]).all()
    assert np.isnan(framed[:, : left - 1]).all()
    assert np.isfinite(framed[top + 1 : GRID - top - 1, left + 1 : GRID - left - 1]).all()


def test_the_share_outside_counts_heat_and_not_pixels():
    heat, mask = np.zeros((4, 4)), np.zeros((4, 4), bool)
    mask[0] = True
    heat[0, 0], heat[3, 3] = 3, 1
    assert share_outside(heat, mask) == 0.25
    assert np.isnan(share_outside(np.zeros((4, 4)), mask))
