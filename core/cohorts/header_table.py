"""All attributes of a slice's header as a table, with whatever could name a person left out unless it is asked for.

What counts as naming follows the spirit of DICOM PS3.15, annex E (basic application level confidentiality profile):
names, identifiers, dates and times, places, devices, UIDs of instances, free text, and private text. Hiding too much
costs a reader little; hiding too little cannot be taken back.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import nibabel
import pydicom
from PIL import Image
from pydicom.multival import MultiValue
from pydicom.uid import UID_dictionary

from core.cohorts.pseudonyms import identity as identity_words
from core.cohorts.pseudonyms import scrub
from core.errors import UnreadableFile

#: What stands in place of a hidden value, and of a name within a text.
HIDDEN = "hidden"
#: A table that a person reads has fewer rows; an enhanced file's could have a million.
_MAX_ROWS, _MAX_ITEMS, _MAX_DEPTH, _MAX_TEXT = 4000, 30, 6, 400

_NUMBERS = ("US", "SS", "UL", "SL", "UV", "SV", "FD", "FL", "DS", "IS", "AT")
_BINARY = ("OB", "OW", "OF", "OD", "OL", "OV", "UN")
_DATES, _FREE_TEXT = ("DA", "DT", "TM"), ("LT", "ST", "UT", "UR", "AE")
#: Of the patient's group, what tells nobody from another.
_OF_ANYBODY = ("PatientSex", "PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved")
#: Visits, requests and procedure steps: who asked for what, where and when.
_GROUPS_OF_ORDERS = (0x0032, 0x0038, 0x0040)
_NAMING = re.compile(
    r"Accession|Address|Admi(ssion|tting)|Comment|Custodia|Device(Serial|ID|UID)|History|Identifier|Institution|Issuer"
    r"|Occupation|Operator|Performing|Person|Physician|Plate|Protocol(ID|Context)|Requesting|Serial|Site|Station"
    r"|StudyID|Telephone|TimepointID|Trial|UniqueID"
)


def read_attributes(path: Path, frame: int = 0, identity: bool = False) -> list[dict[str, str]]:
    """List the header of one slice.

    Parameters
    ----------
    path : Path
    frame : int
        As in `core.sources.read_headers`; of an enhanced file's functional groups only this frame's are listed.
    identity : bool
        Whether to tell what could name a person.

    Returns
    -------
    list of dict
        In the order of the file: ``tag``, ``name`` (a DICOM keyword, with the sequences that it stands in, or the
        field of another format), ``vr`` and ``value``, which is `HIDDEN` where it could name a person; names that
        the header itself gives are also taken out of other values.

    Raises
    ------
    UnreadableFile
        With one sentence that names the reason.
    """
    try:
        if path.name.lower().endswith((".nii", ".nii.gz")):
            return list(_of_nifti(path, identity))
        with path.open("rb") as file:
            start = file.read(8)
        if start.startswith((b"\x89PNG", b"\xff\xd8\xff")):
            return list(_of_picture(path, identity))
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True, defer_size=4096)
        words = () if identity else _named(dataset, path)
        rows = []
        for row in [*_rows(dataset.file_meta, frame, identity), *_rows(dataset, frame, identity)][:_MAX_ROWS]:
            rows.append({**row, "value": scrub(row["value"], words, HIDDEN)})
        return rows
    except (UnreadableFile, MemoryError):
        raise
    except OSError as error:
        raise UnreadableFile(f"It cannot be read ({error.strerror or 'it ends too early'}).") from None
    except Exception as error:
        # Neither pydicom nor nibabel nor Pillow promises what it raises for a damaged file; their words may quote it.
        raise UnreadableFile(f"Its header cannot be listed ({type(error).__name__}).") from error


def _named(dataset: pydicom.Dataset, path: Path) -> tuple[str, ...]:
    """The people that a header names, as texts to look for in other values."""
    names = [element.value for element in dataset if element.VR == "PN"]
    names = [str(name) for value in names for name in (value if isinstance(value, list | MultiValue) else [value])]
    found = [
        identity_words({"PatientName": name, "PatientID": dataset.get("PatientID")}, PurePosixPath(path.name))
        for name in ["", *names]
    ]
    return tuple(dict.fromkeys(text for texts in found for text in texts))


def _rows(
    dataset: pydicom.Dataset, frame: int, identity: bool, above: str = "", private: bool = False, depth: int = 0
) -> Iterator[dict[str, str]]:
    for element in dataset:
        if element.tag.element == 0:
            continue  # the length of a group, which is the writer's business
        name = f"{above}{_name(element)}"
        inside = private or element.tag.is_private
        row = {"tag": str(element.tag), "name": name, "vr": str(element.VR)}
        if element.VR != "SQ":
            hidden = not identity and _names_a_person(element, inside)
            yield {**row, "value": HIDDEN if hidden else _text(element)}
            continue
        items = list(enumerate(element.value or []))
        yield {**row, "value": f"{len(items)} {'item' if len(items) == 1 else 'items'}"}
        if element.keyword == "PerFrameFunctionalGroupsSequence":
            items = items[frame : frame + 1]
        for number, item in items[:_MAX_ITEMS] if depth < _MAX_DEPTH else []:
            place = f"{name}[{number + 1}] › " if len(items) > 1 else f"{name} › "
            yield from _rows(item, frame, identity, place, inside, depth + 1)


def _name(element: pydicom.DataElement) -> str:
    if element.tag.is_private:
        creator = getattr(element, "private_creator", None)
        return f"private, {creator}" if creator else "private"
    return element.keyword or element.name


def _names_a_person(element: pydicom.DataElement, private: bool) -> bool:
    """Whether an attribute's value, or the text in it, could name a person."""
    vr, keyword, group = element.VR, element.keyword, element.tag.group
    if element.is_empty or (element.tag.is_private_creator and element.tag.is_private):
        return False
    if private:
        return vr not in _NUMBERS
    if vr == "PN" or vr in _DATES or vr in _FREE_TEXT:
        return True
    if vr == "UI":
        # The standard's own UIDs name a kind of object or coding; all others one study, series, slice or device.
        values = [element.value] if element.VM == 1 else element.value
        return any(str(uid) not in UID_dictionary for uid in values)
    if group == 0x0010:
        return keyword not in _OF_ANYBODY
    if group in _GROUPS_OF_ORDERS:
        return vr not in _NUMBERS
    return bool(_NAMING.search(keyword)) and not keyword.startswith("PerformedProtocol")


