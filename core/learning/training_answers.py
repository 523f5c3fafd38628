"""How a model in training is asked about slices that it does not learn from, after each epoch."""

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
from keras import ops

from core.backend_tensorflow import shared_by
from core.batches import as_floats
from core.explanations.jury import unit
from core.learning.sharing import predict

#: Slices that go through a whole network at a time, and through a head.
BATCH, HEAD_BATCH = 64, 4096
#: Training slices of a class, at most, that stand for it when a Siamese network is asked.
PROTOTYPE_SLICES = 32

#: Head to class numbers (n,); None when the work was stopped meanwhile.
Ask = Callable[[], dict[str, np.ndarray] | None]


def in_chunks(head: keras.Model, features: np.ndarray) -> list[np.ndarray]:
    """Ask a small model (n, d) → each output (n, …), without Keras' own loop, which takes longer than its epochs."""
    parts = []
    for start in range(0, max(1, len(features)), HEAD_BATCH):
        out = head(features[start : start + HEAD_BATCH], training=False)
        parts.append([ops.convert_to_numpy(one) for one in (out if isinstance(out, list | tuple) else [out])])
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def by_batches(
    model: keras.Model, images: np.ndarray, cancelled: Callable[[], bool] = lambda: False
) -> list[np.ndarray] | None:
    """Ask a whole network about images (n, size, size); None when `cancelled` says so meanwhile."""
    parts = []
    for start in range(0, len(images), BATCH):
        if cancelled():
            return None
        part = as_floats(images[start : start + BATCH])[..., None]
        out = model.predict_on_batch(part) if shared_by() == 1 else predict(model, part)
        parts.append(out if isinstance(out, list | tuple) else [out])
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def head_ask(answer: Callable[[], list[np.ndarray] | None], heads: Sequence[str] | Mapping[str, object]) -> Ask:
    """Return a question that takes the likeliest class of each head.

    Parameters
    ----------
    answer : callable
        Returns each head's probabilities (n, classes).
    heads : sequence of str
        In the order of the model's outputs.
    """

    def ask() -> dict[str, np.ndarray] | None:
        proba = answer()
        return proba and {head: one.argmax(axis=1) for head, one in zip(heads, proba, strict=True)}

    return ask


def prototype_ask(
    embed: Callable[[np.ndarray], list[np.ndarray] | None],
    known: np.ndarray,
    y: np.ndarray,
    classes: Mapping[str, Sequence[str]],
    asked: np.ndarray,
) -> Ask:
    """Return a question that names the class whose training slices lie nearest on average.

    The jury itself is called only when the run is evaluated: choosing it takes all training slices.

    Parameters
    ----------
    embed : callable
        Features or images (m, …) to a list with their embeddings (m, e).
    known : ndarray, shape (k, …)
        Training slices, as `embed` takes them.
    y : ndarray of int, shape (k,)
        Their class numbers; -1 for none.
    classes : dict of sequence of str
        The head's name and its classes.
    asked : ndarray, shape (n, …)
    """
    ((head, names),) = classes.items()
    members = [np.flatnonzero(y == number) for number in range(len(names))]
    few = [
        rows[np.unique(np.linspace(0, len(rows) - 1, PROTOTYPE_SLICES).astype(int))] for rows in members if len(rows)
    ]
    numbers = np.array([number for number, rows in enumerate(members) if len(rows)])
    ends = np.cumsum([len(rows) for rows in few])
    shown = np.concatenate([known[np.concatenate(few)], asked])

    def ask() -> dict[str, np.ndarray] | None:
        answer = embed(shown)
        if answer is None:
            return None
        *groups, new = np.split(unit(answer[0]), ends)
        prototypes = np.stack([group.mean(axis=0) for group in groups])
        return {head: numbers[(new @ prototypes.T).argmax(axis=1)]}

    return ask
