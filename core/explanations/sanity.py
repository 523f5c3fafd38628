"""Four checks of a map: does it depend on the model, matter to the decision, lie in the head, hold still?

All are measured on the model's grid, for n slices at once, with a few hundred forward passes a slice. What counts as
passing is `core.explanations.badge`'s to say.

Sources: Adebayo et al., "Sanity checks for saliency maps" (NeurIPS 2018) for twins with random weights; Petsiuk et al.,
"RISE" (BMVC 2018) for deletion and insertion.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from scipy import ndimage, stats

from core.explanations.head_frame import head_mask

#: A view, images (n, S, S), a class a row (n,) → maps (n, S, S).
Make = Callable[[keras.Model, np.ndarray, np.ndarray], np.ndarray]

#: Slices are hidden and shown in cells: this many a side.
CELLS = 12
#: Points of a deletion or insertion curve after its first, and random orders that it is held against.
STEPS, ORDERS = 20, 3
#: Standard deviation of the faint noise, as a share of the range of grey levels.
NOISE = 0.01
#: Maps are compared on a grid of about this side: a pixel's jitter is no other map.
_COMPARED = 32
#: Share of a map's maximum from which a place counts as warm.
WARM = 0.5
#: Margin around the head, as a share of the side, for maps of single pixels.
_MARGIN = 0.03
_BATCH = 32


@dataclass(frozen=True)
class Sanity:
    """What was measured of n maps.

    Attributes
    ----------
    model, decision, head, stable : ndarray, shape (n,)
        The four numbers; NaN for a map without heat.
    """

    model: np.ndarray
    decision: np.ndarray
    head: np.ndarray
    stable: np.ndarray

    def values(self, at: int) -> dict[str, float]:
        """The numbers of one map by check."""
        return {name: float(getattr(self, name)[at]) for name in ("model", "decision", "head", "stable")}


def measure(
    make: Make, view: keras.Model, twins: list[keras.Model], images: np.ndarray, heat: np.ndarray, chosen: np.ndarray,
    rival: int | None = None, spill: float = 0.0,
) -> Sanity:  # fmt: skip
    """Measure the maps of some slices.

    Parameters
    ----------
    make : callable
        The method, as it was asked for.
    view : keras.Model
        From ``image`` to one score a class, see `core.explanations.scores`.
    twins : list of keras.Model
        Views of weight-randomised twins, at least one.
    images : ndarray of float32, shape (n, S, S)
        In [0, 1].
    heat : ndarray of float32, shape (n, S, S)
        The maps: ``make(view, images, chosen)``.
    chosen : ndarray of int, shape (n,)
        The class of each map.
    rival : int, optional
        The class that the map is against.
    spill : float
        How far, in pixels, heat spreads over the edge of what it means, see `spill_of`.

    Returns
    -------
    Sanity
    """
    others = np.concatenate([faint_noise(images), shifted(images, 1)])
    of_noisy, of_moved = np.split(make(view, others, np.tile(chosen, 2)), 2)
    masks = np.array([head_mask(image) for image in images]).reshape(images.shape)
    ask = _probability(view, rival)
    decision = [
        decides(ask, image, one, int(at), mask) if one.any() else np.nan
        for image, one, at, mask in zip(images, heat, chosen, masks, strict=True)
    ]
    return Sanity(
        likeness_to_twins(heat, [make(twin, images, chosen) for twin in twins]),
        np.array(decision, float),
        np.array([outside(one, mask, spill) for one, mask in zip(heat, masks, strict=True)], float),
        np.fmin(rank_correlation(heat, of_noisy), rank_correlation(heat, shifted(of_moved, -1))),
    )


def spill_of(view: keras.Model, layer: str) -> float:
    """Half a cell of a layer, in pixels: as far as heat that is made there spreads; 0 where there is no such layer."""
    found = next((one for one in view.layers if one.name == layer), None)
    shape = getattr(getattr(found, "output", None), "shape", ())
    return view.inputs[0].shape[1] / shape[1] / 2 if len(shape) == 4 else 0.0


def likeness_to_twins(heat: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    """Mean absolute rank correlation of maps with those of twins; (n,).

    The absolute value, because what speaks for and against a class is a coin's toss in a random network: a map that is
    a twin's turned over is as little the model's own. A twin's map without heat is like none.
    """
    found = np.abs([rank_correlation(heat, other) for other in others])
    with_heat = heat.any(axis=(1, 2))
    return np.where(with_heat, np.nan_to_num(found).mean(axis=0), np.nan)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of maps (n, S, S), pair by pair; NaN where either is constant."""
    step = max(1, one.shape[-1] // _COMPARED)
    ranks = [stats.rankdata(coarse(maps, step).reshape(len(maps), -1), axis=1) for maps in (one, other)]
    a, b = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    length = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), length, out=np.full(len(a), np.nan), where=length > 0)


