"""Label tables: found columns, matched keys, one batch that is undone as a whole, subjects, and round trips."""

import itertools
import json

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from core import cohort
from core.cohorts.pseudonyms import pseudonym
from core.errors import CohortError, InputError
from core.labelling import label_overrides, label_tables
from core.sandbox import Sandbox


@pytest.fixture
def folder(workspace, tmp_path, make_slice):
    """Two series of three slices of one patient, a volume, and two pictures."""
    root = tmp_path / "data"
    for name, number in itertools.product("ab", range(3)):
        series = f"1.{'ab'.index(name)}"
        make_slice(root / name / f"{number}.dcm", SeriesInstanceUID=series, InstanceNumber=number,
                   SOPInstanceUID=f"{series}.{number}", ImagePositionPatient=[0, 0, 5 * number])  # fmt: skip
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 3), np.float32), np.diag([1, 1, 4, 1])), root / "volume.nii.gz")
    (root / "jones").mkdir()
    for number in range(2):
        Image.new("L", (8, 8), 50 * number).save(root / "jones" / f"jones-{number}.png")
    return root


def table(tmp_path, name="labels.csv", **columns):
    path = tmp_path / name
    frame = pd.DataFrame(columns)
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return label_tables.read(path)


def labelled(made):
    return made.table.set_index("path")


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_series_are_labelled_in_anybodys_words_and_the_batch_is_undone_as_a_whole(folder, tmp_path, name):
    before = cohort.write(cohort.scan(folder, "c"))
    labels = table(tmp_path, name, **{"Series UID": ["1.0", "1.1", "9.9"], "Perspective": ["SAG", "", "AX"],
                                      "scan type": ["T1KM", "T2-FLAIR", "T2"]})  # fmt: skip
    outcome = label_overrides.apply(labels, before)
    assert (outcome.n_rows, outcome.n_matched, outcome.n_changed) == (3, 2, 9)
    assert outcome.unmatched == ("9.9",) and not outcome.unknown and not outcome.contradicted
    after = cohort.read("c")
    rows = labelled(after)
    assert rows.loc["a/1.dcm", ["plane", "sequence", "sequence_rule"]].tolist() == ["sagittal", "T1CE", "person"]
    assert rows.loc["b/1.dcm", ["plane", "plane_rule", "sequence"]].tolist() == ["axial", "geometry", "FLAIR"]
    assert rows.loc["a/1.dcm", "sequence_evidence"].startswith(f"label table {name}, ")
    log = cohort.read_log(after)
    assert [line["by"] for line in log] == [f"label table {name}"] * 3  # a series and column a line
    undo = cohort.undo_label(after, outcome.batch, by="somebody")
    pd.testing.assert_frame_equal(cohort.read("c").table, before.table)
    cohort.undo_label(after, undo, by="somebody")
    pd.testing.assert_frame_equal(cohort.read("c").table, after.table)


def test_the_special_key_has_the_last_word_and_a_row_about_a_slice_never_labels_its_series(folder, tmp_path):
    made = cohort.write(cohort.scan(folder, "c"))
    labels = table(
        tmp_path,
        SOPInstanceUID=["1.0.1", "", "", "1.0.77"],
        path=["", "a/2.dcm", "", ""],
        SeriesInstanceUID=["1.0", "1.0", "1.0", "1.0"],
        sequence=["PD", "ADC", "T2", "MRA"],
    )
    outcome = label_overrides.apply(labels, made)
    rows = labelled(cohort.read("c"))
    assert rows.loc[["a/0.dcm", "a/1.dcm", "a/2.dcm"], "sequence"].tolist() == ["T2", "PD", "ADC"]
    assert (outcome.n_matched, outcome.unmatched) == (3, ("1.0.77",))


def test_paths_match_however_they_are_written_and_names_only_when_one_file_has_them(folder, tmp_path):
    made = cohort.write(cohort.scan(folder, "c"))
    names = ["./a/0.dcm", str(folder / "a" / "1.dcm"), r"D:\elsewhere\a\2.dcm", "volume.nii.gz", "1.dcm"]
    outcome = label_overrides.apply(table(tmp_path, File=names, plane="coronal"), made)
    changed = cohort.read("c").table.query("plane == 'coronal'")
    assert set(changed["path"]) == {"a/0.dcm", "a/1.dcm", "a/2.dcm", "volume.nii.gz"}
    assert outcome.unmatched == ("1.dcm",)


