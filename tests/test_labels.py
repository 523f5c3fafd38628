"""Labels from made headers: every class, every trap, and silence where nothing is known."""

import math

import pytest

from core.labels import (
    label_header,
    plane_from_header,
    seed_name,
    sequence_from_header,
    sequence_from_physics,
    sequence_from_text,
)

SIEMENS, GE, PHILIPS, UIH = "SIEMENS", "GE MEDICAL SYSTEMS", "Philips Medical Systems", "UIH"


SHORT = {"name": "SequenceName", "variant": "SequenceVariant", "dim": "MRAcquisitionType", "by": "Manufacturer",
         "b": "DiffusionBValue", "image": "ImageType", "pulse": "EchoPulseSequence", "contrast": "AcquisitionContrast",
         "ete": "EffectiveEchoTime", "tis": "InversionTimes"}  # fmt: skip


def header(description="", tr=None, te=None, ti=None, flip=None, scanning="", **more):
    """Make a header as `core.sources.read_headers` would, without the attributes that are not given."""
    values = {
        "kind": "dicom", "SeriesDescription": description, "RepetitionTime": tr, "EchoTime": te, "InversionTime": ti,
        "FlipAngle": flip, "ScanningSequence": scanning, **{SHORT.get(key, key): value for key, value in more.items()},
    }  # fmt: skip
    return {keyword: value for keyword, value in values.items() if value not in (None, "")}


MPRAGE_SIEMENS = header("MPRAGE", 2250, 4.1, 925, 9, "GR\\IR", variant="SK\\SP\\MP", name="*tfl3d1_16ns",
                        dim="3D")  # fmt: skip

