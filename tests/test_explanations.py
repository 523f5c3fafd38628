"""Every map must point at what its model looks at, and the jury must decide as its model does."""

import numpy as np
import pytest

from core import bundle, inference
from core.errors import BundleError, InputError
from core.explanations import in_process, jury
from core.explanations.question import Question
from core.settings import get_settings

keras = pytest.importorskip("keras")

from core.explanations import methods, scores  # noqa: E402  needs keras
from core.models.parts import map_layers  # noqa: E402

CELL = 8
BRIGHT, CHECKED = 0, 1
CHECKERS = np.indices((CELL, CELL)).sum(axis=0) % 2


def looking_model(size=64, head="sequence", common=0.0):
    """A network that knows a bright square and a chequered one by construction; `common` is added to both features."""
    image = keras.Input((size, size, 1), name="image")
    seen = keras.layers.Conv2D(2, CELL, CELL, padding="same", activation="relu", name="map")
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(seen(image))
    pooled = keras.layers.Rescaling(1.0, common, name="features")(pooled)
    answer = keras.layers.Dense(2, activation="softmax", name=head)
    model = keras.Model(image, answer(pooled))
    kernel = np.stack([np.ones((CELL, CELL)), 4.0 * (CHECKERS - 0.5)], axis=-1)[:, :, None] / CELL**2
    seen.set_weights([kernel, np.array([-0.4, -0.2])])
    answer.set_weights([np.array([[300.0, 0], [0, 300.0]]), np.zeros(2)])
    return model


def picture(bright, checked, size=64):
    """A grey picture with a bright cell and a chequered cell, given as (row, column) of cells."""
    image = np.full((size, size), 0.1, np.float32)
    for (row, column), content in ((bright, 1.0), (checked, 0.7 * CHECKERS)):
        image[row * CELL :, column * CELL :][:CELL, :CELL] = content
    return image


def peak_cell(heat):
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    return int(row) // CELL, int(column) // CELL


@pytest.mark.parametrize("size", [64, 63])
@pytest.mark.parametrize("method", methods.METHODS)
def test_maximum_is_where_the_model_looks(method, size):
    view = scores.logits_view(looking_model(size), "sequence")
    places = [((2, 5), (6, 1)), ((0, 0), (5, 6)), ((6, 3), (1, 1))]
    images = np.stack([picture(*place, size) for place in places])
    for class_index in (BRIGHT, CHECKED):
        heat = methods.METHODS[method](view, images, np.full(3, class_index), "map")
        assert heat.shape == images.shape and heat.dtype == np.float32
        assert heat.min() >= 0
        np.testing.assert_allclose(heat.max(axis=(1, 2)), 1)
        assert [peak_cell(one) for one in heat] == [place[class_index] for place in places]


@pytest.mark.parametrize("method", methods.METHODS)
def test_same_twice_and_weights_unchanged(method):
    model = looking_model()
    before = [w.copy() for w in model.get_weights()]
    view = scores.logits_view(model, "sequence")
    images = picture((2, 2), (5, 5))[None]
    first, second = (methods.METHODS[method](view, images, np.array([0]), "map") for _ in range(2))
    np.testing.assert_array_equal(first, second)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("method", methods.METHODS)
def test_batch_equals_one_at_a_time(method):
    view = scores.logits_view(looking_model(), "sequence")
    images = np.stack([picture((1, 1), (3, 3)), picture((4, 6), (0, 2)), picture((7, 7), (2, 0))])
    classes = np.array([0, 1, 0])
    together = methods.METHODS[method](view, images, classes, "map")
    for i in range(3):
        alone = methods.METHODS[method](view, images[[i]], classes[[i]], "map")
        np.testing.assert_allclose(together[i], alone[0], atol=1e-5)


