"""Each rule of the labels has a header built for it, a reason, and a line on the page of rules."""

import runpy
from typing import ClassVar

import pytest

from core.labelling.label_physics import read_physics
from core.labelling.label_text import normalise, read_text
from core.labels import KEYWORDS, PLANE_RULES, RULES, label_header, plane_from_header, sequence_from_header
from core.settings import PROJECT_DIR

SHORT = {
    "tr": "RepetitionTime", "te": "EchoTime", "ti": "InversionTime", "flip": "FlipAngle", "scan": "ScanningSequence",
    "variant": "SequenceVariant", "options": "ScanOptions", "dim": "MRAcquisitionType", "name": "SequenceName",
    "type": "ImageType", "by": "Manufacturer", "train": "EchoTrainLength", "says": "AcquisitionContrast",
}  # fmt: skip


def made(**attributes):
    """Make a header from short names."""
    return {"kind": "dicom", **{SHORT.get(name, name): value for name, value in attributes.items()}}


EP_SE, EP_GR = {"scan": "SE\\EP", "tr": 5000.0, "te": 90.0}, {"scan": "EP\\GR", "tr": 2000.0, "te": 30.0}
IR, SE, GR = {"scan": "SE\\IR"}, {"scan": "SE"}, {"scan": "GR"}