# (what it is, header, sequence)
CLASSES = [
    ("spin echo T1", header("", 500, 12, flip=90, scanning="SE"), "T1"),
    ("turbo spin echo T1, 3D", header("", 700, 11, scanning="SE", name="*spc3d1_40", dim="3D"), "T1"),
    ("MPRAGE, Siemens", MPRAGE_SIEMENS, "T1"),
    ("MPRAGE, Siemens, no words", {**MPRAGE_SIEMENS, "SeriesDescription": ""}, "T1"),
    ("MPRAGE, old, no inversion time", {**MPRAGE_SIEMENS, "InversionTime": None, "SeriesDescription": ""}, "T1"),
    ("BRAVO, GE", header("", 8.2, 3.2, 450, 12, "GR", variant="SS\\SP\\SK", dim="3D", by=GE), "T1"),
    ("TFE, Philips", header("", 8.1, 3.7, None, 8, "GR", variant="MP", dim="3D", by=PHILIPS), "T1"),
    ("fsp, UIH", header("", 7.2, 3.1, 750, 10, "GR\\IR", dim="3D", by=UIH), "T1"),
    ("SPGR", header("", 11, 4.9, None, 15, "GR", variant="SP", dim="3D"), "T1"),
    ("FLASH 2D", header("", 250, 2.5, None, 70, "GR", variant="SP", dim="2D"), "T1"),
    ("T1 FLAIR under a misleading name", header("SAG FLAIR", 2200, 9, 860, 90, "SE\\IR"), "T1"),
    ("T1 FLAIR, named so", header("SAG T1 FLAIR", 2500, 20, 900, 90, "SE\\IR"), "T1"),
    ("T1 dark fluid", header("t1_tirm_tra_dark-fluid", 2000, 9, 860, 150, "SE\\IR"), "T1"),
    ("T1 FLAIR whose inversion is not told", header("AX T1 FLAIR", 2400, 12, None, 90, "SE"), "T1"),
    ("post-contrast spin echo", header("AX T1 POST GD", 500, 12, None, 90, "SE"), "T1CE"),
    ("post-contrast T1 FLAIR", header("AX T1 POST GD FLAIR", 2200, 9, 860, 90, "SE\\IR"), "T1CE"),
    ("post-contrast, named FLAIR only", header("AX FLAIR POST GAD", 2200, 9, 860, 90, "SE\\IR"), "T1CE"),
    ("post-contrast, weighting unnamed", header("AX +C", 500, 12, None, 90, "SE"), "T1CE"),
    ("post-contrast MPRAGE", {**MPRAGE_SIEMENS, "SeriesDescription": "SAG MPRAGE+C"}, "T1CE"),
    ("T2 turbo spin echo", header("AX T2", 4000, 96, None, 150, "SE", variant="SK", EchoTrainLength=17), "T2"),
    ("T2, no words", header("", 3500, 96, None, 150, "SE"), "T2"),
    ("T2 SPACE", header("", 3200, 409, None, 120, "SE", name="*spc3d1_282", dim="3D"), "T2"),
    ("T2 after contrast agent", header("AX T2 POST GD", 4000, 96, scanning="SE"), "T2"),
    ("FLAIR 2D", header("", 9000, 120, 2500, 150, "SE\\IR"), "FLAIR"),
    ("FLAIR 3D", header("", 5000, 389, 1800, 120, "SE\\IR", name="*spcir_242ns", dim="3D"), "FLAIR"),
    ("FLAIR whose inversion is not told", header("AX FLAIR", 9000, 120, None, 90, "SE"), "FLAIR"),
    ("FLAIR by name and TR 4500", header("FLAIR", 4500, 90, 1600, 90, "SE\\IR"), "FLAIR"),
    ("PD", header("", 3600, 14, None, 150, "SE"), "PD"),
    ("PD with the timings of a T1 FLAIR", header("FSE PD AXIAL", 2300, 22, None, 90, "SE"), "PD"),
    ("dual echo, first", header("AX PD/T2", 3000, 15, None, 90, "SE", EchoNumbers=1), "PD"),
    ("dual echo, second", header("AX PD/T2", 3000, 90, None, 90, "SE", EchoNumbers=2), "T2"),
    ("T2* 2D", header("", 700, 20, None, 20, "GR", name="*fl2d1", dim="2D"), "T2STAR"),
    ("T2* called T2", header("AX T2", 650, 20, None, 20, "GR", dim="2D"), "T2STAR"),
    ("SWI magnitude", header("Mag_Images", 28, 20, None, 15, "GR", name="*swi3d1r", image="ORIGINAL\\PRIMARY\\M"),
         "SWI"),
    ("SWI phase", header("Pha_Images", 28, 20, None, 15, "GR", name="*swi3d1r", image="ORIGINAL\\PRIMARY\\P"), "SWI"),
    ("SWI phase by words", header("SWI phase", 28, 20, None, 15, "GR", image="ORIGINAL\\PRIMARY\\PHASE MAP\\P\\FFE"),
         "SWI"),
    ("SWAN", header("Ax SWAN", 40, 24, None, 15, "GR", dim="3D", by=GE), "SWI"),
    ("DWI, Siemens b=0", header("x", 5000, 90, None, 90, "EP", name="*ep_b0"), "DWI"),
    ("DWI, Siemens private b=0", header("x", 5000, 90, None, 90, "EP", SiemensBValue=0), "DWI"),
    ("DWI, GE b=1000 with the offset", header("x", 8000, 80, None, 90, "EP\\SE", by=GE,
         GEBValue="1000001000\\8\\0\\0"), "DWI"),
    ("DWI, Philips b=0", header("x", 8800, 58, None, 90, "SE", PhilipsPulseSequence="DwiSE", b=0), "DWI"),
    ("DWI, Philips without private tags", header("DTI 32", 8800, 58, None, 90, "SE", EchoTrainLength=47), "DWI"),
    ("DWI, Canon b=1500", header("x", 10000, 79, None, 90, "SE\\EP", b=1500, by="TOSHIBA"), "DWI"),
    ("DWI, Canon b=0, by words", header("DTI ortho", 10000, 79, None, 90, "SE\\EP", by="TOSHIBA"), "DWI"),
    ("Philips writes b=0 on a T1", header("", 500, 12, None, 70, "SE", by=PHILIPS, b=0), "T1"),
    ("trace", header("x", 5000, 90, scanning="EP", image="DERIVED\\PRIMARY\\DIFFUSION\\TRACEW\\ND"), "DWI"),
    ("ADC", header("x", 5000, 90, scanning="EP", image="DERIVED\\PRIMARY\\DIFFUSION\\ADC\\ND", name="*ep_b0_1000"),
         "ADC"),
    ("ADC named only in words", header("ADC (10^-6 mm2/s)", 8000, 80, scanning="EP\\SE", image="DERIVED\\SECONDARY"),
         "ADC"),
    ("exponential ADC", header("eADC", 8000, 80, scanning="EP\\SE", image="DERIVED\\SECONDARY"), "OTHER"),
    ("FA", header("x", 5000, 90, scanning="EP", image="DERIVED\\PRIMARY\\DIFFUSION\\FA\\ND"), "FA"),
    ("FA in words beside diffusion", header("DTI FA", image="DERIVED\\SECONDARY"), "FA"),
    ("BOLD called fa", header("func-bold_task-fa_run-1", 2000, 30, None, 80, "EP", name="*epfid2d1_64"), "BOLD"),
    ("SBRef", header("task-rest_SBRef", 800, 37, None, 52, "EP", name="epfid2d1_104"), "BOLD"),
    ("fMRI by image type", header("x", image="ORIGINAL\\PRIMARY\\FMRI\\NONE"), "BOLD"),
    ("ASL", header("x", 3100, 14, None, 90, "EP", image="ORIGINAL\\PRIMARY\\ASL\\NONE\\ND", name="*epfid2d1_72"),
         "ASL"),
    ("CBF of an ASL series", header("relCBF", image="DERIVED\\PRIMARY\\ASL\\RCBF"), "ASL"),
    ("ASL by words", header("3D pCASL", 4800, 10, scanning="RM", by=GE), "ASL"),
    ("DSC", header("ep2d_perf", 1500, 30, None, 90, "EP", name="*epfid2d1_128"), "PWI"),
    ("rCBV map", header("x", image="DERIVED\\PRIMARY\\PERFUSION\\RCBV"), "PWI"),
    ("TOF", header("TOF_3D_multi-slab", 22, 3.6, None, 18, "GR", name="*fl3d1r_t70", dim="3D"), "MRA"),
    ("TOF by words", header("3D TOF COW", 23, 3.4, None, 20, "GR", variant="SP", dim="3D"), "MRA"),
    ("field map magnitude", header("x", 488, 4.9, None, 60, "GR", name="*fm2d2r", image="ORIGINAL\\PRIMARY\\M"),
         "FIELDMAP"),
    ("field map phase", header("x", 488, 7.4, None, 60, "GR", name="*fm2d2r", image="ORIGINAL\\PRIMARY\\P"),
         "FIELDMAP"),
    ("field map by words", header("B0 map", 500, 4.6, None, 60, "GR", dim="2D", by=GE), "FIELDMAP"),
    ("localizer", header("3-PLANE LOC", 5, 1.6, None, 30, "GR", dim="2D"), "LOCALIZER"),
    ("localizer that looks like T2", header("HASTE localizer", 1100, 90, None, 150, "SE"), "LOCALIZER"),
    ("STIR", header("", 4500, 40, 160, 150, "SE\\IR"), "OTHER"),
    ("STIR by words", header("COR STIR"), "OTHER"),
    ("double inversion", header("DIR SPACE", 7500, 318, 3000, 120, "SE\\IR", dim="3D"), "OTHER"),
    ("first inversion of MP2RAGE", header("mp2rage_sag_INV1", 5000, 2.9, 700, 4, "GR\\IR", name="*tfl3d1",
         variant="MP"), "OTHER"),
    ("uniform image of MP2RAGE", header("mp2rage_sag_UNI_Images", 5000, 2.9, 700, 4, "GR\\IR", name="*tfl3d1",
         image="DERIVED\\PRIMARY\\M\\ND\\UNI"), "T1"),
    ("T1 map", header("T1_Images", 5000, 2.9, 700, 4, "GR\\IR", image="DERIVED\\PRIMARY\\T1 MAP\\ND"), "OTHER"),
    ("magnetization transfer only", header("MT_on", 30, 4, None, 6, "GR", variant="SP\\MTC", dim="3D"), "OTHER"),
    ("enhanced T1", header("x", 2300, FlipAngle=8, ete=2.9, tis="900", pulse="GRADIENT", contrast="UNKNOWN",
         PulseSequenceName="*tfl3d1_16ns", dim="3D", InversionRecovery="YES"), "T1"),
    ("enhanced T2", header("x", 4000, ete=100, pulse="SPIN", contrast="T2"), "T2"),
    ("enhanced FLAIR", header("x", 9000, ete=120, tis="2500", pulse="SPIN", contrast="FLUID_ATTENUATED"), "FLAIR"),
    ("enhanced FLAIR with the timings of a T1", header("x", 2200, ete=10, tis="860", pulse="SPIN",
         contrast="FLUID_ATTENUATED"), "T1"),
    ("enhanced DWI", header("x", pulse="SPIN", EchoPlanarPulseSequence="YES", contrast="DIFFUSION",
         image="ORIGINAL\\PRIMARY\\DIFFUSION\\NONE"), "DWI"),
    ("reformatted T1", header("T1 MPR cor", 2250, 4.1, 925, 9, "GR\\IR", image="DERIVED\\SECONDARY\\REFORMATTED",
         variant="MP"), "T1"),
    ("words alone, numbers removed", header("AX T2 FLAIR"), "FLAIR"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "sequence"), [c[1:] for c in CLASSES], ids=[c[0] for c in CLASSES])
