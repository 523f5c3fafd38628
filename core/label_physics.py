"""The sequence as the scanner's own codes and timings tell it, never a person's words.

Rules are tried in order and the first that fires decides; each is named and returns what it read.
Codes that the scanner writes about this very image (ImageType, the pulse sequence's name) come first,
then echo time, repetition time, inversion time and flip angle. Where the timings of two sequences
overlap, the finding leaves both possible and its value is None: words may decide, nothing else.

Timings follow McRobbie et al., *MRI from Picture to Proton*, 3rd ed., ch. 3 and 12; the vendors' pulse
sequence names follow dcm2niix's notes on Siemens, GE, Philips, UIH and Canon; keywords follow DICOM PS3.3
C.8.3.1 (MR Image) and C.8.13 (Enhanced MR).
"""

import re
from dataclasses import dataclass, replace
from functools import cached_property

from core.label_witness import Finding, Header, found, number, quote, words

_TIMING = ("RepetitionTime", "EchoTime", "EffectiveEchoTime", "InversionTime", "InversionTimes", "FlipAngle")
_CODES = ("ScanningSequence", "SequenceVariant", "ScanOptions", "SequenceName", "PulseSequenceName")

#: Words that a derived picture may carry whatever the timings of its source were.
_DERIVED = ("ADC", "FA", "DWI", "PWI", "ASL", "BOLD", "MRA", "SWI", "FIELDMAP", "OTHER", "LOCALIZER")
#: What timings alone can never exclude: a plan scan, and pictures of a kind that only their name tells.
_NAMED_ONLY = ("LOCALIZER", "OTHER")

#: ImageType and FrameType words that name the picture, in order of precedence.
_IMAGE_TYPES: tuple[tuple[str, str | None], ...] = (
    (r"LOCALI[SZ]ER|SCOUT", "LOCALIZER"),
    (r"E_?ADC|EXP|(T1|T2|T2_?STAR|R1|R2|R2_?STAR|PROTON_DENSITY|B1|QSM)[ _]MAP(PING)?|MTR|QSM", "OTHER"),
    (r"ADC(_UNSPECIFIED)?|ADC[ _]MAP", "ADC"),
    (r"COL_?FA|FA[ _]MAP|FRACT_ANISO", "FA"),
    (r"TRACE_?W?|TENSOR(_B0)?", "DWI"),
    (r"ASL", "ASL"),
    (r"R?CBV|RCBF|MTT|TTP|TMAX|PBP|GBP|K_?TRANS", "PWI"),
    (r"SWI|SWAN", "SWI"),
    (r"(B0|FIELD)[ _]?MAP", "FIELDMAP"),
    (r"TOF|VASCULAR|ANGIO|PCA|(M_|P_)?PCA?", "MRA"),
    (r"UNI", "T1"),
)


