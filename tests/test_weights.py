"""The recipe of the shipped weights: whole shards, scores from people nobody fitted on, and a card that is true."""

import dataclasses
import json
import shutil
import subprocess
import sys
from concurrent.futures import Future
from dataclasses import asdict

import keras
import numpy as np
import pandas as pd
import pytest

from core import bundle
from core.errors import BundleError
from core.models.parts import FEATURES
from core.novelty import brain_probability
from core.phantom.nuisances import Nuisances
from core.phantom.render import LEAVES
from core.settings import PROJECT_DIR, WEIGHTS_DIR
from core.shipping import judging, network, real_files, shards
from core.shipping import recipe as recipes
from core.shipping.changes import Changes
from core.shipping.judging import judge
from core.shipping.real_files import judge_on_real
from core.shipping.recipe import ANSWERS, Recipe
from core.shipping.shards import load, make_shard, make_shards
from core.vocabulary import PLANES

SMALL = {"persons": 2, "held_back": 1, "slices_per_person": 3, "size": 32, "epochs": 1, "batch_size": 4}
N = len(LEAVES)
ANSWERED = {"plane": list(PLANES), "sequence": list(ANSWERS)}
#: The plane between brains and other things in the one feature that `Reader` has.
PLANE = {"weight": [9.0], "bias": 0.0}
CLASSES = {"plane": list(PLANES), "sequence": list(LEAVES)}


@pytest.fixture
def striped(monkeypatch):
    """Cheap slices instead of phantoms: a grey that tells the place in the shard. Gives the list of what was asked."""
    asked = []

    def slices(seed, n, size, odds):
        asked.append((seed, n, size))
        for i in range(n):
            yield np.full((size, size), i / 255, np.float32), PLANES[i % 3], LEAVES[(seed + i) % len(LEAVES)]

    monkeypatch.setattr(shards.render, "training_slices", slices)
    return asked


def asked_for(n):
    """A recipe of ``n`` tiny slices a person, and nothing else."""
    return Recipe(slices_per_person=n, size=8, others=0.0)


# --- recipe -----------------------------------------------------------------------------------------------------------


def test_equal_recipes_share_a_key_and_different_ones_do_not():
    recipe = Recipe()
    assert recipe.key == Recipe(**dataclasses.asdict(recipe)).key
    assert len(recipe.key) == 12 and set(recipe.key) <= set("0123456789abcdef")
    keys = {recipe.key}
    for name, value in dataclasses.asdict(recipe).items():
        others = {"odds": Nuisances(jpeg=1.0), "dtype_policy": "float32", "teachers": (1.0,), "start": "0" * 64}
        other = others[name] if name in others else value + 1
        keys.add(dataclasses.replace(recipe, **{name: other}).key)
    assert len(keys) == 1 + len(dataclasses.fields(Recipe))


def test_shards_are_shared_by_recipes_that_train_differently_on_the_same_slices():
    recipe = Recipe()
    for same in ({"persons": 3}, {"epochs": 99}, {"random_state": 5}, {"dtype_policy": "float32"}):
        assert dataclasses.replace(recipe, **same).shards_key == recipe.shards_key
    for other in ({"size": 64}, {"slices_per_person": 1}, {"others": 0.0}, {"odds": Nuisances(jpeg=1.0)}):
        assert dataclasses.replace(recipe, **other).shards_key != recipe.shards_key


def test_key_does_not_change_from_one_run_to_the_next():
    """Or checkpoints of a broken run would not be found again."""
    command = f"from core.shipping.recipe import Recipe; print(Recipe(**{SMALL}).key)"
    said = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True, cwd=PROJECT_DIR)
    assert said.stdout.split()[-1] == Recipe(**SMALL).key


