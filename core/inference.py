"""Asking a trained model: answers, Monte-Carlo samples and heatmaps.

Two halves. Whoever must stay free of TensorFlow asks an `InferenceWorker`, a warm child process. Whoever has it
loaded anyway, such as the training process, calls the ``…_local`` functions, which the child calls as well.
Nothing of Keras is imported before one of these is called.
"""

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core import bundle as bundles
from core import errors
from core.calibration import apply_temperature
from core.child import Child, serve
from core.errors import ChildDied, ChildError, InputError
from core.explanations.badge import Badge
from core.explanations.jury import JURY_FILE, Jury, unit
from core.explanations.question import LAYERED, SLOW, Maps, Question
from core.settings import get_settings

if TYPE_CHECKING:
    import keras

#: Slices that go through a network at once.
BATCH = 64
#: Slices of one request to the worker, so that its time limit holds for any number of slices.
REQUEST = 8 * BATCH
#: Models, and views of them, that stay loaded.
_LOADED, _VIEWS = 4, 16
#: Weight-randomised twins that a map is compared with; one alone may be alike by chance.
_TWINS = 2
#: What a map is of that asks what makes a slice like another.
PARTNER = "its partner"


@dataclass(frozen=True)
class Prediction:
    """A model's answer for n slices.

    Attributes
    ----------
    heads : dict of ndarray of float32, shape (n, classes)
        Probabilities, calibrated by the card's temperature.
    classes : dict of list of str
        Names of each head's columns.
    embeddings : ndarray of float32, shape (n, d)
        Pooled features; of a Siamese model the embedding.
    """

    heads: dict[str, np.ndarray]
    classes: dict[str, list[str]]
    embeddings: np.ndarray


# The half without TensorFlow ------------------------------------------------------------------------------


