"""People's words for sequences, in English, German and some other languages: rules for one phrase.

A word counts only as a whole word; rules are tried in order and the first that fires decides. Words for purposes
(localizer, field map) come before words for weightings, because a "T2 LOCALIZER" is a localizer. Sources: series and
protocol names of TCGA-GBM, UPENN-GBM, Brain-Tumor-Progression, ADNI, PPMI, OASIS, fastMRI and ABCD; the vendors'
product names; BIDS suffixes and BraTS file names.
"""

import re
from dataclasses import dataclass

from core.labelling.label_witness import Rule


@dataclass(frozen=True)
class Phrase:
    """One phrase, normalised, and what else the header says.

    Attributes
    ----------
    text : str
        As `core.labelling.label_text.normalise` gives it.
    others : tuple of str
        All phrases of the header.
    is_file : bool
        Whether it belongs to a file without a DICOM header.
    """

    text: str
    others: tuple[str, ...] = ()
    is_file: bool = False

    def says(self, pattern: str) -> bool:
        """Whether the phrase holds these whole words."""
        return found_in(self.text, pattern)

    def anywhere(self, pattern: str) -> bool:
        """Whether any phrase of the header holds these whole words."""
        return any(found_in(text, pattern) for text in (self.text, *self.others))


def found_in(text: str, pattern: str) -> bool:
    """Say whether `text` holds `pattern` as whole words.

    Examples
    --------
    >>> found_in("ax t2 flair", "t2"), found_in("ax t2star", "t2"), found_in("t2* gre", "t2")
    (True, False, False)
    """
    return bool(re.search(rf"(?<![a-z0-9])(?:{pattern})(?![a-z0-9*])", text))


def _says(pattern: str):
    return lambda phrase: phrase.says(pattern)


_ASL = r"([23]d ?)?e?p?c?asl\w{0,3}|arterial spin \w+|m0 ?scan"
_DIFFUSION = (
    r"(d|iso|e)?dwi\w{0,3}|dw|dti\w*|dmri|diff|diff(usion|2d|\d)\w*|mddw|ep2d ?diff\w*|trace ?w?|hardi|noddi|tensor"
)
_B_VALUE = r"b ?=? ?(0|[5-9]0|[1-9]\d{2,3})"
_RUN = r"task\w*|func|bold|(r|rs|rs )?f ?mri|rest(ing)?"
_SEQUENCE_3D = r"(3d|space|cube|vista|sag|cor|ax|tra)"
_FLOW = r"([ns]{0,2}r?|rel ?)cbf\w*|cerebral blood flow"

#: Files that are no pictures; in a DICOM description the same words name a part of the body or a method.
_MASK_FILE = r"seg|dseg|\w*mask|labels?|lesions?|roi|probseg|aseg|aparc"

_T2STAR = (
    r"t2 ?\*( ?w)?|t2 ?star ?w?|(gre|ffe|ge|gradient echo) t2|(gre )?hemo|mpgr|merge|medic"
    r"|t2 ?(w )?((ax|axial|tra|cor|sag) )?(gre|ffe|fl[23]d|flash|fe|ge)\w*"
)
_FLAIR = r"\w*flair\w*|flr|dark ?fluid|t2f|da ?fl"
_T1 = (
    r"t1|t1wi?|t1n|t1c ?\+?|t1 ?(ce|gd|gad|km|post|pre) ?\+?"
    r"|t1 ?(se|tse|fse|fl[23]d|tfl|tirm?|spc|vibe|ffe|tfe|mpr|spgr|blade|weighted)\w*"
    r"|t1 ?mprage|(me)?mp ?rage\w*|(ir ?)?f?spgr|bravo|vibe|mdeft|uni ?(den\w*|images)"
)
_T2 = r"t2|t2wi?|t2 ?(tse|fse|frfse|blade|prop\w*|spc|cube|space|weighted)\w*"
_PD = r"pdw?|proton ?dens\w*|pd ?(tse|fse|se)\w*"
_PD_AND_T2 = r"pd ?[/+]? ?t2\w*|t2w? ?[/+]? ?pd\w*|(dual|double|de) ?(echo|tse|fse)"

