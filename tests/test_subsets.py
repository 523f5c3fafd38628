"""Parts of a cohort: rows, labels, split and private places come along; the origin and its files stay as they are."""

import json

import numpy as np
import pytest

from core import cohort
from core.cohorts import subsets
from core.cohorts.default_split import read_default_split, save_default_split
from core.errors import CohortError
from core.settings import get_settings
from core.splits import patient_split

SECRET = "Lovelace"


@pytest.fixture
def made(workspace, tmp_path, make_slice):
    """A cohort of 4 patients with 2 series of 2 slices, in folders that name the patient."""
    for patient, series, number in np.ndindex(4, 2, 2):
        make_slice(
            tmp_path / "raw" / f"{SECRET}{patient}" / f"{series}-{number}.dcm", PatientID=f"{SECRET}-{patient}",
            PatientName=f"{SECRET}{patient}", SeriesInstanceUID=f"1.2.{patient}.{series}", InstanceNumber=number + 1,
            SOPInstanceUID=f"1.2.{patient}.{series}.{number}", ImagePositionPatient=[0, 0, 5 * number],
        )  # fmt: skip
    (tmp_path / "raw" / "note.txt").write_text("no image")
    return cohort.write(cohort.scan(tmp_path / "raw", "whole"))


def keys_of(made, series: str) -> list[str]:
    return subsets.slice_keys(made.table[made.table["SeriesInstanceUID"] == series]).tolist()


def test_subset_has_its_rows_its_files_and_its_origin(made):
    part = subsets.save_subset(made, keys_of(made, "1.2.0.0"), "part", kept="first series")
    assert subsets.slice_keys(part.table).tolist() == keys_of(made, "1.2.0.0")
    assert all((part.root / path).is_file() for path in part.table["path"])
    assert part.origin["cohort"] == "whole" and (part.origin["slices"], part.origin["of"]) == (2, 16)
    assert part.origin["kept"] == "first series" and part.rejected.empty
    assert len(cohort.read("whole").table) == 16


def test_subset_folder_names_no_patient(made):
    subsets.save_subset(made, keys_of(made, "1.2.0.0"), "part")
    folder = get_settings().cohorts_dir / "part"
    assert not [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_labels_of_its_slices_come_along_and_can_be_undone(made):
    key, other = keys_of(made, "1.2.0.0")[0], keys_of(made, "1.2.3.0")[0]
    undone = cohort.append_label(made, key, "plane", "axial", "coronal", by="a person")
    cohort.undo_label(made, undone, by="a person")
    stands = cohort.append_label(made, "1.2.0.0", "sequence", "T1", "FLAIR", by="a person")
    cohort.append_label(made, other, "plane", "axial", "sagittal", by="a person")
    part = subsets.save_subset(cohort.read("whole"), keys_of(made, "1.2.0.0"), "part")
    assert part.table["sequence"].tolist() == ["FLAIR", "FLAIR"] and set(part.table["plane"]) == {"axial"}
    assert [line.get("key") for line in cohort.read_log(part)] == [key, None, "1.2.0.0"]
    cohort.undo_label(part, stands, by="another")
    assert set(cohort.read("part").table["sequence"]) == {"T1"}
    assert set(cohort.read("whole").table.loc[lambda t: t["SeriesInstanceUID"] == "1.2.0.0", "sequence"]) == {"FLAIR"}


@pytest.mark.parametrize(
    ("keys", "name", "message"),
    [(["9.9:0"], "part", "no slice '9.9:0'"), ([], "part", "No slice"), (None, "whole", "already"),
     (None, "../evil", "letters, digits")],
)  # fmt: skip
def test_what_cannot_be_a_subset_is_refused(made, keys, name, message):
    keys = keys_of(made, "1.2.0.0") if keys is None else keys
    with pytest.raises(CohortError, match=message):
        subsets.save_subset(made, keys, name)
    assert cohort.list_cohorts() == ["whole"]


def test_queue_keeps_order_and_is_not_overwritten(made):
    keys = keys_of(made, "1.2.0.0")[::-1]
    path = subsets.write_queue(made, keys, "unsure")
    assert path.relative_to(made.folder).as_posix() == "queues/unsure.json"
    assert json.loads(path.read_text()).items() >= {"keys": keys, "name": "unsure"}.items()
    with pytest.raises(CohortError, match="already"):
        subsets.write_queue(made, keys, "unsure")
    with pytest.raises(CohortError, match="queue's name"):
        subsets.write_queue(made, keys, "../up")


def test_saved_split_outlives_another_scan_and_reaches_a_subset(made, make_slice, tmp_path):
    held = made.table["PatientID"].unique()[0]
    split = patient_split(made.table, (0.5, 0.25, 0.25), 3, "plane", [held])
    save_default_split(made, split, {"random_state": 3})
    make_slice(tmp_path / "raw" / "new.dcm", PatientID="new", SeriesInstanceUID="1.2.9", SOPInstanceUID="1.2.9.0")
    cohort.write(cohort.scan(tmp_path / "raw", "whole", previous=cohort.read("whole")))
    again = cohort.read("whole")
    known = again.table["PatientID"].isin(made.table["PatientID"])
    where = again.table[known].groupby("PatientID")["split"].first()
    assert where.to_dict() == split.groupby(made.table["PatientID"]).first().to_dict()
    assert again.table.loc[~known, "split"].isin(["train", "validation", "test"]).all()
    part = subsets.save_subset(again, subsets.slice_keys(again.table[again.table["PatientID"] == held]), "part")
    assert set(part.table["split"]) == {"test"}


def test_split_that_leaks_or_is_damaged_is_refused(made):
    leaking = made.table["split"].copy()
    leaking.iloc[0] = "test" if leaking.iloc[0] != "test" else "train"
    with pytest.raises(CohortError, match="each patient into one part"):
        save_default_split(made, leaking, {})
    (made.folder / "split.json").write_text('{"patients": {"P-1": "elsewhere"}}')
    with pytest.raises(CohortError, match="no split"):
        read_default_split(made)


def test_answers_to_several_items_and_batches_come_along_whole_and_stay_undone(made):
    here, there = keys_of(made, "1.2.0.0")[0], keys_of(made, "1.2.3.0")[0]
    cohort.append_label(made, [there, here], "sequence", "T1", "FLAIR", by="a person")
    batch = cohort.append_labels(made, [(key, "plane", "axial", "coronal") for key in (there, here)], by="a table")
    cohort.undo_label(made, batch, by="a person")
    part = subsets.save_subset(cohort.read("whole"), keys_of(made, "1.2.0.0"), "part")
    assert part.table["sequence"].tolist() == ["FLAIR", "T1"]
    # The batch's first line, by which it is undone, labels a slice that is not of the subset.
    assert set(part.table["plane"]) == {"axial"}
    cohort.undo_label(part, cohort.read_log(part)[-1]["id"], by="another")
    assert cohort.read("part").table["plane"].tolist() == ["coronal", "axial"]
