"""What people say of one answer of a model: the label is wrong, the slice is ambiguous, the model is wrong; a note.

Judgements stand in the cohort's label log beside the labels, and are undone like these. A person who knows the right
label gives it as a label (`core.labelling.label_log.append_label`), which changes the cohort; a judgement changes
nothing.
"""

from dataclasses import dataclass

from core.cohorts.slice_table import Cohort
from core.errors import CohortError
from core.labelling.label_log import WORDS, append_lines, keys_of, standing, undone_by

#: What can be said, and in words; a note alone has "".
VERDICTS = {
    "label_wrong": "label is wrong", "ambiguous": "ambiguous", "model_wrong": "model is wrong", "": "note",
}  # fmt: skip
_LONGEST_NOTE = 500


@dataclass(frozen=True)
class Said:
    """One thing that somebody said of a slice.

    Attributes
    ----------
    id : str
        Of its line in the log, by which it is undone.
    by, at : str
        Who, and when (ISO 8601).
    head : str
    words : str
        For people, for example ``label is wrong`` or ``plane is axial``.
    note : str
    """

    id: str
    by: str
    at: str
    head: str
    words: str
    note: str = ""


def columns_of(head: str) -> tuple[str, ...]:
    """Return the labels that a head's classes are made of.

    Examples
    --------
    >>> columns_of("plane"), columns_of("plane-sequence")
    (('plane',), ('plane', 'sequence'))
    """
    return tuple(column for column in WORDS if column in head.split("-"))


def append_judgement(
    cohort: Cohort, key: str, head: str, verdict: str, by: str, note: str = "", run: str = "", at: str | None = None
) -> str:
    """Write down what a person says of a model's answer.

    Parameters
    ----------
    cohort : Cohort
        Written already.
    key : str
        From `core.cohort.slice_key`.
    head : str
        Which answer.
    verdict : str
        One of `VERDICTS`.
    by : str
        Who says so.
    note : str
        At most 500 characters.
    run : str
        Id of the run whose answer it was.
    at : str, optional
        When, ISO 8601; now if left out.

    Returns
    -------
    str
        The line's id, for `core.labelling.label_log.undo_label`.

    Raises
    ------
    CohortError
        For a verdict that there is not, a note that is too long, nothing said, nobody who says it, or when the line
        cannot be written.

    Notes
    -----
    A line is ``{"id", "slice", "head", "verdict", "note", "run", "by", "at"}``.
    """
    note = " ".join(note.split())
    if verdict not in VERDICTS or not (verdict or note):
        raise CohortError(f"A judgement is one of {', '.join(filter(None, VERDICTS))} or a note; got {verdict!r}.")
    if len(note) > _LONGEST_NOTE:
        raise CohortError(f"A note has at most {_LONGEST_NOTE} characters; received {len(note)}. Shorten it.")
    if not by:
        raise CohortError("A judgement needs to say whose it is. Give your name first.")
    line = {"slice": key, "head": head, "verdict": verdict, "note": note, "run": run}
    (line_id,) = append_lines(cohort, [line], by, at)
    return line_id


def said_of(log: list[dict], key: str, series: str) -> list[Said]:
    """List what stands of a slice, newest first: judgements, and labels that people gave it or its series.

    Parameters
    ----------
    log : list of dict
        From `core.labelling.label_log.read_log`.
    key : str
        Of the slice.
    series : str
        Its SeriesInstanceUID.
    """
    undone = undone_by(log)
    found = []
    for line in log:
        if line["id"] in undone or line.get("batch") in undone:
            continue
        if line.get("slice") == key:
            words = VERDICTS.get(line["verdict"], line["verdict"])
            found.append(Said(line["id"], line["by"], line["at"], line["head"], words, line["note"]))
        elif "key" in line and ({key, series} & set(keys_of(line))):
            of = "" if key in keys_of(line) else " (whole series)"
            words = f"{line['column']} is {line['new'] or 'not known'}{of}"
            # A line of a batch is undone with all of it.
            found.append(Said(line.get("batch", line["id"]), line["by"], line["at"], line["column"], words))
    return found[::-1]


def looked_at(log: list[dict], head: str) -> set[str]:
    """Give the slices and series of which somebody said something that concerns a head; slice keys and series UIDs.

    A label table that was given to the whole cohort is nobody's look at a slice.
    """
    undone = undone_by(log)
    judged = {line["slice"] for line in log if line.get("head") == head and line["id"] not in undone}
    columns = columns_of(head)
    return judged | {key for line in standing(log)
                     if line["column"] in columns and "batch" not in line for key in keys_of(line)}  # fmt: skip
