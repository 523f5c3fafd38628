"""The recipe behind ``make weights``: phantoms in, the shipped model out. No real pixel takes part.

Each step leaves its result in the workspace and is skipped when it is there, so a broken run resumes:

1. *shards*: phantom people, each rendered in every sequence and plane (`core.phantom.render.training_slices`), and
   beside them pictures of other things (`core.phantom.other`);
2. *training*: the dual-output network, and a plane through its features that parts brains from other things, on all
   shards but those of the held-back people; an exponential moving average of the weights, a checkpoint each epoch;
3. *judgement*: temperature, thresholds and scores on the held-back people, written into the card; where
   ``SLICESCOPE_REAL_DATA`` names a folder of real MRI, its scores too.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from core import bundle, calibration, classify, cohort, images, inference, novelty, runs
from core.config import RunConfig
from core.errors import BundleError
from core.phantom import render
from core.phantom.nuisances import Nuisances
from core.phantom.other import not_a_brain
from core.settings import PROJECT_DIR, WEIGHTS_DIR, get_settings
from core.vocabulary import PLANES, sequence_from

_BRAIN = "brain"
#: Taught, but not answered: the thick slices of an angiogram that phantoms give look too much like T1 after contrast
#: agent, and of real T1CE slices a third were taken for it. Without it the others share its probability.
_SILENT = ("MRA",)
ANSWERS = tuple(leaf for leaf in render.LEAVES if leaf not in _SILENT)
#: Real heads are another population than phantoms: the temperatures that fit those are too cold for these. With this
#: factor the calibration error on public real files is 0.04 for the sequence and 0.02 for the plane; 1.5, which suited
#: networks without teachers, made it 0.07 and 0.01.
CAUTION = 1.2
#: What plane, sequence and brain count in the loss.
_HEAD_WEIGHTS = (0.5, 1.0, 0.3)
#: Held-back people are numbered from here on, so that weights which go on from others are judged on people new to both.
_HELD_BACK = 900
#: Slices that the final statistics of normalisation are taken over, and how slowly these follow a batch.
_SETTLING, _SETTLING_MOMENTUM = 15_360, 0.95


@dataclass(frozen=True)
class Recipe:
    """What the shipped weights are made from; equal recipes and equal phantoms share shards and checkpoints.

    Attributes
    ----------
    persons, held_back : int
        Phantom people to train on, and to judge on.
    slices_per_person : int
    others : float
        Pictures of other things, as a share of the slices.
    odds : Nuisances
        What happens to slices, and how often.
    size : int
        Side of the model input in pixels.
    epochs, batch_size : int
    dtype_policy : str
        Of Keras: what the network is computed in while it is trained. The weights are kept in single precision.
    learning_rate : float
        Peak of a cosine schedule with one twentieth of warm-up.
    averaging : float
        Momentum of the moving average of the weights that is kept; 0 keeps the last ones.
    changes, tones : float
        How much a slice is changed each time it is seen, see `core.weights_changes.Changes`.
    teachers : tuple of float
        Networks whose mean answer the shipped one learns beside the truth: one for each of these tones, of a seed of
        its own and with four fifths of the epochs.
    start : str
        SHA-256 of the model file that training goes on from, in the bundle of the shipped weights; empty to start
        from nothing.
    kept : float
        Share of those weights in what is kept in the end, a mean of them and of what training made of them: steadier
        on heads unlike those it was trained on (Wortsman et al., arXiv:2109.01903).
    random_state : int
        Seed of everything. People are numbered from ``1000 * (random_state + 1)``, away from the demo cohort's,
        and those held back from 900 after it.
    """

    persons: int = 140
    held_back: int = 8
    slices_per_person: int = 500
    others: float = 0.1
    odds: Nuisances = field(default_factory=Nuisances)
    size: int = images.MODEL_SIZE
    epochs: int = 22
    batch_size: int = 128
    dtype_policy: str = "mixed_bfloat16"
    learning_rate: float = 3e-3
    averaging: float = 0.998
    changes: float = 1.0
    tones: float = 0.5
    teachers: tuple[float, ...] = ()
    start: str = ""
    kept: float = 0.0
    random_state: int = 0

    @property
    def key(self) -> str:
        return _digest(asdict(self))

    @property
    def shards_key(self) -> str:
        """What makes shards the same: each is one person, so their number and the training do not matter."""
        return _digest([self.slices_per_person, self.others, asdict(self.odds), self.size])


#: The best from nothing: twelve minutes on a GPU and sixteen cores. The usual recipe fits two cores.
LARGE = Recipe(persons=208, epochs=28, batch_size=256, learning_rate=4e-3, tones=0.5, teachers=(1.0, 0.5, 0.25))


def going_on(large: bool = False) -> Recipe:
    """Return the recipe that takes the shipped weights on to the phantoms as they are now.

    Fifteen minutes on two cores, most of them for the people: once through these is enough. ``large`` as the shipped
    weights were made, in five minutes on a GPU and sixteen cores.
    """
    start = bundle.read_card(WEIGHTS_DIR)["sha256"]
    if large:
        return replace(LARGE, persons=109, epochs=10, learning_rate=2e-3, start=start, kept=0.5)
    return Recipe(epochs=1, learning_rate=1e-3, start=start, kept=0.5)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def knows_bfloat16() -> bool:
    """Tell whether this processor computes in bfloat16; others imitate it, in several times float32's time."""
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and any(flag in flags.read_text() for flag in ("amx_bf16", "avx512_bf16"))


