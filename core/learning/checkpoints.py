"""What a run needs to go on as if it had never been stopped: ``checkpoint.npz`` in its folder, replaced each epoch.

One file holds weights, optimiser, seed generators and the best weights so far, so it is there whole or not at all.
Batches need no state: they are drawn from (seed, stage, epoch), see `core.learning.fitting`. Nothing here loads Keras.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.cohorts.slice_table import replaced
from core.config import RunConfig

CHECKPOINT_FILE = "checkpoint.npz"

#: Fields of a configuration that change nothing of what is learnt.
_NAMES = ("name", "preset")
#: What a file that was damaged, or written by another version, may raise.
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)


@dataclass(frozen=True)
class EpochMark:
    """One epoch of a run, and how good it was.

    Attributes
    ----------
    stage : {"head", "whole", "fine-tuning"}
    epoch : int
        From 1, within its stage.
    epochs : int
        Of the stage, as the configuration asks for.
    monitor : str
        What was looked at: ``val_loss``, or ``loss`` without validation patients.
    value : float
        Of the monitor; less is better.
    """

    stage: str
    epoch: int
    epochs: int
    monitor: str
    value: float

    def to_card(self, kept: str) -> dict[str, Any]:
        """Return what a bundle's card says of its epoch; `kept` is ``best`` or ``last``."""
        return {"kept": kept, **asdict(self)}


@dataclass(frozen=True)
class Checkpoint:
    """The state after an epoch.

    Attributes
    ----------
    fingerprint : str
        Of what the run learns from and how, see `fingerprint`.
    now, best : EpochMark
        The epoch that ended, and the best so far.
    better_at : int
        Epoch of this stage that was the last to be the best; 0 for none.
    over : bool
        Whether the stage ended with it.
    epochs_done, best_number : int
        Epochs over all stages until then, and which of them was the best.
    seconds : float
        That the stage took until then.
    model, optimiser : sequence of ndarray
        All variables of the stage's model (seed generators included) and of its optimiser, in Keras' order.
    best_weights : sequence of ndarray
        Weights of the stage's model at `best`; empty when that is `now`.
    """

    fingerprint: str
    now: EpochMark
    best: EpochMark
    better_at: int
    over: bool
    epochs_done: int
    best_number: int
    seconds: float
    model: Sequence[np.ndarray]
    optimiser: Sequence[np.ndarray]
    best_weights: Sequence[np.ndarray]


_ARRAYS = ("model", "optimiser", "best_weights")


def fingerprint(config: RunConfig, split_hash: str, y: Mapping[str, np.ndarray]) -> str:
    """Name what a run learns from and how; equal prints mean that one may go on where the other stopped.

    Parameters
    ----------
    config : RunConfig
        Its name counts for nothing.
    split_hash : str
        See `core.splits.split_hash`.
    y : dict of ndarray of int
        Answers of each head; labels may have changed since.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    values = {name: value for name, value in asdict(config).items() if name not in _NAMES}
    digest = hashlib.sha256(json.dumps([values, split_hash, list(y)], sort_keys=True).encode())
    for numbers in y.values():
        digest.update(np.ascontiguousarray(numbers, np.int32))
    return digest.hexdigest()


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Put a checkpoint in the place of the one before it.

    Parameters
    ----------
    folder : Path
        Of the run.
    checkpoint : Checkpoint
    """
    values = {name: value for name, value in vars(checkpoint).items() if name not in _ARRAYS}
    values |= {"now": asdict(checkpoint.now), "best": asdict(checkpoint.best)}
    arrays = {"about": np.frombuffer(json.dumps(values).encode(), np.uint8)}
    for group in _ARRAYS:
        arrays |= {f"{group}-{place:05}": array for place, array in enumerate(getattr(checkpoint, group))}
    with replaced(folder / CHECKPOINT_FILE) as fresh, fresh.open("wb") as file:
        np.savez(file, **arrays)


def read(folder: Path, wanted: str) -> Checkpoint | None:
    """Read a run's checkpoint.

    Parameters
    ----------
    folder : Path
        Of the run.
    wanted : str
        Fingerprint that it must have.

    Returns
    -------
    Checkpoint or None
        None when there is none, when it is of other data or another configuration, and when it is damaged.
    """
    try:
        with np.load(folder / CHECKPOINT_FILE, allow_pickle=False) as stored:
            values = _about(stored)
            if values["fingerprint"] != wanted:
                return None
            arrays: dict[str, list[np.ndarray]] = {group: [] for group in _ARRAYS}
            for name in sorted(stored.files):
                if name != "about":
                    arrays[name.rpartition("-")[0]].append(stored[name])
    except _UNREADABLE:
        return None
    return Checkpoint(**values, **arrays)


def glance(folder: Path) -> Checkpoint | None:
    """Read a run's checkpoint without its arrays, whatever it fits: quick enough for pages.

    Returns
    -------
    Checkpoint or None
        None when there is none, so that the run would start from the beginning.
    """
    try:
        with np.load(folder / CHECKPOINT_FILE, allow_pickle=False) as stored:
            return Checkpoint(**_about(stored), **dict.fromkeys(_ARRAYS, ()))
    except _UNREADABLE:
        return None


def discard(folder: Path) -> None:
    """Remove a run's checkpoint, so that it starts from the beginning the next time."""
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what a killed process left half written in a run folder that nobody else works on."""
    for pattern in (f".{CHECKPOINT_FILE}.*.tmp", ".epochs.npz.*.tmp", "bundle/part-*", "last/part-*"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def keep_metrics(folder: Path, epochs: int) -> None:
    """Cut ``metrics.jsonl`` to its first epochs: a killed process may have told of one that must be done again."""
    path = folder / "metrics.jsonl"
    if not epochs:
        path.unlink(missing_ok=True)
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    with replaced(path) as fresh:
        fresh.write_text("".join(line for line in lines[:epochs] if line.endswith("\n")), encoding="utf-8")


def _about(stored: np.lib.npyio.NpzFile) -> dict[str, Any]:
    values = json.loads(stored["about"].tobytes())
    return {**values, "now": EpochMark(**values["now"]), "best": EpochMark(**values["best"])}
