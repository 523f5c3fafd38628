"""Windows for looking at MR: its grey values have no unit, so each is read off the stack's own values."""

from collections.abc import Sequence

import numpy as np

from core import images

Window = tuple[float, float]

#: What each preset shows: a part of the head's grey values, from one percentile to another.
_PARTS = {
    "Brain tissue": (8.0, 88.0),
    "Bright vessels": (70.0, 99.95),
    "Dark structures": (0.0, 55.0),
}

#: Pixels of one slice that fix its percentiles well enough.
_ENOUGH = 50_000


def window_presets(slices: Sequence[np.ndarray]) -> dict[str, Window]:
    """Give windows that suit a stack, the usual one first.

    Parameters
    ----------
    slices : sequence of ndarray, each of shape (rows, columns)
        Some slices of the stack, in the unit of the file; a few spread over it are enough.

    Returns
    -------
    dict of (float, float)
        Name to centre and width, the width above 0: *Whole head* (air black, the brightest half per cent white),
        *Brain tissue* (without the darkest fluid and the brightest fat), *Bright vessels* (what agent or inflow
        makes bright, all else dark) and *Dark structures* (fluid, veins and blood, all else bright).

    Examples
    --------
    >>> presets = window_presets([np.arange(10000.0).reshape(100, 100)])
    >>> list(presets), [round(edge, -2) for edge in presets["Whole head"]]
    (['Whole head', 'Brain tissue', 'Bright vessels', 'Dark structures'], [5000.0, 9900.0])
    """
    # Every pixel of a large slice would tell no more, and cost a rerun its time.
    thin = [np.asarray(one, np.float32).reshape(-1)[:: max(1, one.size // _ENOUGH)] for one in slices]
    values = np.concatenate(thin)
    low, high = images.intensity_range(values)
    head = values[np.isfinite(values) & (values > low + 0.1 * (high - low))]
    presets = {"Whole head": ((low + high) / 2, high - low)}
    for name, shares in _PARTS.items():
        dark, bright = (float(value) for value in np.percentile(head, shares)) if head.size else (low, high)
        # Below the head there is only air; what is dark in the head is told apart down to the air.
        dark = low if shares[0] == 0 else dark
        presets[name] = ((dark + bright) / 2, bright - dark) if bright > dark else presets["Whole head"]
    return presets
