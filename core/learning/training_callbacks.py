"""What happens around each epoch: metrics, progress, checkpoint, best and last weights, and stopping when asked."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
from keras import ops

from core.errors import RunError
from core.learning import checkpoints, epochs
from core.learning.checkpoints import Checkpoint, EpochMark
from core.learning.training_answers import Ask

#: Stages in the order in which a run may go through them.
STAGES = ("head", "whole", "fine-tuning")
_TITLES = {"head": "Head", "whole": "Whole network", "fine-tuning": "Fine-tuning"}


class ByEpoch(Protocol):
    """A source of batches that are those of an epoch, whatever was drawn before."""

    def begin(self, epoch: int) -> None:
        """Make ready for an epoch, from 0."""


@dataclass
class Watch:
    """Who is told of each epoch, who may stop the work, and where it goes on.

    Attributes
    ----------
    folder : Path
        The run folder, for ``metrics.jsonl``, ``checkpoint.npz`` and ``epochs.npz``.
    progress : callable
        Called with (stage, share of the stage from 0 to 1, message).
    cancelled : callable
        Tells whether to stop.
    on_best, on_last : callable
        Called with an `EpochMark` while the model has that epoch's weights: in a stage that trains the whole network
        after each better epoch, and at the end of the head's stage; after the last epoch of the last stage.
    final : str
        The run's last stage.
    total : int
        Epochs of all stages.
    fingerprint : str
        See `core.learning.checkpoints.fingerprint`.
    resumed : Checkpoint, optional
        Where to go on.
    answers : EpochAnswers, optional
        Answers of the epochs until then; without, answers by epoch are not kept.
    """

    folder: Path
    progress: Callable[[str, float, str], None]
    cancelled: Callable[[], bool]
    on_best: Callable[[EpochMark], object]
    on_last: Callable[[EpochMark], object] = lambda mark: None
    final: str = ""
    total: int = 1
    fingerprint: str = ""
    resumed: Checkpoint | None = None
    answers: epochs.EpochAnswers | None = None
    epochs_done: int = field(default=0, init=False)
    best: EpochMark | None = field(default=None, init=False)
    best_number: int = field(default=0, init=False)
    saved: EpochMark | None = field(default=None, init=False)

    def __post_init__(self):
        if self.resumed:
            self.epochs_done, self.best = self.resumed.epochs_done, self.resumed.best
            self.best_number = self.resumed.best_number

    def is_past(self, stage: str) -> bool:
        """Tell whether an earlier process was in a later stage already."""
        return self.resumed is not None and STAGES.index(stage) < STAGES.index(self.resumed.now.stage)

    def checkpoint_of(self, stage: str) -> Checkpoint | None:
        """Return the checkpoint when it lies in this stage."""
        return self.resumed if self.resumed and self.resumed.now.stage == stage else None

    def save_best(self) -> None:
        """Tell `on_best`, once an epoch."""
        if self.best is not None and self.saved != self.best:
            self.on_best(self.best)
            self.saved = self.best


class Epochs(keras.callbacks.Callback):
    """One stage's epochs.

    Parameters
    ----------
    model : keras.Model
        The stage's.
    stage : {"head", "whole", "fine-tuning"}
    n_epochs : int
    watch : Watch
    monitor : {"val_loss", "loss"}
        Less is better.
    source : ByEpoch, optional
        Told of each epoch's beginning.
    ask : callable, optional
        Asked about the slices of validation and test; see `core.learning.training_answers`.
    patience : int
        Epochs without a better one after which the stage ends; 0 never ends it early.
    """

    def __init__(
        self,
        model: keras.Model,
        stage: str,
        n_epochs: int,
        watch: Watch,
        monitor: str,
        source: ByEpoch | None = None,
        ask: Ask | None = None,
        patience: int = 0,
    ):
        super().__init__()
        self.of, self.stage, self.n_epochs, self.watch, self.monitor = model, stage, n_epochs, watch, monitor
        self.source, self.ask, self.patience = source, ask, patience
        self.before = watch.checkpoint_of(stage)
        self.seconds, self.better_at, self.over, self.cut = 0.0, 0, False, False
        self.last: EpochMark | None = None
        self.last_weights: list[np.ndarray] = []
        self.best_weights: list[np.ndarray] = []
        if self.before:
            self._take_up(self.before)
        elif self._comparable():
            # The best epoch of the stage before stays the best until a better one comes.
            self.best_weights = model.get_weights()
        else:
            watch.best = None

    def _comparable(self) -> bool:
        best = self.watch.best
        return best is not None and best.monitor == self.monitor == "val_loss"

    def _take_up(self, before: Checkpoint) -> None:
        _assign(self.of.variables, before.model)
        self.last, self.better_at, self.seconds, self.over = before.now, before.better_at, before.seconds, before.over
        self.last_weights = self.of.get_weights()
        self.best_weights = list(before.best_weights) or self.last_weights

    @property
    def first(self) -> int:
        """Epochs that lie behind."""
        return self.last.epoch if self.last else 0

    def finish(self) -> None:
        """Leave the best epoch's weights in the model, and tell of best and last; also when the stage was stopped."""
        if not self.best_weights:
            return
        self.of.set_weights(self.best_weights)
        self.watch.save_best()
        if self.last and (self.stage == self.watch.final or self.watch.cancelled()):
            self.of.set_weights(self.last_weights)
            self.watch.on_last(self.last)
            self.of.set_weights(self.best_weights)

    def on_train_begin(self, logs=None):
        self.started = time.monotonic() - self.seconds
        if self.before:
            if not self.model.optimizer.built:
                self.model.optimizer.build(self.model.trainable_variables)
            _assign(self.model.optimizer.variables, self.before.optimiser)

    def on_epoch_begin(self, epoch, logs=None):
        if self.source:
            self.source.begin(epoch)

    def on_train_batch_end(self, batch, logs=None):
        if self.watch.cancelled():
            self.model.stop_training = True
            self.cut = True

    def on_epoch_end(self, epoch, logs=None):
        # Part of an epoch is none: whoever goes on begins it anew.
        if self.cut:
            return
        values = _with_means({name: float(value) for name, value in (logs or {}).items()})
        self.seconds = time.monotonic() - self.started
        self.last = EpochMark(self.stage, epoch + 1, self.n_epochs, self.monitor, values[self.monitor])
        self.last_weights = self.model.get_weights()
        line = {"stage": self.stage, "epoch": epoch + 1, "seconds": round(self.seconds, 3), **values}
        with (self.watch.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.watch.epochs_done += 1
        if self._is_better():
            self.watch.best, self.watch.best_number = self.last, self.watch.epochs_done
            self.best_weights, self.better_at = self.last_weights, epoch + 1
            if self.stage != "head":
                self.watch.save_best()
        self.over = epoch + 1 == self.n_epochs or 0 < self.patience <= epoch + 1 - self.better_at
        self._keep_answers()
        self._write_checkpoint()
        self._tell()
        if self.over or self.watch.cancelled():
            self.model.stop_training = True

    def _is_better(self) -> bool:
        best = self.watch.best
        return best is None or self.last.value < best.value or math.isnan(best.value)

    def _keep_answers(self) -> None:
        watch = self.watch
        if watch.answers is None or self.ask is None:
            return
        is_best = watch.best_number == watch.epochs_done
        if not (is_best or self.over or epochs.is_planned(watch.epochs_done, watch.total)):
            return
        answers = self.ask()
        if answers is not None:
            watch.answers = epochs.added(
                watch.answers, watch.epochs_done, self.last, answers, watch.best_number, watch.total
            )
            epochs.write(watch.folder, watch.answers)

    def _write_checkpoint(self) -> None:
        best_is_now = self.best_weights is self.last_weights
        checkpoints.write(
            self.watch.folder,
            Checkpoint(
                fingerprint=self.watch.fingerprint,
                now=self.last,
                best=self.watch.best,
                better_at=self.better_at,
                over=self.over,
                epochs_done=self.watch.epochs_done,
                best_number=self.watch.best_number,
                seconds=self.seconds,
                model=_arrays(self.model.variables),
                optimiser=_arrays(self.model.optimizer.variables),
                best_weights=() if best_is_now else self.best_weights,
            ),
        )

    def _tell(self) -> None:
        done = self.last.epoch
        left = 0.0 if self.over else self.seconds / done * (self.n_epochs - done)
        message = f"{_TITLES[self.stage]}: epoch {done} of {self.n_epochs}, about {left:.0f} s left in this stage"
        self.watch.progress(self.stage, done / self.n_epochs, message)


def _with_means(values: dict[str, float]) -> dict[str, float]:
    """Add accuracies over all heads to those of each."""
    for prefix in ("", "val_"):
        heads = [
            value
            for name, value in values.items()
            if name.endswith("_accuracy") and name != "val_accuracy" and name.startswith("val_") == bool(prefix)
        ]
        if heads:
            values[f"{prefix}accuracy"] = float(np.mean(heads))
    return values


def _arrays(variables: list) -> list[np.ndarray]:
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]


def _assign(variables: list, arrays: list[np.ndarray]) -> None:
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [array.shape for array in arrays]:
        raise RunError(
            f"The run's {checkpoints.CHECKPOINT_FILE} holds {len(arrays)} arrays that do not fit the {len(shapes)} "
            "variables of its model; the libraries may have changed since. Start it from the beginning."
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
