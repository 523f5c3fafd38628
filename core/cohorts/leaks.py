"""What stands on both sides of a split: patients, equal pictures, and pictures that are nearly equal.

A split by patient is honest only where a patient has one name. The same scan under two names, exported twice,
compressed or scaled down, is found by its pixels: equal ones by their hash, nearly equal ones by correlation of
thumbnails of whole slices, as a head's place in them moves with noise and size. Different heads stay apart: among 12
phantoms and 28 real people the closest two slices of different people correlate by 0.965, while the loosest copy tried
(half the size) keeps 0.979 (`NEAR`).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core import thumbnails
from core.cohorts.similar import content_keys
from core.cohorts.slice_table import Cohort
from core.errors import UnreadableFile
from core.learning import feature_store
from core.sandbox import get_sandbox
from core.splits import SPLITS, leaks

#: Correlation of two thumbnails from which on they count as one picture.
NEAR = 0.975
#: The same of what is compared first, 16 × 16 means: cheap, and never below `NEAR` for a copy.
_COARSE_NEAR = 0.99
_SIZE, _COARSE, _DIGEST = 96, 16, 16
#: Spread of grey values below which a thumbnail shows nothing that could be compared.
_LEAST_SPREAD = 6.0
_BLOCK = 1024


@dataclass(frozen=True)
class LeakReport:
    """What `check` found; every table is empty where nothing leaks.

    Attributes
    ----------
    patients : DataFrame
        Patients in more than one part: PatientID, splits, slices.
    equal, near : DataFrame
        Pairs of slices with equal or nearly equal pixels in two parts: row, other (places in the table), split,
        other_split, PatientID, other_PatientID, correlation. One pair a slice, its closest.
    compared : int
        Slices whose pictures were compared; blank and unreadable ones are not.
    """

    patients: pd.DataFrame
    equal: pd.DataFrame
    near: pd.DataFrame
    compared: int

    @property
    def clean(self) -> bool:
        """Whether nothing stands on both sides."""
        return self.patients.empty and self.equal.empty and self.near.empty


def check(cohort: Cohort, split: pd.Series, report: Callable[[int, int], None] | None = None) -> LeakReport:
    """Look for what stands in more than one part of a split.

    Parameters
    ----------
    cohort : Cohort
    split : Series of str
        In the order of its table; rows with another word than train, validation or test stand nowhere.
    report : callable, optional
        Called with (slices read, slices in all); what it raises ends the work.

    Returns
    -------
    LeakReport

    Raises
    ------
    CohortError
        When a file is gone.

    Notes
    -----
    The first check of a cohort reads each slice once, later ones only what is new. Comparing is a matrix product of
    the parts, so its cost grows with the square of the cohort: some minutes at 500,000 slices.
    """
    table = cohort.table.reset_index(drop=True)
    split = pd.Series(split.to_numpy(), table.index)
    prints = _prints(cohort, report)
    digests = pd.Series([one.tobytes() for one in prints[:, :_DIGEST]])
    coarse, spread = _standardised(prints[:, _DIGEST:].astype(np.float32))
    usable = spread >= _LEAST_SPREAD
    part = split.map({name: number for number, name in enumerate(SPLITS)}).fillna(-1).to_numpy(int)
    pairs = []
    for number in (2, 1):
        # Each part with those before it: test with train and validation, validation with train.
        here = np.flatnonzero(usable & (part == number))
        there = np.flatnonzero(usable & (part >= 0) & (part < number))
        pairs += _candidates(coarse, here, there)
    equal, near = _confirmed(cohort, pairs, digests)
    return LeakReport(
        leaks(table, split.where(split.isin(SPLITS))), _named(table, split, equal), _named(table, split, near),
        int(usable.sum()),
    )  # fmt: skip


def _prints(cohort: Cohort, report: Callable[[int, int], None] | None) -> np.ndarray:
    """Digest and coarse picture of each slice's thumbnail, uint8 (n, 16 + 256), kept in the cohort's folder."""

    def compute(rows: np.ndarray) -> np.ndarray:
        pictures, readable = thumbnails.pictures(cohort, cohort.table.iloc[rows], _SIZE, whole=True)
        digests = [hashlib.blake2b(picture, digest_size=_DIGEST).digest() for picture in pictures]
        step = _SIZE // _COARSE
        means = pictures.reshape(-1, _COARSE, step, _COARSE, step).mean(axis=(2, 4))
        coarse = np.round(means).astype(np.uint8).reshape(len(rows), -1)
        coarse[~readable] = 0  # blank, which is not compared
        return np.hstack([np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _DIGEST), coarse])

    if cohort.table.empty:
        return np.empty((0, _DIGEST + _COARSE**2), np.uint8)
    return feature_store.stored(cohort.folder / "fingerprints", content_keys(cohort.table), compute, report)


def _standardised(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Make products of rows correlations; also give the standard deviation of each."""
    spread = vectors.std(axis=1)
    vectors = vectors - vectors.mean(axis=1, keepdims=True)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6), spread


def _candidates(coarse: np.ndarray, here: np.ndarray, there: np.ndarray) -> list[tuple[int, int]]:
    """Pair each slice of `here` with the closest of `there`, where that is close."""
    pairs = []
    if not len(there):
        return pairs
    for start in range(0, len(here), _BLOCK):
        block = here[start : start + _BLOCK]
        best, where = np.full(len(block), -1.0, np.float32), np.zeros(len(block), int)
        for other in range(0, len(there), 16 * _BLOCK):
            columns = there[other : other + 16 * _BLOCK]
            products = coarse[block] @ coarse[columns].T
            at = products.argmax(axis=1)
            closest = products[np.arange(len(block)), at]
            where = np.where(closest > best, columns[at], where)
            best = np.maximum(best, closest)
        pairs += [(int(a), int(b)) for a, b, value in zip(block, where, best, strict=True) if value >= _COARSE_NEAR]
    return pairs


def _confirmed(cohort: Cohort, pairs: list[tuple[int, int]], digests: pd.Series) -> tuple[list, list]:
    """Compare the thumbnails of close pairs, and the pixels of those with equal thumbnails."""
    equal, near = [], []
    for start in range(0, len(pairs), _BLOCK):
        block = pairs[start : start + _BLOCK]
        one, other = (
            _standardised(
                thumbnails.sprites(cohort, cohort.table.iloc[list(rows)], _SIZE, whole=True)
                .reshape(len(rows), -1)
                .astype(np.float32)
            )[0]
            for rows in zip(*block, strict=True)
        )
        for (a, b), correlation in zip(block, (one * other).sum(axis=1), strict=True):
            if digests[a] == digests[b] and _pixel_hash(cohort, a) == _pixel_hash(cohort, b) is not None:
                equal.append((a, b, 1.0))
            elif correlation >= NEAR:
                near.append((a, b, min(1.0, float(correlation))))
    return equal, near


def _pixel_hash(cohort: Cohort, row: int) -> str | None:
    record = cohort.table.iloc[row]
    try:
        pixels = get_sandbox().pixels(cohort.root / record["path"], int(record["frame"]))
    except UnreadableFile:
        return None
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _named(table: pd.DataFrame, split: pd.Series, pairs: list[tuple[int, int, float]]) -> pd.DataFrame:
    answer = pd.DataFrame(pairs, columns=["row", "other", "correlation"])
    rows, others = answer["row"].astype(int), answer["other"].astype(int)
    patient = table["PatientID"].to_numpy()
    return answer.assign(
        split=split.to_numpy()[rows], other_split=split.to_numpy()[others], PatientID=patient[rows],
        other_PatientID=patient[others],
    )  # fmt: skip
