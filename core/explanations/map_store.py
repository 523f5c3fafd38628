"""Maps that were made before, on disk: by model, jury, question and the content of what the model sees.

They lie in the workspace's store of features (`core.learning.feature_store`): checksummed, damaged ones dropped and
made again, all together within ``cache_mb`` of the settings.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import numpy as np

from core import bundle as bundles
from core.batches import content_keys
from core.explanations.jury import called_at
from core.explanations.question import Maps, Question
from core.learning import feature_store

#: Makes maps of slices (n, S, S); `core.inference.InferenceWorker.explain` does.
Make = Callable[[Path, np.ndarray, Question], Maps]


def maps(bundle: Path, images: np.ndarray, question: Question, make: Make) -> Maps:
    """Give maps of slices, making only those that are not kept yet.

    Parameters
    ----------
    bundle : Path
    images : ndarray, shape (n, S, S)
        From `core.images.to_model_input`.
    question : Question
    make : callable
        Called with the slices that no map is kept of.

    Returns
    -------
    Maps
        As `make` gives them, in half precision; ``layers`` holds the layer of the maps alone.
    """
    card = bundles.read_card(bundle)
    classes = card["classes"].get(question.head, [])

    def compute(positions: np.ndarray) -> np.ndarray:
        made = make(bundle, images[positions], question)
        planes = [made.heat] if made.spread is None else [made.heat, made.spread]
        flat = np.concatenate([plane.reshape(len(positions), -1) for plane in planes], axis=1)
        # One array a slice is what the store holds, so the class stands in front of its map.
        return np.column_stack([[classes.index(name) for name in made.targets], flat]).astype(np.float16)

    keys = [f"{key}-{_stands_for(question)}" for key in content_keys(images)]
    rows = feature_store.shared(_name(bundle, card["sha256"], question), keys, compute)
    planes = rows[:, 1:].astype(np.float32).reshape(len(images), -1, *images.shape[1:])
    layer = question.layer or card.get("cam_layer", "")
    return Maps(
        planes[:, 0], tuple(classes[int(at)] for at in rows[:, 0]), layer, (layer,),
        spread=planes[:, 1] if planes.shape[1] > 1 else None,
    )  # fmt: skip


def stamp(bundle: Path) -> str:
    """Name what answers: another model, or another jury of a Siamese one, has another name."""
    return _model(bundle, bundles.read_card(bundle)["sha256"])


def _model(bundle: Path, sha256: str) -> str:
    return f"{sha256[:24]}-{called_at(bundle)}"


def _name(bundle: Path, sha256: str, question: Question) -> str:
    # Arrays of one store have one shape, and a map with its spread is two.
    return f"maps-{_model(bundle, sha256)}-{_recipe()}" + ("-spread" if question.passes else "")


def _stands_for(question: Question) -> str:
    return json.dumps(asdict(question), sort_keys=True)


@lru_cache(maxsize=1)
def _recipe() -> str:
    """Name how maps are made: a change of it must not be answered from the store."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:12]
