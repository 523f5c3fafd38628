"""The estimate's arithmetic, and that a measurement is made once for a machine and a network."""

from dataclasses import replace

import pandas as pd
import pytest

from core.config import RunConfig
from core.errors import ChildError, WeightsUnavailable
from core.images import MODEL_SIZE
from core.learning import pace_measure
from core.learning.pace_measure import Amounts, Measured, estimate

ONE = Measured(
    device="CPU", start_s=5, trace_s=2, forward_ms=2, step_ms=10, augment_ms=1, head_step_ms=4, features=100,
    weights_mb=3, forward_mb=1, step_mb=4, base_mb=500, load=0.1,
)  # fmt: skip
WORK = Amounts(train=600, validation=200, test=200, read_ms=10)


def config(**changes) -> RunConfig:
    values = {"epochs": 10, "batch_size": 50, "augment_views": 2, "mc_samples": 50}
    return RunConfig("x", "transfer", "c", **{**values, **changes})


def test_stages_of_a_frozen_run():
    taken = estimate(config(), ONE, WORK).seconds
    assert list(taken) == ["start", "reading", "features", "head", "evaluation"]
    assert taken["reading"] == 10
    # 600 slices in three views and 200 once through the network; two views of 600 are changed.
    assert taken["features"] == pytest.approx((2000 * 2 + 1200 * 1) / 1000)
    # 36 steps an epoch, and 7 chunks of 32 for validation at a third of a step each.
    assert taken["head"] == pytest.approx(1 + 10 * (36 + 7 / 3) * 0.004)


def test_what_is_stored_is_not_paid_again():
    taken = estimate(config(), ONE, replace(WORK, inputs_stored=True, features_stored=True)).seconds
    assert taken["reading"] + taken["features"] < 0.2
    taken = estimate(config(), ONE, replace(WORK, inputs_stored=True)).seconds
    assert taken["features"] == pytest.approx(5.2)


def test_fine_tuning_and_random_weights_train_the_whole_network():
    fine = estimate(config(fine_tune_epochs=3), ONE, WORK).seconds
    assert fine["fine-tuning"] == pytest.approx(2 + 3 * (600 * 11 + 200 * 2) / 1000)
    whole = estimate(config(weights="none", augment_views=0), ONE, WORK).seconds
    assert "features" not in whole and "head" not in whole
    assert whole["whole"] == pytest.approx(2 + 10 * (600 * 10 + 200 * 2) / 1000)


def test_pairs_cost_both_sides():
    one = estimate(config(weights="none"), ONE, WORK).seconds["whole"]
    two = estimate(replace(config(weights="none"), kind="siamese"), ONE, WORK).seconds["whole"]
    assert two - 2 == pytest.approx(2 * (one - 2))


def test_memory_grows_with_what_is_held():
    least = estimate(config(), ONE, WORK).memory_mb
    inputs = 1000 * MODEL_SIZE**2 / 2**20
    assert least > 500 + inputs
    assert estimate(config(image_size=2 * MODEL_SIZE), ONE, WORK).memory_mb > least + 3 * inputs - 1
    fine = estimate(config(fine_tune_epochs=1, batch_size=100), ONE, WORK).memory_mb
    assert fine - least == pytest.approx(100 * 4 - 64 * 1 + 4 * 3 + 4 * 0.2 * inputs)


def test_a_measurement_is_asked_for_once_a_network(workspace, monkeypatch):
    asked = []

    def child(header):
        asked.append(header)
        return dict(vars(ONE))

    monkeypatch.setattr(pace_measure, "_asked", child)
    assert pace_measure.known(config()) is None
    found = pace_measure.measure(config())
    assert found.forward_ms == 2 and pace_measure.known(config()) == found
    assert asked[0]["size"] == config().image_size and asked[0]["batch_size"] == 50
    # What does not change the network shares the answer; what changes it does not.
    assert pace_measure.known(config(epochs=99, random_state=5)) == found
    for changed in ({"image_size": 64}, {"mixed_precision": True}, {"backbone": "MobileNetV2", "weights": "none"}):
        assert pace_measure.known(config(**changed)) is None


def test_a_damaged_measurement_counts_as_none(workspace, monkeypatch):
    monkeypatch.setattr(pace_measure, "_asked", lambda header: dict(vars(ONE)))
    pace_measure.measure(config())
    (path,) = (workspace / "measured").glob("pace-*.json")
    path.write_text('{"device": "CPU"}')
    assert pace_measure.known(config()) is None


def test_weights_are_tried_once_a_file(workspace, tmp_path, monkeypatch):
    path = tmp_path / "mine.keras"
    asked = []

    def child(header):
        asked.append(header["weights"])
        error = ChildError("In mine.keras the layer stem has other shapes.")
        error.kind = "WeightsUnavailable"
        raise error

    monkeypatch.setattr(pace_measure, "_asked", child)
    with pytest.raises(WeightsUnavailable, match=r"no weights file mine\.keras"):
        pace_measure.check_weights(config(weights=str(path)))
    path.write_bytes(b"model")
    for _ in range(2):
        with pytest.raises(WeightsUnavailable, match="other shapes"):
            pace_measure.check_weights(config(weights=str(path)))
    assert asked == [str(path)]
    path.write_bytes(b"another model")
    with pytest.raises(WeightsUnavailable, match="other shapes"):
        pace_measure.check_weights(config(weights=str(path)))
    assert len(asked) == 2
    pace_measure.check_weights(config())  # ours need no trying
    assert len(asked) == 2


def test_a_child_that_died_is_no_verdict_on_the_weights(workspace, tmp_path, monkeypatch):
    path = tmp_path / "mine.keras"
    path.write_bytes(b"model")

    def child(header):
        raise ChildError("it ended")

    monkeypatch.setattr(pace_measure, "_asked", child)
    with pytest.raises(ChildError, match="it ended"):
        pace_measure.check_weights(config(weights=str(path)))
    assert not list(workspace.glob("measured/fits-*"))


def test_nothing_readable_still_gives_a_pace(tmp_path, make_dataset):
    from core import cohort

    make_dataset().save_as(tmp_path / "one.dcm", enforce_file_format=True)
    made = cohort.scan(tmp_path, "one")
    assert pace_measure.read_ms(made, made.table, 32) == 10  # one slice only starts the reader
    assert 0 < pace_measure.read_ms(made, pd.concat([made.table] * 3), 32) < 5000


@pytest.mark.slow
def test_a_child_measures_a_real_network(workspace):
    small = config(image_size=32, batch_size=8)
    found = pace_measure.measure(small)
    assert pace_measure.known(small) == found
    assert 0 < found.forward_ms < found.step_ms < 1000
    assert found.features == 256 and 1 < found.weights_mb < 3 and found.base_mb > 100
    bad = workspace / "bad.keras"
    bad.write_bytes(b"PK")
    with pytest.raises(WeightsUnavailable, match=r"bad\.keras"):
        pace_measure.check_weights(config(weights=str(bad)))