@dataclass(frozen=True)
class _Scan:
    """The values of one header that several rules read."""

    header: Header

    @cached_property
    def tr(self) -> float | None:
        return number(self.header, "RepetitionTime")

    @cached_property
    def te(self) -> float | None:
        return number(self.header, "EchoTime", "EffectiveEchoTime")

    @cached_property
    def ti(self) -> float | None:
        return number(self.header, "InversionTime", "InversionTimes")

    @cached_property
    def flip(self) -> float:
        return number(self.header, "FlipAngle") or 0.0

    @cached_property
    def types(self) -> frozenset[str]:
        return words(self.header, "ImageType", "FrameType")

    @cached_property
    def scanning(self) -> frozenset[str]:
        return words(self.header, "ScanningSequence")

    @cached_property
    def variant(self) -> frozenset[str]:
        return words(self.header, "SequenceVariant")

    @cached_property
    def name(self) -> str:
        """Pulse sequence names of all vendors, lower case, the leading star gone."""
        keywords = ("SequenceName", "PulseSequenceName", "GEPulseSequence", "PhilipsPulseSequence")
        return " ".join(sorted(w.lower().lstrip("*_") for w in words(self.header, *keywords)))

    @cached_property
    def derived(self) -> bool:
        return "DERIVED" in self.types

    @cached_property
    def echo_planar(self) -> bool:
        return (
            "EP" in self.scanning
            or "YES" in words(self.header, "EchoPlanarPulseSequence")
            or bool(re.search(r"(^| )(ep(fid|se|2d|3d|i|_|irt)|(se|ge|ffe|fe)_?epi|dwise)", self.name))
        )

    @cached_property
    def spin_echo(self) -> bool:
        names = r"(^| )(tse|spc|se2d|se3d|tir|fse|frfse|h2d|hste|haste|fast_?se|cube|tfse)"
        stated = words(self.header, "EchoPulseSequence") & {"SPIN", "BOTH"}
        return "SE" in self.scanning or bool(stated) or bool(re.search(names, self.name))

    @cached_property
    def gradient_echo(self) -> bool:
        names = r"(^| )(fl2d|fl3d|tfl|gre|fm2d|swi|epfid|spgr|fspgr|efgre3d|bravo|me2d|me3d)"
        stated = words(self.header, "EchoPulseSequence") & {"GRADIENT"}
        return not self.spin_echo and ("GR" in self.scanning or bool(stated) or bool(re.search(names, self.name)))

    @cached_property
    def inverted(self) -> bool:
        """Whether the header states an inversion; a missing one proves nothing."""
        return (
            self.ti is not None
            or "IR" in self.scanning
            or "MP" in self.variant
            or bool(words(self.header, "ScanOptions") & {"IR", "IR_GEMS"})
            or "YES" in words(self.header, "InversionRecovery")
            or bool(re.search(r"(^| )(t?ir2d|tir3d|spcir|tfl)", self.name))
        )

    @cached_property
    def is_3d(self) -> bool:
        return "3D" in words(self.header, "MRAcquisitionType")

    @cached_property
    def echo_train(self) -> float:
        return number(self.header, "EchoTrainLength") or 1.0

    @cached_property
    def phase(self) -> bool:
        return bool(self.types & {"P", "PHASE"}) or "PHASE" in words(self.header, "ComplexImageComponent")

    @cached_property
    def b_value(self) -> float | None:
        """Diffusion weighting in s/mm² above zero, public or private."""
        value = number(self.header, "DiffusionBValue", "SiemensBValue", "PhilipsBValue")
        if value is None and not self.gradient_echo:  # GE writes junk here on gradient-echo EPI
            value = number(self.header, "GEBValue")
            if value is not None and value >= 1e9:
                value -= 1e9  # GE's offset, since software 15
        return value if value is not None and 5 <= value <= 30_000 else None

    @cached_property
    def timing(self) -> str:
        return quote(self.header, *_TIMING)

    @cached_property
    def codes(self) -> str:
        return quote(self.header, *_CODES)


def read_physics(header: Header) -> Finding:
    """Name the sequence from the scanner's codes and timings.

    Parameters
    ----------
    header : mapping
        As from `core.sources.read_headers`.

    Returns
    -------
    Finding
        Its ``contrast`` is always None: an agent attribute alone proves nothing either way.
    """
    scan = _Scan(header)
    if words(header, "SpectroscopyAcquisitionType"):
        return Finding()
    for rule in (_named_by_image_type, _screen, _named_by_pulse_sequence, _diffusion, _echo_planar):
        if finding := rule(scan):
            return finding
    if scan.phase and not scan.derived:
        return Finding(None, "phase_image", quote(header, "ImageType", "FrameType", "ComplexImageComponent"),
                       frozenset({"SWI", "FIELDMAP", "MRA", "BOLD", "OTHER", "PWI", "ASL"}))  # fmt: skip
    timed = _inversion_recovery(scan) or _spin_echo(scan) or _gradient_echo(scan)
    stated = _stated_contrast(scan)
    if timed is None or (timed.value is None and stated and stated.value in timed.possible):
        timed = stated
    if timed and scan.derived:
        return replace(timed, possible=timed.possible.union(_DERIVED))
    return timed or Finding()


