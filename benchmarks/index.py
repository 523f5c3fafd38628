"""How much faster `index` is than the ordinary way of tabulating a folder of DICOM files, and than dcm2niix.

``python -m benchmarks.index [--copies N] [--rounds N] [--workers N]``. The ordinary way: `os.walk`,
``pydicom.dcmread(stop_before_pixels=True)``, a dict a file, a DataFrame, a Parquet file; one process. dcm2niix runs as
``dcm2niix -b o`` (sidecars only) where it is installed. Every round runs all of them one after the other on the same
files, and what is printed are medians over rounds of the ratios within a round, since other work on a machine comes
and goes. Each round's `index` begins with an empty workspace and counts the start of its children.

The files are copies, with identifiers of their own, of those in ``SLICESCOPE_REAL_DATA``, or else of one phantom
patient's. "classic" has a slice or a mosaic a file, "mixed" has multi-frame files among them.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pandas as pd
import pydicom
from pydicom.uid import EnhancedMRImageStorage

from core import cohort, demo
from core.settings import get_settings

_KEYWORDS = (
    "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SeriesDescription", "SeriesNumber",
    "Manufacturer", "ManufacturerModelName", "MagneticFieldStrength", "InstanceNumber", "Rows", "Columns",
    "PixelSpacing", "SliceThickness", "ImagePositionPatient", "ImageOrientationPatient", "RepetitionTime", "EchoTime",
    "InversionTime", "FlipAngle", "EchoTrainLength", "ScanningSequence", "SequenceVariant", "SequenceName", "ImageType",
    "ContrastBolusAgent",
)  # fmt: skip


def ordinary(folder: Path, out: Path) -> None:
    """Tabulate headers as most scripts do."""
    rows = []
    for where, _, names in os.walk(folder):
        for name in names:
            dataset = pydicom.dcmread(Path(where, name), stop_before_pixels=True)
            rows.append({"path": name, **{keyword: str(dataset.get(keyword, "")) for keyword in _KEYWORDS}})
    pd.DataFrame(rows).to_parquet(out / "ordinary.parquet")


def templates(work: Path) -> tuple[list[Path], list[Path]]:
    """Files to copy: classic ones, and multi-frame ones."""
    if real := get_settings().real_data:
        classic, enhanced = [], []
        for path in sorted(path for path in real.rglob("*") if path.is_file()):
            try:
                dataset = pydicom.dcmread(path, stop_before_pixels=True)
            except pydicom.errors.InvalidDicomError:
                continue
            (enhanced if "PerFrameFunctionalGroupsSequence" in dataset else classic).append(path)
        return classic, enhanced
    demo.write_files(work / "phantom", 1, demo.SEED, labels=False)
    classic = sorted((work / "phantom").rglob("*.dcm"))
    series = {path.parent: [] for path in classic}
    for path in classic:
        series[path.parent].append(path)
    return classic, [_stack(paths, work / f"enhanced{i}.dcm") for i, paths in enumerate(series.values())]


def _stack(paths: list[Path], target: Path) -> Path:
    """Make one multi-frame file of a phantom series."""
    slices = [pydicom.dcmread(path) for path in paths]
    whole = slices[0]
    groups = []
    for one in slices:
        position, orientation, echo = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient, orientation.ImageOrientationPatient = (
            one.ImagePositionPatient,
            one.ImageOrientationPatient,
        )
        echo.EffectiveEchoTime = float(one.EchoTime)
        group = pydicom.Dataset()
        group.PlanePositionSequence, group.PlaneOrientationSequence = [position], [orientation]
        group.MREchoSequence = [echo]
        for sequence in group:
            sequence.is_undefined_length = True  # as scanners write them
        groups.append(group)
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    whole.NumberOfFrames, whole.PixelData = len(slices), b"".join(one.PixelData for one in slices)
    whole.PerFrameFunctionalGroupsSequence = groups
    whole["PerFrameFunctionalGroupsSequence"].is_undefined_length = True
    whole.save_as(target)
    return target


def copy(paths: list[Path], copies: int, folder: Path) -> int:
    """Write copies that differ as slices of a series do, in identifier, number and place; gives their number."""
    for series, path in enumerate(paths):
        data, dataset = path.read_bytes(), pydicom.dcmread(path, stop_before_pixels=True)
        keywords = [k for k in ("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient") if k in dataset]
        places = {k: (dataset.get_item(k).value_tell, dataset.get_item(k).length) for k in keywords}
        x, y, z = map(float, dataset.get("ImagePositionPatient") or (0, 0, 0))
        (folder / f"{series}").mkdir(parents=True)
        for i in range(copies):
            number = series * copies + i + 1
            values = {
                "SOPInstanceUID": f"{dataset.SOPInstanceUID[:50]}.{number}",
                "InstanceNumber": f"{number}",
                "ImagePositionPatient": f"{x:.4f}\\{y:.4f}\\{z + i:.4f}",
            }
            changed = data
            for keyword, (at, length) in sorted(places.items(), key=lambda place: -place[1][0]):  # the last first
                value = values[keyword].encode()
                value += (b"\0" if keyword == "SOPInstanceUID" else b" ") * (len(value) % 2)
                changed = changed[: at - 2] + len(value).to_bytes(2, "little") + value + changed[at + length :]
            (folder / f"{series}" / f"{i:04}.dcm").write_bytes(changed)
    return len(paths) * copies


def seconds(do: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def measure(folder: Path, work: Path, rounds: int, workers: int) -> pd.DataFrame:
    """Seconds of each way, a row a round."""
    dcm2niix, times = shutil.which("dcm2niix"), []
    for number in range(rounds + 1):
        out = work / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        os.environ["SLICESCOPE_WORKSPACE"] = str(out / "workspace")
        get_settings.cache_clear()
        row = {
            "index": seconds(lambda: cohort.index(folder, "benchmark", workers=workers)),
            "ordinary": seconds(lambda: ordinary(folder, out)),  # noqa: B023
            "index again": seconds(lambda: cohort.index(folder, "benchmark", workers=workers)),
        }
        if dcm2niix:
            command = [dcm2niix, "-b", "o", "-o", str(out), str(folder)]
            row["dcm2niix"] = seconds(lambda: subprocess.run(command, capture_output=True, check=False))  # noqa: B023
        if number:  # the first reads the files into the system's cache
            times.append(row)
    return pd.DataFrame(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        classic, enhanced = templates(work)
        for name, paths in (("classic", classic), ("mixed", classic + enhanced)):
            n = copy(paths, options.copies, work / name)
            times = measure(work / name, work, options.rounds, options.workers)
            slices = len(cohort.read("benchmark").table)
            print(f"{name}: {n} files, {slices} slices; medians of {options.rounds} rounds")
            for way in times:
                print(f"  {way:12} {median(times[way]):8.2f} s  {n / median(times[way]):8.0f} files a second")
            for way, other in (("ordinary", "index"), ("dcm2niix", "index"), ("index", "index again")):
                if way in times:
                    print(f"  {way} / {other}: {median(times[way] / times[other]):.1f}")
            shutil.rmtree(work / name)


if __name__ == "__main__":
    main()
