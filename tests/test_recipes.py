"""Every choice of a run does what it says: each test here fails where its option does nothing."""

import json
from dataclasses import fields, replace

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_training import SIZE, accuracies, config, fake_inputs, fresh, made, new_run, start  # noqa: F401

from core import backend_tensorflow, batches, bundle, cohort, splits, training
from core.cohorts import default_split
from core.config import CHOICES, KINDS, RANGES, RunConfig
from core.errors import ConfigError
from core.learning import compiling, features, fitting, run_split
from core.learning.run_words import WORDS
from core.learning.training_callbacks import Epochs, Watch
from core.models import BUILDERS, float32_twin, parts, siamese

CLASSES = {"plane": ["axial", "coronal", "sagittal"]}


def table(patients: int = 20, seed: int = 0) -> pd.DataFrame:
    """Slices of patients who show one to three planes each; sagittal ones are rare."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        planes = ["axial", *(["coronal"] if rng.random() < 0.5 else []), *(["sagittal"] if patient % 7 == 0 else [])]
        rows += [(f"P{patient:02}", plane, number) for plane in planes for number in range(6)]
    made_ = pd.DataFrame(rows, columns=["PatientID", "plane", "frame"])
    return made_.assign(SOPInstanceUID=[f"1.{n}" for n in range(len(made_))], sequence="T1")


# The split


def test_a_split_by_slice_leaks_keeps_the_shares_of_each_class_and_does_not_mind_the_order_of_rows():
    one = table()
    split = splits.slice_split(one, (0.5, 0.25, 0.25), 3, "plane")
    assert len(splits.leaks(one, split)) > 10
    for plane, part in split.groupby(one["plane"]):
        shares = part.value_counts(normalize=True)
        assert shares["train"] == pytest.approx(0.5, abs=1 / len(part)), plane
        assert shares["test"] == pytest.approx(0.25, abs=1 / len(part)), plane
    shuffled = one.sample(frac=1, random_state=1)
    pd.testing.assert_series_equal(splits.slice_split(shuffled, (0.5, 0.25, 0.25), 3, "plane").sort_index(), split)
    assert not splits.slice_split(one, (0.5, 0.25, 0.25), 4, "plane").equals(split)
    unlabelled = one.assign(plane=one["plane"].where(one["plane"] != "coronal"))
    assert splits.slice_split(unlabelled, label="plane").isin(splits.SPLITS).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 50), st.lists(st.floats(0.02, 1.0), min_size=2, max_size=4))
def test_shares_of_the_training_patients_are_nested_and_leave_the_other_parts_whole(seed, shares):
    one = table(30, seed)
    one["split"] = splits.patient_split(one, label="plane", random_state=seed)
    asked = RunConfig("x", "transfer", "c", label="plane", random_state=seed)
    before: set[str] = set()
    everyone = set(one.loc[one["split"] == "train", "PatientID"])
    for share in sorted(shares):
        out = run_split.left_out(one, replace(asked, train_share=share))
        assert (one.loc[out, "split"] == "train").all()
        taken = set(one.loc[~out & (one["split"] == "train"), "PatientID"])
        assert taken.isdisjoint(one.loc[out, "PatientID"])
        assert before <= taken
        assert abs(len(taken) - share * len(everyone)) <= 1
        before = taken


def test_the_first_patients_of_a_share_show_every_class():
    one = table(28)
    order = splits.nested_order(one, "plane", 1)
    assert sorted(order) == sorted(one["PatientID"].unique())
    assert set(one.loc[one["PatientID"].isin(order[:2]), "plane"]) == set(CLASSES["plane"])
    everyone = one.drop_duplicates(["PatientID", "plane"]).groupby("plane").size() / 28
    half = one[one["PatientID"].isin(order[:14])].drop_duplicates(["PatientID", "plane"]).groupby("plane").size() / 14
    assert (everyone - half).abs().max() < 0.08
    assert splits.nested_order(one, "plane", 2) != order


def test_a_run_takes_the_split_that_was_saved_with_its_cohort_or_says_that_there_is_none(made):  # noqa: F811
    asked = config("transfer", split="cohort")
    with pytest.raises(ConfigError, match="no saved split"):
        training._labelled(cohort.read("made"), asked)
    own = cohort.read("made")
    chosen = own.table["PatientID"].map(lambda p: {"P-3": "test", "P-4": "validation"}.get(p, "train"))
    default_split.save_default_split(own, chosen, {"by": "hand"})
    rows, _ = training._labelled(cohort.read("made"), asked)
    assert set(rows.loc[rows["split"] == "test", "PatientID"]) == {"P-3"}
    assert set(rows.loc[rows["split"] == "validation", "PatientID"]) == {"P-4"}


def test_shares_and_splits_reach_the_run_and_its_card(made, start):  # noqa: F811
    folder = new_run(None)
    card = training.train(config("transfer", weights=start, epochs=1, train_share=0.5), folder)
    half = pd.read_parquet(folder / "split.parquet").drop_duplicates("PatientID")["split"].value_counts()
    assert half.to_dict() == {"train": 3, "validation": 2, "test": 2}
    assert not any("too good" in limit for limit in card["limits"])
    leaky = training.train(config("transfer", weights=start, epochs=1, split="slice"), folder)
    rows = pd.read_parquet(folder / "split.parquet")
    assert rows.groupby("PatientID")["split"].nunique().max() == 3
    assert any("too good" in limit for limit in leaky["limits"])


# Rare classes


def data(y: dict[str, list[int]]) -> fitting.Data:
    n = len(next(iter(y.values())))
    numbers = {head: np.array(values) for head, values in y.items()}
    images = np.random.default_rng(0).random((n, SIZE, SIZE), dtype=np.float32)
    classes = {head: [f"{head}-{number}" for number in range(3)] for head in y}
    return fitting.Data(images, numbers, np.arange(n).astype(str), np.full(n, "train"), classes)


def test_oversampling_makes_the_training_classes_equal_and_weights_nothing():
    made_ = data({"plane": [0] * 7 + [1] * 2 + [2]})
    rows = np.arange(10)
    asked = RunConfig("x", "transfer", "c", class_balance="oversample")
    order = fitting._repeats(made_, rows, asked)
    assert np.bincount(made_.y["plane"][order]).tolist() == [7, 7, 7]
    assert set(order) == set(rows)
    assert set(fitting._weights(made_, order, asked)[0]) == {1.0}
    source = fitting._Views(made_, order, fitting._weights(made_, order, asked), replace(asked, batch_size=21), "whole")
    assert np.bincount(source[0][1]).tolist() == [7, 7, 7]


def test_of_two_heads_every_combination_is_brought_level():
    made_ = data({"plane": [0, 0, 0, 1], "sequence": [0, 0, 1, 1]})
    order = fitting._repeats(made_, np.arange(4), RunConfig("x", "dual", "c", class_balance="oversample"))
    both = np.stack([made_.y["plane"][order], made_.y["sequence"][order]], axis=1)
    assert sorted(map(tuple, both.tolist())) == [(0, 0), (0, 0), (0, 1), (0, 1), (1, 1), (1, 1)]


def test_weights_or_none_leave_the_rows_and_differ_in_what_counts():
    made_ = data({"plane": [0] * 8 + [1] * 2})
    for balance, ratio in (("weights", 4.0), ("none", 1.0)):
        asked = RunConfig("x", "transfer", "c", class_balance=balance)
        assert fitting._repeats(made_, np.arange(10), asked).tolist() == list(range(10))
        (weights,) = fitting._weights(made_, np.arange(10), asked)
        assert weights[-1] / weights[0] == pytest.approx(ratio)


def test_pairs_are_balanced_unless_rare_classes_shall_stay_rare():
    y, patient = np.array([0] * 90 + [1] * 10), np.arange(100)
    for balance, share in (("weights", 0.5), ("oversample", 0.5), ("none", 0.1)):
        source = fitting._Pairs(np.zeros((1, 100, 1)), y, patient, config("siamese", class_balance=balance), "head")
        first, second, same = source.drawn
        assert np.mean(y[first] == 1) == pytest.approx(share, abs=0.12), balance
        np.testing.assert_array_equal(y[first] == y[second], same == 1)


# Losses and steps


def test_smoothing_is_cross_entropy_against_a_softened_answer():
    proba = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], np.float32)
    for smoothing in (0.0, 0.3):
        soft = np.eye(3)[[0, 2]] * (1 - smoothing) + smoothing / 3
        given_ = np.asarray(compiling.smoothed(np.array([0, 2]), proba, smoothing))
        np.testing.assert_allclose(given_, -(soft * np.log(proba)).sum(axis=1), rtol=1e-5)


def test_the_contrastive_loss_is_what_one_works_out_by_hand():
    # Cosines of 60°, 90° and 0°: distances 1, √2 and 0.
    cosine, same = np.array([[0.5], [0.0], [1.0], [0.5]], np.float32), np.array([[1], [0], [0], [0]], np.float32)
    given_ = np.asarray(compiling.contrastive(same, cosine, margin=1.5)).ravel()
    np.testing.assert_allclose(given_, [1.0, (1.5 - 2**0.5) ** 2, 1.5**2, 0.25], atol=1e-3)


def test_the_contrastive_answer_reads_the_distance():
    for margin in (0.7, 1.5):
        model = BUILDERS["siamese"](config("siamese", weights="none", pair_loss="contrastive", margin=margin), CLASSES)
        kernel, bias = (float(np.ravel(w)[0]) for w in model.get_layer("same").get_weights())
        answer = {d: 1 / (1 + np.exp(-(kernel * (1 - (d * margin) ** 2 / 2) + bias))) for d in (0, 0.5, 1)}
        assert answer[0] == pytest.approx(0.953, abs=0.01)
        assert answer[0.5] == pytest.approx(0.5, abs=0.01)
        assert answer[1] < 0.001


def test_the_cosine_model_shares_the_encoder():
    model = BUILDERS["siamese"](config("siamese", weights="none", pair_loss="contrastive"), CLASSES)
    x = np.random.default_rng(0).random((4, SIZE, SIZE, 1), dtype=np.float32)
    features = parts.features_model(model).predict(x, verbose=0)
    unit = parts.encoder_of(model).predict(x, verbose=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    wanted = (unit * unit[::-1]).sum(axis=1, keepdims=True)
    for part, inputs in ((model, x), (siamese.pair_head(model), features)):
        given_ = siamese.cosine_model(part).predict([inputs, inputs[::-1]], verbose=0)
        np.testing.assert_allclose(given_, wanted, atol=1e-5)


def test_optimisers_and_schedules():
    asked = RunConfig("x", "transfer", "c", learning_rate=0.01)
    kinds = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW, "sgd": keras.optimizers.SGD}
    for name, kind in kinds.items():
        chosen = compiling.optimiser(replace(asked, optimiser=name), 0.5, 100)
        assert type(chosen) is kind
        assert float(chosen.learning_rate) == pytest.approx(0.005)
    falling = compiling.optimiser(replace(asked, schedule="cosine"), 1.0, 100)._learning_rate
    assert [float(falling(step)) for step in (0, 50, 100)] == pytest.approx([0.01, 0.00505, 0.0001])


def test_weight_decay_shrinks_kernels_and_leaves_biases():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, bias_initializer="ones")])
    before = model.get_weights()
    model.compile(compiling.optimiser(RunConfig("x", "transfer", "c", optimiser="adamw", learning_rate=1.0), 1, 1),
                  lambda y, p: 0 * p)  # fmt: skip
    model.fit(np.ones((4, 2)), np.ones(4), verbose=0)
    kernel, bias = model.get_weights()
    assert (np.abs(kernel) < np.abs(before[0])).all()
    np.testing.assert_array_equal(bias, before[1])


def test_patience_ends_a_stage_and_counts_from_the_best_epoch(tmp_path):
    def ended(losses: list[float], patience: int) -> int | None:
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
        watch = Watch(tmp_path, lambda *told: None, lambda: False, lambda mark: None)
        told = Epochs(model, "head", len(losses) + 1, watch, "val_loss", patience=patience)
        told.set_model(model)
        told.on_train_begin()
        model.stop_training = False
        for epoch, loss in enumerate(losses):
            told.on_epoch_end(epoch, {"val_loss": loss})
            if model.stop_training:
                return epoch + 1
        return None

    assert ended([3, 2, 2.5, 2.4, 1, 2, 3, 4], 3) == 8
    assert ended([3, 2, 2.5, 2.4], 2) == 4
    assert ended([1, 2, 3, 4, 5, 6], 0) is None


# Augmentation


def test_the_original_augmentation_is_another_one_and_has_its_own_stored_features(workspace):
    x = np.zeros((40, 64, 64), np.float32)
    x[:, 20:44, 24:36] = 0.5
    x[:, 60:] = 0.25
    one, two = (batches.augment(x, np.random.default_rng(0), how) for how in ("scanner", "original"))
    assert np.abs(one - two).max() > 0.2
    # No noise, so flat stays flat; and brighter by up to a fifth.
    peaks = two.max(axis=(1, 2))
    assert ((peaks > 0.39) & (peaks < 0.61)).all() and np.ptp(peaks) > 0.1
    area = (two > 0.38).mean(axis=(1, 2)) / (x[0] > 0.38).mean()
    assert area.min() < 0.75 and area.max() < 1.4
    with pytest.raises(ConfigError, match="augmentation"):
        batches.augment(x, np.random.default_rng(0), "none")
    backbone = keras.Sequential([keras.Input((64, 64, 1)), keras.layers.Flatten()])
    for how in ("scanner", "original"):
        stored = features.view_features(backbone, x[:2], 1, augmentation=how)
        np.testing.assert_allclose(stored, batches.augmented_view(x[:2], 1, how).reshape(2, -1), atol=1e-6)


@pytest.mark.parametrize("kind", ["transfer", "siamese"])
def test_images_of_a_whole_network_are_changed_as_asked(kind, monkeypatch):
    asked = []
    monkeypatch.setattr(batches, "augment", lambda x, rng, how: asked.append(how) or x)
    made_ = data({"plane": [0, 1] * 8})
    for how, views in (("original", 1), ("scanner", 1), ("original", 0)):
        one = config(kind, augmentation=how, augment_views=views)
        if kind == "siamese":
            fitting._Pairs(made_.images, made_.y["plane"], made_.patient, one, "whole")[0]
        else:
            fitting._Views(made_, np.arange(16), [np.ones(16)], one, "whole")[0]
    assert list(dict.fromkeys(asked)) == ["original", "scanner"]
    assert len(asked) == (4 if kind == "siamese" else 2)


# Mixed precision


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_halves_the_backbone_alone_and_its_twin_answers_the_same(policy, monkeypatch):
    monkeypatch.setattr("core.models.backbones.half_precision", lambda: policy)
    asked = config("dual", weights="none", mixed_precision=True)
    classes = {**CLASSES, "sequence": ["T1", "T2"]}
    keras.utils.set_random_seed(0)
    model = BUILDERS["dual"](asked, classes)
    assert keras.config.dtype_policy().name == "float32"
    assert {weight.dtype for weight in model.weights} <= {"float32", "uint32"}
    halved = [layer for layer in model.layers if layer.compute_dtype != "float32"]
    assert len(halved) > 10 and all(layer.compute_dtype == policy[6:] for layer in halved)
    assert all(isinstance(layer.compute_dtype, str) for layer in model.layers)
    assert {model.get_layer(name).compute_dtype for name in ("features", "plane", "sequence")} == {"float32"}
    twin = float32_twin(asked, classes)
    twin.set_weights(model.get_weights())
    assert {layer.compute_dtype for layer in twin.layers} == {"float32"}
    x = np.random.default_rng(0).random((8, SIZE, SIZE, 1), dtype=np.float32)
    for half, whole in zip(model.predict(x, verbose=0), twin.predict(x, verbose=0), strict=True):
        np.testing.assert_allclose(half, whole, atol=0.03)
        assert not np.array_equal(half, whole)
    compiling.compile_stage(model, asked, 1.0, 10)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    assert float32_twin(replace(asked, mixed_precision=False), classes) is None


def test_this_machine_has_a_policy():
    assert backend_tensorflow.half_precision() in ("mixed_bfloat16", "mixed_float16")


# Whole runs


OPTIONS = {
    "steps": {"optimiser": "adamw", "schedule": "cosine", "label_smoothing": 0.1},
    "oversample": {"optimiser": "sgd", "class_balance": "oversample", "augmentation": "original"},
    "none": {"class_balance": "none", "pair_loss": "contrastive", "train_share": 0.7},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_trains_under_every_option(made, start, kind, options):  # noqa: F811
    folder = new_run(None)
    training.train(config(kind, weights=start, epochs=8, learning_rate=0.01, **options), folder)
    x, truth = fresh()
    for head, accuracy in accuracies(folder, x, truth).items():
        assert accuracy > 1 / len(set(truth[head])) + 0.15, (head, accuracy)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_in_mixed_precision_is_fine_tuned_and_saved_in_single(made, start, kind):  # noqa: F811
    folder = new_run(None)
    # A rate at which single precision holds as well: at ten times this one both forget what the head had learnt.
    asked = config(kind, weights=start, epochs=3, fine_tune_epochs=3, fine_tune_rate=0.1, mixed_precision=True,
                   pair_loss="contrastive")  # fmt: skip
    training.train(asked, folder)
    model = bundle.load(folder / "bundle")
    assert {layer.compute_dtype for layer in parts.encoder_of(model).layers} == {"float32"}
    x, truth = fresh(2)
    for head, accuracy in accuracies(folder, x, truth).items():
        assert accuracy > 1 / len(set(truth[head])), (head, accuracy)


def test_a_run_stops_early(made, start):  # noqa: F811
    folder = new_run(None)
    training.train(config("transfer", weights=start, epochs=300, early_stopping=2, learning_rate=0.1), folder)
    losses = [json.loads(line)["val_loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert 3 <= len(losses) < 300
    assert len(losses) - 1 - int(np.argmin(losses)) == 2


def test_smoothing_changes_what_a_run_minimises_and_the_rate_of_fine_tuning_how_far_it_goes(made, start):  # noqa: F811
    folder = new_run(None)

    def losses(name: str = "loss", **options) -> list[float]:
        training.train(config("transfer", weights=start, epochs=1, **options), folder)
        return [json.loads(line)[name] for line in (folder / "metrics.jsonl").read_text().splitlines()]

    assert losses(label_smoothing=0.4)[0] > losses()[0] + 0.05
    # On the validation slices, where dropout adds no noise of its own; both begin where the head was left.
    slow, quick = (losses("val_loss", fine_tune_epochs=3, fine_tune_rate=rate, augment_views=0) for rate in (1e-4, 0.3))
    assert 5 * np.ptp(slow) < np.ptp(quick)


# The configuration


def test_every_field_has_words_and_a_check():
    names = {field.name for field in fields(RunConfig)}
    assert set(WORDS) == names
    assert names == {*CHOICES, *RANGES, "name", "cohort", "weights", "fractions", "mixed_precision", "preset"}


def test_ignored_fields_really_are():
    """What `RunConfig.ignored` names changes neither the built model nor what is minimised."""
    for kind in KINDS:
        one = config(kind, fine_tune_epochs=0, augment_views=0)
        assert set(one.ignored) <= {field.name for field in fields(RunConfig)}
    assert "margin" not in config("siamese", pair_loss="contrastive").ignored
    assert "pair_loss" not in config("siamese").ignored
    assert "fractions" in config("transfer", split="cohort").ignored
    plain, other = config("dual", label="plane"), config("dual", label="sequence")
    assert plain.heads == other.heads and run_split.split_label(plain) == run_split.split_label(other)
