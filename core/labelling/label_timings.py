"""What echo, repetition and inversion time and flip angle tell of spin echoes and gradient echoes.

Rules are tried in order and the first that fires decides. Where the timings of two sequences overlap, the rule leaves
both possible and names none: words may decide, nothing else. Times are in ms and hold from 0.3 to 7 T; Bruker's
scanners for small animals are left out. Sources: McRobbie et al., *MRI from Picture to Proton*, 3rd ed., ch. 3 and
12; Bernstein et al., *Handbook of MRI Pulse Sequences*, ch. 14 and 17; the protocols that ADNI, OASIS and PPMI publish.
"""

from core.labelling.label_scan import CODES, TIMING, Scan
from core.labelling.label_witness import Rule, words

#: What timings alone can never exclude: a plan scan, and pictures of a kind that only their name tells.
_NAMED = ("LOCALIZER", "OTHER")
#: What else is read by gradient echoes.
_GRADIENT = ("MRA", "PWI", "FIELDMAP", "SWI", *_NAMED)
#: Runs of vendors who write echo-planar readouts as plain gradient echo.
_RUNS = ("BOLD", "ASL")
_BOTH = (*CODES, *TIMING)


def _short_inversion(scan: Scan) -> bool:
    """An inversion time at which fat vanishes."""
    return scan.inverted_echo and scan.ti is not None and 80 <= scan.ti <= 260 and scan.tr >= 2000


def _long_inversion(scan: Scan, shortest: float, longest: float) -> bool:
    """An inversion time of a long-echo picture, within limits."""
    return (
        scan.inverted_echo and scan.ti is not None and shortest <= scan.ti <= longest and scan.te >= 70
        and scan.tr >= 3500
    )  # fmt: skip


def _turbo(scan: Scan) -> bool:
    """A train of gradient echoes after an inversion."""
    return scan.timed_gradient_echo and scan.inverted and scan.te <= 8 and scan.flip <= 20


INVERSION_RECOVERY = (
    Rule("inversion_unknown_long", None,
         "An inversion without its time, TR from 4000 and TE from 70: mostly a FLAIR, which old headers do not tell.",
         lambda s: s.inverted_echo and s.ti is None and s.tr >= 4000 and s.te >= 70, ("FLAIR", "T2", *_NAMED), TIMING),
    Rule("inversion_short", "T1",
         "An inversion without its time, TR up to 3000 and TE up to 25: T1 FLAIR. STIR has a longer TE or TR.",
         lambda s: s.inverted_echo and s.ti is None and s.tr <= 3000 and s.te <= 25, _NAMED, TIMING),
    Rule("inversion_short_open", None, "An inversion without its time, TR up to 3500, TE up to 50: T1 FLAIR or STIR.",
         lambda s: s.inverted_echo and s.ti is None and s.tr <= 3500 and s.te <= 50, ("T1", *_NAMED), TIMING),
    Rule("fat_selective_inversion", None,
         "TI of 80 to 260 beside fat saturation and no code of inversion: a fat-selective pulse (SPAIR, SPIR), which "
         "leaves the weighting alone.",
         lambda s: _short_inversion(s) and "FS" in s.options and "IR" not in s.scanning,
         ("T2", "PD", "FLAIR", *_NAMED), (*TIMING, "ScanOptions")),
    Rule("stir", "OTHER", "TI of 80 to 260 nulls fat (T1 200 to 380 from 0.3 to 3 T): STIR, which is counted as OTHER.",
         _short_inversion, reads=TIMING),
    Rule("t1_flair", "T1",
         "TI of 500 to 1100 with TR of 1500 to 3500 and TE up to 60: fluid is dark, but the weighting is T1, whatever "
         "the name. Of 673 TCGA-GBM series named FLAIR, 243 are such.",
         lambda s: s.inverted_echo and s.ti is not None and 500 <= s.ti <= 1100 and 1500 <= s.tr <= 3500 and s.te <= 60,
         _NAMED, TIMING),
    Rule("t2_flair", "FLAIR",
         "TI from 1500 at up to 0.39 of a TR from 4000, and TE from 70: fluid vanishes at about a quarter to a third "
         "of TR; a later inversion is the last of a double one.",
         lambda s: _long_inversion(s, 1500, 1e9) and s.tr >= 4000 and s.ti <= 0.39 * s.tr, _NAMED, TIMING),
    Rule("low_field_flair", "FLAIR", "Below 1 T fluid's T1 is shorter beside TR: TI from 1000 nulls it.",
         lambda s: _long_inversion(s, 1000, 1500) and s.field is not None and s.field <= 1, _NAMED,
         (*TIMING, "MagneticFieldStrength")),
    Rule("inversion_low_field", None, "TI of 1300 to 1500 is a FLAIR's at low field; otherwise not surely.",
         lambda s: _long_inversion(s, 1300, 1500), ("FLAIR", *_NAMED), TIMING),
    Rule("inversion_recovery", None, "Another TI from 80: T1, FLAIR, double inversion and nulled white matter overlap.",
         lambda s: s.inverted_echo and s.ti is not None and s.ti >= 80, ("T1", "FLAIR", "PD", *_NAMED), TIMING),
)  # fmt: skip