# Physics: rule → (header, label or None)
PHYSICS = {
    "type_localizer": (made(type="ORIGINAL\\PRIMARY\\LOCALIZER", **GR, tr=5.0, te=2.0), "LOCALIZER"),
    "series_plane_localizer": (made(GESeriesPlane=256, **GR, tr=5.0, te=2.0, by="GE MEDICAL SYSTEMS"), "LOCALIZER"),
    "type_screen": (made(type="DERIVED\\SECONDARY\\SCREEN SAVE"), "OTHER"),
    "type_subtraction": (made(type="DERIVED\\PRIMARY\\M\\SUB", **SE, tr=500.0, te=10.0), "OTHER"),
    "type_fractional_anisotropy": (made(type="DERIVED\\PRIMARY\\DIFFUSION\\FA\\ND"), "FA"),
    "type_parametric_map": (made(type="DERIVED\\PRIMARY\\T1 MAP\\ND"), "OTHER"),
    "type_adc": (made(type="DERIVED\\PRIMARY\\DIFFUSION\\ADC\\ND"), "ADC"),
    "type_trace": (made(type="DERIVED\\PRIMARY\\DIFFUSION\\TRACEW\\ND"), "DWI"),
    "type_asl": (made(type="ORIGINAL\\PRIMARY\\ASL\\NONE\\ND", **EP_GR), "ASL"),
    "type_perfusion_map": (made(type="DERIVED\\PRIMARY\\PERFUSION\\RCBV"), "PWI"),
    "type_susceptibility": (made(type="DERIVED\\PRIMARY\\MNIP\\SWI\\NORM"), "SWI"),
    "type_field_map": (made(type="ORIGINAL\\PRIMARY\\B0 MAP\\B0\\UNSPECIFIED"), "FIELDMAP"),
    "type_angiography": (made(type="ORIGINAL\\PRIMARY\\M_PCA\\M\\PCA", **GR), "MRA"),
    "type_uniform": (made(type="DERIVED\\PRIMARY\\M\\ND\\UNI"), "T1"),
    "type_functional": (made(type="ORIGINAL\\PRIMARY\\FMRI\\NONE"), "BOLD"),
    "type_perfusion": (made(type="DERIVED\\PRIMARY\\PERFUSION"), None),
    "name_susceptibility": (made(name="*swi3d1r", **GR, tr=28.0, te=20.0), "SWI"),
    "name_field_map": (made(GEPulseSequence="3db0map", GEInternalPulseSequence="EFGRE3D", **GR), "FIELDMAP"),
    "name_asl": (made(GEPulseSequence="3dasl", scan="RM", tr=4800.0, te=10.5), "ASL"),
    "ge_asl_technique": (made(GEASLTechnique="3D pulsed continuous ASL technique", scan="RM"), "ASL"),
    "name_angiography": (made(name="*fl3d1r_t70", **GR, tr=22.0, te=3.6), "MRA"),
    "name_functional": (made(GEPulseSequence="epiRT", GEInternalPulseSequence="EPI", **EP_GR), "BOLD"),
    "labelling_stated": (made(ArterialSpinLabelingContrast="PSEUDOCONTINUOUS"), "ASL"),
    "inflow_stated": (made(TimeOfFlightContrast="YES"), "MRA"),
    "flow_stated": (made(PhaseContrast="YES"), "MRA"),
    "angio_flag": (made(AngioFlag="Y", **GR, tr=23.0, te=3.4), "MRA"),
    "diffusion_derived": (made(type="DERIVED\\SECONDARY", GEBValue="1000001000\\0", **EP_SE), None),
    "diffusion": (made(ImageComments="b=1500(0.4,0.0,0.9) Lovelace", **EP_SE, by="CANON_MEC"), "DWI"),
    "colour_picture": (made(PhotometricInterpretation="RGB", type="DERIVED\\SECONDARY"), "OTHER"),
    "echo_planar_derived": (made(type="DERIVED\\SECONDARY", **EP_GR), None),
    "spin_echo_epi": (made(**EP_SE), None),
    "gradient_echo_epi": (made(scan="GR", tr=2000.0, te=30.0, PhilipsEPIFactor=43, by="Philips"), None),
    "phase_image": (made(**GR, tr=30.0, te=5.0, GEComplexComponent=1, by="GE MEDICAL SYSTEMS"), None),
    "inversion_unknown_long": (made(**IR, tr=9000.0, te=120.0), None),
    "inversion_short": (made(**IR, tr=2200.0, te=9.0), "T1"),
    "inversion_short_open": (made(**IR, tr=3300.0, te=30.0), None),
    "fat_selective_inversion": (made(**SE, tr=5000.0, te=100.0, ti=180.0, options="FS"), None),
    "stir": (made(**IR, tr=4500.0, te=40.0, ti=160.0), "OTHER"),
    "t1_flair": (made(**IR, tr=2200.0, te=9.0, ti=860.0), "T1"),
    "t2_flair": (made(**IR, tr=9000.0, te=120.0, ti=2500.0), "FLAIR"),
    "low_field_flair": (made(**IR, tr=4000.0, te=170.0, ti=1400.0, MagneticFieldStrength=0.064), "FLAIR"),
    "inversion_low_field": (made(**IR, tr=6000.0, te=110.0, ti=1400.0), None),
    "inversion_recovery": (made(**IR, tr=7500.0, te=318.0, ti=3000.0), None),
    "spin_echo_t1": (made(**SE, tr=500.0, te=12.0), "T1"),
    "spin_echo_t1_or_pd": (made(**SE, tr=1200.0, te=12.0), None),
    "spin_echo_pd": (made(**SE, tr=3800.0, te=14.0), "PD"),
    "spin_echo_pd_or_t1": (made(**SE, tr=2400.0, te=12.0), None),
    "hidden_diffusion_t2": (made(**SE, tr=4000.0, te=90.0, train=61), None),
    "hidden_diffusion": (made(**SE, tr=4000.0, te=58.0, train=47, by="Philips"), None),
    "spin_echo_t2_or_flair": (made(**SE, tr=9000.0, te=120.0), None),
    "spin_echo_t2_long": (made(**SE, tr=5000.0, te=100.0), "T2"),
    "spin_echo_t2": (made(**SE, tr=3500.0, te=96.0), "T2"),
    "spin_echo_pd_or_t2": (made(**SE, tr=3500.0, te=50.0), None),
    "magnetization_transfer_pulse": (made(**GR, tr=30.0, te=4.0, flip=6.0, variant="SP\\MTC"), None),
    "mprage": (made(scan="GR\\IR", tr=2300.0, te=3.0, ti=900.0, flip=9.0, dim="3D"), "T1"),
    "mprage_spacing": (made(scan="GR\\IR", tr=9.7, te=4.0, ti=20.0, flip=10.0, dim="3D"), "T1"),
    "prepared_gradient_echo": (made(scan="GR\\IR", tr=5000.0, te=2.9, ti=2500.0, flip=5.0, dim="3D"), None),
    "gradient_echo_t2star": (made(**GR, tr=700.0, te=20.0, flip=20.0, dim="2D"), "T2STAR"),
    "long_gradient_echo": (made(**GR, tr=40.0, te=24.0, flip=15.0, dim="3D"), None),
    "spoiled_gradient_echo_3d": (made(**GR, tr=11.0, te=4.9, flip=15.0, dim="3D", variant="SP"), "T1"),
    "spoiled_gradient_echo_2d": (made(**GR, tr=250.0, te=2.5, flip=70.0, dim="2D", variant="SP"), "T1"),
    "short_gradient_echo": (made(**GR, tr=23.0, te=3.4, flip=20.0, dim="3D"), None),
    "stated_flair_short_tr": (made(says="FLUID_ATTENUATED", tr=2000.0), None),
    "stated_flair": (made(says="FLUID_ATTENUATED", tr=9000.0), "FLAIR"),
    "stated_t1": (made(says="T1"), "T1"),
    "stated_t2": (made(says="T2"), "T2"),
    "stated_t2star": (made(says="T2_STAR"), "T2STAR"),
    "stated_pd": (made(says="PROTON_DENSITY"), "PD"),
    "stated_stir": (made(says="STIR"), "OTHER"),
    "stated_angiography": (made(says="TOF"), "MRA"),
}  # fmt: skip

