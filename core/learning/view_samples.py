"""A few training slices as they are, and as the augmentation of a run would change them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from core import batches
from core.cohorts.slice_table import Cohort, slice_keys
from core.config import RunConfig
from core.learning import pace_measure

#: Pixels that are shown of each picture along a side, at most.
_SHOWN = 160


@dataclass(frozen=True)
class Samples:
    """Slices before and after.

    Attributes
    ----------
    originals, changed : ndarray of uint8, shape (n, size, size)
        As the model sees them; at most 160 pixels along a side.
    words : tuple of str
        Class of each, n of them.
    read_ms : float
        Milliseconds that reading one of them took, see `core.learning.pace_measure.read_ms`.
    """

    originals: np.ndarray
    changed: np.ndarray
    words: tuple[str, ...]
    read_ms: float


def draw_samples(made: Cohort, config: RunConfig, split: pd.Series, n: int = 8) -> Samples:
    """Change some training slices as a run would.

    Parameters
    ----------
    made : Cohort
    config : RunConfig
        Takes heads, image size and seed from it.
    split : Series of str
        Indexed like the cohort's table.
    n : int
        Slices, of as many classes as there are; fewer where fewer are there.

    Returns
    -------
    Samples
        The same for the same configuration and cohort.

    Raises
    ------
    CohortError
        When a file is gone.
    """
    rng = np.random.default_rng(config.random_state)
    table = made.table[(split == "train").to_numpy()]
    words = batches.label_values(table, config.heads[-1])
    rows, words = _some(table, words, rng, n)
    read_ms = pace_measure.read_ms(made, rows, config.image_size)
    images = batches.model_inputs(made, rows, config.image_size)
    return Samples(_shown(images), _shown(batches.augment(images, rng, config.augmentation)), words, read_ms)


def _some(
    table: pd.DataFrame, words: pd.Series, rng: np.random.Generator, n: int
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Draw one slice a class, then a second of each, and so on."""
    keys = slice_keys(table).to_numpy(str)
    order = np.argsort(keys)[rng.permutation(len(keys))]
    known = order[words.notna().to_numpy()[order]]
    turn = words.iloc[known].groupby(words.iloc[known].to_numpy()).cumcount().to_numpy()
    chosen = known[np.argsort(turn, kind="stable")][:n]
    return table.iloc[chosen], tuple(words.iloc[chosen])


def _shown(images: np.ndarray) -> np.ndarray:
    pictures = np.round(255 * np.clip(images, 0, 1)).astype(np.uint8)
    if not len(pictures) or pictures.shape[-1] <= _SHOWN:
        return pictures
    return np.stack([np.asarray(Image.fromarray(one).resize((_SHOWN, _SHOWN))) for one in pictures])
