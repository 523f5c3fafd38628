"""Rows to arrays: model inputs, targets, augmented views and pairs; with a store so that nothing is computed twice."""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from core.config import LABELS
from core.errors import CohortError, ConfigError, UnreadableFile
from core.settings import get_settings
from core.slice_table import Cohort, replaced
from core.vocabulary import HEADER_ONLY_SEQUENCES, PLANES, SEQUENCES

_CHUNK = 256


def stored(
    folder: Path,
    keys: Sequence[str],
    compute: Callable[[np.ndarray], np.ndarray],
    report: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return one array a key, computing only those that `folder` does not hold yet.

    The store only grows: each chunk of new arrays is a file beside a list of its keys, so that a run that is
    killed loses one chunk, and two runs at a time do no harm.

    Parameters
    ----------
    folder : Path
    keys : sequence of str
        Names of contents: equal keys mean equal arrays.
    compute : callable
        Takes positions (m,) in `keys` and returns (m, ...); all arrays of a store have one shape.
    report : callable, optional
        Called with (done, total) after each chunk; what it raises ends the work.

    Returns
    -------
    ndarray
        (n, ...), in the order of `keys`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    places: dict[str, tuple[Path, int]] = {}
    for listing in sorted(folder.glob("*.keys")):
        for row, key in enumerate(listing.read_text().split()):
            places[key] = (listing.with_suffix(".npy"), row)
    first = {key: position for position, key in reversed(list(enumerate(keys)))}
    missing = [position for key, position in first.items() if key not in places]
    missing.sort()
    done = len(keys) - len(missing)
    for start in range(0, len(missing), _CHUNK):
        part = np.array(missing[start : start + _CHUNK])
        arrays = np.asarray(compute(part))
        path = folder / f"{secrets.token_hex(8)}.npy"
        with replaced(path) as fresh, fresh.open("wb") as file:
            np.save(file, arrays)
        with replaced(path.with_suffix(".keys")) as fresh:
            fresh.write_text("\n".join(keys[position] for position in part))
        places.update((keys[position], (path, row)) for row, position in enumerate(part))
        done += len(part)
        if report:
            report(done, len(keys))
    return _gather(keys, places)


def _gather(keys: Sequence[str], places: dict[str, tuple[Path, int]]) -> np.ndarray:
    wanted: dict[Path, list[tuple[int, int]]] = {}
    for position, key in enumerate(keys):
        path, row = places[key]
        wanted.setdefault(path, []).append((position, row))
    answer = np.empty(0, np.float32)
    for path, pairs_ in wanted.items():
        arrays = np.load(path, mmap_mode="r", allow_pickle=False)
        if not answer.size:
            answer = np.empty((len(keys), *arrays.shape[1:]), arrays.dtype)
        positions, rows = (list(column) for column in zip(*pairs_, strict=True))
        answer[positions] = arrays[rows]
    return answer


def model_inputs(
    cohort: Cohort, rows: pd.DataFrame, size: int, report: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Read slices as the models want them.

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
    ndarray
        (n, size, size) float32 in [0, 1].

    Raises
    ------
    CohortError
        When a file that was indexed cannot be read any more.
    """
    from core import carried, images
    from core.sandbox import get_sandbox

    if carried.arrived(cohort):
        return carried.inputs_of(cohort, rows, size)
    records = rows.to_dict("records")
    # A change of how pixels become inputs must not be answered from the store.
    recipe = hashlib.sha256(Path(images.__file__).read_bytes()).hexdigest()[:16]
    keys = [
        _digest(recipe, cohort.root / r["path"], r["frame"], r["file_size"], r["file_mtime_ns"], size) for r in records
    ]

    def compute(positions: np.ndarray) -> np.ndarray:
        answer = np.empty((len(positions), size, size), np.float32)
        for place, position in enumerate(positions):
            row = records[position]
            try:
                pixels = get_sandbox().pixels(cohort.root / row["path"], int(row["frame"]))
            except UnreadableFile as error:
                raise CohortError(
                    f"{row['shown_path']} was indexed but cannot be read now: {error} Index the cohort again."
                ) from error
            spacing = (row["pixel_spacing_row_mm"], row["pixel_spacing_column_mm"])
            answer[place] = images.to_model_input(pixels, spacing, size)[0]
        return answer

    if not records:
        return np.empty((0, size, size), np.float32)
    return stored(get_settings().features_dir / f"inputs-{size}", keys, compute, report)


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()[:32]


def content_keys(images: np.ndarray) -> list[str]:
    """Name each image (n, size, size) by its content."""
    return [hashlib.sha256(np.ascontiguousarray(image)).hexdigest()[:32] for image in images]


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


def balanced_weights(y: np.ndarray, n_classes: int) -> np.ndarray:
    """Weigh rows so that each class counts the same; rows without a class (-1) weigh 0, the others 1 on average.

    Examples
    --------
    >>> balanced_weights(np.array([0, 0, 0, 1, -1]), 2).astype(float).round(2).tolist()
    [0.67, 0.67, 0.67, 2.0, 0.0]
    """
    known = y >= 0
    counts = np.bincount(y[known], minlength=n_classes)
    per_class = known.sum() / (max(1, (counts > 0).sum()) * np.maximum(counts, 1))
    return np.where(known, per_class[np.maximum(y, 0)], 0.0).astype(np.float32)


def augment(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change slices as scanners, exporters and heads do, and keep plane and contrast.

    Each is turned by up to 10°, zoomed by up to 12 %, shifted by up to 6 % of its side and mirrored left to right
    half the time; its grey values get a gamma, a smooth bias field and noise.

    Parameters
    ----------
    images : ndarray
        (n, size, size) in [0, 1].
    rng : numpy.random.Generator

    Returns
    -------
    ndarray
        (n, size, size) float32 in [0, 1].
    """
    size = images.shape[-1]
    answer = np.empty(images.shape, np.float32)
    centre = np.full(2, (size - 1) / 2)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    for number, image in enumerate(images):
        angle = np.deg2rad(rng.uniform(-10, 10))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn / rng.uniform(0.88, 1.12)
        offset = centre - matrix @ (centre + rng.uniform(-0.06, 0.06, 2) * size)
        moved = ndimage.affine_transform(image, matrix, offset, order=1)
        if rng.random() < 0.5:
            moved = moved[:, ::-1]
        slope = rng.normal(0, 0.08, 3).astype(np.float32)
        bias = np.exp(slope[0] * ramp[:, None] + slope[1] * ramp + slope[2] * ramp[:, None] * ramp)
        toned = np.clip(moved, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.15))) * bias
        noise = rng.standard_normal((size, size), dtype=np.float32) * np.float32(rng.uniform(0, 0.02))
        answer[number] = toned + noise
    return np.clip(answer, 0, 1, out=answer)


def augmented_view(images: np.ndarray, view: int) -> np.ndarray:
    """Return view number `view` of each image: 0 is the image, others are changed; the same image, the same view."""
    if view == 0:
        return images
    seeds = [[int(key[:15], 16), view] for key in content_keys(images)]
    return np.concatenate(
        [augment(image[None], np.random.default_rng(seed)) for image, seed in zip(images, seeds, strict=True)]
    )


def pairs(
    y: np.ndarray, patient: np.ndarray, rng: np.random.Generator, n: int
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
    in_patient = {p: np.flatnonzero((patient == p) & (y >= 0)) for p in np.unique(patient)}
    first, second = np.empty(n, int), np.empty(n, int)
    same = (np.arange(n) % 2 == 0).astype(np.float32)
    for number in range(n):
        a = rng.choice(members[rng.choice(present)])
        if same[number]:
            candidates = members[y[a]]
            others = candidates[patient[candidates] != patient[a]]
            candidates = others if len(others) else candidates
        else:
            near = in_patient[patient[a]]
            near = near[y[near] != y[a]]
            other = rng.choice(present[present != y[a]])
            candidates = near if len(near) and rng.random() < 0.5 else members[other]
        first[number], second[number] = a, rng.choice(candidates)
    return first, second, same