# Words: rule → (description, label or None)
WORDS = {
    "text_made_picture": ("PosDisp: [3] t2_tse_tra", "OTHER"), "text_localizer": ("3-PLANE LOC T2", "LOCALIZER"),
    "text_calibration": ("Cal Head 24", "OTHER"), "text_field_map": ("fMRI_DistortionMap_AP", "FIELDMAP"),
    "text_exponential_adc": ("DTI_EXP", "OTHER"), "text_adc": ("IsoADC", "ADC"),
    "text_arterial_spin_labelling": ("Axial 3D pCASL", "ASL"), "text_fractional_anisotropy": ("DTI_FA", "FA"),
    "text_blood_flow_labelled": ("relCBF", "ASL"), "text_blood_flow": ("nCBFreg", None),
    "text_diffusion": ("OAx b1000", "DWI"), "text_perfusion": ("sRCBVreg", "PWI"),
    "text_perfusion_bare": ("Perfusion_Weighted", None), "text_functional": ("rfMRI_REST1_AP", "BOLD"),
    "text_map_of_t2star": ("QSM", "OTHER"), "text_susceptibility": ("Ax 3D SWAN", "SWI"),
    "text_angiography": ("3DPCA", "MRA"), "text_stir": ("COR STIR", "OTHER"),
    "text_double_inversion": ("SAG DIR CUBE", "OTHER"), "text_parametric_map": ("T1_Images", "OTHER"),
    "text_first_inversion": ("mp2rage_INV1", "OTHER"), "text_second_inversion": ("mp2rage_INV2", None),
    "text_phase_sensitive": ("AX PSIR", None), "text_t2star": ("AXIAL T2 STAR", "T2STAR"),
    "text_t1_flair": ("OSag T1,Flair", "T1"), "text_flair": ("T2W_FLAIR_SPIR_tra", "FLAIR"),
    "text_pd_and_t2": ("AX DE TSE", None), "text_t1_and_t2": ("T1 AND T2", None), "text_t2_epi": ("ep2d_t2", None),
    "text_t1": ("MP-RAGE REPEAT", "T1"), "text_t2": ("AX T2 FRFSE", "T2"), "text_pd": ("Axial PD", "PD"),
    "text_magnetization_transfer": ("2D GRE-MT", "OTHER"), "text_synthesis_source": ("MAGiC", "OTHER"),
    "text_rest": ("rest", "BOLD"),
}  # fmt: skip

