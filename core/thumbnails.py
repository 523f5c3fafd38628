"""Thumbnails of slices, made once and kept as sprite sheets: one PNG for up to 32 neighbours of a series.

::

    <cohort folder>/thumbnails/<size>[-whole]/<series digest>-<block>.png

A sheet says in a text chunk of its own which slice stands where, so that picture and index are one file
that is replaced whole. It grows as slices are asked for: whoever looks at the middle slices of a hundred
series waits for a hundred slices, not for a hundred series.
"""

import hashlib
import json
import math
import threading
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from core.cohorts.slice_table import Cohort, replaced, slice_key
from core.errors import CohortError, UnreadableFile
from core.sandbox import get_sandbox, thumbnail_recipe

_BLOCK = 32
_COLUMNS = 8
#: Two threads that add to one sheet would each drop what the other added.
_lock = threading.Lock()


def sprites(cohort: Cohort, rows: pd.DataFrame, size: int = 96, whole: bool = False) -> np.ndarray:
    """Give the thumbnails of slices; what is missing is read in the sandbox and kept.

    Parameters
    ----------
    cohort : Cohort
        Tells where the files and the sheets lie.
    rows : DataFrame
        Rows of its slice table, n of them, in any order.
    size : int
        Side in pixels.
    whole : bool
        All of each slice instead of its head.

    Returns
    -------
    ndarray of uint8, shape (n, size, size)
        What models see of the slices: the square around the head in its true proportions, black beyond the slice. A
        file that cannot be read any more gives `unreadable`, which is not kept.
    """
    answer = np.zeros((len(rows), size, size), np.uint8)
    if rows.empty:
        return answer
    blocks = (rows["image_number"].to_numpy() - 1) // _BLOCK
    series = rows["SeriesInstanceUID"].to_numpy()
    records = rows.to_dict("records")
    folder = cohort.folder / "thumbnails" / (f"{size}-whole" if whole else str(size))
    for uid, block in dict.fromkeys(zip(series, blocks, strict=True)):
        digest = hashlib.sha256(str(uid).encode()).hexdigest()[:24]
        wanted = np.flatnonzero((series == uid) & (blocks == block))
        path = folder / f"{digest}-{block:03d}.png"
        answer[wanted] = _from_sheet(path, cohort, [records[i] for i in wanted], size, whole)
    return answer


def pictures(cohort: Cohort, rows: pd.DataFrame, size: int = 96, whole: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Give thumbnails for what is computed from them and kept, where `unreadable` must not pass for a picture.

    Parameters
    ----------
    cohort, rows, size, whole
        As `sprites`.

    Returns
    -------
    pictures : ndarray of uint8, shape (n, size, size)
    readable : ndarray of bool, shape (n,)
        False for files that are there and hold no picture that can be read.

    Raises
    ------
    CohortError
        When a file is gone: it may come back, so nothing should be kept about it.
    """
    found = sprites(cohort, rows, size, whole)
    readable = (found != unreadable(size)).any(axis=(1, 2))
    for record in rows[~readable].to_dict("records"):
        if not (cohort.root / record["path"]).is_file():
            raise CohortError(f"{record['shown_path']} was indexed but is not there now. Index the folder again.")
    return found, readable


def unreadable(size: int) -> np.ndarray:
    """Draw what stands for a slice that cannot be read: a dim cross, uint8 (size, size)."""
    place = np.arange(size)
    distance = np.minimum(np.abs(place[:, None] - place), np.abs(place[:, None] + place - size + 1))
    return np.where(distance <= size // 48, 70, 24).astype(np.uint8)


def _from_sheet(path: Path, cohort: Cohort, records: list[dict], size: int, whole: bool) -> list[np.ndarray]:
    keys = [_key(record) for record in records]
    tiles = _load(path, size)
    if any(key not in tiles for key in keys):
        with _lock:
            tiles = _load(path, size)  # another thread may have added them meanwhile
            missing = {key: record for key, record in zip(keys, records, strict=True) if key not in tiles}
            read = {key: _read(cohort, record, size, whole) for key, record in missing.items()}
            fresh = {key: tile for key, tile in read.items() if tile is not None}
            if fresh:
                # The slice of a changed file, or one that was made in another way, has a new key; its old picture goes.
                names = {_name(key) for key in fresh}
                tiles = {key: tile for key, tile in tiles.items() if _name(key) not in names} | fresh
                _save(path, tiles, size)
    return [tiles[key] if key in tiles else unreadable(size) for key in keys]


def _key(record: dict) -> str:
    return f"{slice_key(record)}@{record['file_mtime_ns']}+{record['file_size']}+{thumbnail_recipe()}"


def _name(key: str) -> str:
    return key.rpartition("@")[0]


def _read(cohort: Cohort, record: dict, size: int, whole: bool) -> np.ndarray | None:
    spacing = (record["pixel_spacing_row_mm"], record["pixel_spacing_column_mm"])
    try:
        return get_sandbox().thumbnail(cohort.root / record["path"], record["frame"], size, spacing, whole)
    except UnreadableFile:
        return None


def _load(path: Path, size: int) -> dict[str, np.ndarray]:
    """Cut a sheet into its tiles; one that is not there or that is damaged holds none."""
    try:
        with Image.open(path) as image:
            keys = json.loads(image.text["index"])
            sheet = np.asarray(image)
    except (FileNotFoundError, UnidentifiedImageError, SyntaxError, KeyError, ValueError, OSError):
        return {}
    rows = math.ceil(len(keys) / _COLUMNS)
    if sheet.shape != (rows * size, _COLUMNS * size):
        return {}
    tiles = sheet.reshape(rows, size, _COLUMNS, size).swapaxes(1, 2).reshape(-1, size, size)
    return dict(zip(keys, tiles, strict=False))


def _save(path: Path, tiles: dict[str, np.ndarray], size: int) -> None:
    rows = math.ceil(len(tiles) / _COLUMNS)
    cells = np.zeros((rows * _COLUMNS, size, size), np.uint8)
    cells[: len(tiles)] = list(tiles.values())
    sheet = cells.reshape(rows, _COLUMNS, size, size).swapaxes(1, 2).reshape(rows * size, _COLUMNS * size)
    index = PngImagePlugin.PngInfo()
    index.add_text("index", json.dumps(list(tiles)), zip=True)
    with replaced(path) as fresh:
        Image.fromarray(sheet).save(fresh, "PNG", pnginfo=index, compress_level=3)