#: What a series is for, or that it is a map or no picture.
PURPOSES = (
    Rule("text_mask_file", "OTHER", "A file that is no DICOM and says seg, mask or roi holds labels, not a picture.",
         lambda p: p.is_file and p.says(_MASK_FILE)),
    Rule("text_made_picture", "OTHER", "Saved screens, slice positions, masks and differences were made of pictures.",
         lambda p: p.says(r"screen ?(save|shot|capture)|posdisp|mask\w*|segmentation|subtract\w*|d ?t1|delta ?t1")
         or (p.says("sub") and not p.is_file)),
    Rule("text_localizer", "LOCALIZER", "Localizer, scout, survey, three planes: a plan, whatever its weighting.",
         _says(r"locali[sz]er\w*|loc|scout\w*|aa\w*scout|aahead\w*|survey|smart ?brain|plan ?scan"
               r"|(3|three|tri) ?(plane|pl)")),
    Rule("text_calibration", "OTHER", "Coil sensitivities, B1 and shim are measured for the reconstruction.",
         _says(r"(asset|sense|coil|ref(erence)?) ?(cal\w*|ref\w*|scan)|calib\w*|cal (head|\d)\w*"
               r"|(tfl ?)?b1 ?map\w*|shim\w*")),
    Rule("text_field_map", "FIELDMAP", "Field map, B0 map, distortion map: even where it is one \"of fMRI\".",
         _says(r"(gre ?|spin ?echo ?|ax|axial)?field ?map\w*|fmap|b0 ?map\w*|(gre|ffe) ?b0|b0 ?(gre|pre ?scan)"
               r"|phasediff|magnitude[12]|distortion ?map\w*|topup")),
    Rule("text_exponential_adc", "OTHER", "Exponential ADC is a map of its own kind.",
         lambda p: p.says(r"e ?adc|exp(onential)? ?adc|exponential apparent \w+ \w+")
         or (p.says(_DIFFUSION) and p.says("exp"))),
    Rule("text_adc", "ADC", "ADC, apparent diffusion coefficient, and GE's \"average DC\".",
         _says(r"(d|iso)?adc|average dc|apparent ?diffusion( ?coef\w*)?|adc ?map")),
    Rule("text_arterial_spin_labelling", "ASL", "ASL in any of its spellings, and its M0 scan.", _says(_ASL)),
    Rule("text_fractional_anisotropy", "FA",
         "FA map, or a bare FA with diffusion around it: \"task-fa\" is a run, and \"FA 15\" a flip angle.",
         lambda p: not p.says(_RUN) and (
             p.says(r"col(ou?r)? ?fa|fa ?(map|colou?r)|fractional ?an\w*")
             or (p.says("fa") and p.anywhere(_DIFFUSION) and not p.says(r"fa ?=? ?\d+")))),
    Rule("text_blood_flow_labelled", "ASL", "Blood flow, and ASL among the header's words.",
         lambda p: p.says(_FLOW) and p.anywhere(_ASL)),
    Rule("text_blood_flow", None, "Blood flow is measured by a bolus or by labelling.", _says(_FLOW), ("ASL", "PWI")),
)  # fmt: skip

