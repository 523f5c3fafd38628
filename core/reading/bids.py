"""What stands around a NIfTI volume: its BIDS name and its JSON sidecar, in the words of a DICOM header.

The names follow the Brain Imaging Data Structure, https://bids-specification.readthedocs.io: entities
(``sub-01_ce-gadolinium_acq-space``), then a suffix (``T1w``) that says what the volume is. Of the entities
only some speak of the picture; ``ses-post`` is a visit and no contrast agent, ``sub-PD04`` a person. The
sidecar holds what the converter read in the DICOM header, with times in seconds.
"""

import json
import math
import re
from pathlib import Path, PurePath
from typing import Any

_NAME = re.compile(r"(?P<entities>sub-[A-Za-z0-9+]+(?:_[A-Za-z]+-[A-Za-z0-9+]+)*)_(?P<suffix>[A-Za-z0-9]+)")
_VOLUME = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)

#: Suffixes whose letters alone mislead or say nothing to those who read words, and what they stand for. A map's
#: kind stands in ``param-``; a reference volume belongs to a functional run or to a diffusion run.
_SUFFIXES = {
    "unit1": "T1", "inplanet1": "T1", "inplanet2": "T2", "pdt2": "PD T2", "boldref": "BOLD", "sbref": "", "dwimap": "",
    "epi": "field map", "magnitude": "field map", "phase1": "field map", "phase2": "field map", "chimap": "QSM",
    "mtrmap": "MTR", "tb1map": "B1 map", "rb1map": "B1 map",
}  # fmt: skip
#: Entities that speak of the picture.
_TELLING = ("acq", "rec", "task", "inv", "mt")
_NO_AGENT = ("none", "no", "pre", "without", "false", "0")

#: A sidecar is a page of text.
_MAX_BYTES = 1 << 20
_MAX_TEXT = 1024
#: Times that a sidecar gives in seconds, and the longest of each that a scan can have: a file that breaks the rule
#: and writes milliseconds is seen by it, and silence beats a guess.
_SECONDS = {
    "RepetitionTime": ("RepetitionTime", 60.0), "RepetitionTimePreparation": ("RepetitionTime", 60.0),
    "EchoTime": ("EchoTime", 1.0), "InversionTime": ("InversionTime", 15.0),
}  # fmt: skip
_NUMBERS = ("FlipAngle", "EchoTrainLength", "MagneticFieldStrength", "SeriesNumber")
#: The sidecar's name for a text, and DICOM's. Names and numbers of patients are read to be hidden, see
#: `core.cohorts.pseudonyms.identity`.
_TEXTS = {
    **{name: name for name in (
        "Manufacturer", "ManufacturerModelName", "SeriesDescription", "ProtocolName", "ScanningSequence",
        "SequenceVariant", "ScanOptions", "SequenceName", "PulseSequenceName", "ImageType", "MRAcquisitionType",
        "PatientID", "PatientName",
    )},
    "ManufacturersModelName": "ManufacturerModelName", "ContrastBolusIngredient": "ContrastBolusAgent",
    "ArterialSpinLabelingType": "ArterialSpinLabelingContrast",
}  # fmt: skip


def name_words(name: str) -> list[str] | None:
    """Read a BIDS file name as phrases about the picture, most telling first.

    Parameters
    ----------
    name : str
        Of the file, with or without ``.nii.gz``.

    Returns
    -------
    list of str or None
        What the suffix says, then what the entities say, either left out where it says nothing; None for a name
        that is not of BIDS.

    Examples
    --------
    >>> name_words("sub-PD04_ses-post_ce-gadolinium_acq-space_T1w.nii.gz")
    ['T1w', 'with contrast acq space']
    >>> name_words("sub-01_task-fa_sbref"), name_words("t1_post.nii")
    (['BOLD', 'task fa'], None)
    """
    match = _NAME.fullmatch(_VOLUME.sub("", name))
    if not match:
        return None
    suffix, said = match["suffix"], []
    entities = dict(entity.split("-", 1) for entity in match["entities"].split("_"))
    if "ce" in entities:
        said.append("without contrast" if entities["ce"].lower() in _NO_AGENT else "with contrast")
    if "param" in entities:
        said.append(f"{entities['param']} map")
    said += [f"{entity} {entities[entity]}" for entity in _TELLING if entity in entities]
    words = _SUFFIXES.get(suffix.lower(), suffix)
    if suffix.lower() == "sbref" and "task" in entities:
        words = "BOLD"
    return [phrase for phrase in (words, " ".join(said)) if phrase]


def sidecar_of(volume: Path) -> Path:
    """Name the JSON file that would stand beside a NIfTI volume.

    Examples
    --------
    >>> sidecar_of(Path("sub-01_T1w.nii.gz")).name
    'sub-01_T1w.json'
    """
    return volume.with_name(_VOLUME.sub("", volume.name) + ".json")


def volumes_of(sidecar: PurePath) -> tuple[PurePath, PurePath]:
    """Name the NIfTI volumes that a JSON file would be the sidecar of."""
    stem = sidecar.name[: -len(".json")]
    return sidecar.with_name(f"{stem}.nii"), sidecar.with_name(f"{stem}.nii.gz")


def read_sidecar(volume: Path) -> dict[str, Any]:
    """Read the sidecar of a volume as the header that it was made from.

    Parameters
    ----------
    volume : Path
        The NIfTI file.

    Returns
    -------
    dict
        DICOM keywords with plain values, times in ms, as `core.dicom.read_headers` gives them; never geometry,
        which the volume itself has. {} without a sidecar. One that cannot be used says so under ``problem``.

    Notes
    -----
    Only the file beside the volume is read, not those of upper folders.
    """
    path = sidecar_of(volume)
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        return {"problem": f"its JSON sidecar cannot be opened ({error.strerror})"}
    if len(text) > _MAX_BYTES:
        return {"problem": f"its JSON sidecar has more than {_MAX_BYTES >> 20} MB and was not read"}
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {"problem": "its JSON sidecar is damaged and was not read"}
    if not isinstance(content, dict):
        return {"problem": "its JSON sidecar holds no attributes"}
    return _header(content)


def _header(content: dict) -> dict[str, Any]:
    header: dict[str, Any] = {}
    for name, keyword in _TEXTS.items():
        value = content.get(name)
        value = "\\".join(map(str, value)) if isinstance(value, list) else value
        if isinstance(value, str) and value.strip():
            header[keyword] = value.strip()[:_MAX_TEXT]
    for name in _NUMBERS:
        if (value := _number(content.get(name))) is not None:
            header[name] = value
    doubtful = []
    for name, (keyword, longest_s) in _SECONDS.items():
        value = _number(content.get(name))
        if value is not None and value > longest_s:
            doubtful.append(f"{name} {value:g} s")
        elif value is not None:
            header.setdefault(keyword, round(value * 1000, 6))
    if doubtful:
        header["problem"] = f"its JSON sidecar says {', '.join(doubtful)}, which no scan has: left out"
    return header


def _number(value: Any) -> float | None:
    """The first number, where it is a finite one."""
    value = value[0] if isinstance(value, list) and value else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        value = float(value)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None
