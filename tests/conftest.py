"""What every test may use: a workspace of its own, and one small DICOM slice made to order."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from core.settings import get_settings


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh workspace, also for child processes."""
    folder = tmp_path / "workspace"
    monkeypatch.setenv("SLICESCOPE_WORKSPACE", str(folder))
    get_settings.cache_clear()
    yield folder
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real MRI; tests that use it are marked `real`."""
    folder = get_settings().real_data
    if folder is None or not folder.is_dir():
        pytest.skip("SLICESCOPE_REAL_DATA names no folder of real MRI")
    return folder


@pytest.fixture
def make_slice(tmp_path: Path) -> Callable[..., Path]:
    """``make_slice(path=None, pixels=None, syntax=..., **keywords)`` writes one MR slice and returns its path.

    A keyword of None leaves that attribute out.
    """

    def make(path: Path | None = None, pixels: np.ndarray | None = None, syntax=ExplicitVRLittleEndian, **keywords):
        path = Path(path) if path else tmp_path / f"{generate_uid()}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        if pixels is None:
            pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        attributes = {
            "SOPClassUID": MRImageStorage,
            "SOPInstanceUID": generate_uid(),
            "StudyInstanceUID": "1.2",
            "SeriesInstanceUID": "1.2.3",
            "PatientID": "ID",
            "Modality": "MR",
            "Rows": pixels.shape[-2],
            "Columns": pixels.shape[-1],
            "BitsAllocated": pixels.itemsize * 8,
            "BitsStored": pixels.itemsize * 8,
            "HighBit": pixels.itemsize * 8 - 1,
            "PixelRepresentation": int(pixels.dtype.kind == "i"),
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "ImagePositionPatient": [0, 0, 0],
            "PixelSpacing": [1, 1],
            "PixelData": pixels.tobytes(),
        } | keywords
        for keyword, value in attributes.items():
            if value is not None:
                setattr(dataset, keyword, value)
        if "PixelData" in dataset:
            dataset["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
        dataset.save_as(path, enforce_file_format=True)
        return path

    return make