SPIN_ECHO = (
    Rule("spin_echo_t1", "T1", "TE up to 35 and TR up to 1000: T1 of tissue (700 to 1400) decides, T2 (80) hardly.",
         lambda s: s.timed_spin_echo and s.te <= 35 and s.tr <= 1000, ("MRA", *_NAMED), TIMING),
    Rule("spin_echo_t1_or_pd", None, "TE up to 35 and TR of 1000 to 1500: between T1 and proton density.",
         lambda s: s.timed_spin_echo and s.te <= 35 and s.tr < 1500, ("T1", "PD", *_NAMED), TIMING),
    Rule("spin_echo_pd", "PD", "Slices with TE up to 35 and TR above 3500: neither T1 nor T2 decides.",
         lambda s: s.timed_spin_echo and s.te <= 35 and s.tr > 3500 and not s.is_3d, _NAMED, TIMING),
    Rule("spin_echo_pd_or_t1", None,
         "TE up to 35 and TR from 1500: proton density, a T1 FLAIR whose inversion an old header does not tell, or, "
         "over a whole volume, labelled blood.",
         lambda s: s.timed_spin_echo and s.te <= 35, ("PD", "T1", "ASL", *_NAMED), TIMING),
    Rule("hidden_diffusion_t2", None,
         "TE from 70 with a train of more than 30 echoes and no name: T2, FLAIR, or Philips' echo-planar diffusion, "
         "which is written as plain spin echo.",
         lambda s: s.timed_spin_echo and s.hidden_diffusion and s.te >= 70 and s.tr >= 1000,
         ("T2", "FLAIR", "DWI", *_NAMED), (*TIMING, "EchoTrainLength", "GEBValue")),
    Rule("hidden_diffusion", None, "The same with TE of 35 to 70: proton density, T2 or Philips' diffusion.",
         lambda s: s.timed_spin_echo and s.hidden_diffusion and s.tr >= 1500, ("PD", "T2", "DWI", *_NAMED),
         (*TIMING, "EchoTrainLength", "GEBValue")),
    Rule("spin_echo_t2_or_flair", None,
         "TE from 70 and TR from 7500 (a volume: from 4000): T2, or a FLAIR whose inversion the header does not tell.",
         lambda s: s.timed_spin_echo and s.te >= 70 and s.tr >= (4000 if s.is_3d else 7500), ("T2", "FLAIR", *_NAMED),
         TIMING),
    Rule("spin_echo_t2_long", "T2", "TE from 70 and TR of 4000 to 7500: T2; a FLAIR without its TI is named one.",
         lambda s: s.timed_spin_echo and s.te >= 70 and s.tr >= 4000, ("FLAIR", *_NAMED), TIMING),
    Rule("spin_echo_t2", "T2", "TE from 70 and TR of 1000 to 4000: T2 decides, and TR is too short for a FLAIR.",
         lambda s: s.timed_spin_echo and s.te >= 70 and s.tr >= 1000, _NAMED, TIMING),
    Rule("spin_echo_pd_or_t2", None, "TE of 35 to 70 and TR from 1500: proton density, T2, or labelled blood.",
         lambda s: s.timed_spin_echo and s.te > 35 and s.tr >= 1500, ("PD", "T2", "ASL", *_NAMED), TIMING),
)  # fmt: skip