def phantoms_key() -> str:
    """Name the code that draws the slices by its content."""
    files = [*sorted((PROJECT_DIR / "core" / "phantom").glob("*.py")), PROJECT_DIR / "core" / "images.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def make_shard(seed: int, recipe: Recipe, path: Path) -> None:
    """Render one phantom person into ``path``: uint8 images and their labels, which are empty for other things."""
    pictures, planes, sequences = [], [], []
    rng = np.random.default_rng([37, seed])

    def add(image, plane, sequence):
        pictures.append(np.round(image * 255).astype(np.uint8))
        planes.append(plane)
        sequences.append(sequence)

    for image, plane, sequence in render.training_slices(seed, recipe.slices_per_person, recipe.size, recipe.odds):
        add(image, plane, sequence)
        if rng.random() < recipe.others:
            add(not_a_brain(rng, recipe.size, image), "", "")
    partial = path.with_suffix(".part.npz")
    np.savez(partial, images=np.stack(pictures), plane=np.array(planes), sequence=np.array(sequences))
    partial.replace(path)


def make_shards(recipe: Recipe, folder: Path, workers: int) -> list[Path]:
    """Render everybody who is not there yet; returns the shards, held-back people last."""
    folder.mkdir(parents=True, exist_ok=True)
    first = 1000 * (recipe.random_state + 1)
    numbered = [*range(recipe.persons), *range(_HELD_BACK, _HELD_BACK + recipe.held_back)]
    shards = [folder / f"person-{first + i}.npz" for i in numbered]
    missing = [path for path in shards if not path.exists()]
    started = time.monotonic()
    # spawn, because forking a process that has imported TensorFlow hangs it
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(make_shard, int(path.stem.split("-")[1]), recipe, path) for path in missing]
        for done, job in enumerate(as_completed(jobs), 1):
            job.result()
            left = (time.monotonic() - started) / done * (len(jobs) - done)
            print(f"phantom people {done} of {len(jobs)}, about {left:.0f} s left", flush=True)
    return shards


