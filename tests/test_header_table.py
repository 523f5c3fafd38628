"""The header as a table: everything is listed, and nothing that names a person unless it is asked for."""

import gzip
from itertools import pairwise

import nibabel
import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from core.cohorts.header_table import HIDDEN, read_attributes
from core.errors import UnreadableFile
from core.sandbox import Sandbox

NAMED = {
    "PatientName": "Lovelace^Adalina", "PatientID": "HOSP-48151623", "PatientBirthDate": "18151210",
    "OtherPatientIDs": "X-99", "PatientAddress": "12 St James Square", "ReferringPhysicianName": "Babbage^Charles",
    "OperatorsName": "Menabrea^Luigi", "AccessionNumber": "ACC-777", "StudyID": "S-31337", "StationName": "MR-ROOM-3",
    "InstitutionName": "Ockham Hospital", "InstitutionAddress": "Surrey", "DeviceSerialNumber": "SN-424242",
    "StudyDate": "18430808", "AcquisitionDateTime": "18430808101112", "PatientComments": "knows Babbage",
    "ImageComments": "seen by Somerville", "RequestingPhysician": "Somerville^Mary",
    "PerformedProcedureStepID": "PPS-5150", "SeriesDescription": "AX T1 LOVELACE for Dr Babbage",
}  # fmt: skip
SECRETS = ("Lovelace", "Adalina", "48151623", "18151210", "X-99", "St James", "Babbage", "Menabrea", "ACC-777", "31337",
           "MR-ROOM", "Ockham", "Surrey", "424242", "18430808", "Somerville", "5150")  # fmt: skip


def values(rows: list[dict]) -> dict[str, str]:
    return {row["name"]: row["value"] for row in rows}


@pytest.fixture
def named(make_slice, make_dataset, tmp_path):
    """A slice whose header names people wherever it can, private and nested places included."""
    dataset = make_dataset(**NAMED)
    block = dataset.private_block(0x0029, "ACME INC", create=True)
    block.add_new(0x10, "LO", "Lovelace private")
    block.add_new(0x11, "DS", "1.5")
    block.add_new(0x12, "OB", b"Lovelace in bytes")
    item = Dataset()
    item.PatientName, item.CodeMeaning = "Lovelace^Adalina", "of Adalina Lovelace"
    item.ReferencedSOPInstanceUID = "1.2.3.48151623"
    dataset.ReferencedImageSequence = Sequence([item])
    path = tmp_path / "named.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_nobody_is_named_unless_asked(named):
    shown = read_attributes(named)
    text = "\n".join(f"{row['name']} {row['value']}" for row in shown)
    assert [secret for secret in SECRETS if secret.casefold() in text.casefold()] == []
    by_name = values(shown)
    assert by_name["RepetitionTime"] == "500" and by_name["PixelSpacing"] == "1\\1"
    assert by_name["PatientName"] == HIDDEN and by_name["SOPInstanceUID"] == HIDDEN
    assert by_name["SOPClassUID"].endswith("(MR Image Storage)")
    assert by_name["SeriesDescription"].startswith("AX T1 ")


def test_all_is_told_when_asked(named):
    text = "\n".join(row["value"] for row in read_attributes(named, identity=True))
    assert [secret for secret in SECRETS if secret not in text] == []
    assert "Lovelace private" in text and HIDDEN not in text


def test_private_numbers_are_shown_and_private_text_is_not(named):
    private = {row["tag"]: row["value"] for row in read_attributes(named) if row["name"].startswith("private")}
    assert private["(0029,1010)"] == HIDDEN and private["(0029,1011)"] == "1.5" and private["(0029,1012)"] == HIDDEN


def test_rows_are_in_the_order_of_tags_and_nested_ones_say_where_they_stand(named):
    rows = read_attributes(named)
    top = [row["tag"] for row in rows if "›" not in row["name"]]
    assert all(one < two for one, two in pairwise(top))
    assert "ReferencedImageSequence › PatientName" in values(rows)


def test_of_an_enhanced_file_only_the_frames_own_groups_are_listed(make_dataset, tmp_path):
    dataset = make_dataset(np.zeros((3, 4, 4), np.uint16), NumberOfFrames=3)
    frames = []
    for number in range(3):
        item, content = Dataset(), Dataset()
        content.InStackPositionNumber = number + 1
        item.FrameContentSequence = Sequence([content])
        frames.append(item)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    path = tmp_path / "enhanced.dcm"
    dataset.save_as(path, enforce_file_format=True)
    found = [row["value"] for row in read_attributes(path, 1) if row["name"].endswith("InStackPositionNumber")]
    assert found == ["2"]


def test_other_formats_hide_their_free_text(tmp_path):
    volume = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4))
    volume.header["descrip"] = b"Lovelace"
    nibabel.save(volume, tmp_path / "a.nii.gz")
    shown = values(read_attributes(tmp_path / "a.nii.gz"))
    assert shown["descrip"] == HIDDEN and shown["dim"].startswith("[3, 4, 5, 6")
    assert values(read_attributes(tmp_path / "a.nii.gz", identity=True))["descrip"] == "Lovelace"
    note = PngImagePlugin.PngInfo()
    note.add_text("Author", "Lovelace")
    Image.new("L", (7, 5)).save(tmp_path / "a.png", pnginfo=note)
    assert values(read_attributes(tmp_path / "a.png")) == {
        "Format": "PNG", "Columns": "7", "Rows": "5", "Mode": "L", "Author": HIDDEN,
    }  # fmt: skip


@pytest.mark.parametrize("content", [gzip.compress(b"no nifti", mtime=0), b""])
def test_damaged_files_are_refused_in_one_sentence(tmp_path, content):
    path = tmp_path / "Lovelace.nii.gz"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile) as refusal:
        read_attributes(path)
    assert "Lovelace" not in str(refusal.value)


def test_the_limited_child_answers_the_same(named):
    sandbox = Sandbox()
    try:
        assert sandbox.attributes(named) == read_attributes(named)
        assert sandbox.attributes(named, identity=True) == read_attributes(named, identity=True)
    finally:
        sandbox.close()


@pytest.mark.real
def test_every_real_header_is_listed_and_names_nobody(real_data):
    for path in sorted(real_data.rglob("*.dcm")):
        rows = read_attributes(path)
        assert len(rows) > 20
        naming = [row for row in rows if row["vr"] in ("PN", "DA", "TM", "DT") and row["value"] not in ("", HIDDEN)]
        assert naming == []
