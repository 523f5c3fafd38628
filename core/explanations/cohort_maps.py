"""Maps of many slices: where a run's decisions are made, by predicted class and plane, in head coordinates.

A sample of the slices that the run is judged on is explained, each map for the model's own answer, and brought into
`core.explanations.head_frame`. Kept in the run's folder ``analyses/``, HEAD and METHOD being words of the question::

    maps-HEAD-METHOD.json          state, progress, message, seconds; replaced atomically
    maps-HEAD-METHOD.parquet       one row a slice: its answer and the share of its heat outside the head
    maps-HEAD-METHOD-cells.parquet one row a mean: predicted class, plane, decisions (all, right, wrong), counts
    maps-HEAD-METHOD-means.npy     heat and image, (cells, 2, GRID, GRID) float16, NaN where hardly a slice reaches
    maps-HEAD-METHOD-strays.npy    the slices with most heat outside the head, heat over image, (n, S, S, 3) uint8

The work is a process of its own (``python -m core.explanations.cohort_maps RUN …``). One that was cancelled or killed
goes on where it was, from ``maps-HEAD-METHOD-part.npz``.
"""

import argparse
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core import batches, cohort, runs
from core.analysis import analyses
from core.analysis.stress import sample
from core.cohorts.slice_table import Cohort, orientation_numbers, replaced, slice_keys
from core.errors import CoreError, InputError, RunError
from core.explanations import in_process
from core.explanations.head_frame import BOX, GRID, head_mask, share_outside, to_frame
from core.explanations.question import METHOD_WORDS, Question
from core.figures import viridis
from core.learning import pace_measure
from core.queueing.side_jobs import SideJob
from core.runs import Run

#: Slices of each class and plane, unless somebody wants others.
SLICES = 12
#: Which decisions a mean is of.
DECISIONS = ("all", "right", "wrong")
#: What stands for the class of a mean over all classes of a plane.
ANY = ""
#: Slices with most heat outside the head that are kept as pictures.
STRAYS = 10
_MODULE = "core.explanations.cohort_maps"
#: Slices that are explained at once.
_PIECE = 16
#: A map costs about as much as so many forward passes; what measured times of the methods come to.
_PASSES = {"score_cam": 260.0, "smooth_grad": 40.0, "occlusion": 200.0}
_USUAL_PASSES = 5.0


# What is measured -----------------------------------------------------------------------------------------


