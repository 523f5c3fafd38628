"""What the app has at its first start: the phantom cohort, an example study, and the shipped model judged on both."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd

from core import cohort, runs
from core.cohort import Cohort
from core.cohorts.slice_table import replaced
from core.errors import CoreError, InputError
from core.settings import PROJECT_DIR, WEIGHTS_DIR, get_settings

COHORT = "phantom"
PATIENTS = 12
SEED = 7
#: Raised whenever the phantoms change, so that older cohorts are made anew.
_VERSION = 6
#: Another seed than the cohort's: the example's patient is in no cohort.
_EXAMPLE_SEED = 8

Report = Callable[[float, str], None]


def write_files(
    folder: Path, n_patients: int, random_state: int, report: Report | None = None, labels: bool = True
) -> list[dict[str, str]]:
    """Write a phantom cohort's DICOM files.

    Parameters
    ----------
    folder : Path
        Empty, or not there yet.
    n_patients, random_state : int
        See `core.phantom.study.write_cohort`.
    report : callable, optional
        Called with (share done from 0 to 1, message).
    labels : bool
        Whether ``labels.csv`` is written beside them.

    Returns
    -------
    list of dict
        What each series shows, as from `core.phantom.study.write_cohort`.

    Raises
    ------
    InputError
        When the folder is not empty or cannot be made, or for a number of patients outside 1 to 100.
    """
    # nilearn and what it brings would stay in the web server's memory for good.
    from core.phantom import study

    report = report or (lambda share, message: None)
    _check(n_patients)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already and not an empty folder. Name another for the phantoms.")
    # Beside its place first: who is interrupted leaves nothing behind that looks whole.
    partial = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        truth = study.write_cohort(
            partial,
            n_patients,
            random_state,
            lambda done, total: report(done / total, f"Phantom patient {done} of {total}"),
            os.cpu_count() or 1,
        )
        if labels:
            pd.DataFrame(truth).to_csv(partial / "labels.csv", index=False)
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}. Name another folder.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return truth


def make_cohort(n_patients: int = PATIENTS, random_state: int = SEED, report: Report | None = None) -> Cohort:
    """Make the phantom cohort in the workspace, or return it if just this one is there.

    Parameters
    ----------
    n_patients, random_state : int
        See `core.phantom.study.write_cohort`.
    report : callable, optional
        Called with (share done from 0 to 1, message).

    Returns
    -------
    Cohort
        Labelled by header; where the header is silent or wrong, the label log sets what the series truly shows.
    """
    report = report or (lambda share, message: None)
    _check(n_patients)
    recipe = {"n_patients": n_patients, "random_state": random_state, "version": _VERSION}
    if _recipe() == recipe:
        return cohort.read(COHORT)
    # The workspace's own files: whoever wants to keep phantoms has them written elsewhere.
    files = _phantoms() / COHORT
    _stamp().unlink(missing_ok=True)
    shutil.rmtree(files, ignore_errors=True)
    truth = write_files(
        files, n_patients, random_state, lambda share, message: report(0.7 * share, message), labels=False
    )
    made = cohort.scan(
        files,
        COHORT,
        source="phantom",
        workers=os.cpu_count() or 1,
        report=lambda done, total: report(0.7 + 0.28 * done / total, f"Reading headers: {done} of {total}"),
    )
    (made.folder / cohort.LOG_NAME).unlink(missing_ok=True)
    made = cohort.write(made)
    correct_labels(made, truth)
    with replaced(_stamp()) as fresh:
        fresh.write_text(json.dumps(recipe), encoding="utf-8")
    report(1.0, f"Phantom cohort with {len(made.table)} slices of {n_patients} patients")
    return cohort.read(COHORT)


def example_study() -> Path:
    """Folder with one phantom patient's study for the Study page; made at the first call."""
    folder = _phantoms() / f"example-{_VERSION}"
    if not folder.exists():
        from core.phantom import study

        partial = folder.with_name(f".example-{os.getpid()}")
        study.write_patient(partial, 0, _EXAMPLE_SEED, study.EXAMPLE_PLAN)
        partial.rename(folder)
    return folder