def _text(element: pydicom.DataElement) -> str:
    value = element.value
    if element.VR in _BINARY or isinstance(value, bytes):
        return f"{len(value or b'')} bytes"
    values = list(value) if element.VM > 1 else [value]
    shown = [f"{one:g}" if isinstance(one, float) else str("" if one is None else one) for one in values]
    if element.VR == "UI" and len(values) == 1 and shown[0] in UID_dictionary:
        return f"{shown[0]} ({UID_dictionary[shown[0]][0]})"
    text = "\\".join(shown)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"


def _of_nifti(path: Path, identity: bool) -> Iterator[dict[str, str]]:
    for name, value in nibabel.load(path).header.items():
        vr = str(value.dtype)
        text = value.tobytes().decode("latin-1").strip("\0 ") if value.dtype.kind == "S" else str(value.tolist())
        # Converters write names and file names into the free fields.
        hidden = value.dtype.kind == "S" and name != "magic" and text and not identity
        yield {"tag": "", "name": name, "vr": vr, "value": HIDDEN if hidden else text}


def _of_picture(path: Path, identity: bool) -> Iterator[dict[str, str]]:
    with Image.open(path) as picture:
        known: dict[str, Any] = {"Format": picture.format, "Columns": picture.width, "Rows": picture.height,
                                 "Mode": picture.mode}  # fmt: skip
        for name, value in known.items():
            yield {"tag": "", "name": name, "vr": "", "value": str(value)}
        for name, value in picture.info.items():
            text = f"{len(value)} bytes" if isinstance(value, bytes) else str(value)[:_MAX_TEXT]
            hidden = not identity and isinstance(value, str)
            yield {"tag": "", "name": str(name), "vr": "", "value": HIDDEN if hidden else text}
