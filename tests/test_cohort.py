"""Cohorts: every file accounted for, nobody named, nothing read twice, nothing half-written."""

import itertools
import json
import os
import stat

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from core import cohort
from core.cohorts import cohort_journal, cohort_scan
from core.cohorts.pseudonyms import pseudonym
from core.cohorts.slice_table import COLUMNS, replaced, typed
from core.errors import CohortError, InputError
from core.sandbox import Sandbox

#: Of instances: random UIDs would now and then hold the digits that are looked for.
_NUMBERS = itertools.count()
PATIENT, NAME = "HOSP-48151623", "Lovelace^Adalina"
SECRETS = (b"48151623", b"lovelace", b"adalina")


def write_slice(path, **keywords):
    """Write one 8 x 8 MR slice; keywords replace or, as None, remove attributes."""
    values = {
        "SOPClassUID": MRImageStorage, "StudyInstanceUID": "1.2.1", "SeriesInstanceUID": "1.2.2", "PatientID": PATIENT,
        "SOPInstanceUID": f"1.2.3.{next(_NUMBERS)}", "PatientName": NAME, "Modality": "MR", "Rows": 8, "Columns": 8,
        "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 0, "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [0, 0, 0], "PixelSpacing": [1, 1], "ScanningSequence": "SE", "RepetitionTime": 500,
        "EchoTime": 12, "InstanceNumber": 1, "SeriesDescription": "AX T1", **keywords,
    }  # fmt: skip
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword, value in values.items():
        if value is not None:
            setattr(data, keyword, value)
    data.PixelData = np.arange(64, dtype="<u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def folder(tmp_path, workspace):
    """Two patients, a text file, an empty file and a picture."""
    root = tmp_path / "data"
    for i in range(3):
        write_slice(root / PATIENT / f"a{i}.dcm", ImagePositionPatient=[0, 0, 10 - 5 * i], InstanceNumber=i + 1,
                    SeriesDescription=f"AX T1 {NAME} POST GD")  # fmt: skip
    write_slice(root / "other" / "b.dcm", PatientID="X-2", PatientName="Babbage^Carl", SeriesInstanceUID="1.2.9")
    (root / "notes.txt").write_text("no picture")
    (root / f"{NAME.replace('^', '_')}.txt").write_text("letter")
    (root / "empty").write_bytes(b"")
    Image.new("L", (8, 8)).save(root / "AX_T1KM_Glioma_GBM_TCGA020037_12.jpg")
    return root


@pytest.fixture
def parsed(monkeypatch):
    """Count what the sandbox is asked to parse."""
    asked, real = [], Sandbox.read_slices

    def counting(self, paths):
        asked.extend(path.name for path in paths)
        return real(self, paths)

    monkeypatch.setattr(Sandbox, "read_slices", counting)
    return asked


def test_every_file_is_in_the_table_or_rejected_with_a_reason(folder):
    reports = []
    made = cohort.scan(folder, "c", report=lambda done, total: reports.append((done, total)))
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(made.table["path"]) | set(made.rejected["path"]) == files
    assert not set(made.table["path"]) & set(made.rejected["path"])
    assert made.n_files == len(files) == 8
    assert (made.rejected["reason"].str.len() > 10).all()
    assert reports[-1] == (8, 8)


def test_schema_types_are_stable_and_survive_the_disk(folder):
    made = cohort.write(cohort.scan(folder, "c"))
    assert made.table.dtypes.astype(str).to_dict() == COLUMNS
    assert typed([], COLUMNS).dtypes.astype(str).to_dict() == COLUMNS
    again = cohort.read("c")
    pd.testing.assert_frame_equal(again.table, made.table)
    assert (again.root, again.source, again.name) == (folder.resolve(), "folder", "c")
    assert cohort.list_cohorts() == ["c"]


def test_labels_and_numbers_stand_in_the_rows(folder):
    table = cohort.scan(folder, "c").table.set_index("path")
    row = table.loc[f"{PATIENT}/a0.dcm"]
    assert (row["plane"], row["sequence"], row["image_number"]) == ("axial", "T1CE", 3)
    assert (row["EchoTime"], row["position_mm"], row["Rows"]) == (12.0, 10.0, 8)
    seed = table.loc["AX_T1KM_Glioma_GBM_TCGA020037_12.jpg"]
    assert (seed["plane"], seed["sequence"], seed["InstanceNumber"]) == ("axial", "T1CE", 12)
    assert seed["PatientID"] == pseudonym("TCGA-02-0037")
    assert seed["SeriesInstanceUID"].startswith("2.25.")


def test_nobody_is_named_in_what_is_written(folder, workspace):
    made = cohort.write(cohort.scan(folder, "c"))
    for path in made.folder.iterdir():
        data = path.read_bytes().lower()
        assert not [secret for secret in SECRETS if secret in data], path.name
    for table in (made.table.drop(columns="path"), made.rejected.drop(columns="path")):
        text = table.to_csv().lower().encode()
        assert not [secret for secret in (*SECRETS, b"tcga", b"020037", b"babbage") if secret in text]
    exported = folder.parent / "out.csv"
    cohort.write_table(made.table, exported)
    assert not [secret for secret in SECRETS if secret in exported.read_bytes().lower()]
    assert made.table["PatientID"].str.fullmatch(r"P-[0-9a-f]{10}").all()


def test_root_that_names_the_patient_is_not_shown(folder, workspace):
    made = cohort.write(cohort.scan(folder / PATIENT, "one"))
    assert b"48151623" not in (made.folder / "cohort.json").read_bytes()
    assert made.root == (folder / PATIENT).resolve()
    assert (made.root / made.table["path"][0]).exists()


def test_private_files_are_for_their_owner(folder, workspace):
    cohort.write(cohort.scan(folder, "c"))
    for path in (workspace / "key", *(workspace / "private").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_pseudonym_is_stable_and_keyed_by_workspace(workspace, monkeypatch, tmp_path):
    from core.settings import Settings

    here = pseudonym("A")
    assert here == pseudonym(" A ") != pseudonym("B")
    assert pseudonym(here) == here
    assert pseudonym("A", Settings(workspace=tmp_path / "elsewhere")) != here


def test_rescan_reads_only_new_and_changed_files(folder, parsed):
    first = cohort.write(cohort.scan(folder, "c"))
    assert len(parsed) == 8
    parsed.clear()
    assert len(cohort.scan(folder, "c", previous=first).table) == len(first.table)
    assert parsed == []
    write_slice(folder / PATIENT / "new.dcm", ImagePositionPatient=[0, 0, 99])
    write_slice(
        folder / "other" / "b.dcm",
        PatientID="X-2",
        SeriesInstanceUID="1.2.9",
        SeriesDescription="SAG T2",
        RepetitionTime=4000,
        EchoTime=90,
    )
    (folder / PATIENT / "a1.dcm").unlink()
    second = cohort.write(cohort.scan(folder, "c", previous=cohort.read("c")))
    assert sorted(parsed) == ["b.dcm", "new.dcm"]
    assert set(second.table["path"]) == {
        f"{PATIENT}/a0.dcm", f"{PATIENT}/a2.dcm", f"{PATIENT}/new.dcm", "other/b.dcm",
        "AX_T1KM_Glioma_GBM_TCGA020037_12.jpg",
    }  # fmt: skip
    assert second.table.set_index("path").loc["other/b.dcm", "sequence"] == "T2"
    assert second.table.set_index("path").loc[f"{PATIENT}/new.dcm", "image_number"] == 3


def test_indexing_again_reads_nothing_when_nothing_changed_and_only_a_new_study_else(folder, parsed, monkeypatch):
    first = cohort.index(folder, "c")
    parsed.clear()
    with monkeypatch.context() as patch:
        patch.setattr(cohort_scan, "scan", None)
        pd.testing.assert_frame_equal(cohort.index(folder, "c").table, first.table)
    write_slice(folder / "new study" / "1.dcm", StudyInstanceUID="1.2.77", SeriesInstanceUID="1.2.78")
    assert len(cohort.index(folder, "c").table) == len(first.table) + 1
    assert parsed == ["1.dcm"]
    with pytest.raises(CohortError, match="of another folder"):
        cohort.index(folder / "other", "c")


def test_an_interrupted_index_leaves_the_last_good_table_and_goes_on_where_it_ended(folder, parsed, monkeypatch):
    monkeypatch.setattr(cohort_scan, "_BATCH", 1)
    few = cohort.index(folder / "other", "few")
    for i in range(20):
        write_slice(folder / "other" / f"more{i:02}.dcm", ImagePositionPatient=[0, 0, i], InstanceNumber=i)

    def stop(done, total):
        if done >= 4:
            raise InputError("Stopped.")

    parsed.clear()
    with pytest.raises(InputError, match="Stopped"):
        cohort.index(folder / "other", "few", report=stop)
    pd.testing.assert_frame_equal(cohort.read("few").table, few.table)
    (journal,) = (few.folder.parent.parent / "private").glob("scan-*.jsonl")
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    kept = journal.read_text().count('"files"')
    with journal.open("a") as file:
        file.write('{"shared": ["cut')
    write_slice(folder / "other" / "more00.dcm", SeriesDescription="SAG T2")  # what was read of it is stale
    parsed.clear()
    made = cohort.index(folder / "other", "few")
    assert len(parsed) == 20 - kept + 1
    assert not journal.exists()
    pd.testing.assert_frame_equal(made.table, cohort.scan(folder / "other", "few").table)


def test_a_journal_keeps_rejections_and_is_started_anew_by_another_version(folder, parsed, monkeypatch):
    monkeypatch.setattr(cohort_scan, "_BATCH", 1)
    whole = cohort.scan(folder, "c")
    cohort.scan(folder, "c", resume=True)  # interrupted before it was written
    parsed.clear()
    again = cohort.scan(folder, "c", resume=True)
    assert parsed == []
    pd.testing.assert_frame_equal(again.table, whole.table)
    pd.testing.assert_frame_equal(again.rejected, whole.rejected)
    monkeypatch.setitem(cohort_journal._FIRST, "schema", -1)
    cohort.scan(folder, "c", resume=True)
    assert len(parsed) == again.n_files


def test_rescan_hides_a_new_file_that_names_a_patient_known_from_before(folder):
    cohort.write(cohort.scan(folder, "c"))
    (folder / "lovelace_letter.txt").write_text("x")
    again = cohort.scan(folder, "c", previous=cohort.read("c"))
    assert not again.rejected["shown_path"].str.contains("lovelace", case=False).any()


def test_several_workers_find_the_same(folder):
    one, two = cohort.scan(folder, "c"), cohort.scan(folder, "c", workers=2)
    pd.testing.assert_frame_equal(one.table, two.table)
    pd.testing.assert_frame_equal(one.rejected, two.rejected)


def test_copies_of_an_instance_keep_rows_and_unique_keys(tmp_path, workspace):
    for name in ("a.dcm", "b.dcm"):
        write_slice(tmp_path / "d" / name, SOPInstanceUID="1.2.3.4")
    made = cohort.scan(tmp_path / "d", "c")
    keys = [cohort.slice_key(row) for _, row in made.table.iterrows()]
    assert keys[0] == "1.2.3.4:0"
    assert len(set(keys)) == 2
    assert made.table["conflict"].tolist() == ["", "same SOPInstanceUID as another file"]
    again = cohort.scan(tmp_path / "d", "c", previous=made)
    pd.testing.assert_frame_equal(again.table, made.table)


def test_image_number_runs_towards_head_back_and_left_whatever_the_order(tmp_path, workspace):
    for i, z in enumerate([30, 10, 20]):
        # A normal that points to the feet must not turn the stack round.
        write_slice(
            tmp_path / "d" / f"{i}.dcm", ImagePositionPatient=[0, 0, z], ImageOrientationPatient=[-1, 0, 0, 0, 1, 0]
        )
    table = cohort.scan(tmp_path / "d", "c").table
    assert table["image_number"].tolist() == [3, 1, 2]


def test_without_geometry_numbers_follow_instance_number(tmp_path, workspace):
    for name, number in (("a", 2), ("b", 1)):
        write_slice(
            tmp_path / "d" / name, InstanceNumber=number, ImageOrientationPatient=None, ImagePositionPatient=None
        )
    table = cohort.scan(tmp_path / "d", "c").table
    assert table["image_number"].tolist() == [2, 1]
    assert table["position_mm"].isna().all()


def test_default_split_is_by_patient(tmp_path, workspace):
    for i in range(10):
        for k in range(2):
            write_slice(tmp_path / "d" / f"{i}_{k}.dcm", PatientID=f"ID{i}x", PatientName=f"Name{i}")
    table = cohort.scan(tmp_path / "d", "c").table
    assert (table.groupby("PatientID")["split"].nunique() == 1).all()
    assert set(table["split"]) == {"train", "validation", "test"}


def test_interrupted_scan_and_write_leave_the_old_cohort(folder, workspace, monkeypatch):
    old = cohort.write(cohort.scan(folder, "c"))

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cohort.scan(folder, "c", report=interrupt)
    changed = cohort.scan(folder / "other", "c")
    monkeypatch.setattr(pd.DataFrame, "to_parquet", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        cohort.write(changed)
    monkeypatch.undo()
    os.environ["SLICESCOPE_WORKSPACE"] = str(workspace)
    assert len(cohort.read("c").table) == len(old.table)
    assert not [path for path in workspace.rglob("*") if path.name.endswith(".tmp")]


def test_replaced_keeps_the_old_file_on_failure(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replaced(path) as fresh:
        fresh.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_label_log_applies_and_undoes(folder):
    made = cohort.write(cohort.scan(folder, "c"))
    before = made.table["sequence"].tolist()
    key = cohort.slice_key(made.table.iloc[0])
    line = cohort.append_label(made, key, "sequence", before[0], "FLAIR", by="teacher", at="2026-01-01T00:00:00+00:00")
    row = cohort.read("c").table.iloc[0]
    assert (row["sequence"], row["sequence_rule"]) == ("FLAIR", "person")
    assert row["sequence_evidence"] == "teacher, 2026-01-01T00:00:00+00:00"
    # A re-scan takes headers' labels from disk, not what people made of them.
    assert cohort.scan(folder, "c", previous=cohort.read("c")).table["sequence"].tolist() == before
    undo = cohort.undo_label(made, line, by="teacher")
    pd.testing.assert_frame_equal(cohort.read("c").table, made.table)
    cohort.undo_label(made, undo, by="teacher")
    assert cohort.read("c").table["sequence"][0] == "FLAIR"
    assert len((made.folder / cohort.LOG_NAME).read_text().splitlines()) == 3


def test_label_log_by_series_and_its_refusals(folder):
    made = cohort.write(cohort.scan(folder, "c"))
    cohort.append_label(made, "1.2.2", "plane", "axial", "coronal", by="csv")
    table = cohort.read("c").table
    assert (table["plane"] == "coronal").sum() == 3
    with pytest.raises(CohortError, match="vocabulary"):
        cohort.append_label(made, "1.2.2", "sequence", None, "T9", by="x")
    with pytest.raises(CohortError, match="no line"):
        cohort.undo_label(made, "nothing", by="x")
    with pytest.raises(CohortError, match="labels of its log"):
        cohort.write(cohort.read("c"))


def test_cut_off_last_log_line_is_left_out(folder):
    made = cohort.write(cohort.scan(folder, "c"))
    cohort.append_label(made, "1.2.2", "plane", "axial", "coronal", by="x")
    with (made.folder / cohort.LOG_NAME).open("a") as file:
        file.write('{"id": "cut')
    assert len(cohort.read_log(made)) == 1


def test_manifest_goes_out_and_comes_back(folder, tmp_path):
    made = cohort.write(cohort.scan(folder, "c"))
    out = tmp_path / "mri-images.json"
    cohort.export_manifest(made, out)
    entry = json.loads(out.read_text())["0"]
    assert set(entry) == {
        "patient-id", "perspective", "sequence", "perspective-sequence", "labels", "image-number", "image-name"
    }  # fmt: skip
    assert entry["perspective-sequence"] == "AX-T1KM"
    assert entry["labels"] == ["AX", "T1KM"]
    back = cohort.import_manifest(out)
    expected = made.table.assign(path=made.table["shown_path"])[list(back.columns)]
    pd.testing.assert_frame_equal(back, expected.reset_index(drop=True))


def test_manifest_of_the_seed_is_read_with_its_misspellings(tmp_path, workspace):
    rows = [("TGCA020037", "AX", "T1KM"), ("TCGA02-0037", "COR", "Misc")]
    entries = {
        str(i): {
            "patient-id": p, "perspective": q, "sequence": s, "perspective-sequence": f"{q}-{s}", "labels": [q, s],
            "image-number": "1", "image-name": f"{q}_{s}_Glioma_GBM_{p}_1.jpg",
        }
        for i, (p, q, s) in enumerate(rows)
    }  # fmt: skip
    path = tmp_path / "mri-images.json"
    path.write_text(json.dumps(entries))
    table = cohort.import_manifest(path)
    assert table["PatientID"].nunique() == 1
    assert table["sequence"].tolist() == ["T1CE", "OTHER"]


@pytest.mark.parametrize(
    ("text", "match"),
    [("nonsense", "JSON"), ("[1]", "no manifest"), ('{"0": {"sequence": "T1"}}', "has no patient-id")],
)
def test_bad_manifest_is_refused(tmp_path, text, match):
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(InputError, match=match):
        cohort.import_manifest(path)


def test_missing_and_odd_cohorts_are_named(folder, workspace):
    with pytest.raises(CohortError, match=r"no cohort 'nowhere'.*none yet"):
        cohort.read("nowhere")
    made = cohort.write(cohort.scan(folder, "c"))
    facts_file = made.folder / "cohort.json"
    facts = json.loads(facts_file.read_text())
    facts_file.write_text(json.dumps({**facts, "schema": 99}))
    with pytest.raises(CohortError, match="version 99"):
        cohort.read("c")
    facts_file.write_text("{")
    with pytest.raises(CohortError, match="cannot be used"):
        cohort.read("c")
    facts_file.write_text(json.dumps(facts))
    (made.folder / "cohort.parquet").write_bytes(b"not parquet")
    with pytest.raises(CohortError, match="cannot be read"):
        cohort.read("c")
    (made.folder / "cohort.parquet").unlink()
    with pytest.raises(CohortError, match=r"no cohort\.parquet"):
        cohort.read("c")
    with pytest.raises(CohortError, match="letters, digits"):
        cohort.write(cohort.scan(folder, "../evil"))


def test_column_that_is_gone_is_named(folder):
    made = cohort.write(cohort.scan(folder, "c"))
    made.table.drop(columns="plane").to_parquet(made.folder / "cohort.parquet")
    with pytest.raises(CohortError, match="no column plane"):
        cohort.read("c")


def test_empty_folder_is_a_cohort_of_nothing(tmp_path, workspace):
    (tmp_path / "void").mkdir()
    made = cohort.write(cohort.scan(tmp_path / "void", "void"))
    assert len(made.table) == made.n_files == 0
    with pytest.raises(InputError, match="no file or folder"):
        cohort.scan(tmp_path / "gone", "gone")


def test_rescan_of_another_place_is_refused(folder):
    first = cohort.scan(folder, "c")
    with pytest.raises(CohortError, match="another folder"):
        cohort.scan(folder / "other", "c", previous=first)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_write_table_and_its_refusal(tmp_path, name):
    cohort.write_table(pd.DataFrame({"a": [1]}), tmp_path / name)
    assert (tmp_path / name).stat().st_size > 0
    with pytest.raises(InputError, match="parquet or"):
        cohort.write_table(pd.DataFrame({"a": [1]}), tmp_path / "t.xlsx")


def test_cohort_passed_on_opens_without_private_files(folder, tmp_path, workspace):
    made = cohort.write(cohort.scan(folder, "c"))
    copied = tmp_path / "passed" / "c"
    copied.parent.mkdir()
    made.folder.rename(copied)
    passed = cohort.read(copied)
    assert len(passed.table) == len(made.table)
    assert (passed.table["path"] == passed.table["shown_path"]).all()


def test_a_cohort_of_another_version_is_made_anew_by_indexing_its_folder(tmp_path, make_slice):
    make_slice(path=tmp_path / "a" / "1.dcm")
    made = cohort.index(tmp_path / "a", "old")
    facts = json.loads((made.folder / "cohort.json").read_text("utf-8"))
    (made.folder / "cohort.json").write_text(json.dumps({**facts, "schema": 1}), "utf-8")
    with pytest.raises(CohortError, match="Index the folder again"):
        cohort.read("old")
    assert len(cohort.index(tmp_path / "a", "old").table) == len(cohort.read("old").table) == 1
