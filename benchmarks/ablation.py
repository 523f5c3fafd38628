"""What each part of the phantoms and of the training is worth on real slices: small models, one change each.

``SLICESCOPE_REAL_DATA=… python -m benchmarks.ablation [ARM …] [--seeds N]`` trains a model from nothing for each seed
and arm, on phantoms alone (about 5 minutes each on two cores), and prints a table: shares of real slices named rightly,
as the card of the shipped weights counts them, and shares of slices of phantoms that nobody was trained on. A seed has
people of its own, the same in each arm that draws them in the same way. Slices and scores stay in the workspace, so a
broken run resumes.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import real_slices
from core import calibration
from core.phantom.nuisances import Nuisances
from core.settings import get_settings
from core.shipping.judging import asker
from core.shipping.network import train
from core.shipping.real_files import shares_of_subjects
from core.shipping.recipe import ANSWERS, Recipe, phantoms_key, processor_policy
from core.shipping.shards import Data, load, make_shards, numbers
from core.vocabulary import PLANES

#: Grey values above this, of 255, are of the head.
_LIT = 26
#: So few steps want a shorter memory of the weights' average than the shipped recipe.
SMALL = Recipe(
    persons=20,
    held_back=3,
    slices_per_person=250,
    epochs=8,
    batch_size=64,
    dtype_policy=processor_policy(),
    learning_rate=2e-3,
    averaging=0.99,
)
USUAL = Nuisances()


def randomly_contrasted(data: Data, rng: np.random.Generator) -> Data:
    """Add a quarter of slices whose greys went through a random curve: of no sequence, so only the plane is taught.

    After the random contrasts of SynthSeg (Billot et al., arXiv:2107.09559), which draws one for each tissue.
    """
    pictures, plane, sequence = data
    picked = rng.choice(len(pictures), len(pictures) // 4, replace=False)
    knots = np.linspace(0, 255, 8)
    curves = [np.interp(np.arange(256), knots, [0, *rng.uniform(0, 255, 7)]).astype(np.uint8) for _ in picked]
    added = np.stack([curve[picture] for curve, picture in zip(curves, pictures[picked], strict=True)])
    return (
        np.concatenate([pictures, added]),
        np.concatenate([plane, plane[picked]]),
        np.concatenate([sequence, np.zeros_like(sequence[picked])]),
    )


def matched_in_class(data: Data, rng: np.random.Generator) -> Data:
    """Give half of the slices the greys of another slice of their sequence, from the darkest to the brightest."""
    pictures, plane, sequence = data
    pictures = pictures.copy()
    shares = np.linspace(0, 1, 33)
    for name in np.unique(sequence[sequence != ""]):
        members = np.flatnonzero(sequence == name)
        for at in members[rng.random(len(members)) < 0.5]:
            own, other = (pictures[i][pictures[i] > _LIT] for i in (at, rng.choice(members)))
            if len(own) and len(other):
                tone = np.interp(
                    np.arange(256), [0, *np.quantile(own, shares)], [0, *np.quantile(other, shares)], right=255
                )
                pictures[at] = np.round(tone).astype(np.uint8)[pictures[at]]
    return pictures, plane, sequence


def rescaled(pictures: np.ndarray) -> np.ndarray:
    """Stretch slices (n, size, size) uint8 between the 2nd and the 95th percentile of their heads' greys."""
    answer = np.zeros_like(pictures)
    for number, picture in enumerate(pictures):
        low, high = np.percentile(picture[picture > _LIT], (2, 95)) if (picture > _LIT).any() else (0, 255)
        answer[number] = np.clip((picture - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)
    return answer


@dataclass(frozen=True)
class Arm:
    """One change.

    Attributes
    ----------
    odds : Nuisances
        How slices are drawn.
    recipe : dict
        What else differs from `SMALL`.
    taught : callable, optional
        What is done to the slices that are trained on.
    seen : callable, optional
        What is done to every slice that the model sees, in training and after.
    """

    odds: Nuisances = USUAL
    recipe: dict[str, Any] = field(default_factory=dict)
    taught: Callable[[Data, np.random.Generator], Data] | None = None
    seen: Callable[[np.ndarray], np.ndarray] | None = None


ARMS = {
    "usual": Arm(),
    "brains alone, all stripped": Arm(replace(USUAL, stripped=1.0)),
    "no stripping or defacing": Arm(replace(USUAL, stripped=0.0, defaced=0.0)),
    "no exports (window, tone, JPEG, crop, borders)": Arm(
        replace(
            USUAL,
            cropped=0.0,
            inscribed=0.0,
            stretched=0.0,
            bordered=0.0,
            windowed=0.0,
            toned=0.0,
            jpeg=0.0,
            turned=0.0,
        )
    ),
    "slices only mirrored in training": Arm(recipe={"changes": 0.0}),
    "tones unchanged in training": Arm(recipe={"tones": 0.0}),
    "greys matched within a sequence": Arm(taught=matched_in_class),
    "random contrasts for the plane": Arm(taught=randomly_contrasted),
    "stretched between percentiles 2 and 95": Arm(seen=rescaled),
    "no contrast jitter": Arm(replace(USUAL, jitter=0.0)),
    "twice the contrast jitter": Arm(replace(USUAL, jitter=2 * USUAL.jitter)),
    "one thickness and pixel size": Arm(replace(USUAL, resolutions=0.0)),
    "no reformats, full coverage": Arm(replace(USUAL, reformatted=0.0, covered=0.0)),
    "lesions as they fall": Arm(replace(USUAL, sick=0.0)),
    "no average of weights": Arm(recipe={"averaging": 0.0}),
    "no coils, ghosts, ringing, grain": Arm(replace(USUAL, uneven=0.0, ghosts=0.0, ringing=0.0, grain=0.0)),
}


def answers(name: str, seed: int, real: np.ndarray) -> dict[str, np.ndarray]:
    """Train an arm with one seed, or find what it said.

    Parameters
    ----------
    name : str
        Of `ARMS`.
    seed : int
    real : ndarray of uint8, shape (n, size, size)

    Returns
    -------
    dict
        ``real_…`` and ``phantoms_…`` of ``plane`` and ``sequence``: probabilities of real slices and of those of
        held-back phantom people, each asked together with its mirror image; ``once_…``: real slices without that;
        ``truth_plane`` and ``truth_sequence``: places of the phantoms' words among the classes, -1 for none.
    """
    arm = ARMS[name]
    recipe = replace(SMALL, odds=arm.odds, random_state=seed, **arm.recipe)
    folder = get_settings().workspace / "ablation" / phantoms_key()
    kept = folder / f"{'-'.join(name.replace(',', '').split())}-{seed}.npz"
    if not kept.exists():
        shards = make_shards(recipe, folder / f"shards-{recipe.shards_key}", os.cpu_count() or 1)
        data, (held_back, *words) = load(shards[: recipe.persons]), load(shards[recipe.persons :])
        if arm.taught:
            data = arm.taught(data, np.random.default_rng(seed))
        if arm.seen:
            data, held_back, real = (arm.seen(data[0]), *data[1:]), arm.seen(held_back), arm.seen(real)
        model, classes, _ = train(recipe, data, kept.with_suffix(""))
        ask = asker(model)
        said = {
            "real": ask(real)[0],
            "phantoms": ask(held_back)[0],
            "once": model.predict(real[..., None].astype(np.float32) / 255, batch_size=256, verbose=0),
            "truth": [numbers(word, classes[head]) for head, word in zip(classes, words, strict=True)],
        }
        heads = {f"{what}_{head}": got for what, each in said.items() for head, got in zip(classes, each, strict=True)}
        np.savez(kept, **heads)
    return dict(np.load(kept))


def score(said: dict[str, np.ndarray], rows: pd.DataFrame, what: str = "real") -> dict[str, float]:
    """Score what a model said.

    Parameters
    ----------
    said : dict
        From `answers`.
    rows : DataFrame
        The real slices, from `benchmarks.real_slices.read`.
    what : {"real", "once"}
        How the real ones were asked.

    Returns
    -------
    dict
        Shares of real slices: ``plane``, ``sequence`` (mean over classes) and ``five_subjects`` (over classes with as
        many), these classes by name and their mean log-``likelihood``; shares of phantoms: ``phantom_…``.
    """
    plane, sequence = said[f"{what}_plane"], said[f"{what}_sequence"]
    table = rows.assign(plane=np.array(PLANES)[plane.argmax(1)], sequence=np.array(ANSWERS)[sequence.argmax(1)])
    planes, sequences = shares_of_subjects(table)
    often = sequences.groupby("sequence_true").filter(lambda part: len(part) >= real_slices.LEAST_SUBJECTS)
    by_class = often.groupby("sequence_true").mean()
    shares = {}
    for head in ("plane", "sequence"):
        own, truth = said[f"phantoms_{head}"], said[f"truth_{head}"]
        shares[f"phantom_{head}"] = (own.argmax(1) == truth)[truth >= 0].mean()
    temperature = calibration.fit_temperature(own[truth >= 0], truth[truth >= 0])
    kept = rows["sequence_true"].isin(by_class.index).to_numpy()
    place = numbers(rows["sequence_true"][kept], list(ANSWERS))
    calm = calibration.apply_temperature(sequence[kept], temperature)
    known = rows[kept].assign(likelihood=np.log(calm[np.arange(len(calm)), place]))
    likelihood = known.groupby(["sequence_true", "subject"])["likelihood"].mean().groupby("sequence_true").mean()
    return {
        "plane": planes.mean(),
        "sequence": sequences.groupby("sequence_true").mean().mean(),
        "five_subjects": by_class.mean(),
        "likelihood": likelihood.mean(),
        **shares,
        **by_class,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__.splitlines()[0])
    parser.add_argument("arm", nargs="*", default=list(ARMS), help=", ".join(ARMS))
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    if not get_settings().real_data:
        parser.error("name a folder of real MRI with labels.csv in SLICESCOPE_REAL_DATA")
    rows, images = real_slices.read()
    real = np.round(images * 255).astype(np.uint8)
    said: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in options.arm}
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in options.arm}
    # A broken run has as many arms as it can have, rather than all seeds of a few.
    for seed in range(options.seeds):
        for name in options.arm:
            said[name].append(answers(name, seed, real))
            scores[name].append(score(said[name][-1], rows))
            print(f"seed {seed}, {name}: {pd.Series(scores[name][-1]).round(3).to_dict()}", flush=True)
    if usual := said.get("usual"):
        scores["usual, not asked in the mirror"] = [score(one, rows, "once") for one in usual]
        mean = {key: np.mean([one[key] for one in usual], 0) for key in usual[0] if key.startswith("real_")}
        scores["usual, mean answer of the seeds"] = [score({**usual[0], **mean}, rows)]
    table = pd.DataFrame({name: pd.DataFrame(each).mean() for name, each in scores.items()}).T
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
