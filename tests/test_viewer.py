"""What the viewer is told of a stack, its pixels in pieces, links of two stacks, and windows."""

import json
import struct
import zlib

import numpy as np
import pandas as pd
import pytest

from core.cohorts.stack_links import StackPlace, link_stacks
from core.cohorts.window_presets import window_presets
from core.errors import UnreadableFile
from pages.shared.components import slice_viewer
from pages.shared.components.slice_viewer import PIECE_PIXELS, Piece, Place, Stack, one_slice, pack_piece
from pages.shared.stacks import order_words, piece_of, place_of, stack_of

AXIAL, CORONAL = "1\\0\\0\\0\\1\\0", "1\\0\\0\\0\\0\\-1"


def rows_of(n: int, **columns) -> pd.DataFrame:
    """Rows of a slice table, one a slice."""
    values = {
        "path": [f"{at}.dcm" for at in range(n)], "frame": 0, "Rows": 4, "Columns": 6, "pixel_spacing_row_mm": 1.0,
        "pixel_spacing_column_mm": 0.5, "orientation": AXIAL, "plane": "axial", "sequence": "T1", "tilt_deg": 0.0,
        "position_mm": np.arange(float(n)), "stack": 1, "stack_note": "", **columns,
    }  # fmt: skip
    return pd.DataFrame(values, index=[f"1.2.{at}:0" for at in range(n)])


def numbered(path: str, frame: int) -> np.ndarray:
    """Pixels that tell which slice they are of."""
    return np.full((4, 6), float(path.split(".")[0]), np.float32)


def unpacked(piece: Piece, shape: tuple[int, ...]) -> np.ndarray:
    planes = np.frombuffer(zlib.decompress(piece.packed), np.uint8).reshape(2, -1).astype(np.uint16)
    return piece.zero + piece.unit * (planes[0] + (planes[1] << 8)).reshape(shape).astype(float)


@pytest.mark.parametrize("low", [-32768.0, 0.0, 70000.0])
def test_whole_numbers_arrive_exactly(low):
    pixels = low + np.random.default_rng(0).integers(0, 65536, (3, 5, 7)).astype(float)
    np.testing.assert_array_equal(unpacked(pack_piece("a", 0, pixels), pixels.shape), pixels)


def test_other_numbers_arrive_to_a_small_part_of_their_span():
    pixels = np.random.default_rng(0).normal(0, 1e-3, (2, 5, 7))
    error = np.abs(unpacked(pack_piece("a", 0, pixels), pixels.shape) - pixels).max()
    assert 0 < error <= np.ptp(pixels) / 65535


def test_what_is_not_finite_does_not_spoil_a_piece():
    pixels = np.array([[[np.nan, np.inf, 5.0]]])
    assert unpacked(pack_piece("a", 0, pixels), (3,)).tolist() == [0, 0, 5]


def test_pieces_hold_every_slice_once_and_in_order():
    stack = Stack("a", (Place(512, 512),), (0,) * 200, (None,) * 200, {})
    assert stack.per_piece * 512 * 512 <= PIECE_PIXELS
    slices = [at for number in range(25) for at in stack.piece_range(number)]
    assert slices == list(range(200))
    assert not stack.piece_range(25) and not stack.piece_range(-1)


def test_stack_keeps_the_order_of_its_rows_and_names_each_slices_place():
    rows = rows_of(4, orientation=[AXIAL, AXIAL, CORONAL, AXIAL], position_mm=[3.0, np.nan, 1.0, 2.0])
    stack = stack_of(rows, numbered, "stamp")
    assert stack.positions_mm == (3.0, None, 1.0, 2.0)
    assert [stack.places[code].letters["top"] for code in stack.place_of] == ["A", "A", "S", "A"]
    pixels = unpacked(piece_of(stack, rows, 0, numbered), (4, 4, 6))
    assert pixels[:, 0, 0].tolist() == [0, 1, 2, 3]
    assert stack.id != stack_of(rows, numbered, "other stamp").id


