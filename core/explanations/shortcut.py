"""The shortcut: a demonstration for teaching of a model that is always right and knows nothing.

A letter is burnt into the corner of what models see of phantom slices, one for each sequence. A small network that
learns from them scores perfectly on patients it has never seen; without the letters it guesses, with swapped letters it
errs as it is told. Beside it the same network, with the shipped weights, learns from the same slices without letters
(`core.explanations.shortcut_cohorts`).

In the workspace's folder ``shortcut/`` lie their DICOM files, ``demo.json`` (see `core.queueing.side_jobs`),
``result.json`` (`Result`) and ``pictures.npz``. The work is a process of its own (``python -m
core.explanations.shortcut``), and its two trainings are runs like any other. One that was interrupted takes up what is
there.
"""

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core import batches, cohort, demo, inference, jobs, runs
from core.cohorts.pace import spelled
from core.cohorts.slice_table import Cohort, replaced, slice_keys
from core.config import RunConfig
from core.errors import CoreError, InputError, RunError
from core.explanations.badge import Badge
from core.explanations.head_frame import head_mask, share_outside
from core.explanations.question import Question
from core.explanations.shortcut_cohorts import LETTERS, VERSIONS, cohort_of, make_cohorts
from core.queueing.side_jobs import Report, SideJob
from core.runs import Run
from core.settings import get_settings

#: The two trainings: what each is called, and the version it learns from.
TRAININGS = {"shortcut": ("Shortcut: a letter a class", "letters"), "honest": ("Honest: no letters", "without")}
#: Test slices of each class whose maps get a trust badge.
BADGED = 3
#: Side of the corner around the letter, as a share of the picture's.
CORNER = 0.25
_EPOCHS, _QUESTION = 10, Question("sequence")
#: Raised whenever what is shown changes its meaning, so that it is made anew.
_VERSION = 1
#: Where each part ends, as a share of the whole.
_ENDS = {"files": 0.2, "training": 0.88, "measuring": 1.0}


@dataclass(frozen=True)
class Result:
    """What came of it.

    Attributes
    ----------
    runs : dict of str
        Training (`TRAININGS`) to the id of its run.
    accuracy : dict of dict of float
        Training to version (`VERSIONS`) to the share of right answers on test patients.
    follows : float
        Share of the shortcut's answers on swapped letters that are what the letter says.
    outside, corner : dict of float
        Training to the mean share of a map's heat outside the head, and in the letter's corner; maps of test slices
        with letters, each for the model's own answer.
    air : float
        Share of the picture that lies outside the head.
    slices, patients : int
        That were tested.
    chance : float
        Accuracy of whoever always says the commonest class.
    examples : tuple of dict
        One a class: ``key``, ``y_true``, and each training's answer on the slice with its letter, without, and with
        the swapped one (``shortcut``, ``honest``: version to word).
    seconds : float
    badged : dict of list of dict
        Training to what the trust badges of some of its maps are made of, see `badges`; a result made before there
        were any has none.
    version : int
    """

    runs: dict[str, str]
    accuracy: dict[str, dict[str, float]]
    follows: float
    outside: dict[str, float]
    corner: dict[str, float]
    air: float
    slices: int
    patients: int
    chance: float
    examples: tuple[dict[str, Any], ...]
    seconds: float
    badged: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    version: int = _VERSION

    def badges(self, training: str) -> list[Badge]:
        """Return the trust badges of maps of some test slices with letters, by today's limits."""
        return [Badge.of(**measured) for measured in self.badged.get(training, [])]


# Training -------------------------------------------------------------------------------------------------


def config_of(training: str) -> RunConfig:
    """Return the configuration of a training.

    The shortcut starts from chance: contrast takes longer to learn than a letter, so it learns the letter. The honest
    one starts from features of heads, which know contrast already, so a head in front of them is enough.
    """
    name, version = TRAININGS[training]
    weights, epochs = ("none", _EPOCHS) if training == "shortcut" else ("slicescope", 3 * _EPOCHS)
    return RunConfig(
        name, "transfer", cohort_of(version), label="sequence", weights=weights, epochs=epochs, batch_size=32,
        dropout=0.0, augment_views=0, class_balance="none", fractions=(0.5, 0.2, 0.3),
    )  # fmt: skip


def train(report: Report) -> dict[str, Run]:
    """Queue both trainings, and wait until they are done; runs that are there already are taken up.

    Raises
    ------
    RunError
        When one fails or is cancelled.
    """
    made = {training: _run_of(training) or jobs.submit(config_of(training)) for training in TRAININGS}
    while True:
        states = {training: run.status for training, run in made.items()}
        for training, status in states.items():
            if status["state"] in runs.BROKEN:
                name = TRAININGS[training][0]
                raise RunError(f"The training {name!r} is {status['state']}: {status['message']} Start it again.")
        done = sum(1.0 if status["state"] == "done" else status["progress"] for status in states.values())
        now = next((training for training, status in states.items() if status["state"] == "running"), None)
        words = f"Training {TRAININGS[now][0]!r}: {states[now]['message']}" if now else "Waiting for a turn to train"
        report(done, len(made), words, runs={training: run.id for training, run in made.items()})
        if all(status["state"] == "done" for status in states.values()):
            return made
        time.sleep(0.5)


