"""One contract for every method, kind and backbone: where maps point, what they range over, what they leave alone."""

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from core import images as pixels_to_input
from core.config import BACKBONES, RunConfig
from core.errors import InputError
from core.explanations.question import LAYERED, METHOD_SAYS, METHOD_WORDS, SLOW, WITH_PASSES, Question

keras = pytest.importorskip("keras")

from core.explanations import cams, cells, cuts, gradients, methods, occlusion, scaling, scores  # noqa: E402  needs keras
from core.models import BUILDERS, backbones, classifier, dual_output, mc_dropout, siamese  # noqa: E402
from core.models.parts import cam_layer, encoder_of, map_layers  # noqa: E402

SIDE = 64
CLASSES = {"plane": ["axial", "coronal", "sagittal"], "sequence": ["T1", "T1CE", "T2", "FLAIR"]}
OTHERS = [name for name in BACKBONES if name != "slicescope"]
#: The one that takes longest to build is left to the slow tests.
SLOWEST = "EfficientNetV2B0"


@pytest.fixture(scope="module")
def backbone():
    """Give ``backbone(name)``, built once with random weights."""
    made = {}

    def give(name):
        if name not in made:
            keras.utils.set_random_seed(3)
            made[name] = backbones.build_backbone(name, "none", SIDE)
        return made[name]

    return give


@pytest.fixture(scope="module")
def view_of(backbone):
    """Give ``view_of(kind, name) -> (model, view, layer)``; the kinds share one backbone."""
    made = {}

    def give(kind, name):
        if (kind, name) not in made:
            with pytest.MonkeyPatch.context() as patch:
                for module in (classifier, dual_output, siamese):
                    patch.setattr(module, "backbone_of", lambda _: backbone(name))
                classes = CLASSES if kind == "dual" else {"sequence": CLASSES["sequence"]}
                config = RunConfig(kind, kind, "none", backbone=name, weights="none", image_size=SIDE, dropout=0.4)
                keras.utils.set_random_seed(5)
                model = BUILDERS[kind](config, classes)
            if kind == "siamese":
                prototypes = np.random.default_rng(2).normal(size=(4, 64)) / 8
                view = scores.prototype_view(encoder_of(model), prototypes)
            else:
                view = scores.logits_view(model, "sequence")
            # A deep network that has learnt nothing answers nearly the same to everything: classes must differ.
            last = view.layers[-1]
            swing = np.ptp(view.predict_on_batch(noise(8)[..., None]), axis=0).max()
            last.set_weights([weights * 3 / swing for weights in last.get_weights()])
            made[kind, name] = model, view, cam_layer(model)
        return made[kind, name]

    return give


def noise(n=2):
    return np.random.default_rng(1).random((n, SIDE, SIDE), dtype=np.float32)


@pytest.fixture
def few_looks(monkeypatch):
    """Let the methods that look at a slice hundreds of times do it a few times.

    As many at once as others do, for each number of slices is compiled anew: of networks this small that is what costs.
    """
    monkeypatch.setattr(cams, "SCORE_CAM_CHANNELS", 16)
    monkeypatch.setattr(occlusion, "ALONG_SIDE", 4)
    monkeypatch.setattr(occlusion, "SHARE", 3)
    monkeypatch.setattr(gradients, "COPIES", 2)


# The contract ---------------------------------------------------------------------------------------------


def keeps_the_contract(model, view, layer, method):
    before = [weights.copy() for weights in model.get_weights()]
    images, ask = noise(), methods.METHODS[method]
    heat = [ask(view, images, np.full(2, index), layer, random_state=4) for index in range(4)]
    for one in heat:
        assert one.shape == images.shape and one.dtype == np.float32
        assert one.min() >= 0
        assert all(peak == 0 or peak == pytest.approx(1) for peak in one.max(axis=(1, 2)))
    assert max(one.max() for one in heat) == pytest.approx(1), "no class has a map"
    assert any(np.abs(one - heat[0]).max() > 1e-6 for one in heat[1:]), "every class has the same map"
    np.testing.assert_array_equal(ask(view, images, np.full(2, 1), layer, random_state=4), heat[1])
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    return heat