#: Kinds of contrast that go by their own name.
KINDS = (
    Rule("text_diffusion", "DWI", "DWI, DTI, diffusion, trace, or a b-value such as b1000.",
         _says(rf"{_DIFFUSION}|{_B_VALUE}")),
    Rule("text_perfusion", "PWI", "DSC, DCE and the maps of a bolus.",
         _says(r"dsc\w*|dce\w*|pwi|perf|ep2d ?perf\w*|[ns]{0,2}r?cbv\w*|relcbv|mtt|mtte|ttp|tmax|k ?trans|pbp|gbp"
               r"|mean transit \w+|time to peak|neg\w* (enh\w* )?integral|cerebral blood volume|max\w* slope\w*")),
    Rule("text_perfusion_bare", None, "\"Perfusion\" alone may be of a bolus or, on Siemens, of labelled blood.",
         _says(r"perfusion( ?weighted)?"), ("PWI", "ASL")),
    Rule("text_functional", "BOLD", "BOLD, fMRI, a task, resting state, or the single-band reference of a run.",
         _says(r"(?<!ven )bold\w*|(r|rs|rs )?f ?mri\w*|func|task\w*|resting( ?state)?|rest ?(state|run)\w*|sbref")),
    Rule("text_map_of_t2star", "OTHER", "Susceptibility and T2* maps show numbers.",
         _says(r"qsm|r2 ?(star|\*)( ?map)?|t2 ?(star|\*) ?(map\w*|images)")),
    Rule("text_susceptibility", "SWI", "SWI, SWAN, venous BOLD (Philips), FSBB (Canon), BSI (Hitachi), and minima.",
         _says(r"q?swi\w{0,3}|e?swan|suscept\w*|ven ?o? ?bold|fsbb|bsi|min ?ip|mip images sw|(pha|mag) images")),
    Rule("text_angiography", "MRA", "MRA, MRV, time of flight, phase contrast and the vendors' names.",
         _says(r"mr[av]|([23]d ?)?tof\w*|angio\w*|veno\w*|inhance|cow|circle of willis|[23]d ?pca?|tricks|twist"
               r"|trance")),
    Rule("text_stir", "OTHER", "STIR nulls fat; it is counted as OTHER.", _says(r"\w*stir\w*")),
    Rule("text_double_inversion", "OTHER", "Double inversion; DIR alone may be a direction.",
         _says(rf"double ?(inv\w*|ir)|{_SEQUENCE_3D} dir|dir {_SEQUENCE_3D}")),
    Rule("text_parametric_map", "OTHER", "T1, T2 and magnetization-transfer maps show numbers.",
         _says(r"q?[tr][12] ?map\w*|t[12] images|t1 ?rho|mtr|pd ?map|my ?maps")),
    Rule("text_first_inversion", "OTHER", "The first inversion of MP2RAGE has no one weighting.",
         _says(r"inv ?1|inversion ?1")),
    Rule("text_second_inversion", None, "The second inversion of MP2RAGE lies between T1 and proton density.",
         _says(r"inv ?2|inversion ?2"), ("T1", "PD", "OTHER")),
    Rule("text_phase_sensitive", None, "Phase-sensitive inversion recovery is T1-weighted, or kept apart.",
         _says("psir|real ?ir"), ("T1", "OTHER")),
)  # fmt: skip

#: The words for weightings, which come last.
WEIGHTINGS = (
    Rule("text_t2star", "T2STAR", "T2*, T2 with a gradient echo's name, hemo, MERGE or MEDIC; a T1 beside it wins.",
         lambda p: p.says(_T2STAR) and not p.says(_T1)),
    Rule("text_t1_flair", "T1", "\"FLAIR\" names a preparation: with T1 beside it the weighting is T1.",
         lambda p: p.says(_FLAIR) and p.says(_T1) and not p.says(_T2)),
    Rule("text_flair", "FLAIR", "FLAIR, dark fluid, BraTS' t2f.", _says(_FLAIR)),
    Rule("text_pd_and_t2", None, "Two echoes under one name: the echo time tells which.",
         lambda p: p.says(_PD_AND_T2) or (p.says(_PD) and p.says(_T2)), ("PD", "T2")),
    Rule("text_t1_and_t2", None, "Both weightings are named.", lambda p: p.says(_T1) and p.says(_T2), ("T1", "T2")),
    Rule("text_t2_epi", None, "Echo-planar \"T2\" is the b = 0 picture, a run or perfusion as often as anything else.",
         lambda p: p.says(_T2) and p.says(r"\w*epi|ep2d"), ("T2", "T2STAR", "DWI", "BOLD", "PWI")),
    Rule("text_t1", "T1", "T1, MPRAGE, SPGR, BRAVO, VIBE and the like.", _says(_T1)),
    Rule("text_t2", "T2", "T2, also with a spin echo's name.", _says(_T2)),
    Rule("text_pd", "PD", "PD, proton density.", _says(_PD)),
    Rule("text_magnetization_transfer", "OTHER", "Magnetization transfer without a weighting is counted as OTHER.",
         _says(r"mtc?|mt ?(on|off|only)|magneti[sz]ation ?transfer|nm")),
    Rule("text_synthesis_source", "OTHER", "The source of synthetic pictures (MAGiC, SyMRI) has many weightings.",
         _says(r"magic|symri\w*|mdme|qalas")),
    Rule("text_rest", "BOLD", "A bare \"rest\" is a resting run; with a weighting it is a saturation slab.",
         _says(r"rest\d?")),
)  # fmt: skip

