"""Lessons in words and tables, the same for page and command line."""

import numpy as np
import pandas as pd

from core.comparing.bootstrap import FEW_PATIENTS, Bootstrap
from core.comparing.compare_report import caution, percent, with_sign
from core.learning.lesson_results import CurveHead, NaiveHead, NaiveResult
from core.learning.lessons import Lesson

#: Rows of a naive lesson, in its figure and table.
ROWS = ("Naive, by its own test", "Naive, on people it never saw", "Honest, on the same people")
#: Points below which nobody would collect more patients for what is still to be gained.
LITTLE = 1.0
#: What no band of one curve holds.
ONE_DEAL = (
    "Every share is of the same order of patients, so who was among the first is one throw of the dice: with other "
    "training patients the curve would run otherwise, and no band shows that. Another seed does."
)


def accuracies(head: NaiveHead) -> tuple[Bootstrap, Bootstrap, Bootstrap]:
    """Return the accuracies of `ROWS`."""
    return head.promised, head.naive, head.honest


def naive_sentences(head: NaiveHead) -> list[str]:
    """Say what the naive test promised, what came of it, and what the honest one says."""
    people = "1 person" if head.patients == 1 else f"{head.patients} people"
    said = (
        f"By its own test the naive model names {_with_interval(head.promised)} of the slices rightly, and of {people} "
        f"whom it never saw {_with_interval(head.naive)}. {_gap(head)}"
    )
    honest = (
        f"The honest model was tested on those same people: {_with_interval(head.honest)}. It has not seen them "
        "either, so its own test is what new people can expect, as far as so many can tell."
    )
    return [said, honest]


def _gap(head: NaiveHead) -> str:
    points = 100 * float(head.gap.estimate)
    low, high = (100 * float(end) for end in head.gap.interval())
    if np.isnan(low):
        return f"That is {with_sign(points)} points of promise, from one person who tells nothing about others."
    interval = f"(95 % interval by patient {with_sign(low)} to {with_sign(high)})"
    if low > 0:
        word = f" That is the word of {head.patients} people." if head.patients < FEW_PATIENTS else ""
        return f"Its own test promised {points:.1f} points too much {interval}.{word}"
    if high < 0:
        return f"Its own test promised {-points:.1f} points less than that {interval}: these people are easier."
    return (
        f"The difference is {with_sign(points)} points {interval}, which could be chance. Had there been a real one, "
        "the naive test could not have shown it."
    )


def why(result: NaiveResult) -> str:
    """Say why the naive score is too good, in counts of its own split."""
    known = "All" if result.known == result.tested else f"{result.known:,} of"
    said = f"{known} {result.tested:,} slices of the naive test show people whom it learnt from"
    if result.beside is not None:
        said += f", and {result.beside:,} have their very neighbour in the series among the training slices"
    (first, patients), (second, others) = result.trained
    return (
        f"{said}. Neighbouring slices of one head look alike, so it is enough to know the head again. Both learnt from "
        f"about as many slices ({first:,} of {patients} patients, {second:,} of {others}), so the naive model need "
        "not be the worse one; only what it says of itself is worth less. In the original student project of 2020, "
        "too, the test patients stood in training."
    )


def naive_table(head: NaiveHead) -> pd.DataFrame:
    """Tabulate the three accuracies, in percent: a row each."""
    own, people = head.slices
    rows = [
        [*_cells(scores), slices, scores.patients]
        for scores, slices in zip(accuracies(head), (own, people, people), strict=True)
    ]
    columns = ["accuracy (%)", "95 % interval by patient", "slices", "patients"]
    return pd.DataFrame(rows, index=pd.Index(ROWS, name="model and test"), columns=columns)


def curve_sentence(head: CurveHead) -> str:
    """Advise, from the last step of a learning curve, whether more patients are worth asking for."""
    step = head.last_step
    if step is None:
        return (
            f"{_with_interval(head.accuracy[0])} with {_patients(head.trained[0])}; a curve begins with the next run."
        )
    points = 100 * float(step.estimate)
    low, high = (100 * float(end) for end in step.interval())
    moved = (
        "did not change" if round(points, 1) == 0 else f"{'rose' if points > 0 else 'fell'} by {abs(points):.1f} points"
    )
    said = f"From {head.trained[-2]} to {_patients(head.trained[-1])} in training, accuracy {moved}"
    if np.isnan(low):
        return f"{said}. One test patient tells nothing about others: test on more before asking for more."
    said += f" (95 % interval by patient {with_sign(low)} to {with_sign(high)})"
    far = f"As far as {head.patients} test patients can tell, " if head.patients < FEW_PATIENTS else ""
    return f"{said}. {_capital(far + _advice(head, low, high))}"


def _advice(head: CurveHead, low: float, high: float) -> str:
    left = 100 * (1 - float(head.accuracy[-1].estimate))
    if left < LITTLE:
        return (
            f"there is hardly anything left to gain ({left:.1f} points): test on harder cases before asking for more."
        )
    if low > 0:
        return "more patients are likely to help."
    if high < LITTLE:
        return "more patients like these are unlikely to help: look at what it gets wrong instead."
    return "this could be nothing or a real gain: more test patients would tell, before more are asked for to train on."


def law_sentence(head: CurveHead) -> str:
    """Say what the fitted power law expects of twice as many patients; empty without one."""
    if head.law is None:
        return ""
    value, low, high = (100 * float(part[-1]) for part in (head.law.accuracy, head.law.low, head.law.high))
    return (
        f"A power law through the points puts {round(float(head.law.patients[-1]))} patients at {value:.1f} % "
        f"({low:.1f} to {high:.1f})."
    )


def curve_table(head: CurveHead) -> pd.DataFrame:
    """Tabulate a learning curve, in percent: a row a point."""
    rows = [_cells(scores) for scores in head.accuracy]
    index = pd.Index(head.trained, name="training patients")
    return pd.DataFrame(rows, index=index, columns=["accuracy (%)", "95 % interval by patient"])


def weakness(head: NaiveHead | CurveHead) -> str:
    """Say where a result is weak; empty when enough patients were tested."""
    if head.patients == 1:
        return "Only one patient was there to judge by, who tells nothing about others: there is no interval."
    return caution(head)


def text(lesson: Lesson, result: NaiveResult | tuple[CurveHead, ...]) -> str:
    """Write a lesson as text, for the command line."""
    parts = [lesson.title]
    for head in result.heads if isinstance(result, NaiveResult) else result:
        parts.append(head.head.upper())
        if isinstance(head, NaiveHead):
            parts += [naive_table(head).to_string(), *naive_sentences(head)]
        else:
            parts += [curve_table(head).to_string(), curve_sentence(head), law_sentence(head)]
        parts.append(weakness(head))
    parts.append(why(result) if isinstance(result, NaiveResult) else ONE_DEAL)
    return "\n\n".join(filter(None, [*parts, *lesson.notes]))


def _with_interval(scores: Bootstrap) -> str:
    accuracy, interval = _cells(scores)
    return f"{accuracy} %" + (f" ({interval.replace(' – ', ' to ')})" if interval != "–" else "")


def _cells(scores: Bootstrap) -> list[str]:
    low, high = map(float, scores.interval())
    return [percent(float(scores.estimate)), "–" if np.isnan(low) else f"{percent(low)} – {percent(high)}"]


def _patients(n: int) -> str:
    return "1 patient" if n == 1 else f"{n} patients"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
