"""What scanners and people write into a header: codes and timings of several vendors, and messy descriptions."""

from dataclasses import dataclass

import numpy as np

from core.phantom.contrast import Protocol


@dataclass(frozen=True)
class Scanner:
    """A make and its words for the planes."""

    manufacturer: str
    model: str
    software: str
    axial: str
    coronal: str
    sagittal: str


SCANNERS = (
    Scanner("SIEMENS", "MAGNETOM Skyra", "syngo MR E11", "tra", "cor", "sag"),
    Scanner("GE MEDICAL SYSTEMS", "SIGNA HDxt", "24", "Ax", "Cor", "Sag"),
    Scanner("Philips Medical Systems", "Ingenia", "5.3.1", "AX", "COR", "SAG"),
    Scanner("TOSHIBA", "Vantage Titan", "V4.0", "AXIAL", "CORONAL", "SAGITTAL"),
    Scanner("UIH", "uMR 780", "V10", "tra", "cor", "sag"),
)

#: Descriptions by sequence; "{p}" is the plane's word, and most leave something out.
_DESCRIPTIONS = {
    "T1": ("{p} T1", "t1_se_{p}", "T1W_SE {p}", "{p} T1 PRE", "t1_{p}_320", "{p} T1 WITHOUT"),
    "T1 ir": ("{p} T1 FLAIR", "T1 FLAIR {p}", "t1_tirm_{p}_dark-fluid"),
    "T1 3d": ("t1_mprage_{p}_p2_iso", "{p} 3D T1", "{p} T1 VOL"),
    "T1CE": ("{p} T1 POST GD", "{p} T1 +C", "t1_se_{p}_KM", "T1W_SE {p} GD", "POST CONTRAST {p} T1", "t1_{p} post gad"),
    "T1CE ir": ("{p} T1 FLAIR POST GD", "T1 FLAIR {p} +C"),
    "T1CE 3d": ("t1_mprage_{p}_iso +C", "{p} 3D T1 POST GD", "STEALTH {p} T1"),
    "T2": ("{p} T2", "t2_tse_{p}_p2", "T2W_TSE {p}", "{p} T2 FSE", "t2_{p}_fs"),
    "FLAIR": ("{p} FLAIR", "t2_tirm_{p}_dark-fluid", "FLAIR_longTR {p}", "{p} T2 FLAIR", "FLAIR {p} 4mm"),
    "PD": ("{p} PD", "pd_tse_{p}", "PDW_TSE {p}"),
    "DWI": ("ep2d_diff_3scan_trace_{p}", "{p} DWI", "DWI_SSh {p}", "{p} DIFFUSION"),
    "ADC": ("ep2d_diff_3scan_trace_{p}_ADC", "{p} ADC", "dADC {p}"),
    "FA": ("ep2d_diff_mddw_{p}_FA", "{p} DTI FA"),
    "T2STAR": ("t2_fl2d_{p}_hemo", "{p} GRE T2*", "T2_FFE {p}"),
    "SWI": ("SWI_Images {p}", "{p} SWAN", "SWIp {p}"),
    "BOLD": ("ep2d_bold_{p}_rest", "{p} fMRI", "BOLD_task {p}"),
    "MRA": ("tof_3d_{p}", "{p} 3D TOF MRA", "TOF COW {p}"),
    "ASL": ("ep2d_pasl_{p}", "{p} 3D ASL", "pCASL {p}"),
    "PWI": ("ep2d_perf_{p}", "{p} PERFUSION DSC", "PWI {p}"),
}

#: *ScanningSequence* and *SequenceVariant* by kind of protocol.
_CODES = {
    "se": (["SE"], ["SK"]),
    "ir": (["SE", "IR"], ["SK"]),
    "mprage": (["GR", "IR"], ["SP", "MP"]),
    "gre": (["GR"], ["SP"]),
    "swi": (["GR"], ["SP"]),
    "epi_gre": (["EP", "GR"], ["SK"]),
    "epi_se": (["EP", "SE"], ["SK"]),
    "tof": (["GR"], ["SP"]),
    "cbf": (["EP", "GR"], ["SK"]),
    "cbv": (["EP", "GR"], ["SK"]),
    "adc": (["EP", "SE"], ["SK"]),
    "fa": (["EP", "SE"], ["SK"]),
}