@pytest.mark.parametrize("method", methods.METHODS)
def test_siamese_map_points_at_the_class_of_the_prototype(method):
    model = looking_model()
    encoder = keras.Model(model.input, model.get_layer("features").output, name="encoder")
    view = scores.prototype_view(encoder, np.eye(2))
    image = picture((2, 5), (6, 1))[None]
    for class_index, cell in ((BRIGHT, (2, 5)), (CHECKED, (6, 1))):
        heat = methods.METHODS[method](view, image, np.array([class_index]), "map")
        if method in ("saliency", "smooth_grad", "guided_gradients"):
            # Making the other thing weaker also turns the embedding towards this class.
            assert peak_cell(heat[0]) in ((2, 5), (6, 1))
        else:
            assert peak_cell(heat[0]) == cell


@pytest.fixture(scope="module")
def looking_bundle(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLICESCOPE_WORKSPACE", str(tmp_path_factory.mktemp("workspace")))
        get_settings.cache_clear()
        folder = get_settings().runs_dir / "looking" / "bundle"
        card = {"name": "looking", "kind": "transfer", "classes": {"sequence": ["bright", "checked"]}}
        bundle.save(looking_model(common=0.01), card, folder)
        yield folder
    get_settings.cache_clear()


@pytest.mark.parametrize("method", methods.METHODS)
def test_a_map_for_a_partner_points_at_what_both_have(looking_bundle, method):
    slice_, partners = picture((2, 5), (6, 1)), np.full((2, 64, 64), 0.1, np.float32)
    partners[BRIGHT, :CELL, :CELL], partners[CHECKED, :CELL, :CELL] = 1, 0.7 * CHECKERS
    # As in real models all embeddings are alike: a softmax over likeness and unlikeness would be 1 to the last digit.
    embeddings = jury.unit(inference.forward(looking_bundle, np.stack([slice_, *partners]))[2])
    assert (embeddings @ embeddings.T).min() > 0.8
    # What a question says of classes is of none here.
    question = Question("sequence", "bright", "map", method, "checked")
    heat = [in_process.explain_local(looking_bundle, slice_[None], question, partner).heat[0] for partner in partners]
    if method in ("saliency", "smooth_grad"):
        # Making the other thing weaker makes the slice as much like the partner: of two things both maps show both.
        assert all(peak_cell(one) in ((2, 5), (6, 1)) for one in heat)
    else:
        assert [peak_cell(one) for one in heat] == [(2, 5), (6, 1)]


def test_sure_models_still_have_a_map():
    """A logit of hundreds saturates a softmax and overflows the exponential of Grad-CAM++."""
    model = looking_model()
    model.get_layer("sequence").set_weights([np.array([[1e5, 0], [0, 1e5]]), np.zeros(2)])
    view = scores.logits_view(model, "sequence")
    for method in ("grad_cam", "grad_cam_plus_plus", "layer_cam"):
        heat = methods.METHODS[method](view, picture((2, 5), (6, 1))[None], np.array([0]), "map")
        assert peak_cell(heat[0]) == (2, 5)


def test_nothing_speaks_for_the_class():
    view = scores.logits_view(looking_model(), "sequence")
    flat = np.full((1, 64, 64), 0.1, np.float32)
    assert methods.grad_cam(view, flat, np.array([0]), "map").max() == 0


def test_dropout_stays_off():
    from core.models.mc_dropout import MCDropout

    image = keras.Input((32, 32, 1), name="image")
    x = keras.layers.Conv2D(4, 3, 2, activation="relu", name="map")(image)
    x = MCDropout(0.8)(keras.layers.GlobalAveragePooling2D(name="features")(x))
    model = keras.Model(image, keras.layers.Dense(3, activation="softmax", name="plane")(x))
    view = scores.logits_view(model, "plane")
    images = np.random.default_rng(0).random((1, 32, 32), dtype=np.float32)
    maps = [methods.grad_cam(view, images, np.array([1]), "map") for _ in range(3)]
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])


