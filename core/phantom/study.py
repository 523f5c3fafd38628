"""Phantom people as real MR Image Storage files, with headers in the habits of several vendors (`headers`).

Series descriptions are as messy as hospitals write them; what is truly shown comes back beside the files, because for
some series, as in life, the header alone does not tell.
"""

import hashlib
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from core.phantom import anatomy, contrast, headers
from core.phantom.scan import ECHO_PLANAR
from core.phantom.series import Scan, render_series
from core.vocabulary import CLASSIC_SEQUENCES

#: What the example study holds: a tumour protocol as clinics run it.
EXAMPLE_PLAN = (
    ("sagittal", "T1"), ("axial", "T2"), ("axial", "FLAIR"), ("coronal", "FLAIR"), ("axial", "DWI"), ("axial", "ADC"),
    ("axial", "T2STAR"), ("axial", "T1"), ("axial", "T1CE"), ("coronal", "T1CE"), ("sagittal", "T1CE"),
)  # fmt: skip
_FIELD_OF_VIEW_MM = {"axial": 224, "coronal": 232, "sagittal": 250}


def write_cohort(
    folder: Path,
    n_patients: int = 12,
    random_state: int = 0,
    report: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> list[dict[str, str]]:
    """Write a phantom cohort.

    Parameters
    ----------
    folder : Path
        Made if missing; each patient gets a folder, each series one in it.
    n_patients : int
        At most 100.
    random_state : int
        The same seed gives the same bytes.
    report : callable, optional
        ``report(done, total)`` after each patient.
    workers : int
        Processes.

    Returns
    -------
    list of dict
        One a series: ``SeriesInstanceUID``, ``plane``, ``sequence``, ``finding``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    truth: dict[int, list[dict[str, str]]] = {}
    # spawn, because a process that has threads does not survive a fork
    with ProcessPoolExecutor(min(workers, n_patients), mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = {pool.submit(write_patient, folder, number, random_state): number for number in range(n_patients)}
        for done, job in enumerate(as_completed(jobs), 1):
            truth[jobs[job]] = job.result()
            if report:
                report(done, n_patients)
    return [series for number in sorted(truth) for series in truth[number]]


def series_plan(number: int) -> list[tuple[str, str]]:
    """Planes and sequences of a patient: all classic sequences axially, and two each in the other planes, in turn."""
    coronal = [CLASSIC_SEQUENCES[(number + i) % 4] for i in (1, 2)]
    sagittal = [CLASSIC_SEQUENCES[(number + i) % 4] for i in (0, 3)]
    return [
        *(("axial", sequence) for sequence in CLASSIC_SEQUENCES),
        *(("coronal", sequence) for sequence in coronal),
        *(("sagittal", sequence) for sequence in sagittal),
    ]


def write_patient(
    folder: Path, number: int, random_state: int, plan: Sequence[tuple[str, str]] | None = None
) -> list[dict[str, str]]:
    """Write one patient's study.

    Parameters
    ----------
    folder : Path
        Where the patient's own folder goes.
    number : int
        Of the patient, from 0, below 100.
    random_state : int
        Of the cohort.
    plan : sequence of (plane, sequence), optional
        The series in order; `series_plan` when not given.

    Returns
    -------
    list of dict
        What the series show, as from `write_cohort`.
    """
    rng = np.random.default_rng([41, random_state, number])
    # Away from the people that weights are trained on, who are numbered from 1000 times a small seed.
    person = anatomy.make_person(100_000 + 100 * random_state + number)
    scanner = headers.SCANNERS[number % len(headers.SCANNERS)]
    name = f"{random_state:02d}{number:02d}"
    field = float(rng.choice([1.5, 3.0]))
    patient = {
        "PatientID": f"PHANTOM-{name}",
        "PatientName": f"Phantom^{name}",
        "PatientBirthDate": "",
        "PatientSex": "O",
        "PatientAge": f"{rng.integers(19, 88):03d}Y",
        "StudyInstanceUID": _uid(random_state, number),
        "StudyID": str(number + 1),
        "StudyDate": f"2001{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}",
        "StudyTime": "120000",
        "StudyDescription": str(rng.choice(["MRI BRAIN W/WO", "Neuro^Tumor", "MR HEAD", "SCHAEDEL"])),
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "FrameOfReferenceUID": _uid(random_state, number, 0),
        "PositionReferenceIndicator": "",
        "InstitutionName": "Phantom Hospital",
        "ImageComments": "Synthetic phantom, no patient",
    }
    truth, series_number = [], 0
    for plane, sequence in plan or series_plan(number):
        # Scouts and reruns leave gaps in the numbers.
        series_number += int(rng.choice([1, 1, 1, 2]))
        protocol = replace(contrast.draw_protocol(sequence, rng), field_T=field)
        thick = float(rng.choice([1.2, 1.5])) if protocol.three_d else float(rng.choice([4, 5, 6]))
        spacing = float(rng.choice([1.2, 1.4, 1.6])) * (1.3 if protocol.kind in ECHO_PLANAR else 1)
        tilt = (float(rng.normal(0, 7 if plane != "sagittal" else 1.5)), float(rng.normal(0, 1)))
        scanned = render_series(
            person, plane, protocol, rng, int(rng.integers(22, 31)), thick, spacing, _FIELD_OF_VIEW_MM[plane], tilt
        )
        series = {
            **patient,
            "SeriesInstanceUID": _uid(random_state, number, series_number),
            "SeriesNumber": series_number,
            **headers.describe(protocol, plane, scanner, rng),
        }
        _write_series(folder / patient["PatientID"] / f"{series_number:03d}", scanned, series)
        truth.append(
            {
                "SeriesInstanceUID": series["SeriesInstanceUID"],
                "plane": plane,
                "sequence": sequence,
                "finding": person.finding,
            }
        )
    return truth


def _write_series(folder: Path, scan: Scan, shared: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    brightest = max(float(image.max()) for image in scan.slices) or 1.0
    normal = np.cross(scan.orientation[:3], scan.orientation[3:])
    for number, (image, position) in enumerate(zip(scan.slices, scan.positions, strict=True), 1):
        stored = np.round(image * (2000 / brightest)).astype("<u2")
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = MRImageStorage
        dataset.SOPInstanceUID = UID(f"{shared['SeriesInstanceUID']}.{number}")
        for keyword, value in shared.items():
            setattr(dataset, keyword, value)
        dataset.InstanceNumber = number
        dataset.SliceThickness = scan.thickness_mm
        dataset.SpacingBetweenSlices = round(scan.step_mm, 4)
        dataset.ImageOrientationPatient = [round(value, 6) for value in scan.orientation]
        dataset.ImagePositionPatient = [round(value, 4) for value in position]
        dataset.SliceLocation = round(float(normal @ position), 4)
        dataset.PixelSpacing = [round(scan.spacing_mm, 6)] * 2
        dataset.Rows, dataset.Columns = stored.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.PixelData = stored.tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)


def _uid(*parts: int) -> str:
    """A UID under 2.25 made from numbers, always the same for the same ones."""
    digest = hashlib.sha256("/".join(map(str, ("slicescope phantom", *parts))).encode()).digest()
    # 96 bits leave room for a slice's number behind it within the 64 characters of a UID
    return f"2.25.{int.from_bytes(digest[:12], 'big') | 1 << 95}"
