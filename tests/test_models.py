"""Every builder on every backbone; Monte-Carlo dropout; where weights come from."""

import subprocess
import sys
import urllib.error

import keras
import numpy as np
import pytest

from core import bundle
from core.config import BACKBONES, KINDS, RunConfig
from core.errors import ConfigError, WeightsUnavailable
from core.images import MODEL_SIZE
from core.models import BUILDERS, backbones, mc_dropout, parts, siamese
from core.settings import PROJECT_DIR, WEIGHTS_DIR

CLASSES = {
    "plane": ["axial", "coronal", "sagittal"],
    "sequence": ["T1", "T2"],
    "plane-sequence": ["axial-T1", "axial-T2"],
}
SIZE = 32
CASES = [(kind, "slicescope") for kind in KINDS] + [("transfer", name) for name in BACKBONES[1:]]


def build(kind: str, backbone: str = "slicescope", **changes):
    values = {"weights": "none", "image_size": SIZE, "label": "plane-sequence", "dropout": 0.5, **changes}
    config = RunConfig("test", kind, "none", backbone=backbone, **values)
    return BUILDERS[kind](config, {head: CLASSES[head] for head in config.heads})


def images(n: int = 4, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(0).random((n, size, size), dtype=np.float32)


def answers(model, x: np.ndarray) -> list[np.ndarray]:
    inputs = [x[..., None], x[::-1, ..., None]] if len(model.inputs) == 2 else x[..., None]
    out = model.predict(inputs, verbose=0)
    return out if isinstance(out, list) else [out]


@pytest.fixture(scope="module")
def built():
    keras.utils.set_random_seed(0)
    return {case: build(*case) for case in CASES}


def test_all_reload_in_another_process_and_predict_the_same(built, tmp_path):
    np.save(tmp_path / "x.npy", images())
    for (kind, backbone), model in built.items():
        model.save(tmp_path / f"{kind}-{backbone}.keras")
    code = f"""
import pathlib, sys, keras, numpy as np
import core.models
folder = pathlib.Path({str(tmp_path)!r})
x = np.load(folder / "x.npy")
for path in folder.glob("*.keras"):
    model = keras.saving.load_model(path, safe_mode=True)
    inputs = [x[..., None], x[::-1, ..., None]] if len(model.inputs) == 2 else x[..., None]
    out = model.predict(inputs, verbose=0)
    np.savez(path.with_suffix(".npz"), *(out if isinstance(out, list) else [out]))
"""
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, check=True, capture_output=True)
    for (kind, backbone), model in built.items():
        again = np.load(tmp_path / f"{kind}-{backbone}.npz")
        here = answers(model, images())
        assert len(again.files) == len(here)
        for name, expected in zip(again.files, here, strict=True):
            np.testing.assert_allclose(again[name], expected, atol=1e-5, err_msg=f"{kind} on {backbone}")


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_models_are_flat_and_their_layers_have_the_agreed_names(built, case):
    model = built[case]
    flat = parts.encoder_of(model)
    assert flat.input_shape == (None, SIZE, SIZE, 1)
    assert flat.layers[0].name == "image"
    assert not any(isinstance(layer, keras.Model | keras.layers.Lambda) for layer in flat.layers)
    assert len(flat.get_layer("features").output.shape) == 2
    assert len(flat.get_layer(parts.cam_layer(model)).output.shape) == 4
    kind = case[0]
    assert model.output_names == {"dual": ["plane", "sequence"], "siamese": ["same"]}.get(kind, ["plane-sequence"])
    if kind != "siamese":
        for proba in answers(model, images()):
            np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)


def test_heads_start_with_what_the_shipped_model_knows_of_their_classes():
    x = images(size=MODEL_SIZE)
    known = bundle.read_card(WEIGHTS_DIR)["classes"]
    plane, sequence = bundle.load(WEIGHTS_DIR).predict(x[..., None], verbose=0)
    t1, t2 = (sequence[:, known["sequence"].index(word)] for word in ("T1", "T2"))

    def begun(kind, label, **classes):
        config = RunConfig("test", kind, "none", label=label, weights="slicescope")
        return BUILDERS[kind](config, classes).predict(x[..., None], verbose=0)

    of_plane, of_sequence = begun("dual", "plane", plane=list(reversed(known["plane"])), sequence=["T2", "T1"])
    np.testing.assert_allclose(of_plane, plane[:, ::-1], atol=1e-5)
    np.testing.assert_allclose(of_sequence[:, 0], t2 / (t1 + t2), atol=1e-5)
    # A word that the shipped model does not know is one more; the odds of the others stay.
    one_more = begun("transfer", "sequence", sequence=["T1", "FIELDMAP", "T2"])
    np.testing.assert_allclose(one_more[:, 0] / one_more[:, 2], t1 / t2, rtol=1e-3)
    # Of two words at once both count.
    joint = begun("transfer", "plane-sequence", **{"plane-sequence": ["axial-T1", "sagittal-T2"]})
    axial, sagittal = (plane[:, known["plane"].index(word)] for word in ("axial", "sagittal"))
    np.testing.assert_allclose(joint[:, 0] / joint[:, 1], axial * t1 / (sagittal * t2), rtol=1e-3)


