"""More like this: each slice is asked for once, the nearest come first, series by their mean."""

import numpy as np
import pytest

from core import cohort
from core.cohorts import similar
from core.errors import CohortError
from core.inference import Prediction


class Counting:
    """A worker whose embedding is the mean grey of the picture's two halves."""

    def __init__(self):
        self.asked = 0

    def predict(self, bundle, images):
        self.asked += len(images)
        half = images.shape[2] // 2
        vectors = np.stack([images[:, :, :half].mean((1, 2)), images[:, :, half:].mean((1, 2))], axis=1)
        return Prediction({}, {}, vectors + 1e-3)


@pytest.fixture
def worker(monkeypatch):
    worker = Counting()
    monkeypatch.setattr(similar.inference, "get_worker", lambda: worker)
    return worker


def sided(share: float) -> np.ndarray:
    pixels = np.zeros((16, 16), "<u2")
    pixels[:, :8], pixels[:, 8:] = 1000 * share, 1000 * (1 - share)
    pixels[:2] = [0, 1000] * 8
    return pixels


@pytest.fixture
def made(workspace, tmp_path, make_slice):
    """Three series of two slices: bright at the left, at the right, and nearly so at the left."""
    for series, share in enumerate((0.9, 0.1, 0.8)):
        for number in range(2):
            make_slice(
                tmp_path / "raw" / f"{series}-{number}.dcm", sided(share), SeriesInstanceUID=f"1.2.{series}",
                SOPInstanceUID=f"1.2.{series}.{number}", InstanceNumber=number + 1,
            )  # fmt: skip
    return cohort.write(cohort.scan(tmp_path / "raw", "sides"))


def test_nearest_come_first(made, worker):
    found = similar.embed(made)
    cosine = found.nearest(0)
    assert cosine[0] == pytest.approx(1, abs=1e-3)
    assert cosine[[4, 5]].min() > cosine[[2, 3]].max()
    by_series = found.nearest_series(0, made.table["SeriesInstanceUID"].to_numpy())
    assert by_series[0] == by_series[1] == pytest.approx(1, abs=1e-3)
    assert by_series[4] > by_series[2]


def test_nothing_is_asked_twice_and_only_what_is_new(made, worker, make_slice, tmp_path):
    assert similar.known(made) is None
    progress = []
    vectors = similar.embed(made, report=lambda done, total: progress.append((done, total))).vectors
    assert worker.asked == 6 and progress[-1] == (6, 6)
    np.testing.assert_array_equal(similar.known(made).vectors, vectors)
    make_slice(tmp_path / "raw" / "new.dcm", sided(0.5), SeriesInstanceUID="1.2.9", SOPInstanceUID="1.2.9.0")
    again = cohort.write(cohort.scan(tmp_path / "raw", "sides", previous=made))
    assert similar.known(again) is None
    assert similar.embed(again).vectors.shape == (7, 2) and worker.asked == 7


def test_empty_cohort_is_refused(made, worker):
    from dataclasses import replace

    nothing = replace(made, table=made.table.iloc[:0])
    assert similar.known(nothing) is None
    with pytest.raises(CohortError, match="no slices"):
        similar.embed(nothing)
