"""What a witness to a slice's label can say, and how the header's values are read.

A header is one of the dictionaries that `core.sources.read_headers` returns: DICOM keywords as keys,
plain values, several values joined by a backslash. Values are read with suspicion: an absent, empty
or zero attribute says nothing.
"""

import math
from collections.abc import Callable, Mapping
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


@dataclass(frozen=True)
class Rule:
    """One way to tell a sequence, with the reason why it may be told so.

    Attributes
    ----------
    name : str
        As it stands in the slice table.
    value : str or None
        The label; None where the rule only narrows down what is possible.
    why : str
        What is asked of the header, and why that tells. ``docs/label_rules.md`` is made of these.
    when : callable
        Takes what the witness reads (a `core.labelling.label_scan.Scan`, or words) and says whether the rule fires.
    also : tuple of str
        Labels that other witnesses may still give.
    reads : tuple of str
        Attributes that are quoted as evidence.

    Examples
    --------
    >>> rule = Rule("long_echo", "T2", "Fluid is bright at long echo times.", lambda scan: scan["te"] > 80, ("FLAIR",))
    >>> rule.when({"te": 96}), sorted(rule.possible)
    (True, ['FLAIR', 'T2'])
    """

    name: str
    value: str | None
    why: str
    when: Callable[[Any], Any]
    also: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()

    @property
    def possible(self) -> frozenset[str]:
        """The labels that remain possible when the rule has fired."""
        return frozenset(self.also) | ({self.value} if self.value else set())

    def finding(self, evidence: str) -> Finding:
        """Give what the rule found, with the values that it read."""
        return Finding(self.value, self.name, evidence, self.possible)


def values(header: Header, keyword: str) -> list[Any]:
    """Read the values under one keyword, of which there may be several.

    Examples
    --------
    >>> values({"ImageType": "ORIGINAL\\\\PRIMARY"}, "ImageType"), values({"EchoTime": 98.0}, "EchoTime")
    (['ORIGINAL', 'PRIMARY'], [98.0])
    """
    value = header.get(keyword)
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else value.split("\\") if isinstance(value, str) else [value]


def number(header: Header, *keywords: str) -> float | None:
    """Read the first positive number under any of `keywords`; of several values the first.

    Examples
    --------
    >>> number({"EchoTime": "0", "EffectiveEchoTime": "98\\\\99"}, "EchoTime", "EffectiveEchoTime")
    98.0
    """
    for keyword in keywords:
        try:
            result = float(next(iter(values(header, keyword)), math.nan))
        except (TypeError, ValueError):
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
    found = (str(value).strip().upper() for keyword in keywords for value in values(header, keyword))
    return frozenset(word for word in found if word)


def quote(header: Header, *keywords: str) -> str:
    """Spell out the values under `keywords` that are present, as evidence.

    Examples
    --------
    >>> quote({"RepetitionTime": 2250.0, "ImageType": "ORIGINAL\\\\PRIMARY"}, "RepetitionTime", "EchoTime", "ImageType")
    'RepetitionTime 2250, ImageType ORIGINAL\\\\PRIMARY'
    """
    present = [(keyword, header[keyword]) for keyword in keywords if header.get(keyword) not in (None, "")]
    return ", ".join(f"{keyword} {_spelt(value)}" for keyword, value in present)


def _spelt(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "\\".join(_spelt(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
