"""Is it a brain at all? What a model was never meant for is set apart before its answer counts.

The shipped model was shown pictures of other things while it was trained (`core.phantom.other`), and learned a plane
through the space of its features that parts them from brains. The plane stands in the card, so that whoever has a
slice's embedding can tell.

Any run can tell what is unlike the slices that it learnt from: how far a slice's features lie from theirs, as
`fit_familiar` measures it, stands in the bundle's ``novelty.npz``. `strangeness` asks both, as far as they are there.

Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples" (NeurIPS 2018), for Mahalanobis
distances in feature space; Mueller & Hein, "Mahalanobis++" (ICML 2025), for features of length 1 (noise has short ones,
and lies near the centre without that); Tipping & Bishop, "Probabilistic Principal Component Analysis" (J. R. Statist.
Soc. B 61, 1999), for a covariance that few slices can pin down.
"""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from core import bundle
from core.config import RunConfig
from core.errors import BundleError, InputError
from core.explanations.jury import unit
from core.settings import WEIGHTS_DIR

FAMILIAR_FILE = "novelty.npz"

#: Directions of feature space whose spread is learnt one by one; the others share one. On real slices of half the
#: subjects, 16 told the other half from other things at least as well as 32, 64, all with Ledoit and Wolf's shrinkage,
#: and the distance to the nearest neighbours (`benchmarks/doubt.py` prints what it is worth).
_AXES = 16
#: More training slices than these change nothing but the time it takes.
_ENOUGH = 20_000


def brain_probability(embeddings: np.ndarray, card: dict[str, Any]) -> np.ndarray:
    """Tell how surely slices show a brain.

    Parameters
    ----------
    embeddings : ndarray, shape (n, d)
        Pooled features of the model that `card` belongs to.
    card : dict
        With ``brain`` = {"weight": d numbers, "bias": number}; models that were never shown anything else lack it.

    Returns
    -------
    ndarray of float64, shape (n,)
        From 0 to 1; 1 where the card cannot tell.

    Examples
    --------
    >>> brain_probability(np.array([[2.0], [-2.0]]), {"brain": {"weight": [1.0], "bias": 0.0}}).round(2).tolist()
    [0.88, 0.12]
    """
    embeddings = np.asarray(embeddings, float)
    plane = card.get("brain")
    if plane is None:
        return np.ones(len(embeddings))
    return expit(embeddings @ np.array(plane["weight"], float) + plane["bias"])


def inherited(config: RunConfig) -> dict[str, Any]:
    """Tell what a run's card may take over: the plane holds as long as the features are the shipped model's own.

    Parameters
    ----------
    config : RunConfig

    Returns
    -------
    dict
        ``{"brain": …}`` for a head on the frozen shipped backbone at its own image size, else empty. A Siamese run
        answers with embeddings of its own.
    """
    if config.weights != "slicescope" or config.fine_tune_epochs or config.kind == "siamese":
        return {}
    shipped = bundle.read_card(WEIGHTS_DIR)
    if shipped["input_shape"][0] != config.image_size or "brain" not in shipped:
        return {}
    return {"brain": shipped["brain"]}


#: Above this no threshold lies, however sure the model is of phantoms: of public real slices 1.6 % lie below it, and of
#: photographs, textures and scans of other things four in five.
_HIGHEST = 0.7


def brain_threshold(proba: np.ndarray, lost: float = 0.005) -> float:
    """Find the probability below which a slice is no brain.

    Parameters
    ----------
    proba : ndarray, shape (n,)
        `brain_probability` of slices that do show one.
    lost : float
        Share of them that may be set apart by mistake.

    Returns
    -------
    float
        At most 0.7.

    Examples
    --------
    >>> brain_threshold(np.linspace(0, 1, 1001), lost=0.1)
    0.1
    """
    return float(min(_HIGHEST, np.quantile(proba, lost)))


