"""What every test shares: a workspace of its own, and small DICOM slices made on the spot."""

import gc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from core.settings import get_settings


def pytest_collection_modifyitems(items):
    """Let files with the most slow tests come first: side by side, processes that take files in turn end together."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_collection_finish():
    """Leave what is loaded by now out of all collections to come.

    Where Keras is loaded, Streamlit clears its session after each rerun of a page, and Keras collects garbage then:
    half a second of going through all objects of all libraries. The server loads no Keras, see `test_architecture`.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _never_the_real_workspace(tmp_path_factory):
    """Send whatever asks for no workspace of its own to a temporary one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLICESCOPE_WORKSPACE", str(tmp_path_factory.mktemp("shared-workspace")))
        get_settings.cache_clear()
        yield
    get_settings.cache_clear()


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    """Give an empty workspace of this test's own; the folder does not exist yet."""
    folder = tmp_path / "workspace"
    monkeypatch.setenv("SLICESCOPE_WORKSPACE", str(folder))
    get_settings.cache_clear()
    yield folder
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Give the folder of real MRI; tests that use it are marked `real`."""
    folder = get_settings().real_data
    if folder is None or not folder.is_dir():
        pytest.skip("SLICESCOPE_REAL_DATA names no folder of real MRI")
    return folder


def slice_dataset(pixels: np.ndarray | None = None, **keywords) -> Dataset:
    """Make one axial spin-echo T1 slice of whole numbers, (rows, columns); a keyword that is None is left out."""
    pixels = np.arange(256, dtype="<u2").reshape(16, 16) if pixels is None else np.asarray(pixels)
    values = {
        "SOPClassUID": MRImageStorage, "SOPInstanceUID": generate_uid(), "StudyInstanceUID": "1.2.1",
        "SeriesInstanceUID": "1.2.2", "PatientID": "HOSP-48151623", "PatientName": "Lovelace^Adalina", "Modality": "MR",
        "Manufacturer": "ACME", "SeriesDescription": "AX T1", "SeriesNumber": 2, "InstanceNumber": 1,
        "ImageType": ["ORIGINAL", "PRIMARY"], "MRAcquisitionType": "2D", "ScanningSequence": "SE",
        "RepetitionTime": 500, "EchoTime": 12, "FlipAngle": 90, "MagneticFieldStrength": 1.5, "SliceThickness": 5,
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 0], "PixelSpacing": [1, 1],
        "Rows": pixels.shape[-2], "Columns": pixels.shape[-1], "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 8 * pixels.dtype.itemsize,
        "BitsStored": 8 * pixels.dtype.itemsize, "HighBit": 8 * pixels.dtype.itemsize - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"), "PixelData": pixels.tobytes(), **keywords,
    }  # fmt: skip
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OB" if dataset.get("BitsAllocated", 16) == 8 else "OW"
    return dataset


@pytest.fixture(scope="session")
def make_dataset():
    """Give `slice_dataset`, for tests that change more of a slice than its keywords before they write it."""
    return slice_dataset


@pytest.fixture
def make_slice(tmp_path):
    """Give ``make_slice(path=None, pixels=None, syntax=..., **keywords) -> Path``: it writes one small DICOM file."""

    def make(
        path: Path | str | None = None,
        pixels: np.ndarray | None = None,
        syntax: UID = ExplicitVRLittleEndian,
        **keywords,
    ) -> Path:
        dataset = slice_dataset(pixels, **keywords)
        dataset.file_meta.TransferSyntaxUID = syntax
        path = Path(path) if path else tmp_path / f"{dataset.get('SOPInstanceUID', generate_uid())}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
        return path

    return make


#: Classes of `finished` runs, by label.
CLASSES = {
    "plane": ["axial", "coronal", "sagittal"],
    "sequence": ["T1", "T2"],
    "plane-sequence": ["axial-T1", "axial-T2", "coronal-T1"],
}


def finished_run(run_id: str = "a-run", kind: str = "transfer", label: str = "plane", seed: int = 0):
    """Make a run that is done, with a random network for slices of 32 × 32; a Siamese one has a jury."""
    import keras

    from core import bundle, runs
    from core.config import RunConfig
    from core.explanations.jury import Jury
    from core.models import BUILDERS

    config = RunConfig(run_id, kind, "made", label=label, weights="none", image_size=32)
    run = runs.create_run(config, run_id, state="done")
    keras.utils.set_random_seed(seed)
    classes = {head: CLASSES[head] for head in config.heads}
    bundle.save(BUILDERS[kind](config, classes), {"name": run_id, "kind": kind, "classes": classes}, run.bundle)
    if kind == "siamese":
        names = tuple(CLASSES[label])
        n = len(names)
        pictures = np.zeros((n, 8, 8), np.uint8)
        Jury(names, names, ("P",) * n, ("k",) * n, np.eye(64, dtype=np.float32)[:n], pictures).save(run.bundle)
    return run


@pytest.fixture(scope="session")
def finished():
    """Give `finished_run`."""
    return finished_run
