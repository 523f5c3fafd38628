"""Below which probability an answer goes to a person, class by class: chosen on validation, judged on test.

The original project described such thresholds ("a minimum certainty for each class") and never coded them. One
threshold for all classes lets an easy class hide that a hard one fails.
"""

import numpy as np

from core import calibration
from core.analysis.judged import Judged

#: Accuracies that can be asked of the answers that are kept.
TARGETS = (0.9, 0.95, 0.99)
#: With fewer validation slices or patients behind it a threshold is luck, and shown with that word.
FEW_SLICES, FEW_PATIENTS = 30, 5


def choose(one: Judged) -> dict:
    """Choose thresholds for each target, and judge them.

    Parameters
    ----------
    one : Judged

    Returns
    -------
    dict
        ``why_not``: a sentence where nothing could be chosen, else empty; ``targets``: by target a list with a dict a
        class that validation slices were named as: ``class``, ``threshold`` (1 where none reaches the target),
        ``few``, and for ``validation`` and ``test`` (None without such slices) ``named``, ``kept`` and ``accuracy`` of
        those kept.
    """
    validation, test = one.known("validation") & one.sound, one.known("test") & one.sound
    if not validation.any():
        return {
            "why_not": "This run has no validation slices, so no threshold is chosen: one chosen on the slices that it "
            "is judged on would look better than it is.",
            "targets": {},
        }
    named = one.proba.argmax(axis=1)
    chosen: dict[str, list] = {f"{target:g}": [] for target in TARGETS}
    for number, name in enumerate(one.names):
        mine = validation & (named == number)
        if not mine.any():
            continue
        few = bool(mine.sum() < FEW_SLICES or one.patients(mine) < FEW_PATIENTS)
        for target in TARGETS:
            # Nothing is below 0 here: where every answer of a class is right enough, every one is kept.
            threshold = calibration.fit_threshold(one.proba[mine], one.y[mine], target, least=0.0)
            facts = {"class": name, "threshold": threshold, "few": few}
            for part, rows in (("validation", mine), ("test", test & (named == number))):
                facts[part] = _kept(one, rows, threshold)
            chosen[f"{target:g}"].append(facts)
    return {"why_not": "", "targets": chosen}


def _kept(one: Judged, rows: np.ndarray, threshold: float) -> dict | None:
    if not rows.any():
        return None
    kept = rows & (one.proba.max(axis=1) >= np.float32(threshold))
    accuracy = float(one.right[kept].mean()) if kept.any() else np.nan
    return {"named": int(rows.sum()), "kept": int(kept.sum()), "accuracy": accuracy}


def overall(facts: list[dict], part: str) -> tuple[int, int, float]:
    """Sum up a target's thresholds over classes.

    Parameters
    ----------
    facts : list of dict
        One target's, from `choose`.
    part : {"validation", "test"}

    Returns
    -------
    kept, named : int
    accuracy : float
        Of those kept; NaN without any.

    Examples
    --------
    >>> overall([{"test": {"named": 4, "kept": 2, "accuracy": 1.0}}, {"test": None}], "test")
    (2, 4, 1.0)
    """
    parts = [fact[part] for fact in facts if fact[part]]
    kept, named = sum(one["kept"] for one in parts), sum(one["named"] for one in parts)
    right = sum(one["kept"] * one["accuracy"] for one in parts if one["kept"])
    return kept, named, right / kept if kept else float("nan")
