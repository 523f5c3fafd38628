"""What is written into the card: temperatures, thresholds and scores, from phantom people who were held back."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from core import calibration, inference, novelty
from core.shipping.recipe import BRAIN, Recipe, phantoms_key
from core.shipping.shards import load, numbers

#: Real heads are another population than phantoms: the temperatures that fit those are too cold for these. With this
#: factor the calibration error on public real files is 0.03 for the sequence and 0.02 for the plane; 1.3 makes the
#: former 0.06 and takes no mistake away.
CAUTION = 1.15


def asker(model) -> Callable[[np.ndarray], tuple[list[np.ndarray], np.ndarray]]:
    """Return what `judge` asks: uint8 images (n, size, size) to probabilities (n, classes) by head, and embeddings.

    As the card's ``mirrored`` makes `core.inference.forward` ask: the slice and its mirror image.
    """
    import keras

    from core.models.parts import FEATURES

    both = keras.Model(model.input, [*model.outputs, model.get_layer(FEATURES).output])

    def ask(pictures):
        def one(images):
            return both.predict(images, batch_size=256, verbose=0)

        *proba, embeddings = inference.mirrored_mean(one, pictures.astype(np.float32)[..., None] / 255)
        return proba, embeddings

    return ask


def judge(
    ask: Callable[[np.ndarray], tuple[list[np.ndarray], np.ndarray]],
    classes: dict[str, list[str]],
    brain: dict[str, Any],
    recipe: Recipe,
    shards: list[Path],
) -> dict[str, Any]:
    """Fit temperatures and thresholds on one half of the held-back people and score the other; returns the card."""
    half = len(shards) // 2
    card: dict[str, Any] = {"temperature": {}, "unsure_below": {}, "brain": brain}
    parts = []
    for part in (shards[:half], shards[half:]):
        pictures, *words = load(part)
        answers, embeddings = ask(pictures)
        y = {head: numbers(w, classes[head]) for head, w in zip(classes, words, strict=True)}
        proba = dict(zip(classes, answers, strict=True))
        parts.append((proba, y, novelty.brain_probability(embeddings, card)))
    (fit_proba, fit_y, fit_brain), (proba, y, is_brain) = parts
    card["brain"] = {**brain, "below": novelty.brain_threshold(fit_brain[fit_y["plane"] >= 0])}
    scores: dict[str, Any] = {}
    for head in classes:
        fitted, known = fit_y[head] >= 0, y[head] >= 0
        card["temperature"][head], card["unsure_below"][head] = calibration.fit(
            fit_proba[head][fitted], fit_y[head][fitted], CAUTION
        )
        calm, truth = calibration.apply_temperature(proba[head][known], card["temperature"][head]), y[head][known]
        right = calm.argmax(1) == truth
        scores[head] = {
            "accuracy": float(right.mean()),
            "by_class": {name: float(right[truth == i].mean()) for i, name in enumerate(classes[head])},
            "majority_baseline": float(np.bincount(truth).max() / len(truth)),
            "ece": calibration.ece(calm, truth),
            "slices": len(right),
            "people": len(shards) - half,
        }
    shown = y["plane"] >= 0
    scores[BRAIN] = {
        "auroc": float(roc_auc_score(shown, is_brain)) if not shown.all() else None,
        "brains_set_apart": float((is_brain[shown] < card["brain"]["below"]).mean()),
        "others": int((~shown).sum()),
    }
    return {
        "name": "shipped",
        "kind": "dual",
        "classes": classes,
        "backbone": "slicescope",
        "mirrored": True,
        "mc_samples": 30,
        **card,
        "scores": {"phantoms": scores},
        "recipe": {**asdict(recipe), "teachers": list(recipe.teachers)},
        "phantoms": phantoms_key(),
        "limits": [
            "Trained on phantoms alone: no real slice took part, and real ones look different.",
            "Answers with one of its classes whatever brain it is shown; LOCALIZER, FIELDMAP, MRA and OTHER are not "
            "among them.",
            "A slice without vessels, mucosa or tumour does not show whether contrast agent was given.",
        ],
    }
