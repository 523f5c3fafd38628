"""Are the words and numbers of a model's card, configuration and scores what they should be?

For cards that somebody brings, see `core.publishing.model_check`: lines of plain text, numbers within their ranges,
heads and kinds that there are. What is not known is left behind.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

from core.config import BACKBONES, KINDS, LABELS, RunConfig
from core.errors import BundleError, CoreError
from core.images import FRAME
from core.vocabulary import NOT_FOR_CLINICAL_USE

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9 +*._()/]{0,39}")


def read_json(path: Path, name: str) -> dict[str, Any]:
    """Read a JSON object without NaN and infinity; raises BundleError, as all here do."""

    def no_number(word: str) -> None:
        raise ValueError(word)

    try:
        found = json.loads(path.read_text("utf-8"), parse_constant=no_number)
    except (ValueError, RecursionError):
        raise BundleError(f"{name} of the file is not JSON.") from None
    if not isinstance(found, dict):
        raise BundleError(f"{name} of the file is no JSON object.")
    return found


def checked_config(folder: Path) -> RunConfig:
    """Read a run configuration that can be used and names no path."""
    text = json.dumps(read_json(folder / "config.json", "config.json"))
    try:
        config = RunConfig.from_json(text)
        config.validate()
    except CoreError as error:
        said = str(error).split(". ")[0][:200].rstrip(".")
        raise BundleError(f"The configuration of the file cannot be used: {said}.") from None
    for name in ("name", "cohort", "preset", "weights"):
        line_of_text(getattr(config, name), f"{name} of the configuration", 200)
    if "/" in config.weights or "\\" in config.weights:
        raise BundleError("The configuration of the file names weights by a path.")
    return config


def checked_card(card: dict[str, Any]) -> dict[str, Any]:
    """Return the card's known fields, each of the kind that it should be; what is not known is left behind."""
    classes = card.get("classes")
    heads = set(classes) if isinstance(classes, dict) else set()
    if str(card.get("kind")) not in KINDS or not heads or heads - set(LABELS):
        raise BundleError("The card tells of no kind of model and heads that Slicescope has.")
    for head, names in classes.items():
        _check_classes(head, names)
    shape = card.get("input_shape")
    whole = isinstance(shape, list) and len(shape) == 3 and all(type(side) is int for side in shape)
    if not whole or shape[0] != shape[1] or shape[2] != 1 or not 32 <= shape[0] <= 512:
        raise BundleError("The card's input_shape is not [S, S, 1] with S from 32 to 512.")
    if not re.fullmatch(r"[0-9a-f]{64}", str(card.get("sha256"))) or not re.fullmatch(
        r"[0-9a-f]{0,64}", str(card.get("split_hash", ""))
    ):
        raise BundleError("The card's sha256 or split_hash is no hash.")
    checked = {
        "name": line_of_text(card.get("name"), "name of the card", 200),
        "kind": card["kind"], "classes": classes, "input_shape": shape, "sha256": card["sha256"],
        "split_hash": card.get("split_hash", ""),
        "temperature": {head: _number(card, "temperature", head, 1e-3, 1e3) for head in classes},
        "unsure_below": {head: _number(card, "unsure_below", head, 0, 1) for head in classes},
        "cam_layer": line_of_text(card.get("cam_layer"), "cam_layer", 100),
        "features_layer": line_of_text(card.get("features_layer"), "features_layer", 100),
        "mirrored": card.get("mirrored") is True, "frame": FRAME if card.get("frame") == FRAME else "",
        "not_for_clinical_use": NOT_FOR_CLINICAL_USE,
    }  # fmt: skip
    for name in ("cohort", "weights", "created"):
        checked[name] = line_of_text(card.get(name, ""), f"{name} of the card", 200)
    checked["backbone"] = card["backbone"] if str(card.get("backbone")) in BACKBONES else "unknown"
    checked["mc_samples"] = card["mc_samples"] if type(card.get("mc_samples")) is int else 1
    for name, empty in (("scores", {}), ("data", {}), ("versions", {}), ("limits", [])):
        checked[name] = plain_data(card.get(name, empty), f"{name} of the card")
        if type(checked[name]) is not type(empty):
            raise BundleError(f"{name} of the card is of another kind than it should be.")
    if card.get("brain") is not None:
        checked["brain"] = _plane(card["brain"])
    return checked


def _check_classes(head: str, names: Any) -> None:
    if not isinstance(names, list) or not 2 <= len(names) <= 100 or len({*map(str, names)}) != len(names):
        raise BundleError(f"The card's classes of {head} are not 2 to 100 different words.")
    parts = len(head.split("-"))
    for name in names:
        words = name.split("-") if isinstance(name, str) else []
        if len(words) != parts or not all(map(_WORD.fullmatch, words)):
            raise BundleError(f"The card's classes of {head} hold {str(name)[:40]!r}, which is no plain word.")


def _plane(brain: Any) -> dict[str, Any]:
    weight = brain.get("weight") if isinstance(brain, dict) else None
    if not isinstance(weight, list) or not 1 <= len(weight) <= 8192 or not all(map(_is_number, weight)):
        raise BundleError("The card's plane between brains and other things is no list of numbers.")
    bias, below = brain.get("bias"), brain.get("below", 0.0)
    if not _is_number(bias) or not _is_number(below) or not 0 <= below <= 1:
        raise BundleError("The card's plane between brains and other things lacks bias or threshold.")
    return {"weight": weight, "bias": bias, "below": below}


def _number(card: dict[str, Any], field: str, head: str, low: float, high: float) -> float:
    values = card.get(field)
    value = values.get(head) if isinstance(values, dict) else None
    if not _is_number(value) or not low <= value <= high:
        raise BundleError(f"The card's {field} of {head} is no number from {low:g} to {high:g}.")
    return float(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e9


def line_of_text(value: Any, what: str, longest: int) -> str:
    """Return a line of printable text as it came; anything else is refused."""
    if not isinstance(value, str) or len(value) > longest or not (value.isprintable()):
        raise BundleError(f"The {what} is no line of text of at most {longest} characters.")
    return value


def plain_data(value: Any, what: str, depth: int = 0) -> Any:
    """Return nested numbers and lines of text as they came; anything deeper, longer or stranger is refused."""
    if depth > 6:
        raise BundleError(f"The {what} is nested too deeply.")
    if isinstance(value, dict):
        return {
            line_of_text(name, f"name in the {what}", 100): plain_data(one, what, depth + 1)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [plain_data(one, what, depth + 1) for one in value]
    if value is None or isinstance(value, bool) or _is_number(value):
        return value
    return line_of_text(value, what, 1000)
