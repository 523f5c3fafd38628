"""Is it a brain at all? What a model was never meant for is set apart before its answer counts.

The shipped model was shown pictures of other things while it was trained (`core.phantom.other`), and learned a plane
through the space of its features that parts them from brains. The plane stands in the card, so that whoever has a
slice's embedding can tell.
"""

from typing import Any

import numpy as np
from scipy.special import expit

from core import bundle
from core.config import RunConfig
from core.settings import WEIGHTS_DIR


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