CONTRAST = {"contrast_words": ("AX T1 POST GD", True), "contrast_none_words": ("t1 vor KM", False),
            "contrast_both_words": ("T1 W/WO", None)}  # fmt: skip
PLANES = {"geometry": [1, 0, 0, 0, 1, 0], "geometry_oblique": [1, 0, 0, 0, 0.8, 0.6], "text_plane": None}
#: These are asked of a file, not of a description; their tests stand below.
FILES = {"text_mask_file", "text_seed_name"}

ALL = [rule for rules in RULES.values() for rule in rules]


def test_every_rule_has_its_own_name_a_reason_and_a_header_built_for_it():
    names = [rule.name for rule in ALL]
    assert len(names) == len(set(names))
    assert {*PHYSICS, *WORDS, *CONTRAST, *PLANES, *FILES} == set(names)
    assert [rule.name for rule in ALL if len(rule.why) < 10 or not rule.why.endswith(".")] == []


@pytest.mark.parametrize(("rule", "header", "label"), [(k, *v) for k, v in PHYSICS.items()], ids=list(PHYSICS))
def test_physics(rule, header, label):
    finding = read_physics(header)
    assert (finding.rule, finding.value) == (rule, label)
    assert finding.evidence
    assert "Lovelace" not in finding.evidence


@pytest.mark.parametrize(("rule", "words", "label"), [(k, *v) for k, v in WORDS.items()], ids=list(WORDS))
def test_words(rule, words, label):
    labelled = {"ProtocolName": "pasl_2d"} if rule == "text_blood_flow_labelled" else {}
    finding = read_text({"kind": "dicom", "SeriesDescription": words, **labelled})
    assert (finding.rule, finding.value) == (rule, label)
    assert normalise(words) in finding.evidence


@pytest.mark.parametrize(("words", "agent"), CONTRAST.values(), ids=list(CONTRAST))
def test_contrast(words, agent):
    assert read_text({"kind": "dicom", "SeriesDescription": words}).contrast is agent


@pytest.mark.parametrize("rule", PLANE_RULES, ids=lambda rule: rule.name)
def test_plane(rule):
    header = {"kind": "dicom", "ImageOrientationPatient": PLANES[rule.name], "SeriesDescription": "AX T1"}
    decision, _ = plane_from_header(header)
    assert (decision.value, decision.rule) == ("axial", rule.name)


def test_files_without_header():
    assert label_header({"kind": "nifti", "FileName": "BraTS_seg.nii.gz"})["sequence_rule"] == "text_mask_file"
    seed = label_header({"kind": "picture", "FileName": "COR_T2_Glioma_GBM_TCGA020037_12.jpg"})
    assert seed["sequence_rule"] == "text_seed_name"


def test_the_page_of_rules_is_up_to_date():
    page = runpy.run_path(str(PROJECT_DIR / "docs" / "label_rules.py"))
    assert page["PAGE"].read_text("utf-8") == page["page"](), "run `make rules`"


class Watched(dict):
    """A header that remembers what was asked of it."""

    asked: ClassVar[set[str]] = set()

    def get(self, keyword, default=None):
        self.asked.add(keyword)
        return super().get(keyword, default)


def test_labels_read_nothing_but_the_keywords_by_which_they_are_remembered():
    for header in [header for header, _ in PHYSICS.values()] + [{"SeriesDescription": w} for w, _ in WORDS.values()]:
        read_physics(Watched(header))
        read_text(Watched(header))
    assert Watched.asked - set(KEYWORDS) == set()


def test_slices_that_differ_only_in_place_are_weighed_once():
    first, _ = sequence_from_header(made(**SE, tr=500.0, te=12.0, InstanceNumber=1, FileName="1.dcm"))
    second, _ = sequence_from_header(made(**SE, tr=500.0, te=12.0, InstanceNumber=2, FileName="2.dcm"))
    assert first is second
    other, _ = sequence_from_header(made(**SE, tr=5000.0, te=100.0))
    assert other.value == "T2"
