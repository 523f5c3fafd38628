"""The recipe behind ``make weights``: phantoms in, the shipped model out. No real pixel takes part.

Each step leaves its result in the workspace and is skipped when it is there, so a broken run resumes:

1. *shards*: phantom people, each rendered in every sequence and plane (`core.phantom.render.training_slices`);
2. *training*: the dual-output network on all shards but those of the held-back people, with an exponential moving
   average of the weights, a checkpoint each epoch;
3. *judgement*: temperature, thresholds and scores on the held-back people, written into the card; where
   ``SLICESCOPE_REAL_DATA`` names a folder of real MRI, its scores too.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core import bundle, calibration, classify, cohort
from core.config import RunConfig
from core.phantom import render
from core.settings import ASSETS_DIR, PROJECT_DIR, get_settings
from core.vocabulary import PLANES, sequence_from

BUNDLE_DIR = ASSETS_DIR / "weights"


@dataclass(frozen=True)
class Recipe:
    """What the shipped weights are made from; equal recipes and equal phantoms share shards and checkpoints.

    Attributes
    ----------
    persons, held_back : int
        Phantom people to train on, and to judge on.
    slices_per_person : int
    size : int
        Side of the model input in pixels.
    epochs, batch_size : int
    learning_rate : float
        Peak of a cosine schedule with one tenth of warm-up.
    random_state : int
        Seed of everything. People are numbered from ``1000 * (random_state + 1)``, away from the demo cohort's.
    """

    persons: int = 100
    held_back: int = 8
    slices_per_person: int = 500
    size: int = 128
    epochs: int = 4
    batch_size: int = 64
    learning_rate: float = 2e-3
    random_state: int = 0

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:12]


def phantoms_key() -> str:
    """Name the code that draws the slices by its content."""
    files = [*sorted((PROJECT_DIR / "core" / "phantom").glob("*.py")), PROJECT_DIR / "core" / "images.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def make_shard(seed: int, n: int, size: int, path: Path) -> None:
    """Render one phantom person into ``path``: uint8 images and their labels."""
    images, planes, sequences = [], [], []
    for image, plane, sequence in render.training_slices(seed, n, size):
        images.append(np.round(image * 255).astype(np.uint8))
        planes.append(plane)
        sequences.append(sequence)
    partial = path.with_suffix(".part.npz")
    np.savez(partial, images=np.stack(images), plane=np.array(planes), sequence=np.array(sequences))
    partial.replace(path)


def make_shards(recipe: Recipe, folder: Path, workers: int) -> list[Path]:
    """Render everybody who is not there yet; returns the shards, held-back people last."""
    folder.mkdir(parents=True, exist_ok=True)
    first = 1000 * (recipe.random_state + 1)
    shards = [folder / f"person-{first + i}.npz" for i in range(recipe.persons + recipe.held_back)]
    missing = [path for path in shards if not path.exists()]
    started = time.monotonic()
    # spawn, because forking a process that has imported TensorFlow hangs it
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [
            pool.submit(make_shard, int(path.stem.split("-")[1]), recipe.slices_per_person, recipe.size, path)
            for path in missing
        ]
        for done, job in enumerate(as_completed(jobs), 1):
            job.result()
            left = (time.monotonic() - started) / done * (len(jobs) - done)
            print(f"phantom people {done} of {len(jobs)}, about {left:.0f} s left", flush=True)
    return shards


def load(shards: list[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images (n, size, size) uint8 and the words for plane and sequence, each (n,)."""
    parts = [np.load(path) for path in shards]
    return tuple(np.concatenate([part[name] for part in parts]) for name in ("images", "plane", "sequence"))


def train(recipe: Recipe, shards: list[Path], checkpoint: Path):
    """Train the network, or go on from ``checkpoint``; returns it with its classes."""
    import keras

    from core.models import BUILDERS

    keras.utils.set_random_seed(recipe.random_state)
    images, plane, sequence = load(shards)
    classes = {"plane": list(PLANES), "sequence": list(render.LEAVES)}
    targets = {
        head: np.array([classes[head].index(word) for word in words])
        for head, words in (("plane", plane), ("sequence", sequence))
    }

    class Batches(keras.utils.PyDataset):
        """Shuffled batches with the two cheapest changes: mirrored left to right, and tone."""

        def __init__(self):
            super().__init__()
            self.rng = np.random.default_rng(recipe.random_state)
            self.order = self.rng.permutation(len(images))

        def __len__(self):
            return len(images) // recipe.batch_size

        def __getitem__(self, i):
            rows = self.order[i * recipe.batch_size : (i + 1) * recipe.batch_size]
            x = images[rows].astype(np.float32) / 255
            mirrored = self.rng.random(len(rows)) < 0.5
            x[mirrored] = x[mirrored, :, ::-1]
            x **= np.exp(self.rng.normal(0, 0.15, (len(rows), 1, 1))).astype(np.float32)
            return x[..., None], (targets["plane"][rows], targets["sequence"][rows])

        def on_epoch_end(self):
            self.order = self.rng.permutation(len(images))

    steps = recipe.epochs * (len(images) // recipe.batch_size)
    config = RunConfig(
        name="shipped", kind="dual", cohort="phantom", weights="none", image_size=recipe.size, dropout=0.3
    )
    model = BUILDERS["dual"](config, classes)
    schedule = keras.optimizers.schedules.CosineDecay(
        recipe.learning_rate / 20, steps, warmup_target=recipe.learning_rate, warmup_steps=steps // 10, alpha=0.01
    )
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=1e-4, use_ema=True, ema_momentum=0.998),
        [keras.losses.SparseCategoricalCrossentropy(), keras.losses.SparseCategoricalCrossentropy()],
        loss_weights=[0.5, 1.0],
        metrics=[["accuracy"], ["accuracy"]],
    )
    callbacks = [
        keras.callbacks.BackupAndRestore(checkpoint, delete_checkpoint=False),
        keras.callbacks.SwapEMAWeights(swap_on_epoch=False),
    ]
    model.fit(Batches(), epochs=recipe.epochs, callbacks=callbacks, verbose=2)
    return model, classes