#: In order.
RULES = (*PURPOSES, *KINDS, *WEIGHTINGS)

_AGENT = r"(contrast\w*|con|gd\w*|gad\w*|ce|km|kontrast\w*|mdc|civ|c)"
_PRODUCT = r"magnevist|dotarem|gad[ao]vist|multihance|prohance|omniscan|clariscan|elucirem|vueway"
_YES = (
    rf"\+ ?{_AGENT}|(?<![a-z])(c ?\+|(with|w/?|mit|avec|con|met|nach|apres|dopo|tras|na) ?"
    rf"(contrast\w*|con|gd|gad\w*|km|kontrast\w*|mdc|inj\w*)|contrast enhanced|gd|gad|gado\w*|ce|km|mdc|{_PRODUCT}"
    r"|post((gd|gad)\w*|contrast)?|t1c ?\+?|t1 ?(ce|gd|gad\w*|km|post) ?\+?)"
)
_NO = (
    rf"(t1 ?)?(pre|without|w ?/ ?o|wo|ohne|vor|sans|avant|senza|sin|zonder|non?) ?{_AGENT}|pre|precontrast|t1 ?pre"
    r"|without|w ?/ ?o|wo|ohne|nativ\w*|unenhanced|non ?enhanced|noncon\w*|(sans|avant) inj\w*"
)
_BOTH = r"(with|w) ?(and|&|/|\+)? ?(without|wo)|(wo|without) ?(and|&|/|\+) ?(with|w)|wwo|pre ?(and|&|/|\+)? ?post"
#: What else comes before and after: operations, radiation, drugs, seizures, days.
_POST_ELSE = (
    r"(pre|post) ?(op\w*|fossa|surg\w*|rt|xrt|srs|gk|gamma\w*|radi\w*|proc\w*|treat\w*|tx|chemo\w*|ther\w*|resect\w*"
    r"|biops\w*|ictal|implant\w*|dbs|shunt\w*|tms|ect|fus|stroke|trauma\w*|int\w*"
    r"|\d+ ?(d|w|m|y|days?|weeks?|months?|min))"
)


def _says_agent(text: str) -> bool:
    return bool(re.search(rf"(?:{_YES})(?![a-z0-9])", _without(_NO, text)))


def _says_none(text: str) -> bool:
    return _without(_NO, text) != text


def _without(pattern: str, text: str) -> str:
    return re.sub(rf"(?<![a-z0-9])(?:{pattern})(?![a-z0-9])", " ", text)


#: Whether agent was given, in order. They are asked of all phrases together, and only where the weighting is T1.
CONTRAST = (
    Rule("contrast_both_words", None, "W/WO and PRE/POST name the whole examination: nothing is said of this series.",
         lambda text: found_in(text, _BOTH) or (_says_agent(text) and _says_none(text))),
    Rule("contrast_words", "T1CE", "Words that only an agent explains: POST GD, +C, T1KM, GAD, CE, MIT KM, a product's "
         "name. POST OP and POST RT are none.", _says_agent),
    Rule("contrast_none_words", "T1", "PRE, W/O, NATIV and the like say that none was given.", _says_none),
)  # fmt: skip


def contrast_said(text: str) -> bool | None:
    """Say whether words prove contrast agent: yes, no, or nothing (also where they say both).

    Examples
    --------
    >>> [contrast_said(text) for text in ("t1 post gd", "t1 pre", "t1 w/wo", "t1 post op", "t1 vor km")]
    [True, False, None, None, False]
    """
    text = _without(_POST_ELSE, text)
    rule = next((rule for rule in CONTRAST if rule.when(text)), None)
    return None if rule is None or rule.value is None else rule.value == "T1CE"
