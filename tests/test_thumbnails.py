"""Thumbnails are made once, kept whole, and made again only when a file has changed."""

import io
import json
import threading

import numpy as np
import pytest
from PIL import Image

from core import cohort, thumbnails
from core.sandbox import Sandbox


@pytest.fixture
def made(workspace, tmp_path, make_slice):
    """A cohort of one series of 40 slices, each with a bright line of its own on the left half, and one slice apart."""
    for n in range(40):
        pixels = np.zeros((16, 16), np.uint16)
        pixels[:, 8:] = 300  # grey from top to bottom, so that all of the slice is seen
        pixels[n % 16, :8] = 1000
        make_slice(tmp_path / "d" / f"{n:02}.dcm", pixels, ImagePositionPatient=[0, 0, n], InstanceNumber=n)
    make_slice(tmp_path / "d" / "wide.dcm", np.full((8, 16), 9, np.uint16), SeriesInstanceUID="1.2.9")
    return cohort.write(cohort.scan(tmp_path / "d", "c"))


@pytest.fixture
def asked(monkeypatch):
    """Paths that were asked of the sandbox."""
    paths, real = [], Sandbox.thumbnail

    def counting(sandbox, path, *args):
        paths.append(path.name)
        return real(sandbox, path, *args)

    monkeypatch.setattr(Sandbox, "thumbnail", counting)
    return paths


def test_rows_come_in_their_order_and_are_read_once(made, asked):
    rows = made.table.iloc[[20, 3, 40, 39, 3]]
    first = thumbnails.sprites(made, rows, size=32)
    assert (first.shape, first.dtype) == ((5, 32, 32), np.uint8)
    assert sorted(asked) == ["03.dcm", "20.dcm", "39.dcm", "wide.dcm"]
    # The bright line of slice n stands at row 2 n of 32, as far as 16 rows go.
    assert [int(first[i].sum(axis=1).argmax()) // 2 for i in (0, 1, 3)] == [4, 3, 7]
    np.testing.assert_array_equal(thumbnails.sprites(made, rows, size=32), first)
    assert len(asked) == 4


def test_sheets_hold_whole_series_and_grow(made, asked):
    thumbnails.sprites(made, made.table.iloc[:2], size=24)
    (sheet,) = made.folder.joinpath("thumbnails").rglob("*.png")
    assert Image.open(sheet).size == (8 * 24, 24)
    everything = thumbnails.sprites(made, made.table, size=24)
    assert len(asked) == len(set(asked)) == 41
    sheets = sorted(Image.open(path).size for path in made.folder.joinpath("thumbnails").rglob("*.png"))
    assert sheets == [(192, 24), (192, 24), (192, 96)]
    assert not [path for path in made.folder.rglob("*") if path.name.endswith(".tmp")]
    np.testing.assert_array_equal(thumbnails.sprites(made, made.table, size=24), everything)


def test_sizes_do_not_mix(made, asked):
    row = made.table.iloc[:1]
    assert [thumbnails.sprites(made, row, size=size).shape[1] for size in (24, 48, 24)] == [24, 48, 24]
    assert len(asked) == 2


def test_changed_file_is_read_again_and_its_old_picture_goes(made, asked, make_slice):
    thumbnails.sprites(made, made.table.iloc[:3], size=24)
    changed = np.zeros((16, 16), np.uint16)
    changed[15] = 5
    uid = made.table["SOPInstanceUID"].iloc[0]
    make_slice(made.root / "00.dcm", changed, ImagePositionPatient=[0, 0, 0], SOPInstanceUID=uid)
    again = cohort.scan(made.root, "c", previous=made)
    picture = thumbnails.sprites(again, again.table.iloc[:1], size=24)[0]
    assert picture[-2].sum() > picture[:12].sum()
    assert asked[3:] == ["00.dcm"]
    (sheet,) = made.folder.joinpath("thumbnails").rglob("*.png")
    assert Image.open(sheet).text["index"].count(uid) == 1


def test_pictures_made_in_another_way_are_made_anew(made, asked, monkeypatch):
    rows = made.table.iloc[:3]
    thumbnails.sprites(made, rows, size=24)
    monkeypatch.setattr(thumbnails, "thumbnail_recipe", lambda: "another")
    thumbnails.sprites(made, rows, size=24)
    assert len(asked) == 6
    (sheet,) = made.folder.joinpath("thumbnails").rglob("*.png")
    assert Image.open(sheet).size == (8 * 24, 24) and len(json.loads(Image.open(sheet).text["index"])) == 3


def test_file_that_is_gone_gives_a_cross_until_it_is_back(made, asked):
    path = made.root / "05.dcm"
    data = path.read_bytes()
    path.unlink()
    rows = made.table.iloc[[5, 6]]
    pictures = thumbnails.sprites(made, rows, size=24)
    np.testing.assert_array_equal(pictures[0], thumbnails.unreadable(24))
    assert pictures[1].max() > 200
    path.write_bytes(data)
    assert thumbnails.sprites(made, rows, size=24)[0].max() > 200
    assert asked == ["05.dcm", "06.dcm", "05.dcm"]


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"x" * 99])
def test_damaged_sheet_is_made_anew(made, asked, damage):
    rows = made.table.iloc[:3]
    whole = thumbnails.sprites(made, rows, size=24)
    (sheet,) = made.folder.joinpath("thumbnails").rglob("*.png")
    sheet.write_bytes(damage(sheet.read_bytes()))
    np.testing.assert_array_equal(thumbnails.sprites(made, rows, size=24), whole)
    assert len(asked) == 6


def test_sheet_without_its_index_is_made_anew(made, asked):
    rows = made.table.iloc[:3]
    thumbnails.sprites(made, rows, size=24)
    (sheet,) = made.folder.joinpath("thumbnails").rglob("*.png")
    bare = io.BytesIO()
    Image.open(sheet).save(bare, "PNG")
    sheet.write_bytes(bare.getvalue())
    thumbnails.sprites(made, rows, size=24)
    assert len(asked) == 6


def test_threads_that_ask_for_one_sheet_lose_nothing(made, asked):
    parts = [made.table.iloc[n : n + 4] for n in range(0, 32, 4)]
    threads = [threading.Thread(target=thumbnails.sprites, args=(made, part, 24)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 32
    thumbnails.sprites(made, made.table.iloc[:32], size=24)
    assert len(asked) == 32


def test_sheets_name_no_patient(made):
    thumbnails.sprites(made, made.table, size=24)
    for path in made.folder.joinpath("thumbnails").rglob("*.png"):
        told = f"{path.name} {Image.open(path).text}".lower()
        assert "48151623" not in told
        assert "lovelace" not in told


def test_no_rows_are_no_pictures(made):
    assert thumbnails.sprites(made, made.table.iloc[:0], size=24).shape == (0, 24, 24)
