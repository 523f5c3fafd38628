"""The desks of this process: for maps, for badges and for answers, each with what its thread does."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from core import inference
from core.child import interrupt
from core.errors import ChildStopped, ChildTimeout, CoreError
from core.explanations import map_store
from core.explanations.desk import Answered, Ask, Desk, Failed, Judged, Layers, Made, Named, Result
from core.explanations.question import Question
from core.images import Geometry
from core.settings import get_settings


def make_maps(batch: Sequence[Ask]) -> list[Result | None]:
    """Read slices, and give the map of each that can be read: kept ones from disk, the others by the explainer."""
    if isinstance(batch[0].question, Layers):
        nothing = {at: (np.empty(0), None) for at in range(len(batch))}
        return list(_tried(batch, nothing, list(nothing), _layers).values())
    return _each(batch, _maps)


def make_badges(batch: Sequence[Ask]) -> list[Result | None]:
    """Read slices, and check whether the maps of them may be believed."""
    return _each(batch, _badges)


def make_answers(batch: Sequence[Ask]) -> list[Result | None]:
    """Read slices, and ask the model what each is."""
    return _each(batch, _answers)


def _each(batch: Sequence[Ask], make: Callable) -> list[Result | None]:
    results: dict[int, Result | None] = {}
    read = {}
    for at, ask in enumerate(batch):
        try:
            read[at] = ask.read()
        except CoreError as error:
            results[at] = Failed(f"This slice cannot be read: {error}")
    if read:
        results |= _tried(batch, read, list(read), make)
    return [results[at] for at in range(len(batch))]


def _tried(batch: Sequence[Ask], read: dict, part: list[int], make: Callable) -> dict[int, Result | None]:
    try:
        made = make(batch[part[0]], np.stack([read[at][0] for at in part]), [read[at][1] for at in part])
        return dict(zip(part, made, strict=True))
    except ChildStopped:
        return dict.fromkeys(part)
    except ChildTimeout as error:
        if not isinstance(batch[0].question, Question):
            return dict.fromkeys(part, Failed(str(error)))
        limit = get_settings().explain_timeout_s
        return dict.fromkeys(part, Failed(
            f"It took longer than {limit:g} s and was stopped. Choose a faster method, fewer passes or a coarser "
            "layer, or raise SLICESCOPE_EXPLAIN_TIMEOUT_S."
        ))  # fmt: skip
    except CoreError as error:
        if len(part) == 1:
            return {part[0]: Failed(str(error))}
    # One of several was refused; the others must not go with it.
    return {at: result for one in part for at, result in _tried(batch, read, [one], make).items()}


def _maps(ask: Ask, images: np.ndarray, geometries: Sequence[Geometry]) -> list[Result]:
    found = map_store.maps(ask.bundle, images, ask.question, inference.get_explainer().explain)
    heat = found.heat.astype(np.float16)
    spread = [None] * len(images) if found.spread is None else found.spread.astype(np.float16)
    return [Made(*one, found.layer) for one in zip(heat, spread, geometries, found.targets, strict=True)]


def _badges(ask: Ask, images: np.ndarray, geometries: Sequence[Geometry]) -> list[Result]:
    return [Judged(badge) for badge in inference.get_explainer().badge(ask.bundle, images, ask.question)]


def _layers(ask: Ask, *_: object) -> list[Result]:
    return [Named(inference.get_explainer().layers(ask.bundle, ask.question.head))]


def _answers(ask: Ask, images: np.ndarray, geometries: Sequence[Geometry]) -> list[Result]:
    heads = inference.get_worker().predict(ask.bundle, images).heads
    return [Answered({head: proba[at] for head, proba in heads.items()}) for at in range(len(images))]


def maps_desk() -> Desk:
    """Return this process's desk for maps."""
    return _desk(str(get_settings().workspace), "maps")


def badges_desk() -> Desk:
    """Return this process's desk for badges."""
    return _desk(str(get_settings().workspace), "badges")


def answers_desk() -> Desk:
    """Return this process's desk for answers."""
    return _desk(str(get_settings().workspace), "answers")


@lru_cache(maxsize=6)
def _desk(workspace: str, what: str) -> Desk:
    if what == "maps":
        return Desk(make_maps, lambda: inference.get_explainer().stop())
    if what == "badges":
        # The process makes maps, too. A badge is left off between its steps, which costs no fresh start.
        return Desk(make_badges, lambda: interrupt(inference.get_explainer().pid), grace_s=0.0)
    # They take a moment, and others may be asking the same process.
    return Desk(make_answers, lambda: None)