@pytest.mark.parametrize("method", methods.METHODS)
@pytest.mark.parametrize(
    "kind", ["dual", "siamese", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("transfer", "bayesian"))]
)
def test_every_method_on_every_kind(view_of, few_looks, kind, method):
    model, view, layer = view_of(kind, "slicescope")
    heat = keeps_the_contract(model, view, layer, method)
    # What a slice's neighbours are does not depend on the backbone, and another number of them is compiled anew.
    alone = methods.METHODS[method](view, noise()[1:], np.array([1]), layer, random_state=4)
    np.testing.assert_allclose(alone[0], heat[1][1], atol=2e-3)


#: What a kind's model is compiled for serves each of its methods: so every method meets every backbone.
IN_TURN = {
    "transfer": ("grad_cam", "grad_cam_plus_plus", "layer_cam"),
    "dual": ("saliency", "smooth_grad"),
    "bayesian": ("score_cam", "occlusion"),
    "siamese": ("guided_gradients",),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("kind", IN_TURN)
def test_every_backbone_on_every_kind(view_of, few_looks, name, kind):
    for method in IN_TURN[kind]:
        keeps_the_contract(*view_of(kind, name), method)


def test_every_method_has_its_words():
    assert list(methods.METHODS) == list(METHOD_WORDS) == list(METHOD_SAYS)
    assert set(METHOD_WORDS) >= LAYERED | WITH_PASSES | SLOW


# Where things are -----------------------------------------------------------------------------------------


#: Weights that fall off evenly from the middle, so that no two pixels count the same by chance.
NEARER = np.outer([1, 2, 1], [1, 2, 1]) / 16


def watching_model():
    """Three strided convolutions that see how bright it is around; what they leave must point there."""
    image = keras.Input((SIDE, SIDE, 1), name="image")
    x = image
    for number in (1, 2, 3):
        x = keras.layers.Conv2D(1, 3, 2, padding="same", activation="relu", name=f"look_{number}")(x)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax", name="sequence")(x))
    for number in (1, 2, 3):
        bias = -0.3 if number == 3 else 0
        model.get_layer(f"look_{number}").set_weights([NEARER[..., None, None], np.full(1, bias)])
    model.get_layer("sequence").set_weights([np.array([[40.0, -40.0]]), np.zeros(2)])
    return scores.logits_view(model, "sequence")


#: Side of the square, by the slice's rows and columns: about ten pixels for the model.
SHAPES = {(97, 131): 21, (16, 16): 3, (512, 384): 81, (64, 64): 10}
PLACES = ((0.3, 0.3), (0.6, 0.4), (0.45, 0.65))


@pytest.fixture(scope="module")
def squares():
    """Give the view, the model's images, and for each the way back and the square that the model looks at."""
    images, ways, where = [], [], []
    for (rows, columns), width in SHAPES.items():
        for down, right in PLACES:
            top, left = int(down * rows), int(right * columns)
            slice_ = np.zeros((rows, columns))
            slice_[top : top + width, left : left + width] = 900
            # Too dim for the model, but with lit corners all of the slice is seen, and the square lies where it lay.
            slice_[: width // 2, : width // 2] = slice_[-(width // 2) :, -(width // 2) :] = 200
            image, geometry = pixels_to_input.to_model_input(slice_, size=SIDE)
            assert geometry.seen == (0, 0, rows, columns)
            images.append(image)
            ways.append(geometry)
            where.append((top, left, width))
    return SimpleNamespace(view=watching_model(), images=np.stack(images), ways=ways, where=where)


def share_in_square(squares, heat):
    hits = []
    for one, geometry, (top, left, width) in zip(heat, squares.ways, squares.where, strict=True):
        own = pixels_to_input.from_model_grid(one, geometry)
        assert own.shape == (geometry.rows, geometry.columns)
        row, column = np.unravel_index(own.argmax(), own.shape)
        hits.append(top <= row < top + width and left <= column < left + width)
    return np.mean(hits)


@pytest.mark.parametrize(
    ("method", "layer"),
    [(method, f"look_{number}") for method in methods.METHODS if method in LAYERED for number in (1, 2, 3)]
    + [(method, "") for method in methods.METHODS if method not in LAYERED],
)
def test_the_maximum_is_on_the_square_that_the_model_looks_at(squares, method, layer):
    heat = methods.METHODS[method](squares.view, squares.images, np.zeros(len(squares.images), int), layer)
    assert share_in_square(squares, heat) == 1


def test_a_map_that_is_merely_stretched_misses_the_square(squares, monkeypatch):
    """What the test above would not notice, it would not test."""
    even = cells.Centres(SIDE / 8, (SIDE / 8 - 1) / 2)
    monkeypatch.setattr(cams, "centres", lambda view, layer: (even, even))
    heat = methods.score_cam(squares.view, squares.images, np.zeros(len(squares.images), int), "look_3")
    assert share_in_square(squares, heat) < 0.7


def only_the_middle(model):
    """Let each convolution see the middle of its window alone, the same for every channel."""
    for layer in model.layers:
        if hasattr(layer, "kernel_size"):
            kernel, *bias = layer.get_weights()
            kernel[:] = 0
            # Half of what it can be, so that what is added again and again stays below any activation's ceiling.
            share = 1 if isinstance(layer, keras.layers.DepthwiseConv2D) else 0.5 / kernel.shape[2]
            # Of an even window, the four pixels around the middle.
            middle = tuple(slice((side - 1) // 2, side // 2 + 1) for side in kernel.shape[:2])
            kernel[middle] = share / kernel[middle].shape[0] ** 2
            layer.set_weights([kernel, *(np.zeros_like(one) for one in bias)])


@pytest.mark.parametrize(
    ("name", "looks"),
    [
        ("slicescope", (32, 29.5)),
        ("ResNet50", (32, 0)),
        ("MobileNetV2", (32, 31)),
        pytest.param(SLOWEST, (32, 31), marks=pytest.mark.slow),
    ],
)
def test_cells_of_every_backbone(backbone, name, looks):
    model = backbone(name)
    assert cells.centres(model, cam_layer(model)) == (cells.Centres(*looks),) * 2


@pytest.mark.parametrize("name", ["slicescope", pytest.param("ResNet50", marks=pytest.mark.slow)])
def test_cells_look_where_they_are_said_to(backbone, name):
    """A cell of a network that sees only the middle of each window depends most on one pixel: the one it looks at."""
    model = backbone(name)
    before = model.get_weights()
    only_the_middle(model)
    try:
        layer = cam_layer(model)
        rows, columns = cells.centres(model, layer)
        row, column = int(rows.start), int(columns.start + columns.stride)
        # Brightest where the cell is said to look, so that pooling by maximum has one choice.
        away = np.abs(np.indices((SIDE, SIDE)) - np.array([row, column])[:, None, None]).max(axis=0)
        image = (1 - 0.004 * away)[None].astype(np.float32)
        probe = keras.Model(model.input, model.get_layer(layer).output[:, 0, 1, :])
        gradient = gradients._gradient(probe, image, np.ones((1, probe.output_shape[-1]), np.float32))
        found = np.unravel_index(gradient[0].argmax(), (SIDE, SIDE))
        assert gradient.max() > 0 and (int(found[0]), int(found[1])) == (row, column)
    finally:
        model.set_weights(before)


@pytest.mark.parametrize(("side", "start"), [(192, 29.5), (97, 0.5), (100, 1.5), (224, 29.5)])
def test_cells_of_our_backbone_by_side(side, start):
    model = backbones.build_backbone("slicescope", "none", side)
    assert cells.centres(model, cam_layer(model)) == (cells.Centres(32, start),) * 2


def test_layers_that_only_move_cells():
    image = keras.Input((20, 20, 1), name="image")
    x = keras.layers.ZeroPadding2D(((3, 0), (0, 5)))(image)
    x = keras.layers.Cropping2D(((1, 0), (2, 0)), name="cropped")(x)
    x = keras.layers.UpSampling2D(2, name="finer")(x)
    x = keras.layers.AveragePooling2D(4, name="coarser")(x)
    x = keras.layers.Conv2D(1, 3, dilation_rate=2, name="wide")(x)
    model = keras.Model(image, x)
    assert cells.centres(model, "cropped") == (cells.Centres(1, -2), cells.Centres(1, 2))
    assert cells.centres(model, "finer") == (cells.Centres(0.5, -2.25), cells.Centres(0.5, 1.75))
    assert cells.centres(model, "coarser") == (cells.Centres(2, -1.5), cells.Centres(2, 2.5))
    assert cells.centres(model, "wide") == (cells.Centres(2, 2.5), cells.Centres(2, 6.5))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == SLOWEST)) for name in BACKBONES]
)
def test_layers_to_choose_from_have_one_of_each_resolution_and_end_at_the_card_s(backbone, name):
    model = backbone(name)
    offered = map_layers(model)
    sides = [model.get_layer(layer).output.shape[1] for layer in offered]
    # Ours begins with patches of four pixels.
    finest = 16 if name == "slicescope" else 32
    assert sides == [side for side in (32, 16, 8, 4, 2) if finest >= side >= sides[-1]]
    assert offered[-1] == cam_layer(model)
    for layer in offered:
        cuts.cut(model, layer)