def test_phantoms_key_follows_the_code_that_draws_the_slices(tmp_path, monkeypatch):
    """So that shards of older phantoms are not gone on with."""
    assert recipes.phantoms_key() == recipes.phantoms_key()
    shutil.copytree(PROJECT_DIR / "core", tmp_path / "core", ignore=shutil.ignore_patterns("__pycache__"))
    key = recipes.phantoms_key()
    monkeypatch.setattr(recipes, "PROJECT_DIR", tmp_path)
    assert recipes.phantoms_key() == key
    for name in ("phantom/contrast.py", "phantom/scan.py", "images.py"):
        before = recipes.phantoms_key()
        with (tmp_path / "core" / name).open("a") as file:
            file.write("# another\n")
        assert recipes.phantoms_key() != before, name
    before = recipes.phantoms_key()
    (tmp_path / "core" / "splits.py").write_text("")
    assert recipes.phantoms_key() == before


# --- shards -----------------------------------------------------------------------------------------------------------


def test_shard_of_a_real_phantom_holds_images_and_a_word_of_each_kind_for_every_one(tmp_path):
    path = tmp_path / "person-1000.npz"
    make_shard(1000, Recipe(slices_per_person=5, size=32, others=0.0), path)
    with np.load(path) as shard:
        assert set(shard) == {"images", "plane", "sequence"}
        images, plane, sequence = (shard[name] for name in ("images", "plane", "sequence"))
    assert (images.shape, images.dtype) == ((5, 32, 32), np.uint8)
    assert plane.shape == sequence.shape == (5,)
    assert set(plane) <= set(PLANES) and set(sequence) <= set(LEAVES)
    # nearly the whole range of grey is used
    assert images.max() > 200 and all(image.std() > 5 for image in images)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_shard_keeps_order_and_grey_of_its_slices(tmp_path, striped):
    make_shard(7, asked_for(30), tmp_path / "one.npz")
    assert striped == [(7, 30, 8)]
    images, plane, sequence = load([tmp_path / "one.npz"])
    assert images[:, 0, 0].tolist() == list(range(30))
    assert plane.tolist() == [PLANES[i % 3] for i in range(30)]
    assert sequence.tolist() == [LEAVES[(7 + i) % N] for i in range(30)]


def test_other_things_lie_between_the_slices_and_have_no_words(tmp_path, striped):
    make_shard(7, Recipe(slices_per_person=200, size=32, others=0.2), tmp_path / "one.npz")
    images, plane, sequence = load([tmp_path / "one.npz"])
    other = plane == ""
    assert 20 < other.sum() < 60 and len(images) == 200 + other.sum()
    np.testing.assert_array_equal(other, sequence == "")
    assert images[~other][:, 0, 0].tolist() == list(range(200))
    numbered = shards.numbers(plane, list(PLANES))
    assert (numbered[other] == -1).all() and numbered[~other].tolist() == [i % 3 for i in range(200)]


def test_shard_that_was_not_finished_is_not_there(tmp_path, striped, monkeypatch):
    """Neither a crash while rendering nor one while writing leaves what the next run would take for a shard."""

    def cut_short(file, **arrays):
        file.write_bytes(b"PK half a shard")
        raise OSError("disk full")

    monkeypatch.setattr(shards.np, "savez", cut_short)
    with pytest.raises(OSError, match="disk full"):
        make_shard(1, asked_for(3), tmp_path / "person-1.npz")
    assert not (tmp_path / "person-1.npz").exists()
    assert not list(tmp_path.glob("person-?.npz"))
    monkeypatch.undo()

    def broken(*_):
        yield np.zeros((8, 8), np.float32), "axial", "T1"
        raise RuntimeError("no more slices")

    monkeypatch.setattr(shards.render, "training_slices", broken)
    with pytest.raises(RuntimeError, match="no more slices"):
        make_shard(2, asked_for(3), tmp_path / "person-2.npz")
    assert not (tmp_path / "person-2.npz").exists()


def test_load_puts_shards_one_behind_the_other(tmp_path, striped):
    paths = [tmp_path / f"{seed}.npz" for seed in (3, 4)]
    for seed, path in zip((3, 4), paths, strict=True):
        make_shard(seed, asked_for(2 + seed), path)
    images, plane, sequence = load(paths)
    assert images.shape == (11, 8, 8) and images.dtype == np.uint8
    assert len(plane) == len(sequence) == 11
    assert images[:, 0, 0].tolist() == [*range(5), *range(6)]
    assert sequence.tolist() == [LEAVES[3 + i] for i in range(5)] + [LEAVES[(4 + i) % N] for i in range(6)]
    assert load(paths[::-1])[0][:, 0, 0].tolist() == [*range(6), *range(5)]


