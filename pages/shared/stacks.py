"""Rows of the slice table → stacks for the viewer: how slices lie, in which order, and what must be flagged."""

import hashlib
from collections.abc import Callable

import numpy as np
import pandas as pd

from core import images
from core.cohorts.slice_table import orientation_numbers
from core.cohorts.stack_links import StackPlace
from core.cohorts.window_presets import window_presets
from core.errors import UnreadableFile
from core.labels import OBLIQUE_DEG, plane_from_header
from pages.shared.components.slice_viewer import NO_LETTERS, Piece, Place, Stack, pack_piece

#: Pixels along a side; larger slices are thinned by whole steps, never resampled, and the reader is told.
STACK_SIDE = 1024
#: Slices that presets are made of, spread over the stack.
_SAMPLES = 3
#: Which way positions count, as `core.cohorts.cohort_scan` turns the normal.
_AXES = {"axial": ("I", "S"), "coronal": ("A", "P"), "sagittal": ("R", "L")}
#: What radiologists expect at the left edge; another side is flagged, never mirrored away.
_USUAL_LEFT = {"axial": "R", "coronal": "R", "sagittal": "A"}

ReadPixels = Callable[[str, int], np.ndarray]


def orientation_of(row: pd.Series) -> list[float] | None:
    """Return the six numbers of *ImageOrientationPatient*; None where the header does not tell."""
    return orientation_numbers(row["orientation"])


def letters_of(row: pd.Series) -> dict[str, str]:
    """Return the patient's sides at the slice's edges; empty where the header does not tell."""
    orientation = orientation_of(row)
    return images.orientation_letters(orientation) if orientation else dict(NO_LETTERS)


def spacing_of(row: pd.Series) -> tuple[float, float] | None:
    """Return the distances between rows and between columns in mm; None where the header does not tell."""
    down, across = row["pixel_spacing_row_mm"], row["pixel_spacing_column_mm"]
    known = pd.notna(down) and pd.notna(across) and down > 0 and across > 0
    return (float(down), float(across)) if known else None


def aspect_of(row: pd.Series) -> float:
    """Return a pixel's width over its height; 1 where the header does not tell."""
    spacing = spacing_of(row)
    return spacing[1] / spacing[0] if spacing else 1.0


