"""The trust badge: twins alive and ignorant, each check right where the truth is known by construction."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import bundle, inference
from core.errors import ChildStopped, InputError
from core.explanations import badge, in_process
from core.explanations.badge import CHECKS, VERDICTS, Badge
from core.explanations.head_frame import head_mask
from core.explanations.question import Question
from core.settings import get_settings

SIZE = 64


def head(size=SIZE, reach=0.7, grey=0.5):
    grid = np.linspace(-1, 1, size)
    inside = (grid[:, None] ** 2 + (1.2 * grid) ** 2) < reach**2
    noise = np.random.default_rng(0).normal(0, 0.02, (size, size))
    return np.clip(inside * grey + noise, 0, 1).astype(np.float32), inside


# The badge's words ----------------------------------------------------------------------------------------

GOOD = {"model": 0.0, "decision": 1.0, "head": 0.0, "stable": 1.0}
BAD = {"model": 1.0, "decision": 0.0, "head": 1.0, "stable": 0.0}


@given(st.sets(st.sampled_from(list(CHECKS))))
@settings(max_examples=16, deadline=None)
def test_verdict_follows_from_what_fails(failed):
    one = Badge.of("T1", {**GOOD, **{name: BAD[name] for name in failed}})
    assert {check.name for check in one.checks if not check.passed} == failed
    if not failed:
        assert one.verdict == VERDICTS[0]
    elif len(failed) > 1 or failed & {"model", "decision"}:
        assert one.verdict == VERDICTS[2]
    else:
        assert one.verdict == VERDICTS[1]
    assert len(one.lines()) == 1 + len(CHECKS)
    assert (one.reason == next((c.sentence for c in one.checks if not c.passed), one.reason)) and one.reason


def test_what_cannot_be_measured_does_not_pass():
    one = Badge.of("T1", dict.fromkeys(CHECKS, float("nan")), empty=True)
    assert not any(check.passed for check in one.checks)
    assert one.verdict == "do not believe" and "empty" in one.reason
    assert all(check.number == "cannot be measured" for check in one.checks)


def test_limits_stand_with_their_origin():
    limits = json.loads(badge.LIMITS_FILE.read_text())
    assert set(limits["limits"]) == set(CHECKS)
    assert limits["by"] == "python -m benchmarks.badge" and limits["date"]


# What is measured -----------------------------------------------------------------------------------------

keras = pytest.importorskip("keras")

from benchmarks.badge import best_cut, strict_cut  # noqa: E402  needs keras
from core.explanations import methods, sanity, twin  # noqa: E402  needs keras
from core.explanations.methods import grad_cam  # noqa: E402  needs keras
from core.models.backbones import build_backbone  # noqa: E402  needs keras


def spot(row, column, size=SIZE, reach=8):
    heat = np.zeros((size, size), np.float32)
    heat[row : row + reach, column : column + reach] = 1.0
    return heat


def sees(row, column):
    """An answer that hangs on one bright square alone."""
    return lambda images, chosen: (
        1 / (1 + np.exp(-20 * (images[:, row : row + 8, column : column + 8].mean((1, 2)) - 0.7)))
    )


def test_the_place_that_decides_is_told_from_one_that_does_not():
    image, _ = head()
    image[24:32, 32:40] = 1.0
    mask = head_mask(image)
    right, wrong, everywhere = (
        sanity.decides(sees(24, 32), image, heat, 0, mask) for heat in (spot(24, 32), spot(40, 24), np.ones_like(image))
    )
    assert right > 0.25 and wrong < 0 and everywhere < 0
    assert right > badge.read_limits()["limits"]["decision"]


def test_knowing_the_head_alone_wins_nothing():
    image, inside = head(reach=0.5)
    ask = lambda images, chosen: images.mean((1, 2)) / image.mean()  # noqa: E731  every pixel of the head counts alike
    value = sanity.decides(ask, image, inside.astype(np.float32), 0, head_mask(image))
    assert abs(value) < 0.05


def test_an_answer_that_never_changes_has_no_decision():
    image, _ = head()
    assert (
        sanity.decides(lambda images, chosen: np.full(len(images), 0.4), image, spot(24, 32), 0, head_mask(image)) == 0
    )


def test_heat_outside_is_counted_beyond_the_margin():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[16:48, 16:48] = True
    heat = spot(0, 0) + spot(24, 24)
    assert sanity.outside(heat, mask, 0) == pytest.approx(0.5)
    assert sanity.outside(spot(24, 24), mask, 0) == 0
    assert sanity.outside(spot(48, 24), mask, 8) == 0
    assert np.isnan(sanity.outside(np.zeros_like(heat), mask, 0))
    # Faint heat everywhere tells how much air there is, not where the model looks.
    assert sanity.outside(0.4 + 0.6 * spot(24, 24), mask, 0) == 0
    assert sanity.outside(0.4 + 0.6 * spot(0, 0), mask, 0) == 1


def test_rank_correlation_of_like_and_unlike_maps():
    rng = np.random.default_rng(0)
    maps = rng.random((3, SIZE, SIZE)).astype(np.float32)
    np.testing.assert_allclose(sanity.rank_correlation(maps, 0.1 + maps / 2), 1, atol=1e-3)
    np.testing.assert_allclose(sanity.rank_correlation(maps, -maps), -1, atol=1e-6)
    assert (np.abs(sanity.rank_correlation(maps, rng.random(maps.shape))) < 0.15).all()
    assert np.isnan(sanity.rank_correlation(maps, np.zeros_like(maps))).all()


def test_a_map_turned_over_is_as_little_the_models_own():
    heat = np.random.default_rng(0).random((1, SIZE, SIZE)).astype(np.float32)
    assert sanity.likeness_to_twins(heat, [1 - heat, heat])[0] == pytest.approx(1)
    assert sanity.likeness_to_twins(heat, [np.zeros_like(heat)])[0] == 0
    assert np.isnan(sanity.likeness_to_twins(np.zeros_like(heat), [heat])[0])


def test_a_shift_is_taken_back():
    maps = np.random.default_rng(0).random((2, 9, 9)).astype(np.float32)
    there = sanity.shifted(maps, 1)
    np.testing.assert_array_equal(there[:, 1:, 1:], maps[:, :-1, :-1])
    np.testing.assert_array_equal(sanity.shifted(there, -1)[:, :-1, :-1], maps[:, :-1, :-1])


def looking(size=SIZE):
    """A view whose class 0 is one bright square's brightness, and a map that knows it."""
    image = keras.Input((size, size, 1), name="image")
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    return keras.Model(image, keras.layers.Dense(2, kernel_initializer="zeros")(pooled))