def judge(model, classes: dict[str, list[str]], recipe: Recipe, shards: list[Path]) -> dict[str, Any]:
    """Fit temperature and threshold on one half of the held-back people and score the other; returns the card."""
    half = len(shards) // 2
    temperature, unsure_below, scores = {}, {}, {}
    answers = []
    for part in (shards[:half], shards[half:]):
        images, *words = load(part)
        x = images.astype(np.float32)[..., None] / 255
        proba = dict(zip(classes, model.predict(x, batch_size=256, verbose=0), strict=True))
        y = {head: np.array([classes[head].index(word) for word in w]) for head, w in zip(classes, words, strict=True)}
        answers.append((proba, y))
    (fit_proba, fit_y), (proba, y) = answers
    for head in classes:
        temperature[head] = calibration.fit_temperature(fit_proba[head], fit_y[head])
        calm = calibration.apply_temperature(fit_proba[head], temperature[head])
        unsure_below[head] = calibration.fit_threshold(calm, fit_y[head])
        calm = calibration.apply_temperature(proba[head], temperature[head])
        right = calm.argmax(1) == y[head]
        scores[head] = {
            "accuracy": float(right.mean()),
            "by_class": {name: float(right[y[head] == i].mean()) for i, name in enumerate(classes[head])},
            "majority_baseline": float(np.bincount(y[head]).max() / len(y[head])),
            "ece": calibration.ece(calm, y[head]),
            "slices": len(right),
            "people": len(shards) - half,
        }
    return {
        "name": "shipped",
        "kind": "dual",
        "classes": classes,
        "backbone": "slicescope",
        "mc_samples": 30,
        "temperature": temperature,
        "unsure_below": unsure_below,
        "scores": {"phantoms": scores},
        "recipe": asdict(recipe),
        "limits": [
            "Trained on phantoms alone: no real slice took part, and real ones look different.",
            "Answers with one of its classes whatever it is shown; LOCALIZER and FIELDMAP are not among them.",
            "A slice without vessels, mucosa or tumour does not show whether contrast agent was given.",
        ],
    }


def judge_on_real(folder: Path) -> dict[str, Any]:
    """Score the shipped weights on real files, which took no part in making them.

    Parameters
    ----------
    folder : Path
        With ``labels.csv``: path, plane (or ``volume``, cut along its coarsest axis), sequence, subject.

    Returns
    -------
    dict
        Shares of slices named rightly, averaged over the slices of a file, the files of a subject, the subjects of a
        class and, for ``sequence``, the classes that the model knows; so neither a long series nor a common class
        decides.
    """
    made = cohort.scan(folder, "real", workers=os.cpu_count() or 1)
    slices, _, _ = classify.classify(made, workers=os.cpu_count() or 1)
    truth = pd.read_csv(folder / "labels.csv")[["path", "plane", "sequence", "subject"]]
    table = slices.merge(truth, on="path", suffixes=("", "_true"))
    table["plane_true"] = table["plane_true"].where(table["plane_true"] != "volume", table["header_plane"])
    table["sequence_true"] = [sequence_from(word) for word in table["sequence_true"]]
    known = table[table["sequence_true"].isin(render.LEAVES)]

    def shares(part: pd.DataFrame, head: str, *by: str) -> pd.Series:
        right = (part[head] == part[f"{head}_true"]).groupby([part[key] for key in (*by, "subject", "path")]).mean()
        return right.groupby([*by, "subject"]).mean()

    by_class = shares(known, "sequence", "sequence_true").groupby("sequence_true").mean()
    return {
        "plane": float(shares(table, "plane").mean()),
        "sequence": float(by_class.mean()),
        "sequence_by_class": {str(name): float(share) for name, share in by_class.items()},
        "files": int(table["path"].nunique()),
        "subjects": int(table["subject"].nunique()),
        "slices": len(table),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m core.weights", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=BUNDLE_DIR)
    parser.add_argument("--persons", type=int, default=Recipe.persons)
    parser.add_argument("--held-back", type=int, default=Recipe.held_back)
    parser.add_argument("--slices-per-person", type=int, default=Recipe.slices_per_person)
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--seed", type=int, default=Recipe.random_state, dest="random_state")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = vars(parser.parse_args())
    out, workers = options.pop("out"), options.pop("workers")
    recipe = Recipe(**options)
    # Other phantoms, other slices: what an earlier version of them left must not be gone on with.
    folder = get_settings().workspace / "weights" / phantoms_key()
    started = time.monotonic()
    shards = make_shards(recipe, folder / f"shards-{recipe.size}-{recipe.slices_per_person}", workers)
    model, classes = train(recipe, shards[: recipe.persons], folder / f"checkpoint-{recipe.key}")
    card = judge(model, classes, recipe, shards[recipe.persons :])
    bundle.save(model, card, out)
    real = get_settings().real_data
    if real and out.resolve() == BUNDLE_DIR.resolve():  # models are asked in their registered place only
        card = bundle.update_card(out, scores={**card["scores"], "real": judge_on_real(real)})
    print(json.dumps(card["scores"], indent=2))
    print(f"The shipped weights are made, in {(time.monotonic() - started) / 60:.0f} minutes.")


if __name__ == "__main__":
    main()
