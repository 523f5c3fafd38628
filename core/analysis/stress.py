"""The stress bench: what becomes of a model's answers as slices get worse, and whether it notices.

Some slices of the part that the run is judged on are changed in every way and at every strength of
`core.analysis.stress_changes`, and the model is asked about each. Kept in the run's folder ``analyses/``::

    stress.json            state, progress, message, slices, seed, sha256 of the model; replaced atomically
    stress.parquet         one row a slice, change, strength and head: the answer
    stress_curves.parquet  one row a change, strength and head: accuracy with its interval by patient, and confidence

The bench is a process of its own (``python -m core.analysis.stress RUN``), which asks its own inference worker: the web
process only looks at the files.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from core import cohort, inference, runs
from core.analysis import analyses
from core.analysis.stress_changes import CHANGES, Change, Slice, changed, model_input, slice_of
from core.cohorts.slice_table import Cohort, replaced, slice_keys
from core.comparing.bootstrap import patient_bootstrap
from core.errors import CohortError, CoreError, InputError, RunError, UnreadableFile
from core.learning import pace_measure
from core.queueing.side_jobs import SideJob
from core.runs import Run
from core.sandbox import Sandboxes
from core.splits import SPLITS

#: Slices of each class, unless somebody wants others.
SLICES = 20
#: An answer is sure from this probability on.
SURE = 0.9
#: Points of accuracy whose loss is worth a warning.
POINTS = 10.0
#: The name of the strength that is none.
NEUTRAL = "as it is"
#: Slices whose changed pictures are in memory at once.
_PIECE = 8
#: Milliseconds that the changes of one picture take, about; the network's time comes on top.
_CHANGE_MS = 1.5


@dataclass(frozen=True)
class Step:
    """One picture that is made of every slice: a change at a strength, or the slice as it is (no change)."""

    change: Change | None
    strength: float | str | None

    @property
    def words(self) -> tuple[str, str]:
        """Name of the change (empty without) and the strength's label."""
        return (self.change.name, self.change.label(self.strength)) if self.change else ("", NEUTRAL)


STEPS = (Step(None, None), *(Step(change, strength) for change in CHANGES for strength in change.strengths))


def steps_of(name: str) -> tuple[Step, ...]:
    """Return the slice as it is and the steps of one change, in the order in which a curve has them."""
    steps = [step for step in STEPS if step.change is None or step.change.name == name]
    # A gamma of 1 changes nothing: it has its place between those that brighten and those that darken.
    return tuple(sorted(steps, key=lambda step: step.strength or 1.0)) if name == "gamma" else tuple(steps)


# What is measured -----------------------------------------------------------------------------------------