def load(shards: list[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images (n, size, size) uint8 and the words for plane and sequence, each (n,); empty for other things."""
    parts = [np.load(path) for path in shards]
    return tuple(np.concatenate([part[name] for part in parts]) for name in ("images", "plane", "sequence"))


def numbers(words: np.ndarray, names: list[str]) -> np.ndarray:
    """Return the place of each word among `names`, (n,) int; -1 for others."""
    place = {name: number for number, name in enumerate(names)}
    return np.array([place.get(str(word), -1) for word in words])


def train(recipe: Recipe, data: tuple[np.ndarray, np.ndarray, np.ndarray], checkpoint: Path):
    """Train the teachers and then the network, or go on from ``checkpoint``.

    Parameters
    ----------
    recipe : Recipe
    data : tuple of ndarray
        From `load`.
    checkpoint : Path

    Returns
    -------
    model : keras.Model
        With the heads of `classes`, in single precision.
    classes : dict of list of str
    brain : dict
        The plane between brains and other things, as `core.novelty` reads it from the card.
    """
    teachers = []
    for number, tones in enumerate(recipe.teachers):
        own = replace(
            recipe, tones=tones, epochs=round(0.8 * recipe.epochs), random_state=recipe.random_state + number, kept=0.0
        )
        teachers.append(fit(own, data, checkpoint.with_name(f"{checkpoint.name}-teacher-{number}")))
    return answering(fit(recipe, data, checkpoint, teachers), recipe)


def answering(trained, recipe: Recipe):
    """Return what `train` does, from a network that `fit` trained: shipped heads, and the brain's plane."""
    kernel, bias = trained.get_layer(_BRAIN).get_weights()
    brain = {"weight": (kernel[:, 1] - kernel[:, 0]).tolist(), "bias": float(bias[1] - bias[0])}
    classes = {"plane": list(PLANES), "sequence": list(ANSWERS)}
    shipped = _network(recipe, classes, "float32")
    kept = numbers(np.array(ANSWERS), list(render.LEAVES))
    for layer in shipped.layers:
        given = trained.get_layer(layer.name).get_weights()
        layer.set_weights([part[..., kept] for part in given] if layer.name == "sequence" else given)
    return shipped, classes, brain


def _start_from_shipped(network, recipe: Recipe) -> None:
    """Give a network of all that is taught the shipped weights: what `answering` does, undone."""
    shipped, card = bundle.load(WEIGHTS_DIR), bundle.read_card(WEIGHTS_DIR)
    if card["sha256"] != recipe.start:
        raise BundleError("The shipped weights are not those that this recipe goes on from.")
    kept = numbers(np.array(card["classes"]["sequence"]), list(render.LEAVES))
    for layer in network.layers:
        if layer.name == _BRAIN:
            kernel, bias = map(np.zeros_like, layer.get_weights())
            kernel[:, 1], bias[1] = card["brain"]["weight"], card["brain"]["bias"]
            layer.set_weights([kernel, bias])
            continue
        given = shipped.get_layer(layer.name).get_weights()
        if layer.name == "sequence":
            kernel, bias = map(np.zeros_like, layer.get_weights())
            # What is not answered has been left out: it starts as the least likely.
            bias += given[1].min() - 2
            kernel[:, kept], bias[kept] = given
            given = [kernel, bias]
        layer.set_weights(given)


def _mean_with_shipped(network, recipe: Recipe) -> None:
    """Give a network that has gone on the mean of its weights and of the shipped ones, ``recipe.kept`` of these."""
    after = network.get_weights()
    _start_from_shipped(network, recipe)
    both = zip(network.get_weights(), after, strict=True)
    network.set_weights([recipe.kept * before + (1 - recipe.kept) * gone_on for before, gone_on in both])


def _network(recipe: Recipe, heads: dict[str, list[str]], dtype_policy: str):
    import keras

    from core.models import BUILDERS

    keras.config.set_dtype_policy(dtype_policy)
    config = RunConfig(
        name="shipped", kind="dual", cohort="phantom", weights="none", image_size=recipe.size, dropout=0.3
    )
    return BUILDERS["dual"](config, heads)


def fit(recipe: Recipe, data: tuple[np.ndarray, np.ndarray, np.ndarray], checkpoint: Path, teachers: list = ()):
    """Train one network with all that is taught, or go on from ``checkpoint``.

    Parameters
    ----------
    recipe : Recipe
    data : tuple of ndarray
        From `load`.
    checkpoint : Path
    teachers : list of keras.Model
        Networks that this function has trained.

    Returns
    -------
    keras.Model
        In single precision.
    """
    import keras

    from core.weights_changes import Changes, Distillation

    keras.utils.set_random_seed(recipe.random_state)
    pictures, plane, sequence = data
    # Whole batches alone: a last one of another size would be compiled by itself.
    whole = len(pictures) // recipe.batch_size * recipe.batch_size
    pictures, plane, sequence = pictures[:whole, ..., None], plane[:whole], sequence[:whole]
    taught = {"plane": list(PLANES), "sequence": list(render.LEAVES), _BRAIN: ["other", "brain"]}
    y = [numbers(plane, taught["plane"]), numbers(sequence, taught["sequence"]), (plane != "").astype(int)]
    # What has no answer for a head has no weight there.
    weights = [(answer >= 0).astype(np.float32) for answer in y]
    steps = recipe.epochs * (whole // recipe.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(
        recipe.learning_rate / 20, steps, warmup_target=recipe.learning_rate, warmup_steps=steps // 20, alpha=0.01
    )
    network = _network(recipe, taught, recipe.dtype_policy)
    if recipe.start:
        _start_from_shipped(network, recipe)
    changes = Changes(recipe.changes, recipe.tones, seed=recipe.random_state, dtype="float32", name="changes")
    raw = keras.Input(pictures.shape[1:], dtype="uint8")
    changed = changes(raw)
    answers = network(changed)
    if teachers:
        for number, teacher in enumerate(teachers):
            teacher.name, teacher.trainable = f"teacher_{number}", False
        told = [teacher(changed, training=False) for teacher in teachers]
        answers = [
            Distillation(weight, name=f"distilled_{head}", dtype="float32")([own, *others])
            for head, weight, own, *others in zip(taught, _HEAD_WEIGHTS, answers, *told, strict=True)
        ]
    model = keras.Model(raw, answers)
    averaged = {"use_ema": True, "ema_momentum": recipe.averaging} if recipe.averaging else {}
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=1e-4, **averaged),
        [keras.losses.SparseCategoricalCrossentropy() for _ in taught],
        loss_weights=list(_HEAD_WEIGHTS),
        weighted_metrics=[["accuracy"] for _ in taught],
    )
    callbacks = [keras.callbacks.BackupAndRestore(checkpoint, delete_checkpoint=False)]
    if averaged:
        callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=False))
    model.fit(
        pictures, [np.maximum(answer, 0) for answer in y], sample_weight=weights, batch_size=recipe.batch_size,
        epochs=recipe.epochs, callbacks=callbacks, verbose=2,
    )  # fmt: skip
    trained = _network(recipe, taught, "float32")
    trained.set_weights(network.get_weights())
    if recipe.kept:
        _mean_with_shipped(trained, recipe)
    picked = np.random.default_rng([43, recipe.random_state]).integers(0, len(pictures), min(_SETTLING, len(pictures)))
    settle(trained, keras.Model(raw, trained(changes(raw))), pictures[picked], [answer[picked] for answer in y])
    return trained