class InferenceWorker:
    """A warm child process that answers; started on first need and again whenever it has died.

    Every method raises `core.errors.ChildTimeout` when ``predict_timeout_s`` of the settings is passed,
    `core.errors.ChildDied` when the child dies twice over one request, and whatever `CoreError` the ``…_local``
    function of the same name raises.
    """

    def __init__(self):
        self._child = Child("core.inference", env=_environment())

    @property
    def pid(self) -> int | None:
        """Process id of the live child, or None."""
        return self._child.pid

    def predict(self, bundle: Path, images: np.ndarray) -> Prediction:
        """Answer for slices; see `predict_local`."""
        parts = [
            self._ask("predict", bundle, {"images": images[start : start + REQUEST]})
            for start in range(0, max(1, len(images)), REQUEST)
        ]
        classes = parts[0][0]["classes"]
        joined = {name: np.concatenate([arrays[name] for _, arrays in parts]) for name in parts[0][1]}
        return Prediction({head: joined[f"head {head}"] for head in classes}, classes, joined["embeddings"])

    def mc_samples(self, bundle: Path, images: np.ndarray, n_samples: int, seed: int = 0) -> dict[str, np.ndarray]:
        """Draw Monte-Carlo samples; see `mc_samples_local`."""
        return self._ask("mc_samples", bundle, {"images": images}, n_samples=n_samples, seed=seed)[1]

    def explain(
        self, bundle: Path, images: np.ndarray, question: Question, partner: np.ndarray | None = None
    ) -> Maps:  # fmt: skip
        """Make heatmaps of slices, within ``explain_timeout_s`` of the settings a request; see `explain_local`."""
        at_once = 1 if question.method in SLOW else max(1, BATCH // max(1, question.passes))
        limit, asked = get_settings().explain_timeout_s, asdict(question)
        other = {} if partner is None else {"partner": partner}
        parts = [
            self._ask("explain", bundle, {"images": images[start : start + at_once], **other}, limit, question=asked)
            for start in range(0, max(1, len(images)), at_once)
        ]
        joined = {name: np.concatenate([arrays[name] for _, arrays in parts]) for name in parts[0][1]}
        targets = tuple(target for header, _ in parts for target in header["targets"])
        header = parts[0][0]
        return Maps(joined["heat"], targets, header["layer"], tuple(header["layers"]), joined.get("spread"))

    def layers(self, bundle: Path, head: str) -> tuple[str, ...]:
        """Name the layers that maps of a head can be made at; see `layers_local`."""
        return tuple(self._ask("layers", bundle, {}, head=head)[0]["layers"])

    def badge(self, bundle: Path, images: np.ndarray, question: Question) -> list[Badge]:
        """Say of maps whether they may be believed; see `badge_local`."""
        # A slice a request, so that a map which somebody waits for need not wait for all of them.
        answers = [
            self._ask("badge", bundle, {"images": image[None]}, question=asdict(question))[0]["badges"][0]
            for image in images
        ]
        return [Badge.of(**answer) for answer in answers]

    def stop(self) -> None:
        """End what the child is answering, from another thread: there it raises `core.errors.ChildStopped`."""
        self._child.stop()

    def close(self) -> None:
        """End the child; the next question starts a new one."""
        self._child.close()

    def _ask(self, do: str, bundle: Path, arrays: dict[str, np.ndarray], timeout_s: float | None = None, **more: Any):
        timeout_s = timeout_s or get_settings().predict_timeout_s
        header = {"do": do, "bundle": str(Path(bundle).resolve()), **more}
        arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        try:
            try:
                return self._child.request(header, arrays, timeout_s)
            except ChildDied:
                # Somebody, or the system, ended it while it was idle: that is no fault of this question.
                return self._child.request(header, arrays, timeout_s)
        except ChildError as error:
            kind = getattr(error, "kind", None)
            if kind is None:
                raise
            raise getattr(errors, kind, ChildError)(str(error)) from None


def get_worker() -> InferenceWorker:
    """Return this process's worker; its child starts on first use."""
    return _worker(str(get_settings().workspace), "answers")


def get_explainer() -> InferenceWorker:
    """Return this process's worker for maps, a child of its own: a slow map must not hold up answers."""
    return _worker(str(get_settings().workspace), "maps")


@functools.lru_cache(maxsize=2)
def _worker(workspace: str, work: str) -> InferenceWorker:
    # A child knows the bundles of the workspace that it was started with; forgotten, it ends with its pipe.
    return InferenceWorker()


def _environment() -> dict[str, str]:
    """What TensorFlow and Keras read when they are imported.

    Whatever backend trains, TensorFlow answers: heatmaps need it, and it opens every backend's bundles.
    """
    level = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3")
    return {"TF_CPP_MIN_LOG_LEVEL": level, "KERAS_BACKEND": "tensorflow"}


# The half that loads Keras when called --------------------------------------------------------------------


def predict_local(bundle: Path, images: np.ndarray, calibrated: bool = True) -> Prediction:
    """Answer for slices in this process.

    Parameters
    ----------
    bundle : Path
        A registered bundle, see `core.bundle.load`.
    images : ndarray, shape (n, S, S)
        From `core.images.to_model_input`, with the S of the card's input_shape.
    calibrated : bool
        Whether the card's temperatures are applied.

    Returns
    -------
    Prediction

    Raises
    ------
    BundleError
        When the bundle cannot be loaded, or a Siamese one has no jury yet.
    InputError
        For images of another shape, or that are not finite.
    """
    card = bundles.read_card(bundle)
    raw, _, embeddings = forward(bundle, images)
    if calibrated:
        raw = {head: apply_temperature(proba, _temperature(card, head)) for head, proba in raw.items()}
    return Prediction(raw, card["classes"], embeddings)


def forward(
    bundle: Path, images: np.ndarray, stored: bool = False
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Send slices through a network once.

    Parameters
    ----------
    bundle : Path
    images : ndarray, shape (n, S, S)
    stored : bool
        Whether features are taken from the workspace's store and kept there, as what is asked again wants them.

    Returns
    -------
    heads : dict of ndarray of float32, shape (n, classes)
        Uncalibrated probabilities.
    features : ndarray of float32, shape (n, d)
        Pooled output of the backbone.
    embeddings : ndarray of float32, shape (n, e)
        The same, or a Siamese model's embedding.
    """
    card = bundles.read_card(bundle)
    images = _checked(images, card)
    if stored:
        heads, features = _forward_stored(bundle, images, card)
    else:
        *heads, features = _forward(_network(*_key(bundle, card)), images, bool(card.get("mirrored")))
    if card["kind"] != "siamese":
        return dict(zip(card["classes"], heads, strict=True)), features, features
    (head,) = card["classes"]
    return {head: Jury.load(bundle).probabilities(heads[0])}, features, heads[0]


def _forward(network: "keras.Model", images: np.ndarray, mirrored: bool) -> list[np.ndarray]:
    ask = network.predict_on_batch
    if mirrored:
        ask = functools.partial(mirrored_mean, ask)
    outputs = [np.empty((len(images), tensor.shape[-1]), np.float32) for tensor in network.outputs]
    for start in range(0, len(images), BATCH):
        for output, answer in zip(outputs, ask(images[start : start + BATCH, ..., None]), strict=True):
            output[start : start + BATCH] = answer
    return outputs


def _forward_stored(bundle: Path, images: np.ndarray, card: dict[str, Any]) -> tuple[list[np.ndarray], np.ndarray]:
    from core.learning import features
    from core.models.parts import encoder_of

    return features.forward(encoder_of(_model(*_key(bundle, card))), images, bool(card.get("mirrored")))


def mirrored_mean(ask: Callable[[np.ndarray], list[np.ndarray]], images: np.ndarray) -> list[np.ndarray]:
    """Ask about slices and about their mirror images, and take the mean of each output.

    For models whose card says ``mirrored``: left and right say nothing about plane and sequence, and two looks err
    less than one.

    Parameters
    ----------
    ask : callable
        Images to a list of outputs.
    images : ndarray, shape (n, rows, columns, 1)

    Returns
    -------
    list of ndarray
    """
    return [(one + other) / 2 for one, other in zip(ask(images), ask(images[:, :, ::-1]), strict=True)]


def mc_samples_local(
    bundle: Path, images: np.ndarray, n_samples: int, seed: int = 0, from_features: bool = False
) -> dict[str, np.ndarray]:
    """Draw class probabilities with dropout on, in this process.

    Parameters
    ----------
    bundle : Path
    images : ndarray, shape (n, S, S)
        Or (n, d), features from `forward`, with `from_features`.
    n_samples : int
        Passes T.
    seed : int
        One seed gives the same samples each time.
    from_features : bool

    Returns
    -------
    dict of ndarray of float32, shape (n, T, classes)
        A head each; calibrated by the temperature that was fitted without dropout.

    Raises
    ------
    ConfigError
        When the model has no Monte-Carlo dropout.
    BundleError, InputError
        As `predict_local`.
    """
    from core.models.mc_dropout import sample
    from core.models.parts import encoder_of

    card = bundles.read_card(bundle)
    features = images if from_features else forward(bundle, images)[1]
    samples = sample(encoder_of(_model(*_key(bundle, card))), features, n_samples, seed, from_features=True)
    if card["kind"] == "siamese":
        ((head, embeddings),) = zip(card["classes"], samples.values(), strict=True)
        samples = {head: Jury.load(bundle).probabilities(embeddings)}
    return {head: apply_temperature(p, _temperature(card, head)) for head, p in samples.items()}


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
        embeddings (pooled features, of a model that is not Siamese); the question's target is not used, and
        `Maps.targets` says `PARTNER`.

    Returns
    -------
    Maps

    Raises
    ------
    BundleError, InputError
        As `predict_local`; also for a head, class, layer or method that there is not.
    """
    from core.explanations.methods import made
    from core.explanations.scores import map_layers

    card = bundles.read_card(bundle)
    images = _checked(images, card)
    classes = _checked_classes(card, question)
    if partner is None:
        view = _view(*_key(bundle, card), question.head, _stamp(bundle))
    else:
        view, classes = _partner_view(bundle, card, partner), [PARTNER, f"not {PARTNER}"]
    layer = question.layer or card.get("cam_layer", "")
    if partner is not None:
        chosen = np.zeros(len(images), int)
    elif question.target is None:
        chosen = np.argmax(forward(bundle, images)[0][question.head], axis=1)
    else:
        chosen = np.full(len(images), classes.index(question.target))
    against = None if question.against is None else np.full(len(images), classes.index(question.against))
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
    from core.explanations.scores import map_layers

    return tuple(map_layers(_view(*_key(bundle, bundles.read_card(bundle)), head, _stamp(bundle))))


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
    return [Badge.of(**found) for found in _measured(bundle, images, question)]


def _measured(bundle: Path, images: np.ndarray, question: Question) -> list[dict[str, Any]]:
    """What `Badge.of` is given, slice by slice."""
    from core.explanations import sanity
    from core.explanations.methods import made

    card = bundles.read_card(bundle)
    maps = explain_local(bundle, images, question)
    classes = card["classes"][question.head]
    rival = None if question.against is None else classes.index(question.against)
    key = (*_key(bundle, card), question.head, _stamp(bundle))
    view = _view(*key)

    def make(view: "keras.Model", images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        against = None if rival is None else np.full(len(chosen), rival)
        return made(question, view, images, chosen, maps.layer, against, bool(card.get("mirrored")))[0]

    found = sanity.measure(
        make, view, [_twin_view(*key, seed) for seed in range(_TWINS)], _checked(images, card), maps.heat,
        np.array([classes.index(target) for target in maps.targets]), rival,
        sanity.spill_of(view, maps.layer) if question.method in LAYERED else 0.0,
    )  # fmt: skip
    return [
        {"target": target, "values": found.values(row), "empty": not maps.heat[row].any()}
        for row, target in enumerate(maps.targets)
    ]


def _checked(images: np.ndarray, card: dict[str, Any]) -> np.ndarray:
    size = card["input_shape"][0]
    images = np.asarray(images, np.float32)
    if images.ndim != 3 or images.shape[1:] != (size, size):
        raise InputError(f"This model wants slices of the shape (n, {size}, {size}); received {images.shape}.")
    if not np.isfinite(images).all():
        raise InputError("A slice holds values that are not finite (NaN or infinity).")
    return images


def _temperature(card: dict[str, Any], head: str) -> float:
    return card.get("temperature", {}).get(head, 1.0)


def _key(bundle: Path, card: dict[str, Any]) -> tuple[str, str]:
    """What a loaded model is remembered by: a folder whose model was replaced is loaded again."""
    return str(bundle), card["sha256"]


def _stamp(bundle: Path) -> int:
    path = Path(bundle) / JURY_FILE
    return path.stat().st_mtime_ns if path.exists() else 0


@functools.lru_cache(maxsize=_LOADED)
def _model(folder: str, sha256: str) -> "keras.Model":
    return bundles.load(Path(folder))


@functools.lru_cache(maxsize=_LOADED)
def _network(folder: str, sha256: str) -> "keras.Model":
    """The flat model with its pooled features as a last output."""
    import keras

    from core.models.parts import FEATURES, encoder_of

    flat = encoder_of(_model(folder, sha256))
    return keras.Model(flat.input, [*flat.outputs, flat.get_layer(FEATURES).output])


@functools.lru_cache(maxsize=_VIEWS)
def _view(folder: str, sha256: str, head: str, jury_stamp: int) -> "keras.Model":
    """The flat model with the scores of one head alone, as explainers want it."""
    from core.explanations.scores import logits_view, prototype_view
    from core.models.parts import encoder_of

    model = _model(folder, sha256)
    flat = encoder_of(model)
    return logits_view(model, head) if flat is model else prototype_view(flat, Jury.load(Path(folder)).prototypes)


@functools.lru_cache(maxsize=2 * _TWINS)
def _twin_view(folder: str, sha256: str, head: str, jury_stamp: int, random_state: int) -> "keras.Model":
    """The same of a weight-randomised twin; a Siamese twin keeps the prototypes, which are no weights of it."""
    from core.explanations.scores import logits_view, prototype_view
    from core.explanations.twin import twin_of
    from core.models.parts import encoder_of

    model = _model(folder, sha256)
    twin = twin_of(encoder_of(model), random_state)
    if encoder_of(model) is model:
        return logits_view(twin, head)
    return prototype_view(twin, Jury.load(Path(folder)).prototypes)


def _partner_view(bundle: Path, card: dict[str, Any], partner: np.ndarray) -> "keras.Model":
    """A model's embedding as one score: how like it is to a partner's, a slice (S, S) or an embedding (d,)."""
    from core.explanations.scores import prototype_view

    partner = np.asarray(partner, np.float32)
    if partner.ndim == 2:
        partner = forward(bundle, partner[None])[2][0]
    encoder = _encoder(*_key(bundle, card), card["kind"] == "siamese")
    if partner.shape != encoder.output.shape[1:] or not np.isfinite(partner).all() or not partner.any():
        raise InputError(
            f"A partner is a slice, or an embedding of {encoder.output.shape[1]} numbers, not all 0; received the "
            f"shape {partner.shape}."
        )
    partner = unit(partner)
    # Score-CAM takes a softmax over the outputs, which of one alone is always 1.
    return prototype_view(encoder, np.stack([partner, -partner]))


@functools.lru_cache(maxsize=_LOADED)
def _encoder(folder: str, sha256: str, siamese: bool) -> "keras.Model":
    import keras

    from core.models.parts import FEATURES, encoder_of

    flat = encoder_of(_model(folder, sha256))
    return flat if siamese else keras.Model(flat.input, flat.get_layer(FEATURES).output)


# The child ------------------------------------------------------------------------------------------------


def _answer_predict(header, arrays):
    answer = predict_local(Path(header["bundle"]), arrays["images"])
    heads = {f"head {head}": proba for head, proba in answer.heads.items()}
    return {"classes": answer.classes}, {**heads, "embeddings": answer.embeddings}


def _answer_mc_samples(header, arrays):
    samples = mc_samples_local(Path(header["bundle"]), arrays["images"], header["n_samples"], header["seed"])
    return {}, samples


def _answer_explain(header, arrays):
    maps = explain_local(
        Path(header["bundle"]), arrays["images"], Question(**header["question"]), arrays.get("partner")
    )
    arrays = {"heat": maps.heat} if maps.spread is None else {"heat": maps.heat, "spread": maps.spread}
    return {"targets": maps.targets, "layer": maps.layer, "layers": maps.layers}, arrays


def _answer_layers(header, arrays):
    return {"layers": layers_local(Path(header["bundle"]), header["head"])}, {}


def _answer_badge(header, arrays):
    badges = _measured(Path(header["bundle"]), arrays["images"], Question(**header["question"]))
    return {"badges": badges}, {}


@contextmanager
def _no_banner() -> Iterator[None]:
    """Swallow what TensorFlow's C++ half prints on loading, which no log level reaches."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def main() -> None:
    """Serve as the child of an `InferenceWorker`."""
    with _no_banner():
        from core import backend_tensorflow
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    backend_tensorflow.limit_threads(cores)
    # Trainings may have several; one is enough to answer.
    backend_tensorflow.choose_device(get_settings().device.split(",")[0])
    serve(
        {
            "predict": _answer_predict,
            "mc_samples": _answer_mc_samples,
            "explain": _answer_explain,
            "layers": _answer_layers,
            "badge": _answer_badge,
        }
    )


if __name__ == "__main__":
    main()
