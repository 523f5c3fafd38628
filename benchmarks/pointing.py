"""Whether maps for T1CE point at what takes up contrast agent: the pointing game and the share of heat inside.

Part of `benchmarks.badge`. Zhang et al., "Top-down neural attention by excitation backprop" (ECCV 2016), call it a hit
when a map's hottest pixel lies on the object; they allow 15 pixels beside it, in pictures of about 500. Six of 192 are
as many. Chance is a pixel anywhere in the head.
"""

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

from benchmarks.phantom_truth import Truth
from core.explanations.head_frame import head_mask
from core.explanations.question import METHOD_WORDS, SLOW

TOLERANCE_PX = 6
_SLOW_SLICES = 6


def pointing(asked, truth: Truth) -> list[dict]:
    """Ask a model for maps of T1CE and hold them against what takes up agent, a row a method.

    Parameters
    ----------
    asked : benchmarks.badge.Asked
    truth : Truth
        Slices after contrast whose tumour takes up agent.

    Returns
    -------
    list of dict
    """
    if not len(truth.images):
        return []
    at, side = asked.classes.index("T1CE"), truth.images.shape[1]
    heads = np.array([head_mask(image) for image in truth.images])
    rows = []
    for method in METHOD_WORDS:
        n = min(_SLOW_SLICES, len(truth.images)) if method in SLOW else len(truth.images)
        places = np.linspace(0, len(truth.images) - 1, n).round().astype(int)
        heat = asked.make(method)(asked.view, _at_side(truth.images[places], asked.size), np.full(n, at))
        heat = _at_side(heat, side)
        row = {"model": asked.name, "method": method, "slices": n}
        for name in ("tumour", "agent"):
            found = hits(heat, getattr(truth, name)[places], heads[places])
            row |= {f"{name} {key}": value for key, value in found.items()}
        rows.append(row)
        print(row, flush=True)
    return rows


def hits(heat: np.ndarray, truth: np.ndarray, heads: np.ndarray) -> dict[str, float]:
    """Score maps against a truth.

    Parameters
    ----------
    heat : ndarray, shape (n, S, S)
    truth, heads : ndarray of bool, shape (n, S, S)

    Returns
    -------
    dict
        ``hit`` rate, ``mass`` (mean share of heat inside), and what chance gives for both.

    Examples
    --------
    >>> heat, truth = np.zeros((1, 12, 12)), np.zeros((1, 12, 12), bool)
    >>> heat[0, 2, 2] = 1.0
    >>> truth[0, 2:5, 2:5] = True
    >>> {name: round(value, 2) for name, value in hits(heat, truth, np.ones((1, 12, 12), bool)).items()}
    {'hit': 1.0, 'hit chance': 0.4, 'mass': 1.0, 'mass chance': 0.06}
    """
    near = np.array([ndimage.binary_dilation(one, iterations=TOLERANCE_PX) for one in truth])
    heads = heads | truth
    peaks = heat.reshape(len(heat), -1).argmax(axis=1)
    hit = near.reshape(len(near), -1)[np.arange(len(near)), peaks] & heat.any(axis=(1, 2))
    mass = (heat * truth).sum(axis=(1, 2)) / np.maximum(heat.sum(axis=(1, 2)), 1e-9)
    area = heads.sum(axis=(1, 2))
    return {
        "hit": float(hit.mean()), "hit chance": float(((near & heads).sum(axis=(1, 2)) / area).mean()),
        "mass": float(mass.mean()), "mass chance": float((truth.sum(axis=(1, 2)) / area).mean()),
    }  # fmt: skip


def pointing_table(rows: pd.DataFrame) -> str:
    """The scores in percent, a row a model and method, chance in the last row."""
    names = ("tumour hit", "tumour mass", "agent hit", "agent mass")
    lines = [
        "| model | method | slices | tumour: hit | tumour: heat inside | agent: hit | agent: heat inside |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows.to_dict("records"):
        cells = " | ".join(f"{100 * row[name]:.0f}" for name in names)
        method = METHOD_WORDS[row["method"]].replace(" (slow)", "")
        lines.append(f"| {row['model']} | {method} | {row['slices']} | {cells} |")
    if len(rows):
        chance = rows.iloc[0]
        cells = " | ".join(f"{100 * chance[f'{name} chance']:.0f}" for name in names)
        lines.append(f"| *chance* | | {chance['slices']} | {cells} |")
    return "\n".join(lines)


def _at_side(images: np.ndarray, side: int) -> np.ndarray:
    if images.shape[1] == side:
        return images
    return np.stack(
        [np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BILINEAR)) for one in images]
    )