def test_sequence_of_each_class(made, sequence):
    decision, _ = sequence_from_header(made)
    assert decision.value == sequence, decision
    assert decision.rule
    assert decision.evidence


SILENT = [
    ("nothing at all", {}),
    ("a number for a name", header("Series 5")),
    ("functional or perfusion", header("ep2d_Asc", 3200, 30, None, 90, "EP", name="*epfid2d1_64")),
    ("spin-echo EPI without a word", header("", 8000, 80, None, 90, "SE\\EP")),
    ("T1 FLAIR or PD", header("", 2400, 12, None, 90, "SE")),
    ("T2 or a FLAIR whose inversion is not told", header("", 9000, 120, None, 90, "SE")),
    ("both weightings named, no timings", header("PD/T2")),
    ("inflow or T1", header("", 23, 3.4, None, 20, "GR", variant="SP", dim="3D")),
    ("public b = 0 alone", header("", b=0)),
    ("GE's junk b-value on gradient-echo EPI", header("", 2000, 30, None, 80, "EP\\GR", GEBValue="268435456\\0")),
    ("Philips' echo-planar train without its name", header("", 4000, 90, None, 90, "SE", EchoTrainLength=61)),
    ("an agent without a sequence", header("", ContrastBolusAgent="GADAVIST")),
    ("perfusion map of one kind or the other", header("relCBF", image="DERIVED\\PRIMARY\\PERFUSION")),
    ("second inversion of MP2RAGE", header("mp2rage_INV2", 5000, 2.9, 2500, 5, "GR\\IR", variant="MP")),
    ("words that contradict open timings", header("AX T2", 2000, 30, None, 80, "EP")),
    ("a phase image called T1", header("T1", 10, 4, None, 15, "GR", image="ORIGINAL\\PRIMARY\\P")),
    ("values that are no numbers", header("", "fast", "short", scanning="SE")),
]  # fmt: skip


