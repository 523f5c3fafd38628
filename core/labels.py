"""Header → labels: plane from geometry, sequence from two witnesses, each with its rule and evidence.

Physics (the scanner's codes and timings) and text (people's words) are heard apart in
`core.labelling.label_physics` and `core.labelling.label_text`; here they are brought together:

1. Both name the same sequence, or one is silent: that sequence. Text alone is believed only where
   physics leaves it possible.
2. Physics leaves several possible and text names one of them, or the two leave one in common: that one.
3. They contradict each other: physics wins, because timings are written by the scanner and about one
   description in ten is wrong ("SAG T1 FLAIR", "FLAIR" with the timings of a T1). If physics has no
   single answer of its own, there is no label. Either way the conflict is noted.
   One exception: nothing in the timings tells what a series is *for*, so a localizer and pictures that
   only a name can tell (STIR maps, double inversion, subtraction) stay possible under every timing.
4. T1 becomes T1CE only by words that prove contrast agent; the agent attribute alone is not enough (it
   names what was drawn up for the examination), and a navigation name or its place in the order of series
   proves nothing. A T1 without such words is T1 with "contrast: unknown" in its evidence.

No rule, no label: silence beats a guess.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from core.labelling import label_codes, label_scan, label_text, label_timings, label_words
from core.labelling.label_physics import read_physics
from core.labelling.label_text import is_navigation, read_plane, read_text, seed_name, tcga_barcode
from core.labelling.label_witness import Finding, Header, Rule, quote, words
from core.vocabulary import PLANES

__all__ = [
    "KEYWORDS", "OBLIQUE_DEG", "RULES", "Decision", "label_header", "plane_from_header", "seed_name",
    "sequence_from_header", "sequence_from_physics", "sequence_from_text", "tcga_barcode",
    "unit_normal",
]  # fmt: skip

#: Every attribute that decides the sequence: slices that agree in these have one label.
KEYWORDS = tuple(sorted({*label_scan.KEYWORDS, *label_text.KEYWORDS, "ContrastBolusAgent"}))

#: Above this tilt in degrees a slice is called oblique.
OBLIQUE_DEG = 30.0


PLANE_RULES = (
    Rule("geometry", None, "The patient axis nearest the slice normal; the scanner computes with it, so it cannot lie.",
         lambda header: (nearest := _nearest(header)) is not None and nearest[1] <= OBLIQUE_DEG,
         reads=("ImageOrientationPatient",)),
    Rule("geometry_oblique", None, f"The same, tilted by more than {OBLIQUE_DEG:.0f}°: the nearest plane, flagged.",
         lambda header: _nearest(header) is not None,
         reads=("ImageOrientationPatient",)),
    Rule("text_plane", None, "Without usable geometry, words that name one plane and no other.",
         lambda header: read_plane(header)[0] in PLANES,
         reads=("SeriesDescription", "ProtocolName")),
)  # fmt: skip

#: All rules by the witness that they belong to; a page of the documentation is made of them.
RULES: dict[str, tuple[Rule, ...]] = {
    "Image types": label_codes.IMAGE_TYPES,
    "Pulse sequences": label_codes.PULSE_SEQUENCES,
    "Readouts": label_codes.READOUTS,
    "Inversion recovery": label_timings.INVERSION_RECOVERY,
    "Spin echo": label_timings.SPIN_ECHO,
    "Gradient echo": label_timings.GRADIENT_ECHO,
    "Stated contrast": label_timings.STATED,
    "Words for purposes": (label_text.SEED_RULE, *label_words.PURPOSES),
    "Words for kinds of contrast": label_words.KINDS,
    "Words for weightings": label_words.WEIGHTINGS,
    "Contrast agent": label_words.CONTRAST,
    "Plane": PLANE_RULES,
}


@dataclass(frozen=True)
class Decision:
    """One label with its reason.

    Attributes
    ----------
    value : str or None
        A word of `core.vocabulary`, or None for no label.
    rule : str
        The rule that decided; ``""`` exactly when there is no label.
    evidence : str
        The values that the rule read; without a label, why there is none.
    """

    value: str | None = None
    rule: str = ""
    evidence: str = ""


def plane_from_header(header: Header) -> tuple[Decision, float]:
    """Name the plane by the patient axis nearest the slice normal, else by unambiguous words.

    Parameters
    ----------
    header : mapping
        As from `core.sources.read_headers`.

    Returns
    -------
    decision : Decision
        Rule ``geometry``, ``geometry_oblique`` (tilt above `OBLIQUE_DEG`) or ``text_plane``.
    tilt_deg : float
        Angle between normal and axis in degrees, 0 to 54.7; NaN without geometry.

    Examples
    --------
    >>> decision, tilt_deg = plane_from_header({"ImageOrientationPatient": [1, 0, 0, 0, 0.8, 0.6]})
    >>> decision.value, decision.rule, round(tilt_deg, 1)
    ('axial', 'geometry_oblique', 36.9)
    """
    rule = next((rule for rule in PLANE_RULES if rule.when(header)), None)
    if rule is None:
        return Decision(), math.nan
    if nearest := _nearest(header):
        plane, tilt = nearest
        orientation = "\\".join(f"{float(v):.4g}" for v in _orientation(header))
        return Decision(plane, rule.name, f"ImageOrientationPatient {orientation}, tilt {tilt:.1f} deg"), tilt
    return Decision(read_plane(header)[0], rule.name, read_plane(header)[1]), math.nan


def _nearest(header: Header) -> tuple[str, float] | None:
    """Give the plane nearest the geometry and the angle to it in degrees."""
    if (normal := unit_normal(header)) is None:
        return None
    largest = max(range(3), key=lambda axis: abs(normal[axis]))
    return ("sagittal", "coronal", "axial")[largest], math.degrees(math.acos(min(1.0, abs(normal[largest]))))


def _orientation(header: Header) -> list[float]:
    value = header.get("ImageOrientationPatient")
    parts = value.split("\\") if isinstance(value, str) else list(value if value is not None else [])
    try:
        return [float(part) for part in parts]
    except ValueError:
        return []


def unit_normal(header: Header) -> tuple[float, float, float] | None:
    """Give the slice's unit normal, or None unless its orientation is two perpendicular unit vectors (within 5 %)."""
    numbers = _orientation(header)
    if len(numbers) != 6 or not all(map(math.isfinite, numbers)):
        return None
    (a, b, c), (d, e, f) = numbers[:3], numbers[3:]
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    lengths = [math.hypot(*vector) for vector in ((a, b, c), (d, e, f), normal)]
    if any(abs(length - 1) > 0.05 for length in lengths):
        return None
    return tuple(component / lengths[2] for component in normal)


