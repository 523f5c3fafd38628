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
    "smooth_grad": "SmoothGrad",
    "guided_gradients": "Guided gradients",
    "occlusion": "Occlusion (slow)",
}
#: What each method does and what it is good for, a sentence each.
METHOD_SAYS = {
    "grad_cam": "Channels of a layer, weighted by how much each raises the class score on average: coarse and steady.",
    "grad_cam_plus_plus": "Like Grad-CAM, with weights that let several places count at once.",
    "layer_cam": "Channels weighted place by place by their own gradient: sharp in early layers too.",
    "score_cam": (
        "Channels weighted by what the model answers when each masks the slice: no gradients, hundreds of looks at it."
    ),
    "saliency": "How strongly each pixel could change the class score, up or down: fine and noisy.",
    "smooth_grad": "Saliency, averaged over copies of the slice with a little noise: less speckled.",
    "guided_gradients": (
        "Shows edges of the image and hardly depends on the class or even on the model (Adebayo et al. 2018, Nie et "
        "al. 2018): a sharp picture, no evidence."
    ),
    "occlusion": "How far the class score falls when a patch of the slice is blurred away: the slow reference.",
}
#: Methods that are made at a layer; the others work on pixels and need none.
LAYERED = frozenset({"grad_cam", "grad_cam_plus_plus", "layer_cam", "score_cam"})
#: Methods that can be repeated with Monte-Carlo dropout on.
WITH_PASSES = frozenset({"grad_cam", "grad_cam_plus_plus", "layer_cam", "saliency"})
#: Methods that take seconds a slice.
SLOW = frozenset({"score_cam", "occlusion"})


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
        Layer to make the map at; the card's cam_layer without. Only methods in `LAYERED` use it.
    method : str
        One of `METHOD_WORDS`.
    against : str, optional
        A second class: the score is then the difference of the two, and the map says why the target rather than this.
        A slice whose target it is has a map of zeros.
    passes : int
        Passes with Monte-Carlo dropout on; 0 for the deterministic map. Only for methods in `WITH_PASSES`.
    random_state : int
        Seed of dropout and of the noise of SmoothGrad.
    """

    head: str
    target: str | None = None
    layer: str | None = None
    method: str = "grad_cam"
    against: str | None = None
    passes: int = 0
    random_state: int = 0


@dataclass(frozen=True)
class Maps:
    """What comes back for n slices.

    Attributes
    ----------
    heat : ndarray of float32, shape (n, S, S)
        From 0 to 1, on the model's grid (`core.images.from_model_grid` leads back to a slice's own). With passes the
        mean of their maps, each of which has its maximum at 1: the less they agree, the lower the mean's.
    targets : tuple of str, length n
        The class that each map is of.
    layer : str
        Where the maps were made.
    layers : tuple of str
        Layers to choose from, the coarsest last.
    spread : ndarray of float32, shape (n, S, S), optional
        Standard deviation over passes with dropout, from 0 to 0.5; None without passes.
    """

    heat: np.ndarray
    targets: tuple[str, ...]
    layer: str
    layers: tuple[str, ...]
    spread: np.ndarray | None = None