def test_a_frame_labels_one_slice_of_a_file_and_a_frame_that_is_not_there_none(folder, tmp_path):
    made = cohort.write(cohort.scan(folder, "c"))
    labels = table(tmp_path, path=["volume.nii.gz"] * 2, frame=[1, 3], sequence=["T2", "T2"])
    outcome = label_overrides.apply(labels, made)
    volume = cohort.read("c").table.query("path == 'volume.nii.gz'")
    assert volume["sequence"].fillna("").tolist() == ["", "T2", ""]
    assert (outcome.n_matched, outcome.n_changed) == (1, 1)


def test_contradicting_rows_and_unknown_words_are_listed_and_change_nothing(folder, tmp_path):
    made = cohort.write(cohort.scan(folder, "c"))
    labels = table(
        tmp_path, path=["a/0.dcm", "a/0.dcm", *["b/0.dcm"] * 3], sequence=["T2", "PD", "T9", "volume", "n/a"]
    )
    outcome = label_overrides.apply(labels, made)
    assert outcome.contradicted == ("a/0.dcm",) and outcome.unknown == {"T9": 1, "volume": 1}
    assert outcome.batch == "" and not (made.folder / cohort.LOG_NAME).exists()
    said = label_overrides.Outcome(20, 8, 0, "", tuple(f"k{i}" for i in range(12)), (), {}).sentences("t.csv")
    assert said[1].startswith("Keys that match nothing (12): k0, k1") and said[1].endswith("k9 and 2 more")


def test_an_exported_table_changes_nothing(folder, tmp_path):
    made = cohort.write(cohort.scan(folder, "c"))
    label_overrides.apply(table(tmp_path, path=["a/0.dcm", "volume.nii.gz"], sequence=["T2", "SWI"]), made)
    made, log = cohort.read("c"), (made.folder / cohort.LOG_NAME).read_bytes()
    for name in ("out.csv", "out.parquet"):
        cohort.write_table(label_overrides.label_table(made), tmp_path / name)
        outcome = label_overrides.apply(label_tables.read(tmp_path / name), made)
        assert (outcome.n_matched, outcome.n_changed, outcome.batch) == (len(made.table), 0, "")
    assert (made.folder / cohort.LOG_NAME).read_bytes() == log


def test_subjects_group_files_without_headers_and_are_hidden_from_paths(folder, tmp_path, monkeypatch):
    asked, real = [], Sandbox.read_slices
    monkeypatch.setattr(
        Sandbox, "read_slices", lambda self, paths: asked.extend(path.name for path in paths) or real(self, paths)
    )
    labels = table(tmp_path, path=["jones-0.png", "jones-1.png", "volume.nii.gz", "a/0.dcm"],
                   PatientID=["Jones", "Jones", "Smith", "Smith"], plane="")  # fmt: skip
    first = cohort.write(cohort.scan(folder, "c"))
    made, outcome = label_overrides.index(folder, "c", labels)
    rows = labelled(made)
    assert rows.loc["jones/jones-1.png", "PatientID"] == pseudonym("Jones")
    assert set(rows.loc[["volume.nii.gz"], "PatientID"]) == {pseudonym("Smith")}
    # DICOM files say themselves whose they are.
    assert rows.loc["a/0.dcm", "PatientID"] == first.table.set_index("path").loc["a/0.dcm", "PatientID"]
    assert not made.table["shown_path"].str.contains("jones", case=False).any()
    assert outcome.n_matched == 4
    assert sorted(asked[-3:]) == ["jones-0.png", "jones-1.png", "volume.nii.gz"]
    count = len(asked)
    again = cohort.scan(folder, "c", previous=made)
    assert len(asked) == count
    pd.testing.assert_frame_equal(again.table, made.table)
    # Who is known keeps the group, also where the file has changed and no table is given.
    Image.new("L", (8, 8), 99).save(folder / "jones" / "jones-0.png")
    changed = labelled(cohort.scan(folder, "c", previous=made))
    assert changed.loc["jones/jones-0.png", "PatientID"] == pseudonym("Jones")


def test_a_subject_told_after_an_interruption_counts(folder, tmp_path):
    cohort.scan(folder, "c", resume=True)  # it was not written
    labels = table(tmp_path, path=["volume.nii.gz"], PatientID=["Smith"], plane="")
    made, _ = label_overrides.index(folder, "c", labels)
    assert set(labelled(made).loc[["volume.nii.gz"], "PatientID"]) == {pseudonym("Smith")}


