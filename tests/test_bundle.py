"""Bundles: what is saved is what is loaded, and nothing else is."""

import json
import zipfile

import keras
import numpy as np
import pytest

from core import bundle
from core.errors import BundleError
from core.settings import get_settings


@pytest.fixture
def folder(workspace):
    return get_settings().runs_dir / "a-run" / "bundle"


def tiny():
    image = keras.Input((16, 16, 1), name="image")
    x = keras.layers.Conv2D(3, 3, name="conv")(image)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(image, keras.layers.Dense(2, activation="softmax", name="plane")(x))


CARD = {"name": "tiny", "kind": "transfer", "classes": {"plane": ["axial", "coronal"]}}


def test_what_is_loaded_answers_like_what_was_saved(folder):
    model = tiny()
    card = bundle.save(model, {**CARD, "scores": {"plane": 0.5}}, folder)
    x = np.random.default_rng(0).random((3, 16, 16, 1))
    np.testing.assert_allclose(bundle.load(folder).predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    assert bundle.read_card(folder) == card
    assert card["input_shape"] == [16, 16, 1]
    assert (card["cam_layer"], card["features_layer"]) == ("conv", "features")
    assert card["temperature"] == {"plane": 1.0}
    assert card["scores"] == {"plane": 0.5}
    assert card["versions"]["keras"] == keras.__version__
    assert "clinical" in card["not_for_clinical_use"]
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "model.keras"]


def test_a_card_can_be_completed_but_not_pointed_at_another_model(folder):
    bundle.save(tiny(), CARD, folder)
    assert bundle.update_card(folder, temperature={"plane": 1.7})["temperature"] == {"plane": 1.7}
    assert bundle.read_card(folder)["temperature"] == {"plane": 1.7}
    bundle.load(folder)
    with pytest.raises(BundleError, match="sha256"):
        bundle.update_card(folder, sha256="0")


def test_models_that_saw_whole_slices_say_so_among_their_limits(folder):
    card = bundle.save(tiny(), {**CARD, "limits": ["Small."]}, folder)
    assert bundle.limits(card) == ["Small."]
    before = {name: value for name, value in card.items() if name != "frame"}
    assert bundle.limits(before)[0] == "Small." and "train it again" in bundle.limits(before)[1]


def test_an_altered_model_is_refused(folder):
    bundle.save(tiny(), CARD, folder)
    with zipfile.ZipFile(folder / "model.keras", "a") as archive:
        archive.writestr("more.txt", "x")
    with pytest.raises(BundleError, match="not the file that its card describes"):
        bundle.load(folder)


def test_only_registered_folders_are_opened(folder, tmp_path):
    bundle.save(tiny(), CARD, folder)
    elsewhere = tmp_path / "upload" / "bundle"
    bundle.save(tiny(), CARD, elsewhere)
    with pytest.raises(BundleError, match="not a registered bundle"):
        bundle.load(elsewhere)
    link = get_settings().runs_dir / "b-run" / "bundle"
    link.parent.mkdir()
    link.symlink_to(elsewhere)
    with pytest.raises(BundleError, match="not a registered bundle"):
        bundle.load(link)
    with pytest.raises(BundleError, match="not a registered bundle"):
        bundle.load(get_settings().runs_dir / "a-run" / ".." / ".." / "bundle")


def test_a_model_that_carries_code_is_refused(folder):
    image = keras.Input((16, 16, 1), name="image")
    x = keras.layers.GlobalAveragePooling2D(name="features")(keras.layers.Conv2D(3, 3)(image))
    bundle.save(keras.Model(image, keras.layers.Lambda(lambda v: v * 2)(x)), CARD, folder)
    with pytest.raises(BundleError, match=r"(?i)lambda"):
        bundle.load(folder)


def test_missing_and_broken_cards_say_so(folder):
    with pytest.raises(BundleError, match="no model card"):
        bundle.load(folder)
    bundle.save(tiny(), CARD, folder)
    (folder / "model.keras").unlink()
    with pytest.raises(BundleError, match=r"no model\.keras"):
        bundle.load(folder)
    (folder / "card.json").write_text("{")
    with pytest.raises(BundleError, match="not JSON"):
        bundle.read_card(folder)
    (folder / "card.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(BundleError, match="lacks"):
        bundle.read_card(folder)
    with pytest.raises(BundleError, match="classes"):
        bundle.save(tiny(), {"name": "x", "kind": "transfer"}, folder)