def _named_by_image_type(scan: _Scan) -> Finding | None:
    evidence = quote(scan.header, "ImageType", "FrameType")
    diffusion = "DIFFUSION" in scan.types
    if "FA" in scan.types and (diffusion or scan.derived):
        return found("FA", "image_type", evidence)
    for pattern, value in _IMAGE_TYPES:
        if not any(re.fullmatch(pattern, word) for word in scan.types):
            continue
        if value == "MRA" and not scan.gradient_echo:
            continue
        return found(value, "image_type", evidence)
    if scan.types & {"FMRI"} and not scan.derived:
        return found("BOLD", "image_type", evidence)
    if "PERFUSION" in scan.types:
        # Siemens writes it on maps of DSC, others also on arterial spin labelling.
        return found(None, "image_type_perfusion", evidence, "PWI", "ASL")
    return None


def _screen(scan: _Scan) -> Finding | None:
    """A coloured picture that no scanner acquired: a screen, a fused picture, or a map, which words may name.

    *PhotometricInterpretation* and Secondary Capture Image Storage: DICOM PS3.3 C.7.6.3.1.2 and A.8.
    """
    coloured = words(scan.header, "PhotometricInterpretation") & {"RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR"}
    captured = any(uid.startswith("1.2.840.10008.5.1.4.1.1.7") for uid in words(scan.header, "SOPClassUID"))
    if not coloured or not (captured or scan.types & {"DERIVED", "SECONDARY"}):
        return None
    return found("OTHER", "coloured_screen", quote(scan.header, "PhotometricInterpretation", "ImageType"),
                 "FA", "PWI", "ASL")  # fmt: skip


def _named_by_pulse_sequence(scan: _Scan) -> Finding | None:
    for pattern, value in (
        (r"(^| )(r?swi\d|swan)", "SWI"),
        (r"(^| )fm2d", "FIELDMAP"),
        (r"(^| )tgse|[pc]asl|3dasl|(^| )asl", "ASL"),
        (r"(^| )(tof|fl3d\w*_t\d|fi3d\w*_t\d|pc3d|pc2d|fl_?pc)", "MRA"),
        (r"(^| )epirt", "BOLD"),
    ):
        if re.search(pattern, scan.name):
            return found(value, "pulse_sequence_name", scan.codes + _private(scan), *_named_by_words(scan))
    stated = {
        "ArterialSpinLabelingContrast": "ASL", "TimeOfFlightContrast": "MRA", "PhaseContrast": "MRA",
    }  # fmt: skip
    for keyword, value in stated.items():
        if words(scan.header, keyword) - {"NO", "NONE"}:
            return found(value, "contrast_mechanism", quote(scan.header, keyword))
    if "Y" in words(scan.header, "AngioFlag") and scan.gradient_echo and (scan.tr or 1e9) < 60 and (scan.te or 0) < 12:
        return found("MRA", "angio_flag", f"AngioFlag Y, {scan.timing}", "SWI", "T1", "T1CE")
    return None


def _private(scan: _Scan) -> str:
    text = quote(scan.header, "GEPulseSequence", "PhilipsPulseSequence")
    return f", {text}" if text else ""


def _named_by_words(scan: _Scan) -> tuple[str, ...]:
    return _DERIVED if scan.derived else ()


def _diffusion(scan: _Scan) -> Finding | None:
    """Diffusion weighting; a public b-value of 0 alone proves none, for Philips writes it on everything."""
    header = scan.header
    signs = {
        "ImageType": "DIFFUSION" in scan.types,
        "SequenceName": bool(re.search(r"(^| )([a-z]{2,4}\d?d?_b\d+|epi_?dwi|\w*dwi)", scan.name)),
        "PhilipsPulseSequence": any(w.startswith("DWI") for w in words(header, "PhilipsPulseSequence")),
        "SiemensBValue": header.get("SiemensBValue") not in (None, ""),
        "AcquisitionContrast": "DIFFUSION" in words(header, "AcquisitionContrast"),
        "DiffusionDirectionality": bool(words(header, "DiffusionDirectionality") & {"DIRECTIONAL", "ISOTROPIC"}),
        "DiffusionBValue": scan.b_value is not None and (scan.echo_planar or number(header, "GEBValue") is None),
    }
    if not any(signs.values()):
        return None
    keywords = [keyword for keyword, sign in signs.items() if sign]
    evidence = quote(header, *keywords, "PulseSequenceName", "GEBValue", "PhilipsBValue")
    if scan.derived:
        # A map that the codes do not name: ADC, FA and trace images all look like this.
        return found(None, "diffusion_derived", evidence, "DWI", "ADC", "FA", "OTHER")
    return found("DWI", "diffusion", evidence)


