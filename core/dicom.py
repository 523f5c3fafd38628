"""DICOM files to headers and pixels, a slice at a time.

Classic files hold one slice, enhanced ones a frame per slice, Siemens mosaics a tile per slice; all come out the same:
one header and one array a slice.
"""

import functools
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, get_decoder, pixel_array
from pydicom.uid import UID

from core.errors import UnreadableFile
from core.settings import get_settings

Header = dict[str, Any]

#: Private attributes that say what a public one leaves out: (group, element) and the name they go by here.
_PRIVATE = {
    (0x0019, 0x100C): "SiemensBValue",
    (0x0043, 0x1039): "GEBValue",
    (0x0019, 0x109C): "GEPulseSequence",
    (0x2001, 0x1003): "PhilipsBValue",
    (0x2001, 0x1020): "PhilipsPulseSequence",
}
_SIEMENS_MOSAIC_COUNT = (0x0019, 0x100A)
_SIEMENS_CSA_IMAGE = (0x0029, 0x1010)
_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_GEOMETRY = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing")
#: Words of the functional groups that go by another name in a classic header.
_CLASSIC_NAMES = {"EffectiveEchoTime": "EchoTime", "InversionTimes": "InversionTime"}
_BITS = {"PixelData": "BitsAllocated", "FloatPixelData": 32, "DoubleFloatPixelData": 64}


def read_headers(path: Path) -> list[Header]:
    """Read the header of every slice in a file, and check that its pixels are there.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of dict
        One a slice: DICOM keywords with plain values (several joined by a backslash; *ImageOrientationPatient*,
        *ImagePositionPatient* and *PixelSpacing* as lists of float, mm), the private attributes that labels need,
        ``kind`` ("dicom") and ``frame`` (from 0).

    Raises
    ------
    UnreadableFile
        With one sentence that names the reason.
    """
    dataset = _read(path)
    _check_pixels(dataset, path)
    shared = _plain(dataset)
    tiles = _mosaic_tiles(dataset)
    if tiles > 1:
        return list(_mosaic_headers(shared, tiles))
    frames = int(dataset.get("NumberOfFrames") or 1)
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if "SharedFunctionalGroupsSequence" in dataset and dataset.SharedFunctionalGroupsSequence:
        shared.update(_functional(dataset.SharedFunctionalGroupsSequence[0]))
    return [
        {**shared, **(_functional(per_frame[i]) if i < len(per_frame) else {}), "kind": "dicom", "frame": i}
        for i in range(frames)
    ]


