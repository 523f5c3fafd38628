"""What a trained model is worth: predictions, samples and scores of a run, computed once and kept in its folder.

Written are ``predictions.parquet`` (one row a slice and head, head after head, each in the order of ``split.parquet``),
``mc_samples.npz`` (head to (slices, T, classes)) and ``embeddings.npy`` (slices, d) in that same order, and
``scores.json``, and what `core.analysis.analyses` makes of them; the bundle's card gets temperature, thresholds and
scores, and a Siamese run its jury.

Also a command: ``python -m core.evaluation shipped COHORT`` makes the shipped model a finished run.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core import batches, bundle, calibration, cohort, inference, runs, thumbnails
from core.analysis import analyses
from core.analysis.confusion import confusion
from core.cohorts.slice_table import Cohort, replaced, slice_key
from core.comparing.bootstrap import bootstrap_totals, patient_totals
from core.config import RunConfig
from core.errors import CohortError, CoreError
from core.explanations.jury import Jury, unit
from core.publishing import model_card
from core.runs import Run
from core.settings import WEIGHTS_DIR, get_settings
from core.splits import SPLITS

Report = Callable[[float, str], None]

#: Side in pixels of a jury's pictures.
_PICTURE = 96
_COLUMNS = ["path", "frame", "SOPInstanceUID", "SeriesInstanceUID", "PatientID", "split"]


def evaluate(run: Run, report: Report | None = None, calibrate: bool = True) -> dict[str, Any]:
    """Judge a run on every slice of its split; loads Keras.

    Parameters
    ----------
    run : Run
        With a trained bundle and a ``split.parquet``.
    report : callable, optional
        Called with (share done from 0 to 1, message).
    calibrate : bool
        Whether temperature and thresholds are fitted on the validation slices; else the card's are kept.

    Returns
    -------
    dict
        What ``scores.json`` holds: ``accuracy`` (mean over heads on the part named by ``split``), its 95 % interval
        by patient ``accuracy_interval``, and by head and part accuracy, balanced_accuracy, majority, ece, slices,
        patients and by_class.

    Raises
    ------
    RunError
        When the run has no model or no split.
    CohortError
        When its cohort is gone, changed, or cannot be read.
    """
    report = report or (lambda share, message: None)
    card, config = run.card(), run.config
    made = cohort.read(config.cohort)
    rows = _rows(made, run)
    images = batches.grey_inputs(
        made, rows, card["input_shape"][0], lambda done, total: report(0.5 * done / total, "Reading slices")
    )
    # A model that is judged on another cohort brings its jury along.
    if card["kind"] == "siamese" and (run.folder / "references.parquet").exists():
        report(0.5, "Calling the jury")
        call_jury(run, made)
    report(0.5, "Asking the model")
    raw, features, embeddings = inference.forward(run.bundle, images, stored=True)
    y = batches.targets(rows, card["classes"])
    if calibrate:
        card = _calibrate(run, raw, y, (rows["split"] == "validation").to_numpy())
    proba = {head: calibration.apply_temperature(p, card["temperature"][head]) for head, p in raw.items()}
    report(0.75, "Drawing Monte-Carlo samples")
    samples = inference.mc_samples_local(run.bundle, features, config.mc_samples, config.random_state, True)
    report(0.9, "Writing the evaluation")
    table = _predictions(rows, proba, y, card["classes"], config.cohort)
    scores = _scores(table, card["classes"])
    with replaced(run.folder / "embeddings.npy") as fresh, fresh.open("wb") as file:
        np.save(file, embeddings)
    with replaced(run.folder / "mc_samples.npz") as fresh, fresh.open("wb") as file:
        # Half precision is a thousandth off at most, far below what passes differ by.
        np.savez_compressed(file, **{head: drawn.astype(np.float16) for head, drawn in samples.items()})
    with replaced(run.folder / "predictions.parquet") as fresh:
        table.to_parquet(fresh, index=False)
    with replaced(run.folder / "scores.json") as fresh:
        fresh.write_text(json.dumps(scores, indent=2), encoding="utf-8")
    if calibrate:
        facts = model_card.data_facts(rows, config.cohort)
        bundle.update_card(run.bundle, scores={config.cohort: scores["heads"]}, data=facts)
    analyses.write(run, lambda share, message: report(0.93 + 0.07 * share, message))
    report(1.0, "Evaluated")
    return scores


def evaluate_shipped(cohort_name: str, report: Report | None = None) -> Run:
    """Make the shipped model a finished run, judged on a cohort of which it has seen nobody; loads Keras.

    Parameters
    ----------
    cohort_name : str
        Made by `core.demo`: its people are others than those that the weights were made from.
    report : callable, optional
        As for `evaluate`.

    Returns
    -------
    Run
        Its id is `core.runs.SHIPPED`; an older one is replaced.
    """
    made = cohort.read(cohort_name)
    card = bundle.read_card(WEIGHTS_DIR)
    folder = get_settings().runs_dir / runs.SHIPPED
    shutil.rmtree(folder, ignore_errors=True)
    config = RunConfig(
        name="shipped model", kind=card["kind"], cohort=cohort_name, backbone=card["backbone"],
        image_size=card["input_shape"][0], mc_samples=card["mc_samples"],
    )  # fmt: skip
    run = runs.create_run(config, runs.SHIPPED, state="running", pid=os.getpid(), message="Judging the shipped model")
    shutil.copytree(WEIGHTS_DIR, run.bundle)
    part = all_test(made, card["classes"])
    part.to_parquet(run.folder / "split.parquet", index=False)
    judge(run, report)
    return run


def judge(run: Run, report: Report | None = None) -> None:
    """Evaluate a run that only answers, without calibrating it, and leave how it went in its status; loads Keras.

    Raises
    ------
    CoreError
        Whatever `evaluate` raises; the status then says *failed*.
    """
    try:
        evaluate(run, report, calibrate=False)
    except CoreError as error:
        run.update(state="failed", message=str(error))
        raise
    n = len(run.split())
    run.update(state="done", progress=1.0, message=f"Judged on {n} slices of the cohort {run.config.cohort}")


def all_test(made: Cohort, classes: dict[str, list[str]]) -> pd.DataFrame:
    """Return the split of a cohort that a model only answers: slices with a label that some head knows, all test."""
    known = [batches.label_values(made.table, head).isin(names) for head, names in classes.items()]
    part = made.table[np.any(known, axis=0)].assign(split="test")
    return part.assign(path=part["shown_path"])[_COLUMNS]


def _rows(made: Cohort, run: Run) -> pd.DataFrame:
    """Rows of the cohort's table, in the order of the run's split and with it."""
    split = run.split()[["SOPInstanceUID", "frame", "split"]]
    table = made.table.drop(columns="split")
    rows = split.merge(table, on=["SOPInstanceUID", "frame"], how="left", validate="1:1")
    gone = int(rows["path"].isna().sum())
    if gone:
        raise CohortError(
            f"{gone} of the {len(rows)} slices of run {run.id} are no longer in cohort {made.name}. Index the folder "
            "that it was made from again, or train anew."
        )
    return rows


def call_jury(run: Run, made: Cohort | None = None) -> None:
    """Write the references that a Siamese run's training chose into its bundles, with their pictures.

    Parameters
    ----------
    run : Run
    made : Cohort, optional
        The run's cohort, where it is at hand.
    """
    made = made or cohort.read(run.config.cohort)
    _call_jury(run.bundle, run.folder, made)
    if (run.last / "references.parquet").exists():
        _call_jury(run.last, run.last, made)


def _call_jury(folder: Path, chosen: Path, made: Cohort) -> None:
    references = pd.read_parquet(chosen / "references.parquet")
    table = made.table.drop(columns="split")
    rows = references[["SOPInstanceUID", "frame"]].merge(table, on=["SOPInstanceUID", "frame"], how="left")
    ((_, classes),) = bundle.read_card(folder)["classes"].items()
    Jury(
        classes=tuple(classes),
        labels=tuple(references["label"]),
        patients=tuple(references["PatientID"]),
        keys=tuple(slice_key(row) for row in references.to_dict("records")),
        embeddings=unit(np.stack(references["embedding"].to_list())).astype(np.float32),
        pictures=thumbnails.sprites(made, rows, _PICTURE),
    ).save(folder)


def _calibrate(run: Run, raw: dict[str, np.ndarray], y: dict[str, np.ndarray], validation: np.ndarray) -> dict:
    temperature, unsure_below = {}, {}
    for head, proba in raw.items():
        known = validation & (y[head] >= 0)
        temperature[head], unsure_below[head] = calibration.fit(proba[known], y[head][known])
    return bundle.update_card(run.bundle, temperature=temperature, unsure_below=unsure_below)


def _predictions(
    rows: pd.DataFrame, proba: dict[str, np.ndarray], y: dict[str, np.ndarray], classes: dict[str, list[str]], name: str
) -> pd.DataFrame:
    shown = rows.assign(path=rows["shown_path"])[_COLUMNS]
    parts = []
    for head, names in classes.items():
        parts.append(
            shown.assign(
                cohort=name,
                head=head,
                y_true=pd.array([names[number] if number >= 0 else None for number in y[head]], dtype="str"),
                y_pred=pd.array([names[number] for number in proba[head].argmax(axis=1)], dtype="str"),
                y_proba=list(proba[head]),
            )
        )
    return pd.concat(parts, ignore_index=True)


def _scores(table: pd.DataFrame, classes: dict[str, list[str]]) -> dict[str, Any]:
    known = table[table["y_true"].notna()]
    heads: dict[str, dict[str, Any]] = {}
    for head, names in classes.items():
        heads[head] = {}
        for split in SPLITS:
            part = known[(known["head"] == head) & (known["split"] == split)]
            if part.empty:
                continue
            matrix = confusion(part["y_true"], part["y_pred"], names)
            total = matrix.counts.sum(axis=1)
            heads[head][split] = {
                "accuracy": matrix.accuracy,
                "balanced_accuracy": matrix.balanced_accuracy,
                "majority": matrix.majority,
                "ece": calibration.ece(
                    np.stack(part["y_proba"].to_list()), np.array([names.index(word) for word in part["y_true"]])
                ),
                "slices": len(part),
                "patients": int(part["PatientID"].nunique()),
                "by_class": {
                    name: float(right / n)
                    for name, right, n in zip(names, np.diag(matrix.counts), total, strict=True)
                    if n
                },
            }
    judged = next((split for split in reversed(SPLITS) if all(split in parts for parts in heads.values())), None)
    accuracy = float(np.mean([parts[judged]["accuracy"] for parts in heads.values()])) if judged else None
    interval = _accuracy_interval(known[known["split"] == judged], list(classes)) if judged else None
    return {"accuracy": accuracy, "accuracy_interval": interval, "split": judged, "heads": heads}


def _accuracy_interval(known: pd.DataFrame, heads: list[str]) -> list[float] | None:
    """95 % interval by patient of the accuracy, the mean over heads; None with a single patient."""
    patients, _ = pd.factorize(known["PatientID"])
    head = known["head"].map({name: at for at, name in enumerate(heads)}).to_numpy(int)
    right = (known["y_true"] == known["y_pred"]).to_numpy(float)
    totals = np.hstack([patient_totals(patients, head, len(heads), right), patient_totals(patients, head, len(heads))])

    def mean_accuracy(drawn: np.ndarray) -> np.ndarray:
        # A drawn head without slices has no accuracy, and the others speak for it.
        right, n = np.hsplit(drawn, 2)
        share = np.where(n > 0, right / np.maximum(n, 1), 0)
        return share.sum(axis=1) / np.maximum((n > 0).sum(axis=1), 1)

    low, high = bootstrap_totals(totals, mean_accuracy).interval()
    return None if np.isnan(low) else [float(low), float(high)]


def main() -> int:
    """Evaluate the shipped model; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m core.evaluation", description=__doc__.splitlines()[0])
    parser.add_argument("run", choices=[runs.SHIPPED])
    parser.add_argument("cohort")
    options = parser.parse_args()
    try:
        evaluate_shipped(options.cohort)
    except CoreError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