def describe(protocol: Protocol, plane: str, scanner: Scanner, rng: np.random.Generator) -> dict[str, object]:
    """Write a series' part of the header.

    Parameters
    ----------
    protocol : Protocol
        Its timings are those the signal was computed from.
    plane : str
        A word of `core.vocabulary.PLANES`.
    scanner : Scanner
        One of `SCANNERS`.
    rng : numpy.random.Generator

    Returns
    -------
    dict
        DICOM keywords and values of the equipment and of MR Image (DICOM PS3.3 C.8.3.1).
    """
    scanning, variant = _CODES[protocol.kind]
    repetition = protocol.TR
    if protocol.kind == "mprage" and scanner.manufacturer != "SIEMENS":
        repetition = 5 + protocol.TE  # these write the echo spacing, not the time between inversions
    out: dict[str, object] = {
        "Modality": "MR",
        "BodyPartExamined": "HEAD",
        "PatientPosition": "HFS",
        "Manufacturer": scanner.manufacturer,
        "ManufacturerModelName": scanner.model,
        "SoftwareVersions": scanner.software,
        "SeriesDescription": _description(protocol, plane, scanner, rng),
        "ImageType": _image_type(protocol, scanner),
        "ScanningSequence": scanning,
        "SequenceVariant": variant,
        "ScanOptions": "FS" if protocol.fat_sat else "",
        "MRAcquisitionType": "3D" if protocol.three_d else "2D",
        "RepetitionTime": round(repetition, 2),
        "EchoTime": protocol.TE,
        "FlipAngle": protocol.flip_deg,
        "EchoTrainLength": protocol.echo_train_length,
        "EchoNumbers": 1,
        "NumberOfAverages": 1,
        "MagneticFieldStrength": protocol.field_T,
        "ImagedNucleus": "1H",
        "ImagingFrequency": round(42.577 * protocol.field_T, 3),
    }
    # Several scanners leave the inversion time of an MPRAGE out.
    if protocol.TI is not None and not (protocol.kind == "mprage" and scanner.manufacturer in ("TOSHIBA", "UIH")):
        out["InversionTime"] = protocol.TI
    if protocol.kind == "epi_se":
        out["DiffusionBValue"] = protocol.b_value
    if scanner.manufacturer == "SIEMENS":
        out["SequenceName"] = _sequence_name(protocol)
    if protocol.contrast_agent and rng.random() < 0.6:
        out["ContrastBolusAgent"] = str(rng.choice(["Gadovist", "GADAVIST 7 ML", "Magnevist", "YES"]))
    return out


def _description(protocol: Protocol, plane: str, scanner: Scanner, rng: np.random.Generator) -> str:
    key = protocol.sequence
    if protocol.kind == "ir" and key in ("T1", "T1CE"):
        key += " ir"
    elif protocol.three_d and key in ("T1", "T1CE"):
        key += " 3d"
    return str(rng.choice(_DESCRIPTIONS[key])).format(p=getattr(scanner, plane))


def _image_type(protocol: Protocol, scanner: Scanner) -> list[str]:
    if protocol.kind in ("adc", "fa"):
        return ["DERIVED", "PRIMARY", "DIFFUSION", protocol.sequence]
    if protocol.kind in ("cbf", "cbv"):
        return ["DERIVED", "PRIMARY", "ASL" if protocol.sequence == "ASL" else "PERFUSION", protocol.kind.upper()]
    plain = ["M", "ND"] if scanner.manufacturer == "SIEMENS" else ["OTHER"]
    return ["ORIGINAL", "PRIMARY", *{"epi_se": ["DIFFUSION", "NONE"], "swi": ["M", "SWI"]}.get(protocol.kind, plain)]


def _sequence_name(protocol: Protocol) -> str:
    train = protocol.echo_train_length
    return {
        "se": f"*tse2d1_{train}" if train > 1 else "*se2d1",
        "ir": f"*tir2d1_{train}",
        "mprage": "*tfl3d1",
        "gre": "*fl3d1" if protocol.three_d else "*fl2d1",
        "swi": "*swi3d1r",
        "epi_gre": "*epfid2d1_64",
        "epi_se": f"*ep_b{protocol.b_value:.0f}t",
        "tof": "*fl3d1r",
        "cbf": "*epfid2d1_64",
        "cbv": "*epfid2d1_64",
        "adc": "*ep_b0_1000",
        "fa": "*ep_b0_1000",
    }[protocol.kind]
