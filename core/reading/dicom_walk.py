"""Going through the elements of a DICOM file without making anything of them: where each begins and ends.

Only for little-endian files that lie in memory, or are mapped there. Whatever is odd raises `NotPlain`.
"""

import functools
import mmap
import struct
from collections.abc import Callable, Container

from pydicom.datadict import tag_for_keyword

#: A file's bytes; slices of it are bytes.
Data = bytes | mmap.mmap

_UNDEFINED = 0xFFFFFFFF
_EXPLICIT, _LENGTH = struct.Struct("<I2sH").unpack_from, struct.Struct("<I").unpack_from
_IMPLICIT = struct.Struct("<II").unpack_from
_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
#: Value representations, as explicit files spell them.
REPRESENTATIONS = _SHORT | _LONG


class NotPlain(Exception):
    """This file is not as nearly all are; a reader that knows more is to take it."""


def swapped(tag: int) -> int:
    """Give a tag as its four bytes read in one: in the file the group comes first, and both are little-endian.

    Examples
    --------
    >>> hex(swapped(0x00201041))
    '0x10410020'
    """
    return tag >> 16 | (tag & 0xFFFF) << 16


def tags_of(*keywords: str) -> dict[int, str]:
    """Give the tags, `swapped`, of those of some keywords that are in the DICOM dictionary, and the keywords."""
    return {swapped(tag): keyword for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None}


_ITEM, _ITEM_END, _SEQUENCE_END = map(swapped, (0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD))


def walk(
    data: Data,
    at: int,
    end: int | None,
    implicit: bool,
    tags: Container[int] = (),
    take: Callable[[int, int, int, int | None], int] | None = None,
) -> int:
    """Go through the elements of one level up to `end`, or to the delimiter of its item.

    ``take(tag, start, value, stop)`` is called for those in `tags`, and says where they end.
    """
    limit = len(data) if end is None else end
    while at < limit:
        value = at + 8
        if implicit:
            tag, length = _IMPLICIT(data, at)
            vr = b"SQ"
        else:
            tag, vr, length = _EXPLICIT(data, at)
            if vr in _SHORT:  # nearly all, and a header has hundreds
                at = take(tag, at, value, value + length) if tag in tags else value + length
                continue
            if vr in _LONG:
                (length,) = _LENGTH(data, value)
                value += 4
            elif tag != _ITEM_END:
                raise NotPlain
        if tag == _ITEM_END:
            if end is not None:
                raise NotPlain
            return value
        if tag in tags:
            at = take(tag, at, value, None if length == _UNDEFINED else value + length)
        elif length != _UNDEFINED:
            at = value + length
        elif vr == b"SQ":
            at = walk_items(data, value, None, implicit, functools.partial(skip_item, data, implicit))
        else:
            raise NotPlain
    if end is None or at > limit:
        raise NotPlain
    return at


def walk_items(data: Data, at: int, stop: int | None, implicit: bool, visit: Callable[[int, int | None], int]) -> int:
    """Go through the items of a sequence; ``visit(at, end)`` says where each ends, should `end` not be known."""
    limit = len(data) if stop is None else stop
    while at < limit:
        tag, length = _IMPLICIT(data, at)
        if tag == _SEQUENCE_END and stop is None:
            return at + 8
        if tag != _ITEM:
            raise NotPlain
        at = visit(at + 8, None if length == _UNDEFINED else at + 8 + length)
    if at != stop:
        raise NotPlain
    return at


def skip_item(data: Data, implicit: bool, at: int, end: int | None) -> int:
    """Give the end of an item that nobody wants to look into."""
    return walk(data, at, None, implicit) if end is None else end
