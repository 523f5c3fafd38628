"""The sequence and plane as people's words tell them: series descriptions, protocol and file names.

About one description in ten is wrong, so words are a witness, never the judge, where timings exist. A
word counts only as a whole word; the first rule that matches decides, and rules for purposes (localizer,
field map) come before rules for weightings, because a "T2 LOCALIZER" is a localizer.
"""

import re
from dataclasses import replace
from functools import lru_cache

from core.bids import name_words
from core.label_witness import ANYTHING, Finding, Header, found, words
from core.vocabulary import PLANES, plane_from, sequence_from

_SEED = re.compile(
    r"^(?P<plane>AX|COR|SAG)_(?P<sequence>[A-Z0-9*+-]+?)_(?:.*_)?"
    r"(?P<patient>T(?:CG|GC)A[A-Z0-9-]+)_(?P<number>\d+)\.(?:jpe?g|png)$",
    re.IGNORECASE,
)
_BARCODE = re.compile(r"(?<![A-Za-z0-9])T(?:CG|GC)A[-_ ]?(\d\d)[-_ ]?(\d{3,4})(?![0-9])", re.IGNORECASE)

_AGENT = r"(contrast\w*|gd\w*|gad\w*|ce|km|kontrast\w*|mdc|c)"
_YES = (
    rf"\+ ?{_AGENT}|(?<![a-z])(c ?\+|(with|w/?|mit|avec|con) (contrast\w*|gd|gad\w*|km|kontrast\w*|mdc)"
    r"|contrast enhanced|gd|gad|gado\w*|ce|km|mdc|post((gd|gad)\w*|contrast)?"
    r"|t1c ?\+?|t1 ?(ce|gd|gad\w*|km|post) ?\+?)"
)
_NO = (
    rf"(t1 ?)?(pre|without|w ?/ ?o|wo|ohne|sans|senza|non?) ?{_AGENT}|pre|precontrast|t1 ?pre|without|w ?/ ?o|wo"
    r"|ohne|nativ\w*|unenhanced|non ?enhanced|noncon\w*"
)
_BOTH = r"(with|w) ?(and|&|/|\+)? ?(without|wo)|wwo|pre ?(and|&|/|\+)? ?post"
_POST_ELSE = r"(pre|post) ?(op\w*|fossa|surg\w*|rt|radi\w*|proc\w*|treat\w*|ther\w*|resect\w*|biops\w*|ictal)"

_ASL = r"([23]d ?)?p?c?asl\w{0,3}|easl|arterial spin \w+|m0 ?scan"
_FA = r"col ?fa|fa ?map|fractional ?aniso\w*"
_DIFFUSION = r"(d|iso)?dwi\w{0,3}|dw|dti\w*|diff\w*|mddw|ep2d ?diff\w*|trace ?w?|hardi|noddi|tensor"
_B_VALUE = r"b ?=? ?(0|[5-9]0|[1-9]\d{2,3})"
_SEQUENCE_3D = r"(3d|space|cube|vista|sag|cor|ax|tra)"

#: Files that are no pictures; in a DICOM description the same words name a part of the body or a method.
_MASK_FILE = r"seg|dseg|\w*mask|labels?|lesions?|roi|probseg|aseg|aparc"

