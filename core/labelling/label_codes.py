"""What the scanner writes about this very picture: its type, its pulse sequence's name, diffusion, echo-planar readout.

Rules are tried in order and the first that fires decides. Codes come before timings, because they name what timings
only suggest. Sources: DICOM PS3.3 C.7.6.1.1.2, C.8.3.1 and C.8.13; the vendors' conformance statements; the notes on
Siemens, GE, Philips, UIH and Canon that dcm2niix keeps; and headers met in practice.
"""

import re

from core.labelling.label_scan import CODES, IMAGE_TYPE, NAMES, TIMING, Scan
from core.labelling.label_witness import Rule, number, quote, words

#: Words that a derived picture may carry whatever the timings of its source were.
DERIVED = ("ADC", "FA", "DWI", "PWI", "ASL", "BOLD", "MRA", "SWI", "FIELDMAP", "OTHER", "LOCALIZER")
_GRADIENT_EPI = ("BOLD", "PWI", "ASL", "T2STAR", "SWI", "FIELDMAP", "OTHER")
_PHASES = ("SWI", "FIELDMAP", "MRA", "BOLD", "OTHER", "PWI", "ASL")

_MAPPED = r"(T1|T2|T2_?STAR|R1|R2|R2_?STAR|PROTON_DENSITY|B1|QSM)[ _]MAP(PING)?|MTR|QSM"


def _typed(pattern: str):
    """One of the words of *ImageType* or *FrameType* is exactly this."""
    return lambda scan: any(re.fullmatch(pattern, word) for word in scan.types)


def _named(pattern: str):
    """One of the pulse sequence's names begins so."""
    return lambda scan: scan.named(pattern)


def _stated(keyword: str):
    """The attribute is there and does not deny."""
    return lambda scan: words(scan.header, keyword) - {"NO", "NONE"}


def _diffusion_signs(scan: Scan) -> list[str]:
    """Attributes that prove diffusion weighting; a public b-value of 0 is none."""
    header = scan.header
    signs = {
        "ImageType": "DIFFUSION" in scan.types,
        "SequenceName": scan.named(r"[a-z]{2,4}\d?d?_b\d+"),
        "PulseSequenceName": scan.named(r"\w*dwi|\w*dti|epi_?d[wt]i|ep2d_diff|epi2"),
        "SiemensBValue": header.get("SiemensBValue") not in (None, ""),
        "AcquisitionContrast": "DIFFUSION" in words(header, "AcquisitionContrast"),
        "DiffusionDirectionality": bool(words(header, "DiffusionDirectionality") & {"DIRECTIONAL", "ISOTROPIC"}),
        "DiffusionBValue": scan.b_value is not None and (scan.echo_planar or number(header, "GEBValue") is None),
    }
    return [keyword for keyword, sign in signs.items() if sign]


def evidence(rule: Rule, scan: Scan) -> str:
    """Quote what a rule read; of comments only the b-value, for the rest may name people."""
    if not rule.name.startswith("diffusion"):
        return quote(scan.header, *rule.reads)
    signs = [sign for sign in _diffusion_signs(scan) if sign not in NAMES]
    told = quote(scan.header, *dict.fromkeys((*signs, *rule.reads)))
    return ", ".join(part for part in (told, scan.commented_b_value) if part)