def _echo_planar(scan: _Scan) -> Finding | None:
    if not scan.echo_planar:
        return None
    evidence = f"{scan.codes}, {scan.timing}"
    if scan.derived:
        return found(None, "echo_planar_derived", evidence, *_DERIVED, "T2STAR")
    if scan.spin_echo:
        return found(None, "spin_echo_epi", evidence, "DWI", "FIELDMAP", "BOLD", "PWI", "ASL", "OTHER")
    # Functional, perfusion and labelled runs share these timings; only words tell them apart.
    return found(None, "gradient_echo_epi", evidence, "BOLD", "PWI", "ASL", "T2STAR", "SWI", "FIELDMAP", "OTHER")


def _inversion_recovery(scan: _Scan) -> Finding | None:
    """Inversion-prepared spin echo: T1 FLAIR, T2 FLAIR, STIR."""
    tr, te, ti = scan.tr, scan.te, scan.ti
    if not (scan.spin_echo and scan.inverted and tr and te):
        return None
    if ti is None:
        if tr >= 4000 and te >= 70:
            return found(None, "inversion_unknown_long", scan.timing, "FLAIR", "T2", *_NAMED_ONLY)
        if tr <= 3500 and te <= 50:
            return found("T1" if tr <= 3000 else None, "inversion_short", scan.timing, "T1", *_NAMED_ONLY)
        return None
    if 80 <= ti <= 260 and tr >= 2000:
        if "FS" in words(scan.header, "ScanOptions") and "IR" not in scan.scanning:
            # A fat-selective inversion leaves the contrast alone, and its delay may stand in the header.
            return found(None, "short_inversion", scan.timing, "T2", "PD", "FLAIR", *_NAMED_ONLY)
        return found("OTHER", "stir", f"STIR: {scan.timing}")
    if 500 <= ti <= 1100 and 1500 <= tr <= 3500 and te <= 60:
        return found("T1", "t1_flair", scan.timing, *_NAMED_ONLY)
    # Fluid vanishes when TI is about a quarter to a third of TR; a longer TI is a double inversion.
    if ti >= 1500 and tr >= 4000 and ti <= 0.39 * tr and te >= 70:
        return found("FLAIR", "t2_flair", scan.timing, *_NAMED_ONLY)
    if 1300 <= ti < 1500 and tr >= 4000 and te >= 70:
        return found(None, "inversion_low_field", scan.timing, "FLAIR", *_NAMED_ONLY)
    return found(None, "inversion_recovery", scan.timing, "T1", "FLAIR", "PD", *_NAMED_ONLY)


def _spin_echo(scan: _Scan) -> Finding | None:
    tr, te = scan.tr, scan.te
    if not (scan.spin_echo and tr and te):
        return None
    if te <= 35:
        if tr <= 1000:
            return found("T1", "spin_echo_t1", scan.timing, "MRA", *_NAMED_ONLY)
        if tr < 1500:
            return found(None, "spin_echo_t1_or_pd", scan.timing, "T1", "PD", *_NAMED_ONLY)
        # Old headers do not tell the inversion of a T1 FLAIR, which has these timings too; labelled blood is read out
        # by trains of spin echoes over a whole volume.
        value = "PD" if tr > 3500 and not scan.is_3d else None
        others = () if value else ("T1", "ASL") if scan.is_3d else ("T1",)
        return found(value, "spin_echo_pd", scan.timing, "PD", *others, *_NAMED_ONLY)
    train = scan.echo_train > 30 and not scan.is_3d
    # Philips writes echo-planar diffusion as plain spin echo with a long train, and de-identifying removes its name.
    diffusion = ("DWI",) if train or number(scan.header, "GEBValue") else ()
    if te >= 70 and tr >= 1000:
        # An old header does not tell the inversion of a FLAIR.
        flair = ("FLAIR",) if tr >= 4000 else ()
        value = None if diffusion or tr >= 7500 else "T2"
        return found(value, "spin_echo_t2", scan.timing, "T2", *flair, *diffusion, *_NAMED_ONLY)
    if tr >= 1500:
        labelled = ("ASL",) if scan.is_3d else ()
        return found(None, "spin_echo_pd_or_t2", scan.timing, "PD", "T2", *labelled, *diffusion, *_NAMED_ONLY)
    return None


