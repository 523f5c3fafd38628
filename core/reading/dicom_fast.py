"""The headers of plain DICOM files, many times faster than reading all of each: what rows and labels are made of.

The few attributes that are wanted are cut out of the file as they stand. Together they are a small dataset, alike for
all slices of a series, and pydicom reads it once for each that differs; what is every slice's own, its identifier,
number and place, is read here. So the values are those that `core.dicom` gives, by construction.

Whatever is not plain (a UIH grid, a deflated or damaged file, unusual encodings) is left to `core.dicom`, which also
finds the words for what is wrong with it.
"""

import functools
import json
import math
import mmap
import re
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.filereader import read_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from core import dicom, labels
from core.errors import UnreadableFile
from core.reading.dicom_walk import REPRESENTATIONS, Data, NotPlain, skip_item, swapped, tags_of, walk, walk_items
from core.settings import get_settings

Header = dict[str, Any]
#: Tags that may be those of Siemens' own headers, and what was cut out of each; b"" where it cannot be one.
_Csa = tuple[tuple[int, bytes], ...]

#: What is not alike in all slices of a series; ``frame`` is ours.
OWN = ("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient")
#: All that a row of the slice table and its labels are made of. A test holds that nothing else is asked for.
KEYWORDS = frozenset((
    *OWN, *labels.KEYWORDS, *(name for _, _, name in dicom._PRIVATE.values()), "BodyPartExamined", "BurnedInAnnotation",
    "Columns", "ContrastBolusAgent", "ConversionType", "EchoNumbers", "ImageOrientationPatient",
    "ManufacturerModelName", "Modality", "NumberOfTemporalPositions", "PatientID", "PatientName", "PixelSpacing",
    "Rows", "SOPClassUID", "SamplesPerPixel", "SeriesInstanceUID", "SeriesNumber", "SliceThickness",
    "SoftwareVersions", "SpacingBetweenSlices", "StudyDescription", "StudyInstanceUID",
))  # fmt: skip