#: Pictures whose type the scanner names.
IMAGE_TYPES = (
    Rule("type_localizer", "LOCALIZER", "The type says LOCALIZER (a value of the standard) or SCOUT.",
         _typed(r"LOCALI[SZ]ER|SCOUT"), reads=IMAGE_TYPE),
    Rule("series_plane_localizer", "LOCALIZER",
         "GE writes 256 as the plane of a series of three planes, and only localizers are one.",
         lambda s: words(s.header, "GESeriesPlane") == {"256"}, reads=("GESeriesPlane",)),
    Rule("type_screen", "OTHER", "A saved screen (GE) or a picture of slice positions shows text and lines.",
         _typed(r"SCREEN ?SAVE|POSDISP"), reads=IMAGE_TYPE),
    Rule("type_subtraction", "OTHER", "A difference of two series has the timings of both and the contrast of neither.",
         _typed(r"SUB(TRACT\w*)?"), ("MRA", "PWI"), IMAGE_TYPE),
    Rule("type_fractional_anisotropy", "FA", "FA on a diffusion or derived picture; alone it may be a task's name.",
         lambda s: ("FA" in s.types and ("DIFFUSION" in s.types or s.derived))
         or _typed(r"COL_?FA|FA[ _]MAP|FRACT_ANISO")(s), reads=IMAGE_TYPE),
    Rule("type_parametric_map", "OTHER", "Maps of T1, T2, T2*, B1, susceptibility and exponential ADC show numbers.",
         _typed(rf"E_?ADC|EXP|{_MAPPED}"), reads=IMAGE_TYPE),
    Rule("type_adc", "ADC", "All vendors but GE name the apparent diffusion coefficient in the type.",
         _typed(r"ADC(_UNSPECIFIED)?|ADC[ _]MAP"), reads=IMAGE_TYPE),
    Rule("type_trace", "DWI", "Trace images and tensor sheets are counted as diffusion.",
         _typed(r"TRACE_?W?|TENSOR(_B0)?"), reads=IMAGE_TYPE),
    Rule("type_asl", "ASL", "Siemens writes ASL on label, control, M0 and their blood flow maps.",
         _typed("ASL"), reads=IMAGE_TYPE),
    Rule("type_perfusion_map", "PWI", "Blood volume, transit time and the like are maps of a bolus.",
         _typed(r"R?CBV|RCBF|MTT|TTP|TMAX|PBP|GBP|K_?TRANS"), reads=IMAGE_TYPE),
    Rule("type_susceptibility", "SWI", "Siemens and GE name combined susceptibility pictures and their projections.",
         _typed("SWI|SWAN"), reads=IMAGE_TYPE),
    Rule("type_field_map", "FIELDMAP", "Philips and UIH write B0 MAP.",
         _typed(r"(B0|FIELD)[ _]?MAP"), reads=IMAGE_TYPE),
    Rule("type_angiography", "MRA",
         "Time of flight (TOF), VASCULAR and phase contrast (Philips: PCA) are angiography, if by gradient echoes.",
         lambda s: s.gradient_echo and _typed(r"TOF|VASCULAR|ANGIO|(M_|P_)?PCA?")(s), reads=IMAGE_TYPE),
    Rule("type_uniform", "T1", "UNI is the T1-weighted ratio of MP2RAGE's two inversions.", _typed("UNI"),
         reads=IMAGE_TYPE),
    Rule("type_functional", "BOLD", "Siemens XA writes FMRI on functional runs; maps derived of them are none.",
         lambda s: "FMRI" in s.types and not s.derived, reads=IMAGE_TYPE),
    Rule("type_perfusion", None, "Siemens writes PERFUSION on maps of a bolus, others also on arterial spin labelling.",
         _typed("PERFUSION"), ("PWI", "ASL"), IMAGE_TYPE),
)  # fmt: skip

