"""Whether the shipped model knows, on real heads: detection of errors, calibration, sets of answers, strangeness.

``SLICESCOPE_REAL_DATA=… python -m benchmarks.doubt`` reads the folder with the shipped model, which saw none of it.
Intervals draw subjects. What needs calibrating is made on half of the subjects and measured on the other half, for 20
ways to halve them: the mean is printed, and the range of the middle 90 %. Other things than brains come from
``tests/strange.py``.
"""

import sys

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from benchmarks import real_slices
from core import bundle, calibration, inference, novelty
from core.analysis import conformal, doubt
from core.comparing.patient_scores import SCORES, bootstrap_scores, score_totals
from core.settings import PROJECT_DIR, WEIGHTS_DIR

sys.path.insert(0, str(PROJECT_DIR / "tests"))

HALVES, LEVEL, PASSES = 20, 0.9, 50


def halves(subject: np.ndarray):
    """Yield masks of half of the subjects' slices."""
    names = np.unique(subject)
    for seed in range(HALVES):
        drawn = np.random.default_rng(seed).permutation(names)[: len(names) // 2]
        yield np.isin(subject, drawn)


def spread(values: list[float]) -> str:
    low, high = np.nanquantile(values, (0.05, 0.95))
    return f"{np.nanmean(values):.3f} ({low:.3f} to {high:.3f})"


def judge_head(names: list[str], raw: np.ndarray, passes: np.ndarray, said: np.ndarray, subject: np.ndarray, card_t):
    """Print one head's figures; slices with a truth that is none of its classes are left out."""
    y = pd.Series(said).map({name: at for at, name in enumerate(names)}).fillna(-1).to_numpy(int)
    known = y >= 0
    raw, passes, y, subject = raw[known], passes[known], y[known], subject[known]
    shipped = calibration.apply_temperature(raw, card_t)
    wrong = shipped.argmax(axis=1) != y
    print(f"  {len(y)} slices of {len(np.unique(subject))} subjects, accuracy {1 - wrong.mean():.3f}")
    print("  error detection, area under the ROC curve (95 % by subject):")
    for name, values in doubt.measures(shipped, passes).items():
        one = doubt.detection(values, wrong, subject)
        print(f"    {doubt.MEASURES[name]}: {one['auroc']:.3f} ({one['low']:.3f} to {one['high']:.3f})")
    order = doubt.risk_order(doubt.measures(shipped, passes)["predictive_entropy"])
    for kept in (1, 0.9, 0.8, 0.5):
        print(f"    accuracy on the surest {kept:.0%}: {1 - wrong[order[: round(kept * len(y))]].mean():.3f}")
    codes = np.unique(subject, return_inverse=True)[1]
    for title, proba in (("before scaling", raw), (f"after the card's temperature {card_t:.2f}", shipped)):
        totals = score_totals(codes, y, proba.argmax(axis=1), proba.max(axis=1), len(names))
        low, high = (end[SCORES.index("ECE")] for end in bootstrap_scores(totals, len(names)).interval())
        ece, brier = calibration.ece(proba, y), calibration.brier(proba, y)
        print(f"  ECE {title}: {ece:.3f} ({low:.3f} to {high:.3f}), Brier {brier:.3f}")
    after, hit, size = [], {method: [] for method in conformal.METHODS}, {method: [] for method in conformal.METHODS}
    for half in halves(subject):
        temperature = calibration.fit_temperature(raw[half], y[half])
        proba = calibration.apply_temperature(raw, temperature)
        after.append(calibration.ece(proba[~half], y[~half]))
        for method in conformal.methods_for(y[half]):
            made = conformal.sets(proba[half], y[half], proba[~half], (LEVEL,), method)[..., 0]
            hit[method].append(made[np.arange((~half).sum()), y[~half]].mean())
            size[method].append(made.sum(axis=1).mean())
    print(f"  ECE on one half of the subjects with a temperature of the other: {spread(after)}")
    for method, words in conformal.METHODS.items():
        if not hit[method]:
            continue
        print(f"  {words}, promised {LEVEL:.0%}: {spread(hit[method])} covered, {spread(size[method])} answers a set")


def judge_strangeness(real: np.ndarray, subject: np.ndarray) -> None:
    from strange import strange_things

    kinds = strange_things()
    other = {kind: inference.predict_local(WEIGHTS_DIR, pictures).embeddings for kind, pictures in kinds.items()}
    everything = np.concatenate(list(other.values()))

    def area(brains, strange) -> float:
        return roc_auc_score(np.repeat([0, 1], [len(brains), len(strange)]), np.concatenate([brains, strange]))

    def plane(features):
        return novelty.strangeness(features, WEIGHTS_DIR)["plane"]

    brains, found = plane(real), plane(everything)
    print(f"out of distribution: {len(real)} real slices against {len(everything)} other things")
    print(f"  the card's plane: {area(brains.values, found.values):.3f}")
    for kind, features in other.items():
        print(f"    {kind} ({len(features)}): {area(brains.values, plane(features).values):.3f}")
    lost, set_apart = (brains.values >= brains.above).mean(), (found.values >= found.above).mean()
    print(f"  at its threshold {lost:.1%} of the real slices and {set_apart:.1%} of the others are set apart")
    areas, kept, caught = [], [], []
    for half in halves(subject):
        familiar = novelty.fit_familiar(real[half])
        near, far = familiar.distance(real[~half]), familiar.distance(everything)
        areas.append(area(near, far))
        # The threshold of a run comes from its validation patients; here a third of the other half is that.
        names = np.unique(subject[~half])
        validation = np.isin(subject[~half], names[::3])
        above = np.quantile(near[validation], 0.99)
        kept.append((near[~validation] >= above).mean())
        caught.append((far >= above).mean())
    print(f"  distance from the slices of half of the subjects: {spread(areas)}")
    print(
        f"  at the threshold of 1 in 100: {spread(kept)} of other real slices, {spread(caught)} of other things apart"
    )


def main() -> None:
    card = bundle.read_card(WEIGHTS_DIR)
    rows, images = real_slices.read()
    subject = rows["subject"].to_numpy(str)
    raw, features, embeddings = inference.forward(WEIGHTS_DIR, images)
    passes = inference.mc_samples_local(WEIGHTS_DIR, features, PASSES, 0, True)
    for head, names in card["classes"].items():
        print(head)
        judge_head(
            names, raw[head], passes[head], rows[f"{head}_true"].to_numpy(str), subject, card["temperature"][head]
        )
    judge_strangeness(embeddings, subject)


if __name__ == "__main__":
    main()