def test_view_of_one_head_among_two():
    image = keras.Input((32, 32, 1), name="image")
    x = keras.layers.GlobalAveragePooling2D(name="features")(keras.layers.Conv2D(4, 3, 2, name="map")(image))
    heads = [keras.layers.Dense(n, activation="softmax", name=name)(x) for name, n in (("plane", 3), ("sequence", 5))]
    model = keras.Model(image, heads)
    images = np.random.default_rng(0).random((4, 32, 32, 1), dtype=np.float32)
    for head, proba in zip(("plane", "sequence"), model(images), strict=True):
        logits = np.asarray(scores.logits_view(model, head)(images))
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        np.testing.assert_allclose(e / e.sum(axis=1, keepdims=True), np.asarray(proba), atol=1e-6)
    with pytest.raises(InputError, match="no head 'colour'; it has plane, sequence"):
        scores.logits_view(model, "colour")


def test_layers_to_choose_from():
    assert map_layers(looking_model()) == ["map"]
    image = keras.Input((32, 32, 1), name="image")
    flat = keras.layers.Dense(2, activation="softmax", name="plane")(keras.layers.Flatten()(image))
    assert map_layers(keras.Model(image, flat)) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "nothing"}, "No map can be made at layer 'nothing'. This model has map."),
        ({"layer": "features"}, "No map can be made at layer 'features'"),
        ({"images": np.full((1, 64, 64), np.nan)}, "not finite"),
    ],
)
def test_refusals(change, message):
    view = scores.logits_view(looking_model(), "sequence")
    good = {"images": np.zeros((1, 64, 64)), "layer": "map"}
    methods.check(view, **good)
    with pytest.raises(InputError, match=message):
        methods.check(view, **{**good, **change})


# The jury ---------------------------------------------------------------------------------------------


def made_jury(classes=("FLAIR", "T1")):
    embeddings = jury.unit(np.array([[1, 0.1], [1, 0], [0.1, 1], [0, 1]], np.float32))
    return jury.Jury(
        classes, ("FLAIR", "FLAIR", "T1", "T1"), ("a", "b", "a", "c"), ("1:0", "2:0", "3:0", "4:0"),
        embeddings, np.arange(4 * 9, dtype=np.uint8).reshape(4, 3, 3),
    )  # fmt: skip


def test_vote_is_a_softmax_of_mean_cosines():
    made, slices = made_jury(), np.array([[5.0, 1.0], [0.2, 0.9]])
    unit = slices / np.linalg.norm(slices, axis=1, keepdims=True)
    means = np.stack([(unit @ made.embeddings[:2].T).mean(axis=1), (unit @ made.embeddings[2:].T).mean(axis=1)], axis=1)
    expected = np.exp(jury.COSINE_SCALE * means)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(made.probabilities(slices), expected, rtol=1e-5)


def test_probabilities_equal_the_explained_view():
    """The heatmap explains the very score that decides."""
    model = looking_model()
    encoder = keras.Model(model.input, model.get_layer("features").output, name="encoder")
    made = made_jury()
    images = np.stack([picture((2, 5), (6, 1)), picture((0, 0), (0, 0))])
    logits = np.asarray(scores.prototype_view(encoder, made.prototypes)(images[..., None]))
    proba = made.probabilities(np.asarray(encoder(images[..., None])))
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), proba, rtol=1e-4)


def test_jury_is_kept_with_its_bundle(tmp_path):
    made = made_jury()
    made.save(tmp_path)
    again = jury.Jury.load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["jury.npz"]
    for field in ("classes", "labels", "patients", "keys"):
        assert getattr(again, field) == getattr(made, field)
    np.testing.assert_array_equal(again.embeddings, made.embeddings)
    np.testing.assert_array_equal(again.pictures, made.pictures)
    with pytest.raises(BundleError, match="Evaluate the run"):
        jury.Jury.load(tmp_path / "elsewhere")
