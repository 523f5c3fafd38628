"""Slices become model inputs and pictures: bounded, undistorted, and judged on the head."""

import io

import numpy as np
import pytest
from PIL import Image

from core import images
from core.errors import InputError


def head(rows=200, columns=200, radius=60, air=0.0, seed=0):
    """A bright disc with texture in faint noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    inside = np.hypot(y - rows / 2, x - columns / 2) < radius
    return np.where(inside, 600 + 200 * np.sin(x / 7) + rng.normal(0, 10, inside.shape), air + rng.random(inside.shape))


def test_brightness_does_not_depend_on_how_much_air_there_is():
    tight, wide = head(130, 130), head(400, 400)
    medians = []
    for pixels in (tight, wide):
        image, _ = images.to_model_input(pixels, None, 128)
        medians.append(np.median(image[image > 0.2]))
    assert medians[0] == pytest.approx(medians[1], abs=0.03)


def test_hot_pixels_do_not_darken_a_slice():
    plain = head()
    hot = plain.copy()
    hot[::67, ::71] = 1e6
    assert images.intensity_range(hot)[1] == pytest.approx(images.intensity_range(plain)[1], rel=0.05)


@pytest.mark.parametrize("value", [0.0, -5.0, np.nan, np.inf])
def test_constant_and_unusable_slices_give_a_bounded_image(value):
    image, _ = images.to_model_input(np.full((20, 30), value), (1, 1), 32)
    assert image.shape == (32, 32) and image.dtype == np.float32
    assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1


def test_scale_and_offset_of_the_pixels_do_not_matter():
    pixels = head()
    image, _ = images.to_model_input(pixels, None, 64)
    again, _ = images.to_model_input(pixels * 37 - 5000, None, 64)
    np.testing.assert_allclose(image, again, atol=1e-3)


def test_pixels_that_are_not_square_are_made_so():
    y, x = np.mgrid[:100, :200]
    disc = (np.hypot((y - 50) * 2, x - 100) < 60).astype(float)  # rows 2 mm apart: a circle
    image, geometry = images.to_model_input(disc, (2.0, 1.0), 100)
    assert geometry.seen.width == pytest.approx(2 * geometry.seen.height, abs=1)
    assert geometry.filled == (0, 0, 100, 100)
    rows, columns = np.flatnonzero((image > 0.5).any(1)), np.flatnonzero((image > 0.5).any(0))
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=1)


def test_shrinking_averages_over_the_area():
    # A checkerboard of single pixels is even grey when each output pixel covers 16 of them.
    board = np.indices((256, 256)).sum(0) % 2 * 1.0
    image, _ = images.to_model_input(board, None, 64)
    np.testing.assert_allclose(image[4:-4, 4:-4], 0.5, atol=0.05)


@pytest.mark.parametrize("spacing", [(0, 1), (np.nan, 1), (-1, -1), (np.inf, 1), None])
def test_spacing_that_is_no_distance_is_taken_as_square(spacing):
    assert images.to_model_input(np.eye(20), spacing, 20)[1].filled.width == 20


@pytest.mark.parametrize("shape", [(1, 500), (500, 1), (3, 2), (1, 1)])
@pytest.mark.parametrize("spacing", [(1, 1), (1e-4, 1e4), (1e4, 1e-4)])
def test_slices_of_any_shape_have_a_box_of_pixels(shape, spacing):
    pixels = np.random.default_rng(0).random(shape)
    image, geometry = images.to_model_input(pixels, spacing, 16)
    assert np.isfinite(image).all() and geometry.seen.height >= 1 and geometry.seen.width >= 1
    assert images.from_model_grid(image, geometry).shape == shape


def test_what_is_no_slice_is_refused():
    for shape in ((3, 4, 5), (0, 4), (7,)):
        with pytest.raises(InputError, match="rows and columns"):
            images.to_model_input(np.zeros(shape))


def test_how_much_air_lies_around_a_head_does_not_matter():
    rng = np.random.default_rng(0)
    found = []
    for side, at in ((150, (75, 75)), (300, (150, 150)), (300, (80, 200))):
        y, x = np.mgrid[:side, :side] - np.array(at)[:, None, None]
        inside = np.hypot(y / 60, x / 45) < 1
        pixels = np.where(inside, 500 + 200 * np.sin(x / 9), 0) + rng.random((side, side))
        found.append(images.to_model_input(pixels, None, 96)[0])
    for image in found[1:]:
        assert np.abs(image - found[0]).mean() < 0.03


def test_printed_words_and_noise_do_not_widen_what_is_seen():
    rng = np.random.default_rng(0)
    plain = head(300, 300) + 30 * rng.random((300, 300))
    words = plain.copy()
    words[5:12:2, 5:40:3] = 900
    words[285:290, 250:285:4] = 900
    assert images.head_box(words.astype(np.float32)) == images.head_box(plain.astype(np.float32))


def test_the_last_slices_of_a_volume_stay_small():
    pixels = np.zeros((200, 200), np.float32)
    pixels[95:105, 95:105] = 1
    assert images.head_box(pixels) == (60, 60, 80, 80)


def test_a_box_stays_on_the_slice():
    pixels = np.zeros((120, 200), np.float32)
    pixels[:110, 150:] = 1
    top, left, height, width = images.head_box(pixels)
    assert (top, height) == (0, 119) and left + width <= 200 and width == 119
    assert images.head_box(pixels * 0) == (0, 0, 120, 200)


def test_a_map_finds_its_way_back():
    rows, columns = 90, 200
    y, x = np.mgrid[:rows, :columns]
    blob = np.exp(-((y - 20) ** 2 + (x - 150) ** 2) / 300)
    model, geometry = images.to_model_input(blob, (1.0, 1.0), 128)
    assert geometry.seen.left > 80 and geometry.seen.left + geometry.seen.width <= columns
    back = images.from_model_grid(model, geometry)
    assert back.shape == (rows, columns)
    assert back[:, :80].max() == 0
    peak = np.unravel_index(back.argmax(), back.shape)
    assert np.hypot(peak[0] - 20, peak[1] - 150) < 3


def test_the_window_maps_black_and_white():
    pixels = np.array([[0, 50, 100, 200]], float)
    np.testing.assert_array_equal(images.to_display(pixels, (50, 100)), [[0, 128, 255, 255]])
    centre, width = images.default_window(head())
    assert centre - width / 2 < 50 and 700 < centre + width / 2 < 900
    shown = images.to_display(np.array([[np.nan, 1.0], [2.0, 3.0]]))
    assert shown.dtype == np.uint8


def test_png_keeps_the_pixels():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(images.to_png(grey)))), grey)


@pytest.mark.parametrize(
    ("orientation", "letters"),
    [
        ([1, 0, 0, 0, 1, 0], "RLAP"),  # axial
        ([1, 0, 0, 0, 0, -1], "RLSI"),  # coronal
        ([0, 1, 0, 0, 0, -1], "APSI"),  # sagittal
        ([-1, 0, 0, 0, 1, 0], "LRAP"),  # axial, seen from above
        ([0.8, 0.6, 0, 0, 0, -1], ("RA", "LP", "S", "I")),
    ],
)
def test_letters_say_which_way_the_patient_lies(orientation, letters):
    got = images.orientation_letters(orientation)
    assert (got["left"], got["right"], got["top"], got["bottom"]) == tuple(letters)


def test_no_letters_without_an_orientation():
    for orientation in (None, [1, 0, 0], [np.nan] * 6):
        assert set(images.orientation_letters(orientation).values()) == {""}