def test_the_stem_over_patches_is_a_convolution_over_pixels():
    backbone = backbones.build_backbone("slicescope")
    patches, stem = (backbone.get_layer(f"slicescope_{name}_conv") for name in ("patches", "stem"))
    # The places of a patch as channels, and the stem's nine patches as rows and columns of pixels.
    patches.set_weights([np.eye(16, dtype=np.float32).reshape(4, 4, 1, 16)])
    (kernel,) = stem.get_weights()
    whole = keras.layers.Conv2D(16, 12, 4, padding="same", use_bias=False)
    x = images(2, MODEL_SIZE)[..., None]
    whole.build(x.shape)
    whole.set_weights([kernel.reshape(3, 3, 4, 4, 16).transpose(0, 2, 1, 3, 4).reshape(12, 12, 1, 16)])
    np.testing.assert_allclose(stem(patches(x)), whole(x), atol=1e-4)


def test_our_backbone_is_small_and_its_last_map_is_fine_enough_for_a_heatmap():
    model = backbones.build_backbone("slicescope")
    assert model.count_params() <= 750_000
    assert model.get_layer(parts.cam_layer(model)).output.shape[1:3] == (6, 6)
    assert 128 <= model.output.shape[1] <= 256


@pytest.mark.parametrize("name", BACKBONES[1:])
def test_preprocessing_inside_is_what_keras_applications_want(name):
    module = {"ResNet50": "resnet", "MobileNetV2": "mobilenet_v2", "EfficientNetV2B0": "efficientnet_v2"}[name]
    model = backbones.build_backbone(name, "none", SIZE)
    inside = keras.Model(model.input, model.get_layer("preprocess").output)
    x = images(2)
    wanted = getattr(keras.applications, module).preprocess_input(np.repeat(x[..., None] * 255, 3, axis=-1))
    np.testing.assert_allclose(inside.predict(x[..., None], verbose=0), wanted, atol=1e-3)


def test_an_embedding_is_the_same_for_both_sides_of_a_pair(built):
    model = built["siamese", "slicescope"]
    x = images()[..., None]
    features = parts.features_model(model).predict(x, verbose=0)
    whole = model.predict([x, x[::-1]], verbose=0)
    np.testing.assert_allclose(
        siamese.pair_head(model).predict([features, features[::-1]], verbose=0), whole, atol=1e-5
    )
    np.testing.assert_allclose(model.predict([x[::-1], x], verbose=0), whole, atol=1e-5)
    same = model.predict([x, x], verbose=0)
    assert (same >= whole - 1e-6).all()


# Monte-Carlo dropout


@pytest.mark.parametrize("kind", ["transfer", "dual", "bayesian"])
def test_samples_differ_by_pass_and_repeat_by_seed(built, kind):
    model = built[kind, "slicescope"]
    first = mc_dropout.sample(model, images(), 20, seed=3)
    again = mc_dropout.sample(model, images(), 20, seed=3)
    other = mc_dropout.sample(model, images(), 20, seed=4)
    assert list(first) == model.output_names
    for head, p in first.items():
        assert p.shape == (4, 20, len(CLASSES[head]))
        np.testing.assert_allclose(p.sum(axis=-1), 1, atol=1e-5)
        assert p.std(axis=1).max() > 0
        np.testing.assert_array_equal(p, again[head])
        assert not np.array_equal(p, other[head])


