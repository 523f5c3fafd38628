"""A label's rule and evidence as sentences for people.

`core.labels` gives rules and evidence as a machine keeps them (``spin_echo_t1+text_t1+contrast_words``); here they
become "T1CE: the words “ax t1 post gd” prove contrast agent; timings and codes say T1 (…)". Only what the rule and the
evidence say is told: a rule that this module has never heard of is quoted by its name.
"""

import re

from core.labels import OBLIQUE_DEG
from core.vocabulary import SEQUENCES

_AXES = {"axial": "head–foot", "coronal": "front–back", "sagittal": "left–right"}
#: Keywords that readers know by a short name, with the unit that the header leaves out.
_SHORT = {
    "RepetitionTime": ("TR", " ms"), "EchoTime": ("TE", " ms"), "EffectiveEchoTime": ("effective TE", " ms"),
    "InversionTime": ("TI", " ms"), "InversionTimes": ("TI", " ms"), "FlipAngle": ("flip angle", "°"),
    "DiffusionBValue": ("b", " s/mm²"), "SiemensBValue": ("b", " s/mm²"), "PhilipsBValue": ("b", " s/mm²"),
}  # fmt: skip
_SPELLED = {"t1": "T1", "t2": "T2", "pd": "PD", "t2star": "T2*", "epi": "EPI", "adc": "ADC", "flair": "FLAIR",
            "3d": "3D", "2d": "2D", "mprage": "MPRAGE", "stir": "STIR"}  # fmt: skip


def plane_words(plane: str | None, rule: str, tilt_deg: float = float("nan")) -> str:
    """Say why a slice has its plane.

    Parameters
    ----------
    plane : str or None
    rule : str
        As `core.labels.plane_from_header` names it; ``person`` for a label that somebody changed.
    tilt_deg : float
        Between slice normal and nearest axis, degrees; NaN when unknown.

    Examples
    --------
    >>> plane_words("axial", "geometry", 3.2)
    'Axial, because the slice normal lies 3° from the head–foot axis.'
    >>> plane_words("coronal", "geometry_oblique", 36.4)
    'Coronal is the nearest plane, but the slice is oblique: its normal lies 36° from the front–back axis.'
    """
    if not plane:
        return "No plane: the header has no usable geometry, and no word names one."
    name, tilted = plane.capitalize(), f"lies {tilt_deg:.0f}° from the {_AXES.get(plane, 'nearest')} axis"
    if rule.startswith("geometry") and tilt_deg == tilt_deg:
        if rule == "geometry_oblique" or tilt_deg > OBLIQUE_DEG:
            return f"{name} is the nearest plane, but the slice is oblique: its normal {tilted}."
        return f"{name}, because the slice normal {tilted}."
    if rule.startswith("text"):
        return f"{name}, because words of the header or the file name say so; there is no geometry to check them."
    return f"{name}, {_other(rule)}."


def sequence_words(sequence: str | None, rule: str, evidence: str) -> str:
    """Say why a slice has its sequence, or none.

    Parameters
    ----------
    sequence : str or None
    rule, evidence : str
        As `core.labels.sequence_from_header` gives them.

    Examples
    --------
    >>> sequence_words("T1CE", "spin_echo_t1+text_t1+contrast_words",
    ...                "EchoTime 12; “ax t1 post gd”; contrast: named in words")
    'T1CE: the words “ax t1 post gd” prove contrast agent; timings and codes say T1 (spin echo T1: TE 12 ms).'
    >>> sequence_words("FLAIR", "text_flair", "“ax flair”")
    'FLAIR: the words “ax flair” say so; timings and codes leave it open.'
    >>> sequence_words(None, "", "")
    'No sequence: neither timings and codes nor words tell.'
    """
    said, measured, contrast = _parts(evidence)
    if not sequence:
        read = "; ".join(part for part in (measured, said and f"the words {said}") if part)
        return f"No sequence: what the header says leaves it open ({read})." if read else (
            "No sequence: neither timings and codes nor words tell."
        )  # fmt: skip
    names = [name for name in rule.split("+") if name != "contrast_words"]
    text = [name for name in names if name.startswith("text")]
    physics = [name for name in names if not name.startswith("text")]
    if sequence not in SEQUENCES or physics == ["person"] or not (text or "; " in evidence or physics):
        return f"{sequence}, {_other(rule, evidence)}."
    base = "T1" if sequence == "T1CE" else sequence
    reading = ", ".join(_spelled(name) for name in physics) + (f": {measured}" if measured else "")
    words = f"the words {said}" if said else "words of the header or the file name"
    if sequence == "T1CE":
        first = f"{words} prove contrast agent"
        second = f"timings and codes say T1 ({reading})" if physics else "timings and codes allow T1"
    elif physics and text:
        first, second = f"timings and codes ({reading}) and {words} fit together", ""
    elif text:
        first, second = f"{words} say so", "timings and codes leave it open"
    else:
        first = f"timings and codes say {base} ({reading})"
        second = f"{words} do not decide it" if said else ""
    sentence = f"{sequence}: " + "; ".join(part for part in (first, second) if part)
    return sentence + _contrast_words(sequence, contrast) + "."


def _parts(evidence: str) -> tuple[str, str, str]:
    """Take evidence apart: quoted words, what was measured in readers' short names, what stands of contrast agent."""
    parts = [part for part in evidence.split("; ") if part]
    contrast = next((part.removeprefix("contrast: ") for part in parts if part.startswith("contrast: ")), "")
    parts = [part for part in parts if not part.startswith("contrast: ")]
    said = ", ".join(part for part in parts if part.startswith("“"))
    return said, _short("; ".join(part for part in parts if not part.startswith("“"))), contrast


def _short(evidence: str) -> str:
    for keyword, (name, unit) in _SHORT.items():
        evidence = re.sub(rf"\b{keyword} (-?[\d.]+)", rf"{name} \1{unit}", evidence)
    return evidence.replace("\\", "/")


def _spelled(rule: str) -> str:
    return " ".join(_SPELLED.get(word, word) for word in rule.split("_"))


def _contrast_words(sequence: str, contrast: str) -> str:
    if sequence != "T1" or not contrast:
        return ""
    if contrast.startswith("none"):
        return "; the words say that no agent was given"
    hint = contrast.removeprefix("unknown").strip(" ()")
    return "; whether contrast agent was given is not known" + (f" ({_short(hint)})" if hint else "")


def _other(rule: str, evidence: str = "") -> str:
    if rule == "person":
        return "set by hand" + (f" ({evidence})" if evidence else "")
    return f"by the rule “{_spelled(rule)}”" + (f" ({_short(evidence)})" if evidence else "")