@pytest.mark.parametrize("made", [s[1] for s in SILENT], ids=[s[0] for s in SILENT])
def test_silence_beats_a_guess(made):
    decision, _ = sequence_from_header(made)
    assert (decision.value, decision.rule) == (None, "")


CONTRAST = {
    "AX T1 POST GD": "T1CE", "T1 +C": "T1CE", "T1+C": "T1CE", "AX T1 C+": "T1CE", "T1 POST": "T1CE", "T1 CE": "T1CE",
    "T1KM": "T1CE", "SAG T1 GAD": "T1CE", "t1_mprage_post_contrast": "T1CE", "T1 with contrast": "T1CE",
    "T1 W/ CONTRAST": "T1CE", "T1 mit KM": "T1CE", "STEALTH POST GD T1": "T1CE", "POST OP T1 POST GD": "T1CE",
    "T1 PRE": "T1", "T1 PRE GAD": "T1", "T1 W/O": "T1", "T1 WITHOUT CONTRAST": "T1", "T1 W/WO": "T1", "T1 W WO": "T1",
    "T1 PRE/POST GD": "T1", "T1 with and without contrast": "T1", "T1 nativ": "T1", "STEALTH": "T1", "BRAINLAB": "T1",
    "T1 NAV": "T1", "POST OP T1": "T1", "T1 POST FOSSA": "T1", "T1 NON CONTRAST": "T1", "T1": "T1",
}  # fmt: skip


