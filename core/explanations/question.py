"""What a map is asked for, and what comes back: light, so that whoever shows maps need not load Keras."""

from dataclasses import dataclass

import numpy as np

#: Every method by the name that links and the command line use, in words; `methods.METHODS` computes them.
METHOD_WORDS = {
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "layer_cam": "Layer-CAM",
    "score_cam": "Score-CAM (slow)",
    "saliency": "Saliency",
}


@dataclass(frozen=True)
class Question:
    """All that a map depends on, besides the model and the slice.

    Attributes
    ----------
    head : str
        One of the keys of the card's classes.
    target : str, optional
        The class whose evidence is shown; the model's own answer without.
    layer : str, optional
        Layer to make the map at; the card's cam_layer without.
    method : str
        One of `METHOD_WORDS`.
    """

    head: str
    target: str | None = None
    layer: str | None = None
    method: str = "grad_cam"


@dataclass(frozen=True)
class Maps:
    """What comes back for n slices.

    Attributes
    ----------
    heat : ndarray of float32, shape (n, S, S)
        From 0 to 1, on the model's grid (`core.images.from_model_grid` leads back to a slice's own).
    targets : tuple of str, length n
        The class that each map is of.
    layer : str
        Where the maps were made.
    layers : tuple of str
        Layers to choose from, the coarsest last.
    """

    heat: np.ndarray
    targets: tuple[str, ...]
    layer: str
    layers: tuple[str, ...]
