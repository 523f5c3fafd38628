"""Slices to train and to judge on: a file for each phantom person, with pictures of other things among theirs."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from core.phantom import render
from core.phantom.other import not_a_brain
from core.shipping.recipe import Recipe

#: Pictures (n, size, size) uint8 and the words for plane and sequence, each (n,); empty for other things.
Data = tuple[np.ndarray, np.ndarray, np.ndarray]
#: Held-back people are numbered from here on, so that weights which go on from others are judged on people new to both.
_HELD_BACK = 900


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


def load(shards: list[Path]) -> Data:
    """Return what the shards hold, one after the other."""
    parts = [np.load(path) for path in shards]
    return tuple(np.concatenate([part[name] for part in parts]) for name in ("images", "plane", "sequence"))


def numbers(words: np.ndarray, names: list[str]) -> np.ndarray:
    """Return the place of each word among `names`, (n,) int; -1 for others."""
    place = {name: number for number, name in enumerate(names)}
    return np.array([place.get(str(word), -1) for word in words])
