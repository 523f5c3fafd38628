"""The sequence and plane as people's words tell them: series descriptions, protocol and file names.

About one description in ten is wrong, so words are a witness, never the judge, where timings exist. The
rules for one phrase stand in `core.labelling.label_words`.
"""

import re
import unicodedata
from dataclasses import replace
from functools import lru_cache

from core.labelling.label_witness import Finding, Header, Rule, words
from core.labelling.label_words import RULES, Phrase, contrast_said, found_in
from core.reading.bids import name_words
from core.vocabulary import PLANES, plane_from, sequence_from

_SEED = re.compile(
    r"^(?P<plane>AX|COR|SAG)_(?P<sequence>[A-Z0-9*+-]+?)_(?:.*_)?"
    r"(?P<patient>T(?:CG|GC)A[A-Z0-9-]+)_(?P<number>\d+)\.(?:jpe?g|png)$",
    re.IGNORECASE,
)
_NAVIGATION = r"stealth\w*|brain ?lab\w*|nav|navi\w*|neuronav\w*|stereotac\w*|cyber ?knife|gamma ?plan"
_BARCODE = re.compile(r"(?<![A-Za-z0-9])T(?:CG|GC)A[-_ ]?(\d\d)[-_ ]?(\d{3,4})(?![0-9])", re.IGNORECASE)

#: The original project named its pictures by hand-checked labels.
SEED_RULE = Rule(
    "text_seed_name", None, "A picture named as the original project names them (AX_T1KM_…) carries its label.",
    lambda name: seed_name(name) is not None,
)  # fmt: skip


@lru_cache(maxsize=4096)  # asked of each slice of a series, by several rules
def normalise(text: str) -> str:
    """Lower-case `text`, glued words parted, and all but letters, digits, ``+ * / =`` turned into single spaces.

    Examples
    --------
    >>> normalise("AxT1-FLAIR_(+C), W/WO"), normalise("3DT1w")
    ('ax t1 flair +c w/wo', '3d t1w')
    """
    text = unicodedata.normalize("NFKD", text.lower())  # so that an accent parts no word
    text = re.sub(r"[^a-z0-9+*/=&]+", " ", re.sub(r"[\u0300-\u036f]", "", text))
    text = re.sub(r"\bo?(axi?|axial|cor|sag|tra|obl)(?=t[12]|flair|dwi|pd|adc|swi|field|[23]d)", r"\1 ", text)
    text = re.sub(r"\b(t[12]w?)(?=ax|cor|sag|tra|flair)", r"\1 ", text)
    text = re.sub(r"(t1|t2|pre|post|flair|adc|cb[vf])reg\b", r"\1 reg", text)  # "FLAIRreg": registered
    text = re.sub(r"\bs(?=t[12]w)", "", text)  # Philips' "sT1W": a short scan
    text = re.sub(r"\b([23]d)(?=[a-z])", r"\1 ", text)
    return " ".join(text.split())


def texts(header: Header) -> list[str]:
    """List the phrases worth reading, most telling first.

    A protocol's name counts only on original images (a map keeps the name of the run it came from), and
    never on GE, where it names the whole examination. A file's name counts unless it is DICOM, whose
    names are numbers and identifiers.
    """
    parts = [header.get("SeriesDescription")]
    derived = "DERIVED" in words(header, "ImageType", "FrameType")
    if not derived and not str(header.get("Manufacturer", "")).upper().startswith("GE"):
        parts.append(header.get("ProtocolName"))
    if header.get("kind") != "dicom":
        name = re.sub(r"\.(nii|gz|png|jpe?g)\b", "", str(header.get("FileName", "")), flags=re.IGNORECASE)
        # Whoever gave a BIDS name looked at the volume; the sidecar's description is the scanner's.
        parts = [*of_bids, *parts] if (of_bids := name_words(name)) is not None else [*parts, name]
    return [text for text in (normalise(str(part)) for part in parts if part) if text]


#: Every attribute that the words come from.
KEYWORDS = ("kind", "SeriesDescription", "ProtocolName", "ImageType", "FrameType", "Manufacturer", "FileName")


