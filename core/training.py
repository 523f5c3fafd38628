"""One training run, from its configuration to an evaluated bundle: ``python -m core.training RUN_DIR``.

Light to import: Keras is loaded by `train`, after the process has learnt how to be cancelled.
"""

import argparse
import importlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from core import batches, cohort, novelty, runs, splits
from core.cohorts.slice_table import Cohort, replaced
from core.config import LEAKY, RunConfig
from core.errors import ConfigError, CoreError, RunError
from core.learning import checkpoints, epochs, preflight, run_split, stopping
from core.settings import get_settings

if TYPE_CHECKING:
    from core.learning.fitting import Data

__all__ = ["Cancelled", "RunConfig", "train"]

#: What stands in ``split.parquet`` beside the split.
SPLIT_COLUMNS = ["path", "frame", "SOPInstanceUID", "SeriesInstanceUID", "PatientID"]

#: Where each stage ends on the run's progress bar.
_ENDS = {"read": 0.2, "features": 0.55, "head": 0.7, "whole": 0.7, "fine-tuning": 0.9, "evaluate": 1.0}

Report = Callable[[float, str], None]


class Cancelled(RunError):
    """Somebody cancelled the run; what had been learnt by then is kept."""


def train(
    config: RunConfig,
    run_dir: Path,
    report: Report | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict:
    """Train a model and evaluate it; everything goes into the run folder.

    Slices with a label are split by patient. With a frozen backbone, features of each slice and of its changed
    views are computed once and kept in the workspace, and the head is trained on them; fine-tuning of the whole
    network may follow. The best epoch, by loss on the validation patients, is what is kept, and the last one beside
    it. After each epoch the state is written down; when the folder holds such a state, of the same configuration and
    the same slices with the same labels, the run goes on after that epoch instead of beginning anew.

    Parameters
    ----------
    config : RunConfig
    run_dir : Path
        The run's folder: split.parquet, metrics.jsonl, tensorboard/, bundle/ (the best epoch), last/, epochs.npz
        and, for Siamese runs, references.parquet are written into it, then what `core.evaluation.evaluate` writes;
        checkpoint.npz is there until the run is done.
    report : callable, optional
        Called with (progress from 0 to 1, message).
    cancelled : callable, optional
        Asked at each batch and between stages whether to stop.

    Returns
    -------
    dict
        The bundle's card.

    Raises
    ------
    ConfigError
        When the configuration cannot work on this cohort.
    CohortError
        When the cohort is missing or its files changed.
    WeightsUnavailable
        When the backbone's weights cannot be had.
    Cancelled
        When `cancelled` said so; what was best until then is in the bundle.
    """
    report = report or (lambda progress, message: None)
    config.validate()
    made = cohort.read(config.cohort)
    report(0.0, "Reading slices")
    table, classes = _labelled(made, config)
    split_hash = _write_split(table, run_dir)

    def stop_if_cancelled() -> None:
        if cancelled():
            raise Cancelled(kept_words(run_dir))

    def reading(done: int, total: int) -> None:
        stop_if_cancelled()
        report(_ENDS["read"] * done / max(total, 1), f"Reading slices: {done} of {total}")

    # Keras takes seconds to load, and reading is done by other processes.
    threading.Thread(target=importlib.import_module, args=("core.learning.fitting",), daemon=True).start()
    images = batches.grey_inputs(made, table, config.image_size, reading)
    stop_if_cancelled()
    report(_ENDS["read"], "Starting Keras")

    from core import backend_tensorflow, bundle
    from core.learning import fitting
    from core.learning.training_callbacks import Watch
    from core.models import BUILDERS, float32_twin

    backend_tensorflow.choose_device(get_settings().device, config.devices)
    backend_tensorflow.set_determinism(config.random_state)
    with backend_tensorflow.sharing():
        model = BUILDERS[config.kind](config, classes)
    data = fitting.Data(
        images, batches.targets(table, classes), table["PatientID"].to_numpy(str), table["split"].to_numpy(str), classes
    )
    card = _card(config, classes, data, split_hash)
    card["limits"] += preflight.limits(run_dir)
    twin = float32_twin(config, classes)

    def progress(stage: str, share: float, message: str) -> None:
        if stage == "features":
            stop_if_cancelled()
        names = list(_ENDS)
        start = _ENDS["read"] if stage == "whole" else _ENDS[names[names.index(stage) - 1]]
        report(start + share * (_ENDS[stage] - start), message)

    def save(kept: str, mark: checkpoints.EpochMark) -> None:
        folder = run_dir / ("bundle" if kept == "best" else "last")
        trained = model
        if twin is not None:
            twin.set_weights(model.get_weights())
            trained = twin
        jury = None
        if config.kind == "siamese":
            frozen = mark.stage == "head"
            jury = _references(fitting.training_embeddings(trained, data, frozen), data, table, config)
        with stopping.together:
            if jury is not None:
                _write_references(jury, run_dir if kept == "best" else folder)
            bundle.save(trained, {**card, "epoch": mark.to_card(kept)}, folder)

    stages = ["whole" if config.weights == "none" else "head", *(["fine-tuning"] if config.fine_tune_epochs else [])]
    watch = Watch(
        run_dir, progress, cancelled,
        on_best=partial(save, "best"),
        on_last=partial(save, "last"),
        final=stages[-1],
        total=config.epochs + config.fine_tune_epochs,
        **_where_to_begin(config, run_dir, data, split_hash),
    )  # fmt: skip
    if watch.resumed:
        now = watch.resumed.now
        words = f"Going on after epoch {now.epoch} of {now.epochs} of the stage {now.stage}"
        print(words, flush=True)
        report(_ENDS["read"], words)
    for stage in stages:
        if not watch.is_past(stage):
            (fitting.fit_head if stage == "head" else partial(fitting.fit_whole, stage=stage))(
                model, data, config, watch
            )
        stop_if_cancelled()

    from core import evaluation

    def judging(done: float, message: str) -> None:
        stop_if_cancelled()
        report(_ENDS["fine-tuning"] + done * (1 - _ENDS["fine-tuning"]), message)

    judging(0.0, "Evaluating")
    evaluation.evaluate(runs.Run(run_dir.name, run_dir), judging)
    checkpoints.discard(run_dir)
    return bundle.read_card(run_dir / "bundle")


def _where_to_begin(config: RunConfig, run_dir: Path, data: "Data", split_hash: str) -> dict[str, Any]:
    """Tidy up after an earlier process, and find what there is to go on from."""
    checkpoints.sweep(run_dir)
    fingerprint = checkpoints.fingerprint(config, split_hash, data.y)
    before = checkpoints.read(run_dir, fingerprint)
    checkpoints.keep_metrics(run_dir, before.epochs_done if before else 0)
    answers = None
    if len(rows := data.asked):
        answers = epochs.read(run_dir) if before else None
        answers = answers or epochs.begin(
            data.classes, {head: y[rows] for head, y in data.y.items()}, data.split[rows], rows
        )
        if before:
            answers = epochs.until(answers, before.epochs_done, before.best_number)
    if before is None:
        checkpoints.discard(run_dir)
        (run_dir / epochs.EPOCHS_FILE).unlink(missing_ok=True)
    return {"fingerprint": fingerprint, "resumed": before, "answers": answers}


def kept_words(run_dir: Path) -> str:
    """Say what is left of a run that was cancelled."""
    state = checkpoints.glance(run_dir)
    if state is None:
        return "Cancelled before anything had been learnt."
    n = state.epochs_done
    kept = f"the best of {n} epochs is kept" if (run_dir / "bundle" / "card.json").exists() else "no model is kept yet"
    return f"Cancelled; {kept}. Resuming goes on after epoch {state.now.epoch} of the stage {state.now.stage}."


def _labelled(made: Cohort, config: RunConfig) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Return the rows that some head can learn from or be judged on, with their split; and each head's classes."""
    # Split before rows are dropped: the same split as the one that was shown before the start.
    table = made.table.assign(split=run_split.dealt(made, config))
    words = {head: batches.label_values(table, head) for head in config.heads}
    training = table["split"] == "train"
    classes = {head: batches.classes_of(words[head][training], head) for head in config.heads}
    for head, names in classes.items():
        if len(names) < 2:
            raise ConfigError(
                f"The training patients of cohort {made.name} show {len(names)} classes of {head}"
                f"{' (' + names[0] + ')' if names else ''}; at least 2 are needed. Label more slices, choose another "
                "label, or another cohort."
            )
    known = np.any([words[head].isin(names) for head, names in classes.items()], axis=0)
    # After the classes are known: runs on different shares must be judged on the same slices.
    known &= ~run_split.left_out(table, config)
    return table[known].reset_index(drop=True), classes


def _write_split(table: pd.DataFrame, run_dir: Path) -> str:
    # A real path may name a patient, and run folders are handed on.
    part = table.assign(path=table["shown_path"])[[*SPLIT_COLUMNS, "split"]]
    with replaced(run_dir / "split.parquet") as fresh:
        part.to_parquet(fresh, index=False)
    return splits.split_hash(part, part["split"])


def _card(config: RunConfig, classes: dict[str, list[str]], data: "Data", split_hash: str) -> dict:
    train_rows = data.rows("train")
    patients = len(np.unique(data.patient[train_rows]))
    leaky = "Its split is by slice: its test patients are also those it learnt from, so its scores are too good."
    return {
        "name": config.name,
        "kind": config.kind,
        "classes": classes,
        "cohort": config.cohort,
        "backbone": config.backbone,
        "weights": Path(config.weights).name,
        "mc_samples": config.mc_samples,
        "split_hash": split_hash,
        **novelty.inherited(config),
        "limits": [
            f"Learnt from {len(train_rows)} slices of {patients} patients of the cohort {config.cohort}; other "
            "scanners, protocols and diseases may look different.",
            "Answers with one of its classes whatever it is shown.",
            *([leaky] if config.split in LEAKY else []),
        ],
    }


def _references(embeddings: np.ndarray, data: "Data", table: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """Choose the jury: for each class the training slices nearest its centre, of as many patients as there are."""
    rows = data.rows("train")
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    ((head, names),) = data.classes.items()
    chosen: list[int] = []
    for number in range(len(names)):
        members = np.flatnonzero(data.y[head][rows] == number)
        if not len(members):
            continue
        nearest = members[np.argsort(-(unit[members] @ unit[members].mean(axis=0)), kind="stable")]
        # First the best slice of each patient, then each patient's second best, and so on.
        rank = pd.Series(data.patient[rows][nearest]).groupby(data.patient[rows][nearest]).cumcount().to_numpy()
        chosen += nearest[np.argsort(rank, kind="stable")][: config.jury_size].tolist()
    part = table.iloc[rows[chosen]].reset_index(drop=True)
    references = part.assign(path=part["shown_path"])[SPLIT_COLUMNS]
    references["cohort"] = config.cohort
    references["label"] = [names[number] for number in data.y[head][rows[chosen]]]
    references["embedding"] = [embeddings[row].astype(np.float32).tolist() for row in chosen]
    return references


def _write_references(references: pd.DataFrame, folder: Path) -> None:
    with replaced(folder / "references.parquet") as fresh:
        references.to_parquet(fresh, index=False)


def main() -> int:
    """Run what a run folder asks for until it is done or this process is told to end; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m core.training", description=__doc__.splitlines()[0])
    parser.add_argument("run_dir", type=Path)
    folder = parser.parse_args().run_dir.resolve()
    run = runs.Run(folder.name, folder)
    with stopping.StopSignal(lambda: _give_up(run)) as stop:
        return run_folder(folder, stop.is_set)


def _give_up(run: "runs.Run") -> None:
    # It may have ended in the very last moment.
    if run.status["state"] == "running":
        run.update(state="cancelled", message=kept_words(run.folder))


def run_folder(folder: Path, cancelled: Callable[[], bool]) -> int:
    """Run what a run folder asks for, and leave how it went in its status; returns the exit status."""
    run = runs.Run(folder.name, folder)
    started = time.monotonic()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    if run.status.get("resume") is False:
        checkpoints.discard(run.folder)
    # Said once: should this process be killed, the next one goes on where it was.
    run.update(state="running", pid=os.getpid(), started=now, progress=0.0, message="Starting", resume=None)
    told = [0.0, ""]

    def report(progress: float, message: str) -> None:
        # Four times a second is as often as anybody looks.
        if cancelled() or (time.monotonic() - told[0] < 0.25 and message.split(":")[0] == told[1]):
            return
        told[:] = time.monotonic(), message.split(":")[0]
        run.update(progress=round(progress, 4), message=message)

    try:
        card = train(run.config, folder, report, cancelled)
    except Cancelled as error:
        run.update(state="cancelled", message=str(error))
        return 0
    except CoreError as error:
        return _fail(run, str(error))
    except MemoryError:
        return _fail(run, "Not enough memory. Choose a smaller image size, batch size or backbone.")
    except Exception as error:
        return _fail(run, f"Something that nobody expected: {type(error).__name__}: {str(error)[:300]}. See log.txt.")
    seconds = time.monotonic() - started
    run.update(state="done", progress=1.0, message=f"Finished {card['name']} in {seconds:.0f} s")
    return 0


def _fail(run: "runs.Run", message: str) -> int:
    with (run.folder / "log.txt").open("a", encoding="utf-8") as log:
        log.write(traceback.format_exc())
    run.update(state="failed", message=message)
    return 1


if __name__ == "__main__":
    sys.exit(main())