@dataclass(frozen=True)
class Familiar:
    """Where a model's training slices lie in the space of its features, each brought to length 1.

    Attributes
    ----------
    centre : ndarray of float32, shape (d,)
    axes : ndarray of float32, shape (d, k)
        The directions in which they spread most, each of length 1.
    spread : ndarray of float32, shape (k,)
        Variance along each.
    rest : float
        Mean variance along every other direction.
    above : float
        Distance from which on a slice is called strange.
    slices, patients : int
        That it was fitted on.
    """

    centre: np.ndarray
    axes: np.ndarray
    spread: np.ndarray
    rest: float
    above: float = float("inf")
    slices: int = 0
    patients: int = 0

    def distance(self, embeddings: np.ndarray) -> np.ndarray:
        """Mahalanobis distance over the root of d: about 1 for slices like those of training, (n, d) to (n,)."""
        off = unit(np.asarray(embeddings, dtype=float)) - self.centre
        along = off @ self.axes
        beside = np.maximum((off**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        return np.sqrt(((along**2 / self.spread).sum(axis=1) + beside / self.rest) / len(self.centre))

    def save(self, folder: Path) -> None:
        """Write ``novelty.npz`` into a bundle, all or nothing."""
        partial = Path(folder) / f"part-{os.getpid()}.npz"
        np.savez_compressed(partial, **{field.name: getattr(self, field.name) for field in fields(self)})
        partial.replace(Path(folder) / FAMILIAR_FILE)

    @classmethod
    def load(cls, folder: Path) -> "Familiar | None":
        """Read a bundle's; None where there is none.

        Raises
        ------
        BundleError
            When the file is none of these.
        """
        path = Path(folder) / FAMILIAR_FILE
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                values = {field.name: stored[field.name] for field in fields(cls)}
        except (OSError, ValueError, KeyError) as error:
            raise BundleError(
                f"{FAMILIAR_FILE} of the bundle cannot be read: {error}. Evaluate the run anew."
            ) from None
        arrays = ("centre", "axes", "spread")
        return cls(**{name: value if name in arrays else value.item() for name, value in values.items()})


def fit_familiar(embeddings: np.ndarray) -> Familiar:
    """Learn where slices lie in feature space.

    Parameters
    ----------
    embeddings : ndarray, shape (n, d)
        Of training slices; at least 2.

    Returns
    -------
    Familiar
        Without a threshold.

    Raises
    ------
    InputError
        With fewer than two slices, or with features that are no numbers.

    Examples
    --------
    >>> drawn = np.random.default_rng(0).normal([9, 3, 3], 1.0, (500, 3))
    >>> near, far = fit_familiar(drawn).distance(np.array([[9.0, 3, 3], [3.0, 9, 3]]))
    >>> bool(near < 1), bool(far > 3)
    (True, True)
    """
    embeddings = np.asarray(embeddings, dtype=float)
    if embeddings.ndim != 2 or len(embeddings) < 2 or not np.isfinite(embeddings).all():
        raise InputError(
            f"What is familiar is learnt from the features of at least two slices; received {embeddings.shape}, "
            f"{int((~np.isfinite(embeddings)).sum())} of them no numbers."
        )
    if len(embeddings) > _ENOUGH:
        embeddings = np.random.default_rng(0).permutation(embeddings)[:_ENOUGH]
    embeddings = unit(embeddings)
    n, d = embeddings.shape
    centre = embeddings.mean(axis=0)
    _, sizes, across = np.linalg.svd(embeddings - centre, full_matrices=False)
    spread = sizes**2 / (n - 1)
    k = max(1, min(_AXES, len(spread) - 1))
    total = spread.sum()
    rest = (total - spread[:k].sum()) / max(1, d - k)
    # A feature that never moved in training must not make the smallest step an endless distance.
    floor = max(1e-3 * total / d, 1e-12)
    return Familiar(
        centre.astype(np.float32), across[:k].T.astype(np.float32), np.maximum(spread[:k], floor).astype(np.float32),
        float(max(rest, floor)),
    )  # fmt: skip


@dataclass(frozen=True)
class Strangeness:
    """One opinion on how strange slices are.

    Attributes
    ----------
    values : ndarray of float64, shape (n,)
        Larger is stranger.
    above : float
        From here on a slice is called strange.
    """

    values: np.ndarray
    above: float


def strangeness(embeddings: np.ndarray, folder: Path) -> dict[str, Strangeness]:
    """Ask a bundle how strange slices are.

    Parameters
    ----------
    embeddings : ndarray, shape (n, d)
        Pooled features of its model.
    folder : Path
        The bundle.

    Returns
    -------
    dict
        ``plane``: one less the probability of a brain, of models whose card has the plane; ``distance``: from the
        training slices, of runs that `core.analysis.novelty_report` has looked at. Empty where nothing can tell.

    Raises
    ------
    BundleError
        When there is no card, or a damaged file.
    """
    card, familiar = bundle.read_card(folder), Familiar.load(folder)
    found = {}
    if "brain" in card:
        found["plane"] = Strangeness(1 - brain_probability(embeddings, card), 1 - card["brain"].get("below", 0.0))
    if familiar is not None and len(familiar.centre) == np.shape(embeddings)[1]:
        found["distance"] = Strangeness(familiar.distance(embeddings), familiar.above)
    return found