@pytest.mark.parametrize(("description", "sequence"), CONTRAST.items())
def test_contrast_agent_only_by_unambiguous_words(description, sequence):
    decision, conflict = sequence_from_header({**MPRAGE_SIEMENS, "SeriesDescription": description})
    assert decision.value == sequence
    assert conflict == ""
    assert "contrast:" in decision.evidence


@pytest.mark.parametrize("description", ["STEALTH", "T1 W/WO", "AX T1"])
def test_agent_attribute_and_navigation_name_leave_contrast_unknown(description):
    made = {**MPRAGE_SIEMENS, "SeriesDescription": description, "ContrastBolusAgent": "GADAVIST"}
    decision, _ = sequence_from_header(made)
    assert decision.value == "T1"
    assert "contrast: unknown" in decision.evidence
    assert "GADAVIST" in decision.evidence


def test_words_before_agent_say_none_was_given():
    decision, _ = sequence_from_header({**MPRAGE_SIEMENS, "SeriesDescription": "T1 PRE GAD"})
    assert "contrast: none" in decision.evidence


def test_witnesses_speak_apart():
    made = header("SAG FLAIR", 2200, 9, 860, 90, "SE\\IR")
    assert sequence_from_physics(made).value == "T1"
    assert sequence_from_text(made).value == "FLAIR"
    decision, conflict = sequence_from_header(made)
    assert decision.rule == "t1_flair"
    assert "860" in decision.evidence
    assert "sag flair" in decision.evidence
    assert conflict == "words say FLAIR, timings and codes say T1: taken as T1"


def test_agreement_names_both_rules_and_no_conflict():
    decision, conflict = sequence_from_header(MPRAGE_SIEMENS)
    assert decision.rule == "mprage+text_t1"
    assert conflict == ""


def test_contradicted_open_timings_give_conflict_and_no_label():
    _, conflict = sequence_from_header(header("AX T2", 2000, 30, None, 80, "EP"))
    assert conflict.endswith("no label")


def test_protocol_name_counts_except_on_ge_and_on_maps():
    assert sequence_from_text({"kind": "dicom", "ProtocolName": "AX FLAIR"}).value == "FLAIR"
    assert sequence_from_text({"kind": "dicom", "ProtocolName": "AX FLAIR", "Manufacturer": GE}).value is None
    derived = {"kind": "dicom", "ProtocolName": "AX T2", "ImageType": "DERIVED\\SECONDARY"}
    assert sequence_from_text(derived).value is None


DESCRIPTIONS = {
    "sT1W_3D_TFE": "T1", "T1 C SPINE": "T1", "VEN_BOLD": "SWI", "isoDWI": "DWI", "Average DC": "ADC",
    "MoCoSeries": None,
    "ep2d_t2": None, "t2_space_da-fl_sag": "FLAIR", "t1_tirm_dark-fluid": "T1", "t2_fl2d_tra_hemo": "T2STAR",
    "DTI 64dir": "DWI", "B0 map": "FIELDMAP", "relCBF": None, "3D ASL CBF": "ASL", "3-pl T2* FGRE": "LOCALIZER",
    "STEALTH": None, "AxT2FLAIR": "FLAIR", "PD/T2": None, "FA": None, "T1 FA15": "T1", "CEREBELLUM": None,
}  # fmt: skip


@pytest.mark.parametrize(("description", "sequence"), DESCRIPTIONS.items())
def test_words_of_descriptions(description, sequence):
    assert sequence_from_text(header(description)).value == sequence


