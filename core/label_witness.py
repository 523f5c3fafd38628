"""What a witness to a slice's label can say, and how the header's values are read.

A header is one of the dictionaries that `core.sources.read_headers` returns: DICOM keywords as keys,
plain values, several values joined by a backslash. Values are read with suspicion: an absent, empty
or zero attribute says nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.vocabulary import SEQUENCES

Header = Mapping[str, Any]

ANYTHING = frozenset(SEQUENCES)


@dataclass(frozen=True)
class Finding:
    """One witness's account of a sequence.

    Attributes
    ----------
    value : str or None
        The label if no other witness speaks; None when several remain possible.
    rule : str
        Name of the rule that fired; ``""`` when none did.
    evidence : str
        The values read.
    possible : frozenset of str
        The labels that this account leaves open; all of them when no rule fired.
    contrast : bool or None
        Whether the words prove contrast agent: yes, no, or nothing said.
    """

    value: str | None = None
    rule: str = ""
    evidence: str = ""
    possible: frozenset[str] = ANYTHING
    contrast: bool | None = None


def found(value: str | None, rule: str, evidence: str, *also: str) -> Finding:
    """Make a finding whose value, and whatever stands in `also`, remain possible.

    Examples
    --------
    >>> sorted(found("PD", "spin_echo_pd", "TE 20 ms", "T1").possible)
    ['PD', 'T1']
    """
    return Finding(value, rule, evidence, frozenset(also) | ({value} if value else set()))


def number(header: Header, *keywords: str) -> float | None:
    """Read the first positive number under any of `keywords`; of several values the first.

    Examples
    --------
    >>> number({"EchoTime": "0", "EffectiveEchoTime": "98\\\\99"}, "EchoTime", "EffectiveEchoTime")
    98.0
    """
    for keyword in keywords:
        value = header.get(keyword)
        if isinstance(value, list | tuple):
            value = value[0] if len(value) else None
        try:
            result = float(str(value).split("\\")[0])
        except ValueError:
            continue
        if math.isfinite(result) and result > 0:
            return result
    return None


def words(header: Header, *keywords: str) -> frozenset[str]:
    """Read all values under `keywords` in upper case.

    Examples
    --------
    >>> sorted(words({"ScanningSequence": "GR\\\\IR"}, "ScanningSequence", "Absent"))
    ['GR', 'IR']
    """
    values = (header.get(keyword) for keyword in keywords)
    return frozenset(
        word.strip().upper() for value in values if value is not None for word in str(value).split("\\") if word.strip()
    )


def quote(header: Header, *keywords: str) -> str:
    """Spell out the values under `keywords` that are present, as evidence.

    Examples
    --------
    >>> quote({"RepetitionTime": 2250.0, "ImageType": "ORIGINAL\\\\PRIMARY"}, "RepetitionTime", "EchoTime", "ImageType")
    'RepetitionTime 2250, ImageType ORIGINAL\\\\PRIMARY'
    """
    present = [(keyword, header[keyword]) for keyword in keywords if header.get(keyword) not in (None, "")]
    return ", ".join(f"{keyword} {f'{value:g}' if isinstance(value, float) else value}" for keyword, value in present)