def coarse(maps: np.ndarray, step: int) -> np.ndarray:
    """Mean over blocks of ``step`` pixels; what is left over at the end is cut off."""
    n, side = len(maps), maps.shape[-1] // step
    part = maps[:, : side * step, : side * step].reshape(n, side, step, side, step)
    return part.mean(axis=(2, 4))


def faint_noise(images: np.ndarray) -> np.ndarray:
    """Add noise of `NOISE`, the same each time."""
    noise = np.random.default_rng(1).standard_normal(images.shape[1:]).astype(np.float32)
    return np.clip(images + np.float32(NOISE) * noise, 0, 1)


def shifted(maps: np.ndarray, pixels: int) -> np.ndarray:
    """Move maps (n, S, S) down and right, or up and left; the border goes on."""
    return ndimage.shift(maps, (0, pixels, pixels), order=0, mode="nearest")


def outside(heat: np.ndarray, mask: np.ndarray, spill: float) -> float:
    """Share of a map's heat outside the head and its margin, 0 to 1; NaN without heat.

    Only places at least `WARM` as hot as the hottest count. Most maps have faint heat everywhere, and the share of all
    of it tells more of how much air a slice has than of where the model looks.
    """
    warm = np.where(heat >= WARM * heat.max(), heat, 0)
    total = float(warm.sum())
    if not total:
        return float("nan")
    distance = ndimage.distance_transform_edt(~mask)
    return float(warm[distance > max(spill, _MARGIN * len(mask))].sum()) / total


def decides(ask: Callable, image: np.ndarray, heat: np.ndarray, chosen: int, mask: np.ndarray) -> float:
    """Say how much sooner a map's order changes the answer than a random one, -1 to 1.

    Cell by cell the slice is blurred away (deletion), and cell by cell it comes back (insertion). The area under the
    class's probability is small in the first and large in the second where the cells that matter come first. The value
    is the mean of both areas' advantage over random orders. Random orders take the head's cells first: knowing where
    the head is should win nothing. Cells are blurred rather than blackened, because a black hole is a sign itself.

    Parameters
    ----------
    ask : callable
        Images (m, S, S) and a class → its probability (m,).
    image, heat : ndarray, shape (S, S)
    chosen : int
    mask : ndarray of bool, shape (S, S)
        The head.

    Returns
    -------
    float
    """
    rng = np.random.default_rng(2)
    cells = cells_of(len(image))
    counts = np.bincount(cells.ravel())
    warmth = np.bincount(cells.ravel(), heat.ravel()) / counts
    cold = np.bincount(cells.ravel(), ~mask.ravel()) / counts > 0.75
    orders = [np.lexsort((rng.random(len(counts)), -warmth))]
    orders += [np.lexsort((rng.random(len(counts)), cold)) for _ in range(ORDERS)]
    blurred = ndimage.gaussian_filter(image, len(image) / CELLS)
    places = [np.argsort(order)[cells] for order in orders]
    # As many cells as the head has: what comes after is air for a random order, and only dilutes the areas.
    bounds = np.linspace(0, max(1, (~cold).sum()), STEPS + 1).round()
    gone = np.array([[place < bound for bound in bounds] for place in places])
    pictures = np.concatenate([np.where(gone, blurred, image), np.where(gone, image, blurred)])
    curves = ask(pictures.reshape(-1, *image.shape), chosen).reshape(2, len(orders), -1)
    deletion, insertion = np.trapezoid(curves, axis=-1) / STEPS
    return float((deletion[1:].mean() - deletion[0] + insertion[0] - insertion[1:].mean()) / 2)


def cells_of(side: int) -> np.ndarray:
    """Number of the cell that each pixel lies in, (side, side)."""
    at = np.arange(side) * CELLS // side
    return at[:, None] * CELLS + at


def _probability(view: keras.Model, rival: int | None) -> Callable[[np.ndarray, int], np.ndarray]:
    """How probable a class is, among all or beside its rival alone."""

    def ask(images: np.ndarray, chosen: int) -> np.ndarray:
        scores = np.concatenate(
            [view.predict_on_batch(images[at : at + _BATCH, ..., None]) for at in range(0, len(images), _BATCH)]
        ).astype(np.float64)
        if rival is not None:
            scores = scores[:, [chosen, rival]]
            chosen = 0
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scores[:, chosen] / scores.sum(axis=1)

    return ask