NIFTI_NAMES = {
    "sub-01_ses-2_T1w.nii.gz": "T1", "sub-01_T2w.nii": "T2", "sub-01_FLAIR.nii.gz": "FLAIR",
    "sub-strokecase1_dwi.nii.gz": "DWI",
    "sub-01_task-rest_bold.nii.gz": "BOLD", "sub-01_asl.nii.gz": "ASL", "sub-01_ce-gadolinium_T1w.nii.gz": "T1CE",
    "BraTS-MET-00110-000-t1c.nii.gz": "T1CE", "BraTS-GLI-1-t1n.nii.gz": "T1", "BraTS-GLI-1-t2f.nii.gz": "FLAIR",
    "BraTS20_1_t1ce.nii": "T1CE", "x_adc.nii.gz": "ADC", "BraTS-GLI-1-seg.nii.gz": "OTHER", "epi_t2.nii.gz": None,
    "brain.nii.gz": None, "sub-01_phasediff.nii.gz": "FIELDMAP", "sub-01_T2starw.nii.gz": "T2STAR",
    "sub-01_angio.nii.gz": "MRA",
    "sub-01_PDw.nii.gz": "PD", "sub-01_swi.nii.gz": "SWI",
}  # fmt: skip


@pytest.mark.parametrize(("name", "sequence"), NIFTI_NAMES.items())
def test_file_names_are_words_where_there_is_no_header(name, sequence):
    assert label_header({"kind": "nifti", "FileName": name})["sequence"] == sequence


def test_dicom_file_names_are_not_read():
    assert label_header({"kind": "dicom", "FileName": "T2_0001.dcm"})["sequence"] is None


def test_seed_picture_names_are_labels():
    row = label_header({"kind": "picture", "FileName": "AX_T1KM_Glioma_GBM_TCGA020037_12.jpg"})
    assert (row["plane"], row["sequence"], row["sequence_rule"]) == ("axial", "T1CE", "text_seed_name+contrast_words")
    assert label_header({"FileName": "SAG_Misc_Glioma_GBM_TCGA02-0046_3.jpg"})["sequence"] == "OTHER"
    assert seed_name("COR_T2_Glioma_GBM_TGCA020037_1.jpg")["PatientID"] == "TCGA-02-0037"
    assert seed_name("AX_ADC_Glioma_GBM_TCGA02086_1.jpg")["PatientID"] == "TCGA-02-0086"
    assert label_header({"FileName": "AX_PWI_Glioma_GBM_TCGA060119_1.jpg"})["sequence"] == "PWI"
    assert seed_name("holiday_1.jpg") is None
    assert "020037" not in " ".join(str(value) for value in row.values())


@pytest.mark.parametrize(
    ("orientation", "plane"),
    [
        ([1, 0, 0, 0, 1, 0], "axial"),
        ([-1, 0, 0, 0, 1, 0], "axial"),
        ([1, 0, 0, 0, 0, -1], "coronal"),
        ([0, 1, 0, 0, 0, -1], "sagittal"),
        ("0\\1\\0\\0\\0\\-1", "sagittal"),
    ],
)
def test_plane_from_geometry(orientation, plane):
    decision, tilt_deg = plane_from_header({"ImageOrientationPatient": orientation})
    assert (decision.value, decision.rule) == (plane, "geometry")
    assert tilt_deg == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("tilt", "rule"), [(5, "geometry"), (29.5, "geometry"), (31, "geometry_oblique"), (44, "geometry_oblique")]
)
def test_tilt_is_kept_and_large_ones_flagged(tilt, rule):
    angle = math.radians(tilt)
    decision, tilt_deg = plane_from_header({"ImageOrientationPatient": [1, 0, 0, 0, math.cos(angle), math.sin(angle)]})
    assert (decision.value, decision.rule) == ("axial", rule)
    assert tilt_deg == pytest.approx(tilt)


@pytest.mark.parametrize(
    "orientation", [None, [], [1, 0, 0], [0] * 6, [1, 0, 0, 1, 0, 0], [math.nan] * 6, "a\\b\\c\\d\\e\\f"]
)
def test_broken_geometry_gives_no_plane(orientation):
    decision, tilt_deg = plane_from_header({"ImageOrientationPatient": orientation, "kind": "dicom"})
    assert decision.value is None
    assert math.isnan(tilt_deg)


def test_plane_from_words_only_without_geometry_and_only_one():
    assert plane_from_header(header("AX T1"))[0].value == "axial"
    assert plane_from_header(header("AX T1 COR REFORMAT"))[0].value is None
    row = label_header({**header("DTI SAG 30d"), "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]})
    assert row["plane"] == "axial"
    assert "words say sagittal, geometry says axial" in row["conflict"]
