"""What half a million slices cost in memory, on disk and in time.

``python -m benchmarks.rows [--rows N]`` scans headers that no file stands behind: the sandbox's answers are made up,
series by series, with identifiers and paths as long as scanners make them, and all that follows is what `index` does.
It prints the peak of this process's memory while scanning and writing (limit 1.5 GB), the table's size (limit 200 MB)
and how long scanning, reading and looking whether anything changed take. Parsing is left out: the children that do it
hold one file at a time.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest import mock

from core import cohort
from core.cohorts import cohort_scan
from core.reading.dicom_fast import split_header
from core.sandbox import Answer
from core.settings import get_settings

_ROOT = "1.3.12.2.1107.5.2.43.67060.20220407151"
_KINDS = (
    {"SeriesDescription": "AX T1 POST GD", "RepetitionTime": 500.0, "EchoTime": 12.0, "ScanningSequence": "SE"},
    {"SeriesDescription": "AX T2", "RepetitionTime": 4500.0, "EchoTime": 95.0, "ScanningSequence": "SE"},
    {"SeriesDescription": "AX FLAIR", "RepetitionTime": 9000.0, "EchoTime": 110.0, "InversionTime": 2500.0,
     "ScanningSequence": "SE\\IR"},
    {"SeriesDescription": "SAG MPRAGE", "RepetitionTime": 2200.0, "EchoTime": 2.6, "InversionTime": 900.0,
     "ScanningSequence": "GR\\IR", "MRAcquisitionType": "3D", "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
)  # fmt: skip
_SLICES = 100


def path_of(number: int) -> str:
    """Make the path of a slice."""
    series = number // _SLICES
    return f"PAT-{series // len(_KINDS):05}/series-{series % len(_KINDS)}/IM-{number % _SLICES:04}.dcm"


def series_of(relative: str) -> tuple[int, int]:
    """Series and slice of a made-up path."""
    patient, series, name = relative.split("/")
    return int(patient[4:]) * len(_KINDS) + int(series[7:]), int(name[3:7])


def answer(relative: str) -> Answer:
    """What the sandbox would say of a file."""
    series, number = series_of(relative)
    header = {
        "kind": "dicom", "PatientID": f"PAT-{series // len(_KINDS):05}", "PatientName": f"Doe{series}^Jo",
        "StudyInstanceUID": f"{_ROOT}.{series // len(_KINDS):012}", "SeriesInstanceUID": f"{_ROOT}.3.{series:012}",
        "SOPInstanceUID": f"{_ROOT}.{series:09}.{number:09}", "Manufacturer": "SIEMENS", "Rows": 512, "Columns": 512,
        "ManufacturerModelName": "Skyra", "MagneticFieldStrength": 3.0, "PixelSpacing": [0.5, 0.5], "FlipAngle": 90.0,
        "SliceThickness": 3.0, "ImageType": "ORIGINAL\\PRIMARY\\M\\ND\\NORM", "SequenceVariant": "SK\\SP\\OSP",
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [-120.5, -131.25, 3.0 * number],
        "InstanceNumber": number + 1, "SeriesNumber": series % 20, "frame": 0, **_KINDS[series % len(_KINDS)],
    }  # fmt: skip
    return [split_header(header)]


def parse(
    relatives: list[str], root: Path, names: Mapping[str, str], workers: int
) -> Iterator[tuple[list[str], list[Answer]]]:
    """Stand in for the sandboxes."""
    for at in range(0, len(relatives), 64):
        batch = relatives[at : at + 64]
        yield batch, [answer(relative) for relative in batch]


def peak_mb() -> float:
    """Most memory that this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=500_000)
    options = parser.parse_args()
    files = {path_of(i): (530_000, i) for i in range(options.rows)}
    with tempfile.TemporaryDirectory() as place:
        os.environ["SLICESCOPE_WORKSPACE"] = str(Path(place, "workspace"))
        get_settings.cache_clear()
        folder = Path(place, "data")
        folder.mkdir()
        print(f"before: {peak_mb():.0f} MB of memory")
        with (
            mock.patch.object(cohort_scan, "find_files", lambda path: dict(files)),
            mock.patch.object(cohort_scan, "_parse", parse),
        ):
            start = time.perf_counter()
            made = cohort.index(folder, "rows")
            print(f"index: {time.perf_counter() - start:.1f} s, peak {peak_mb():.0f} MB of memory (limit 1500)")
            start = time.perf_counter()
            cohort.index(folder, "rows")
            print(f"index again, nothing changed: {time.perf_counter() - start:.1f} s")
        start = time.perf_counter()
        cohort.read("rows")
        print(f"read: {time.perf_counter() - start:.1f} s")
        table = made.folder / "cohort.parquet"
        held = made.table.memory_usage(deep=True).sum() / 2**20
        disk = table.stat().st_size / 2**20
        print(f"table: {len(made.table)} rows, {disk:.0f} MB on disk (limit 200), {held:.0f} MB in memory")


if __name__ == "__main__":
    main()