def measure(
    run: Run,
    question: Question,
    slices: int = SLICES,
    random_state: int = 0,
    report: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Make a run's maps of many slices, and keep their means; loads Keras.

    Parameters
    ----------
    run : Run
        Evaluated.
    question : Question
        Its target does not matter: each map is of what the run has answered.
    slices : int
        Of each true class and plane at most; see `core.analysis.stress.sample`.
    random_state : int
        Chooses slices.
    report : callable, optional
        Called with (slices done, slices in all).

    Returns
    -------
    DataFrame
        One row a slice, as ``maps-HEAD-METHOD.parquet`` has it: ``key``, ``cohort``, ``PatientID``, ``plane``,
        ``y_true``, ``y_pred``, ``p``, ``right``; ``outside``, the share of the map's heat outside the head (NaN for
        a map without heat); ``air``, the share of the model's picture outside the head.

    Raises
    ------
    RunError
        When the run was not evaluated, or none of its slices has a known plane and truth.
    CohortError
        When its cohort is gone, or a file of it.
    InputError
        For a head, method or layer that there is not, and for less than one slice.
    """
    if slices < 1:
        raise InputError(f"At least one slice of each class is needed. Received: {slices}.")
    report = report or (lambda done, total: None)
    card, made = run.card(), cohort.read(run.config.cohort)
    rows = chosen(run.predictions(), made, question.head, slices, random_state)
    size = card["input_shape"][0]
    report(0, len(rows))
    pictures = batches.model_inputs(made, rows, size)
    part = _Part(run, question, rows["key"].tolist(), card["sha256"], size)
    for piece, answer in _pieces(rows["y_pred"].tolist()):
        if piece.stop > part.done:
            maps = in_process.explain_local(run.bundle, pictures[piece], replace(question, target=answer))
            part.keep(piece, maps.heat)
            report(part.done, len(rows))
    return _write(run, question, rows, pictures, part)


def _pieces(answers: list[str]) -> Iterator[tuple[slice, str]]:
    """Cut sorted answers into pieces of one answer each."""
    start = 0
    for answer, same in itertools.groupby(answers):
        end = start + len(list(same))
        for first in range(start, end, _PIECE):
            yield slice(first, min(first + _PIECE, end)), answer
        start = end


def chosen(predictions: pd.DataFrame, made: Cohort, head: str, slices: int, random_state: int) -> pd.DataFrame:
    """Choose slices by true class and plane, spread over patients.

    Parameters
    ----------
    predictions : DataFrame
        Of a run.
    made : Cohort
        That it was judged on.
    head : str
    slices : int
        Of each class and plane at most.
    random_state : int

    Returns
    -------
    DataFrame
        Slice-table rows with ``key``, and the answers ``y_true``, ``y_pred`` and ``p`` of the head; by answer.
    """
    table = made.table.assign(key=slice_keys(made.table)).set_index("key", drop=False)
    answers = predictions[predictions["head"] == head]
    answers = answers.assign(key=slice_keys(answers))
    answers = answers.assign(plane=table["plane"].reindex(answers["key"]).to_numpy(object))
    answers = answers[answers["plane"].isin(list(BOX))]
    if answers.empty:
        raise RunError(
            f"No slice with an answer for {head} has a known plane in cohort {made.name}, and without one a head lies "
            "in no frame. Label planes on Label, or choose another head."
        )
    picked = sample(answers, slices, random_state, ("y_true", "plane"))
    of = answers.set_index("key").loc[picked["key"]]
    found = table.loc[picked["key"]].reset_index(drop=True)
    proba = np.stack(of["y_proba"].to_list())
    found = found.assign(
        y_true=of["y_true"].to_numpy(object), y_pred=of["y_pred"].to_numpy(object), p=proba.max(axis=1)
    )
    return found.sort_values("y_pred", kind="stable", ignore_index=True)


class _Part:
    """Heat that is there already, kept now and then so that an interrupted work goes on."""

    def __init__(self, run: Run, question: Question, keys: list[str], sha256: str, size: int):
        self.file = _file(run, question, "-part.npz")
        words = json.dumps([asdict(question), sha256, keys])
        self.mark = hashlib.sha256(words.encode()).hexdigest()
        self.heat, self.done = np.zeros((len(keys), size, size), np.float16), 0
        try:
            with np.load(self.file, allow_pickle=False) as stored:
                if str(stored["mark"]) == self.mark:
                    self.heat, self.done = stored["heat"], int(stored["done"])
        except (OSError, ValueError, KeyError):
            pass

    def keep(self, piece: slice, heat: np.ndarray) -> None:
        self.heat[piece], self.done = heat, piece.stop
        with replaced(self.file) as fresh, fresh.open("wb") as file:
            np.savez(file, heat=self.heat, done=self.done, mark=self.mark)

    def discard(self) -> None:
        self.file.unlink(missing_ok=True)


def _write(run: Run, question: Question, rows: pd.DataFrame, pictures: np.ndarray, part: _Part) -> pd.DataFrame:
    heats = part.heat.astype(np.float32)
    each = zip(pictures, heats, rows.to_dict("records"), strict=True)
    framed, outside, air = zip(*(in_frame(*one) for one in each), strict=True)
    found = rows[["key", "PatientID", "plane", "y_true", "y_pred", "p"]].assign(
        cohort=run.config.cohort, right=(rows["y_true"] == rows["y_pred"]).to_numpy(), outside=outside, air=air
    )
    cells, means = averaged(found, np.stack(framed))
    at = strays(found).index
    arrays = {"-means": means.astype(np.float16), "-strays": overlay(pictures[at], heats[at])}
    for ending, table in (("", found), ("-cells", cells)):
        with replaced(_file(run, question, f"{ending}.parquet")) as fresh:
            table.to_parquet(fresh, index=False)
    for ending, array in arrays.items():
        with replaced(_file(run, question, f"{ending}.npy")) as fresh, fresh.open("wb") as file:
            np.save(file, array)
    part.discard()
    return found


def strays(found: pd.DataFrame) -> pd.DataFrame:
    """Return the slices with most heat outside the head, the most first, at most `STRAYS`."""
    return found[found["outside"].notna()].sort_values("outside", ascending=False, kind="stable").head(STRAYS)


def overlay(grey: np.ndarray, heat: np.ndarray, opacity: float = 0.7) -> np.ndarray:
    """Lay heat over slices, both in [0, 1] and of one shape; (…, 3) uint8.

    The warmer a place the less of the slice is seen through it, so that what is cold stays a slice.
    """
    heat, grey = (np.nan_to_num(np.clip(values, 0, 1))[..., None] for values in (heat, grey))
    strength = opacity * np.sqrt(heat)
    return np.rint(255 * (1 - strength) * grey + strength * viridis(heat[..., 0])).astype(np.uint8)


def in_frame(picture: np.ndarray, heat: np.ndarray, row: dict[str, Any]) -> tuple[np.ndarray, float, float]:
    """Bring a slice and its map into head coordinates.

    Parameters
    ----------
    picture, heat : ndarray, shape (S, S)
        On the model's grid, in [0, 1].
    row : dict
        Of the slice table: plane and orientation.

    Returns
    -------
    framed : ndarray of float32, shape (2, GRID, GRID)
        Heat and image; NaN beyond the model's grid.
    outside, air : float
        Share of the heat, and of the picture, outside the head.
    """
    mask = head_mask(picture)
    orientation = orientation_numbers(row.get("orientation"))
    framed = [to_frame(values, mask, row["plane"], orientation) for values in (heat, picture)]
    return np.stack(framed), share_outside(heat, mask), float(1 - mask.mean())


def averaged(found: pd.DataFrame, framed: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Average maps by predicted class and plane, and by plane alone, over all, right and wrong decisions.

    Parameters
    ----------
    found : DataFrame
        n rows with ``y_pred``, ``plane``, ``right``, ``PatientID``, ``outside``.
    framed : ndarray, shape (n, 2, GRID, GRID)
        Heat and image of each; a map without heat does not count.

    Returns
    -------
    cells : DataFrame
        ``y_pred`` (`ANY` for all classes), ``plane``, ``decisions``, ``slices``, ``patients``, ``outside`` (mean);
        only those with slices.
    means : ndarray of float32, shape (cells, 2, GRID, GRID)
    """
    heated = found["outside"].notna().to_numpy()
    right = found["right"].to_numpy(bool)
    rows, means = [], []
    kinds = [*((ANY, plane) for plane in BOX), *found.groupby(["y_pred", "plane"], sort=True).groups]
    for name, plane in kinds:
        here = heated & (found["plane"] == plane).to_numpy() & (found["y_pred"].isin([name]).to_numpy() | (name == ANY))
        for decisions, kept in zip(DECISIONS, (here, here & right, here & ~right), strict=True):
            if not kept.any():
                continue
            rows.append({
                "y_pred": name, "plane": plane, "decisions": decisions, "slices": int(kept.sum()),
                "patients": found["PatientID"][kept].nunique(), "outside": float(found["outside"][kept].mean()),
            })  # fmt: skip
            means.append(_mean(framed[kept]))
    columns = ["y_pred", "plane", "decisions", "slices", "patients", "outside"]
    return pd.DataFrame(rows, columns=columns), np.array(means, np.float32).reshape(-1, 2, GRID, GRID)