# One class against another --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", methods.METHODS)
@pytest.mark.parametrize("kind", ["transfer", "siamese"])
def test_against_is_the_difference_of_two_classes(view_of, few_looks, kind, method):
    _, view, layer = view_of(kind, "slicescope")
    images, ask = noise(), methods.METHODS[method]
    one, other = np.array([1, 1]), np.array([2, 2])
    heat = ask(view, images, one, layer, other)
    if method != "score_cam":
        # Of a network that has learnt nothing, masks hardly change the probabilities; the next test says more of it.
        assert np.abs(heat - ask(view, images, one, layer)).max() > 1e-3
    np.testing.assert_array_equal(ask(view, images, one, layer, one), np.zeros_like(images))
    if kind == "transfer" and method in ("grad_cam", "layer_cam", "saliency", "occlusion"):
        # The same map as of a model that has the difference as its score.
        difference = keras.layers.Dense(1, use_bias=False)
        flat = keras.Model(view.input, difference(view.output))
        difference.set_weights([np.array([[0], [1], [-1], [0]], np.float32)])
        np.testing.assert_allclose(ask(flat, images, np.zeros(2, int), layer), heat, atol=1e-3)


def test_against_the_other_way_is_what_the_first_left_out(view_of):
    _, view, layer = view_of("transfer", "slicescope")
    images, one, other = noise(), np.array([1, 1]), np.array([2, 2])
    for method in ("grad_cam", "score_cam", "occlusion"):
        ask = methods.METHODS[method]
        this, that = ask(view, images, one, layer, other), ask(view, images, other, layer, one)
        assert this.max() + that.max() >= 1, method
        assert np.minimum(this, that).max() < 0.51, f"{method}: more than cells that are next to each other share"