def settle(trained, model, pictures: np.ndarray, y: list[np.ndarray]) -> None:
    """Take the statistics of batch normalisation anew over ``pictures``: those of training belong to older weights.

    ``model`` leads to ``trained``, which ends with all else as it was: steps of length 0 move nothing but statistics.
    """
    import keras

    layers = [layer for layer in trained.layers if isinstance(layer, keras.layers.BatchNormalization)]
    kept = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = _SETTLING_MOMENTUM
    model.compile(keras.optimizers.SGD(0.0), [keras.losses.SparseCategoricalCrossentropy() for _ in y])
    model.fit(pictures, [np.maximum(answer, 0) for answer in y], batch_size=128, verbose=0)
    for layer, momentum in zip(layers, kept, strict=True):
        layer.momentum = momentum


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
    scores[_BRAIN] = {
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


def make(recipe: Recipe, workers: int):
    """Take the steps up to a judged model, each only as far as it is not there yet; returns model and card."""
    # Other phantoms, other slices: what an earlier version of them left must not be gone on with.
    folder = get_settings().workspace / "weights" / phantoms_key()
    shards = make_shards(recipe, folder / f"shards-{recipe.shards_key}", workers)
    model, classes, brain = train(recipe, load(shards[: recipe.persons]), folder / f"checkpoint-{recipe.key}")
    card = judge(asker(model), classes, brain, recipe, shards[recipe.persons :])
    if recipe.start:
        before = bundle.read_card(WEIGHTS_DIR)
        card["started_from"] = {name: before[name] for name in ("sha256", "recipe", "phantoms")}
    return model, card


def with_truth(table: pd.DataFrame, folder: Path, plane: str = "plane") -> pd.DataFrame:
    """Put what ``labels.csv`` says of real files beside a table of their slices.

    Parameters
    ----------
    table : DataFrame
        With ``path``, relative to ``folder``, and a column ``plane``.
    folder : Path
        With ``labels.csv``: path, plane (or ``volume``, cut along its coarsest axis), sequence, subject.
    plane : str
        Column that tells along which plane a volume was cut.

    Returns
    -------
    DataFrame
        The rows that have a truth, with ``plane_true``, ``sequence_true`` (our words) and ``subject``.
    """
    truth = pd.read_csv(folder / "labels.csv")[["path", "plane", "sequence", "subject"]]
    table = table.merge(truth.rename(columns={"plane": "plane_true", "sequence": "sequence_true"}), on="path")
    table["plane_true"] = table["plane_true"].where(table["plane_true"] != "volume", table[plane])
    table["sequence_true"] = [sequence_from(word) for word in table["sequence_true"]]
    return table


def shares_of_subjects(table: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return the shares of slices named rightly, each the mean over a subject's files of the mean over their slices.

    Parameters
    ----------
    table : DataFrame
        From `with_truth`, with the answers in ``plane`` and ``sequence``.

    Returns
    -------
    plane : Series
        By ``subject``.
    sequence : Series
        By ``sequence_true`` and ``subject``, of what the model is taught.
    """

    def shares(part: pd.DataFrame, head: str, *by: str) -> pd.Series:
        right = (part[head] == part[f"{head}_true"]).groupby([part[key] for key in (*by, "subject", "path")]).mean()
        return right.groupby([*by, "subject"]).mean()

    known = table[table["sequence_true"].isin(render.LEAVES)]
    return shares(table, "plane"), shares(known, "sequence", "sequence_true")


def judge_on_real(folder: Path, model: str = runs.SHIPPED, n_bootstrap: int = 500) -> dict[str, Any]:
    """Score a model on real files, which took no part in making the shipped weights.

    Parameters
    ----------
    folder : Path
        See `with_truth`.
    model : str
        As for `core.classify.classify`.
    n_bootstrap : int
        Draws of subjects, with replacement, that the intervals are taken from.

    Returns
    -------
    dict
        Shares of slices named rightly, averaged over the slices of a file, the files of a subject, the subjects of a
        class and, for ``sequence``, the classes that the model knows; so neither a long series nor a common class
        decides. Each ``…_interval`` holds 95 % of the draws. ``set_apart`` is the share of slices taken for no brain:
        nearly all of them are blank, at the ends of volumes, so they are in no other figure.
    """
    made = cohort.scan(folder, "real", workers=os.cpu_count() or 1)
    slices, _, _ = classify.classify(made, model, workers=os.cpu_count() or 1)
    table = with_truth(slices, folder, "header_plane")
    seen = table[table["plane_verdict"] != "not_a_brain"]

    def interval(of_subjects: pd.Series, mean: Callable[[pd.Series], float]) -> list[float]:
        rng = np.random.default_rng(0)
        names = of_subjects.index.get_level_values("subject").unique()
        rows = {name: np.flatnonzero(of_subjects.index.get_level_values("subject") == name) for name in names}
        draws = [
            mean(of_subjects.iloc[np.concatenate([rows[name] for name in rng.choice(names, len(names))])])
            for _ in range(n_bootstrap)
        ]
        return [float(edge) for edge in np.quantile(draws, (0.025, 0.975))]

    def over_classes(part: pd.Series) -> float:
        return float(part.groupby("sequence_true").mean().mean())

    plane, sequence = shares_of_subjects(seen)
    return {
        "plane": float(plane.mean()),
        "plane_interval": interval(plane, lambda part: float(part.mean())),
        "sequence": over_classes(sequence),
        "sequence_interval": interval(sequence, over_classes),
        "sequence_by_class": {
            str(name): float(share) for name, share in sequence.groupby("sequence_true").mean().items()
        },
        "set_apart": float((table["plane_verdict"] == "not_a_brain").mean()),
        "files": int(table["path"].nunique()),
        "subjects": int(table["subject"].nunique()),
        "slices": len(table),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m core.weights", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS_DIR)
    parser.add_argument("--large", action="store_true", help="with teachers, and more people: wants a GPU")
    parser.add_argument("--go-on", action="store_true", help="go on from the shipped weights with today's phantoms")
    for name in ("persons", "held_back", "slices_per_person", "epochs", "batch_size"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    parser.add_argument("--seed", type=int, dest="random_state")
    parser.add_argument(
        "--dtype-policy",
        help="of Keras; mixed_bfloat16 where that is fast, on a GPU (--large) and on processors that compute in it",
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = vars(parser.parse_args())
    out, workers, large, go_on = (options.pop(name) for name in ("out", "workers", "large", "go_on"))
    given = {name: value for name, value in options.items() if value is not None}
    if not (large or knows_bfloat16()):
        given.setdefault("dtype_policy", "float32")
    recipe = replace(going_on(large) if go_on else LARGE if large else Recipe(), **given)
    started = time.monotonic()
    model, card = make(recipe, workers)
    bundle.save(model, card, out)
    real = get_settings().real_data
    if real and out.resolve() == WEIGHTS_DIR.resolve():  # models are asked in their registered place only
        card = bundle.update_card(out, scores={**card["scores"], "real": judge_on_real(real)})
    print(json.dumps(card["scores"], indent=2))
    print(f"The shipped weights are made, in {(time.monotonic() - started) / 60:.0f} minutes.")


if __name__ == "__main__":
    main()
