"""What is unlike the training slices: distances against scikit-learn's, files, and real brains against other things."""

import json

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import roc_auc_score
from strange import strange_things

from core import bundle, cohort, inference, novelty
from core.errors import BundleError, InputError
from core.explanations.jury import unit
from core.images import MODEL_SIZE
from core.settings import WEIGHTS_DIR


def test_distance_is_that_of_mahalanobis_where_every_direction_is_learnt():
    rng = np.random.default_rng(0)
    features = rng.normal(4, 1, (400, 6)) * [1, 2, 1, 0.5, 1, 1]
    unseen = rng.normal(4, 2, (50, 6))
    familiar = novelty.fit_familiar(features)
    # Five axes and the mean of what is left: with six features that is the whole covariance, but for its divisor.
    expected = EmpiricalCovariance().fit(unit(features)).mahalanobis(unit(unseen)) * 399 / 400 / 6
    np.testing.assert_allclose(familiar.distance(unseen) ** 2, expected, rtol=0.02)


def test_training_slices_are_about_one_away_and_others_far():
    rng = np.random.default_rng(0)
    features = np.abs(rng.normal(size=(600, 8))) @ np.abs(rng.normal(size=(8, 64))) + rng.random((600, 64))
    familiar = novelty.fit_familiar(features[:500])
    assert np.sqrt((familiar.distance(features[500:]) ** 2).mean()) == pytest.approx(1, abs=0.2)
    other = np.abs(rng.normal(size=(100, 64)))
    assert familiar.distance(other).min() > 3 * familiar.distance(features[500:]).max()
    # How bright a picture is, and so how long its features are, is no reason.
    np.testing.assert_allclose(familiar.distance(7 * other), familiar.distance(other), rtol=1e-5)


def test_features_that_never_moved_and_few_slices_give_finite_distances():
    rng = np.random.default_rng(0)
    features = np.column_stack([rng.random((5, 3)) + 1, np.zeros((5, 40))])
    far = novelty.fit_familiar(features).distance(np.column_stack([np.ones((2, 3)), np.eye(2, 40)]))
    assert np.isfinite(far).all() and (far > 1).all()
    assert np.isfinite(novelty.fit_familiar(np.ones((2, 4))).distance(np.eye(4))).all()


@pytest.mark.parametrize("features", [np.ones((1, 4)), np.array([[1.0, np.nan], [1, 2]]), np.ones(4)])
def test_what_cannot_be_learnt_from_is_refused(features):
    with pytest.raises(InputError, match="at least two slices"):
        novelty.fit_familiar(features)


def test_bundle_keeps_what_is_familiar_and_answers_with_both_opinions(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.normal(3, 1, (60, 5))
    card = {"name": "x", "kind": "dual", "classes": {"plane": ["a"]}, "sha256": "0"}
    (tmp_path / "card.json").write_text(json.dumps(card))
    assert novelty.strangeness(features, tmp_path) == {}
    fitted = novelty.fit_familiar(features)
    fitted.save(tmp_path)
    found = novelty.strangeness(features, tmp_path)
    assert list(found) == ["distance"] and found["distance"].above == np.inf
    np.testing.assert_array_equal(found["distance"].values, fitted.distance(features))
    # Features of another network are not measured with this one's.
    assert novelty.strangeness(features[:, :4], tmp_path) == {}
    bundle.update_card(tmp_path, brain={"weight": [1.0] * 5, "bias": -9.0, "below": 0.7})
    plane = novelty.strangeness(features, tmp_path)["plane"]
    assert plane.above == pytest.approx(0.3)
    np.testing.assert_allclose(plane.values, 1 - novelty.brain_probability(features, bundle.read_card(tmp_path)))
    (tmp_path / novelty.FAMILIAR_FILE).write_bytes(b"nonsense")
    with pytest.raises(BundleError, match="Evaluate the run anew"):
        novelty.strangeness(features, tmp_path)


def test_strange_things_are_many_and_differ():
    kinds = strange_things(3)
    assert {"noise", "photographs", "knee", "belly", "spine"} <= set(kinds)
    assert all(len(pictures) >= 3 and np.ptp(pictures, axis=(1, 2)).min() > 0.1 for pictures in kinds.values())
    np.testing.assert_array_equal(kinds["knee"], strange_things(3)["knee"])


@pytest.mark.real
@pytest.mark.slow
def test_shipped_model_tells_real_brains_from_other_things(real_data):
    made = cohort.scan(real_data, "real", workers=2)
    rows = made.table[made.table["plane"].notna()].sample(300, random_state=0)
    from core import batches

    brains = inference.predict_local(WEIGHTS_DIR, batches.model_inputs(made, rows, MODEL_SIZE)).embeddings
    other = inference.predict_local(WEIGHTS_DIR, np.concatenate(list(strange_things().values()))).embeddings
    truth = np.repeat([0, 1], [len(brains), len(other)])
    plane = novelty.strangeness(np.concatenate([brains, other]), WEIGHTS_DIR)["plane"]
    assert roc_auc_score(truth, plane.values) > 0.97
    # Learnt from some patients, asked about others.
    train = rows["PatientID"].isin(rows["PatientID"].unique()[::2]).to_numpy()
    familiar = novelty.fit_familiar(brains[train])
    distance = familiar.distance(np.concatenate([brains[~train], other]))
    assert roc_auc_score(np.repeat([0, 1], [(~train).sum(), len(other)]), distance) > 0.93
