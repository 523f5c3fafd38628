"""Other things than brains: drawn to learn from, told apart by the card's plane, set apart by `classify`."""

import numpy as np
import pydicom
import pytest
import skimage.data
from pydicom.data import get_testdata_file
from sklearn.metrics import roc_auc_score

from core import bundle, images, inference, novelty
from core.classify import is_other
from core.config import RunConfig
from core.images import MODEL_SIZE
from core.phantom.other import not_a_brain
from core.phantom.render import training_slices
from core.settings import WEIGHTS_DIR


def test_other_things_are_model_input_and_differ():
    drawn = [not_a_brain(np.random.default_rng(seed), 48, np.eye(48, dtype=np.float32)) for seed in range(60)]
    for image in drawn:
        assert (image.shape, image.dtype) == ((48, 48), np.float32)
        assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1
        assert np.ptp(image) > 0.2
    assert len({image.tobytes() for image in drawn}) == 60
    np.testing.assert_array_equal(drawn[3], not_a_brain(np.random.default_rng(3), 48, np.eye(48, dtype=np.float32)))


def test_cards_that_cannot_tell_take_everything_for_a_brain():
    assert novelty.brain_probability(np.zeros((3, 5)), {}).tolist() == [1, 1, 1]
    assert not is_other(np.random.default_rng(0).random((3, 8, 8)), np.zeros((3, 5)), {}).any()


def test_slices_below_the_threshold_and_blank_ones_are_set_apart():
    card = {"brain": {"weight": [1.0], "bias": 0.0, "below": 0.3}}
    pictures = np.random.default_rng(0).random((3, 8, 8))
    pictures[2] = 0.5
    assert is_other(pictures, np.array([[3.0], [-3.0], [3.0]]), card).tolist() == [False, True, True]


def test_threshold_loses_few_brains_and_is_never_very_high():
    proba = np.random.default_rng(0).beta(3, 1, 4000)
    threshold = novelty.brain_threshold(proba, lost=0.01)
    assert (proba < threshold).mean() == pytest.approx(0.01, abs=0.003)
    assert novelty.brain_threshold(np.full(10, 0.99)) == 0.7


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({}, True),
        ({"kind": "bayesian"}, True),
        ({"kind": "siamese"}, False),
        ({"fine_tune_epochs": 1}, False),
        ({"image_size": 64}, False),
        ({"weights": "none"}, False),
    ],
)
def test_runs_on_the_frozen_shipped_backbone_know_what_is_no_brain(monkeypatch, change, taken):
    card = {"input_shape": [MODEL_SIZE, MODEL_SIZE, 1], "brain": {"weight": [1.0], "bias": 0.0, "below": 0.3}}
    monkeypatch.setattr(bundle, "read_card", lambda folder: card)
    config = RunConfig(**{"name": "mine", "kind": "dual", "cohort": "c", **change})
    assert novelty.inherited(config) == ({"brain": card["brain"]} if taken else {})


@pytest.fixture(scope="module")
def strange():
    """Scans of other things, photographs, drawings and noise that come with libraries."""
    pictures = []
    for name in ("CT_small.dcm", "JPEG2000.dcm", "examples_palette.dcm", "693_J2KI.dcm", "RG1_UNCR.dcm"):
        path = get_testdata_file(name, download=False)
        if path:
            pixels = pydicom.dcmread(path).pixel_array
            pictures.append(pixels if pixels.ndim == 2 else pixels[..., 0])
    for name in ("camera", "coins", "moon", "page", "text", "clock", "brick", "grass", "gravel", "cell", "horse"):
        pictures.append(np.asarray(getattr(skimage.data, name)(), float))
    rng = np.random.default_rng(0)
    pictures += [rng.random((64, 64)), np.add.outer(np.arange(64.0), np.arange(64.0)), rng.normal(size=(200, 90))]
    return np.stack([images.to_model_input(picture)[0] for picture in pictures])


@pytest.mark.slow
def test_shipped_model_sets_apart_what_it_never_saw(strange):
    card = bundle.read_card(WEIGHTS_DIR)
    brains = np.stack([image for image, *_ in training_slices(950, 120)])
    proba = [
        novelty.brain_probability(inference.predict_local(WEIGHTS_DIR, pictures).embeddings, card)
        for pictures in (brains, strange)
    ]
    truth = np.repeat([1, 0], [len(brains), len(strange)])
    assert roc_auc_score(truth, np.concatenate(proba)) > 0.95
    assert (proba[0] < card["brain"]["below"]).mean() < 0.03