def test_sampling_leaves_the_model_as_it_was(built):
    model = built["bayesian", "slicescope"]
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    before = [norm.get_weights() for norm in norms]
    deterministic = answers(model, images())
    mc_dropout.sample(model, images(), 5)
    for norm, weights in zip(norms, before, strict=True):
        for now, then in zip(norm.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(now, then)
    for now, then in zip(answers(model, images()), deterministic, strict=True):
        np.testing.assert_array_equal(now, then)


def test_the_switch_reaches_a_compiled_graph(built):
    model = built["bayesian", "slicescope"]
    off = answers(model, images())[0]
    for layer in mc_dropout.dropouts(model):
        layer.switch.assign(1.0)
    try:
        on = [answers(model, images())[0] for _ in range(2)]
    finally:
        for layer in mc_dropout.dropouts(model):
            layer.switch.assign(0.0)
    assert not np.allclose(on[0], off)
    assert not np.allclose(on[0], on[1])
    np.testing.assert_array_equal(answers(model, images())[0], off)


def test_the_mean_of_many_passes_over_a_linear_layer_is_the_deterministic_answer():
    layer = mc_dropout.MCDropout(0.4, seed=1)
    x = np.ones((2000, 10), np.float32)
    np.testing.assert_array_equal(layer(x), x)
    dropped = np.asarray(layer(x, training=True))
    assert set(np.round(np.unique(dropped), 4)) == {0.0, np.float32(1.6667)}
    assert abs(dropped.mean() - 1) < 0.03


def test_features_may_be_given_instead_of_images(built):
    model = built["dual", "slicescope"]
    features = parts.features_model(model).predict(images()[..., None], verbose=0)
    from_images = mc_dropout.sample(model, images(), 6, seed=1)
    for head, p in mc_dropout.sample(model, features, 6, seed=1, from_features=True).items():
        np.testing.assert_allclose(p, from_images[head], atol=1e-6)
    assert mc_dropout.sample(model, features[:0], 6, from_features=True)["plane"].shape == (0, 6, 3)


def test_wrong_requests_are_refused(built):
    with pytest.raises(ConfigError, match="n_samples"):
        mc_dropout.sample(built["dual", "slicescope"], images(), 0)
    with pytest.raises(ConfigError, match="no Monte-Carlo dropout"):
        mc_dropout.sample(backbones.build_backbone("slicescope", "none", SIZE), images(), 3)
    with pytest.raises(ValueError, match="rate"):
        mc_dropout.MCDropout(1.0)
    with pytest.raises(ConfigError, match="VGG16"):
        backbones.build_backbone("VGG16")


# Weights


def test_a_failed_download_names_the_offline_choices(monkeypatch, tmp_path):
    def no_network(url, *args, **keywords):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", no_network)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    with pytest.raises(WeightsUnavailable, match=r"no route to host.*slicescope backbone.*weights none.*local"):
        backbones.build_backbone("MobileNetV2", "imagenet", 96)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_weights_from_a_local_file(tmp_path, suffix):
    source = backbones.build_backbone("slicescope", "none", SIZE)
    path = tmp_path / f"mine{suffix}"
    source.save(path) if suffix == ".keras" else source.save_weights(path)
    target = backbones.build_backbone("slicescope", str(path), SIZE)
    np.testing.assert_allclose(answers(target, images())[0], answers(source, images())[0], atol=1e-6)
    with pytest.raises(WeightsUnavailable, match="mine"):
        backbones.build_backbone("MobileNetV2", str(path), SIZE)


def test_weights_that_are_not_there_or_damaged(tmp_path):
    with pytest.raises(WeightsUnavailable, match=r"no weights file gone\.keras"):
        backbones.build_backbone("slicescope", str(tmp_path / "gone.keras"), SIZE)
    (tmp_path / "bad.keras").write_bytes(b"not a zip")
    with pytest.raises(WeightsUnavailable, match=r"bad\.keras"):
        backbones.build_backbone("slicescope", str(tmp_path / "bad.keras"), SIZE)
    with pytest.raises(ConfigError, match=r"must end in"):
        backbones.build_backbone("slicescope", str(tmp_path / "model.h5"), SIZE)


def test_shipped_weights_fill_the_backbone_by_layer_name(monkeypatch, tmp_path):
    for module in (bundle, backbones):
        monkeypatch.setattr(module, "WEIGHTS_DIR", tmp_path / "weights")
    with pytest.raises(WeightsUnavailable, match="weights none"):
        build("transfer", weights="slicescope")
    shipped = build("dual")
    card = {"name": "shipped", "kind": "dual", "classes": {head: CLASSES[head] for head in ("plane", "sequence")}}
    bundle.save(shipped, card, tmp_path / "weights")
    mine = build("bayesian", weights="slicescope", image_size=64)
    for layer in parts.features_model(mine).layers:
        for given, wanted in zip(layer.get_weights(), shipped.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(given, wanted)