#: (rule, pattern, value), tried in order. These say what a series is for, or that it is a map.
_PURPOSES: tuple[tuple[str, str, str], ...] = (
    ("localizer", r"locali[sz]er\w*|loc|scout\w*|aascout|aahead\w*|survey|smartbrain|plan ?scan"
                  r"|(3|three|tri) ?(plane|pl)", "LOCALIZER"),
    ("calibration", r"(asset|sense|coil|ref(erence)?) ?(cal\w*|ref\w*|scan)|calib\w*|b1 ?map\w*|shim\w*", "OTHER"),
    ("made_picture", r"screen ?(save|shot|capture)|mask|segmentation|subtract\w*", "OTHER"),
    ("field_map", r"(gre ?|spin ?echo ?)?field ?map\w*|fmap|b0 ?map\w*|phasediff|magnitude[12]", "FIELDMAP"),
    ("exponential_adc", r"eadc|exp(onential)? ?adc|exponential apparent \w+ \w+", "OTHER"),
    ("adc", r"d?adc|average dc|apparent ?diffusion( ?coef\w*)?|adc ?map", "ADC"),
    ("arterial_spin_labelling", _ASL, "ASL"),
)  # fmt: skip
_KINDS: tuple[tuple[str, str, str], ...] = (
    ("diffusion", rf"{_DIFFUSION}|{_B_VALUE}", "DWI"),
    ("perfusion", r"dsc|dce|pwi|perf|perfusion|ep2d ?perf\w*|r?cbv\w*|relcbv|mtt|ttp|tmax|k ?trans|pbp|gbp", "PWI"),
    ("functional", r"(?<!ven )bold|fmri|func|task\w*|resting( ?state)?|rs ?fmri|rest|sbref", "BOLD"),
    ("map_of_t2star", r"qsm|r2 ?(star|\*)( ?map)?|t2 ?(star|\*) ?map\w*", "OTHER"),
    ("susceptibility", r"swi\w{0,3}|swan|suscept\w*|ven ?o? ?bold|min ?ip|mip images sw|(pha|mag) images", "SWI"),
    ("angiography", r"mr[av]|([23]d ?)?tof\w*|angio\w*|veno\w*|inhance|cow|circle of willis|[23]d ?pca?|tricks", "MRA"),
    ("stir", r"stir\w*", "OTHER"),
    ("double_inversion", rf"double ?(inv\w*|ir)|{_SEQUENCE_3D} dir|dir {_SEQUENCE_3D}", "OTHER"),
    ("parametric_map", r"q?[tr][12] ?map\w*|t1 images|t1 ?rho|mtr|pd ?map", "OTHER"),
    ("first_inversion", r"inv ?1|inversion ?1", "OTHER"),
)  # fmt: skip

_T2STAR = (
    r"t2 ?\*( ?w)?|t2 ?star ?w?|(gre|ffe|ge|gradient echo) t2|(gre )?hemo"
    r"|t2 ?(w )?((ax|axial|tra|cor|sag) )?(gre|ffe|fl[23]d|flash|fe|ge)\w*"
)
_FLAIR = r"\w*flair\w*|flr|dark ?fluid|t2f|da ?fl"
_T1 = (
    r"t1|t1wi?|t1n|t1c ?\+?|t1 ?(ce|gd|gad|km|post|pre) ?\+?"
    r"|t1 ?(se|tse|fse|fl[23]d|tfl|tirm|spc|vibe|ffe|tfe|mpr|spgr|blade)\w*"
    r"|t1 ?mprage|(me)?mp ?rage\w*|(ir ?)?f?spgr|bravo|vibe|mdeft|uni ?(den\w*|images)"
)
_T2 = r"t2|t2wi?|t2 ?(tse|fse|frfse|blade|prop\w*|spc|cube|space)\w*"
_PD = r"pdw?|proton ?dens\w*|pd ?(tse|fse|se)\w*"
_PD_AND_T2 = r"pd ?[/+]? ?t2\w*|t2 ?[/+]? ?pd\w*|dual ?echo|double ?echo"


def _search(pattern: str, text: str) -> re.Match | None:
    return re.search(rf"(?<![a-z0-9])(?:{pattern})(?![a-z0-9*])", text)


def normalise(text: str) -> str:
    """Lower-case `text`, glued words parted, and all but letters, digits, ``+ * / =`` turned into single spaces.

    Examples
    --------
    >>> normalise("AxT1-FLAIR_(+C), W/WO"), normalise("3DT1w")
    ('ax t1 flair +c w/wo', '3d t1w')
    """
    text = re.sub(r"[^a-z0-9+*/=&]+", " ", text.lower())
    text = re.sub(r"\b(axi?|axial|cor|sag|tra|obl)(?=t[12]|flair|dwi|pd|adc|swi|[23]d)", r"\1 ", text)
    text = re.sub(r"\b(t[12]w?)(?=ax|cor|sag|tra|flair)", r"\1 ", text)
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
        value = seed["sequence"]
        finding = found("T1" if value == "T1CE" else value, "text_seed_name", _seed_evidence(header))
        return replace(finding, contrast=value == "T1CE")
    return _hear(tuple(texts(header)), is_file=header.get("kind") != "dicom")


