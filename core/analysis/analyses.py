"""What is worked out once of a run's predictions, when it is evaluated, and kept in its folder; pages only read it.

Each analysis is a module of its own with ``write(run, report)``, which reads what `core.evaluation` has written and
puts its files into the run's folder ``analyses/``. A run that was evaluated before an analysis was there lacks its
files: pages then say so, and how to have them made (``python -m core evaluate RUN``).
"""

import importlib
from collections.abc import Callable
from pathlib import Path

from core.runs import Run

Report = Callable[[float, str], None]


def _of(module: str) -> Callable[[Run, Report], None]:
    """Return a module's ``write``; analyses import this module, so they are imported when they are needed."""
    return lambda run, report: importlib.import_module(f"core.{module}").write(run, report)


#: What is done, in order: words for its progress, and what does it.
ANALYSES: tuple[tuple[str, Callable[[Run, Report], None]], ...] = (
    ("Scoring each class", _of("analysis.class_scores")),
    ("Looking for weak spots", _of("analysis.weak_spots")),
    ("Finding mistakes along the head", _of("analysis.positions")),
    ("Asking whether it knew", _of("analysis.doubt")),
    ("Judging probabilities", _of("analysis.calibration_report")),
    ("Making sets of answers", _of("analysis.conformal")),
    ("Looking for strange slices", _of("analysis.novelty_report")),
    ("Letting series vote", _of("analysis.series_report")),
    ("Drawing the map", _of("analysis.embedding_map")),
    ("Looking for the nearest training slices", _of("analysis.neighbours")),
    ("Judging the labels", _of("analysis.label_issues")),
    ("Comparing pairs", _of("explanations.pairs")),
)


def folder(run: Run) -> Path:
    """Return where a run's analyses are kept; it need not exist yet."""
    return run.folder / "analyses"


def write(run: Run, report: Report | None = None) -> None:
    """Do every analysis of an evaluated run.

    Parameters
    ----------
    run : Run
    report : callable, optional
        Called with (share done from 0 to 1, message).
    """
    report = report or (lambda share, message: None)
    folder(run).mkdir(exist_ok=True)
    for number, (words, analyse) in enumerate(ANALYSES):
        start = number / len(ANALYSES)
        report(start, words)
        analyse(run, lambda share, message, start=start: report(start + share / len(ANALYSES), message))
