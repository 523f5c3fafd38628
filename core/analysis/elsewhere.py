"""A model judged on another cohort than its own: a run of its own, in whose split every slice is a test.

Also a command: ``python -m core.analysis.elsewhere RUN_DIR`` judges what `queue` has prepared.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from core import cohort, evaluation, jobs, runs
from core.comparing import run_notes
from core.config import RunConfig
from core.errors import CohortError, CoreError
from core.runs import Run

COMMAND = (sys.executable, "-m", "core.analysis.elsewhere")


def queue(run: Run, cohort_name: str) -> Run:
    """Queue the judgement of a finished run's model on another cohort.

    Parameters
    ----------
    run : Run
        With a trained bundle; it stays as it is.
    cohort_name : str

    Returns
    -------
    Run
        A new one, in the state *queued*.

    Raises
    ------
    RunError
        When the run has no model or no split.
    CohortError
        When the cohort is missing, or shows nothing that the model could be judged by.
    """
    config, prepare = _prepared(run, cohort_name)
    made = runs.create_run(
        config, prepare=prepare, message="Waiting to be judged", command=list(COMMAND), queued=runs.now(),
        like=["elsewhere", *jobs.likeness(config)],
    )  # fmt: skip
    jobs.ensure_dispatcher()
    return made


def judge(run: Run, cohort_name: str, report: Callable[[float, str], None] | None = None) -> Run:
    """Judge a finished run's model on another cohort in this process, see `queue`; loads Keras."""
    config, prepare = _prepared(run, cohort_name)
    made = runs.create_run(config, prepare=prepare, state="running", pid=os.getpid(), message="Judging")
    evaluation.judge(made, report)
    return made


def _prepared(run: Run, cohort_name: str) -> tuple[RunConfig, Callable[[Path], None]]:
    card, made, learnt = run.card(), cohort.read(cohort_name), run.split()
    # Who took part in the training says nothing about new people, wherever they turn up again.
    known = set(learnt.loc[learnt["split"].isin(["train", "validation"]), "PatientID"])
    part = evaluation.all_test(made, card["classes"])
    part = part[~part["PatientID"].isin(known)]
    if part.empty:
        raise CohortError(
            f"Cohort {cohort_name} has no slice that this model can be judged by: none is labelled with one of its "
            "classes, or all are of patients that it has learnt from. Choose another cohort, or label some slices."
        )
    config = replace(run.config, name=f"{run_notes.title(run)} on {cohort_name}"[:60], cohort=cohort_name)

    def prepare(folder: Path) -> None:
        shutil.copytree(run.bundle, folder / "bundle", ignore=shutil.ignore_patterns("novelty.npz"))
        part.to_parquet(folder / "split.parquet", index=False)

    return config, prepare


def main() -> int:
    """Judge what a run folder was prepared for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m core.analysis.elsewhere", description=__doc__.splitlines()[0])
    parser.add_argument("run_dir", type=Path)
    folder = parser.parse_args().run_dir.resolve()
    run = Run(folder.name, folder)
    try:
        evaluation.judge(run, lambda share, message: run.update(progress=round(share, 4), message=message))
    except CoreError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