def test_keys_and_names_that_tell_a_patient_are_not_shown(folder, tmp_path):
    labels = table(tmp_path, "jones.csv", path=["jones-0.png", "jones-9.png"], subject="Jones", sequence="T2")
    made, outcome = label_overrides.index(folder, "c", labels)
    assert "jones" not in "".join(outcome.unmatched).lower()
    assert "jones" not in (made.folder / cohort.LOG_NAME).read_text().lower()


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("t.csv", b"", "empty, damaged"),
        ("t.csv", b"age,weight\n1,2\n", "needs a column path, SOPInstanceUID or SeriesInstanceUID.*age, weight"),
        ("t.csv", b"path,age\n1,2\n", "needs a column plane, sequence or subject"),
        ("t.csv", b'path,plane\n"a,b\n', "empty, damaged"),
        ("t.parquet", b"PAR1 not at all", "empty, damaged"),
        ("t.json", b"[1]", "no manifest"),
        ("t.json", b"[" * 100_000, "JSON"),
        ("t.xlsx", b"x", "should end in"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_sentence(tmp_path, workspace, name, data, match):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=match) as caught:
        label_tables.read(path)
    assert str(caught.value).startswith(f"The label table {name} cannot be used.") and "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no label table"):
        label_tables.read(tmp_path / "gone.csv")


@pytest.mark.parametrize(
    "data",
    [
        "path;plane\nä.png;AX\n".encode(), "path;plane\nä.png;AX\n".encode("cp1252"),
        "path\tplane\nä.png\tAX\n".encode("utf-16"), "\ufeffpath,plane\nä.png,AX\n".encode(),
    ],
)  # fmt: skip
def test_spreadsheets_of_every_encoding_and_delimiter(tmp_path, workspace, data):
    (tmp_path / "t.csv").write_bytes(data)
    rows = label_tables.read(tmp_path / "t.csv").rows
    assert rows[["path", "plane"]].values.tolist() == [["ä.png", "AX"]]


def test_a_batch_stands_in_the_log_whole_or_not_at_all(folder, monkeypatch):
    made = cohort.write(cohort.scan(folder, "c"))
    with pytest.raises(CohortError, match="vocabulary"):
        cohort.append_labels(made, [("1.0", "sequence", "T1", "T2"), ("1.1", "sequence", "T1", "T9")], by="x")
    with pytest.raises(CohortError, match="one change"):
        cohort.append_labels(made, [], by="x")
    assert cohort.read_log(made) == []


# The seed's manifest ---------------------------------------------------------------------------------


def test_manifest_out_in_and_out_again_is_the_same_to_the_byte(folder, tmp_path):
    Image.new("L", (8, 8)).save(folder / "AX_T1KM_Glioma_GBM_TGCA020037_12.jpg")
    labels = table(tmp_path, path=["volume.nii.gz", "jones-0.png"], plane="SAG", sequence="Misc", subject="Miller")
    made, _ = label_overrides.index(folder, "first", labels)
    cohort.export_manifest(made, tmp_path / "one.json")
    again, outcome = label_overrides.index(folder, "second", label_tables.read(tmp_path / "one.json"))
    assert outcome.n_matched == outcome.n_rows and not outcome.unmatched
    cohort.export_manifest(again, tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert len(json.loads((tmp_path / "two.json").read_text())) == 11


def test_manifest_of_the_seed_labels_pictures_by_name_with_its_misspellings(workspace, tmp_path):
    root, entries = tmp_path / "pictures" / "all", {}
    root.mkdir(parents=True)
    for number, (patient, name) in enumerate([("TGCA020037", "one.jpg"), ("TCGA02-0037", "two.jpg")]):
        Image.new("L", (8, 8)).save(root / name)
        entries[str(number)] = {
            "patient-id": patient, "perspective": "COR", "sequence": "T1KM", "perspective-sequence": "COR-T1KM",
            "labels": ["COR", "T1KM"], "image-number": "1", "image-name": name,
        }  # fmt: skip
    (tmp_path / "mri-images.json").write_text(json.dumps(entries))
    made, _ = label_overrides.index(tmp_path / "pictures", "c", label_tables.read(tmp_path / "mri-images.json"))
    assert set(made.table["PatientID"]) == {pseudonym("TCGA-02-0037")}
    assert made.table[["plane", "sequence"]].values.tolist() == [["coronal", "T1CE"]] * 2


@pytest.mark.real
def test_the_table_of_the_real_files_labels_them(workspace, real_data):
    labels = label_tables.read(real_data / "labels.csv")
    made, outcome = label_overrides.index(real_data / "neurolabusc__dcm_qa_nih", "c", labels)
    truth = pd.read_csv(real_data / "labels.csv")
    truth = truth[truth["path"].str.startswith("neurolabusc__dcm_qa_nih/")]
    assert outcome.n_matched == len(truth)
    assert made.table["path"].nunique() == len(truth)