def ensure_ready(report: Report | None = None, n_patients: int | None = None, random_state: int | None = None) -> None:
    """Make whatever the first start needs and is not there: cohort, example, and the shipped model's evaluation.

    Parameters
    ----------
    report : callable, optional
        Called with (share done from 0 to 1, message).
    n_patients, random_state : int, optional
        Of the cohort; when not given, those of the one that is there, else 12 and 7.

    Raises
    ------
    CoreError
        When the evaluation failed; its own words are in the message.
    """
    report = report or (lambda share, message: None)
    there = _recipe()
    made = make_cohort(
        there.get("n_patients", PATIENTS) if n_patients is None else n_patients,
        there.get("random_state", SEED) if random_state is None else random_state,
        lambda share, message: report(0.75 * share, message),
    )
    judged = _judged()
    report(0.75, "An example study" + ("" if judged else ", and judging the shipped model on patients it never saw"))
    with nullcontext() if judged else _judging(made.name):
        example_study()
    report(1.0, "Ready")


@contextmanager
def _judging(cohort_name: str) -> Iterator[None]:
    """Let the shipped model be judged on a cohort while something else is done, and wait for it."""
    # TensorFlow stays out of this process, which may be the web server's; two processes use two cores.
    workspace = str(get_settings().workspace.resolve())
    with subprocess.Popen(
        [sys.executable, "-m", "core.evaluation", runs.SHIPPED, cohort_name],
        cwd=PROJECT_DIR, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "SLICESCOPE_WORKSPACE": workspace},
    ) as judging:  # fmt: skip
        yield
        _, said = judging.communicate()
    if judging.returncode:
        raise CoreError(f"The shipped model could not be evaluated: {said.strip()[-500:]}")


def ready() -> bool:
    """Whether cohort, example and the evaluation of just these shipped weights on it are there."""
    return bool(_recipe()) and (_phantoms() / f"example-{_VERSION}").exists() and _judged()


def _check(n_patients: int) -> None:
    if not 1 <= n_patients <= 100:
        raise InputError(f"A phantom cohort has 1 to 100 patients; received {n_patients}.")


def _phantoms() -> Path:
    return get_settings().workspace / "phantoms"


def _stamp() -> Path:
    return _phantoms() / f"{COHORT}.json"


def _recipe() -> dict[str, Any]:
    """What the cohort that is there was made from; empty when there is none, or one of older phantoms."""
    try:
        recipe = json.loads(_stamp().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return recipe if recipe.get("version") == _VERSION and COHORT in cohort.list_cohorts() else {}


def _judged() -> bool:
    """Whether the shipped run is of these weights, and was judged after the cohort was made."""
    try:
        run = runs.read_run(runs.SHIPPED)
        shipped = json.loads((WEIGHTS_DIR / "card.json").read_text(encoding="utf-8"))
        judged = (run.folder / "scores.json").stat().st_mtime_ns
        return (
            run.status["state"] == "done"
            and run.card()["sha256"] == shipped["sha256"]
            and judged > _stamp().stat().st_mtime_ns
        )
    except (CoreError, OSError):
        return False


def correct_labels(made: Cohort, truth: list[dict[str, str]]) -> None:
    """Let a phantom cohort's label log say what its series truly show, where their headers do not.

    Parameters
    ----------
    made : Cohort
        Written, without changed labels.
    truth : list of dict
        One a series: ``SeriesInstanceUID``, ``plane``, ``sequence``.
    """
    labelled = made.table.groupby("SeriesInstanceUID")[["plane", "sequence"]].first()
    for series in truth:
        uid = series["SeriesInstanceUID"]
        for column in ("plane", "sequence"):
            found = labelled.loc[uid, column]
            found = None if pd.isna(found) else str(found)
            if found != series[column]:
                cohort.append_label(made, uid, column, found, series[column], by="phantom recipe")
