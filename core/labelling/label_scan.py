"""What the rules of `label_codes` and `label_timings` read from one header, each value once.

The pulse sequence's own name stands elsewhere with each vendor: *SequenceName* (Siemens classic, Canon, Hitachi),
*PulseSequenceName* (Siemens XA), two private attributes of GE (the name on the console and the internal one), one of
Philips ("T1TFE", "DwiSE") and one of UIH; where Siemens' name was removed, the protocol still names its file. Philips
writes echo-planar runs as plain spin or gradient echo, but tells their EPI factor.
"""

import re
from dataclasses import dataclass
from functools import cached_property

from core.labelling.label_witness import Header, number, words

TIMING = ("RepetitionTime", "EchoTime", "EffectiveEchoTime", "InversionTime", "InversionTimes", "FlipAngle")
NAMES = (
    "SequenceName", "PulseSequenceName", "GEPulseSequence", "GEInternalPulseSequence", "PhilipsPulseSequence",
    "UIHPulseSequence", "SiemensSequenceFile",
)  # fmt: skip
CODES = ("ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", *NAMES)
IMAGE_TYPE = ("ImageType", "FrameType")
B_VALUES = ("DiffusionBValue", "SiemensBValue", "PhilipsBValue", "GEBValue", "UIHBValue", "ImageComments")

#: Every attribute that the physics reads: labels of slices that agree in these (and in the words) are the same.
KEYWORDS = (
    *TIMING, *CODES, *IMAGE_TYPE, *B_VALUES, "Manufacturer", "MagneticFieldStrength", "EchoTrainLength",
    "PhilipsEPIFactor", "GESeriesPlane", "GEComplexComponent", "GEASLTechnique", "PhotometricInterpretation",
    "ComplexImageComponent", "EchoPulseSequence", "EchoPlanarPulseSequence", "InversionRecovery", "Spoiling",
    "AngioFlag", "AcquisitionContrast", "DiffusionDirectionality", "ArterialSpinLabelingContrast",
    "TimeOfFlightContrast", "PhaseContrast", "SpectroscopyAcquisitionType",
)  # fmt: skip

# Beginnings of pulse sequence names, of Siemens, GE, Philips, Canon, Hitachi, UIH and Bruker in turn.
_SPIN_ECHO = (
    r"tse|spc|t?ir[br]?[23]d|tir|se[23]d|h[23]d|haste|"
    r"fse|fr_?fse|ss_?fse|3dfse|cube|propeller|memp|t[12]?flair|flair|fir|"
    r"t[12]tse|t[12]?se( |$)|grase|fase|ir[23]d|prime_?fse|iso_?fse|rare|msme"
)
_GRADIENT_ECHO = (
    r"fl[23]d|fi[23]d|tfl|gre|fm[23]d|r?swi|epfid|me[23]d|"
    r"f?spgr|ir_?f?spgr|efgre|fgre|3dgre|bravo|mpgr|merge|"
    r"(t[12]|b-)?(ffe|tfe)|fe[23]d|ffe[23]d|rssg|sarge|geir|flash|mdeft|mp_?rage"
)
_ECHO_PLANAR = r"ep(fid|se|2d|3d|i|_|irt)|(se|ge|ffe|fe|fe_?ir|pulsed)_?epi|dwi(se|gse)|dtiepi"
#: An EPI factor up to this may speed up gradient echoes of other kinds.
_FEW_LINES = 15