def sequence_from_physics(header: Header) -> Decision:
    """Name the sequence from the scanner's codes and timings alone.

    Examples
    --------
    >>> sequence_from_physics({"ScanningSequence": "SE", "RepetitionTime": 500.0, "EchoTime": 12.0}).value
    'T1'
    """
    return _decision(read_physics(header))


def sequence_from_text(header: Header) -> Decision:
    """Name the sequence from words alone, T1CE included.

    Examples
    --------
    >>> [sequence_from_text({"kind": "dicom", "SeriesDescription": d}).value
    ...  for d in ("AX T1 POST GD FLAIR", "func-bold_task-fa", "AX T1 W/WO", "3-PLANE LOC", "Series 5")]
    ['T1CE', 'BOLD', 'T1', 'LOCALIZER', None]
    """
    return _decision(read_text(header), header)


def _decision(finding: Finding, header: Header | None = None) -> Decision:
    if finding.value is None:
        open_ = f"{finding.rule} leaves {', '.join(sorted(finding.possible))} open: {finding.evidence}"
        return Decision(evidence=open_ if finding.rule else "")
    if finding.value == "T1" and header is not None:
        return _with_contrast(finding.value, finding.rule, finding.evidence, finding.contrast, header)
    return Decision(finding.value, finding.rule, finding.evidence)


def _with_contrast(value: str, rule: str, evidence: str, contrast: bool | None, header: Header) -> Decision:
    if contrast:
        return Decision("T1CE", f"{rule}+contrast_words", f"{evidence}; contrast: named in words")
    if contrast is False:
        return Decision(value, rule, f"{evidence}; contrast: none, say the words")
    if words(header, "ContrastBolusAgent") & {"NONE", "NO"}:
        return Decision(value, rule, f"{evidence}; contrast: none, says ContrastBolusAgent")
    hints = [quote(header, "ContrastBolusAgent"), "a navigation name" if is_navigation(header) else ""]
    hint = ", ".join(hint for hint in hints if hint)
    return Decision(value, rule, f"{evidence}; contrast: unknown{f' ({hint} proves none)' if hint else ''}")