GRADIENT_ECHO = (
    Rule("magnetization_transfer_pulse", None, "A saturation of bound water (MTC) changes a T1's contrast; words tell.",
         lambda s: s.timed_gradient_echo and ("MTC" in s.variant or "MT" in s.options), ("T1", *_GRADIENT), _BOTH),
    Rule("mprage", "T1",
         "An inverted train of gradient echoes, TE up to 8, flip up to 20°, TR of 1300 to 3500 (the shot interval, as "
         "Siemens writes it) and TI of 500 to 1400 or untold: MPRAGE.",
         lambda s: _turbo(s) and 1300 <= s.tr <= 3500 and (s.ti is None or 500 <= s.ti <= 1400), _GRADIENT, _BOTH),
    Rule("mprage_spacing", "T1",
         "The same in 3D with TR of 3 to 16, the echo spacing, as GE, Philips, UIH and the first Siemens scanners "
         "write it, and a flip from 5°.",
         lambda s: _turbo(s) and 3 <= s.tr <= 16 and s.is_3d and s.flip >= 5, _GRADIENT, _BOTH),
    Rule("prepared_gradient_echo", None,
         "Beyond these times hide the second inversion of MP2RAGE and unusual preparations.",
         _turbo, ("T1", *_GRADIENT), _BOTH),
    Rule("gradient_echo_t2star", "T2STAR",
         "Slices with TE from 12, TR of 150 to 1300, flip up to 45° and a short train: T2* decides.",
         lambda s: s.timed_gradient_echo and s.te >= 12 and 150 <= s.tr <= 1300 and s.flip <= 45 and not s.is_3d
         and s.echo_train <= 15, (*_RUNS, *_GRADIENT), _BOTH),
    Rule("long_gradient_echo", None, "TE from 12 otherwise: T2*, susceptibility and runs overlap.",
         lambda s: s.timed_gradient_echo and s.te >= 12, ("T2STAR", *_RUNS, *_GRADIENT), _BOTH),
    Rule("spoiled_gradient_echo_3d", "T1",
         "A spoiled volume with TR of 6 to 15, TE up to 8 and flip from 12°: T1; inflow angiography has a longer TR, "
         "dynamic runs a shorter one.",
         lambda s: s.timed_gradient_echo and s.is_3d and s.spoiled and 6 <= s.tr < 15 and s.te <= 8 and s.flip >= 12,
         _GRADIENT, _BOTH),
    Rule("spoiled_gradient_echo_2d", "T1", "Spoiled slices with TR of 80 to 600, TE up to 5.5 and flip from 65°: T1.",
         lambda s: s.timed_gradient_echo and not s.is_3d and s.spoiled and 80 <= s.tr <= 600 and s.te <= 5.5
         and s.flip >= 65, _GRADIENT, _BOTH),
    Rule("short_gradient_echo", None,
         "Short echoes otherwise: inflow angiography, dynamics, localizers, field maps and T1 overlap.",
         lambda s: s.timed_gradient_echo, ("T1", "T2", "PD", "T2STAR", *_GRADIENT), _BOTH),
)  # fmt: skip

#: In order.
RULES = (*INVERSION_RECOVERY, *SPIN_ECHO, *GRADIENT_ECHO)


def _contrast(*names: str):
    """Enhanced headers may state the contrast; UNKNOWN and the like say nothing, and two contradict each other."""
    table = {"T1", "T2", "T2_STAR", "PROTON_DENSITY", "FLUID_ATTENUATED", "STIR", "TOF", "FLOW_ENCODED"}
    return lambda scan: len(found := words(scan.header, "AcquisitionContrast") & table) == 1 and found <= set(names)


_STATED = ("AcquisitionContrast", *TIMING)
#: What an enhanced header states about its contrast is heard where the timings name nothing: it comes from the
#: protocol that was loaded, and the times may have been changed since.
STATED = (
    Rule("stated_flair_short_tr", None, "Fluid-attenuated is stated, but TR is below 4000: perhaps a T1 FLAIR.",
         lambda s: _contrast("FLUID_ATTENUATED")(s) and (s.tr or 1e9) < 4000, ("FLAIR", "T1", *_NAMED), _STATED),
    Rule("stated_flair", "FLAIR", "Fluid-attenuated is stated (DICOM PS3.3 C.8.13.3.1.1).",
         _contrast("FLUID_ATTENUATED"), ("T1", *_NAMED), _STATED),
    Rule("stated_t1", "T1", "T1 is stated.", _contrast("T1"), _NAMED, _STATED),
    Rule("stated_t2", "T2", "T2 is stated.", _contrast("T2"), _NAMED, _STATED),
    Rule("stated_t2star", "T2STAR", "T2* is stated.", _contrast("T2_STAR"), _NAMED, _STATED),
    Rule("stated_pd", "PD", "Proton density is stated.", _contrast("PROTON_DENSITY"), _NAMED, _STATED),
    Rule("stated_stir", "OTHER", "STIR is stated.", _contrast("STIR"), _NAMED, _STATED),
    Rule("stated_angiography", "MRA", "Time of flight or flow encoding is stated.", _contrast("TOF", "FLOW_ENCODED"),
         _NAMED, _STATED),
)  # fmt: skip