def measure(
    run: Run, slices: int = SLICES, random_state: int = 0, report: Callable[[int, int], None] | None = None
) -> pd.DataFrame:
    """Ask a run's model about changed slices, and keep its answers and their curves.

    Parameters
    ----------
    run : Run
        Evaluated.
    slices : int
        Of each class at most; see `sample`.
    random_state : int
        Chooses slices, noise and directions.
    report : callable, optional
        Called with (slices done, slices in all).

    Returns
    -------
    DataFrame
        As `curves` gives it.

    Raises
    ------
    RunError
        When the run was not evaluated.
    CohortError
        When its cohort is gone, or a file of it.
    ChildError
        When the model cannot be asked.
    """
    if slices < 1:
        raise InputError(f"The bench needs at least one slice of each class. Received: {slices}.")
    report = report or (lambda done, total: None)
    card, predictions = run.card(), run.predictions()
    chosen = sample(predictions, slices, random_state)
    made = cohort.read(run.config.cohort)
    table = made.table.set_axis(slice_keys(made.table))
    gone = ~chosen["key"].isin(table.index)
    if gone.any():
        raise CohortError(
            f"{int(gone.sum())} of the slices that were chosen are no longer in cohort {made.name}. Index the folder "
            "that it was made from again."
        )
    rows = table.loc[chosen["key"]]
    parts, size = [], card["input_shape"][0]
    report(0, len(rows))
    with Sandboxes(min(2, os.cpu_count() or 1)) as sandboxes:
        read = sandboxes.map(lambda sandbox, row: _read(sandbox, made, row), rows.to_dict("records"))
        for start, pictures in _pieces(read, chosen["key"].tolist(), size, random_state):
            answer = inference.get_worker().predict(run.bundle, pictures)
            parts.append(_answers(answer, chosen["key"].iloc[start : start + len(pictures) // len(STEPS)]))
            report(start + len(pictures) // len(STEPS), len(rows))
    answers = _with_truth(pd.concat(parts, ignore_index=True), predictions)
    drawn = curves(answers)
    for name, written in (("stress", answers), ("stress_curves", drawn)):
        with replaced(analyses.folder(run) / f"{name}.parquet") as fresh:
            written.to_parquet(fresh, index=False)
    return drawn


def sample(
    predictions: pd.DataFrame, slices: int, random_state: int, by: Sequence[str] = ("head", "y_true")
) -> pd.DataFrame:
    """Choose slices: of each head's classes so many at most, spread over patients as evenly as can be.

    Parameters
    ----------
    predictions : DataFrame
        Of a run; slices of the test part, else of the validation part, else of training, whose truth is known.
    slices : int
    random_state : int
    by : sequence of str
        Columns; of each combination of their words so many.

    Returns
    -------
    DataFrame
        ``key``, ``PatientID``: a slice once, whichever heads it was chosen for.

    Raises
    ------
    RunError
        When no slice's truth is known.
    """
    known = predictions[predictions["y_true"].notna()]
    part = next((part for part in reversed(SPLITS) if (known["split"] == part).any()), None)
    if part is None:
        raise RunError("No slice of this run has a known answer, so there is nothing to judge by.")
    known = known[known["split"] == part].sample(frac=1, random_state=random_state)
    # The first slice of every patient, then the second of every patient, …
    turn = known.groupby([*by, "PatientID"], sort=False).cumcount()
    known = known.assign(turn=turn).sort_values("turn", kind="stable")
    taken = known[known.groupby([*by], sort=False).cumcount() < slices]
    return pd.DataFrame({"key": slice_keys(taken), "PatientID": taken["PatientID"]}).drop_duplicates(
        "key", ignore_index=True
    )


def _read(sandbox, made: Cohort, row: dict) -> Slice:
    try:
        pixels = sandbox.pixels(made.root / row["path"], int(row["frame"]))
    except UnreadableFile as error:
        raise CohortError(f"{row['shown_path']} was indexed but cannot be read now: {error}") from error
    return slice_of(pixels, (row["pixel_spacing_row_mm"], row["pixel_spacing_column_mm"]))


def _pieces(read: Iterator[Slice], keys: list[str], size: int, random_state: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield where each piece begins, and its pictures, slice by slice, each at all `STEPS`."""
    for start in range(0, len(keys), _PIECE):
        names = keys[start : start + _PIECE]
        # zip asks the keys first, so that no slice is read for nothing.
        yield (
            start,
            np.concatenate([pictures(one, key, size, random_state) for key, one in zip(names, read, strict=False)]),
        )


def pictures(made: Slice, key: str, size: int, random_state: int, steps: tuple[Step, ...] = STEPS) -> np.ndarray:
    """Change one slice at every step: (steps, size, size), as the model sees them."""
    seed = (random_state, int(hashlib.sha256(key.encode()).hexdigest()[:8], 16))
    return np.stack([
        model_input(changed(made, step.change, step.strength, seed) if step.change else made, size) for step in steps
    ])  # fmt: skip


def _answers(answer: inference.Prediction, keys: pd.Series) -> pd.DataFrame:
    parts = []
    names, labels = zip(*(step.words for step in STEPS), strict=True)
    for head, proba in answer.heads.items():
        words = np.array(answer.classes[head], dtype=object)
        parts.append(pd.DataFrame({
            "key": np.repeat(keys.to_numpy(), len(STEPS)), "step": np.tile(np.arange(len(STEPS)), len(keys)),
            "change": names * len(keys), "strength": labels * len(keys), "head": head,
            "y_pred": words[np.nan_to_num(proba).argmax(axis=1)], "p": proba.max(axis=1), "y_proba": list(proba),
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _with_truth(answers: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    truth = predictions[["head", "y_true", "PatientID"]].assign(key=slice_keys(predictions))
    joined = answers.merge(truth, on=["key", "head"], how="left", validate="m:1")
    return joined[joined["y_true"].notna()].reset_index(drop=True)


def curves(answers: pd.DataFrame) -> pd.DataFrame:
    """Score the answers at every step, with 95 % intervals by patient.

    Parameters
    ----------
    answers : DataFrame
        ``key``, ``step``, ``change``, ``strength``, ``head``, ``PatientID``, ``y_true``, ``y_pred``, ``p``.

    Returns
    -------
    DataFrame
        One row a head and step: ``accuracy``, ``low``, ``high``; ``loss``, ``loss_low``, ``loss_high`` (against the
        slices as they are, paired); ``mean_p``; ``sure``, the share of answers with a probability of at least 0.9,
        with ``sure_right``, the accuracy among them; ``slices``, ``patients``. All but the counts from 0 to 1, NaN
        where there is nothing to judge by.
    """
    found = []
    for head, part in answers.groupby("head", sort=False):
        right = part.assign(right=part["y_true"] == part["y_pred"]).pivot(index="key", columns="step", values="right")
        p = part.pivot(index="key", columns="step", values="p").loc[right.index].to_numpy(float)
        patients = part.drop_duplicates("key").set_index("key").loc[right.index, "PatientID"]
        right = right.to_numpy(float)
        made = patient_bootstrap(patients, right)
        low, high = made.interval()
        lost = patient_bootstrap(patients, right[:, :1] - right)
        lost_low, lost_high = lost.interval()
        sure = p >= SURE
        with np.errstate(invalid="ignore"):
            sure_right = (sure & (right > 0)).sum(axis=0) / sure.sum(axis=0)
            mean_p = np.nan_to_num(p).sum(axis=0) / np.isfinite(p).sum(axis=0)
        steps = part.drop_duplicates("step").sort_values("step")
        found.append(pd.DataFrame({
            "head": head, "step": steps["step"].to_numpy(), "change": steps["change"].to_numpy(),
            "strength": steps["strength"].to_numpy(), "accuracy": made.estimate, "low": low, "high": high,
            "loss": lost.estimate, "loss_low": lost_low, "loss_high": lost_high, "mean_p": mean_p,
            "sure": sure.mean(axis=0), "sure_right": sure_right, "slices": len(right), "patients": made.patients,
        }))  # fmt: skip
    return pd.concat(found, ignore_index=True)


def curve(drawn: pd.DataFrame, head: str, change: Change) -> pd.DataFrame:
    """Return the rows of one head and change, in the order of `steps_of`."""
    rows = drawn[(drawn["head"] == head) & drawn["change"].isin(("", change.name))].set_index("strength", drop=False)
    return rows.reindex([step.words[1] for step in steps_of(change.name)]).dropna(subset="head")


def outdated(drawn: pd.DataFrame) -> bool:
    """Tell whether curves were measured with other changes or strengths than there are now."""
    return set(zip(drawn["change"], drawn["strength"], strict=True)) != {step.words for step in STEPS}


def sentence(drawn: pd.DataFrame, head: str, change: Change) -> str:
    """Say in one sentence what a partner has to expect of a change.

    Examples
    --------
    >>> rows = pd.DataFrame({"head": "plane", "change": ["", "jpeg", "jpeg"], "strength": [NEUTRAL, "50", "10"],
    ...     "loss": [0, 0.01, 0.18], "loss_low": [0, 0, 0.1], "loss_high": [0, 0.02, 0.25], "sure": [0.9, 0.9, 0.6],
    ...     "sure_right": [1.0, 1.0, 0.9]})
    >>> sentence(rows, "plane", next(change for change in CHANGES if change.name == "jpeg"))
    'plane loses 18 points at JPEG quality 10 (95 % interval 10 to 25); 60 % of its answers are still sure, and 90 % \
of those are right.'
    """
    rows = drawn[(drawn["head"] == head) & (drawn["change"] == change.name)]
    if rows.empty:
        return f"{head}: not measured."
    points = (100 * rows["loss"]).round()
    bad = rows[(points >= POINTS) & ~(rows["loss_low"] <= 0)]
    if bad.empty:
        worst = rows.loc[points.idxmax()]
        lost, at = _points(max(0.0, points.max())), change.at.format(worst["strength"])
        if points.max() >= POINTS:
            return f"{head} loses {lost} at {at}, but with other patients that could be nothing."
        return f"{head} holds: " + (f"it loses at most {lost}, at {at}." if points.max() > 0 else "it loses nothing.")
    # The mildest that hurts; where strengths are no growing row, the one that hurts most.
    first = bad.iloc[0] if change.growing else bad.loc[bad["loss"].idxmax()]
    said = f"{head} loses {_points(round(100 * first['loss']))} at {change.at.format(first['strength'])}"
    if np.isfinite(first["loss_low"]):
        said += f" (95 % interval {100 * first['loss_low']:.0f} to {100 * first['loss_high']:.0f})"
    said += f"; {100 * first['sure']:.0f} % of its answers are still sure"
    return said + (f", and {100 * first['sure_right']:.0f} % of those are right." if first["sure"] > 0 else ".")


def _points(n: float) -> str:
    return f"{n:.0f} {'point' if n == 1 else 'points'}"


def estimate_s(run: Run, slices: int) -> float | None:
    """Estimate how long the bench takes, in seconds; None where nothing is known of this model's pace here."""
    try:
        n = len(sample(run.predictions(), slices, 0))
    except CoreError:
        return None
    before = status(run)
    if before.get("seconds") and before.get("slices"):
        return n * before["seconds"] / before["slices"]
    measured = pace_measure.known(run.config)
    if measured is None:
        return None
    looks = 2 if run.card().get("mirrored") else 1
    return measured.start_s + n * len(STEPS) * (_CHANGE_MS + looks * measured.forward_ms) / 1000


# The job --------------------------------------------------------------------------------------------------


def status(run: Run) -> dict[str, Any]:
    """Tell how far a run's bench is.

    Returns
    -------
    dict
        ``state`` (none, running, done, failed, cancelled, interrupted), ``message``, ``done`` and ``total`` slices;
        of one that is done ``sha256`` of the model, ``slices``, ``per_class``, ``random_state``, ``seconds`` and
        ``ended``.
    """
    return _job(run).status()


def start(run: Run, slices: int = SLICES, random_state: int = 0) -> None:
    """Start the bench in a process of its own; `status` tells how far it is.

    Raises
    ------
    RunError
        When it is running already, or cannot be started.
    """
    run.predictions()
    _job(run).start(run.id, slices, random_state)


def cancel(run: Run) -> None:
    """End a running bench; what an earlier one has found stays."""
    _job(run).cancel()


def work(run: Run, slices: int = SLICES, random_state: int = 0, report: Callable | None = None) -> pd.DataFrame:
    """Do the bench in this process, with its status kept; raises what `measure` raises."""
    return _job(run).work(
        lambda follow: measure(run, slices, random_state, follow), report,
        sha256=run.card()["sha256"], per_class=slices, random_state=random_state,
    )  # fmt: skip


def _job(run: Run) -> SideJob:
    return SideJob(
        f"The stress bench of run {run.id}", "core.analysis.stress", analyses.folder(run) / "stress.json", run.held
    )


def main() -> int:
    """Do the bench of one run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m core.analysis.stress", description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("slices", type=int)
    parser.add_argument("random_state", type=int)
    options = parser.parse_args()
    try:
        work(runs.read_run(options.run), options.slices, options.random_state)
    except CoreError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
