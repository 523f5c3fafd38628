"""Rows to arrays: the store, targets, augmentation, pairs."""

import numpy as np
import pandas as pd
import pytest

from core import batches, images
from core.cohorts.slice_table import COLUMNS, Cohort, typed
from core.errors import CohortError, ConfigError, UnreadableFile


class FakeSandbox:
    """Makes noise of a file and remembers that it was asked."""

    def __init__(self):
        self.asked = []

    def thumbnail(self, path, frame, size, spacing):
        self.asked.append((path.name, frame))
        if path.name == "gone.dcm":
            raise UnreadableFile("there is no such file.")
        return np.round(images.to_model_input(noise(frame), spacing, size)[0] * 255).astype(np.uint8)


def noise(frame):
    return np.random.default_rng(frame).random((20, 40), dtype=np.float32)


class FakeSandboxes:
    """Reads with one fake instead of several."""

    def __init__(self, workers):
        self.fake = FakeSandbox()

    def map(self, do, items):
        return (do(self.fake, item) for item in items)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass


def made_cohort(tmp_path, names):
    rows = [{"path": name, "shown_path": f"shown/{name}", "frame": frame, "file_size": 1, "file_mtime_ns": 1}
            for frame, name in enumerate(names)]  # fmt: skip
    zeros = {column: 0 for column, kind in COLUMNS.items() if kind == "int64"}
    table = typed([{**zeros, **row} for row in rows], COLUMNS)
    return Cohort("made", tmp_path, tmp_path, "folder", table, pd.DataFrame(), "")


def test_model_inputs_are_read_once_and_as_images_says(workspace, tmp_path, monkeypatch):
    fake = FakeSandbox()
    monkeypatch.setattr(batches, "get_sandbox", lambda: fake)
    cohort = made_cohort(tmp_path, ["a.dcm", "b.dcm"])
    x = batches.model_inputs(cohort, cohort.table, 32)
    assert x.shape == (2, 32, 32)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[1], images.to_model_input(noise(1), None, 32)[0], atol=0.5 / 255 + 1e-6)
    np.testing.assert_array_equal(batches.model_inputs(cohort, cohort.table[::-1], 32), x[::-1])
    assert len(fake.asked) == 2
    cohort.table.loc[0, "file_mtime_ns"] = 2
    batches.model_inputs(cohort, cohort.table, 32)
    assert len(fake.asked) == 3
    assert batches.model_inputs(cohort, cohort.table[:0], 32).shape == (0, 32, 32)


def test_training_holds_eight_bits_and_sees_what_floats_show(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "get_sandbox", FakeSandbox)
    cohort = made_cohort(tmp_path, ["a.dcm", "b.dcm"])
    grey, x = batches.grey_inputs(cohort, cohort.table, 32), batches.model_inputs(cohort, cohort.table, 32)
    assert grey.dtype == np.uint8
    np.testing.assert_array_equal(batches.as_floats(grey), x)
    assert batches.content_keys(grey) == batches.content_keys(x)
    for view in (0, 1):
        np.testing.assert_array_equal(batches.augmented_view(grey, view), batches.augmented_view(x, view))


def test_many_slices_are_read_side_by_side_and_in_order(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "Sandboxes", FakeSandboxes)
    monkeypatch.setattr(batches, "get_sandbox", lambda: pytest.fail("one after the other"))
    cohort = made_cohort(tmp_path, [f"{number}.dcm" for number in range(300)])
    told = []
    x = batches.model_inputs(cohort, cohort.table, 32, lambda *done: told.append(done))
    assert told == [(256, 300), (300, 300)]
    for frame in (0, 255, 299):
        np.testing.assert_allclose(x[frame], images.to_model_input(noise(frame), None, 32)[0], atol=0.5 / 255 + 1e-6)


def test_a_file_that_went_away_is_named_as_it_is_shown(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "get_sandbox", FakeSandbox)
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


def test_weights_balance_classes_and_the_patients_of_each():
    y = np.array([0] * 90 + [1] * 10 + [-1] * 5)
    patient = np.array(["long"] * 80 + ["short"] * 10 + ["long"] * 3 + ["only here"] * 7 + ["short"] * 5)
    weights = batches.balanced_weights(y, patient)
    assert weights[y == 0].sum() == pytest.approx(weights[y == 1].sum())
    for number, names in ((0, ("long", "short")), (1, ("long", "only here"))):
        of_patients = [weights[(y == number) & (patient == name)].sum() for name in names]
        assert of_patients[0] == pytest.approx(of_patients[1]) and of_patients[0] > 0
    assert weights[y >= 0].mean() == pytest.approx(1)
    assert not weights[y < 0].any()
    assert not batches.balanced_weights(np.full(3, -1), np.array(["a", "a", "b"])).any()


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