@lru_cache(maxsize=4096)  # a series says the same in each of its slices
def _hear(phrases: tuple[str, ...], is_file: bool) -> Finding:
    contrast = _contrast(" | ".join(phrases))
    for text in phrases:
        value, rule, possible = _name(text, phrases, is_file)
        if rule:
            return Finding(value, f"text_{rule}", f"“{text}”", possible, contrast)
    return Finding(evidence=", ".join(f"“{text}”" for text in phrases), contrast=contrast)


def _name(text: str, phrases: tuple[str, ...], is_file: bool) -> tuple[str | None, str, frozenset[str]]:
    """Give the value, the rule, and what the words leave possible."""

    def one(value: str | None, rule: str, *also: str):
        return value, rule, frozenset(also) | ({value} if value else set())

    if is_file and _search(_MASK_FILE, text):
        return one("OTHER", "mask_file")
    for rule, pattern, value in _PURPOSES:
        if _search(pattern, text):
            return one(value, rule)
    # "task-fa" is a run and "FA 15" a flip angle: the bare word needs diffusion around it.
    bare = _search("fa", text) and _search(_DIFFUSION, " | ".join(phrases)) and not _search(r"fa ?=? ?\d+", text)
    if (bare or _search(_FA, text)) and not _search(r"task\w*|func|bold|fmri|rest", text):
        return one("FA", "fractional_anisotropy")
    if _search(r"r?cbf|relcbf", text):
        if any(_search(_ASL, phrase) for phrase in phrases):
            return one("ASL", "blood_flow")
        return one(None, "blood_flow", "ASL", "PWI")
    for rule, pattern, value in _KINDS:
        if _search(pattern, text):
            return one(value, rule)
    if _search(r"inv ?2|inversion ?2", text):
        return one(None, "second_inversion", "T1", "PD", "OTHER")
    return _weighting(text, one)


def _weighting(text: str, one) -> tuple[str | None, str, frozenset[str]]:
    t1, t2, pd = (_search(pattern, text) for pattern in (_T1, _T2, _PD))
    if _search(_T2STAR, text) and not t1:
        return one("T2STAR", "t2star")
    if _search(_FLAIR, text):
        # The word names a preparation, and "T1 FLAIR" is T1.
        return one("T1", "t1_flair") if t1 and not t2 else one("FLAIR", "flair")
    if _search(_PD_AND_T2, text) or (pd and t2):
        return one(None, "pd_and_t2", "PD", "T2")
    if t1 and t2:
        return one(None, "t1_and_t2", "T1", "T2")
    if t2 and _search(r"\w*epi|ep2d", text):
        # Echo-planar "T2" is the b = 0 picture, a functional run or perfusion as often as anything else.
        return one(None, "t2_epi", "T2", "T2STAR", "DWI", "BOLD", "PWI")
    for value, match in (("T1", t1), ("T2", t2), ("PD", pd)):
        if match:
            return one(value, value.lower())
    if _search(r"mtc?|mt ?(on|off|only)|magneti[sz]ation ?transfer", text):
        return one("OTHER", "magnetization_transfer")
    return None, "", ANYTHING


def _contrast(text: str) -> bool | None:
    text = re.sub(rf"(?<![a-z0-9])(?:{_POST_ELSE})(?![a-z0-9])", " ", text)
    if _search(_BOTH, text):
        return None
    rest = re.sub(rf"(?<![a-z0-9])(?:{_NO})(?![a-z0-9])", " ", text)
    says_no, says_yes = rest != text, bool(re.search(rf"(?:{_YES})(?![a-z0-9])", rest))
    return None if says_no == says_yes else says_yes


def is_navigation(header: Header) -> bool:
    """Say whether the words name a planning series: mostly, but not always, made after contrast agent."""
    return any(
        _search(r"stealth\w*|brain ?lab\w*|nav|navi\w*|neuronav\w*|stereotac\w*", text) for text in texts(header)
    )


def read_plane(header: Header) -> tuple[str | None, str]:
    """Name the plane from words: only if one plane is named and no other.

    Returns
    -------
    plane : str or None
    evidence : str
    """
    if seed := seed_name(str(header.get("FileName", ""))):
        return seed["plane"], _seed_evidence(header)
    for text in texts(header):
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