def read_text(header: Header) -> Finding:
    """Name the sequence from words alone.

    Parameters
    ----------
    header : mapping
        As from `core.sources.read_headers`; ``FileName`` is read where the file is no DICOM.

    Returns
    -------
    Finding
        ``contrast`` is True when the words prove agent and none of them doubts it, False when they say
        "before" or "without", None when they say nothing or both ("W/WO").
    """
    if seed := seed_name(str(header.get("FileName", ""))):
        value, evidence = seed["sequence"], _seed_evidence(header)
        rule = replace(SEED_RULE, value="T1" if value == "T1CE" else value)
        return replace(rule.finding(evidence), contrast=value == "T1CE")
    return _hear(tuple(texts(header)), is_file=header.get("kind") != "dicom")


@lru_cache(maxsize=4096)  # a series says the same in each of its slices
def _hear(phrases: tuple[str, ...], is_file: bool) -> Finding:
    contrast = contrast_said(" | ".join(phrases))
    for text in phrases:
        phrase = Phrase(text, phrases, is_file)
        if rule := next((rule for rule in RULES if rule.when(phrase)), None):
            return replace(rule.finding(f"“{text}”"), contrast=contrast)
    return Finding(evidence=", ".join(f"“{text}”" for text in phrases), contrast=contrast)


def is_navigation(header: Header) -> bool:
    """Say whether the words name a planning series: mostly, but not always, made after contrast agent."""
    return any(found_in(text, _NAVIGATION) for text in texts(header))


def read_plane(header: Header) -> tuple[str | None, str]:
    """Name the plane from words: only if one plane is named and no other.

    Returns
    -------
    plane : str or None
    evidence : str
    """
    if seed := seed_name(str(header.get("FileName", ""))):
        return seed["plane"], _seed_evidence(header)
    return _plane_of(tuple(texts(header)))


@lru_cache(maxsize=4096)
def _plane_of(phrases: tuple[str, ...]) -> tuple[str | None, str]:
    for text in phrases:
        planes = {plane_from(word) for word in re.split(r"[^a-z]+", text)} & set(PLANES)
        if len(planes) == 1:
            return planes.pop(), f"“{text}”"
        if planes:
            break
    return None, ""


def _seed_evidence(header: Header) -> str:
    # The rest of the name is the patient, whom evidence must not tell.
    plane, sequence = str(header["FileName"]).split("_")[:2]
    return f"file name {plane}_{sequence}_…"


def tcga_barcode(text: str) -> str | None:
    """Find a TCGA participant in a file or folder name, the seed's misspellings included.

    Examples
    --------
    >>> [tcga_barcode(t) for t in ("TCGA020037", "TGCA020037", "TCGA02-0046", "TCGA02086", "TCGA-02-0006-01", "TCGA")]
    ['TCGA-02-0037', 'TCGA-02-0037', 'TCGA-02-0046', 'TCGA-02-0086', 'TCGA-02-0006', None]
    """
    match = _BARCODE.search(text)
    return f"TCGA-{match[1]}-{match[2].zfill(4)}" if match else None


def seed_name(name: str) -> dict[str, str | int] | None:
    """Read a file name of the seed project as labels.

    Returns
    -------
    dict or None
        Keys plane, sequence (our words), PatientID (a TCGA barcode where there is one) and InstanceNumber.

    Examples
    --------
    >>> seed_name("AX_T1KM_Glioma_GBM_TCGA020037_12.jpg")
    {'plane': 'axial', 'sequence': 'T1CE', 'PatientID': 'TCGA-02-0037', 'InstanceNumber': 12}
    """
    match = _SEED.match(name)
    sequence = sequence_from(match["sequence"]) if match else None
    if sequence is None:
        return None
    return {
        "plane": plane_from(match["plane"]),
        "sequence": sequence,
        "PatientID": tcga_barcode(match["patient"]) or match["patient"],
        "InstanceNumber": int(match["number"]),
    }
