"""Asking a trained model: answers, Monte-Carlo samples and heatmaps.

Two halves. Whoever must stay free of TensorFlow asks an `InferenceWorker`, a warm child process
(`core.inference_child`). Whoever has it loaded anyway, such as the training process, calls the ``…_local`` functions,
which the child calls as well; those for heatmaps stand in `core.explanations.in_process`. Nothing of Keras is imported
before one of these is called.
"""

import functools
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core import bundle as bundles
from core import errors
from core.batches import as_floats
from core.calibration import apply_temperature
from core.child import Child
from core.errors import ChildDied, ChildError, InputError
from core.explanations.badge import Badge
from core.explanations.jury import Jury
from core.explanations.question import SLOW, Maps, Question
from core.settings import get_settings

if TYPE_CHECKING:
    import keras

#: Slices that go through a network at once.
BATCH = 64
#: Slices of one request to the worker, so that its time limit holds for any number of slices.
REQUEST = 8 * BATCH
#: Models that stay loaded.
_LOADED = 4


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
        self._child = Child("core.inference_child", env=_environment())

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
        """Make heatmaps of slices, within ``explain_timeout_s`` a request; see `in_process.explain_local`."""
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
        """Name the layers that maps of a head can be made at; see `in_process.layers_local`."""
        return tuple(self._ask("layers", bundle, {}, head=head)[0]["layers"])

    def badge(self, bundle: Path, images: np.ndarray, question: Question) -> list[Badge]:
        """Say of maps whether they may be believed; see `in_process.badge_local`."""
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
        As `core.batches.as_floats` takes it.
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
    images = checked_images(images, card)
    if stored:
        heads, features = _forward_stored(bundle, images, card)
    else:
        *heads, features = _forward(_network(*model_key(bundle, card)), images, bool(card.get("mirrored")))
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
        part = as_floats(images[start : start + BATCH])[..., None]
        for output, answer in zip(outputs, ask(part), strict=True):
            output[start : start + BATCH] = answer
    return outputs


def _forward_stored(bundle: Path, images: np.ndarray, card: dict[str, Any]) -> tuple[list[np.ndarray], np.ndarray]:
    from core.learning import features
    from core.models.parts import encoder_of

    return features.forward(encoder_of(loaded_model(*model_key(bundle, card))), images, bool(card.get("mirrored")))


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
    samples = sample(encoder_of(loaded_model(*model_key(bundle, card))), features, n_samples, seed, from_features=True)
    if card["kind"] == "siamese":
        ((head, embeddings),) = zip(card["classes"], samples.values(), strict=True)
        samples = {head: Jury.load(bundle).probabilities(embeddings)}
    return {head: apply_temperature(p, _temperature(card, head)) for head, p in samples.items()}


def checked_images(images: np.ndarray, card: dict[str, Any]) -> np.ndarray:
    """Return slices (n, S, S) as float32, or in eight bits as they came; refuse what the model cannot be asked."""
    size = card["input_shape"][0]
    images = np.asarray(images)
    grey = images.dtype == np.uint8
    images = images if grey else images.astype(np.float32, copy=False)
    if images.ndim != 3 or images.shape[1:] != (size, size):
        raise InputError(f"This model wants slices of the shape (n, {size}, {size}); received {images.shape}.")
    if not grey and not np.isfinite(images).all():
        raise InputError("A slice holds values that are not finite (NaN or infinity).")
    return images


def _temperature(card: dict[str, Any], head: str) -> float:
    return card.get("temperature", {}).get(head, 1.0)


def model_key(bundle: Path, card: dict[str, Any]) -> tuple[str, str]:
    """What a loaded model is remembered by: a folder whose model was replaced is loaded again."""
    return str(bundle), card["sha256"]


@functools.lru_cache(maxsize=_LOADED)
def loaded_model(folder: str, sha256: str) -> "keras.Model":
    return bundles.load(Path(folder))


@functools.lru_cache(maxsize=_LOADED)
def _network(folder: str, sha256: str) -> "keras.Model":
    """The flat model with its pooled features as a last output."""
    import keras

    from core.models.parts import FEATURES, encoder_of

    flat = encoder_of(loaded_model(folder, sha256))
    return keras.Model(flat.input, [*flat.outputs, flat.get_layer(FEATURES).output])