# Passes with dropout --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", sorted(WITH_PASSES))
def test_passes_repeat_by_seed_and_are_the_same_for_each_slice(view_of, method):
    _, view, layer = view_of("bayesian", "slicescope")
    images, chosen = noise(3), np.array([1, 0, 1])

    def ask(images, chosen, passes=6, seed=0):
        return methods.made(
            Question("sequence", method=method, passes=passes, random_state=seed), view, images, chosen, layer
        )

    plain, none = ask(images, chosen, 0)
    assert none is None
    heat, spread = ask(images, chosen)
    assert heat.shape == spread.shape == images.shape
    assert heat.min() >= 0 and heat.max() <= 1 and spread.min() >= 0 and 0.01 < spread.max() <= 0.5
    for again, first in zip(ask(images, chosen), (heat, spread), strict=True):
        np.testing.assert_array_equal(again, first)
    assert np.abs(ask(images, chosen, seed=1)[0] - heat).max() > 1e-3
    for alone, among in zip(ask(images[2:], chosen[2:]), (heat, spread), strict=True):
        np.testing.assert_allclose(alone[0], among[2], atol=1e-3)
    np.testing.assert_array_equal(ask(images, chosen, 0)[0], plain)
    assert all(float(one.switch.value) == 0 for one in mc_dropout.dropouts(view))


def test_one_pass_is_a_map_of_its_own(view_of):
    _, view, layer = view_of("bayesian", "slicescope")
    heat, spread = methods.made(Question("sequence", passes=1), view, noise(), np.array([1, 1]), layer)
    assert spread.max() == 0 and heat.max() == pytest.approx(1)


def test_only_what_follows_the_layer_is_repeated(view_of, monkeypatch):
    _, view, layer = view_of("bayesian", "slicescope")
    images = noise(1)
    trunk, rows = cuts.cut(view, layer).trunk, []
    real = trunk.predict_on_batch
    monkeypatch.setattr(trunk, "predict_on_batch", lambda x: (rows.append(len(x)), real(x))[1])
    methods.made(Question("sequence", passes=12), view, images, np.array([1]), layer)
    assert rows == [1]