def sequence_from_header(header: Header) -> tuple[Decision, str]:
    """Hear both witnesses and give the verdict.

    Parameters
    ----------
    header : mapping
        As from `core.sources.read_headers`.

    Returns
    -------
    decision : Decision
    conflict : str
        A short sentence when the witnesses contradict each other, else ``""``.

    Examples
    --------
    >>> flair = {"ScanningSequence": "SE\\\\IR", "RepetitionTime": 2200.0, "EchoTime": 9.0, "InversionTime": 860.0,
    ...          "SeriesDescription": "SAG FLAIR", "kind": "dicom"}
    >>> decision, conflict = sequence_from_header(flair)
    >>> decision.value, decision.rule, conflict
    ('T1', 't1_flair', 'words say FLAIR, timings and codes say T1: taken as T1')
    """
    told = ((keyword, header.get(keyword)) for keyword in KEYWORDS)
    if header.get("kind") == "dicom":  # their files' names say nothing, and differ
        told = ((keyword, value) for keyword, value in told if keyword != "FileName")
    return _weighed(tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in told if v not in (None, "")))


@lru_cache(maxsize=8192)  # what decides is the same in most slices of a series
def _weighed(told: tuple[tuple[str, Any], ...]) -> tuple[Decision, str]:
    header = dict(told)
    physics, text = read_physics(header), read_text(header)
    contrast = text.contrast
    common = physics.possible & text.possible
    both = "; ".join(part for part in (physics.evidence, text.evidence) if part)
    if text.value is not None and text.value in physics.possible:
        value = text.value
        rule = "+".join(name for name in (physics.rule, text.rule) if name)
    elif physics.value is not None and physics.value in text.possible:
        value, rule = physics.value, physics.rule
    elif physics.rule and text.rule and len(common) == 1:
        (value,), rule = common, f"{physics.rule}+{text.rule}"
    elif not common:
        return _contradiction(header, physics, text, both)
    else:
        return Decision(evidence=both), ""
    if value == "T1":
        return _with_contrast(value, rule, both, contrast, header), ""
    return Decision(value, rule, both), ""


def _contradiction(header: Header, physics: Finding, text: Finding, evidence: str) -> tuple[Decision, str]:
    said = text.value or " or ".join(sorted(text.possible))
    measured = physics.value or " or ".join(sorted(physics.possible))
    taken = f"taken as {physics.value}" if physics.value else "no label"
    conflict = f"words say {said}, timings and codes say {measured}: {taken}"
    if physics.value is None:
        return Decision(evidence=evidence), conflict
    if physics.value == "T1":
        return _with_contrast("T1", physics.rule, evidence, text.contrast, header), conflict
    return Decision(physics.value, physics.rule, evidence), conflict


def label_header(header: Header) -> dict[str, str | float | None]:
    """Label one slice.

    Parameters
    ----------
    header : mapping
        As from `core.sources.read_headers`; ``FileName`` is read where the file is no DICOM. A ``problem`` is
        noted under conflict, a ``note`` with the evidence.

    Returns
    -------
    dict
        plane, plane_rule, tilt_deg, sequence, sequence_rule, sequence_evidence, conflict: columns of the
        slice table. `plane` and `sequence` are None where no rule fired.
    """
    plane, tilt_deg = plane_from_header(header)
    sequence, conflict = sequence_from_header(header)
    named, _ = read_plane(header)
    sentences = [sentence for sentence in (conflict, header.get("problem")) if sentence]
    if named in PLANES and plane.value != named:
        sentences.append(f"words say {named}, geometry says {plane.value}: taken as {plane.value}")
    return {
        "plane": plane.value,
        "plane_rule": plane.rule,
        "tilt_deg": tilt_deg,
        "sequence": sequence.value,
        "sequence_rule": sequence.rule,
        "sequence_evidence": "; ".join(part for part in (sequence.evidence, header.get("note")) if part),
        "conflict": "; ".join(sentences),
    }
