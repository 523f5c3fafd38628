"""Lessons: a few runs that are started together, because what they show they only show side by side.

*naive* trains one model twice, dealt by patient and dealt by slice (the ``naive`` split of `core.config.RunConfig`),
and judges both on people neither has seen. *curve* trains one model on growing shares of the training patients. A
lesson is a small file in the workspace that names its runs; the runs are runs like any other, so nothing here has to
stay open. `core.learning.lesson_results` reads what came of them.
"""

import json
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core import cohort, jobs, runs
from core.cohorts import leaks
from core.cohorts.leaks import LeakReport
from core.cohorts.slice_table import replaced
from core.comparing import run_notes
from core.config import RunConfig
from core.errors import ConfigError, CoreError, RunError
from core.learning import preflight
from core.runs import Run
from core.settings import get_settings

#: What each kind is called.
KINDS = {"naive": "Honest versus naive", "curve": "Learning curve"}
#: Shares of the training patients of a learning curve.
SHARES = (0.1, 0.25, 0.5, 1.0)
#: By which the runs of lessons are found among all.
TAG = "lesson"
#: Why the leak of a naive run may pass; it stands on the run's card.
_WHY = "it is one half of a lesson on what such a split pretends."

Reading = Callable[[int, int], None]


@dataclass(frozen=True)
class Lesson:
    """Runs that were started together.

    Attributes
    ----------
    id : str
    kind : {"naive", "curve"}
    config : RunConfig
        What they have in common.
    created : str
        As a status has times.
    runs : tuple of str
        Ids; of a naive lesson the honest run's, then the naive one's; of a curve with growing shares.
    patients : tuple of int
        Training patients of each run.
    notes : tuple of str
        Sentences: which shares were left out, and why.
    """

    id: str
    kind: str
    config: RunConfig
    created: str
    runs: tuple[str, ...]
    patients: tuple[int, ...]
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Kind of lesson and name of its runs."""
        return f"{KINDS[self.kind]}: {self.config.name}"


@dataclass(frozen=True)
class Member:
    """One run of a lesson, as it is now.

    Attributes
    ----------
    id : str
    run : Run or None
        None when it is in the trash or deleted.
    status : dict
        Of a run that is not there: state ``gone``.
    """

    id: str
    run: Run | None
    status: dict[str, Any]

    @property
    def state(self) -> str:
        """One of `core.runs.STATES`, or ``gone``."""
        return self.status["state"]


# Starting ---------------------------------------------------------------------------------------------------


def start_naive(
    config: RunConfig,
    found: LeakReport | None = None,
    dismissed: str = "",
    report: Reading | None = None,
    **launch: Any,
) -> Lesson:
    """Queue a model twice: dealt by patient, and dealt by slice among all but the first one's test patients.

    Parameters
    ----------
    config : RunConfig
        Its split and share of training patients are the lesson's own.
    found, dismissed, report
        What leaks in the split by patient, why that does not matter, and who is told while it is looked for; as for
        `core.jobs.submit`.
    **launch
        What else `core.jobs.submit` takes, for each run.

    Returns
    -------
    Lesson

    Raises
    ------
    ConfigError, CohortError, WeightsUnavailable
        When either cannot work; then neither is queued.
    """
    shares = config.fractions
    if min(shares[1:]) <= 0:
        raise ConfigError(
            "The lesson needs patients for validation and for the test, who tell what the naive score is worth. Give "
            f"both a share. Received: {', '.join(f'{share:g}' for share in shares)}."
        )
    both = [
        replace(config, split=split, train_share=1.0, name=f"{config.name}, by {by}")
        for split, by in (("patient", "patient"), ("naive", "slice"))
    ]
    made = cohort.read(config.cohort)
    seen = [preflight.look(made, one) for one in both]
    found = _compared(made, seen[0], found, report)
    # Pictures on both sides are what the naive run is about.
    launches = [(both[0], found, dismissed), (both[1], None, _WHY)]
    return _start("naive", config, launches, [one.amounts["train"][1] for one in seen], (), launch)


def start_curve(
    config: RunConfig,
    found: LeakReport | None = None,
    dismissed: str = "",
    report: Reading | None = None,
    **launch: Any,
) -> Lesson:
    """Queue a model on 10, 25, 50 and 100 % of the training patients, each share's being among the next one's.

    Shares that are the same number of patients are one run; those that cannot work are left out with their reason.

    Parameters
    ----------
    config : RunConfig
        Split by patient, or as saved with the cohort; its share of training patients is the lesson's own.
    found, dismissed, report, **launch
        As for `start_naive`.

    Returns
    -------
    Lesson

    Raises
    ------
    ConfigError, CohortError, WeightsUnavailable
        When it cannot work with all training patients, or fewer than two points would come of it.
    """
    if config.split not in ("patient", "cohort"):
        config = replace(config, split="patient")
    made = cohort.read(config.cohort)
    whole = preflight.look(made, replace(config, train_share=1.0))
    if whole.refusals:
        raise ConfigError(" ".join(whole.refusals))
    found = _compared(made, whole, found, report)
    launches, patients, notes = [], [], []
    for share in SHARES:
        one = replace(config, train_share=share)
        seen = preflight.look(made, one) if share < 1 else whole
        n = seen.amounts["train"][1]
        if n in patients or (share < 1 and n == whole.amounts["train"][1]):
            continue
        if seen.refusals:
            notes.append(f"{100 * share:.0f} % of the training patients ({n}) were left out: {seen.refusals[0]}")
            continue
        launches.append((replace(one, name=f"{config.name}, {_patients(n)}"), found, dismissed))
        patients.append(n)
    if len(launches) < 2:
        raise ConfigError(
            f"A learning curve needs at least two numbers of training patients, and {made.name} allows "
            f"{len(launches)}. {' '.join(notes)} Index more patients, or give training a larger share."
        )
    return _start("curve", config, launches, patients, notes, launch)


def _patients(n: int) -> str:
    return f"{n} patient{'' if n == 1 else 's'}"


def _compared(
    made: cohort.Cohort, seen: preflight.Preflight, found: LeakReport | None, report: Reading | None
) -> LeakReport | None:
    """Compare pictures once for all runs, where somebody wants that and has not done it."""
    return leaks.check(made, seen.split, report) if found is None and report is not None else found


def _start(
    kind: str, config: RunConfig, launches: Sequence[tuple[RunConfig, LeakReport | None, str]],
    patients: Sequence[int], notes: Sequence[str], launch: dict[str, Any],
) -> Lesson:  # fmt: skip
    queued: list[Run] = []
    try:
        for one, found, dismissed in launches:
            queued.append(jobs.submit(one, found=found, dismissed=dismissed, **launch))
            run_notes.tag(queued[-1], [TAG])
    except CoreError:
        # Half a lesson shows nothing.
        for run in queued:
            with suppress(CoreError):
                jobs.cancel(run.id)
            with suppress(CoreError):
                run_notes.trash(run.id)
        raise
    lesson = Lesson(
        f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}", kind, config, runs.now(),
        tuple(run.id for run in queued), tuple(patients), tuple(notes),
    )  # fmt: skip
    _write(lesson)
    return lesson


# The files --------------------------------------------------------------------------------------------------


def _path(lesson_id: str) -> Path:
    return get_settings().lessons_dir / f"{lesson_id}.json"


def _write(lesson: Lesson) -> None:
    path = _path(lesson.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as fresh:
        fresh.write_text(json.dumps(asdict(lesson), indent=1), "utf-8")


def read(lesson_id: str) -> Lesson:
    """Find a lesson by its id, which may come from an address and is not trusted.

    Raises
    ------
    RunError
        When there is none, or its file is none of ours.
    """
    if not runs.is_id(str(lesson_id)) or not _path(lesson_id).is_file():
        raise RunError(f"There is no lesson {str(lesson_id)[:80]!r}. Train, Lessons lists those there are.")
    try:
        stored = json.loads(_path(lesson_id).read_text("utf-8"))
        config = RunConfig.from_json(json.dumps(stored["config"]))
        lists = {name: tuple(stored[name]) for name in ("runs", "patients", "notes")}
        lesson = Lesson(lesson_id, stored["kind"], config, stored["created"], **lists)
        fits = lesson.kind in KINDS and len(lesson.runs) == len(lesson.patients) >= 2
    except (OSError, ValueError, KeyError, TypeError, ConfigError):
        fits = False
    if not fits:
        raise RunError(f"The file of lesson {lesson_id} is damaged. Delete {lesson_id}.json, and start it again.")
    return lesson


def list_lessons() -> list[Lesson]:
    """All lessons, newest first; damaged ones are passed over."""
    found = []
    for path in get_settings().lessons_dir.glob("*.json"):
        with suppress(RunError):
            found.append(read(path.stem))
    return sorted(found, key=lambda lesson: (lesson.created, lesson.id), reverse=True)


def members(lesson: Lesson) -> list[Member]:
    """Return the lesson's runs as they are now, in its order."""
    found = []
    for run_id in lesson.runs:
        try:
            run = runs.read_run(run_id)
            found.append(Member(run_id, run, run.status))
        except RunError:
            found.append(Member(run_id, None, {"state": "gone", "progress": 0.0, "message": "In the trash or deleted"}))
    return found


def active(lesson: Lesson) -> list[Member]:
    """Return those of its runs that are queued or running."""
    return [member for member in members(lesson) if member.state in runs.ACTIVE]


def cancel(lesson: Lesson) -> None:
    """Cancel all runs of a lesson that have not ended; the last first, so that none begins meanwhile."""
    for member in reversed(active(lesson)):
        # It may end by itself at this moment.
        with suppress(RunError):
            jobs.cancel(member.id)


def delete(lesson: Lesson) -> None:
    """Delete a lesson; its runs stay.

    Raises
    ------
    RunError
        While some of them are queued or running.
    """
    if active(lesson):
        raise RunError(f"Lesson {lesson.id} has runs that have not ended. Cancel them first, or wait.")
    _path(lesson.id).unlink(missing_ok=True)
