"""A run's predictions as arrays, head by head: what analyses are made from."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.cohorts.slice_table import replaced
from core.runs import Run
from core.splits import SPLITS


@dataclass(frozen=True)
class Judged:
    """What a run said of n slices with one of its heads.

    Attributes
    ----------
    head : str
    names : list of str
        Its C classes.
    rows : DataFrame
        As ``predictions.parquet`` has them, with its index.
    proba : ndarray of float32, shape (n, C)
        Calibrated; NaN where an old run stored that.
    y : ndarray of int, shape (n,)
        True class, -1 where nobody knows.
    temperature : float
        That `proba` was calibrated with.
    """

    head: str
    names: list[str]
    rows: pd.DataFrame
    proba: np.ndarray
    y: np.ndarray
    temperature: float = 1.0

    @property
    def sound(self) -> np.ndarray:
        """Which rows have probabilities, (n,)."""
        return np.isfinite(self.proba).all(axis=1)

    @property
    def right(self) -> np.ndarray:
        """Which answers are right, (n,); none whose truth is unknown or whose probabilities are not numbers."""
        return (self.proba.argmax(axis=1) == self.y) & self.sound

    def known(self, part: str) -> np.ndarray:
        """Which rows are of a part of the split and have a truth, (n,)."""
        return (self.rows["split"] == part).to_numpy() & (self.y >= 0)

    def parts(self) -> list[str]:
        """Parts of the split in which some truth is known."""
        return [part for part in SPLITS if self.known(part).any()]

    def patients(self, kept: np.ndarray) -> int:
        """How many patients the kept rows are of."""
        return int(self.rows["PatientID"][kept].nunique())


def judged(run: Run) -> Iterator[Judged]:
    """Yield a run's heads.

    Parameters
    ----------
    run : Run
        Evaluated.
    """
    card, table = run.card(), run.predictions()
    for head, names in card["classes"].items():
        rows = table[table["head"] == head]
        if rows.empty:
            continue
        place = {name: number for number, name in enumerate(names)}
        y = rows["y_true"].map(place).fillna(-1).to_numpy(int)
        proba = np.stack(rows["y_proba"].to_list()).astype(np.float32)
        yield Judged(head, list(names), rows, proba, y, float(card.get("temperature", {}).get(head, 1.0)))


def a_row_a_slice(predictions: pd.DataFrame) -> pd.DataFrame:
    """Keep the first head's predictions: every head has the same slices in the same order, whatever is said of them."""
    return predictions[predictions["head"] == predictions["head"].iloc[0]]


def write_json(path: Path, content: Any) -> None:
    """Write an analysis, all or nothing; what is no number becomes null."""
    with replaced(path) as fresh:
        fresh.write_text(json.dumps(plain(content), indent=1, allow_nan=False), encoding="utf-8")


def plain(content: Any) -> Any:
    """Turn arrays, NumPy numbers and NaN into what JSON knows.

    Examples
    --------
    >>> plain({"a": np.array([1.0, np.nan]), "b": np.int64(3), "c": True})
    {'a': [1.0, None], 'b': 3, 'c': True}
    """
    if isinstance(content, dict):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, np.ndarray | np.generic):
        content = content.tolist()
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    return None if isinstance(content, float) and not np.isfinite(content) else content
