"""Whether a map may be believed: four checks, each a number, a limit and a sentence. Light: loads no Keras.

What the numbers mean and how they are measured is `core.explanations.sanity`'s to say; the limits were chosen on
phantoms by ``python -m benchmarks.badge`` and stand in ``badge_limits.json`` beside this module.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

LIMITS_FILE = Path(__file__).with_name("badge_limits.json")
#: The three things a badge can say, worst last.
VERDICTS = ("may be believed", "with care", "do not believe")


@dataclass(frozen=True)
class Wording:
    """How one check is spoken of.

    Attributes
    ----------
    title : str
        What a map that passes does.
    at_most : bool
        Whether its number must stay below the limit; otherwise it must reach it.
    measure : str
        What the number is.
    passed, failed : str
        What either outcome means, a sentence each.
    """

    title: str
    at_most: bool
    measure: str
    passed: str
    failed: str


CHECKS: Mapping[str, Wording] = {
    "model": Wording(
        "Depends on the model", True,
        "rank correlation with the maps of twins whose weights are random",
        "Twins that have learnt nothing give other maps, so this one shows what the model has learnt.",
        "Twins that have learnt nothing give much the same map: it shows the slice's own shapes or the network's "
        "build, not what the model has learnt.",
    ),
    "decision": Wording(
        "Matters to the decision", False,
        "change of the class's probability that hiding and showing the warm places first makes, beyond a random order",
        "Hiding the warm places changes the answer more than hiding others, so the model does use them.",
        "Hiding the warm places changes the answer hardly more than hiding others of the head: the model may be "
        "deciding by something else, or may not be deciding for this class at all.",
    ),
    "head": Wording(
        "In the head", True,
        "share of the heat outside the head, of places at least half as hot as the hottest",
        "What is hot lies in the head and not in air, writing or borders.",
        "Much of what is hot lies in air, writing or borders. The model may have learnt a shortcut, such as a mark "
        "that goes with the class; the map may be right and the model worthless.",
    ),
    "stable": Wording(
        "Stable", False,
        "rank correlation with the map of the same slice under faint noise or moved by a pixel, the lower one",
        "Faint noise or a pixel's shift leaves the map as it is.",
        "Faint noise or a pixel's shift gives another map: its details are chance.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One check of one map.

    Attributes
    ----------
    name : str
        One of `CHECKS`.
    value : float
        NaN where it cannot be measured; that does not pass.
    limit : float
    """

    name: str
    value: float
    limit: float

    @property
    def wording(self) -> Wording:
        """How the check is spoken of."""
        return CHECKS[self.name]

    @property
    def passed(self) -> bool:
        """Whether the number keeps the limit."""
        return self.value <= self.limit if self.wording.at_most else self.value >= self.limit

    @property
    def number(self) -> str:
        """The number beside its limit, for people.

        Examples
        --------
        >>> Check("head", 0.314, 0.25).number, Check("stable", 0.9, 0.6).number
        ('31 %, at most 25 % passes', '0.90, at least 0.60 passes')
        """
        if math.isnan(self.value):
            return "cannot be measured"
        bound = "at most" if self.wording.at_most else "at least"
        if self.name == "head":
            return f"{100 * self.value:.0f} %, {bound} {100 * self.limit:.0f} % passes"
        return f"{self.value:.2f}, {bound} {self.limit:.2f} passes"

    @property
    def sentence(self) -> str:
        """What the outcome means."""
        return self.wording.passed if self.passed else self.wording.failed


@dataclass(frozen=True)
class Badge:
    """What may be believed of one map.

    Attributes
    ----------
    target : str
        The class that the map is of.
    checks : tuple of Check
        One each of `CHECKS`, in that order.
    empty : bool
        Whether the map has no heat at all, so that there is nothing to believe.
    """

    target: str
    checks: tuple[Check, ...]
    empty: bool = False

    @classmethod
    def of(cls, target: str, values: Mapping[str, float], empty: bool = False) -> "Badge":
        """Hold measured numbers against the limits.

        Examples
        --------
        >>> Badge.of("T1", {"model": 0.0, "decision": 0.9, "head": 0.0, "stable": 1.0}).verdict
        'may be believed'
        """
        limits = read_limits()["limits"]
        return cls(target, tuple(Check(name, float(values[name]), limits[name]) for name in CHECKS), empty)

    @property
    def values(self) -> dict[str, float]:
        """The numbers by check."""
        return {check.name: check.value for check in self.checks}

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`.

        A map that does not depend on the model or does not matter to its decision explains nothing. One that leaves
        the head or is not stable may still do so in part.
        """
        failed = [check.name for check in self.checks if not check.passed]
        if not failed and not self.empty:
            return VERDICTS[0]
        return VERDICTS[2] if self.empty or len(failed) > 1 or {"model", "decision"} & set(failed) else VERDICTS[1]

    @property
    def reason(self) -> str:
        """The verdict's reason, a sentence."""
        failed = [check for check in self.checks if not check.passed]
        if self.empty:
            return f"The map is empty: nothing in the slice speaks for {self.target} here."
        return (
            failed[0].sentence
            if failed
            else "It passes all four checks. It still says what the model used, not what is true."
        )

    def lines(self) -> list[str]:
        """The badge as text: the verdict, then a line a check."""
        checks = [
            f"{'passes' if check.passed else 'fails'}  {check.wording.title}: {check.number}" for check in self.checks
        ]
        return [f"{self.target}: {self.verdict}. {self.reason}", *checks]


@lru_cache(1)
def read_limits() -> dict:
    """Read the limits: ``limits`` by check, and ``by`` and ``date`` of the benchmark that chose them."""
    return json.loads(LIMITS_FILE.read_text("utf-8"))
