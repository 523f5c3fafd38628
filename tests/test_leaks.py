"""What stands on both sides of a split is found by its pixels, whatever the patient is called."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from core import cohort, images
from core.cohorts import leaks
from core.errors import CohortError


def head(seed: int, side: int = 64) -> np.ndarray:
    """A smooth random picture of a round thing, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    inside = (x**2 + y**2) < 0.8
    texture = ndimage.gaussian_filter(rng.normal(size=(64, 64)), 3)
    picture = np.where(inside, 500 + 400 * texture / texture.std(), 0).clip(0)
    return ndimage.zoom(picture, side / 64, order=1).round().astype("<u2")


@pytest.fixture
def made(workspace, tmp_path, make_slice):
    """Six patients of two slices; the last three hold, in their first slice, copies of those of the first three."""
    originals = {(patient, number): head(10 * patient + number) for patient, number in np.ndindex(6, 2)}
    equal, small = originals[0, 0], head(10, 32)
    noisy = (originals[2, 0] + np.random.default_rng(9).normal(0, 15, (64, 64))).clip(0).round().astype("<u2")
    copies = {(3, 0): (equal, 1), (4, 0): (small, 2), (5, 0): (noisy, 1)}
    for (patient, number), pixels in originals.items():
        pixels, spacing = copies.get((patient, number), (pixels, 1))
        make_slice(
            tmp_path / "raw" / f"{patient}-{number}.dcm", pixels, PatientID=f"HOSP-{patient}",
            SeriesInstanceUID=f"1.2.{patient}", SOPInstanceUID=f"1.2.{patient}.{number}", InstanceNumber=number + 1,
            ImagePositionPatient=[0, 0, 5 * number], PixelSpacing=[spacing, spacing],
        )  # fmt: skip
    return cohort.write(cohort.scan(tmp_path / "raw", "copies"))


def parts(made, words: list[str]) -> pd.Series:
    """A part for each patient, by the number in its file's name."""
    return made.table["shown_path"].str[0].astype(int).map(dict(enumerate(words)))


def places(made, pairs: pd.DataFrame) -> set[tuple[str, str]]:
    shown = made.table["shown_path"].to_numpy()
    return {(shown[row], shown[other]) for row, other in zip(pairs["row"], pairs["other"], strict=True)}


def test_copies_under_another_name_are_found(made):
    found = leaks.check(made, parts(made, ["train", "train", "validation", "test", "test", "test"]))
    assert not found.clean and found.patients.empty and found.compared == 12
    assert places(made, found.equal) == {("3-0.dcm", "0-0.dcm")}
    assert places(made, found.near) == {("4-0.dcm", "1-0.dcm"), ("5-0.dcm", "2-0.dcm")}
    assert found.near["correlation"].between(leaks.NEAR, 1).all()
    assert found.near[["split", "other_split"]].values.tolist() == [["test", "train"], ["test", "validation"]]


def test_copies_are_found_though_models_see_another_part_of_them(workspace, tmp_path, make_slice):
    # Something dim beside the head counts as lit in one export and not in the other, which has another gamma.
    one = np.pad(head(3), ((10, 30), (10, 60)))
    one[30:50, 76:100] = 235
    other = (one.max() * (one / one.max()) ** 1.2).round().astype("<u2")
    boxes = [images.head_box(pixels.astype(np.float32)) for pixels in (one, other)]
    assert boxes[0] != boxes[1]
    for patient, pixels in enumerate((one, other)):
        make_slice(
            tmp_path / "raw" / f"{patient}-0.dcm", pixels, PatientID=f"HOSP-{patient}",
            SeriesInstanceUID=f"1.2.{patient}", SOPInstanceUID=f"1.2.{patient}.0",
        )  # fmt: skip
    made = cohort.write(cohort.scan(tmp_path / "raw", "noisy"))
    assert len(leaks.check(made, parts(made, ["train", "test"])).near) == 1


def test_copies_within_one_part_are_no_leak(made):
    assert leaks.check(made, parts(made, ["train", "validation", "test"] * 2)).clean


def test_patient_in_two_parts_is_named(made):
    split = parts(made, ["train", "train", "train", "train", "train", "train"])
    split.iloc[0] = "test"
    found = leaks.check(made, split)
    assert found.patients["PatientID"].tolist() == [made.table["PatientID"].iloc[0]]


def test_blank_and_undecodable_slices_are_not_compared(made, make_slice, tmp_path):
    for patient in (7, 8):
        blank = np.zeros((64, 64), "<u2")
        make_slice(tmp_path / "raw" / f"{patient}-0.dcm", blank, PatientID=f"HOSP-{patient}",
                   SeriesInstanceUID=f"1.2.{patient}", SOPInstanceUID=f"1.2.{patient}.0")  # fmt: skip
    (tmp_path / "raw" / "0-0.dcm").write_bytes((tmp_path / "raw" / "0-0.dcm").read_bytes()[:-4000])
    again = cohort.write(cohort.scan(tmp_path / "raw", "copies", previous=made))
    split = parts(again, ["train", "train", "train", "test", "train", "train", "", "train", "test"])
    found = leaks.check(again, split)
    assert found.clean and found.compared == 11


def test_file_that_is_gone_is_an_error_and_nothing_is_kept_about_it(made, tmp_path):
    away = (tmp_path / "raw" / "0-0.dcm").rename(tmp_path / "away.dcm")
    split = parts(made, ["train", "train", "validation", "test", "test", "test"])
    with pytest.raises(CohortError, match=r"0-0\.dcm was indexed but is not there"):
        leaks.check(made, split)
    away.rename(tmp_path / "raw" / "0-0.dcm")
    assert len(leaks.check(made, split).equal) == 1


def test_second_check_reads_no_file(made, monkeypatch):
    seen = []
    split = parts(made, ["train", "validation", "test"] * 2)
    leaks.check(made, split, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (12, 12)
    monkeypatch.setattr(leaks.thumbnails, "pictures", None)
    assert leaks.check(made, split).clean


def test_empty_cohort_leaks_nothing(made):
    from dataclasses import replace

    nothing = replace(made, table=made.table.iloc[:0])
    assert leaks.check(nothing, pd.Series([], dtype="str")).clean
