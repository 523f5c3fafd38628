"""One training run, from its configuration to an evaluated bundle: ``python -m core.training RUN_DIR``.

Light to import: Keras is loaded by `train`, after the process has learnt how to be cancelled.
"""

import argparse
import importlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from core import batches, cohort, novelty, preflight, run_split, runs, splits
from core.config import LEAKY, RunConfig
from core.errors import ConfigError, CoreError, RunError
from core.settings import get_settings
from core.slice_table import Cohort, replaced

if TYPE_CHECKING:
    import keras

    from core.fitting import Data

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
    network may follow. Each stage ends with the weights of its best epoch, by loss on the validation patients.

    Parameters
    ----------
    config : RunConfig
    run_dir : Path
        The run's folder: split.parquet, metrics.jsonl, tensorboard/, bundle/ and, for Siamese runs,
        references.parquet are written into it, then what `core.evaluation.evaluate` writes.
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

    def reading(done: int, total: int) -> None:
        _stop_if(cancelled)
        report(_ENDS["read"] * done / max(total, 1), f"Reading slices: {done} of {total}")

    # Keras takes seconds to load, and reading is done by other processes.
    threading.Thread(target=importlib.import_module, args=("core.fitting",), daemon=True).start()
    images = batches.model_inputs(made, table, config.image_size, reading)
    _stop_if(cancelled)
    report(_ENDS["read"], "Starting Keras")

    from core import backend_tensorflow, bundle, fitting
    from core.models import BUILDERS, float32_twin

    backend_tensorflow.choose_device(get_settings().device)
    backend_tensorflow.set_determinism(config.random_state)
    model = BUILDERS[config.kind](config, classes)
    data = fitting.Data(
        images, batches.targets(table, classes), table["PatientID"].to_numpy(str), table["split"].to_numpy(str), classes
    )
    card = _card(config, classes, data, split_hash)
    card["limits"] += preflight.limits(run_dir)

    def progress(stage: str, share: float, message: str) -> None:
        if stage == "features":
            _stop_if(cancelled)
        names = list(_ENDS)
        start = _ENDS["read"] if stage == "whole" else _ENDS[names[names.index(stage) - 1]]
        report(start + share * (_ENDS[stage] - start), message)

    twin = float32_twin(config, classes)

    def save() -> dict:
        trained = model
        if twin is not None:
            twin.set_weights(model.get_weights())
            trained = twin
        if config.kind == "siamese":
            _write_references(trained, data, table, config, run_dir)
        return bundle.save(trained, card, run_dir / "bundle")

    (run_dir / "metrics.jsonl").unlink(missing_ok=True)
    watch = fitting.Watch(run_dir, progress, cancelled, on_best=save)
    if config.weights == "none":
        fitting.fit_whole(model, data, config, watch, "whole")
    else:
        fitting.fit_head(model, data, config, watch)
    saved = save() if watch.epochs_done else {}
    if config.fine_tune_epochs and not cancelled():
        fitting.fit_whole(model, data, config, watch, "fine-tuning")
        saved = save()
    if cancelled():
        kept = f"the best of {watch.epochs_done} epochs is kept" if saved else "nothing had been learnt yet"
        raise Cancelled(f"Cancelled; {kept}.")

    from core import evaluation

    report(_ENDS["fine-tuning"], "Evaluating")
    evaluation.evaluate(
        runs.Run(run_dir.name, run_dir),
        lambda done, message: report(_ENDS["fine-tuning"] + done * (1 - _ENDS["fine-tuning"]), message),
    )
    return bundle.read_card(run_dir / "bundle")


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled("Cancelled before anything had been learnt.")


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


def _write_references(
    model: "keras.Model", data: "Data", table: pd.DataFrame, config: RunConfig, run_dir: Path
) -> None:
    """Choose the jury: for each class the training slices nearest its centre, of as many patients as there are."""
    from core.models.parts import encoder_of

    rows = data.rows("train")
    embeddings = encoder_of(model).predict(data.images[rows][..., None], batch_size=64, verbose=0)
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
    with replaced(run_dir / "references.parquet") as fresh:
        references.to_parquet(fresh, index=False)


def main() -> int:
    """Run what a run folder asks for, and leave how it went in its status; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m core.training", description=__doc__.splitlines()[0])
    parser.add_argument("run_dir", type=Path)
    folder = parser.parse_args().run_dir.resolve()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    run = runs.Run(folder.name, folder)
    started = time.monotonic()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    run.update(state="running", pid=os.getpid(), started=now, progress=0.0, message="Starting")
    told = [0.0, ""]

    def report(progress: float, message: str) -> None:
        # Four times a second is as often as anybody looks.
        if time.monotonic() - told[0] < 0.25 and message.split(":")[0] == told[1]:
            return
        told[:] = time.monotonic(), message.split(":")[0]
        run.update(progress=round(progress, 4), message=message)

    try:
        card = train(run.config, folder, report, stop.is_set)
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