def test_a_map_that_does_not_ask_the_model_fails_model_and_one_of_noise_fails_stable():
    view, (image, _) = looking(), head()
    images, chosen = image[None], np.array([0])
    of_slice = sanity.measure(lambda v, x, c: x, view, [looking()], images, images, chosen)
    assert of_slice.model[0] == pytest.approx(1) and of_slice.stable[0] > 0.8
    rng = np.random.default_rng(0)
    heat = rng.random(images.shape)
    of_noise = sanity.measure(lambda v, x, c: rng.random(x.shape), view, [looking()], images, heat, chosen)
    assert of_noise.model[0] < 0.2 and of_noise.stable[0] < 0.2 and of_noise.head[0] > 0.3
    assert set(of_noise.values(0)) == set(CHECKS)


def test_a_shortcut_is_exposed():
    """A network that decides by a letter in the air: the map is right, matters, and lies outside the head."""
    image = keras.Input((SIZE, SIZE, 1), name="image")
    seen = keras.layers.Conv2D(1, 8, 8, activation="relu", name="map")(image)
    answer = keras.layers.Dense(2, name="sequence")
    view = keras.Model(image, answer(keras.layers.GlobalAveragePooling2D()(seen)))
    view.get_layer("map").set_weights([np.full((8, 8, 1, 1), 1 / 64), np.array([-0.8])])
    answer.set_weights([np.array([[2000.0, 0.0]]), np.zeros(2)])
    picture, _ = head()
    picture[:8, :8] = 1.0
    images, chosen = picture[None], np.array([0])
    make = lambda v, x, c: grad_cam(v, x, c, "map")  # noqa: E731
    heat = make(view, images, chosen)
    found = sanity.measure(make, view, [twin.twin_of(view)], images, heat, chosen, spill=sanity.spill_of(view, "map"))
    one = Badge.of("T1", found.values(0))
    assert found.head[0] > 0.6
    assert {check.name for check in one.checks if check.passed} >= {"decision", "stable"}
    assert one.verdict != "may be believed" and not one.checks[2].passed


def test_the_best_cut_parts_good_from_bad():
    good, bad = np.array([0.1, 0.2, 0.3, np.nan]), np.array([0.7, 0.9])
    assert best_cut(good, bad, at_most=True) == pytest.approx(0.5)
    assert best_cut(bad, good, at_most=False) == pytest.approx(0.5)
    # One stray does not move it.
    assert 0.3 < best_cut(np.append(good, 0.95), bad, at_most=True) < 0.7


def test_the_strict_cut_lets_one_in_twenty_of_the_bad_pass():
    bad = np.append(np.random.default_rng(0).permutation(100) / 100, np.nan)
    assert np.mean(bad[:-1] >= strict_cut(bad)) == 0.05


def test_spill_is_half_a_cell():
    image = keras.Input((SIZE, SIZE, 1), name="image")
    seen = keras.layers.Conv2D(2, 3, 8, padding="same", name="map")(image)
    view = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(seen)))
    assert sanity.spill_of(view, "map") == 4
    assert sanity.spill_of(view, "") == 0