def test_dropout_is_off_again_when_a_map_fails(view_of):
    _, view, layer = view_of("bayesian", "slicescope")

    def fails(*how):
        assert [float(one.switch.value) for one in mc_dropout.dropouts(view)] == [1, 1]
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError):
        methods.over_passes(fails, view, noise(1), np.array([1]), layer, None, 3, 0)
    assert [float(one.switch.value) for one in mc_dropout.dropouts(view)] == [0, 0]


@pytest.mark.parametrize(
    ("method", "passes", "message"),
    [
        ("score_cam", 5, r"Score-CAM \(slow\) is not repeated with dropout. Choose Grad-CAM, Grad-CAM"),
        ("occlusion", 5, "is not repeated with dropout"),
        ("grad_cam", -1, "must be 0"),
        ("grad_cam", 10_000, "0 .none. to 200. Received: 10000"),
        ("magic", 0, "no method 'magic'"),
    ],
)
def test_passes_that_make_no_sense_are_refused(view_of, method, passes, message):
    _, view, layer = view_of("bayesian", "slicescope")
    with pytest.raises(InputError, match=message):
        methods.made(Question("sequence", method=method, passes=passes), view, noise(1), np.array([0]), layer)


def test_passes_need_dropout(squares):
    with pytest.raises(InputError, match="no Monte-Carlo dropout"):
        methods.made(Question("sequence", passes=5), squares.view, squares.images[:1], np.array([0]), "look_3")


# What else is asked of them -------------------------------------------------------------------------------


def test_models_that_look_twice_are_explained_both_ways(squares):
    """A mirrored slice has the mirrored map, and what only one look sees is there still."""
    question, chosen = Question("sequence"), np.zeros(2, int)
    heat, _ = methods.made(question, squares.view, squares.images[:2], chosen, "look_3", mirrored=True)
    other, _ = methods.made(question, squares.view, squares.images[:2, :, ::-1], chosen, "look_3", mirrored=True)
    np.testing.assert_allclose(other, heat[:, :, ::-1], atol=1e-6)
    np.testing.assert_allclose(heat.max(axis=(1, 2)), 1)


@pytest.mark.parametrize("method", methods.METHODS)
def test_a_slice_without_anything_has_no_nan(view_of, few_looks, method):
    _, view, layer = view_of("transfer", "slicescope")
    for value in (0, 1):
        heat = methods.METHODS[method](view, np.full((1, SIDE, SIDE), value, np.float32), np.array([1]), layer)
        assert np.isfinite(heat).all() and heat.min() >= 0 and heat.max() <= 1
    assert methods.METHODS[method](view, noise(0), np.zeros(0, int), layer).shape == (0, SIDE, SIDE)


def test_where_blurring_changes_nothing_nothing_speaks_for_the_class(view_of):
    _, view, layer = view_of("transfer", "slicescope")
    assert methods.occlusion(view, np.full((1, SIDE, SIDE), 0.5, np.float32), np.array([1]), layer).max() == 0


def test_pixels_need_no_convolution():
    image = keras.Input((SIDE, SIDE, 1), name="image")
    answer = keras.layers.Dense(2, activation="softmax", name="sequence")(keras.layers.Flatten()(image))
    view = scores.logits_view(keras.Model(image, answer), "sequence")
    weights = np.zeros((SIDE * SIDE, 2))
    weights[20 * SIDE + 30, 0] = 1
    view.layers[-1].set_weights([weights, np.zeros(2)])
    for method in ("saliency", "occlusion", "smooth_grad", "guided_gradients"):
        images = noise(1)
        images[0, 20, 30] = 1
        heat, _ = methods.made(Question("sequence", method=method), view, images, np.array([0]), "")
        row, column = np.unravel_index(heat[0].argmax(), (SIDE, SIDE))
        assert abs(row - 20) < 8 and abs(column - 30) < 8
    with pytest.raises(InputError, match="no layer with a map: it has no convolution"):
        methods.made(Question("sequence"), view, noise(1), np.array([0]), "")


def test_a_layer_beside_which_other_ways_lead_to_the_score(view_of):
    """A block's branch cuts nothing in two, and has a map all the same."""
    _, view, layer = view_of("transfer", "slicescope")
    branch = "slicescope_2_1_a_relu"
    with pytest.raises(ValueError):
        cuts.cut(view, branch)
    for method in ("grad_cam", "grad_cam_plus_plus", "layer_cam", "score_cam"):
        heat = methods.METHODS[method](view, noise(), np.array([1, 2]), branch)
        assert heat.shape == (2, SIDE, SIDE) and np.isfinite(heat).all()
    images, weights = noise(), scores.aims(4, np.array([1, 2]))
    from tf_keras_vis.gradcam import Gradcam

    slow = cams._uncut(Gradcam, view, images, weights, layer, None)
    np.testing.assert_allclose(
        methods.scaled(cells.enlarged(slow, cells.centres(view, layer), SIDE)),
        methods.grad_cam(view, images, np.array([1, 2]), layer), atol=1e-3,
    )  # fmt: skip


