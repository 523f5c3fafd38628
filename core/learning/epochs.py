"""What a model answered after each epoch, so that one can watch how its errors go: ``epochs.npz`` in the run folder.

Only class numbers of validation and test slices are kept, one byte each, of at most `MOST` epochs and the best one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from core.analysis.confusion import ConfusionMatrix
from core.cohorts.slice_table import replaced
from core.learning.checkpoints import EpochMark

EPOCHS_FILE = "epochs.npz"
#: Epochs that are kept at most, evenly chosen; the best and the last one come on top.
MOST = 50
#: Parts of the split that are asked about.
ASKED = ("validation", "test")

_UNKNOWN = 255


@dataclass(frozen=True)
class EpochAnswers:
    """Answers of a run after some of its epochs.

    Attributes
    ----------
    classes : dict of list of str
        Of each head.
    split : ndarray of str, shape (n,)
        Part of each slice, ``validation`` or ``test``.
    rows : ndarray of int, shape (n,)
        Places of the slices in the run's ``split.parquet``.
    truth : dict of ndarray of uint8, shape (n,)
        Head to class numbers; 255 where nobody knows.
    numbers : tuple of int, length e
        Which epochs, counted from 1 over all stages.
    marks : tuple of EpochMark, length e
    answers : dict of ndarray of uint8, shape (e, n)
        Head to class numbers.
    best : int
        Number of the best epoch; 0 when there is none yet.
    """

    classes: dict[str, list[str]]
    split: np.ndarray
    rows: np.ndarray
    truth: dict[str, np.ndarray]
    numbers: tuple[int, ...]
    marks: tuple[EpochMark, ...]
    answers: dict[str, np.ndarray]
    best: int

    def matrix(self, head: str, split: str, place: int) -> ConfusionMatrix:
        """Count how often each class was taken for each.

        Parameters
        ----------
        head : str
        split : {"validation", "test"}
        place : int
            Which of the kept epochs, from 0.
        """
        judged = self._judged(head, split)
        names = self.classes[head]
        counts = np.zeros((len(names), len(names)), int)
        np.add.at(counts, (self.truth[head][judged], self.answers[head][place][judged]), 1)
        return ConfusionMatrix(tuple(names), counts)

    def accuracy(self, head: str, split: str) -> np.ndarray:
        """Return the share of right answers after each kept epoch, (e,), from 0 to 1; NaN without slices."""
        judged = self._judged(head, split)
        if not judged.any():
            return np.full(len(self.numbers), np.nan)
        return (self.answers[head][:, judged] == self.truth[head][judged]).mean(axis=1)

    def parts(self, head: str) -> list[str]:
        """List the parts of the split that have slices whose answer is known."""
        return [split for split in ASKED if self._judged(head, split).any()]

    def _judged(self, head: str, split: str) -> np.ndarray:
        return (self.split == split) & (self.truth[head] != _UNKNOWN)


def is_planned(number: int, total: int) -> bool:
    """Tell whether an epoch is one of the evenly chosen ones.

    Parameters
    ----------
    number : int
        From 1, over all stages.
    total : int
        Epochs of all stages.

    Examples
    --------
    >>> [number for number in range(1, 7) if is_planned(number, 6)]
    [1, 2, 3, 4, 5, 6]
    >>> sum(is_planned(number, 5000) for number in range(1, 5001)) <= MOST
    True
    """
    return number % -(-total // MOST) == 0


def begin(
    classes: Mapping[str, Sequence[str]], y: Mapping[str, np.ndarray], split: np.ndarray, rows: np.ndarray
) -> EpochAnswers:
    """Return the answers of no epoch yet.

    Parameters
    ----------
    classes : dict of sequence of str
    y : dict of ndarray of int, shape (n,)
        Class numbers of the slices that will be asked about; -1 where nobody knows.
    split : ndarray of str, shape (n,)
    rows : ndarray of int, shape (n,)
        Their places in ``split.parquet``.
    """
    truth = {head: np.where(numbers < 0, _UNKNOWN, numbers).astype(np.uint8) for head, numbers in y.items()}
    none = {head: np.empty((0, len(rows)), np.uint8) for head in classes}
    names = {head: list(words) for head, words in classes.items()}
    return EpochAnswers(names, np.asarray(split, str), np.asarray(rows, np.int32), truth, (), (), none, 0)


def added(
    kept: EpochAnswers, number: int, mark: EpochMark, answers: Mapping[str, np.ndarray], best: int, total: int
) -> EpochAnswers:
    """Return the answers with those of one more epoch; former bests and lasts that were not planned make room.

    Parameters
    ----------
    kept : EpochAnswers
    number : int
        Later than all that are kept.
    mark : EpochMark
    answers : dict of ndarray of int, shape (n,)
        Head to class numbers.
    best : int
        Number of the best epoch so far.
    total : int
        Epochs of all stages.
    """
    stay = [place for place, old in enumerate(kept.numbers) if old == best or is_planned(old, total)]
    return replace(
        kept,
        numbers=(*(kept.numbers[place] for place in stay), number),
        marks=(*(kept.marks[place] for place in stay), mark),
        answers={
            head: np.concatenate([kept.answers[head][stay], np.asarray(now, np.uint8)[None]])
            for head, now in answers.items()
        },
        best=best,
    )


def until(kept: EpochAnswers, number: int, best: int) -> EpochAnswers:
    """Return the answers of epochs up to a number: those after it will be done again."""
    n = sum(old <= number for old in kept.numbers)
    cut = {head: answers[:n] for head, answers in kept.answers.items()}
    return replace(kept, numbers=kept.numbers[:n], marks=kept.marks[:n], answers=cut, best=best)


def write(folder: Path, kept: EpochAnswers) -> None:
    """Write ``epochs.npz`` into a run folder; readers see the old one or the new one."""
    marks = [asdict(mark) for mark in kept.marks]
    about = {"classes": kept.classes, "numbers": kept.numbers, "marks": marks, "best": kept.best}
    arrays = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8), "split": kept.split, "rows": kept.rows}
    for head in kept.classes:
        arrays |= {f"truth-{head}": kept.truth[head], f"answers-{head}": kept.answers[head]}
    with replaced(folder / EPOCHS_FILE) as fresh, fresh.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read(folder: Path) -> EpochAnswers | None:
    """Read a run's ``epochs.npz``; None when there is none, as for the shipped model."""
    path = folder / EPOCHS_FILE
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        about = json.loads(stored["about"].tobytes())
        return EpochAnswers(
            classes=about["classes"],
            split=stored["split"],
            rows=stored["rows"],
            truth={head: stored[f"truth-{head}"] for head in about["classes"]},
            numbers=tuple(about["numbers"]),
            marks=tuple(EpochMark(**mark) for mark in about["marks"]),
            answers={head: stored[f"answers-{head}"] for head in about["classes"]},
            best=about["best"],
        )