def _gradient_echo(scan: _Scan) -> Finding | None:
    tr, te, flip = scan.tr, scan.te, scan.flip
    if not (scan.gradient_echo and tr and te):
        return None
    evidence = f"{scan.codes}, {scan.timing}"
    named = ("MRA", "PWI", "FIELDMAP", "SWI", *_NAMED_ONLY)
    spoiled = "SP" in scan.variant or "RF" in words(scan.header, "Spoiling") or bool(
        re.search(r"(^| )(fl[23]d|tfl|spgr|fspgr|efgre3d|bravo)", scan.name)
    )  # fmt: skip
    if "MTC" in scan.variant or "MT" in words(scan.header, "ScanOptions"):
        return found(None, "magnetization_transfer", evidence, "T1", *named)
    if scan.inverted and te <= 8 and flip <= 20:
        shots = 1300 <= tr <= 3500 and (scan.ti is None or 500 <= scan.ti <= 1400)
        spacing = 3 <= tr <= 16 and scan.is_3d and flip >= 5
        if shots or spacing:
            return found("T1", "mprage", evidence, *named)
        # Beyond these a second inversion image (MP2RAGE) or an unusual preparation hides.
        return found(None, "prepared_gradient_echo", evidence, "T1", *named)
    if te >= 12:
        runs = ("BOLD", "ASL")  # of vendors who write echo-planar runs as plain gradient echo
        if 150 <= tr <= 1300 and flip <= 45 and not scan.is_3d and scan.echo_train <= 15:
            return found("T2STAR", "gradient_echo_t2star", evidence, *runs, *named)
        return found(None, "long_gradient_echo", evidence, "T2STAR", *runs, *named)
    if scan.is_3d and spoiled and 6 <= tr < 15 and te <= 8 and flip >= 12:
        return found("T1", "spoiled_gradient_echo_3d", evidence, *named)
    if not scan.is_3d and spoiled and 80 <= tr <= 600 and te <= 5.5 and flip >= 65:
        return found("T1", "spoiled_gradient_echo_2d", evidence, *named)
    # Inflow angiography, dynamic runs, localizers, field maps and T1 overlap here.
    return found(None, "short_gradient_echo", evidence, "T1", "T2", "PD", "T2STAR", *named)


def _stated_contrast(scan: _Scan) -> Finding | None:
    """Enhanced headers may state the contrast; UNKNOWN and the like say nothing."""
    table = {"T1": "T1", "T2": "T2", "T2_STAR": "T2STAR", "PROTON_DENSITY": "PD", "FLUID_ATTENUATED": "FLAIR",
             "STIR": "OTHER", "TOF": "MRA", "FLOW_ENCODED": "MRA"}  # fmt: skip
    stated = words(scan.header, "AcquisitionContrast") & set(table)
    if len(stated) != 1:
        return None
    (word,) = stated
    also = ("T1",) if word == "FLUID_ATTENUATED" else ()
    evidence = f"AcquisitionContrast {word}, {scan.timing}".rstrip(", ")
    value = None if word == "FLUID_ATTENUATED" and scan.tr and scan.tr < 4000 else table[word]
    return found(value, "acquisition_contrast", evidence, table[word], *also, *_NAMED_ONLY)