def test_shards_that_are_there_are_not_made_again_and_held_back_people_come_last(tmp_path, striped):
    recipe = dataclasses.replace(asked_for(2), persons=3, held_back=2, random_state=4)
    numbered = [5000, 5001, 5002, 5900, 5901]
    for seed in numbered:
        make_shard(seed, recipe, tmp_path / f"person-{seed}.npz")
    striped.clear()
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    shards = make_shards(recipe, tmp_path, workers=1)
    assert [path.name for path in shards] == [f"person-{seed}.npz" for seed in numbered]
    assert striped == []
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_people_of_two_recipes_are_different_ones(tmp_path, monkeypatch):
    """As are those of the demo cohorts, who are numbered from 100,000 on."""

    class Nobody:
        """A pool that notes the work and does none."""

        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, function, seed, recipe, path):
            work.append((seed, recipe.slices_per_person, recipe.size))
            done = Future()
            done.set_result(None)
            return done

    monkeypatch.setattr(shards, "ProcessPoolExecutor", Nobody)
    work = []
    for random_state in range(3):
        recipe = Recipe(persons=9, held_back=2, slices_per_person=40, size=16, random_state=random_state)
        assert len(make_shards(recipe, tmp_path / str(random_state), workers=1)) == 11
    people = {seed for seed, *_ in work}
    assert len(people) == len(work) == 33
    assert max(people) < 100_000
    assert {(n, size) for _, n, size in work} == {(40, 16)}


# --- training ---------------------------------------------------------------------------------------------------------


def test_slices_are_only_scaled_when_nothing_is_trained():
    pictures = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_allclose(np.array(Changes(1.0)(pictures)), pictures / 255, atol=1e-6)


def test_without_strength_slices_are_mirrored_half_the_time_and_nothing_else():
    ramp = np.tile(np.arange(0, 240, 10, dtype=np.uint8), (24, 1))
    made = np.array(Changes(0.0, seed=0)(np.stack([ramp] * 200)[..., None], training=True))[..., 0]
    same = np.isclose(made, ramp / 255, atol=1e-6).all((1, 2))
    mirrored = np.isclose(made, ramp[:, ::-1] / 255, atol=1e-6).all((1, 2))
    assert (same ^ mirrored).all() and 60 < same.sum() < 140


def test_changed_slices_differ_each_time_keep_their_place_and_stay_between_black_and_white():
    disc = (np.hypot(*(np.indices((48, 48)) - 23.5)) < 14).astype(np.uint8) * 150
    layer = Changes(1.0, seed=0)
    one, two = (np.array(layer(np.stack([disc] * 64)[..., None], training=True))[..., 0] for _ in range(2))
    assert one.dtype == np.float32 and one.min() >= 0 and one.max() <= 1
    assert np.abs(one - two).mean() > 0.02
    # Heads stay in the picture, and no tone turns bright into dark.
    rows, columns = np.indices((48, 48))
    centre = [(picture * grid).sum() / picture.sum() for picture in one for grid in (rows, columns)]
    assert min(centre) > 14 and max(centre) < 33
    assert (one[:, 20:28, 20:28].mean((1, 2)) > one[:, :3].mean((1, 2)) + 0.15).all()


def test_settling_gives_normalisation_the_statistics_of_the_slices_and_moves_nothing_else():
    image = keras.Input((4, 4, 1))
    normal = keras.layers.BatchNormalization(momentum=0.9, name="normal")
    answer = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(normal(image)))
    trained = keras.Model(image, answer)
    before = [weight.numpy() for weight in trained.trainable_weights]
    x = np.random.default_rng(0).normal(3, 2, (15_360, 4, 4, 1)).astype(np.float32)
    network.settle(trained, keras.Model(trained.input, trained.output), x, [np.zeros(len(x), int)])
    assert float(normal.moving_mean[0]) == pytest.approx(x.mean(), abs=0.05)
    assert float(normal.moving_variance[0]) == pytest.approx(x.var(), rel=0.02)
    assert normal.momentum == 0.9
    for was, weight in zip(before, trained.trainable_weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), was)