def test_slices_of_other_sizes_are_padded_and_their_own_size_is_told():
    rows = rows_of(2, Rows=[4, 2], Columns=[6, 3])
    read = lambda path, frame: np.ones((4, 6) if path == "0.dcm" else (2, 3), np.float32)  # noqa: E731
    stack = stack_of(rows, read, "s")
    assert [(place.rows, place.columns) for place in stack.places] == [(4, 6), (2, 3)]
    assert unpacked(piece_of(stack, rows, 0, read), (2, 4, 6))[1].sum() == 6


def test_large_slices_are_thinned_with_their_spacing_and_say_so(monkeypatch):
    monkeypatch.setattr("pages.shared.stacks.STACK_SIDE", 3)
    stack = stack_of(rows_of(1), numbered, "s")
    (place,) = stack.places
    assert (place.rows, place.columns, place.spacing_mm) == (2, 3, (2.0, 1.0))
    assert "every 2nd pixel" in place.notes[-1]


def test_a_slice_that_cannot_be_read_leaves_the_others_and_has_its_reason():
    def read(path, frame):
        if path == "1.dcm":
            raise UnreadableFile("It is cut short.")
        return numbered(path, frame)

    rows = rows_of(3)
    piece = piece_of(stack_of(rows, read, "s"), rows, 0, read)
    assert piece.unread == {"1": "It is cut short."}
    assert unpacked(piece, (3, 4, 6))[:, 0, 0].tolist() == [0, 0, 2]


@pytest.mark.parametrize(
    ("orientation", "note"),
    [
        (AXIAL, None),
        ("-1\\0\\0\\0\\1\\0", "unusual: L is on the left"),
        ("1\\0\\0\\0\\0.8\\0.6", "oblique, tilted 37°"),
        ("1\\0\\0\\0\\0.9848\\0.1736", "tilted 10°"),
        (None, None),
    ],
)
def test_what_a_reader_must_not_overlook_is_noted(orientation, note):
    place = place_of(rows_of(1, orientation=orientation).iloc[0], (4, 6))
    assert list(place.notes) == ([note] if note else [])
    assert (place.letters["left"] == "") == (orientation is None)


def test_without_spacing_there_is_no_scale():
    assert place_of(rows_of(1, pixel_spacing_row_mm=np.nan).iloc[0], (4, 6)).spacing_mm is None


def test_order_is_told_as_it_is():
    assert "from the feet to the head" in order_words(rows_of(3))
    assert "InstanceNumber" in order_words(rows_of(3, position_mm=[0.0, np.nan, 1.0]))
    two = rows_of(4, position_mm=[0.0, 5, 0, 5], stack=[1, 1, 2, 2], stack_note=["TE 20", "TE 20", "TE 98", "TE 98"])
    assert order_words(two) == "Order: 2 stacks one after the other (TE 20; TE 98), each from the feet to the head."
    assert order_words(rows_of(2, stack_note="1 of 3 slices missing")).endswith(" 1 of 3 slices missing.")


FLAT, TILTED = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0.9962, 0.0872]


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (StackPlace([FLAT], True, "1.2"), "in mm"),
        (StackPlace([[-1, 0, 0, 0, 1, 0]], True, "1.2"), "in mm"),
        (StackPlace([TILTED], True, "1.2"), "the planes differ by 5°"),
        (StackPlace([FLAT], True, "1.3"), "different frames of reference"),
        (StackPlace([FLAT], True, None), "names no frame of reference"),
        (StackPlace([FLAT], False, "1.2"), "does not say where its slices lie"),
        (StackPlace([], True, "1.2"), "does not say where its slices lie"),
        (StackPlace([FLAT, TILTED], True, "1.2"), "not parallel"),
    ],
)
def test_stacks_are_linked_by_mm_only_where_mm_mean_the_same(other, why):
    link = link_stacks(StackPlace([FLAT], True, "1.2"), other)
    assert why in link.why
    assert (link.by == "mm") == (why == "in mm")


