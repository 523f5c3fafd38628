"""The words of the project: planes, sequences, and other people's names for them."""

PLANES = ("axial", "coronal", "sagittal")

SEQUENCES = (
    "T1", "T1CE", "T2", "FLAIR", "PD", "T2STAR", "SWI", "DWI", "ADC", "FA",
    "PWI", "ASL", "BOLD", "MRA", "FIELDMAP", "LOCALIZER", "OTHER",
)  # fmt: skip

#: What the seed project labelled, and what most brain-tumour protocols hold.
CLASSIC_SEQUENCES = ("T1", "T1CE", "T2", "FLAIR")

#: Known from the header only; no image model is asked for them.
HEADER_ONLY_SEQUENCES = ("LOCALIZER", "FIELDMAP")

VERDICTS = ("agree", "disagree", "header_only", "image_only", "unsure", "not_a_brain")

NOT_FOR_CLINICAL_USE = "Not for clinical use: for research and teaching only."

_PLANE_ALIASES = {
    "ax": "axial", "axi": "axial", "axial": "axial", "tra": "axial", "transversal": "axial", "transverse": "axial",
    "trans": "axial", "transaxial": "axial",
    "cor": "coronal", "coronal": "coronal",
    "sag": "sagittal", "sagittal": "sagittal",
}  # fmt: skip

_SEQUENCE_ALIASES = {
    "t1km": "T1CE", "t1ce": "T1CE", "t1c": "T1CE", "t1c+": "T1CE", "t1+c": "T1CE", "t1gd": "T1CE", "t1post": "T1CE",
    "t1+gd": "T1CE", "t1gad": "T1CE", "t1postcontrast": "T1CE", "t1wce": "T1CE", "t1pre": "T1", "t1precontrast": "T1",
    "t1flair": "T1", "t1weighted": "T1", "t2weighted": "T2", "pdweighted": "PD", "t2starw": "T2STAR",
    "t1w": "T1", "t1wi": "T1", "t1n": "T1", "t2w": "T2", "t2f": "FLAIR", "t2flair": "FLAIR", "flr": "FLAIR",
    "fmri": "BOLD", "pdw": "PD", "t2*": "T2STAR", "dti": "DWI", "misc": "OTHER", "tof": "MRA", "dsc": "PWI",
    "dce": "PWI", "scout": "LOCALIZER", "fieldmapping": "FIELDMAP",
}  # fmt: skip

_SEED_PLANES = {"axial": "AX", "coronal": "COR", "sagittal": "SAG"}
_SEED_SEQUENCES = {"T1CE": "T1KM", "OTHER": "Misc"}


def plane_from(word: str | None) -> str | None:
    """Map anybody's word for a plane to ours.

    Parameters
    ----------
    word : str or None
        For example ``"AX"``, ``"transversal"``, ``"Sagittal"``.

    Returns
    -------
    str or None
        One of `PLANES`, or None when the word says nothing.

    Examples
    --------
    >>> plane_from("COR"), plane_from("knee")
    ('coronal', None)
    """
    return _PLANE_ALIASES.get(str(word).strip().lower()) if word else None


def sequence_from(word: str | None) -> str | None:
    """Map anybody's word for a sequence to ours.

    Parameters
    ----------
    word : str or None
        For example ``"T1KM"``, ``"T2-FLAIR"``, ``"fMRI"``, ``"T1Gd"``.

    Returns
    -------
    str or None
        One of `SEQUENCES`, or None when the word says nothing.

    Examples
    --------
    >>> sequence_from("T1KM"), sequence_from("T2-FLAIR"), sequence_from("swi"), sequence_from("hello")
    ('T1CE', 'FLAIR', 'SWI', None)
    """
    if not word:
        return None
    key = "".join(c for c in str(word).lower() if c not in " -_")
    if key.upper() in SEQUENCES:
        return key.upper()
    return _SEQUENCE_ALIASES.get(key)


def to_seed(word: str) -> str:
    """Give the seed project's name for a plane or a sequence.

    Examples
    --------
    >>> to_seed("axial"), to_seed("T1CE"), to_seed("T2")
    ('AX', 'T1KM', 'T2')
    """
    return _SEED_PLANES.get(word) or _SEED_SEQUENCES.get(word, word)