def test_the_shipped_weights_went_on_from_others_that_went_on():
    card = bundle.read_card(WEIGHTS_DIR)
    before = card["started_from"]
    made_by = dataclasses.replace(recipes.going_on(), start=before["sha256"])
    assert card["recipe"] == json.loads(json.dumps(asdict(made_by)))
    assert before["recipe"]["start"] not in ("", before["sha256"], card["sha256"])
    assert card["sha256"] != before["sha256"] and card["phantoms"] != before["phantoms"]


def test_going_on_starts_with_the_answers_of_the_shipped_weights():
    recipe = recipes.going_on()
    made = network._network(recipe, {**CLASSES, "brain": ["other", "brain"]}, "float32")
    network._start_from_shipped(made, recipe)
    images = np.random.default_rng(3).random((6, recipe.size, recipe.size, 1), np.float32)
    plane, sequence, brain = made.predict(images, verbose=0)
    shipped = keras.Model((model := bundle.load(WEIGHTS_DIR)).input, [*model.outputs, model.get_layer(FEATURES).output])
    expected_plane, expected, features = shipped.predict(images, verbose=0)
    np.testing.assert_allclose(plane, expected_plane, atol=1e-5)
    answered = sequence[:, shards.numbers(np.array(ANSWERS), list(LEAVES))]
    np.testing.assert_allclose(answered / answered.sum(1, keepdims=True), expected, atol=1e-5)
    assert (sequence[:, LEAVES.index("MRA")] < 0.1).all()
    np.testing.assert_allclose(brain[:, 1], brain_probability(features, bundle.read_card(WEIGHTS_DIR)), atol=1e-5)


def test_the_mean_with_the_weights_before_holds_the_share_that_is_kept_of_them():
    recipe = dataclasses.replace(recipes.going_on(), kept=0.25)
    made = network._network(recipe, {**CLASSES, "brain": ["other", "brain"]}, "float32")
    network._start_from_shipped(made, recipe)
    before = made.get_weights()
    made.set_weights([part + 4 for part in before])
    network._mean_with_shipped(made, recipe)
    for part, was in zip(made.get_weights(), before, strict=True):
        np.testing.assert_allclose(part, was + 3, atol=1e-5)


def test_going_on_from_other_weights_than_the_shipped_ones_is_refused():
    with pytest.raises(BundleError, match="not those that this recipe goes on from"):
        network._start_from_shipped(None, dataclasses.replace(recipes.going_on(), start="0" * 64))


