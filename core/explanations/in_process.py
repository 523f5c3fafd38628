"""Maps of slices, their layers and badges, in this process: what `core.inference.InferenceWorker` asks its child for.

Keras is imported when one of these is called.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core import bundle as bundles
from core import inference
from core.errors import InputError
from core.explanations.badge import Badge
from core.explanations.jury import Jury, called_at, unit
from core.explanations.question import LAYERED, Maps, Question

if TYPE_CHECKING:
    import keras

#: Views of models that stay made, and encoders.
_VIEWS, _ENCODERS = 16, 4
#: Weight-randomised twins that a map is compared with; one alone may be alike by chance.
_TWINS = 2
#: What a map is of that asks what makes a slice like another.
PARTNER = "its partner"


def explain_local(
    bundle: Path, images: np.ndarray, question: Question, partner: np.ndarray | None = None
) -> Maps:  # fmt: skip
    """Make heatmaps of slices in this process.

    Parameters
    ----------
    bundle : Path
    images : ndarray, shape (n, S, S)
    question : Question
    partner : ndarray, shape (S, S) or (d,), optional
        Another slice, or its embedding. The maps then show what makes the slices like it, by the cosine of their
        embeddings (pooled features, of a model that is not Siamese); the question's target and against are not used,
        and `Maps.targets` says `PARTNER`.

    Returns
    -------
    Maps

    Raises
    ------
    BundleError, InputError
        As `predict_local`; also for a head, class, layer or method that there is not.
    """
    from core.explanations.methods import made
    from core.models.parts import map_layers

    card = bundles.read_card(bundle)
    images = inference.checked_images(images, card)
    classes = _checked_classes(card, question)
    if partner is None:
        view = _view(*inference.model_key(bundle, card), question.head, called_at(bundle))
    else:
        view, classes = _partner_view(bundle, card, partner), [PARTNER]
    layer = question.layer or card.get("cam_layer", "")
    if partner is not None:
        chosen = np.zeros(len(images), int)
    elif question.target is None:
        chosen = np.argmax(inference.forward(bundle, images)[0][question.head], axis=1)
    else:
        chosen = np.full(len(images), classes.index(question.target))
    rival = None if partner is not None else question.against
    against = None if rival is None else np.full(len(images), classes.index(rival))
    heat, spread = made(question, view, images, chosen, layer, against, bool(card.get("mirrored")))
    return Maps(heat, tuple(classes[at] for at in chosen), layer, tuple(map_layers(view)), spread)


def _checked_classes(card: dict[str, Any], question: Question) -> list[str]:
    if question.head not in card["classes"]:
        raise InputError(f"This model has no head {question.head!r}; it has {', '.join(card['classes'])}.")
    classes = card["classes"][question.head]
    for name in (question.target, question.against):
        if name is not None and name not in classes:
            raise InputError(f"{question.head} has no class {name!r}; it has {', '.join(classes)}.")
    if question.target is not None and question.target == question.against:
        raise InputError(f"A class is not held against itself: choose another class than {question.target}, or none.")
    return classes


def layers_local(bundle: Path, head: str) -> tuple[str, ...]:
    """Name the layers that maps of a head can be made at, the coarsest last; none for a model without convolution."""
    from core.models.parts import map_layers

    return tuple(map_layers(_view(*inference.model_key(bundle, bundles.read_card(bundle)), head, called_at(bundle))))


def badge_local(bundle: Path, images: np.ndarray, question: Question) -> list[Badge]:
    """Say of the maps of slices whether they may be believed, in this process.

    Parameters
    ----------
    bundle : Path
    images : ndarray, shape (n, S, S)
    question : Question
        What the maps were asked for.

    Returns
    -------
    list of Badge, length n

    Raises
    ------
    BundleError, InputError
        As `explain_local`.
    """
    return [Badge.of(**found) for found in measured(bundle, images, question)]


def measured(
    bundle: Path, images: np.ndarray, question: Question, between: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:  # fmt: skip
    """What `Badge.of` is given, slice by slice; ``between`` is called before each further map, and may raise."""
    from core.explanations import sanity
    from core.explanations.methods import made

    card = bundles.read_card(bundle)
    maps = explain_local(bundle, images, question)
    classes = card["classes"][question.head]
    rival = None if question.against is None else classes.index(question.against)
    key = (*inference.model_key(bundle, card), question.head, called_at(bundle))
    view = _view(*key)

    def make(view: "keras.Model", images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        between()
        against = None if rival is None else np.full(len(chosen), rival)
        return made(question, view, images, chosen, maps.layer, against, bool(card.get("mirrored")))[0]

    found = sanity.measure(
        make, view, [_twin_view(*key, seed) for seed in range(_TWINS)],
        inference.checked_images(images, card), maps.heat,
        np.array([classes.index(target) for target in maps.targets]), rival,
        sanity.spill_of(view, maps.layer) if question.method in LAYERED else 0.0,
    )  # fmt: skip
    return [
        {"target": target, "values": found.values(row), "empty": not maps.heat[row].any()}
        for row, target in enumerate(maps.targets)
    ]


@functools.lru_cache(maxsize=_VIEWS)
def _view(folder: str, sha256: str, head: str, jury_stamp: int) -> "keras.Model":
    """The flat model with the scores of one head alone, as explainers want it."""
    from core.explanations.scores import logits_view, prototype_view
    from core.models.parts import encoder_of

    model = inference.loaded_model(folder, sha256)
    flat = encoder_of(model)
    return logits_view(model, head) if flat is model else prototype_view(flat, Jury.load(Path(folder)).prototypes)


@functools.lru_cache(maxsize=2 * _TWINS)
def _twin_view(folder: str, sha256: str, head: str, jury_stamp: int, random_state: int) -> "keras.Model":
    """The same of a weight-randomised twin; a Siamese twin keeps the prototypes, which are no weights of it."""
    from core.explanations.scores import logits_view, prototype_view
    from core.explanations.twin import twin_of
    from core.models.parts import encoder_of

    model = inference.loaded_model(folder, sha256)
    twin = twin_of(encoder_of(model), random_state)
    if encoder_of(model) is model:
        return logits_view(twin, head)
    return prototype_view(twin, Jury.load(Path(folder)).prototypes)


def _partner_view(bundle: Path, card: dict[str, Any], partner: np.ndarray) -> "keras.Model":
    """A model's embedding as one score: how like it is to a partner's, a slice (S, S) or an embedding (d,)."""
    from core.explanations.scores import prototype_view

    partner = np.asarray(partner, np.float32)
    if partner.ndim == 2:
        partner = inference.forward(bundle, partner[None])[2][0]
    encoder = _encoder(*inference.model_key(bundle, card), card["kind"] == "siamese")
    if partner.shape != encoder.output.shape[1:] or not np.isfinite(partner).all() or not partner.any():
        raise InputError(
            f"A partner is a slice, or an embedding of {encoder.output.shape[1]} numbers, not all 0; received the "
            f"shape {partner.shape}."
        )
    return prototype_view(encoder, unit(partner)[None])


@functools.lru_cache(maxsize=_ENCODERS)
def _encoder(folder: str, sha256: str, siamese: bool) -> "keras.Model":
    import keras

    from core.models.parts import FEATURES, encoder_of

    flat = encoder_of(inference.loaded_model(folder, sha256))
    return flat if siamese else keras.Model(flat.input, flat.get_layer(FEATURES).output)