def test_presets_are_windows_of_the_slices_own_values():
    rng = np.random.default_rng(0)
    head = np.concatenate([np.zeros(4000), rng.normal(500, 60, 5000), np.full(200, 2000.0)]).reshape(92, 100)
    presets = window_presets([head])
    edges = {name: (centre - width / 2, centre + width / 2) for name, (centre, width) in presets.items()}
    assert edges["Whole head"][0] <= 1 and edges["Whole head"][1] >= 1990
    assert 300 < edges["Brain tissue"][0] < 500 < edges["Brain tissue"][1] < 700
    assert edges["Bright vessels"][0] > 500 and edges["Bright vessels"][1] >= 1990
    assert edges["Dark structures"][0] <= 1 and edges["Dark structures"][1] < 600
    tenfold = window_presets([10 * head])
    assert tenfold["Brain tissue"][1] == pytest.approx(10 * presets["Brain tissue"][1])


@pytest.mark.parametrize("pixels", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.array([[3.0]])])
def test_presets_of_a_flat_slice_have_a_width(pixels):
    assert all(width > 0 for _, width in window_presets([pixels]).values())


def test_message_holds_its_header_and_all_bytes(monkeypatch):
    sent = {}
    monkeypatch.setattr(slice_viewer, "_component", lambda **values: sent.update(values))
    stack, piece = one_slice(np.arange(6.0).reshape(2, 3), Place(2, 3), "title")
    slice_viewer.slice_viewer([stack], [piece], key="k", heat=b"heat", panels=[("image", "a"), ("heat", "b")])
    data = sent["data"]
    (length,) = struct.unpack_from("<I", data)
    header = json.loads(data[4 : 4 + length])
    assert data[4 + length :] == piece.packed + b"heat"
    assert header["sizes"] == [len(piece.packed), 4] and header["heat_sets"][0]["ready"] == [0]
    assert [panel["kind"] for panel in header["panels"]] == ["image", "heat"]
    assert header["stacks"][0]["rows"] == 2 and "Whole head" in header["stacks"][0]["presets"]


def test_message_holds_maps_of_several_questions(monkeypatch):
    sent = {}
    monkeypatch.setattr(slice_viewer, "_component", lambda **values: sent.update(values))
    stack, piece = one_slice(np.arange(6.0).reshape(2, 3), Place(2, 3))
    sets = [slice_viewer.HeatSet("a", [0], {"0": "T1"}), slice_viewer.HeatSet("b", failed={"0": "no"})]
    heats = [slice_viewer.Heat("a", 0, b"packed")]
    panels = [slice_viewer.Panel("overlay", "one", heat=1, offset=-1)]
    slice_viewer.slice_viewer([stack], [piece], key="k", heat_sets=sets, heats=heats, panels=panels, per_row=3)
    data = sent["data"]
    (length,) = struct.unpack_from("<I", data)
    header = json.loads(data[4 : 4 + length])
    assert data[4 + length :] == piece.packed + b"packed" and header["heats"] == [{"set_id": "a", "index": 0}]
    assert header["heat_sets"][0]["names"] == {"0": "T1"} and header["heat_sets"][1]["failed"] == {"0": "no"}
    (panel,) = header["panels"]
    assert (panel["heat"], panel["offset"], header["per_row"]) == (1, -1, 3)


def test_a_map_is_thinned_and_padded_as_its_slice_is():
    heat = np.linspace(0, 1, 16).reshape(4, 4)
    packed = np.frombuffer(zlib.decompress(slice_viewer.pack_heat(heat, (3, 5), 2)), np.uint8).reshape(3, 5)
    np.testing.assert_array_equal(packed[:2, :2], np.round(255 * heat[::2, ::2]))
    assert not packed[2].any() and not packed[:, 2:].any()
