"""A model and its card, saved together and verified when loaded."""

import hashlib
import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cohorts.slice_table import replaced
from core.errors import BundleError
from core.images import FRAME
from core.settings import WEIGHTS_DIR, get_settings
from core.vocabulary import NOT_FOR_CLINICAL_USE

if TYPE_CHECKING:
    import keras

MODEL_FILE, CARD_FILE = "model.keras", "card.json"

_REQUIRED = ("name", "kind", "classes")
_PACKAGES = ("keras", "tensorflow", "numpy", "scikit-learn")


def save(model: "keras.Model", card: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write ``model.keras`` and ``card.json``.

    Parameters
    ----------
    model : keras.Model
    card : dict
        Needs ``name``, ``kind`` and ``classes`` ({head: [class, ...]}). May hold ``split_hash``, ``temperature``
        and ``unsure_below`` ({head: float}), ``scores``, ``limits`` and more. What the model and the machine know
        (input_shape, frame, cam_layer, features_layer, backend, versions, sha256, created, not_for_clinical_use) is
        filled in.
    folder : Path
        Made if missing; a bundle that is there is replaced.

    Returns
    -------
    dict
        The card as written.

    Raises
    ------
    BundleError
        When the card lacks a required field.
    """
    import keras

    from core.models.parts import FEATURES, cam_layer, encoder_of

    missing = [field for field in _REQUIRED if not card.get(field)]
    if missing:
        raise BundleError(f"The card lacks {', '.join(missing)}. Received: {', '.join(card) or 'nothing'}.")
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"part-{os.getpid()}.keras"
    try:
        # A model of the same layers that was never compiled: what the optimiser remembers is three times the weights.
        keras.Model(model.input, model.output, name=model.name).save(partial)
        digest = sha256(partial)
        partial.replace(folder / MODEL_FILE)
    finally:
        partial.unlink(missing_ok=True)
    full = {
        "split_hash": "",
        "temperature": dict.fromkeys(card["classes"], 1.0),
        "unsure_below": dict.fromkeys(card["classes"], 0.5),
        "scores": {},
        "limits": [],
        **card,
        "input_shape": list(encoder_of(model).input_shape[1:]),
        "frame": FRAME,
        "cam_layer": cam_layer(model),
        "features_layer": FEATURES,
        "backend": keras.backend.backend(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in dict.fromkeys((*_PACKAGES, keras.backend.backend()))},
        },
        "sha256": digest,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "not_for_clinical_use": NOT_FOR_CLINICAL_USE,
    }
    _write_card(full, folder)
    return full


def read_card(folder: Path) -> dict[str, Any]:
    """Read a bundle's card; needs no Keras.

    Raises
    ------
    BundleError
        When there is none, or it is no card.
    """
    path = Path(folder) / CARD_FILE
    if not path.is_file():
        raise BundleError(f"There is no model card {path.parent.name}/{CARD_FILE}. Train a run, or make the weights.")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"The model card {path.parent.name}/{CARD_FILE} is not JSON: {error}.") from None
    if not isinstance(card, dict) or any(field not in card for field in (*_REQUIRED, "sha256")):
        raise BundleError(f"The model card {path.parent.name}/{CARD_FILE} lacks name, kind, classes or sha256.")
    return card


def update_card(folder: Path, **changes: Any) -> dict[str, Any]:
    """Change fields of a card, for example scores and temperature after evaluation; returns the new card.

    Raises
    ------
    BundleError
        When there is no card, or the change touches ``sha256``.
    """
    if "sha256" in changes:
        raise BundleError("sha256 tells which model the card is about, so it is not changed: save the model again.")
    card = {**read_card(folder), **changes}
    _write_card(card, Path(folder))
    return card


def limits(card: dict[str, Any]) -> list[str]:
    """Say what a model cannot do: the card's own sentences, and one more where models have come to see otherwise."""
    own = [str(limit) for limit in card.get("limits", [])]
    if card.get("frame") == FRAME:
        return own
    return [*own, "Trained on whole slices, but shown the square around the head since then: train it again."]


def load(folder: Path) -> "keras.Model":
    """Load a registered bundle's model.

    A model file can run code when loaded, so only folders that this installation wrote or ships are opened, only
    when the file is the one that the card was written for, and only in Keras' safe mode.

    Parameters
    ----------
    folder : Path
        ``<workspace>/runs/<run>/bundle``, ``last`` beside it, or the shipped ``assets/weights``.

    Returns
    -------
    keras.Model
        Not compiled. `read_card` tells its classes.

    Raises
    ------
    BundleError
        When the folder is not registered, or the model is missing, altered or cannot be loaded.
    """
    folder = Path(folder)
    if not is_registered(folder):
        raise BundleError(
            f"{folder.name} is not a registered bundle. Models are loaded from finished runs and from the shipped "
            "weights only, because a model file can run code."
        )
    card = read_card(folder)
    path = folder / MODEL_FILE
    if not path.is_file():
        raise BundleError(f"{folder.name} has a card but no {MODEL_FILE}. Train the run again.")
    found = sha256(path)
    if found != card["sha256"]:
        raise BundleError(
            f"{folder.name}/{MODEL_FILE} is not the file that its card describes (expected sha256 "
            f"{str(card['sha256'])[:12]}…, found {found[:12]}…). Train the run again, or restore the file."
        )
    import keras

    import core.models.mc_dropout  # noqa: F401  registers our own layer

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise BundleError(f"{folder.name}/{MODEL_FILE} could not be loaded: {str(error)[:300]}") from error


def is_registered(folder: Path) -> bool:
    """Tell whether `folder`, links followed, is a run's best or last bundle in the workspace or the shipped weights."""
    place = Path(folder).resolve()
    runs = get_settings().runs_dir.resolve()
    return place == WEIGHTS_DIR.resolve() or (place.name in ("bundle", "last") and place.parent.parent == runs)


def sha256(path: Path) -> str:
    """Hash a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_card(card: dict[str, Any], folder: Path) -> None:
    with replaced(folder / CARD_FILE) as fresh:
        fresh.write_text(json.dumps(card, indent=2), encoding="utf-8")
