"""BIDS names and JSON sidecars are witnesses; a damaged sidecar is noted and costs nothing else."""

import json

import nibabel
import numpy as np
import pytest

from core import cohort, sources
from core.labels import label_header
from core.reading import bids


@pytest.fixture
def volume(tmp_path, workspace):
    """Give ``volume(name, sidecar=None, affine=..., volumes=1) -> path``; text is written as it is."""

    def make(name, sidecar=None, affine=None, volumes=1):
        path = tmp_path / "bids" / f"{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        shape = (8, 8, 4, volumes) if volumes > 1 else (8, 8, 4)
        affine = np.diag([1.0, 1, 4, 1]) if affine is None else affine
        nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.float32), affine), path)
        if sidecar is not None:
            text = sidecar if isinstance(sidecar, str) else json.dumps(sidecar)
            bids.sidecar_of(path).write_text(text)
        return path

    return make


def labels_of(path):
    return label_header({**sources.read_headers(path)[0], "FileName": path.name})


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("sub-01_T1w", "T1"), ("sub-01_ce-gadolinium_T1w", "T1CE"), ("sub-01_ce-none_T1w", "T1"),
        ("sub-01_ses-post_T1w", "T1"), ("sub-PD_ses-pre_T2w", "T2"), ("sub-01_acq-sag_FLAIR", "FLAIR"),
        ("sub-01_T2starw", "T2STAR"), ("sub-01_PDw", "PD"), ("sub-01_dir-AP_dwi", "DWI"), ("sub-01_adc", "ADC"),
        ("sub-01_task-rest_bold", "BOLD"), ("sub-01_task-fa_sbref", "BOLD"), ("sub-01_asl", "ASL"),
        ("sub-01_m0scan", "ASL"), ("sub-01_dir-PA_epi", "FIELDMAP"), ("sub-01_phasediff", "FIELDMAP"),
        ("sub-01_magnitude1", "FIELDMAP"), ("sub-01_inplaneT2", "T2"), ("sub-01_UNIT1", "T1"), ("sub-01_angio", "MRA"),
        ("sub-01_T1map", "OTHER"), ("sub-01_inv-1_MP2RAGE", "OTHER"), ("sub-01_space-T1w_desc-brain_mask", "OTHER"),
        ("sub-01_acq-bold_T1w", "T1"), ("sub-01_sbref", None), ("sub-01_PDT2", None),
        ("sub-01_model-dti_param-fa_dwimap", "FA"), ("sub-01_model-dti_param-md_dwimap", None),
    ],
)  # fmt: skip
def test_the_suffix_says_what_a_volume_is_and_only_telling_entities_are_read(volume, name, sequence):
    assert labels_of(volume(name))["sequence"] == sequence


def test_times_of_a_sidecar_are_milliseconds_and_its_words_and_codes_are_heard(volume):
    path = volume("scan", {
        "RepetitionTime": 9.0, "EchoTime": 0.12, "InversionTime": 2.5, "FlipAngle": 150, "MagneticFieldStrength": 3,
        "Manufacturer": "Siemens", "ManufacturersModelName": "Prisma", "ScanningSequence": "SE\\IR",
        "ImageType": ["ORIGINAL", "PRIMARY"], "SeriesDescription": "SAG T1", "ImageOrientationPatientDICOM": [0] * 6,
    })  # fmt: skip
    header = sources.read_headers(path)[0]
    assert (header["RepetitionTime"], header["EchoTime"], header["InversionTime"]) == (9000, 120, 2500)
    assert (header["ManufacturerModelName"], header["ImageType"]) == ("Prisma", "ORIGINAL\\PRIMARY")
    labels = labels_of(path)
    assert (labels["sequence"], labels["sequence_rule"]) == ("FLAIR", "t2_flair")
    assert "words say T1" in labels["conflict"]
    row = cohort.scan(path, "c").table.iloc[0]
    assert (row["RepetitionTime"], row["Manufacturer"], row["SeriesDescription"]) == (9000.0, "Siemens", "SAG T1")


