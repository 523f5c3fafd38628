"""Maps as files: what is in them, where it lies, and that none says who the patient is."""

import json
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from core.errors import InputError
from core.explanations.map_files import MapTile, contact_sheet, evenly, explanation_svg, numbers

DISPLAY = np.full((40, 20), 128, np.uint8)
HEAT = np.zeros((40, 20), np.float32)
HEAT[:20] = 1


def test_numbers_come_back_with_what_they_are_of():
    with np.load(BytesIO(numbers(HEAT, HEAT / 4, {"head": "plane", "class": "axial"}))) as stored:
        np.testing.assert_array_equal(stored["heat"], HEAT)
        np.testing.assert_array_equal(stored["spread"], HEAT / 4)
        about = json.loads(str(stored["about"]))
    assert about["class"] == "axial" and "Not for clinical use" in about["note"]


def test_svg_is_xml_with_three_pictures_in_their_proportions():
    root = ElementTree.fromstring(explanation_svg(DISPLAY, HEAT, "a <b> & c", "FLAIR 97 %", aspect=2.0))
    pictures = [node for node in root if node.tag.endswith("image")]
    assert len(pictures) == 3
    assert {(float(node.get("width")), float(node.get("height"))) for node in pictures} == {(384.0, 384.0)}
    words = [node.text for node in root if node.tag.endswith("text")]
    assert words[0] == "a <b> & c" and "Overlay" in words and any("clinical" in word for word in words)


def test_svg_refuses_a_map_of_another_grid():
    with pytest.raises(InputError, match="one grid"):
        explanation_svg(DISPLAY, HEAT[:-1], "x")


@pytest.mark.parametrize("n", [1, 2, 7, 28])
def test_contact_sheet_lays_maps_over_their_slices(n):
    tiles = [MapTile(DISPLAY, HEAT if at else None, f"{at}") for at in range(n)]
    sheet = np.asarray(Image.open(BytesIO(contact_sheet(tiles, "title", side=80))).convert("RGB")).astype(int)
    assert sheet.shape[1] / sheet.shape[0] > 1.2
    # The first tile has no map, so it is grey; the upper half of the others is yellow, the lower purple.
    first = sheet[78 + 10 : 78 + 70, 12 + 25 : 12 + 55]
    assert np.ptp(first, axis=-1).max() == 0
    if n > 1:
        second = sheet[78 : 78 + 80, 12 + 92 + 25 : 12 + 92 + 55]
        assert (second[10:30, :, 1] > second[10:30, :, 2]).all() and (second[50:70, :, 2] > second[50:70, :, 1]).all()


def test_contact_sheet_needs_a_tile():
    with pytest.raises(InputError, match="at least one"):
        contact_sheet([], "title")


@pytest.mark.parametrize("n", [0, 1, 5, 28, 29, 400])
def test_tiles_are_chosen_evenly(n):
    chosen = evenly(n)
    assert len(chosen) == min(n, 28) and chosen == sorted(set(chosen))
    if n:
        assert chosen[0] == 0 and chosen[-1] == n - 1 and max(np.diff(chosen), default=1) <= -(-n // 28) + 1
