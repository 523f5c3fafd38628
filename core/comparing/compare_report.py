"""A comparison of runs in words and tables, the same for page and command line."""

import numpy as np
import pandas as pd

from core.comparing.bootstrap import FEW_PATIENTS, Bootstrap
from core.comparing.compare import Comparison, HeadComparison
from core.comparing.patient_scores import SCORES

_ACCURACY = SCORES.index("accuracy")
_SURE = 0.001


def sentence(head: HeadComparison, names: tuple[str, ...], other: int) -> str:
    """Say whether another run is better than the first: the difference in accuracy with its interval by patient."""
    first, second = (100 * float(head.scores[at].estimate[_ACCURACY]) for at in (0, other))
    said = f"{names[other]} names {second:.1f} % of the slices rightly, {names[0]} {first:.1f} %: "
    difference = head.difference(other)
    low, high = (100 * float(end[_ACCURACY]) for end in difference.interval())
    said += f"{with_sign(second - first)} points"
    if head.patients < 2:
        return said + ". One patient tells nothing about others, so there is no interval."
    said += f" (95 % interval by patient {with_sign(low)} to {with_sign(high)}). "
    if low <= 0 <= high:
        return said + "With other patients it could be nothing, or the other way round."
    if head.patients < FEW_PATIENTS:
        return said + f"That is the word of {head.patients} patients, too few to count on."
    return said + "Other patients would hardly turn that round."


def caution(head: HeadComparison) -> str:
    """Say what an interval of few patients is worth; empty when they are enough."""
    if not 2 <= head.patients < FEW_PATIENTS:
        return ""
    return f"The slices are of {head.patients} patients only, so the intervals are too narrow: take them for a hint."


def basis(head: HeadComparison, names: tuple[str, ...]) -> str:
    """Say which slices were compared."""
    own = ", ".join(f"{name} has {n:,}" for name, n in zip(names, head.tested, strict=True))
    patients = "1 patient" if head.patients == 1 else f"{head.patients} patients"
    said = f"Judged on the {len(head.slices):,} test slices of {patients} that all have in common ({own})."
    if head.relabelled:
        said += f" {head.relabelled:,} more were labelled anew between the evaluations and are left out."
    return said


def mcnemar_sentence(head: HeadComparison, names: tuple[str, ...], other: int) -> str:
    """Say how many slices flipped, and what McNemar's test makes of them."""
    test = head.mcnemar(other)
    p = f"p < {_SURE}" if test.p < _SURE else f"p = {test.p:.3f}"
    return (
        f"{test.mended:,} slices are right in {names[other]} alone, {test.broken:,} in {names[0]} alone; McNemar's "
        f"exact test says {p}. It takes slices for independent, which those of one patient are not: go by the interval."
    )


def percent(value: float) -> str:
    """Write a share as percent, without a sign for what is not known.

    Examples
    --------
    >>> percent(0.9834), percent(float("nan"))
    ('98.3', '–')
    """
    return "–" if np.isnan(value) else f"{100 * value:.1f}"


def score_cells(scores: Bootstrap, signed: bool = False) -> list[str]:
    """Write each of `SCORES` in percent with its interval."""
    form = (lambda value: "–" if np.isnan(value) else with_sign(100 * value)) if signed else percent
    rows = zip(np.atleast_1d(scores.estimate), *map(np.atleast_1d, scores.interval()), strict=True)
    return [form(value) + ("" if np.isnan(low) else f"  ({form(low)} to {form(high)})") for value, low, high in rows]


def score_table(head: HeadComparison, names: tuple[str, ...]) -> pd.DataFrame:
    """Tabulate scores with 95 % intervals by patient, in percent: a row a run, then a row a difference to the first."""
    rows = {name: score_cells(scores) for name, scores in zip(names, head.scores, strict=True)}
    for other in range(1, len(names)):
        rows[f"{names[other]} − {names[0]}"] = score_cells(head.difference(other), signed=True)
    return pd.DataFrame.from_dict(rows, orient="index", columns=[f"{score} (%)" for score in SCORES]).rename_axis("run")


def text(made: Comparison) -> str:
    """Write a whole comparison as text, for the command line."""
    parts = ["Compared with " + made.names[0] + ": " + ", ".join(made.names[1:])]
    if made.configuration.empty:
        parts.append("Their configurations are the same.")
    else:
        named = made.configuration.set_axis(list(made.names), axis=1)
        parts.append("Configuration, where it differs\n" + named.to_string())
    for head in made.heads:
        parts.append(f"{head.head.upper()}\n{basis(head, made.names)}\n{caution(head)}".rstrip())
        parts.append(score_table(head, made.names).to_string())
        for other in range(1, len(made.names)):
            parts.append(f"{sentence(head, made.names, other)}\n{mcnemar_sentence(head, made.names, other)}")
    parts += [*made.left_out, *made.leaks]
    return "\n\n".join(parts)


def with_sign(value: float) -> str:
    """Write a number with its sign, a minus as long as a plus.

    Examples
    --------
    >>> with_sign(4.2), with_sign(-0.5)
    ('+4.2', '−0.5')
    """
    return f"{value:+.1f}".replace("-", "−")