@dataclass(frozen=True)
class Scan:
    """The values of one header that several rules read; None or empty where it does not tell."""

    header: Header

    def named(self, pattern: str) -> bool:
        """Whether one of the pulse sequence's names begins so."""
        return bool(re.search(rf"(^| )({pattern})", self.name))

    @cached_property
    def tr(self) -> float | None:
        """Repetition time in ms."""
        return number(self.header, "RepetitionTime")

    @cached_property
    def te(self) -> float | None:
        """Echo time in ms."""
        return number(self.header, "EchoTime", "EffectiveEchoTime")

    @cached_property
    def ti(self) -> float | None:
        """Inversion time in ms."""
        return number(self.header, "InversionTime", "InversionTimes")

    @cached_property
    def flip(self) -> float:
        """Flip angle in degrees; 0 where it is not told."""
        return number(self.header, "FlipAngle") or 0.0

    @cached_property
    def field(self) -> float | None:
        """Field strength in tesla; some headers give gauss."""
        strength = number(self.header, "MagneticFieldStrength")
        return strength / 10_000 if strength and strength > 100 else strength

    @cached_property
    def types(self) -> frozenset[str]:
        """Words of *ImageType* and *FrameType*."""
        return words(self.header, *IMAGE_TYPE)

    @cached_property
    def scanning(self) -> frozenset[str]:
        """Words of *ScanningSequence*."""
        return words(self.header, "ScanningSequence")

    @cached_property
    def variant(self) -> frozenset[str]:
        """Words of *SequenceVariant*."""
        return words(self.header, "SequenceVariant")

    @cached_property
    def options(self) -> frozenset[str]:
        """Words of *ScanOptions*."""
        return words(self.header, "ScanOptions")

    @cached_property
    def name(self) -> str:
        """Pulse sequence names of all vendors, lower case, without star, folder and maker."""
        found = (re.sub(r"^(%\w*%|\*|_|bruker:)+", "", word.lower()) for word in words(self.header, *NAMES))
        return " ".join(sorted(found))

    @cached_property
    def derived(self) -> bool:
        """Whether the picture was computed from others."""
        return "DERIVED" in self.types

    @cached_property
    def of_animals(self) -> bool:
        """Bruker makes scanners for small animals, whose relaxation times and protocols are others."""
        return any("BRUKER" in word for word in words(self.header, "Manufacturer"))

    @cached_property
    def epi_factor(self) -> float | None:
        """Lines of one echo train that Philips reads by gradients; 1 without echo-planar readout."""
        return number(self.header, "PhilipsEPIFactor")

    @cached_property
    def echo_planar(self) -> bool:
        """Whether the header states an echo-planar readout (turbo gradient spin echo is none)."""
        return not self.named("grase|tgse") and (
            "EP" in self.scanning
            or "YES" in words(self.header, "EchoPlanarPulseSequence")
            or self.named(_ECHO_PLANAR)
            or (self.epi_factor or 1) > _FEW_LINES
        )

    @cached_property
    def hidden_diffusion(self) -> bool:
        """Whether a "spin echo" may be echo-planar diffusion.

        Philips writes it so, with a long train, and de-identifying removes the names that would tell.
        """
        philips = any("PHILIPS" in word for word in words(self.header, "Manufacturer"))
        untold = not self.name and self.epi_factor is None and (philips or not self.header.get("Manufacturer"))
        return (self.echo_train > 30 and not self.is_3d and untold) or bool(number(self.header, "GEBValue"))

    @cached_property
    def spin_echo(self) -> bool:
        """Whether the header states spin echoes; IR alone is what Philips writes of inverted ones."""
        stated = words(self.header, "EchoPulseSequence") & {"SPIN", "BOTH"}
        return "SE" in self.scanning or self.scanning == {"IR"} or bool(stated) or self.named(_SPIN_ECHO)

    @cached_property
    def gradient_echo(self) -> bool:
        """Whether the header states gradient echoes and no spin echo."""
        stated = words(self.header, "EchoPulseSequence") & {"GRADIENT"}
        return not self.spin_echo and ("GR" in self.scanning or bool(stated) or self.named(_GRADIENT_ECHO))

    @cached_property
    def inverted(self) -> bool:
        """Whether the header states an inversion; a missing one proves nothing."""
        return (
            self.ti is not None
            or "IR" in self.scanning
            or "MP" in self.variant
            or bool(self.options & {"IR", "IR_GEMS"})
            or "YES" in words(self.header, "InversionRecovery")
            or self.named(r"t?ir[br]?[23]d|tir|spc\w*ir|tfl|fir|ir_?f?spgr|geir|bravo|t1tfe")
        )

    @cached_property
    def timed_spin_echo(self) -> bool:
        """Spin echoes of people, with both times."""
        return bool(self.spin_echo and self.tr and self.te and not self.of_animals)

    @cached_property
    def timed_gradient_echo(self) -> bool:
        """Gradient echoes of people, with both times."""
        return bool(self.gradient_echo and self.tr and self.te and not self.of_animals)

    @cached_property
    def inverted_echo(self) -> bool:
        """Inverted spin echoes; where the code is GE's "research mode" or missing, a long echo time tells them."""
        long_echo = not self.gradient_echo and self.ti is not None and (self.te or 0) >= 70
        return bool(self.inverted and self.tr and self.te and not self.of_animals and (self.spin_echo or long_echo))

    @cached_property
    def is_3d(self) -> bool:
        """Whether a volume was excited, and not slices."""
        return "3D" in words(self.header, "MRAcquisitionType") or self.named(r"\w*3d")

    @cached_property
    def echo_train(self) -> float:
        """Echoes per excitation."""
        return number(self.header, "EchoTrainLength") or 1.0

    @cached_property
    def spoiled(self) -> bool:
        """Whether transverse magnetisation is spoiled, which makes gradient echoes T1-weighted."""
        return (
            "SP" in self.variant
            or "RF" in words(self.header, "Spoiling")
            or self.named(r"fl[23]d|tfl|f?spgr|efgre3d|bravo|t1(ffe|tfe)|rssg|geir")
        )

    @cached_property
    def phase(self) -> bool:
        """Whether the picture shows phase, or one part of complex numbers other than the real one."""
        stated = words(self.header, "ComplexImageComponent") & {"PHASE", "IMAGINARY"}
        return bool(self.types & {"P", "PHASE"} or stated or words(self.header, "GEComplexComponent") & {"1", "3"})

    @cached_property
    def b_value(self) -> float | None:
        """Diffusion weighting in s/mm², above zero, as any vendor writes it."""
        value = number(self.header, "DiffusionBValue", "SiemensBValue", "PhilipsBValue", "UIHBValue")
        if value is None and not self.gradient_echo:  # GE writes junk here on gradient-echo EPI
            value = number(self.header, "GEBValue")
            if value is not None and value >= 1e9:
                value -= 1e9  # GE's offset, since software 15
        if value is None and (comment := self.commented_b_value):
            value = float(comment.removeprefix("b="))
        return value if value is not None and 5 <= value <= 30_000 else None

    @cached_property
    def commented_b_value(self) -> str | None:
        """Canon's "b=1500(0.445,0.000,0.895)"; the rest of a comment is nobody's business."""
        match = re.match(r"b=\d{1,5}(?=\()", str(self.header.get("ImageComments") or ""))
        return match[0] if match else None
