"""Maps that scanners compute from several pictures: diffusion and perfusion, with the noise that such sums make.

A map is rendered as a scanner makes it: first the pictures that are measured (`measured`), which are blurred,
distorted and sampled like any others; then the computation (`computed`). So noise grows where signal is low, and holes,
ragged rims and speckled scalps come out as they do in life.
"""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from core.phantom import contrast
from core.phantom.contrast import Protocol

#: Maps are computed from a picture with this much diffusion weighting, s/mm2.
_B_VALUE = 1000.0
#: White matter nearer to grey than this many mm holds fibres that bend and cross, with less anisotropy.
_TRACT_MM = 3.0


def measured(values: np.ndarray, protocol: Protocol, rng: np.random.Generator) -> list[np.ndarray]:
    """Signals, one a picture, that a series is made from.

    Parameters
    ----------
    values : ndarray, shape (8, tissues)
        From `core.phantom.contrast.personal_tissue`.
    protocol : Protocol
    rng : numpy.random.Generator

    Returns
    -------
    list of ndarray of float32, shape (tissues,)
        One signal for most protocols; the plain and the diffusion-weighted one for ``adc``; the map itself and the
        plain signal for the other maps.
    """
    if protocol.kind not in contrast.MAPS:
        return [contrast.signal(values, protocol, rng)]
    seed = int(rng.integers(2**31))

    def plain(b_value):  # one seed: fat and flow are the same in both
        weighted = replace(protocol, kind="epi_se", b_value=b_value)
        return contrast.signal(values, weighted, np.random.default_rng(seed))

    if protocol.kind == "adc":
        return [plain(0.0), plain(_B_VALUE)]
    return [contrast.signal(values, protocol, rng), plain(0.0)]


def tracts(white: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Factor on the fractional anisotropy of a slice: deep tracts run straight, fibres near the cortex do not.

    Parameters
    ----------
    white : ndarray of float32, shape (rows, columns)
        Share of white matter, 1 mm pixels.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (rows, columns)
    """
    deep = ndimage.gaussian_filter(white, _TRACT_MM)
    bundles = ndimage.gaussian_filter(rng.standard_normal(white.shape, np.float32), rng.uniform(1.2, 3))
    bundles /= bundles.std() + 1e-6
    return (0.4 + 0.9 * deep**3) * np.exp(rng.uniform(0.25, 0.5) * bundles)


def computed(
    pictures: list[np.ndarray], protocol: Protocol, snr: float, rng: np.random.Generator, masked: bool
) -> np.ndarray:
    """Compute a map from noisy pictures.

    Parameters
    ----------
    pictures : list of ndarray of float32, shape (rows, columns)
        Of the signals of `measured`, without noise.
    protocol : Protocol
        Of a kind in `core.phantom.contrast.MAPS`.
    snr : float
        Of the plain picture, over its bright tissue.
    rng : numpy.random.Generator
    masked : bool
        Whether pixels without signal are set to 0; else they hold what noise makes of them.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        1e-3 mm2/s, anisotropy from 0 to 1, or blood flow and volume; the latter two may be negative.
    """
    plain = pictures[0] if protocol.kind == "adc" else pictures[1]
    lit = plain[plain > 0]
    bright = float(np.percentile(lit, 70)) if lit.size else 1.0
    sigma = bright / snr

    def noise():
        return sigma * rng.standard_normal(plain.shape, np.float32)

    seen = np.hypot(plain + noise(), noise())
    # Relative noise of a pixel; where there is no signal at all, as large as it gets.
    relative = np.minimum(sigma / np.maximum(seen, 1e-3 * bright), 1)
    if protocol.kind == "adc":
        weighted = np.hypot(pictures[1] + noise(), noise())
        answer = np.log(np.maximum(seen, 1e-3 * bright) / np.maximum(weighted, 1e-3 * bright)) / (_B_VALUE * 1e-3)
        answer = np.clip(answer, 0, 4)
    elif protocol.kind == "fa":
        # Noise makes any tensor look pointed.
        answer = np.clip(np.hypot(pictures[0], 2.4 * relative * np.abs(rng.standard_normal(plain.shape))), 0, 1)
    else:
        # A difference of a per cent or so: noisy, and never sharp.
        level = rng.uniform(0.1, 0.6) * float(np.abs(pictures[0]).max(initial=0)) * 0.3
        grain = ndimage.gaussian_filter(rng.standard_normal(plain.shape, np.float32), rng.uniform(0.3, 1))
        answer = pictures[0] + level * grain
    if masked:
        inside = seen > rng.uniform(0.03, 0.25) * bright
        if rng.random() < 0.5:
            inside = ndimage.binary_opening(inside)
        answer = np.where(inside, answer, 0)
    return answer.astype(np.float32)
