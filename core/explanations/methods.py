"""Every method by name, with one signature, and Monte-Carlo passes over any of them.

Each method takes a view (`core.explanations.scores`), images (n, S, S) in [0, 1], a class a row (n,), the name of a
layer, optionally a class a row that it is held against (n,), and a seed. It gives maps (n, S, S): float32, not
negative, 1 at each map's maximum, all 0 where nothing speaks for the class. Maps say what a model used, not what is
true. A slice has the same map alone and among others.
"""

from collections.abc import Callable

import keras
import numpy as np

from core.errors import InputError
from core.explanations.cams import grad_cam, grad_cam_plus_plus, layer_cam, score_cam
from core.explanations.gradients import guided_gradients, saliency, smooth_grad
from core.explanations.occlusion import occlusion
from core.explanations.question import LAYERED, METHOD_WORDS, WITH_PASSES, Question
from core.explanations.scaling import scaled
from core.models.mc_dropout import dropouts, dropping
from core.models.parts import map_layers

Method = Callable[..., np.ndarray]

#: Every method by the name that pages, links and the command line use.
METHODS: dict[str, Method] = {
    method.__name__: method
    for method in (
        grad_cam, grad_cam_plus_plus, layer_cam, score_cam, saliency, smooth_grad, guided_gradients, occlusion,
    )
}  # fmt: skip

#: More passes say no more, and a link must not ask for a million.
MOST_PASSES = 200


def check(view: keras.Model, images: np.ndarray, layer: str, method: str = "grad_cam", passes: int = 0) -> None:
    """Refuse what no map can be made of.

    Raises
    ------
    InputError
        For images that are not finite; for a layer that the view does not have, or one without a map, where the
        method needs one; for passes that the model or the method does not have.
    """
    if not np.isfinite(images).all():
        raise InputError("The picture holds values that are not finite (NaN or infinity), so it cannot be explained.")
    if method in LAYERED:
        found = next((one for one in view.layers if one.name == layer), None)
        if found is None or len(getattr(found.output, "shape", ())) != 4:
            known = ", ".join(map_layers(view)) or "no layer with a map: it has no convolution"
            raise InputError(f"No map can be made at layer {layer!r}. This model has {known}.")
    if not 0 <= passes <= MOST_PASSES:
        raise InputError(f"Passes with dropout must be 0 (none) to {MOST_PASSES}. Received: {passes}.")
    if passes and method not in WITH_PASSES:
        able = ", ".join(METHOD_WORDS[name] for name in METHOD_WORDS if name in WITH_PASSES)
        raise InputError(f"{METHOD_WORDS[method]} is not repeated with dropout. Choose {able}, or 0 passes.")
    if passes and not dropouts(view):
        raise InputError("This model has no Monte-Carlo dropout, so its passes would all be alike. Choose 0 passes.")


def over_passes(
    method: Method, view: keras.Model, images, class_index, layer: str, against, passes: int, random_state: int
) -> tuple[np.ndarray, np.ndarray]:
    """Make maps of several passes with Monte-Carlo dropout on.

    Every slice meets the same T draws of dropout, so that slices can be compared. Only what comes after the layer is
    computed T times.

    Returns
    -------
    mean, spread : ndarray of float32, shape (n, S, S)
        Mean and standard deviation over maps with their maximum at 1.
    """
    mean, spread = np.zeros(images.shape, np.float32), np.zeros(images.shape, np.float32)
    for i, image in enumerate(images):
        with dropping(view, random_state):
            maps = method(
                view, np.broadcast_to(image, (passes, *image.shape)), np.repeat(class_index[i], passes), layer,
                None if against is None else np.repeat(against[i], passes),
            )  # fmt: skip
        mean[i], spread[i] = maps.mean(axis=0), maps.std(axis=0)
    return mean, spread


def seen_both_ways(method: Method) -> Method:
    """Return a method for models that answer with the mean over a slice and its mirror image.

    What decides is both looks, so the map is the mean of theirs.
    """

    def twice(view: keras.Model, images: np.ndarray, *how, **more) -> np.ndarray:
        return scaled(method(view, images, *how, **more) + method(view, images[:, :, ::-1], *how, **more)[:, :, ::-1])

    return twice


def made(
    question: Question, view: keras.Model, images, class_index, layer: str, against=None, mirrored: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Make the maps that a question asks for.

    Parameters
    ----------
    question : Question
        Its method, passes and random_state are used.
    view, images, class_index, layer, against
        As a method takes them.
    mirrored : bool
        Whether the model answers with the mean over a slice and its mirror image.

    Returns
    -------
    heat : ndarray of float32, shape (n, S, S)
    spread : ndarray of float32, shape (n, S, S), or None without passes

    Raises
    ------
    InputError
        As `check`, and for a method that there is not.
    """
    if question.method not in METHODS:
        raise InputError(f"There is no method {question.method!r}. Choose one of {', '.join(METHODS)}.")
    check(view, images, layer, question.method, question.passes)
    method = METHODS[question.method]
    if mirrored:
        method = seen_both_ways(method)
    if question.passes:
        return over_passes(
            method, view, images, class_index, layer, against, question.passes, question.random_state
        )  # fmt: skip
    return method(view, images, class_index, layer, against, question.random_state), None