@pytest.mark.parametrize(
    "name",
    [
        "slicescope",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("MobileNetV2", "ResNet50", "EfficientNetV2B0")),
    ],
)  # fmt: skip
def test_twins_are_alive_ignorant_and_the_same_each_time(name):
    model = build_backbone(name, "none", 32)
    # Weights as training leaves them: far from where a network starts.
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_variance.assign(np.full(layer.moving_variance.shape, 1e4, np.float32))
    before = model.get_weights()
    first, again, other = (twin.twin_of(model, seed) for seed in (0, 0, 1))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    images = np.stack([head(32, reach)[0] for reach in (0.5, 0.6, 0.9)])[..., None]
    features = np.asarray(first(images))
    np.testing.assert_allclose(features, np.asarray(again(images)), atol=1e-5)
    assert np.abs(features - np.asarray(other(images))).mean() > 0.01
    # Neither dead nor overflowing, and still telling slices apart.
    assert np.isfinite(features).all() and 0.01 < np.abs(features).mean() < 100
    assert np.abs(features[0] - features[2]).mean() > 1e-3
    norms = [layer for layer in first.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert all(layer.momentum > 0 for layer in norms)


# A model's badges -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untrained(tmp_path_factory, finished):
    """Runs of every kind whose networks have learnt nothing, and slices with a head."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLICESCOPE_WORKSPACE", str(tmp_path_factory.mktemp("workspace")))
        get_settings.cache_clear()
        made = {kind: finished(kind, kind) for kind in ("transfer", "dual", "bayesian", "siamese")}
        yield made, np.stack([head(32, reach)[0] for reach in (0.5, 0.9)])
    get_settings.cache_clear()


@pytest.mark.parametrize(
    "kind",
    # Of a dual one the worker's test says it, too.
    ["siamese", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("dual", "transfer", "bayesian"))],
)
def test_an_untrained_model_fails(untrained, kind):
    made, images = untrained
    folder = made[kind].bundle
    before = bundle.sha256(folder / "model.keras")
    # Saliency is never empty, so it fails for a better reason than that.
    badges = in_process.badge_local(folder, images, Question("plane", method="saliency"))
    assert [one.verdict for one in badges] == ["do not believe"] * len(images)
    assert not any(one.empty or one.checks[1].passed for one in badges)
    assert bundle.sha256(folder / "model.keras") == before


def test_a_badge_is_left_off_between_two_maps(untrained, monkeypatch):
    made, images = untrained
    calls = []

    def slow(question, view, images, *_):
        calls.append(len(images))
        return np.ones(images.shape, np.float32), None

    def stop():
        if len(calls) == 2:
            raise ChildStopped("left off")

    monkeypatch.setattr(methods, "made", slow)
    ask = Question("plane", "axial")
    with pytest.raises(ChildStopped):
        in_process.measured(made["dual"].bundle, images[:1], ask, stop)
    # The map and those of faint noise and a shift, but none of the twins.
    assert calls == [1, 2]
    calls.clear()
    in_process.measured(made["dual"].bundle, images[:1], ask)
    assert calls == [1, 2, 1, 1]


def test_the_twin_itself_fails(untrained):
    """A map of the twin is its own twin's map: it cannot depend on what was learnt."""
    made, images = untrained
    key = (*inference.model_key(made["dual"].bundle, bundle.read_card(made["dual"].bundle)), "plane", 0)
    own = in_process._twin_view(*key, 0)
    layer = bundle.read_card(made["dual"].bundle)["cam_layer"]
    make = lambda view, x, chosen: grad_cam(view, x, chosen, layer)  # noqa: E731
    chosen = own.predict_on_batch(images[..., None]).argmax(1)
    found = sanity.measure(make, own, [own], images, make(own, images, chosen), chosen)
    verdicts = [Badge.of("axial", found.values(at)) for at in range(len(images))]
    assert all(one.verdict == "do not believe" for one in verdicts)


def test_the_worker_says_the_same(untrained):
    made, images = untrained
    worker = inference.InferenceWorker()
    try:
        here = in_process.badge_local(made["dual"].bundle, images, Question("plane", "axial"))
        there = worker.badge(made["dual"].bundle, images, Question("plane", "axial"))
        with pytest.raises(InputError, match="no class"):
            worker.badge(made["dual"].bundle, images, Question("plane", "T1"))
    finally:
        worker.close()
    assert [one.verdict for one in here] == ["do not believe"] * len(images)
    for one, other in zip(here, there, strict=True):
        assert one.target == other.target == "axial"
        for name in CHECKS:
            assert one.values[name] == pytest.approx(other.values[name], abs=1e-3, nan_ok=True)