def _run_of(training: str) -> Run | None:
    """Return the newest run of just this training on the cohort as it is, unless it ended without success."""
    try:
        since = cohort.read_unlogged(cohort_of(TRAININGS[training][1])).created
    except CoreError:
        return None
    for run, status in runs.snapshot():
        with suppress(CoreError):
            if (
                status["state"] not in runs.BROKEN
                and status.get("created", "") >= since
                and run.config == config_of(training)
            ):
                return run
    return None


# Measuring ------------------------------------------------------------------------------------------------


def measure(made: dict[str, Run], cohorts: dict[str, Cohort], report: Report) -> tuple[Result, dict[str, np.ndarray]]:
    """Ask both models about the test patients with letters, without, and with swapped ones, and make maps.

    Parameters
    ----------
    made : dict of Run
        By training, done.
    cohorts : dict of Cohort
        By version.
    report : callable
        Called with (done, in all, message).

    Returns
    -------
    result : Result
        With 0 seconds.
    pictures : dict of ndarray
        ``grey`` and, by name of the training, its maps, (examples, S, S); ``mean-`` and any of these words: the mean
        over all tested slices, (S, S). All float16 in [0, 1].
    """
    rows = _tested(made, cohorts)
    truth = rows["letters"]["sequence"].to_numpy(str)
    size = made["shortcut"].card()["input_shape"][0]
    inputs = {version: batches.model_inputs(cohorts[version], rows[version], size) for version in VERSIONS}
    answers: dict[str, dict[str, np.ndarray]] = {training: {} for training in made}
    for number, (training, run) in enumerate(made.items()):
        for version, pictures in inputs.items():
            report(number, 3 * len(made), f"Asking {TRAININGS[training][0]!r} about slices: {version}")
            answer = inference.get_worker().predict(run.bundle, pictures)
            words = np.array(answer.classes["sequence"])
            answers[training][version] = words[answer.heads["sequence"].argmax(axis=1)]
    heat = {}
    for number, (training, run) in enumerate(made.items(), len(made)):
        report(number, 3 * len(made), f"Making maps of {TRAININGS[training][0]!r}")
        heat[training] = inference.get_explainer().explain(run.bundle, inputs["letters"], _QUESTION).heat
    few, badged = _few_of_each(truth), {}
    for number, (training, run) in enumerate(made.items(), 2 * len(made)):
        report(number, 3 * len(made), f"Checking maps of {TRAININGS[training][0]!r}")
        badges = inference.get_explainer().badge(run.bundle, inputs["letters"][few], _QUESTION)
        badged[training] = [{"target": one.target, "values": one.values, "empty": one.empty} for one in badges]
    masks = [head_mask(picture) for picture in inputs["without"]]
    says = {letter: name for name, letter in LETTERS.items()}
    told = np.array([says[VERSIONS["swapped"][name]] for name in truth])
    # Of each class the slice with most head: what a class can be shown.
    size_of = np.array([mask.sum() for mask in masks])
    examples = [int(max(np.flatnonzero(truth == name), key=lambda at: size_of[at])) for name in sorted(set(truth))]
    keys = slice_keys(rows["letters"]).to_list()
    result = Result(
        runs={training: run.id for training, run in made.items()},
        accuracy={
            training: {version: float(np.mean(said == truth)) for version, said in of.items()}
            for training, of in answers.items()
        },
        follows=float(np.mean(answers["shortcut"]["swapped"] == told)),
        outside={name: _mean(list(map(share_outside, maps, masks))) for name, maps in heat.items()},
        corner={name: _mean([corner_share(one) for one in maps]) for name, maps in heat.items()},
        air=float(1 - np.mean(masks)),
        slices=len(truth),
        patients=int(rows["letters"]["PatientID"].nunique()),
        chance=float(np.unique(truth, return_counts=True)[1].max() / len(truth)),
        examples=tuple(
            {"key": keys[at], "y_true": str(truth[at]),
             **{training: {version: str(said[at]) for version, said in of.items()} for training, of in answers.items()}}
            for at in examples
        ),
        seconds=0.0,
        badged=badged,
    )  # fmt: skip
    pictures = {"grey": inputs["letters"][examples], "mean-grey": inputs["letters"].mean(axis=0)}
    for training, maps in heat.items():
        pictures |= {training: maps[examples], f"mean-{training}": maps.mean(axis=0)}
    return result, {name: array.astype(np.float16) for name, array in pictures.items()}


def _few_of_each(truth: np.ndarray) -> np.ndarray:
    """Choose `BADGED` slices of each class, evenly through those tested."""
    of_each = [np.flatnonzero(truth == name) for name in sorted(set(truth))]
    return np.concatenate([at[np.unique(np.linspace(0, len(at) - 1, BADGED).round().astype(int))] for at in of_each])