@pytest.mark.slow
def test_training_gives_a_network_in_single_precision_and_a_plane_between_brains_and_other_things(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(network, "_SETTLING", 256)
    mixed = []
    monkeypatch.setattr(network, "_mean_with_shipped", lambda network, recipe: mixed.append(recipe))
    recipe = Recipe(persons=1, slices_per_person=40, others=0.5, size=32, epochs=1, batch_size=8, kept=0.5)
    make_shard(1000, recipe, tmp_path / "one.npz")
    model, classes, brain = network.train(recipe, load([tmp_path / "one.npz"]), tmp_path / "checkpoint")
    assert mixed == [recipe]
    assert classes == ANSWERED and model.output_names == ["plane", "sequence"]
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    proba, embeddings = judging.asker(model)(load([tmp_path / "one.npz"])[0])
    assert [p.shape[1] for p in proba] == [3, len(ANSWERS)] and embeddings.shape[1] == len(brain["weight"])
    assert all(np.allclose(p.sum(1), 1, atol=1e-5) for p in proba)


# --- judgement --------------------------------------------------------------------------------------------------------


class Reader:
    """Reads the answer off the picture: right for those slices that ``right`` says, else one off; bright is brain."""

    def __init__(self, right):
        self.right = right

    def __call__(self, images):
        assert images.shape[1:] == (8, 8) and images.dtype == np.uint8
        code = images[:, 0, 0].astype(int)
        plane, sequence = code // N % 3, code % N
        off = (~self.right(code)).astype(int)
        rows = np.arange(len(code))
        answer = []
        for words, n in ((plane, 3), (sequence, N)):
            proba = np.full((len(code), n), 0.2 / (n - 1), np.float32)
            proba[rows, (words + off) % n] = 0.8
            answer.append(proba)
        return answer, np.where(code < 250, 1.0, -1.0)[:, None]


@pytest.fixture
def held_back(tmp_path):
    """Four people; the grey of each slice holds its plane, its sequence, and in the last two people 126 more.

    Each has two pictures of other things besides, without words.
    """
    paths = []
    for person in range(4):
        code = np.append(np.arange(84) % 42 + (126 if person > 1 else 0), [255, 255])
        images = np.broadcast_to(code[:, None, None], (86, 8, 8)).astype(np.uint8)
        words = [np.where(code < 250, w, "") for w in (np.array(PLANES)[code // N % 3], np.array(LEAVES)[code % N])]
        paths.append(tmp_path / f"{person}.npz")
        np.savez(paths[-1], images=images, plane=words[0], sequence=words[1])
    return paths


def test_scores_come_from_people_on_whom_nothing_was_fitted(held_back):
    """Right on the half that temperature and threshold are fitted on, wrong on a third of the other."""
    recipe = Recipe(persons=1, held_back=4, size=8)
    card = judge(Reader(lambda code: (code < 126) | (code % 3 > 0)), CLASSES, PLANE, recipe, held_back)
    for head, n in (("plane", 3), ("sequence", N)):
        scores = card["scores"]["phantoms"][head]
        assert scores["accuracy"] == pytest.approx(2 / 3)
        assert (scores["slices"], scores["people"]) == (168, 2)
        assert set(scores["by_class"]) == set(CLASSES[head])
        assert np.mean(list(scores["by_class"].values())) == pytest.approx(2 / 3)
        assert scores["majority_baseline"] == pytest.approx(1 / n)
        # On the first half the model was always right, so it is taught to be surer: and is too sure on the second.
        assert card["temperature"][head] < judging.CAUTION
        assert scores["ece"] > 0.2
        assert 0 < card["unsure_below"][head] <= 1
    assert card["scores"]["phantoms"]["brain"] == {"auroc": 1.0, "brains_set_apart": 0.0, "others": 4}


def test_judgement_writes_what_a_card_needs(held_back):
    recipe = Recipe(persons=1, held_back=4, size=8)
    card = judge(Reader(lambda code: code >= 0), CLASSES, PLANE, recipe, held_back)
    assert card["scores"]["phantoms"]["plane"]["accuracy"] == card["scores"]["phantoms"]["sequence"]["accuracy"] == 1
    assert set(card["scores"]["phantoms"]["sequence"]["by_class"].values()) == {1.0}
    assert card["recipe"] == {**dataclasses.asdict(recipe), "teachers": []}
    assert card["brain"] == {**PLANE, "below": 0.7}
    assert card["classes"] == CLASSES and card["kind"] == "dual" and card["backbone"] == "slicescope"
    assert any("phantoms alone" in limit for limit in card["limits"])
    assert json.loads(json.dumps(card)) == card  # goes into a file and comes back


def test_real_score_lets_neither_a_long_series_nor_a_common_class_decide(tmp_path, monkeypatch):
    """Slices are averaged in their file, files in their subject, subjects in their class, and classes."""
    # path, subject, true plane, true sequence, header plane; and the model's answers, slice by slice
    files = [
        ("a/long", "ann", "axial", "T1", "axial", [("axial", "T1")] * 90),
        ("a/short", "ann", "axial", "T1w", "axial", [("coronal", "T2")] * 2),
        ("b", "bob", "volume", "T1", "sagittal", [("sagittal", "T1"), ("axial", "T1")]),
        ("c", "cat", "coronal", "T1ce", "coronal", [("coronal", "T1CE"), ("coronal", "T1")]),
        ("d", "dan", "axial", "localizer", "axial", [("axial", "T1")] * 5),
        ("e", "eve", "axial", "fMRI", "axial", [("axial", "DWI")]),
    ]
    pd.DataFrame(
        [(path, plane, sequence, subject, "x") for path, subject, plane, sequence, *_ in files],
        columns=["path", "plane", "sequence", "subject", "vendor"],
    ).to_csv(tmp_path / "labels.csv", index=False)
    slices = pd.DataFrame(
        [(path, *answer, head, "agree") for path, _, _, _, head, answers in files for answer in answers],
        columns=["path", "plane", "sequence", "header_plane", "plane_verdict"],
    )
    monkeypatch.setattr(real_files.cohort, "scan", lambda folder, name, workers: ("scanned", folder))
    monkeypatch.setattr(real_files.classify, "classify", lambda made, model, workers: (slices, None, None))
    scores = judge_on_real(tmp_path)
    # Ann has one file right and one wrong, Bob half of his slices; nobody asks for localizers.
    assert scores["sequence_by_class"] == {"BOLD": 0.0, "T1": pytest.approx((0.5 + 1) / 2), "T1CE": 0.5}
    assert scores["sequence"] == pytest.approx((0 + 0.75 + 0.5) / 3)
    assert scores["plane"] == pytest.approx((0.5 + 0.5 + 1 + 1 + 1) / 5)
    assert scores["plane_interval"][0] <= scores["plane"] <= scores["plane_interval"][1]
    assert 0 <= scores["sequence_interval"][0] < scores["sequence"] < scores["sequence_interval"][1] <= 1
    assert scores["set_apart"] == 0
    assert (scores["files"], scores["subjects"], scores["slices"]) == (6, 5, 102)


# --- the shipped weights ----------------------------------------------------------------------------------------------


@pytest.fixture
def card():
    return bundle.read_card(WEIGHTS_DIR)


def test_shipped_model_is_the_one_its_card_describes(card):
    path = WEIGHTS_DIR / bundle.MODEL_FILE
    assert bundle.sha256(path) == card["sha256"]
    assert path.stat().st_size < 8 << 20  # a few MB, as it lies in the repository
    assert bundle.is_registered(WEIGHTS_DIR)


def test_shipped_card_tells_what_the_model_answers_and_how_it_was_made(card):
    assert card["classes"] == ANSWERED
    assert card["kind"] == "dual"
    assert set(card["recipe"]) == set(dataclasses.asdict(Recipe()))
    assert Recipe(**card["recipe"]).size == card["input_shape"][0] == card["input_shape"][1]
    assert card["limits"] and all(isinstance(limit, str) and len(limit) > 20 for limit in card["limits"])
    assert "Not for clinical use" in card["not_for_clinical_use"]
    assert len(card["brain"]["weight"]) == 256 and 0 < card["brain"]["below"] <= 0.7
    for head in ANSWERED:
        assert 0.2 < card["temperature"][head] < 5
        assert 0 <= card["unsure_below"][head] < 1


def test_shipped_card_holds_scores_on_held_back_people_far_above_the_baseline(card):
    scores = card["scores"]["phantoms"]
    held_back = card["recipe"]["held_back"]
    for head, names in ANSWERED.items():
        score = scores[head]
        assert set(score["by_class"]) == set(names)
        assert score["people"] == held_back - held_back // 2
        every = score["people"] * card["recipe"]["slices_per_person"]
        assert score["slices"] == every if head == "plane" else 0.9 * every < score["slices"] < every
        assert score["majority_baseline"] + 0.3 < score["accuracy"] <= 1
        # Cautious on phantoms, because real heads are what it is for.
        assert 0 <= score["ece"] < 0.3
        assert min(score["by_class"].values()) <= score["accuracy"] <= max(score["by_class"].values())


def test_shipped_card_is_honest_about_real_brains(card):
    real = card["scores"]["real"]
    assert set(real["sequence_by_class"]) <= set(ANSWERS)
    assert real["sequence"] == pytest.approx(np.mean(list(real["sequence_by_class"].values())))
    assert 1 / 3 < real["plane"] <= 1
    assert 0 < real["subjects"] <= real["files"] <= real["slices"]