def _mean(values: np.ndarray) -> np.ndarray:
    there = np.isfinite(values)
    n = there.sum(axis=0)
    total = np.where(there, values, 0).sum(axis=0)
    # Where hardly a slice reaches, one odd map would look like a rule.
    return np.where(n * 4 >= len(values), total / np.maximum(n, 1), np.nan)


# The job --------------------------------------------------------------------------------------------------


def name_of(question: Question, ending: str = "") -> str:
    """Name the file of a question's maps; methods and heads are words without a slash.

    Examples
    --------
    >>> name_of(Question("plane"), ".parquet")
    'maps-plane-grad_cam.parquet'
    """
    return f"maps-{question.head}-{question.method}{ending}"


def status(run: Run, question: Question) -> dict[str, Any]:
    """Tell how far a run's maps are, see `core.queueing.side_jobs.SideJob`.

    When done it also holds ``sha256`` of the model, ``slices``, ``per_class``, ``random_state`` and ``seconds``.
    """
    return _job(run, question).status()


def start(run: Run, question: Question, slices: int = SLICES, random_state: int = 0) -> None:
    """Start to make maps in a process of its own; `status` tells how far it is.

    Raises
    ------
    RunError
        When they are being made already, cannot be, or the run was not evaluated.
    """
    run.predictions()
    _job(run, question).start(run.id, question.head, question.method, slices, random_state)


def cancel(run: Run, question: Question) -> None:
    """End a running work; what an earlier one has found stays."""
    _job(run, question).cancel()


def work(
    run: Run, question: Question, slices: int = SLICES, random_state: int = 0, report: Callable | None = None
) -> pd.DataFrame:
    """Make maps in this process, with their status kept; raises what `measure` raises."""
    return _job(run, question).work(
        lambda follow: measure(run, question, slices, random_state, follow), report,
        sha256=run.card()["sha256"], per_class=slices, random_state=random_state,
    )  # fmt: skip


def estimate_s(run: Run, question: Question, slices: int) -> float | None:
    """Estimate how long it takes, in seconds; None where nothing is known of this model's pace here."""
    try:
        made = cohort.read_unlogged(run.config.cohort)
        n = len(chosen(run.predictions(), made, question.head, slices, 0))
    except CoreError:
        return None
    before = status(run, question)
    if before.get("seconds") and before.get("slices"):
        return n * before["seconds"] / before["slices"]
    measured = pace_measure.known(run.config)
    if measured is None:
        return None
    passes = _PASSES.get(question.method, _USUAL_PASSES)
    return measured.start_s + n * passes * measured.forward_ms / 1000


def _job(run: Run, question: Question) -> SideJob:
    if question.method not in METHOD_WORDS or not runs.is_id(question.head):
        raise InputError(f"There are no maps of {question.head!r} by {question.method!r}. Choose others.")
    title = f"The work on maps of run {run.id}"
    return SideJob(title, _MODULE, _file(run, question, ".json"), run.held)


def _file(run: Run, question: Question, ending: str) -> Path:
    return analyses.folder(run) / name_of(question, ending)


def main() -> int:
    """Make the maps of one run; returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("head")
    parser.add_argument("method")
    parser.add_argument("slices", type=int)
    parser.add_argument("random_state", type=int)
    options = parser.parse_args()
    # Whatever backend trains, maps need TensorFlow.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        run = runs.read_run(options.run)
        work(run, Question(options.head, method=options.method), options.slices, options.random_state)
    except CoreError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
