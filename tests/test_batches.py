"""Rows to arrays: the store, targets, augmentation, pairs."""

import numpy as np
import pandas as pd
import pytest

from core import batches, images, sandbox
from core.errors import CohortError, ConfigError, UnreadableFile
from core.slice_table import COLUMNS, Cohort, typed


def test_the_store_computes_each_content_once(tmp_path):
    asked = []

    def compute(positions):
        asked.extend(positions.tolist())
        return np.stack([np.full(3, position, np.float32) for position in positions])

    keys = ["a", "b", "a", "c"]
    first = batches.stored(tmp_path, keys, compute)
    assert first[:, 0].tolist() == [0, 1, 0, 3]
    assert asked == [0, 1, 3]
    again = batches.stored(tmp_path, ["c", "d", "a"], compute)
    assert again[:, 0].tolist() == [3, 1, 0]
    assert asked == [0, 1, 3, 1]


def test_a_stopped_store_keeps_what_was_done(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "_CHUNK", 2)

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    keys = [str(number) for number in range(6)]
    with pytest.raises(KeyboardInterrupt):
        batches.stored(tmp_path, keys, lambda p: p[:, None], stop)
    asked = []
    answer = batches.stored(tmp_path, keys, lambda p: asked.extend(p.tolist()) or p[:, None])
    assert answer[:, 0].tolist() == list(range(6))
    assert asked == [4, 5]


class FakeSandbox:
    def __init__(self):
        self.asked = []

    def pixels(self, path, frame=0):
        self.asked.append((path.name, frame))
        if path.name == "gone.dcm":
            raise UnreadableFile("there is no such file.")
        return np.random.default_rng(frame).random((20, 40), dtype=np.float32)


def made_cohort(tmp_path, names):
    rows = [{"path": name, "shown_path": f"shown/{name}", "frame": frame, "file_size": 1, "file_mtime_ns": 1}
            for frame, name in enumerate(names)]  # fmt: skip
    zeros = {column: 0 for column, kind in COLUMNS.items() if kind == "int64"}
    table = typed([{**zeros, **row} for row in rows], COLUMNS)
    return Cohort("made", tmp_path, tmp_path, "folder", table, pd.DataFrame(), "")


def test_model_inputs_are_read_once_and_as_images_says(workspace, tmp_path, monkeypatch):
    fake = FakeSandbox()
    monkeypatch.setattr(sandbox, "get_sandbox", lambda: fake)
    cohort = made_cohort(tmp_path, ["a.dcm", "b.dcm"])
    x = batches.model_inputs(cohort, cohort.table, 32)
    assert x.shape == (2, 32, 32)
    assert x.dtype == np.float32
    pixels = np.random.default_rng(1).random((20, 40), dtype=np.float32)
    np.testing.assert_array_equal(x[1], images.to_model_input(pixels, None, 32)[0])
    np.testing.assert_array_equal(batches.model_inputs(cohort, cohort.table[::-1], 32), x[::-1])
    assert len(fake.asked) == 2
    cohort.table.loc[0, "file_mtime_ns"] = 2
    batches.model_inputs(cohort, cohort.table, 32)
    assert len(fake.asked) == 3
    assert batches.model_inputs(cohort, cohort.table[:0], 32).shape == (0, 32, 32)


def test_a_file_that_went_away_is_named_as_it_is_shown(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "get_sandbox", FakeSandbox)
    cohort = made_cohort(tmp_path, ["gone.dcm"])
    with pytest.raises(CohortError, match=r"shown/gone\.dcm was indexed but .* no such file"):
        batches.model_inputs(cohort, cohort.table, 32)


def test_targets_leave_out_what_no_image_model_is_asked_for():
    table = pd.DataFrame({"plane": ["axial", "coronal", None], "sequence": ["T1", "LOCALIZER", "T2"]}, dtype="str")
    assert batches.classes_of(batches.label_values(table, "sequence"), "sequence") == ["T1", "T2"]
    classes = {"plane": ["coronal", "axial"], "sequence": ["T2", "T1"], "plane-sequence": ["axial-T1"]}
    y = batches.targets(table, classes)
    assert {head: numbers.tolist() for head, numbers in y.items()} == {
        "plane": [1, 0, -1], "sequence": [1, -1, 0], "plane-sequence": [0, -1, -1],
    }  # fmt: skip
    with pytest.raises(ConfigError, match="label"):
        batches.label_values(table, "vendor")


def test_weights_balance_classes():
    y = np.array([0] * 90 + [1] * 10 + [-1] * 5)
    weights = batches.balanced_weights(y, 3)
    assert weights[y == 0].sum() == pytest.approx(weights[y == 1].sum())
    assert weights[y >= 0].mean() == pytest.approx(1)


def test_augmentation_changes_a_slice_a_little():
    x = np.zeros((6, 64, 64), np.float32)
    x[:, 16:48, 20:44] = 0.6
    changed = batches.augment(x, np.random.default_rng(0))
    assert changed.shape == x.shape
    assert changed.dtype == np.float32
    assert changed.min() >= 0
    assert changed.max() <= 1
    np.testing.assert_array_equal(changed, batches.augment(x, np.random.default_rng(0)))
    for before, after in zip(x, changed, strict=True):
        assert not np.array_equal(before, after)
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.6
        assert abs(after[28:36, 28:36].mean() - 0.6) < 0.25


def test_a_view_depends_on_the_image_alone():
    x = np.random.default_rng(0).random((3, 32, 32), dtype=np.float32)
    assert batches.augmented_view(x, 0) is x
    one = batches.augmented_view(x, 1)
    np.testing.assert_array_equal(batches.augmented_view(x[2:], 1), one[2:])
    assert not np.array_equal(batches.augmented_view(x, 2), one)


def test_pairs_are_half_alike_and_cross_patients():
    y = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, -1])
    patient = np.array(list("aaabbbcccc"))
    first, second, same = batches.pairs(y, patient, np.random.default_rng(0), 400)
    np.testing.assert_array_equal(y[first] == y[second], same == 1)
    assert same.mean() == 0.5
    assert (y[first] >= 0).all()
    assert (y[second] >= 0).all()
    alike = same == 1
    assert (patient[first] != patient[second])[alike].all()
    assert 0.3 < (patient[first] == patient[second])[~alike].mean() < 0.8
    with pytest.raises(ConfigError, match="two classes"):
        batches.pairs(np.zeros(4, int), patient[:4], np.random.default_rng(0), 4)
