"""DICOM files to headers and pixels, a slice at a time.

Classic files hold one slice, enhanced ones a frame per slice, Siemens mosaics a tile per slice; all come out the same:
one header and one array a slice.
"""

import functools
import io
import math
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.encaps import parse_basic_offsets, parse_fragments
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder, pixel_array
from pydicom.uid import UID

from core.errors import UnreadableFile
from core.settings import get_settings

Header = dict[str, Any]

# Values that break a rule of the standard are used as they are, and not written to a log: they may name a patient.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

#: Private attributes that say what a public one leaves out: group and last two digits of the element, to the creator
#: that reserves the block, the manufacturer, and the name they go by here.
_PRIVATE = {
    (0x0019, 0x0A): ("SIEMENS MR HEADER", "SIEMENS", "SiemensMosaicCount"),
    (0x0019, 0x0C): ("SIEMENS MR HEADER", "SIEMENS", "SiemensBValue"),
    (0x0019, 0x17): ("GEMS_ACQU_01", "GE", "GESeriesPlane"),
    (0x0019, 0x9C): ("GEMS_ACQU_01", "GE", "GEPulseSequence"),
    (0x0019, 0x9E): ("GEMS_ACQU_01", "GE", "GEInternalPulseSequence"),
    (0x0043, 0x2F): ("GEMS_PARM_01", "GE", "GEComplexComponent"),
    (0x0043, 0x39): ("GEMS_PARM_01", "GE", "GEBValue"),
    (0x0043, 0xA4): ("GEMS_PARM_01", "GE", "GEASLTechnique"),
    (0x2001, 0x03): ("PHILIPS IMAGING DD 001", "PHILIPS", "PhilipsBValue"),
    (0x2001, 0x13): ("PHILIPS IMAGING DD 001", "PHILIPS", "PhilipsEPIFactor"),
    (0x2001, 0x20): ("PHILIPS IMAGING DD 001", "PHILIPS", "PhilipsPulseSequence"),
    (0x0065, 0x09): ("IMAGE PRIVATE HEADER", "UIH", "UIHBValue"),
    (0x0065, 0x2D): ("IMAGE PRIVATE HEADER", "UIH", "UIHPulseSequence"),
    (0x0065, 0x50): ("IMAGE PRIVATE HEADER", "UIH", "UIHGridCount"),
}
#: Long or nested private attributes, which are looked up only where they are needed.
_NESTED = {
    (0x0029, 0x10): ("SIEMENS CSA HEADER", "SIEMENS", "SiemensCSAImage"),
    (0x0029, 0x20): ("SIEMENS CSA HEADER", "SIEMENS", "SiemensCSASeries"),
    (0x0065, 0x51): ("IMAGE PRIVATE HEADER", "UIH", "UIHGridSlices"),
}
_NESTED_NAMES = {name for _, _, name in _NESTED.values()}
_ADDRESSES = {name: address for address, (_, _, name) in {**_PRIVATE, **_NESTED}.items()}
_SEQUENCE_FILE = re.compile(rb'tSequenceFileName\s*=\s*"+[^"]{0,64}?(\w{2,32})"')
_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
#: Geometry and how many numbers each has.
_GEOMETRY = {"ImageOrientationPatient": 6, "ImagePositionPatient": 3, "PixelSpacing": 2}
#: Words of the functional groups that go by another name in a classic header.
_CLASSIC_NAMES = {"EffectiveEchoTime": "EchoTime", "InversionTimes": "InversionTime"}
_BITS = {"PixelData": "BitsAllocated", "FloatPixelData": 32, "DoubleFloatPixelData": 64}
#: Markers before the size of a JPEG or JPEG-LS picture.
_START_OF_FRAME = {0xF7, *range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BINARY = ("OB", "OW", "OF", "OD", "OL", "OV")
#: A run of 1,500 volumes with 60 slices has fewer.
_MAX_FRAMES = 100_000
#: A deflated file may inflate to this many bytes, or to a hundred times its size; slices deflate to a third or so.
_MAX_INFLATED, _MAX_INFLATION = 64 << 20, 100
#: The longest text that is kept of one attribute; labels need a line, some exporters write a page.
_MAX_TEXT = 1024


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
    with _one_sentence("Its DICOM header is damaged"):
        dataset = _read_and_check(path)
        shared = _plain(dataset)
        shared.update(_from_csa(dataset, shared))
        tiles = _mosaic_tiles(dataset)
        if tiles > 1:
            return list(_mosaic_headers(shared, tiles, _mosaic_corners(dataset, shared, tiles)))
        per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
        if common := dataset.get("SharedFunctionalGroupsSequence"):
            shared.update(_functional(common[0]))
        return [
            {**shared, **(_functional(per_frame[i]) if i < len(per_frame) else {}), "kind": "dicom", "frame": i}
            for i in range(_frames(dataset))
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
    stat = path.stat()
    with _one_sentence("Its pixels cannot be decoded"):
        dataset = _remembered(path, stat.st_mtime_ns, stat.st_size)
        tiles = _mosaic_tiles(dataset)
        slices = tiles if tiles > 1 else _frames(dataset)
        if not 0 <= frame < slices:
            raise UnreadableFile(f"It has {slices} slices; slice {frame} was asked for.")
        with _one_sentence(f"Its pixels, {dataset.file_meta.TransferSyntaxUID.name}, cannot be decoded"):
            pixels = pixel_array(dataset, index=0 if tiles > 1 else frame)
        if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
            pixels = apply_color_lut(pixels, dataset)
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


@contextmanager
def _one_sentence(problem: str) -> Iterator[None]:
    """Turn whatever a damaged file makes the libraries raise into an `UnreadableFile`.

    pydicom and the decoders behind it promise no exception types for damaged input: `struct.error`, `IndexError`,
    `AssertionError` and bare `Exception` were all seen.
    """
    try:
        yield
    except UnreadableFile:
        raise
    except MemoryError:
        raise UnreadableFile("Reading it takes more memory than is allowed.") from None
    except RecursionError:
        raise UnreadableFile("Its sequences are nested too deeply to read.") from None
    except OSError as error:
        raise UnreadableFile(f"It cannot be read ({error.strerror or 'it ends too early'}).") from None
    except Exception as error:
        # The library's own words could quote the file, and so a patient.
        raise UnreadableFile(f"{problem} ({type(error).__name__}).") from error


@functools.lru_cache(2)
def _remembered(path: Path, mtime_ns: int, size: int) -> pydicom.Dataset:
    """Frames of one file are asked for one after the other; parsing it each time would cost the square of them."""
    return _read_and_check(path)


def _read_and_check(path: Path) -> pydicom.Dataset:
    with path.open("rb") as file:
        start = file.read(4096)
    if not start:
        raise UnreadableFile("The file is empty.")
    if start[128:132] != b"DICM" and start[:2] not in (b"\x08\x00", b"\x02\x00", b"\x00\x08"):
        raise UnreadableFile("It is not a DICOM file, nor NIfTI, PNG or JPEG.")
    deflated = pydicom.uid.DeflatedExplicitVRLittleEndian.encode() in start
    if deflated:
        _check_deflated(path, start)
    # Older exports lack the 128 bytes before "DICM" and still are DICOM; `force` reads them. Nothing of a deflated
    # file is put off: it would be looked up at its place in the inflated stream, which is none in the file.
    dataset = pydicom.dcmread(path, force=True, defer_size=None if deflated else 4096)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian
            if implicit
            else pydicom.uid.ExplicitVRLittleEndian
            if little
            else pydicom.uid.ExplicitVRBigEndian
        )
    _check_pixels(dataset, path)
    return dataset


def _check_deflated(path: Path, start: bytes) -> None:
    """Refuse what inflates out of all proportion, piece by piece, before pydicom inflates it in one."""
    if start[132:136] != b"\x02\0\0\0":
        raise UnreadableFile("It is deflated, and does not say where its deflated part begins.")
    limit = min(max(_MAX_INFLATED, path.stat().st_size * _MAX_INFLATION), get_settings().max_upload_mb << 20)
    inflate, inflated = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as file, _one_sentence("Its deflated part is damaged or begins elsewhere than it says"):
        file.seek(144 + int.from_bytes(start[140:144], "little"))
        while block := file.read(1 << 16):
            while block:
                inflated += len(inflate.decompress(block, 1 << 20))
                block = inflate.unconsumed_tail
                if inflated > limit:
                    raise UnreadableFile(f"It inflates to more than {limit >> 20} MB, as no picture does.")
    if not inflate.eof:
        raise UnreadableFile("It is cut short: its deflated part has no end.")


def _count(dataset: pydicom.Dataset, keyword: str, default: int) -> int:
    """One count of the header; `default` where it is absent, empty or 0."""
    try:
        value = dataset.get(keyword)
    except (ValueError, TypeError):
        value = "no number"
    if value is None or value == "":
        return default
    if not isinstance(value, int) or value < 0:
        raise UnreadableFile(f"Its {keyword} is no count.")
    return int(value) or default


def _frames(dataset: pydicom.Dataset) -> int:
    return _count(dataset, "NumberOfFrames", 1)


def _named(uid: UID) -> str:
    """Name a UID, or give the number that it is; what is neither could be anything, and is not quoted."""
    return uid.name if uid.name != uid else str(uid) if uid.is_valid else "no valid UID"


def _check_pixels(dataset: pydicom.Dataset, path: Path) -> None:
    """Refuse what has no slices, is too large, cannot be decoded or ends too early; decodes nothing."""
    keyword = next((k for k in _PIXEL_KEYWORDS if k in dataset), None)
    if keyword is None:
        sop_class = UID(str(dataset.get("SOPClassUID") or ""))
        if path.name.upper() == "DICOMDIR" or "DirectoryRecordSequence" in dataset:
            raise UnreadableFile("It is a DICOMDIR, an index of other files.")
        if not len(dataset):
            # pydicom gives up on all of it where compressed pixels end without their delimiter.
            raise UnreadableFile("It is cut short or damaged: it ends within an attribute.")
        if not sop_class:
            raise UnreadableFile("It is not a DICOM image: it has neither an object class nor pixels.")
        if "Image Storage" in sop_class.name:
            raise UnreadableFile(f"It is cut short or was stored without pixels ({_named(sop_class)}).")
        raise UnreadableFile(f"It holds no pixels ({_named(sop_class)}).")
    rows, columns = _count(dataset, "Rows", 0), _count(dataset, "Columns", 0)
    if not rows or not columns:
        raise UnreadableFile(f"It holds pixel data, but its rows and columns are {rows} × {columns}.")
    settings = get_settings()
    if rows * columns > settings.max_slice_pixels:
        raise UnreadableFile(
            f"Its slices have {rows} × {columns} pixels; at most {settings.max_slice_pixels} in all are read."
        )
    frames = _frames(dataset)
    bits = _BITS[keyword]
    bits = _count(dataset, bits, 16) if isinstance(bits, str) else bits
    needed = math.ceil(rows * columns * frames * _count(dataset, "SamplesPerPixel", 1) * bits / 8)
    if frames > _MAX_FRAMES or needed > settings.max_upload_mb << 20:
        raise UnreadableFile(
            f"It holds {frames} slices, {needed >> 20} MB decoded; at most {_MAX_FRAMES} and "
            f"{settings.max_upload_mb} MB are read."
        )
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_private or syntax not in pydicom.uid.AllTransferSyntaxes:
        raise UnreadableFile(f"Nothing here decodes its transfer syntax ({_named(syntax)}).")
    if syntax.is_encapsulated:
        _check_encapsulated(dataset, keyword, syntax, frames)
        return
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        needed = needed * 2 // 3  # two pixels share their colour
    element = dataset.get_item(keyword)
    # What was put off knows its length without having been read; the file may still end before it does.
    if element.value is None:
        have = min(element.length, path.stat().st_size - element.value_tell)
    else:
        have = len(element.value)
    if have < needed:
        raise UnreadableFile(f"It is cut short: its pixels need {needed} bytes and {max(have, 0)} are there.")
    held = have * frames // needed
    # Up to a frame more is padding.
    if held > frames and have - needed > 1:
        raise _more_slices(held, frames)


def _more_slices(held: int, frames: int) -> UnreadableFile:
    return UnreadableFile(f"It holds the pixels of {held} slices and says that it has {frames}; which is right?")


def _check_encapsulated(dataset: pydicom.Dataset, keyword: str, syntax: UID, frames: int) -> None:
    try:
        decodable = get_decoder(syntax).is_available
    except NotImplementedError:
        decodable = False
    if not decodable:
        raise UnreadableFile(f"Nothing here decodes its transfer syntax ({_named(syntax)}).")
    buffer = io.BytesIO(dataset[keyword].value)
    try:
        # The first item is the table of offsets; each frame has one or more of its own after it.
        offsets = parse_basic_offsets(buffer)
        fragments, first = parse_fragments(buffer)
    except (ValueError, TypeError, EOFError, struct.error):
        offsets, fragments, first = [], 0, []
    if fragments < frames:
        raise UnreadableFile(f"It is cut short: of {frames} compressed slices {fragments} are there.")
    held = fragments if syntax == pydicom.uid.RLELossless else len(offsets)
    if held > frames:
        raise _more_slices(held, frames)
    coded = _coded_size(buffer.getvalue()[first[0] + 8 : first[0] + (1 << 16)])
    if coded and coded != (dataset.Rows, dataset.Columns):
        raise UnreadableFile(
            f"Its compressed pixels are {coded[0]} × {coded[1]}; its header says {dataset.Rows} × {dataset.Columns}."
        )


def _coded_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns by the header of a JPEG, JPEG-LS or JPEG 2000 picture itself; None where it does not tell."""
    if frame.startswith(b"\xff\x4f\xff\x51") and len(frame) >= 24:  # ISO/IEC 15444-1, A.5.1
        right, bottom, left, top = struct.unpack_from(">4I", frame, 8)
        return bottom - top, right - left
    at = 2
    while frame.startswith(b"\xff\xd8") and at + 9 <= len(frame) and frame[at] == 0xFF:
        if frame[at + 1] in _START_OF_FRAME:  # ISO/IEC 10918-1, B.2.2
            rows, columns = struct.unpack_from(">HH", frame, at + 5)
            return (rows, columns) if rows else None  # told after the first scan instead
        at += 2 + int.from_bytes(frame[at + 2 : at + 4])
    return None


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
        # Without a usable modality table the stored values still show the slice.
        return pixels.astype(np.float32)


def _plain(dataset: pydicom.Dataset, vendor: str = "") -> Header:
    """All simple attributes of one level, as plain values; private ones only where labels need them."""
    header: Header = {}
    vendor = str(dataset.get("Manufacturer") or vendor).upper()
    for tag in dataset.keys():  # noqa: SIM118 - iterating the dataset itself would decode every element at once
        name = _private_name(dataset, tag, vendor) if tag.is_private else pydicom.datadict.keyword_for_tag(tag)
        if not name or name in _NESTED_NAMES or name in _PIXEL_KEYWORDS or dataset.get_item(tag).VR == "SQ":
            continue
        try:
            element = dataset[tag]
            value = None if element.VR in _BINARY and not tag.is_private else _value(element, name)
        except (ValueError, KeyError, TypeError, IndexError, NotImplementedError, EOFError):
            continue  # one damaged attribute is an absent one
        if value is not None:
            header[name] = value
    return header


def _private_name(dataset: pydicom.Dataset, tag: pydicom.tag.BaseTag, vendor: str) -> str | None:
    address = (tag.group, tag.element & 0xFF)
    known = _PRIVATE.get(address) or _NESTED.get(address)
    if known is None or tag.element < 0x1000:
        return None
    creator, manufacturer, name = known
    reserved = dataset.get((tag.group, tag.element >> 8))
    if reserved is None:
        # Some anonymisers drop the creators; nearly all scanners use the first block.
        return name if tag.element >> 8 == 0x10 and manufacturer in vendor else None
    value = reserved.value
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return name if text.strip("\0 ").upper().startswith(creator) else None


def _private(dataset: pydicom.Dataset, name: str) -> pydicom.DataElement | None:
    """Find a private attribute in whatever block its creator has reserved."""
    group, offset = _ADDRESSES[name]
    vendor = str(dataset.get("Manufacturer") or "").upper()
    blocks = [tag.element for tag in dataset.keys() if tag.group == group and 0x10 <= tag.element <= 0xFF]  # noqa: SIM118
    for block in blocks or [0x10]:
        tag = pydicom.tag.Tag(group, block << 8 | offset)
        if tag in dataset and _private_name(dataset, tag, vendor) == name:
            return dataset[tag]
    return None


def _from_csa(dataset: pydicom.Dataset, header: Header) -> Header:
    """Fill in from Siemens' own header what an export has dropped: the b-value, and which sequence was run."""
    found: Header = {}
    if "SIEMENS" not in str(header.get("Manufacturer") or "SIEMENS").upper():
        return found
    if "EP" in str(header.get("ScanningSequence")) and "SiemensBValue" not in header:
        image = _private(dataset, "SiemensCSAImage")
        if image is not None and (numbers := _csa_numbers(image.value, b"B_value")):
            found["SiemensBValue"] = numbers[0]
    if "SequenceName" not in header and "PulseSequenceName" not in header:
        series = _private(dataset, "SiemensCSASeries")
        # The protocol quotes itself: tSequenceFileName = ""%SiemensSeq%\ep2d_diff"".
        if series is not None and (match := _SEQUENCE_FILE.search(bytes(series.value or b""))):
            found["SiemensSequenceFile"] = match[1].decode("ascii")
    return found


def _value(element: pydicom.DataElement, name: str) -> Any:
    """One attribute as a plain value; None where it says nothing."""
    value = element.value
    if value is None or value == "" or element.VR == "SQ":
        return None
    if isinstance(value, bytes):
        # Private attributes of implicit files come as bytes.
        if name == "SiemensMosaicCount":
            return int.from_bytes(value[:2], "little")
        text = value.decode("latin-1").strip("\0 ")
        return text[:_MAX_TEXT] if text.isprintable() and text else None
    values = list(value) if isinstance(value, list | tuple | pydicom.multival.MultiValue) else [value]
    if name in _GEOMETRY:
        return _numbers(values, name)
    if len(values) > 1:
        return "\\".join(str(v) for v in values)[:_MAX_TEXT]
    if not values:
        return None
    if element.VR in ("DS", "FD", "FL"):
        number = float(values[0])
        return number if math.isfinite(number) else None
    if element.VR in ("IS", "US", "SS", "UL", "SL"):
        return int(values[0])
    return str(values[0])[:_MAX_TEXT]


def _numbers(values: list, name: str) -> list[float] | None:
    """Geometry that can be computed with: the right count, finite, no pixel and no direction of length 0."""
    numbers = np.array([float(v) for v in values])
    if len(numbers) != _GEOMETRY[name] or not np.isfinite(numbers).all():
        return None
    if name == "PixelSpacing" and not (numbers > 0).all():
        return None
    if name == "ImageOrientationPatient" and not np.linalg.norm(numbers.reshape(2, 3), axis=1).all():
        return None
    return numbers.tolist()


def _functional(group: pydicom.Dataset) -> Header:
    """Flatten one frame's functional groups; the names are those of a classic header where there is one."""
    header: Header = {}
    for element in group:
        if element.VR != "SQ" or not element.value:
            continue
        if element.tag.is_private:
            # Philips repeats a whole classic header here, identifiers included; only its witnesses are wanted.
            wanted = {name for _, _, name in _PRIVATE.values()}
            header.update({k: v for k, v in _plain(element.value[0]).items() if k in wanted})
            continue
        for level in _levels(element.value[0]):
            for name, value in _plain(level).items():
                header[_CLASSIC_NAMES.get(name, name)] = value
    return header


def _levels(item: pydicom.Dataset, depth: int = 2) -> Iterator[pydicom.Dataset]:
    """A functional group and what is nested in it (a diffusion direction is)."""
    yield item
    if depth:
        for element in item:
            if element.VR == "SQ" and element.value and not element.tag.is_private:
                yield from _levels(element.value[0], depth - 1)


def _mosaic_tiles(dataset: pydicom.Dataset) -> int:
    """Number of slices that a Siemens mosaic or a UIH grid shows side by side; 1 for everything else."""
    if (grid := _private(dataset, "UIHGridCount")) is not None:
        return _fitting(dataset, int(float(_value(grid, "UIHGridCount") or 1)), "UIH grid")
    image_type = dataset.get("ImageType") or []
    words = [image_type] if isinstance(image_type, str) else image_type
    if "MOSAIC" not in [str(word).upper() for word in words]:
        return 1
    tiles = 0
    if (count := _private(dataset, "SiemensMosaicCount")) is not None:
        tiles = int(_value(count, "SiemensMosaicCount") or 0)
    elif (image := _private(dataset, "SiemensCSAImage")) is not None:
        tiles = int(next(iter(_csa_numbers(image.value, b"NumberOfImagesInMosaic")), 0))
    if tiles < 1:
        raise UnreadableFile("It is a Siemens mosaic that does not say how many slices it holds.")
    return _fitting(dataset, tiles, "Siemens mosaic")


def _fitting(dataset: pydicom.Dataset, tiles: int, kind: str) -> int:
    """Check that so many tiles, as many down as across, fill the picture."""
    per_row = math.isqrt(max(tiles, 1) - 1) + 1
    if dataset.Rows % per_row or dataset.Columns % per_row:
        raise UnreadableFile(
            f"It is a {kind} that claims {tiles} slices, which {dataset.Rows} × {dataset.Columns} pixels cannot hold."
        )
    return tiles


def _mosaic_runs_backwards(dataset: pydicom.Dataset) -> bool:
    """Whether the tiles of a mosaic advance against the normal that its orientation implies."""
    orientation = dataset.get("ImageOrientationPatient")
    image = _private(dataset, "SiemensCSAImage")
    if image is None or not orientation:
        return False
    normal = _csa_numbers(image.value, b"SliceNormalVector")
    implied = np.cross(np.array(orientation[:3], float), np.array(orientation[3:], float))
    return len(normal) == 3 and float(np.dot(normal, implied)) < 0


def _csa_numbers(block: bytes, name: bytes) -> list[float]:
    """Read one attribute's numbers from a Siemens CSA header ("SV10"); [] when it is not there.

    An attribute is 64 bytes of name; 4 bytes each of multiplicity, representation, syngo type, number of items and
    a check word; then items of four 4-byte words, the first being the length, and their text padded to 4 bytes
    (as read by nibabel.nicom.csareader).
    """
    start = block.find(name + b"\0")
    if start < 0:
        return []
    n_items = int.from_bytes(block[start + 76 : start + 80], "little")
    at, numbers = start + 84, []
    for _ in range(min(n_items, 32)):
        length = int.from_bytes(block[at : at + 4], "little")
        text = block[at + 16 : at + 16 + min(length, 64)].split(b"\0")[0].strip()
        if text:
            numbers.append(float(text))
        at += 16 + -(-length // 4) * 4
    return numbers


def _mosaic_headers(shared: Header, tiles: int, corners: list[list[float]]) -> Iterator[Header]:
    """Headers of a mosaic's tiles; without `corners` they have no *ImagePositionPatient*."""
    per_row = math.isqrt(tiles - 1) + 1
    rows, columns = shared["Rows"] // per_row, shared["Columns"] // per_row
    shared = {name: value for name, value in shared.items() if name != "ImagePositionPatient"}
    for tile in range(tiles):
        place = {"ImagePositionPatient": corners[tile]} if corners else {}
        yield {**shared, **place, "Rows": rows, "Columns": columns, "kind": "dicom", "frame": tile}


def _mosaic_corners(dataset: pydicom.Dataset, shared: Header, tiles: int) -> list[list[float]]:
    """Position of each tile's first pixel in mm, or [] where the header does not tell."""
    if _private(dataset, "UIHGridCount") is not None:
        element = _private(dataset, "UIHGridSlices")
        items = element.value if element is not None and element.VR == "SQ" else []
        corners = [_plain(item).get("ImagePositionPatient") for item in items]
        return corners if len(corners) == tiles and all(corners) else []
    orientation, corner, spacing = (shared.get(name) for name in _GEOMETRY)
    step = shared.get("SpacingBetweenSlices") or shared.get("SliceThickness")
    if not (orientation and corner and spacing and step):
        return []
    per_row = math.isqrt(tiles - 1) + 1
    along, down = np.array(orientation[:3]), np.array(orientation[3:])
    # The file's position is that of the sheet's corner, laid around the first slice's centre (nibabel, "Siemens
    # mosaic format").
    inset = along * spacing[1] * shared["Columns"] * (1 - 1 / per_row) / 2
    inset = inset + down * spacing[0] * shared["Rows"] * (1 - 1 / per_row) / 2
    advance = np.cross(along, down) * float(step) * (-1 if _mosaic_runs_backwards(dataset) else 1)
    return [(np.array(corner) + inset + advance * tile).tolist() for tile in range(tiles)]