def test_many_slices_go_through_in_parts(view_of, monkeypatch):
    _, view, layer = view_of("transfer", "slicescope")
    images, chosen, some = noise(5), np.array([0, 1, 2, 3, 0]), ("grad_cam", "saliency", "smooth_grad")
    whole = {name: methods.METHODS[name](view, images, chosen, layer) for name in some}
    monkeypatch.setattr(cuts, "_VALUES_AT_ONCE", 2 * SIDE * SIDE)
    assert [part.stop - part.start for part in cuts.chunks(view, len(images))] == [2, 2, 2]
    for name in some:
        np.testing.assert_allclose(methods.METHODS[name](view, images, chosen, layer), whole[name], atol=2e-3)


def test_what_was_cut_goes_with_its_view():
    view, images = watching_model(), noise(1)
    gone = weakref.ref(view)
    methods.grad_cam(view, images, np.array([0]), "look_3")
    methods.guided_gradients(view, images, np.array([0]))
    del view
    gc.collect()
    assert gone() is None


def test_guided_gradients_let_only_what_is_positive_through():
    """Springenberg's rule by hand: backward, an activation passes on what is above 0 where its input was."""
    image = keras.Input((2, 2, 1), name="image")
    x = keras.layers.Conv2D(2, 1, use_bias=False, name="up_and_down")(image)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(2, 1, use_bias=False, activation="relu", name="mixed")(x)
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax", name="a")(keras.layers.Flatten()(x)))
    model.get_layer("up_and_down").set_weights([np.array([[[[2.0, -3.0]]]])])
    model.get_layer("mixed").set_weights([np.array([[[[1.0, 1.0], [0.5, 1.0]]]])])
    dense = np.zeros((8, 2))
    dense[:, 0] = (1, -1, 2, 2, -1, 1, 0, 0)
    model.get_layer("a").set_weights([dense, np.zeros(2)])
    view = scores.logits_view(model, "a")
    # Per pixel: only positive ways count, of 2 (the other channel is off), each times what the dense layer gives it.
    heat = methods.guided_gradients(view, np.ones((1, 2, 2), np.float32), np.array([0]))
    np.testing.assert_allclose(heat[0], np.array([[1, 4], [1, 0]]) / 4, atol=1e-6)
    plain = methods.saliency(view, np.ones((1, 2, 2), np.float32), np.array([0]))
    np.testing.assert_allclose(plain[0], np.array([[0, 4], [0, 0]]) / 4, atol=1e-6)


def test_smooth_grad_is_a_mean_over_seeded_noise(view_of):
    _, view, layer = view_of("transfer", "slicescope")
    images, chosen = noise(1), np.array([1])
    one, other = (methods.smooth_grad(view, images, chosen, layer, random_state=seed) for seed in (0, 1))
    sharp = methods.saliency(view, images, chosen, layer)

    def alike(a, b):
        return np.corrcoef(a.ravel(), b.ravel())[0, 1]

    assert 0.7 < alike(one, other) < 0.9999 and alike(one, other) > alike(one, sharp)
    assert gradients.COPIES >= 16


def test_score_cam_is_tf_keras_vis_where_that_puts_masks_right():
    """With cells of one pixel nothing is stretched, so that both must agree."""
    from tf_keras_vis.scorecam import Scorecam

    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 1), name="image")
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="map")(image)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    view = scores.logits_view(keras.Model(image, keras.layers.Dense(3, activation="softmax", name="a")(x)), "a")
    images = noise(1)[:, :12, :12]
    how = {"seek_penultimate_conv_layer": False, "expand_cam": False, "normalize_cam": False}
    with scaling.quiet():
        theirs = Scorecam(view)(lambda p: p[:, 2], images[..., None], penultimate_layer="map", **how)
    np.testing.assert_allclose(
        methods.score_cam(view, images, np.array([2]), "map"), methods.scaled(np.asarray(theirs)), atol=1e-3
    )