_PRIVATE_NAMES = frozenset(name for _, _, name in dicom._PRIVATE.values())
#: Longer values are no line of text nor numbers; the careful reader takes them.
_MAX_VALUE = 4096
_UID = re.compile(rb"[0-9.]+\0?")
_INTEGER = re.compile(rb" *[+-]?\d{1,12} *")
_THREE = re.compile(rb"(?: *[-+]?\d{1,16}(?:\.\d*)?(?:[eE][-+]?\d\d?)? *(?:\\|\Z)){3}")
#: What may follow the pixels.
_PADDING = b"\xfc\xff\xfc\xff"
_OWN_TAGS, _PIXEL_TAGS = tags_of(*OWN), tags_of(*dicom._PIXEL_KEYWORDS)
_COUNTS = tags_of("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "NumberOfFrames")
_COUNT_VR = {keyword: b"IS" if keyword == "NumberOfFrames" else b"US" for keyword in _COUNTS.values()}
_SHARED, _PER_FRAME = tags_of("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_SYNTAX, _IMAGE_TYPE, _COLOUR = tags_of("TransferSyntaxUID", "ImageType", "PhotometricInterpretation")
#: Neither deflated nor big-endian.
_SYNTAXES = {
    str(syntax): syntax
    for syntax in pydicom.uid.AllTransferSyntaxes
    if syntax.is_encapsulated or syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
}
_BLOCKS = range(0x10, 0x100)
#: Siemens' own headers in every block that may hold them, and what is cut out of each.
_CSA = {
    swapped(dicom._ADDRESSES[name][0] << 16 | block << 8 | dicom._ADDRESSES[name][1]): name
    for name in ("SiemensCSAImage", "SiemensCSASeries")
    for block in _BLOCKS
}
_CSA_NUMBERS = (b"NumberOfImagesInMosaic", b"SliceNormalVector", b"B_value")
#: The private attributes in every block that may hold them, and the creators that reserve the blocks.
_PRIVATE_TAGS = frozenset(
    swapped(group << 16 | element)
    for group, number in dicom._PRIVATE
    for block in _BLOCKS
    for element in (block, block << 8 | number)
)
_CSA_CREATORS = frozenset(swapped(dicom._ADDRESSES["SiemensCSAImage"][0] << 16 | block) for block in _BLOCKS)
_GRID_TAGS = frozenset(swapped(0x00650050 | block << 8) for block in _BLOCKS)
_SHARED_TAGS = frozenset((*tags_of(*KEYWORDS, "SpecificCharacterSet"), *_PRIVATE_TAGS))
_TOP_TAGS = _SHARED_TAGS.union((_SHARED, _PER_FRAME), _CSA, _CSA_CREATORS, _PIXEL_TAGS, _COUNTS)
#: What is kept as it is; the others tell more than themselves.
_SIMPLE_TAGS = _SHARED_TAGS.union(_CSA_CREATORS).difference(_OWN_TAGS, _COUNTS, _GRID_TAGS, (_IMAGE_TYPE, _COLOUR))
_ALL_TAGS = range(1 << 32)
_PRIVATE_ITEM_TAGS = _PRIVATE_TAGS.union(tags_of("Manufacturer", "SpecificCharacterSet"))


def read_slices(path: Path) -> list[tuple[str, Header]] | None:
    """Read the wanted part of the header of every slice in a plain file, and check that its pixels are there.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of (str, dict), or None
        One a slice, as `split_header` would part the answer of `core.dicom.read_headers`. None where the file is not
        plain, is damaged, or is none: `core.dicom` then reads it or says why not.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _slices(data)
    except Exception:
        # Mostly `NotPlain`; pydicom promises no exception types for damaged input. The careful reader meets whatever
        # it was again, and names it.
        return None


def split_header(header: Header) -> tuple[str, Header]:
    """Part a header in what it shares with its neighbours, as JSON, and its own; of DICOM, `KEYWORDS` alone.

    Examples
    --------
    >>> split_header({"kind": "dicom", "frame": 3, "InstanceNumber": 4, "Rows": 64, "WindowWidth": 300.0})
    ('{"Rows": 64, "kind": "dicom"}', {'frame': 3, 'InstanceNumber': 4})
    """
    own = {name: value for name, value in header.items() if name == "frame" or name in OWN}
    plain = header["kind"] != "dicom"  # what other kinds tell is short, and made for rows
    shared = {k: v for k, v in header.items() if k not in own and (plain or k == "kind" or k in KEYWORDS)}
    return json.dumps(shared, sort_keys=True), own


class _Top:
    """What is cut out of the top level of a file."""

    def __init__(self, data: Data, implicit: bool):
        self.data, self.implicit = data, implicit
        self.cuts: list[bytes] = []
        self.own: dict[str, bytes] = {}
        self.counts: dict[str, bytes] = {}
        self.shared: list[_Group] = []
        self.frames: list[_Group] = []
        self.mosaic = False
        self.csa: list[tuple[int, bytes]] = []
        self.pixels: tuple[str, int, int | None] | None = None

    def take(self, tag: int, start: int, value: int, stop: int | None) -> int:
        data = self.data
        if tag in _SIMPLE_TAGS and stop is not None and stop - value <= _MAX_VALUE:
            self.cuts.append(data[start:stop])
            return stop
        if tag in _PIXEL_TAGS:
            self.pixels = _PIXEL_TAGS[tag], value, stop
            return len(data)
        if tag in (_SHARED, _PER_FRAME):
            if self.implicit or data[start + 4 : start + 6] != b"SQ":
                raise NotPlain  # nothing tells which of the private attributes in it are sequences
            groups = self.shared if tag == _SHARED else self.frames
            return walk_items(data, value, stop, False, lambda at, end: _group(data, at, end, groups))
        if tag in _CSA and stop is not None:
            usual = stop > value and (self.implicit or data[start + 4 : start + 6] in (b"OB", b"UN"))
            self.csa.append((tag, _csa(data[value:stop], _CSA[tag]) if usual else b""))
            return stop
        if stop is None or stop - value > _MAX_VALUE or tag in _GRID_TAGS:
            raise NotPlain
        if tag == _IMAGE_TYPE:
            self.mosaic = b"MOSAIC" in data[value:stop].upper()
        if tag in _OWN_TAGS:
            self.own[_OWN_TAGS[tag]] = data[start:stop]
            return stop
        if tag == _COLOUR and b"422" in data[value:stop]:
            raise NotPlain  # two pixels share their colour
        if tag in _COUNTS:
            if not (self.implicit or data[start + 4 : start + 6] == _COUNT_VR[_COUNTS[tag]]):
                raise NotPlain
            self.counts[_COUNTS[tag]] = data[value:stop]
        if tag in _SHARED_TAGS:
            self.cuts.append(data[start:stop])
        return stop


class _Group:
    """What is cut out of one item of functional groups: its levels in order, each private or not."""

    def __init__(self):
        self.levels: list[tuple[bytes, bool]] = []
        self.own: dict[str, bytes] = {}


def _slices(data: Data) -> list[tuple[str, Header]]:
    at, syntax = _meta(data)
    implicit = syntax == ImplicitVRLittleEndian
    if implicit and data[at + 4 : at + 6] in REPRESENTATIONS:
        raise NotPlain
    top = _Top(data, implicit)
    walk(data, at, len(data), implicit, _TOP_TAGS, top.take)
    frames = _check_pixels(top, syntax)
    cut, csa = b"".join(top.cuts), tuple(top.csa)
    common = top.shared[0] if top.shared else _Group()
    shared, answer = _own(top.own | common.own, implicit), []
    if top.mosaic:
        if top.shared or top.frames:
            raise NotPlain
        place = shared.pop("ImagePositionPatient", None)
        tiles = _mosaic(cut, csa, tuple(place) if place else None, implicit)
        return [(text, {**shared, **own}) for text, own in tiles]
    for frame in range(frames):
        group = top.frames[frame] if frame < len(top.frames) else _Group()
        text = _text(cut, csa, (*common.levels, *group.levels), implicit)
        answer.append((text, {**shared, **_own(group.own, implicit), "frame": frame}))
    return answer


def _meta(data: Data) -> tuple[int, UID]:
    """Find where the dataset begins, and its transfer syntax."""
    # The first element of the file's meta information says how long that is.
    if data[128:140] != b"DICM\x02\0\0\0UL\x04\0":
        raise NotPlain
    syntax = ""

    def take(tag: int, start: int, value: int, stop: int | None) -> int:
        nonlocal syntax
        if stop is None or tag & 0xFFFF != 2:
            raise NotPlain
        if tag == _SYNTAX:
            syntax = data[value:stop].rstrip(b"\0 ").decode("ascii")
        return stop

    at = walk(data, 144, 144 + int.from_bytes(data[140:144], "little"), False, _ALL_TAGS, take)
    if data[at : at + 2] == b"\x02\0" or syntax not in _SYNTAXES:
        raise NotPlain
    return at, _SYNTAXES[syntax]


def _group(data: Data, at: int, end: int | None, groups: list[_Group]) -> int:
    """Cut what is wanted out of the functional groups of one frame."""
    group = _Group()
    groups.append(group)

    def take(tag: int, start: int, value: int, stop: int | None) -> int:
        vr, private = data[start + 4 : start + 6], bool(tag & 1)
        if vr == b"SQ":
            return _first_item(data, value, stop, group, private, depth=2)
        if vr == b"UN" or stop is None:
            raise NotPlain
        return stop

    return walk(data, at, end, False, _ALL_TAGS, take)


def _first_item(data: Data, at: int, stop: int | None, group: _Group, private: bool, depth: int) -> int:
    visited = []

    def visit(at: int, end: int | None) -> int:
        if visited:
            return skip_item(data, False, at, end)
        visited.append(at)
        return _level(data, at, end, group, private, depth)

    return walk_items(data, at, stop, False, visit)


def _level(data: Data, at: int, end: int | None, group: _Group, private: bool, depth: int) -> int:
    """Cut what is wanted out of an item, and out of the first items of what is nested in it."""
    cuts, place = [], len(group.levels)

    def take(tag: int, start: int, value: int, stop: int | None) -> int:
        vr = data[start + 4 : start + 6]
        if vr == b"SQ":
            deeper = depth and not private and not tag & 1
            visit = functools.partial(skip_item, data, False)
            return (
                _first_item(data, value, stop, group, False, depth - 1)
                if deeper
                else walk_items(data, value, stop, False, visit)
            )
        if stop is None or (vr == b"UN" and not tag & 1):
            raise NotPlain
        if tag in _OWN_TAGS and not private:
            group.own[_OWN_TAGS[tag]] = data[start:stop]
        elif tag in _SHARED_TAGS:
            if stop - value > _MAX_VALUE:
                raise NotPlain
            cuts.append(data[start:stop])
        return stop

    at = walk(data, at, end, False, _PRIVATE_ITEM_TAGS if private else _ALL_TAGS, take)
    if cuts:
        group.levels.insert(place, (b"".join(cuts), private))
    return at


def _check_pixels(top: _Top, syntax: UID) -> int:
    """Count the slices, and make sure that `core.dicom` would find nothing wrong with the pixels."""
    if top.pixels is None:
        raise NotPlain
    keyword, value, stop = top.pixels
    counts = {name: _count(raw, name) for name, raw in top.counts.items()}
    rows, columns = counts.get("Rows", 0), counts.get("Columns", 0)
    frames = counts.get("NumberOfFrames") or 1
    bits = dicom._BITS[keyword]
    bits = (counts.get(bits) or 16) if isinstance(bits, str) else bits
    needed = math.ceil(rows * columns * frames * (counts.get("SamplesPerPixel") or 1) * bits / 8)
    settings = get_settings()
    if not 0 < rows * columns <= settings.max_slice_pixels or frames > dicom._MAX_FRAMES:
        raise NotPlain
    if needed > settings.max_upload_mb << 20 or (stop is None) != syntax.is_encapsulated:
        raise NotPlain
    if stop is None:
        stop = _check_encapsulated(top.data, value, keyword, syntax, rows, columns, frames)
    elif not needed <= stop - value <= needed + 1 or stop > len(top.data):
        raise NotPlain
    if len(top.data) - stop >= 8 and top.data[stop : stop + 4] != _PADDING:
        raise NotPlain
    return frames


def _check_encapsulated(data: Data, at: int, keyword: str, syntax: UID, rows: int, columns: int, frames: int) -> int:
    """Let `core.dicom` look at compressed pixels, and say where they end."""
    stop = walk_items(data, at, None, False, lambda at, end: len(data) + 1 if end is None else end)
    dataset = pydicom.Dataset()
    dataset.Rows, dataset.Columns = rows, columns
    dataset.add_new(keyword, "OB", data[at : stop - 8])
    try:
        dicom._check_encapsulated(dataset, keyword, syntax, frames)
    except UnreadableFile:
        raise NotPlain from None  # the careful reader finds the words
    return stop


def _count(raw: bytes, keyword: str) -> int:
    if keyword != "NumberOfFrames":
        if len(raw) != 2:
            raise NotPlain
        return int.from_bytes(raw, "little")
    if not _INTEGER.fullmatch(raw) or int(raw) < 0:
        raise NotPlain
    return int(raw)


def _own(cuts: dict[str, bytes], implicit: bool) -> Header:
    """Read what is a slice's own."""
    values = ((keyword, _own_value(keyword, cut, implicit)) for keyword, cut in cuts.items())
    return {keyword: value for keyword, value in values if value is not None}


def _own_value(keyword: str, cut: bytes, implicit: bool) -> Any:
    vr, raw = cut[4:6], cut[8:]
    if keyword == "SOPInstanceUID" and (implicit or vr == b"UI") and _UID.fullmatch(raw):
        return raw.rstrip(b"\0").decode("ascii")
    if keyword == "InstanceNumber" and (implicit or vr == b"IS") and _INTEGER.fullmatch(raw):
        return int(raw)
    if keyword == "ImagePositionPatient" and (implicit or vr == b"DS") and _THREE.fullmatch(raw):
        return [float(part) for part in raw.split(b"\\")]
    return dicom._plain(read_dataset(BytesIO(cut), implicit, True)).get(keyword)


@functools.lru_cache(4096)
def _text(cut: bytes, csa: _Csa, levels: tuple[tuple[bytes, bool], ...], implicit: bool) -> str:
    """Read what was cut out of the top level and of functional groups, as `core.dicom.read_headers` does."""
    _, top, encoding = _read_top(cut, csa, implicit)
    header = dict(top)
    for level, private in levels:
        header.update(_read_level(level, private, encoding))
    return split_header({**header, "kind": "dicom"})[0]


def _csa(block: bytes, name: str) -> bytes:
    """Cut what rows need out of a Siemens CSA header, most of which differs from file to file."""
    if name == "SiemensCSASeries":
        match = dicom._SEQUENCE_FILE.search(block)
        return match[0] if match else b"-"
    kept = b""
    for attribute in _CSA_NUMBERS:
        items = [b"%r" % number for number in dicom._csa_numbers(block, attribute)]
        kept += struct.pack("<64s12xI4x", attribute, len(items))
        kept += b"".join(struct.pack("<I12x", len(item)) + item.ljust(-(-len(item) // 4) * 4, b"\0") for item in items)
    return kept


@functools.lru_cache(256)
def _mosaic(cut: bytes, csa: _Csa, place: tuple[float, ...] | None, implicit: bool) -> list[tuple[str, Header]]:
    """Read the tiles of a mosaic; those of a run lie in the same places in each of its files."""
    dataset, top, _ = _read_top(cut, csa, implicit)
    header = {**top, **({"ImagePositionPatient": list(place)} if place else {})}
    tiles = dicom._mosaic_tiles(dataset)
    if tiles == 1:
        raise NotPlain
    corners = dicom._mosaic_corners(dataset, header, tiles)
    return [split_header(tile) for tile in dicom._mosaic_headers(header, tiles, corners)]


@functools.lru_cache(1024)
def _read_top(cut: bytes, csa: _Csa, implicit: bool) -> tuple[pydicom.Dataset, Header, tuple[str, ...]]:
    dataset = read_dataset(BytesIO(cut), implicit, True)
    encoding = dataset.original_character_set
    vendor = str(dataset.get("Manufacturer") or "").upper()
    for tag, block in csa:
        if dicom._private_name(dataset, pydicom.tag.Tag(swapped(tag)), vendor):
            if not block:
                raise NotPlain
            dataset.add_new(swapped(tag), "OB", block)
    header = dicom._plain(dataset)
    header.update(dicom._from_csa(dataset, header))
    return dataset, header, (encoding,) if isinstance(encoding, str) else tuple(encoding)


@functools.lru_cache(4096)
def _read_level(cut: bytes, private: bool, encoding: tuple[str, ...]) -> Header:
    level = read_dataset(BytesIO(cut), False, True, parent_encoding=list(encoding), at_top_level=False)
    header = dicom._plain(level)
    if private:
        return {name: value for name, value in header.items() if name in _PRIVATE_NAMES}
    return {dicom._CLASSIC_NAMES.get(name, name): value for name, value in header.items()}