def corner_share(heat: np.ndarray) -> float:
    """Give the share of a map's heat in the letter's corner, 0 to 1; NaN for a map without heat.

    Examples
    --------
    >>> corner_share(np.eye(8)), CORNER**2
    (0.25, 0.0625)
    """
    side, elsewhere = round(CORNER * len(heat)), np.ones(heat.shape, bool)
    elsewhere[:side, :side] = False
    return share_outside(heat, elsewhere)


def _tested(made: dict[str, Run], cohorts: dict[str, Cohort]) -> dict[str, pd.DataFrame]:
    """Return the slices of patients that neither run has learnt from, in one order in each version."""
    splits = [run.split() for run in made.values()]
    people = [set(split.loc[split["split"] == "test", "PatientID"]) for split in splits]
    table = cohorts["letters"].table
    rows = table[table["PatientID"].isin(set.intersection(*people))]
    if rows.empty:
        raise RunError("The two trainings have no test patient in common. Start the demonstration anew.")
    return {version: one.table.set_index("path", drop=False).loc[rows["path"]] for version, one in cohorts.items()}


def _mean(values: list[float]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def in_words(found: Result) -> str:
    """Say in one line what came of it."""
    of = {version: f"{accuracy:.0%}" for version, accuracy in found.accuracy["shortcut"].items()}
    return (
        f"The shortcut is right on {of['letters']} of {found.slices} test slices with letters, on {of['without']} "
        f"without and on {of['swapped']} with swapped ones; {found.corner['shortcut']:.0%} of its heat lies on the "
        f"letter's corner ({found.corner['honest']:.0%} of the honest model's). Explain, Shortcut shows it."
    )


# The job --------------------------------------------------------------------------------------------------


def folder() -> Path:
    """Return where the demonstration keeps its files; it need not exist yet."""
    return get_settings().workspace / "shortcut"


def result() -> Result | None:
    """Return what came of it; None when it was not made, or by an older recipe."""
    try:
        stored = json.loads((folder() / "result.json").read_text("utf-8"))
        made = Result(**{**stored, "examples": tuple(stored["examples"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return made if made.version == _VERSION else None


def status() -> dict[str, Any]:
    """Tell how far it is, see `core.queueing.side_jobs.SideJob`; ``runs`` are the ids of its trainings."""
    return _job().status()


def start() -> None:
    """Start the demonstration in a process of its own.

    Raises
    ------
    RunError
        When it is running already, or cannot be started.
    """
    _job().start()


def cancel() -> None:
    """End it, and its trainings that have not ended."""
    began = _job().status().get("runs", {})
    _job().cancel()
    for run_id in began.values():
        # It may have ended by itself, or be in the trash.
        with suppress(RunError):
            jobs.cancel(run_id)


def work(report: Report | None = None) -> Result:
    """Do all of it in this process, with its status kept.

    Parameters
    ----------
    report : callable, optional
        Called with (share done from 0 to 1, message).

    Raises
    ------
    CoreError
        When phantoms, trainings or maps cannot be made.
    """
    return _job().work(lambda follow: _do(follow, report or (lambda share, message: None)))


def _do(follow: Report, report: Report) -> Result:
    began = time.monotonic()

    def part(name: str) -> Report:
        names = list(_ENDS)
        start = _ENDS[names[names.index(name) - 1]] if names.index(name) else 0.0

        def tell(done: float, total: float, message: str, **more: Any) -> None:
            share = start + (_ENDS[name] - start) * done / max(total, 1)
            spent = time.monotonic() - began
            left = f" · about {spelled(spent * (1 - share) / share)} left in all" if share > 0.1 and spent > 5 else ""
            follow(round(1000 * share), 1000, f"{message}{left}", **more)
            report(share, message)

        return tell

    source = _phantoms(part("files"))
    cohorts = make_cohorts(source, folder(), part("files"))
    made = train(part("training"))
    found, pictures = measure(made, cohorts, part("measuring"))
    found = Result(**{**asdict(found), "seconds": round(time.monotonic() - began, 1)})
    with replaced(folder() / "pictures.npz") as fresh, fresh.open("wb") as file:
        np.savez_compressed(file, **pictures)
    with replaced(folder() / "result.json") as fresh:
        fresh.write_text(json.dumps(asdict(found), indent=1), "utf-8")
    return found


def _phantoms(report: Report) -> Cohort:
    if demo.COHORT not in cohort.list_cohorts():
        return demo.make_cohort(report=lambda share, message: report(0.8 * share, 1, message))
    source = cohort.read(demo.COHORT)
    if source.source != "phantom":
        raise InputError(
            f"Cohort {demo.COHORT} holds no phantoms (its source is {source.source}), and letters are burnt into "
            "phantoms only. Give your cohort another name."
        )
    return source


def _job() -> SideJob:
    return SideJob("The shortcut demonstration", "core.explanations.shortcut", folder() / "demo.json", _held)


@contextmanager
def _held() -> Iterator[None]:
    folder().mkdir(parents=True, exist_ok=True)
    place = os.open(folder(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        # The system lets go of the lock with the file.
        os.close(place)


def main() -> int:
    """Make the demonstration; returns the exit status."""
    try:
        work()
    except CoreError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