def place_of(row: pd.Series, shape: tuple[int, int], step: int = 1) -> Place:
    """Return how a slice lies, with what a reader must not overlook.

    Parameters
    ----------
    row : Series
        With ``orientation`` and the pixel spacing, as in a slice table.
    shape : (int, int)
        Rows and columns of the file.
    step : int
        Every how manyeth pixel is sent.
    """
    letters, spacing, orientation = letters_of(row), spacing_of(row), orientation_of(row)
    rows, columns = shape
    decision, tilt = plane_from_header({"ImageOrientationPatient": orientation or []})
    plane = decision.value
    notes = []
    if tilt >= 1:
        notes.append(f"oblique, tilted {tilt:.0f}°" if tilt > OBLIQUE_DEG else f"tilted {tilt:.0f}°")
    if plane and (usual := _USUAL_LEFT[plane]) and not letters["left"].startswith(usual):
        notes.append(f"unusual: {letters['left']} is on the left")
    if step > 1:
        notes.append(f"thinned: every {step}{'nd' if step == 2 else 'rd' if step == 3 else 'th'} pixel shown")
    return Place(
        rows=-(-rows // step),
        columns=-(-columns // step),
        spacing_mm=(spacing[0] * step, spacing[1] * step) if spacing else None,
        letters=letters,
        axis=_AXES.get(plane, ("", "")),
        notes=tuple(notes),
        step=step,
    )


def stack_of(rows: pd.DataFrame, read: ReadPixels, stamp: str) -> Stack:
    """Return the stack of a series.

    Parameters
    ----------
    rows : DataFrame
        In the order in which they are shown.
    read : callable
        Gives the pixels of a path (relative, as in the table) and frame.
    stamp : str
        Stands for the content of the files; part of the id.
    """
    kinds = rows[["Rows", "Columns", "pixel_spacing_row_mm", "pixel_spacing_column_mm", "orientation"]]
    codes, _ = pd.factorize(pd.MultiIndex.from_frame(kinds.astype("str")))
    firsts = rows.iloc[[int(np.flatnonzero(codes == code)[0]) for code in range(codes.max() + 1)]]
    shapes = [(int(tall), int(wide)) for tall, wide in zip(firsts["Rows"], firsts["Columns"], strict=True)]
    # One step for all, so that sizes keep their proportions.
    step = max(1, -(-max(max(shape) for shape in shapes) // STACK_SIDE))
    made = hashlib.sha256("\n".join([stamp, *rows.index.astype("str")]).encode()).hexdigest()[:16]
    at = {round(share * (len(rows) - 1)) for share in np.linspace(0.25, 0.75, _SAMPLES)}
    samples = [pixels for pixels, _ in (_read(rows.iloc[number], read) for number in sorted(at)) if pixels is not None]
    return Stack(
        id=made,
        places=tuple(place_of(row, shape, step) for (_, row), shape in zip(firsts.iterrows(), shapes, strict=True)),
        place_of=tuple(int(code) for code in codes),
        positions_mm=tuple(None if pd.isna(mm) else round(float(mm), 2) for mm in rows["position_mm"]),
        presets=window_presets(samples or [np.zeros((1, 1))]),
    )


def piece_of(stack: Stack, rows: pd.DataFrame, number: int, read: ReadPixels) -> Piece:
    """Read and pack one piece of a stack; a slice that cannot be read is left empty, with its reason.

    Parameters
    ----------
    stack : Stack
    rows : DataFrame
        That `stack_of` made it of.
    number : int
        From 0.
    read : callable
        As for `stack_of`.
    """
    part = stack.piece_range(number)
    pixels, unread = np.zeros((len(part), stack.rows, stack.columns), np.float32), {}
    for offset, at in enumerate(part):
        plane, reason = _read(rows.iloc[at], read)
        if plane is None:
            unread[str(offset)] = reason
            continue
        place = stack.places[stack.place_of[at]]
        thin = plane[:: place.step, :: place.step][: place.rows, : place.columns]
        pixels[offset, : thin.shape[0], : thin.shape[1]] = thin
    return pack_piece(stack.id, number, pixels, unread)


def _read(row: pd.Series, read: ReadPixels) -> tuple[np.ndarray | None, str]:
    try:
        return read(row["path"], int(row["frame"])), ""
    except UnreadableFile as error:
        return None, str(error)


def order_words(rows: pd.DataFrame) -> str:
    """Say in which order the slices of a series are shown."""
    planes = rows["plane"].dropna().unique()
    if rows["position_mm"].isna().any() or len(planes) != 1:
        return "Order: by plane and position where they are known, else by InstanceNumber."
    _, end = _AXES[planes[0]]
    towards = {"S": "from the feet to the head", "P": "from the front to the back", "L": "from right to left"}[end]
    notes = rows.loc[rows["stack_note"] != "", ["stack", "stack_note"]].drop_duplicates("stack")["stack_note"]
    if rows["stack"].nunique() > 1:
        shown = "; ".join(notes.head(6)) + ("; …" if len(notes) > 6 else "")
        return f"Order: {rows['stack'].nunique()} stacks one after the other ({shown}), each {towards}."
    return f"Order: by position along the normal, {towards}." + "".join(f" {note}." for note in notes)


def where_it_lies(rows: pd.DataFrame, frame_of_reference: str | None) -> StackPlace:
    """Return what decides how this series can be linked to another."""
    texts = rows["orientation"].dropna().unique()
    orientations = [orientation_numbers(text) for text in texts if text]
    return StackPlace(orientations, bool(rows["position_mm"].notna().all()), frame_of_reference)
