"""Which trained model is *the model*: the one that Study and ``classify`` ask unless told otherwise.

``workspace/model.json`` names it: ``{"run", "sha256", "promoted"}``, replaced atomically. Without the file it is the
shipped model. What the file says is checked when it is read: a run that was trashed, trained anew, or whose model is
not the promoted file any more falls back to the shipped model, and the answer says so in a sentence.
"""

import functools
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core import bundle, runs
from core.cohorts.slice_table import replaced
from core.errors import BundleError, CoreError, RunError
from core.explanations.jury import JURY_FILE
from core.settings import WEIGHTS_DIR, get_settings


@dataclass(frozen=True)
class Model:
    """A model that can be asked.

    Attributes
    ----------
    id : str
        A run's id, or ``shipped``.
    bundle : Path
    card : dict
    promoted : str
        When it became the model, ISO 8601 UTC; empty for the shipped one and for one that is not the model.
    note : str
        Why it is not the one that was promoted; empty when all is well.
    """

    id: str
    bundle: Path
    card: dict[str, Any]
    promoted: str = ""
    note: str = ""

    @property
    def sha256(self) -> str:
        return self.card["sha256"]

    @property
    def name(self) -> str:
        """What people call it."""
        return "the shipped model" if self.id == runs.SHIPPED else str(self.card["name"])

    @property
    def heads(self) -> tuple[str, ...]:
        """What it can tell, of ``plane`` and ``sequence``.

        Examples
        --------
        >>> Model("a", Path("."), {"classes": {"plane-sequence": ["axial-T1"]}}).heads
        ('plane', 'sequence')
        """
        return tuple(part for head in self.card["classes"] for part in head.split("-"))

    @property
    def facts(self) -> dict[str, Any]:
        """What stands beside its answers, so that it can be told later which model gave them."""
        facts = {"model": self.id, "model_name": self.name, "sha256": self.sha256, "promoted": self.promoted}
        return {**facts, "kind": self.card["kind"], "heads": list(self.heads)}


def current() -> Model:
    """Return the model that Study uses."""
    stored = _stored()
    if stored is None:
        return find(runs.SHIPPED)
    try:
        chosen = verified(stored["run"])
        if chosen.sha256 != stored["sha256"]:
            raise RunError(f"Run {chosen.id} was trained anew after it was promoted.")
    except CoreError as error:
        shipped = find(runs.SHIPPED)
        note = f"The promoted run {stored['run']!r} cannot be used, so the shipped model answers: {error}"
        return Model(shipped.id, shipped.bundle, shipped.card, note=note)
    return Model(chosen.id, chosen.bundle, chosen.card, promoted=stored["promoted"])


def find(model: str | None = None) -> Model:
    """Find a model by name.

    Parameters
    ----------
    model : str, optional
        ``shipped``, or a run's id; the current model without.

    Raises
    ------
    CoreError
        When there is no such run, or it has no trained model.
    """
    if model is None:
        return current()
    if model == runs.SHIPPED:
        return Model(model, WEIGHTS_DIR, bundle.read_card(WEIGHTS_DIR))
    run = runs.read_run(model)
    return Model(run.id, run.bundle, run.card())


def promote(run_id: str) -> Model:
    """Make a run's model the one that Study uses; ``shipped`` goes back to the shipped one.

    Raises
    ------
    RunError
        When the run is not done, or a Siamese one has no jury.
    BundleError
        When its model is not the file that its card describes.
    """
    path = _path()
    if run_id == runs.SHIPPED:
        path.unlink(missing_ok=True)
        return find(runs.SHIPPED)
    chosen = verified(run_id)
    stored = {"run": chosen.id, "sha256": chosen.sha256, "promoted": datetime.now(UTC).isoformat(timespec="seconds")}
    with replaced(path) as fresh:
        fresh.write_text(json.dumps(stored, indent=2), encoding="utf-8")
    return current()


def verified(run_id: str) -> Model:
    """Find a finished run's model, and check without Keras all that loading would check first.

    Raises
    ------
    RunError
        When there is no such run, it is not done, or a Siamese one has no jury.
    BundleError
        When its model is not the file that its card describes.
    """
    model = find(run_id)
    state = runs.read_run(model.id).status["state"]
    if state != "done":
        raise RunError(f"Run {model.id} is {state}; only a finished run can be the model.")
    if model.card["kind"] == "siamese" and not (model.bundle / JURY_FILE).is_file():
        raise RunError(f"The Siamese run {model.id} has no jury. Evaluate it first.")
    path = model.bundle / bundle.MODEL_FILE
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise RunError(f"Run {model.id} has a card but no {bundle.MODEL_FILE}. Train it again.") from None
    if _digest(path, stat.st_ino, stat.st_size, stat.st_mtime_ns) != model.sha256:
        raise BundleError(f"The model of run {model.id} is not the file that its card describes.")
    return model


@functools.lru_cache(maxsize=32)
def _digest(path: Path, *stamp: int) -> str:
    # A large model takes a third of a second to hash, and every page asks.
    return bundle.sha256(path)


def _stored() -> dict[str, str] | None:
    path = _path()
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(stored[name]) for name in ("run", "sha256", "promoted")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        # Said as any other model that cannot be used.
        return {"run": "", "sha256": "", "promoted": ""}


def _path() -> Path:
    return get_settings().workspace / "model.json"