#: Pictures whose pulse sequence or contrast mechanism is made for one purpose.
PULSE_SEQUENCES = (
    Rule("name_susceptibility", "SWI", "Siemens swi3d, GE SWAN and UIH gre_swi do nothing else.",
         _named(r"r?swi\d|swan|gre_swi"), reads=NAMES),
    Rule("name_field_map", "FIELDMAP", "Siemens fm2d and gre_field_mapping, GE B0map and 3db0map.",
         _named(r"fm[23]d|gre_field_map|(3d)?b0_?map"), reads=NAMES),
    Rule("name_asl", "ASL", "Siemens' 3D turbo gradient spin echo and sequences called asl read labelled blood.",
         _named(r"tgse3d|tgse_\w*asl|[23]?d?_?(pc|c|p)?asl|ep2d_\w*asl"), ("T2",), NAMES),
    Rule("ge_asl_technique", "ASL", "GE describes its labelling in a private attribute that others lack.",
         lambda s: any("ASL" in word or "LABEL" in word for word in words(s.header, "GEASLTechnique")),
         reads=("GEASLTechnique",)),
    Rule("name_angiography", "MRA",
         "Time of flight (Siemens fl3d…_t, fi3d…_t, fl_tof) and phase contrast (pc2d, fl_pc, Philips PCA, UIH gre_fq).",
         _named(r"tof|\w*_tof|f[li][23]d\w*_t\d|pc[23]d|fl_?pc|pca|gre_fq"), reads=NAMES),
    Rule("name_functional", "BOLD", "GE epiRT and sequences called bold are for functional runs.",
         _named(r"epirt|ep2d_bold|ep2d_pace|epi_bold"), reads=NAMES),
    Rule("labelling_stated", "ASL", "The enhanced header states how blood was labelled.",
         _stated("ArterialSpinLabelingContrast"), reads=("ArterialSpinLabelingContrast",)),
    Rule("inflow_stated", "MRA", "The enhanced header states time-of-flight contrast.",
         _stated("TimeOfFlightContrast"), reads=("TimeOfFlightContrast",)),
    Rule("flow_stated", "MRA", "The enhanced header states phase contrast, which shows flow.",
         _stated("PhaseContrast"), reads=("PhaseContrast",)),
    Rule("angio_flag", "MRA",
         "AngioFlag Y with TR below 60 ms and TE below 12 ms; some scanners set it on susceptibility pictures too.",
         lambda s: "Y" in words(s.header, "AngioFlag") and s.gradient_echo and (s.tr or 1e9) < 60 and (s.te or 0) < 12,
         ("SWI", "T1"), ("AngioFlag", *TIMING)),
)  # fmt: skip

#: Diffusion, echo-planar readout, phase, colour: what they are, not yet what they are for.
READOUTS = (
    Rule("diffusion_derived", None,
         "A derived picture of a diffusion series whose type the codes do not name: ADC, FA and trace look like this.",
         lambda s: s.derived and _diffusion_signs(s), ("DWI", "ADC", "FA", "OTHER"),
         ("SequenceName", "PulseSequenceName", "GEBValue", "PhilipsBValue")),
    Rule("diffusion", "DWI",
         "A type, name, private b-value or direction of diffusion, or a b-value from 5 s/mm². Philips writes a public "
         "b-value of 0 on everything, so that alone says nothing; Siemens' private one is on diffusion only; GE's has "
         "an offset of 10⁹, and is junk on gradient-echo EPI; Canon's stands in a comment.",
         _diffusion_signs, reads=("SequenceName", "PulseSequenceName", "PhilipsPulseSequence", "GEBValue",
                                  "PhilipsBValue", "UIHBValue")),
    Rule("colour_picture", "OTHER",
         "Scanners save screens, reports and coloured maps in colour, never what they acquire.",
         lambda s: words(s.header, "PhotometricInterpretation") & {"RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR"},
         ("FA", "ADC", "PWI", "ASL", "BOLD"), ("PhotometricInterpretation",)),
    Rule("echo_planar_derived", None, "A derived picture of an echo-planar run may be any map.",
         lambda s: s.echo_planar and s.derived, (*DERIVED, "T2STAR"), (*CODES, *TIMING)),
    Rule("spin_echo_epi", None,
         "Spin-echo EPI without a sign of diffusion: a b = 0 picture, a field map pair, or a run; words may tell.",
         lambda s: s.echo_planar and s.spin_echo, ("DWI", "FIELDMAP", "BOLD", "PWI", "ASL", "OTHER"),
         (*CODES, *TIMING)),
    Rule("gradient_echo_epi", None, "Functional, perfusion and labelled runs share timings; only words part them.",
         lambda s: s.echo_planar, _GRADIENT_EPI, (*CODES, *TIMING, "PhilipsEPIFactor")),
    Rule("phase_image", None, "Phase and imaginary pictures show field, flow or susceptibility, no weighting.",
         lambda s: s.phase and not s.derived, _PHASES,
         (*IMAGE_TYPE, "ComplexImageComponent", "GEComplexComponent")),
)  # fmt: skip

#: In order.
RULES = (*IMAGE_TYPES, *PULSE_SEQUENCES, *READOUTS)
