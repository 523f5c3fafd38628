"""What came of a lesson, from its runs' predictions: accuracies with intervals by patient, differences, a fitted curve.

Intervals are of the patients that were tested (`core.comparing.bootstrap`). Who happened to be among the training
patients is drawn once, so a learning curve of other training patients may run otherwise than its band says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t as student

from core import cohort
from core.cohorts.slice_table import slice_keys
from core.comparing.bootstrap import N_DRAWS, Bootstrap, patient_bootstrap
from core.errors import CoreError, RunError
from core.learning import lessons
from core.learning.lessons import Lesson
from core.runs import Run
from core.splits import UNSEEN

#: Points from which on a power law of two numbers leaves something to be wrong about.
LEAST_POINTS = 4
#: Wrong answers that are added to those seen: no error is the logarithm of nothing.
_HALF = 0.5


@dataclass(frozen=True)
class NaiveHead:
    """What honest and naive say of one head.

    Attributes
    ----------
    head : str
    promised : Bootstrap
        Accuracy of the naive run on its own test slices.
    naive, honest : Bootstrap
        Accuracy of both runs on the slices of people whom neither has seen; the same slices and draws.
    gap : Bootstrap
        What the naive run promised too much: ``promised`` less ``naive``.
    slices : tuple of int
        Of the naive run's own test, and of the people nobody has seen.
    """

    head: str
    promised: Bootstrap
    naive: Bootstrap
    honest: Bootstrap
    gap: Bootstrap
    slices: tuple[int, int]

    @property
    def patients(self) -> int:
        """How many people neither has seen."""
        return self.honest.patients


@dataclass(frozen=True)
class NaiveResult:
    """What a lesson on splits shows.

    Attributes
    ----------
    heads : tuple of NaiveHead
    tested : int
        Test slices of the naive run, of all heads together.
    known : int
        Those of patients that it learnt from.
    beside : int or None
        Those whose neighbour in their series it learnt from; None where the cohort is gone.
    trained : tuple of (int, int)
        Slices and patients that the honest and the naive run learnt from.
    """

    heads: tuple[NaiveHead, ...]
    tested: int
    known: int
    beside: int | None
    trained: tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class PowerLaw:
    """The error falls as a power of the number of training patients: a line in a plane of two logarithms.

    Attributes
    ----------
    patients : ndarray, shape (n,)
        From the smallest number tried to twice the largest.
    accuracy : ndarray, shape (n,)
    low, high : ndarray, shape (n,)
        95 % band: other test patients, and how far the points lie from a line.
    """

    patients: np.ndarray
    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class CurveHead:
    """The learning curve of one head.

    Attributes
    ----------
    head : str
    trained : tuple of int
        Training patients of each point, growing.
    accuracy : tuple of Bootstrap
        On the same test slices, from the same draws.
    slices : int
        Test slices.
    law : PowerLaw or None
        From `LEAST_POINTS` points on.
    """

    head: str
    trained: tuple[int, ...]
    accuracy: tuple[Bootstrap, ...]
    slices: int
    law: PowerLaw | None

    @property
    def patients(self) -> int:
        """How many patients it was tested on."""
        return self.accuracy[0].patients

    @property
    def last_step(self) -> Bootstrap | None:
        """Accuracy of the last point less that of the one before; None with a single point."""
        return self.accuracy[-1] - self.accuracy[-2] if len(self.accuracy) > 1 else None


# Honest versus naive ----------------------------------------------------------------------------------------


def naive_result(lesson: Lesson) -> NaiveResult | None:
    """Judge a finished lesson on splits.

    Parameters
    ----------
    lesson : Lesson
        Of the kind ``naive``.

    Returns
    -------
    NaiveResult or None
        None until both runs are done.

    Raises
    ------
    RunError
        When their predictions have nothing in common.
    """
    done = _done(lesson)
    if len(done) < 2:
        return None
    honest, naive = (run for _, run in done)
    of_honest, of_naive = honest.predictions(), naive.predictions()
    heads = tuple(_naive_head(head, of_honest, of_naive) for head in lesson.config.heads)
    split, learnt = naive.split(), honest.split()
    test, train = split[split["split"] == "test"], split[split["split"] == "train"]
    first = learnt[learnt["split"] == "train"]
    return NaiveResult(
        heads, len(test), int(test["PatientID"].isin(train["PatientID"]).sum()),
        _beside(lesson.config.cohort, test, train),
        tuple((len(part), part["PatientID"].nunique()) for part in (first, train)),
    )  # fmt: skip


def _naive_head(head: str, of_honest: pd.DataFrame, of_naive: pd.DataFrame) -> NaiveHead:
    own = _answers(of_naive, head, "test")
    naive, honest = _in_common([_answers(of_naive, head, UNSEEN), _answers(of_honest, head, "test")])
    if naive.empty or own.empty:
        raise RunError(f"The two runs have no {head} slice of unseen people in common. Start the lesson again.")
    scores = [_accuracy(part) for part in (naive, honest)]
    # Other people than those whom neither has seen, so other draws.
    promised = _accuracy(own, random_state=1)
    people = min(promised.patients, scores[0].patients)
    gap = Bootstrap(promised.estimate - scores[0].estimate, promised.draws - scores[0].draws, people)
    return NaiveHead(head, promised, *scores, gap, (len(own), len(naive)))


def _beside(name: str, test: pd.DataFrame, train: pd.DataFrame) -> int | None:
    """Count test slices whose neighbour in their series is among the training slices."""
    try:
        table = cohort.read(name).table
    except CoreError:
        return None
    ordered = table.sort_values(["SeriesInstanceUID", "image_number"], kind="stable")
    series, keys = ordered["SeriesInstanceUID"].to_numpy(str), slice_keys(ordered).to_numpy(str)
    learnt = np.isin(keys, slice_keys(train).to_numpy(str))
    same = series[1:] == series[:-1]
    neighbour = np.zeros(len(ordered), bool)
    neighbour[1:] |= same & learnt[:-1]
    neighbour[:-1] |= same & learnt[1:]
    return int(np.isin(slice_keys(test).to_numpy(str), keys[neighbour]).sum())


# Learning curve ---------------------------------------------------------------------------------------------


def curve_result(lesson: Lesson) -> tuple[CurveHead, ...]:
    """Judge as much of a learning curve as is done.

    Parameters
    ----------
    lesson : Lesson
        Of the kind ``curve``.

    Returns
    -------
    tuple of CurveHead
        Empty until a run is done.

    Raises
    ------
    RunError
        When the runs have no test slice in common.
    """
    done = _done(lesson)
    tables = [run.predictions() for _, run in done]
    patients = [lesson.patients[at] for at, _ in done]
    return tuple(_curve_head(head, patients, tables) for head in lesson.config.heads) if done else ()


def _curve_head(head: str, patients: Sequence[int], tables: Sequence[pd.DataFrame]) -> CurveHead:
    parts = _in_common([_answers(table, head, "test") for table in tables])
    if parts[0].empty:
        raise RunError(f"The runs of this curve have no {head} test slice in common. Start the lesson again.")
    accuracy = tuple(_accuracy(part) for part in parts)
    n = len(parts[0])
    return CurveHead(head, tuple(patients), accuracy, n, power_law(patients, accuracy, n))


def power_law(patients: Sequence[int], accuracy: Sequence[Bootstrap], slices: int) -> PowerLaw | None:
    """Fit error = a · patients^(−b) to points of a learning curve, and to each draw of test patients.

    Parameters
    ----------
    patients : sequence of int
        Training patients, growing.
    accuracy : sequence of Bootstrap
        From the same draws.
    slices : int
        Test slices: half an error is added, or a perfect score would have no logarithm.

    Returns
    -------
    PowerLaw or None
        None for fewer than `LEAST_POINTS` points, or a single test patient.

    Notes
    -----
    Least squares in logarithms, as learning curves are usually drawn (Hestness et al., arXiv:1712.00409, 2017). The
    band draws test patients anew and, around each fitted line, a line as far off as the points' distances from it
    allow (Student's t with n − 2 degrees of freedom).

    Examples
    --------
    >>> points = [Bootstrap(np.array(1 - 0.4 / n), np.full(2000, 1 - 0.4 / n), 5) for n in (1, 2, 4, 8)]
    >>> law = power_law((1, 2, 4, 8), points, 1_000_000)
    >>> law.patients[-1], round(float(law.accuracy[-1]), 3)
    (np.float64(16.0), 0.975)
    """
    if len(patients) < LEAST_POINTS or accuracy[0].patients < 2:
        return None
    x = np.log(np.asarray(patients, float))
    shown = np.geomspace(patients[0], 2 * patients[-1], 60)
    estimates = np.array([[float(one.estimate) for one in accuracy]])
    draws = np.stack([one.draws for one in accuracy], axis=1)
    fitted, _ = _lines(x, _log_error(estimates, slices), np.log(shown))
    lines, spread = _lines(x, _log_error(draws, slices), np.log(shown))
    chance = student.rvs(len(x) - 2, size=(len(lines), 1), random_state=np.random.default_rng(0))
    low, high = np.nanpercentile(lines + chance * spread, [2.5, 97.5], axis=0)
    # What is below the guess of nobody, or above all being right, is no accuracy.
    to_accuracy = [np.clip(1 - np.exp(part), 0, 1) for part in (fitted[0], high, low)]
    return PowerLaw(shown, *to_accuracy)


def _log_error(accuracy: np.ndarray, slices: int) -> np.ndarray:
    return np.log(((1 - accuracy) * slices + _HALF) / (slices + 2 * _HALF))


def _lines(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit a line to each row of y; return its values at some places, and their standard errors."""
    centred, squares = x - x.mean(), ((x - x.mean()) ** 2).sum()
    slope = (y @ centred) / squares
    off = y - y.mean(axis=1, keepdims=True) - slope[:, None] * centred
    scatter = np.sqrt((off**2).sum(axis=1) / (len(x) - 2))
    values = y.mean(axis=1, keepdims=True) + slope[:, None] * (at - x.mean())
    return values, scatter[:, None] * np.sqrt(1 / len(x) + (at - x.mean()) ** 2 / squares)


# Both -------------------------------------------------------------------------------------------------------


def _done(lesson: Lesson) -> list[tuple[int, Run]]:
    """Return the places and runs of those that are done."""
    return [
        (at, member.run) for at, member in enumerate(lessons.members(lesson)) if member.run and member.state == "done"
    ]


def _answers(table: pd.DataFrame, head: str, part: str) -> pd.DataFrame:
    """Labelled slices of a head and part: PatientID, y_true and y_pred, by slice."""
    rows = table[((table["head"] == head) & (table["split"] == part)).to_numpy() & table["y_true"].notna().to_numpy()]
    return rows[["PatientID", "y_true", "y_pred"]].set_index(pd.Index(slice_keys(rows), name="key"))


def _in_common(parts: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Keep the slices that all have, with the same truth, in one order."""
    keys = parts[0].index
    for part in parts[1:]:
        keys = keys.intersection(part.index, sort=False)
    rows = [part.loc[keys] for part in parts]
    truth = rows[0]["y_true"].to_numpy(object)
    same = np.all([part["y_true"].to_numpy(object) == truth for part in rows], axis=0)
    return [part[same] for part in rows]


def _accuracy(part: pd.DataFrame, random_state: int = 0) -> Bootstrap:
    right = (part["y_true"] == part["y_pred"]).to_numpy(float)
    return patient_bootstrap(part["PatientID"].to_numpy(str), right, None, N_DRAWS, random_state)
