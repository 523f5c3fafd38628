"""Rows to arrays: model inputs, targets, augmented views and pairs."""

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import pandas as pd

from core.cohorts.slice_table import Cohort
from core.config import AUGMENTATIONS, LABELS
from core.errors import CohortError, ConfigError, UnreadableFile
from core.learning import feature_store, warp
from core.sandbox import Sandbox, Sandboxes, get_sandbox, thumbnail_recipe
from core.vocabulary import HEADER_ONLY_SEQUENCES, PLANES, SEQUENCES

#: Slices that are read one after the other when they are so few, because starting readers takes longer.
_FEW = 32


def model_inputs(
    cohort: Cohort, rows: pd.DataFrame, size: int, report: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Read slices as the models want them: `grey_inputs`, which has the parameters, as floats.

    Returns
    -------
    ndarray
        (n, size, size) float32 in [0, 1], in steps of 1/255.
    """
    return as_floats(grey_inputs(cohort, rows, size, report))


def as_floats(images: np.ndarray) -> np.ndarray:
    """Return model inputs as float32 in [0, 1]; what comes as floats stays as it is.

    Many slices stay in eight bits until a batch of them is needed: a quarter of the memory.

    Examples
    --------
    >>> as_floats(np.array([0, 255], np.uint8)).tolist()
    [0.0, 1.0]
    """
    return images * np.float32(1 / 255) if images.dtype == np.uint8 else images


def grey_inputs(
    cohort: Cohort, rows: pd.DataFrame, size: int, report: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Read slices in eight bits: a quarter of the disk and memory, and below what a scanner's noise hides.

    Files that were not read before are decoded side by side, each in a sandbox of a core's own.

    Parameters
    ----------
    cohort : Cohort
        Tells where paths start.
    rows : DataFrame
        Slice-table rows, n of them.
    size : int
        Side in pixels.
    report : callable, optional
        Called with (done, total).

    Returns
    -------
    ndarray of uint8, shape (n, size, size)
        As `as_floats` takes it.

    Raises
    ------
    CohortError
        When a file that was indexed cannot be read any more.
    StorageFull
        When the disk has no room to keep them.
    """
    from core.queueing import carried

    if not len(rows):
        return np.empty((0, size, size), np.uint8)
    if carried.arrived(cohort):
        return carried.inputs_of(cohort, rows, size)
    # A change of how pixels become inputs must not be answered from the store.
    recipe, records = thumbnail_recipe(), rows.to_dict("records")
    keys = [
        _digest(recipe, cohort.root / r["path"], r["frame"], r["file_size"], r["file_mtime_ns"], size) for r in records
    ]

    def read(sandbox: Sandbox, row: dict) -> np.ndarray:
        spacing = (row["pixel_spacing_row_mm"], row["pixel_spacing_column_mm"])
        try:
            return sandbox.thumbnail(cohort.root / row["path"], int(row["frame"]), size, spacing)
        except UnreadableFile as error:
            raise CohortError(
                f"{row['shown_path']} was indexed but cannot be read now: {error} Index the cohort again."
            ) from error

    with ExitStack() as stack:
        several: list[Sandboxes] = []

        def compute(positions: np.ndarray) -> np.ndarray:
            wanted = [records[position] for position in positions]
            if not several and len(wanted) <= _FEW:
                return np.stack([read(get_sandbox(), row) for row in wanted])
            if not several:
                several.append(stack.enter_context(Sandboxes(os.cpu_count() or 1)))
            return np.stack(list(several[0].map(read, wanted)))

        return feature_store.shared(f"grey-{size}", keys, compute, report)


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()[:32]


def content_keys(images: np.ndarray) -> list[str]:
    """Name each image (n, size, size) by its content, the same in eight bits and as floats."""
    return [hashlib.sha256(np.ascontiguousarray(as_floats(image))).hexdigest()[:32] for image in images]


def label_values(table: pd.DataFrame, head: str) -> pd.Series:
    """Return a head's word for each row; missing where it is not known or no image model is asked for it.

    Parameters
    ----------
    table : DataFrame
        With ``plane`` and ``sequence``.
    head : {"plane", "sequence", "plane-sequence"}

    Returns
    -------
    Series of str
        ``plane-sequence`` joins the two, for example ``axial-T1``.

    Examples
    --------
    >>> table = pd.DataFrame({"plane": ["axial", "axial"], "sequence": ["T1", "LOCALIZER"]})
    >>> label_values(table, "plane-sequence").fillna("?").tolist()
    ['axial-T1', '?']
    """
    if head not in LABELS:
        raise ConfigError(f"label must be one of {', '.join(LABELS)}. Received: {head!r}.")
    plane = table["plane"].astype("str")
    sequence = table["sequence"].astype("str")
    sequence = sequence.mask(sequence.isin(HEADER_ONLY_SEQUENCES))
    return {"plane": plane, "sequence": sequence, "plane-sequence": plane + "-" + sequence}[head]


def classes_of(words: pd.Series, head: str) -> list[str]:
    """List the classes among `words` in the vocabulary's order."""
    order = {
        "plane": list(PLANES),
        "sequence": list(SEQUENCES),
        "plane-sequence": [f"{plane}-{sequence}" for plane in PLANES for sequence in SEQUENCES],
    }[head]
    found = set(words.dropna())
    return [word for word in order if word in found]


def targets(table: pd.DataFrame, classes: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """Return class numbers (n,) int32 for each head; -1 where the word is missing or not among the classes."""
    answer = {}
    for head, names in classes.items():
        numbers = {name: number for number, name in enumerate(names)}
        answer[head] = np.array([numbers.get(word, -1) for word in label_values(table, head)], dtype=np.int32)
    return answer


def balanced_weights(y: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Weigh rows so that each class counts the same, and of a class each patient, however many slices a series has.

    Parameters
    ----------
    y : ndarray of int
        (n,) class numbers, -1 for none.
    patient : ndarray
        (n,) whose slice it is.

    Returns
    -------
    ndarray of float32
        (n,); 0 for rows without a class, 1 on average over the others.

    Examples
    --------
    >>> y, patient = np.array([0, 0, 0, 1, -1]), np.array(["a", "a", "b", "a", "a"])
    >>> balanced_weights(y, patient).tolist()
    [0.5, 0.5, 1.0, 2.0, 0.0]
    """
    weights = np.zeros(len(y), np.float32)
    known = np.flatnonzero(y >= 0)
    if not len(known):
        return weights
    both, group, slices = np.unique(
        np.stack([y[known], np.unique(patient[known], return_inverse=True)[1]], axis=1),
        axis=0, return_inverse=True, return_counts=True,
    )  # fmt: skip
    classes, place, patients = np.unique(both[:, 0], return_inverse=True, return_counts=True)
    weights[known] = (len(known) / (len(classes) * patients[place] * slices))[group.ravel()]
    return weights


def oversampled(y: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Repeat rows so that every class has as many as the largest; of several heads, every combination of classes.

    Parameters
    ----------
    y : sequence of ndarray of int
        (n,) class numbers of each head.
    rng : numpy.random.Generator
        Chooses whose turn it is; no row is repeated twice more often than another of its class.

    Returns
    -------
    ndarray of int
        Positions, each at least once.

    Examples
    --------
    >>> np.bincount(np.array([0, 0, 0, 1])[oversampled([np.array([0, 0, 0, 1])], np.random.default_rng(0))]).tolist()
    [3, 3]
    """
    if not len(y[0]):
        return np.empty(0, int)
    _, group, counts = np.unique(np.stack(y, axis=1), axis=0, return_inverse=True, return_counts=True)
    return np.concatenate(
        [np.resize(rng.permutation(np.flatnonzero(group.ravel() == g)), counts.max()) for g in range(len(counts))]
    )


def augment(images: np.ndarray, rng: np.random.Generator, augmentation: str = "scanner") -> np.ndarray:
    """Change slices a little, and keep plane and contrast.

    Parameters
    ----------
    images : ndarray
        (n, size, size) as `as_floats` takes it.
    rng : numpy.random.Generator
    augmentation : {"scanner", "original"}
        ``scanner``, as scanners, exporters and heads differ: each slice is turned by up to 10°, zoomed by up to 12 %,
        shifted by up to 6 % of its side and mirrored left to right half the time; its grey values get a gamma, a
        smooth bias field and noise. ``original``, what the original project asked of Keras' ImageDataGenerator:
        turned by up to 15°, shifted by up to 20 %, height and width each scaled by 1/1.4 to 1/0.9, mirrored half the
        time, brighter or darker by up to 20 %; what comes in at a border repeats its last pixel.

    Returns
    -------
    ndarray
        (n, size, size) float32 in [0, 1].
    """
    if augmentation not in AUGMENTATIONS:
        raise ConfigError(f"augmentation must be one of {', '.join(AUGMENTATIONS)}. Received: {augmentation!r}.")
    change = CHANGES[augmentation]
    answer = np.empty(images.shape, np.float32)
    for number, image in enumerate(images):
        answer[number] = change(as_floats(image), rng)
    return np.clip(answer, 0, 1, out=answer)


def _moved(image: np.ndarray, degrees: float, scale, shift: np.ndarray, mode: str) -> np.ndarray:
    """Turn, scale (from output to input) and shift (a share of the side) about the centre."""
    size = image.shape[-1]
    angle, centre = np.deg2rad(degrees), np.full(2, (size - 1) / 2)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    return warp.affine(image, matrix, centre - matrix @ (centre + shift * size), mode)


def _as_scanners(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    size = image.shape[-1]
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    degrees, scale = rng.uniform(-10, 10), 1 / rng.uniform(0.88, 1.12)
    moved = _moved(image, degrees, scale, rng.uniform(-0.06, 0.06, 2), "constant")
    if rng.random() < 0.5:
        moved = moved[:, ::-1]
    slope = rng.normal(0, 0.08, 3).astype(np.float32)
    bias = np.multiply.outer(slope[1] + slope[2] * ramp, ramp)
    bias += (slope[0] * ramp)[:, None]
    toned = np.maximum(moved, 0) ** np.float32(np.exp(rng.normal(0, 0.15)))
    toned *= np.exp(bias, out=bias)
    toned += warp.noise(size, rng) * np.float32(rng.uniform(0, 0.02))
    return toned


def _as_original(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    # Its shear, five thousandths of a degree, moves nothing by a pixel and is left out.
    degrees, scale = rng.uniform(-15, 15), rng.uniform(0.9, 1.4, 2)
    moved = _moved(image, degrees, scale, rng.uniform(-0.2, 0.2, 2), "nearest")
    if rng.random() < 0.5:
        moved = moved[:, ::-1]
    return moved * np.float32(rng.uniform(0.8, 1.2))


#: How `augment` changes one image, by the word of a run's configuration.
CHANGES = {"scanner": _as_scanners, "original": _as_original}


def augmented_view(images: np.ndarray, view: int, augmentation: str = "scanner") -> np.ndarray:
    """Return view number `view` of each image: 0 is the image, others are changed; the same image, the same view."""
    if view == 0:
        return as_floats(images)
    seeds = [[int(key[:15], 16), view] for key in content_keys(images)]
    return np.concatenate(
        [
            augment(image[None], np.random.default_rng(seed), augmentation)
            for image, seed in zip(images, seeds, strict=True)
        ]
    )


def pairs(
    y: np.ndarray, patient: np.ndarray, rng: np.random.Generator, n: int, balanced: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw pairs of slices, half of one class and half of two.

    Equal pairs come from two patients, and unequal ones half the time from one, as far as there are such: so the
    head that a slice shows says nothing about the answer.

    Parameters
    ----------
    y : ndarray of int
        (m,) class numbers; rows with -1 are left out.
    patient : ndarray
        (m,) patient of each row.
    rng : numpy.random.Generator
    n : int
        Pairs.
    balanced : bool
        Whether each class comes first equally often; else it does as often as it has slices.

    Returns
    -------
    first, second : ndarray of int
        (n,) positions in `y`.
    same : ndarray of float32
        (n,) 1 for one class, 0 for two; they alternate.

    Raises
    ------
    ConfigError
        When there are fewer than two classes.
    """
    present = np.unique(y[y >= 0])
    if len(present) < 2:
        raise ConfigError(f"Pairs need at least two classes. Received: {len(present)}. Choose another label or cohort.")
    members = {c: np.flatnonzero(y == c) for c in present}
    known = np.flatnonzero(y >= 0)
    in_patient = {p: np.flatnonzero((patient == p) & (y >= 0)) for p in np.unique(patient)}
    first, second = np.empty(n, int), np.empty(n, int)
    same = (np.arange(n) % 2 == 0).astype(np.float32)
    for number in range(n):
        a = rng.choice(members[rng.choice(present)] if balanced else known)
        if same[number]:
            candidates = members[y[a]]
            others = candidates[patient[candidates] != patient[a]]
            candidates = others if len(others) else candidates
        else:
            near = in_patient[patient[a]]
            near = near[y[near] != y[a]]
            others = members[rng.choice(present[present != y[a]])] if balanced else known[y[known] != y[a]]
            candidates = near if len(near) and rng.random() < 0.5 else others
        first[number], second[number] = a, rng.choice(candidates)
    return first, second, same