def read_pixels(path: Path, frame: int = 0) -> np.ndarray:
    """Decode one slice.

    Parameters
    ----------
    path : Path
    frame : int
        As in `read_headers`.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        After rescaling; MONOCHROME1 is inverted, colour becomes luminance, a mosaic's tile is cut out.

    Raises
    ------
    UnreadableFile
    """
    # Frames of one file are asked for one after the other; parsing it each time would cost the square of them.
    stat = path.stat()
    dataset = _read_and_check(path, stat.st_mtime_ns, stat.st_size)
    tiles = _mosaic_tiles(dataset)
    frames = 1 if tiles > 1 else int(dataset.get("NumberOfFrames") or 1)
    if not 0 <= frame < max(tiles, frames):
        raise UnreadableFile(f"It has {max(tiles, frames)} slices; slice {frame} was asked for.")
    try:
        pixels = pixel_array(dataset, index=0 if tiles > 1 else frame)
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        # The decoders behind pydicom raise whatever they like for a damaged stream.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreadableFile(f"Its pixels cannot be decoded ({reason[:160]}).") from error
    if pixels.ndim == 3 and pixels.shape[-1] in (3, 4):
        pixels = pixels[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
    if pixels.ndim != 2:
        raise UnreadableFile(f"Its pixels have the shape {pixels.shape}; a slice has rows and columns.")
    pixels = _rescaled(pixels, dataset, frame)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        pixels = pixels.max() + pixels.min() - pixels
    if tiles > 1:
        per_row = math.isqrt(tiles - 1) + 1
        height, width = pixels.shape[0] // per_row, pixels.shape[1] // per_row
        row, column = divmod(frame, per_row)
        pixels = pixels[row * height : (row + 1) * height, column * width : (column + 1) * width]
    return np.ascontiguousarray(pixels, np.float32)


@functools.lru_cache(2)
def _read_and_check(path: Path, mtime_ns: int, size: int) -> pydicom.Dataset:
    dataset = _read(path)
    _check_pixels(dataset, path)
    return dataset


def _read(path: Path) -> pydicom.Dataset:
    try:
        with path.open("rb") as file:
            start = file.read(132)
        if not start:
            raise UnreadableFile("The file is empty.")
        if start[128:] != b"DICM" and start[:2] not in (b"\x08\x00", b"\x02\x00", b"\x00\x08"):
            raise UnreadableFile("It is not a DICOM file, nor NIfTI, PNG or JPEG.")
        # Without the 128-byte preamble older exports still are DICOM; `force` reads them.
        dataset = pydicom.dcmread(path, force=True, defer_size=4096)
        dataset.file_meta = getattr(dataset, "file_meta", pydicom.dataset.FileMetaDataset())
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    except UnreadableFile:
        raise
    except MemoryError:
        raise UnreadableFile("Reading it takes more memory than is allowed.") from None
    except RecursionError:
        raise UnreadableFile("Its sequences are nested too deeply to read.") from None
    except InvalidDicomError:
        raise UnreadableFile("It is not a DICOM file, nor NIfTI, PNG or JPEG.") from None
    except OSError as error:
        raise UnreadableFile(f"It cannot be opened ({error.strerror or 'it ends too early'}).") from error
    except (ValueError, KeyError, TypeError, AttributeError, NotImplementedError, EOFError, zlib.error) as error:
        raise UnreadableFile(f"Its DICOM header is damaged ({str(error).splitlines()[0][:120]}).") from error
    return dataset


def _check_pixels(dataset: pydicom.Dataset, path: Path) -> None:
    """Refuse what has no slices, is too large, cannot be decoded or ends too early; decodes nothing."""
    keyword = next((k for k in _PIXEL_KEYWORDS if k in dataset), None)
    if keyword is None:
        sop_class = UID(str(dataset.get("SOPClassUID") or ""))
        if not sop_class:
            raise UnreadableFile("It is not a DICOM image: it has neither an object class nor pixels.")
        if "dicomdir" in sop_class.name.lower() or sop_class.name == "Media Storage Directory Storage":
            raise UnreadableFile("It is a DICOMDIR, an index of other files.")
        raise UnreadableFile(f"It holds no pixels ({sop_class.name}).")
    rows, columns = dataset.get("Rows"), dataset.get("Columns")
    if not rows or not columns:
        raise UnreadableFile("It has pixel data but neither rows nor columns.")
    limit = get_settings().max_slice_pixels
    if rows * columns > limit:
        raise UnreadableFile(f"Its slices have {rows} × {columns} pixels; at most {limit} are read.")
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_private or syntax not in pydicom.uid.AllTransferSyntaxes:
        raise UnreadableFile(f"Its transfer syntax {syntax.name} ({syntax}) is not known.")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if syntax.is_compressed and syntax != pydicom.uid.DeflatedExplicitVRLittleEndian:
        try:
            decodable = get_decoder(syntax).is_available
        except NotImplementedError:
            decodable = False
        if not decodable:
            raise UnreadableFile(f"Nothing here decodes its transfer syntax {syntax.name} ({syntax}).")
        return
    bits = _BITS[keyword]
    bits = int(dataset.get(bits) or 16) if isinstance(bits, str) else bits
    needed = math.ceil(rows * columns * frames * int(dataset.get("SamplesPerPixel") or 1) * bits / 8)
    element = dataset.get_item(keyword)
    # A deferred element knows its length without having been read; the file may still end before it does.
    have = element.length if getattr(element, "value", None) is None else len(element.value)
    if getattr(element, "value", None) is None and getattr(element, "value_tell", 0):
        have = min(have, path.stat().st_size - element.value_tell)
    if have < needed:
        raise UnreadableFile(f"It is cut short: its pixels need {needed} bytes and {max(have, 0)} are there.")


def _rescaled(pixels: np.ndarray, dataset: pydicom.Dataset, frame: int) -> np.ndarray:
    groups = []
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if frame < len(per_frame):
        groups.append(per_frame[frame])
    groups += list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    for group in groups:
        if transform := group.get("PixelValueTransformationSequence"):
            slope, intercept = transform[0].get("RescaleSlope"), transform[0].get("RescaleIntercept")
            return pixels.astype(np.float32) * float(slope if slope is not None else 1) + float(intercept or 0)
    try:
        return apply_modality_lut(pixels, dataset).astype(np.float32)
    except (AttributeError, TypeError, ValueError, IndexError):
        # A damaged modality table: stored values still show the slice.
        return pixels.astype(np.float32)


def _plain(dataset: pydicom.Dataset) -> Header:
    """All simple attributes of one level, as plain values."""
    header: Header = {"kind": "dicom", "frame": 0}
    for tag in dataset.keys():  # noqa: SIM118 - iterating the dataset itself would decode every element at once
        name = _PRIVATE.get((tag.group, tag.element)) if tag.is_private else pydicom.datadict.keyword_for_tag(tag)
        if not name or name in _PIXEL_KEYWORDS:
            continue
        try:
            element = dataset[tag]
        except (ValueError, KeyError, TypeError, NotImplementedError, EOFError):
            continue  # one damaged attribute is an absent one
        if element.VR in ("SQ", "OB", "OW", "OF", "OD", "OL", "OV") and not tag.is_private:
            continue
        value = _value(element, name)
        if value is not None:
            header[name] = value
    return header


def _value(element: pydicom.DataElement, name: str) -> Any:
    value = element.value
    if value is None or value == "" or element.VR == "SQ":
        return None
    if isinstance(value, bytes):
        # Private attributes of implicit files come as bytes.
        text = value.decode("latin-1").strip("\0 ")
        return text if text.isprintable() else None
    values = list(value) if isinstance(value, list | tuple | pydicom.multival.MultiValue) else [value]
    if name in _GEOMETRY:
        try:
            numbers = [float(v) for v in values]
        except (TypeError, ValueError):
            return None
        return numbers if np.isfinite(numbers).all() else None
    if len(values) > 1:
        return "\\".join(str(v) for v in values)
    if not values:
        return None
    if element.VR in ("DS", "FD", "FL"):
        return float(values[0])
    if element.VR in ("IS", "US", "SS", "UL", "SL"):
        return int(values[0])
    return str(values[0])


def _functional(group: pydicom.Dataset) -> Header:
    """Flatten one frame's functional groups; the names are those of a classic header where there is one."""
    header: Header = {}
    for element in group:
        if element.VR != "SQ" or not element.value:
            continue
        for level in _levels(element.value[0]):
            for name, value in _plain(level).items():
                if name not in ("kind", "frame"):
                    header[_CLASSIC_NAMES.get(name, name)] = value
    return header


def _levels(item: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    """A functional group and what is nested in it (b value and direction are)."""
    yield item
    for element in item:
        if element.VR == "SQ" and element.value and not element.tag.is_private:
            yield from _levels(element.value[0])


def _mosaic_tiles(dataset: pydicom.Dataset) -> int:
    """Number of slices in a Siemens mosaic; 1 for everything else."""
    if "MOSAIC" not in [str(word).upper() for word in (dataset.get("ImageType") or [])]:
        return 1
    if _SIEMENS_MOSAIC_COUNT in dataset:
        value = dataset[_SIEMENS_MOSAIC_COUNT].value
        return int.from_bytes(value[:2], "little") if isinstance(value, bytes) else int(value)
    if _SIEMENS_CSA_IMAGE in dataset:
        return _csa_number(dataset[_SIEMENS_CSA_IMAGE].value, b"NumberOfImagesInMosaic")
    raise UnreadableFile("It is a Siemens mosaic that does not say how many slices it holds.")


def _csa_number(block: bytes, name: bytes) -> int:
    """Read one whole number from a Siemens CSA header ("SV10"): name, then items that each begin with their length."""
    start = block.find(name)
    if start < 0:
        raise UnreadableFile("It is a Siemens mosaic that does not say how many slices it holds.")
    # 64 bytes of name, then vm, vr, syngo type, number of items and a check word, 4 bytes each.
    at = start + 64 + 20
    length = int.from_bytes(block[at : at + 4], "little")
    text = block[at + 16 : at + 16 + min(length, 16)].split(b"\0")[0].strip()
    if not text.isdigit():
        raise UnreadableFile("It is a Siemens mosaic whose number of slices cannot be read.")
    return int(text)


def _mosaic_headers(shared: Header, tiles: int) -> Iterator[Header]:
    """Headers of a mosaic's tiles; *ImagePositionPatient* in the file belongs to the whole sheet's corner."""
    per_row = math.isqrt(tiles - 1) + 1
    rows, columns = shared["Rows"] // per_row, shared["Columns"] // per_row
    geometry = {}
    orientation, corner, spacing = (shared.get(name) for name in _GEOMETRY)
    step = shared.get("SpacingBetweenSlices") or shared.get("SliceThickness")
    for tile in range(tiles):
        if orientation and corner and spacing and step:
            along, down = np.array(orientation[:3]), np.array(orientation[3:])
            inset = along * spacing[1] * (shared["Columns"] - columns) / 2
            inset = inset + down * spacing[0] * (shared["Rows"] - rows) / 2
            # Slices advance along the normal (syngo's SliceNormalVector equals it up to rounding).
            position = np.array(corner) + inset + np.cross(along, down) * float(step) * tile
            geometry = {"ImagePositionPatient": position.tolist()}
        yield {**shared, **geometry, "Rows": rows, "Columns": columns, "kind": "dicom", "frame": tile}
