"""Maps that were made before: kept by model, question and content, and made again when what was kept is damaged."""

import json
from dataclasses import replace

import numpy as np
import pytest

from core.explanations import map_store
from core.explanations.question import Maps, Question
from core.settings import get_settings


@pytest.fixture
def bundle(workspace, tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    card = {
        "name": "m",
        "kind": "transfer",
        "classes": {"plane": ["axial", "coronal"]},
        "cam_layer": "last",
        "sha256": "a" * 64,
    }
    (folder / "card.json").write_text(json.dumps(card))
    return folder


@pytest.fixture
def maker():
    """Make maps that tell slices and targets apart, and note how many were asked for."""
    asked = []

    def make(bundle, images, question):
        asked.append(len(images))
        spread = images / 4 if question.passes else None
        return Maps(images / 2, tuple("coronal" if one.mean() > 0.5 else "axial" for one in images), "last", (), spread)

    make.asked = asked
    return make


IMAGES = np.stack([np.full((8, 8), value, np.float32) for value in (0.25, 0.75, 0.5)])
QUESTION = Question("plane")


def test_only_what_is_new_is_made(bundle, maker):
    first = map_store.maps(bundle, IMAGES[:2], QUESTION, maker)
    again = map_store.maps(bundle, IMAGES, QUESTION, maker)
    assert maker.asked == [2, 1]
    np.testing.assert_allclose(again.heat, IMAGES / 2, atol=1e-3)
    assert again.targets == ("axial", "coronal", "axial") and first.targets == again.targets[:2]
    assert again.layer == "last" and again.spread is None


@pytest.mark.parametrize(
    "question", [Question("plane", "axial"), Question("plane", method="saliency"), Question("plane", layer="first")]
)
def test_another_question_has_another_map(bundle, maker, question):
    map_store.maps(bundle, IMAGES, QUESTION, maker)
    map_store.maps(bundle, IMAGES, question, maker)
    assert maker.asked == [3, 3]


def test_another_model_or_jury_has_another_map(bundle, maker):
    map_store.maps(bundle, IMAGES, QUESTION, maker)
    was = map_store.stamp(bundle)
    (bundle / "jury.npz").write_bytes(b"x")
    assert map_store.stamp(bundle) != was
    map_store.maps(bundle, IMAGES, QUESTION, maker)
    card = json.loads((bundle / "card.json").read_text())
    (bundle / "card.json").write_text(json.dumps({**card, "sha256": "b" * 64}))
    map_store.maps(bundle, IMAGES, QUESTION, maker)
    assert maker.asked == [3, 3, 3]


def test_the_spread_over_passes_is_kept_with_its_mean(bundle, maker):
    question = replace(QUESTION, passes=8)
    map_store.maps(bundle, IMAGES, QUESTION, maker)
    map_store.maps(bundle, IMAGES, question, maker)
    kept = map_store.maps(bundle, IMAGES, question, maker)
    assert maker.asked == [3, 3]
    np.testing.assert_allclose(kept.spread, IMAGES / 4, atol=1e-3)
    # One kind of array must not drive out the other.
    map_store.maps(bundle, IMAGES, QUESTION, maker)
    assert maker.asked == [3, 3]


@pytest.mark.parametrize("harm", [lambda data: data[:-7], lambda data: data[:-7] + b"\xff" * 7, lambda data: b"junk"])
def test_damaged_maps_are_made_again(bundle, maker, harm):
    map_store.maps(bundle, IMAGES, QUESTION, maker)
    (chunk,) = get_settings().features_dir.rglob("*.chunk")
    chunk.write_bytes(harm(chunk.read_bytes()))
    again = map_store.maps(bundle, IMAGES, QUESTION, maker)
    assert sum(maker.asked) > 3
    np.testing.assert_allclose(again.heat, IMAGES / 2, atol=1e-3)