@pytest.mark.parametrize(
    ("sidecar", "says"),
    [
        ("{", "damaged"), ("[" * 100_000, "damaged"), ("[1]", "no attributes"),
        (" " * (1 << 20) + "{}", "more than 1 MB"),
        ({"EchoTime": 30, "RepetitionTime": 2}, "EchoTime 30 s"),
    ],
)  # fmt: skip
def test_a_sidecar_that_cannot_be_used_is_noted_and_the_volume_read(volume, sidecar, says):
    path = volume("sub-01_T2w", sidecar)
    table = cohort.scan(path.parent, "c").table
    assert len(table) == 4 and set(table["sequence"]) == {"T2"}
    assert says in table["conflict"].iloc[0]
    assert table["EchoTime"].isna().all()


def test_odd_values_of_a_sidecar_are_absent_ones(volume):
    path = volume(
        "a", '{"EchoTime": NaN, "RepetitionTime": true, "FlipAngle": [], "ImageType": {}, "SeriesNumber": 1e999}'
    )
    header = sources.read_headers(path)[0]
    assert not {"EchoTime", "RepetitionTime", "FlipAngle", "ImageType", "SeriesNumber", "problem"} & set(header)


def test_sidecars_are_accounted_for_and_a_changed_one_is_read_again(volume):
    path = volume("scan", {"SeriesDescription": "T1 MPRAGE"})
    made = cohort.scan(path.parent, "c")
    assert made.rejected["reason"].tolist() == ["It is the sidecar of a NIfTI volume, and is read with it."]
    assert made.n_files == 2 and set(made.table["sequence"]) == {"T1"}
    bids.sidecar_of(path).write_text(json.dumps({"SeriesDescription": "T2 TSE, again"}))
    again = cohort.scan(path.parent, "c", previous=made)
    assert set(again.table["sequence"]) == {"T2"} and again.n_files == 2
    bids.sidecar_of(path).unlink()
    gone = cohort.scan(path.parent, "c", previous=again)
    assert gone.table["sequence"].isna().all() and gone.n_files == 1


def test_an_interrupted_scan_goes_on_without_what_another_sidecar_told(volume):
    path = volume("v", {"SeriesDescription": "T1 SE"})
    assert set(cohort.scan(path.parent, "c", resume=True).table["sequence"]) == {"T1"}  # it was not written
    bids.sidecar_of(path).write_text(json.dumps({"SeriesDescription": "T2 TSE, again"}))
    assert set(cohort.scan(path.parent, "c", resume=True).table["sequence"]) == {"T2"}
    bids.sidecar_of(path).unlink()
    assert cohort.index(path.parent, "c").table["sequence"].isna().all()
    bids.sidecar_of(path).write_text(json.dumps({"SeriesDescription": "T1 SE"}))
    assert set(cohort.index(path.parent, "c").table["sequence"]) == {"T1"}


def test_patients_that_a_sidecar_names_are_not_shown(volume):
    path = volume(
        "lovelace_1", {"PatientName": "Lovelace^Ada", "PatientID": "77123", "SeriesDescription": "Lovelace T1"}
    )
    made = cohort.scan(path.parent, "c")
    text = made.table.drop(columns="path").to_csv().lower()
    assert "lovelace" not in text and "77123" not in text
    assert made.table["PatientID"].iloc[0] == cohort.pseudonym("77123")


@pytest.mark.parametrize("degrees", [0, 20, 40])
@pytest.mark.parametrize("axis", [0, 1])
def test_an_oblique_affine_gives_plane_and_tilt(volume, degrees, axis):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    a, b = [i for i in range(3) if i != axis]
    turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
    labels = labels_of(volume(f"v{degrees}", affine=turn @ np.diag([-1.0, 1, 4, 1])))
    assert labels["plane"] == "axial"
    assert labels["tilt_deg"] == pytest.approx(degrees, abs=0.1)
    assert labels["plane_rule"] == ("geometry_oblique" if degrees > 30 else "geometry")


def test_an_oblique_affine_past_45_degrees_is_of_the_other_plane(volume):
    c, s = np.cos(np.radians(50)), np.sin(np.radians(50))
    turn = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    labels = labels_of(volume("v", affine=turn @ np.diag([1.0, 1, 4, 1])))
    assert labels["plane"] == "coronal" and labels["tilt_deg"] == pytest.approx(40, abs=0.1)


def test_of_a_run_the_evidence_says_that_its_first_volume_is_read(volume):
    labels = labels_of(volume("sub-01_task-rest_bold", volumes=5))
    assert "the first of 5 volumes is read, no mean is taken" in labels["sequence_evidence"]
