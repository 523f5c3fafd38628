"""Bad input, end to end: each file of a hostile folder ends as a right row or as one sentence; nothing else is lost.

`CASES` names a builder for each file and what must become of it. All of them lie in one folder that is scanned
once, so that each must also leave its neighbours alone.
"""

import ctypes
import gzip
import io
import os
import resource
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from core import cohort
from core.cohorts import cohort_scan
from core.cohorts.listing import find_files
from core.errors import CohortError, UnopenedFile, UnreadableFile
from core.labelling.label_physics import read_physics
from core.labels import label_header
from core.reading.dicom_fast import split_header
from core.sandbox import Sandbox
from core.settings import PROJECT_DIR, get_settings
from core.vocabulary import PLANES, SEQUENCES

RAMP = np.arange(256, dtype="<u2").reshape(16, 16)
#: Any sentence will do where a file is cut at an arbitrary place.
ANY = "It "


@dataclass(frozen=True)
class Case:
    """One hostile file: how it is written, and what must become of it.

    Attributes
    ----------
    write : callable
        ``write(path, make_dataset)``.
    reason : str
        Part of the sentence that refuses it, or "" when it must become rows.
    rows : int
        How many.
    values : dict
        What the first row must hold; its pixels must decode.
    """

    write: Callable
    reason: str = ""
    rows: int = 1
    values: dict = field(default_factory=dict)


# Builders -------------------------------------------------------------------------------------------


def raw(data: bytes | str):
    """Write these bytes."""
    return lambda path, make: path.write_bytes(data.encode() if isinstance(data, str) else data)


def classic(pixels=None, syntax=None, change: Callable[[bytes], bytes] = bytes, then=(), **keywords):
    """Write one slice, compressed or not; then change attributes of it, and then its bytes."""

    def write(path, make):
        dataset = make(pixels, **keywords)
        if syntax == RLELossless:
            dataset.compress(RLELossless, generate_instance_uid=False)
        elif syntax:
            dataset.file_meta.TransferSyntaxUID = syntax
        for keyword, value in dict(then).items():
            setattr(dataset, keyword, value)
        dataset.save_as(path, enforce_file_format=True)
        path.write_bytes(change(path.read_bytes()))

    return write


def shipped(name: str):
    """Copy a file that comes with pydicom."""
    return lambda path, make: path.write_bytes(Path(get_testdata_file(name, download=False)).read_bytes())


def cut(share):
    return lambda data: data[: int(len(data) * share)]


def element(keyword: str, vr: str, value: bytes) -> bytes:
    """Encode one attribute in explicit little endian, whatever VR it should have."""
    tag = pydicom.tag.Tag(keyword)
    long = vr in ("OB", "SQ", "UT")
    length = struct.pack("<HI", 0, len(value)) if long else struct.pack("<H", len(value))
    return struct.pack("<HH", tag.group, tag.element) + vr.encode() + length + value


def with_element(keyword: str, vr: str, value: bytes, **keywords):
    """Write a slice in which one attribute is of another VR, or holds what pydicom would not write."""

    def change(data):
        tag = pydicom.tag.Tag(keyword)
        at = data.index(struct.pack("<HH", tag.group, tag.element) + pydicom.datadict.dictionary_VR(tag).encode())
        end = at + 8 + int.from_bytes(data[at + 6 : at + 8], "little")
        return data[:at] + element(keyword, vr, value) + data[end:]

    return classic(change=change, **keywords)


def nested(depth: int, undefined: bool):
    """Append sequences that hold each other."""

    def change(data):
        if undefined:
            level = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
            return data + (level + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * depth
        inner = b""
        for _ in range(depth):
            item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
            inner = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, len(item)) + item
        return data + inner

    return classic(change=change)


def nested_frame(depth: int):
    """Nest sequences of known length where they are read: in a frame's functional groups."""

    def write(path, make):
        item = pydicom.Dataset()
        for _ in range(depth):
            outer = pydicom.Dataset()
            outer.MRDiffusionSequence = Sequence([item])
            item = outer
        make(PerFrameFunctionalGroupsSequence=Sequence([item])).save_as(path, enforce_file_format=True)

    return write


def deflate_bomb(path, make):
    make().save_as(path, enforce_file_format=True)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    head = path.read_bytes()[: 144 + int.from_bytes(path.read_bytes()[140:144], "little")]
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    text = element("ImageComments", "UT", b"")[:8] + struct.pack("<I", 400 << 20)
    path.write_bytes(head + deflate.compress(text) + deflate.compress(bytes(400 << 20)) + deflate.flush())


def encapsulated(syntax, frame: bytes, **keywords):
    """Write a slice whose compressed frame is `frame`, whatever the header says of it."""

    def write(path, make):
        dataset = make(**keywords)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path, enforce_file_format=True)

    return write


def jpeg(rows: int, columns: int) -> bytes:
    """Encode a small picture whose own header claims another size."""
    buffer = io.BytesIO()
    Image.new("L", (16, 16), 100).save(buffer, "JPEG")
    data = buffer.getvalue()
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", rows, columns) + data[at + 4 :]


def jpeg2000(rows: int, columns: int) -> bytes:
    """Encode a small picture whose own header claims another size, in tiles that cover all of it."""
    dataset = pydicom.dcmread(get_testdata_file("MR_small_jp2klossless.dcm", download=False))
    data = bytearray(next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)))
    at = data.index(b"\xff\x51") + 6
    for place in (at, at + 16):
        data[place : place + 8] = struct.pack(">II", columns, rows)
    return bytes(data)


def jpeg_ls(rows: int, columns: int) -> bytes:
    dataset = pydicom.dcmread(get_testdata_file("MR_small_jpeg_ls_lossless.dcm", download=False))
    data = bytearray(next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)))
    at = data.index(b"\xff\xf7") + 5
    data[at : at + 4] = struct.pack(">HH", rows, columns)
    return bytes(data)


def png(rows: int, columns: int) -> bytes:
    """Encode a picture that claims a size, and holds nothing."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0), b"IDAT" + zlib.compress(bytes(99)))
    packed = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def nifti(affine=None, shape=(4, 5, 6), change: Callable[[bytes], bytes] = bytes):
    def write(path, make):
        image = nibabel.Nifti1Image(np.ones((4, 5, 6), np.float32), np.eye(4))
        image.header.set_sform(np.eye(4) if affine is None else affine, 1)
        image.header.set_qform(np.eye(4), 0)
        image.header.set_data_shape(shape)
        data = image.header.binaryblock + bytes(4) + np.ones((4, 5, 6), "<f4").tobytes()
        path.write_bytes(change(gzip.compress(data) if path.suffix == ".gz" else data))

    return write


def nifti_bomb(path, make):
    """Claim a volume that is let in, and unpack to far more."""
    header = nibabel.Nifti1Header()
    header.set_data_shape((1000, 1000, 250))
    header.set_data_dtype(np.complex128)
    header.set_sform(np.eye(4), 1)
    with gzip.open(path, "wb", compresslevel=1) as file:
        header.write_to(file)
        for _ in range(40):
            file.write(bytes(1 << 24))


def floating(path, make):
    dataset = make(PixelData=None, BitsAllocated=32, BitsStored=None, HighBit=None, PixelRepresentation=None)
    dataset.FloatPixelData = (RAMP / 256 - 0.5).astype("<f4").tobytes()
    dataset.save_as(path, enforce_file_format=True)


COLOUR = {
    "SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB", "BitsAllocated": 8,
    "BitsStored": 8, "HighBit": 7, "Rows": 8, "Columns": 8, "PixelData": bytes(range(192)),
}  # fmt: skip
FRAMES = np.arange(3 * 64, dtype="<u2").reshape(3, 8, 8)
HTML = "<!DOCTYPE html><html><body><h1>403 Forbidden</h1>" + "<p>Please log in.</p>" * 40

CASES = {
    # What is no picture
    "empty.dcm": Case(raw(b""), "The file is empty."),
    "text.dcm": Case(raw("Dear colleague, " * 40), "not a DICOM file"),
    "html.dcm": Case(raw(HTML), "not a DICOM file"),
    "magic_only.dcm": Case(raw(bytes(128) + b"DICM"), "cut short"),
    # Cut short
    **{f"quarter{n}.dcm": Case(classic(change=cut(n / 4)), "cut short") for n in (1, 2, 3)},
    **{f"quarter{n}_implicit.dcm": Case(classic(None, ImplicitVRLittleEndian, cut(n / 4)), ANY) for n in (1, 2, 3)},
    **{f"quarter{n}_rle.dcm": Case(classic(RAMP, RLELossless, cut(n / 4)), "cut short") for n in (1, 2, 3)},
    **{f"quarter{n}_deflated.dcm": Case(classic(None, DeflatedExplicitVRLittleEndian, cut(n / 4)), "cut short")
       for n in (1, 2, 3)},
    # Odd, but whole
    "no_preamble.dcm": Case(classic(change=lambda data: data[132:]), values={"sequence": "T1", "plane": "axial"}),
    "no_meta.dcm": Case(
        classic(change=lambda data: data[144 + int.from_bytes(data[140:144], "little") :]), values={"sequence": "T1"}
    ),
    # Wrong VR
    "rows_as_text.dcm": Case(with_element("Rows", "LO", b"16"), "Rows is no count"),
    "rows_as_words.dcm": Case(with_element("Rows", "LO", b"many"), "Rows is no count"),
    "rows_as_sequence.dcm": Case(with_element("Rows", "SQ", b""), "Rows is no count"),
    "echo_time_unknown_vr.dcm": Case(with_element("EchoTime", "ZZ", b"12"), values={"plane": "axial"}),
    "echo_time_as_text.dcm": Case(with_element("EchoTime", "LT", b"12"), values={"EchoTime": 12}),
    "echo_time_as_words.dcm": Case(with_element("EchoTime", "DS", b"fast"), values={"plane": "axial"}),
    "echo_time_as_bytes.dcm": Case(with_element("EchoTime", "OB", b"\xff\0"), values={"plane": "axial"}),
    # Wrong group length
    **{f"group_length_{name}.dcm": Case(
        classic(change=lambda data, n=n: data[:140] + struct.pack("<I", n) + data[144:]), values={"sequence": "T1"}
    ) for name, n in (("0", 0), ("short", 20), ("long", 400), ("huge", 0xFFFFFFF0))},
    "group_length_deflated.dcm": Case(classic(None, DeflatedExplicitVRLittleEndian,
        lambda data: data[:140] + struct.pack("<I", 20) + data[144:]), "deflated"),
    # Identifiers that are none, and must not be quoted
    "syntax.dcm": Case(classic(change=lambda data: data.replace(b"1.2.840.10008.1.2.1", b"Adah\n/home/\xff\0 1.2.1")),
        "no valid UID"),
    "object.dcm": Case(classic(SOPClassUID="Ada\n/home/Lovelace", PixelData=None), "no valid UID"),
    # Nesting
    "nested_undefined.dcm": Case(nested(1000, undefined=True), "nested too deeply"),
    "nested_defined.dcm": Case(nested(1000, undefined=False), values={"sequence": "T1"}),
    "nested_frame.dcm": Case(nested_frame(150), values={"sequence": "T1"}),
    # Bombs
    "deflate_bomb.dcm": Case(deflate_bomb, "inflates to more than"),
    "rle_claims.dcm": Case(classic(RAMP, RLELossless, then={"Rows": 40_000, "Columns": 40_000}), "40000 × 40000"),
    "jpeg_claims.dcm": Case(encapsulated(JPEGBaseline8Bit, jpeg(40_000, 40_000), Rows=40_000, Columns=40_000),
        "40000 × 40000"),
    "jpeg_lies.dcm": Case(encapsulated(JPEGBaseline8Bit, jpeg(40_000, 40_000), pixels=RAMP.astype("u1")),
        "40000 × 40000"),
    "jpeg2000_lies.dcm": Case(encapsulated(JPEG2000Lossless, jpeg2000(40_000, 40_000)), "40000 × 40000"),
    "jpeg_ls_lies.dcm": Case(encapsulated(JPEGLSLossless, jpeg_ls(40_000, 40_000)), "40000 × 40000"),
    "png_claims.png": Case(raw(png(30_000, 30_000)), "pixels"),
    "bomb.nii.gz": Case(nifti_bomb, "memory"),
    # Counts that lie
    "zero_rows.dcm": Case(classic(Rows=0), "0 × 16"),
    "no_columns.dcm": Case(classic(Columns=None), "16 × 0"),
    "frames_too_many.dcm": Case(classic(FRAMES, NumberOfFrames=9), "cut short"),
    "frames_too_few.dcm": Case(classic(FRAMES, NumberOfFrames=1), "pixels of 3 slices"),
    "frames_negative.dcm": Case(classic(FRAMES, NumberOfFrames=-3), "NumberOfFrames is no count"),
    "frames_text.dcm": Case(with_element("NumberOfFrames", "IS", b"many", pixels=FRAMES, NumberOfFrames=3),
        "NumberOfFrames is no count"),
    "frames_rle_too_many.dcm": Case(classic(FRAMES, RLELossless, NumberOfFrames=3, then={"NumberOfFrames": 9}),
        "of 9 compressed slices 3"),
    "frames_rle_too_few.dcm": Case(classic(FRAMES, RLELossless, NumberOfFrames=3, then={"NumberOfFrames": 1}),
        "pixels of 3 slices"),
    "no_pixels.dcm": Case(classic(PixelData=None), "without pixels"),
    # Orientation
    "orientation_zeros.dcm": Case(classic(ImageOrientationPatient=[0] * 6), values={"plane_rule": "text_plane"}),
    "orientation_nan.dcm": Case(with_element("ImageOrientationPatient", "DS", b"1\\0\\0\\0\\nan\\0"),
        values={"plane_rule": "text_plane", "orientation": None}),
    "orientation_five.dcm": Case(classic(ImageOrientationPatient=[1, 0, 0, 0, 1]), values={"plane_rule": "text_plane"}),
    "orientation_long.dcm": Case(classic(ImageOrientationPatient=[2, 0, 0, 0, 2, 0], ImagePositionPatient=[0, 0, 7]),
        values={"plane_rule": "text_plane", "orientation": None, "position_mm": None}),
    "orientation_parallel.dcm": Case(classic(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]),
        values={"plane_rule": "text_plane", "orientation": None, "position_mm": None}),
    # Objects that are set aside
    "raw.dcm": Case(classic(SOPClassUID="1.2.840.10008.5.1.4.1.1.66", PixelData=None), "Raw Data Storage"),
    "report.dcm": Case(classic(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22", PixelData=None), "Enhanced SR Storage"),
    "state.dcm": Case(classic(SOPClassUID="1.2.840.10008.5.1.4.1.1.11.1", PixelData=None), "Presentation State"),
    "spectrum.dcm": Case(classic(SOPClassUID="1.2.840.10008.5.1.4.1.1.4.2", PixelData=None), "Spectroscopy"),
    # NIfTI
    "nan_affine.nii": Case(nifti(np.diag([np.nan, 1, 1, 1])), "affine"),
    "flat_affine.nii": Case(nifti(np.diag([1.0, 1, 0, 1])), "affine"),
    "header_only.nii": Case(nifti(change=lambda data: data[:352]), "cut short"),
    "short.nii.gz": Case(nifti(change=cut(0.5)), "NIfTI volume that can be read"),
    "huge.nii": Case(nifti(shape=(2000, 2000, 2000)), "voxels"),
    # Names
    "new\nline.dcm": Case(classic(), values={"sequence": "T1"}),
    "🧠 häd.dcm": Case(classic(), values={"sequence": "T1"}),
    "n" * 251 + ".dcm": Case(classic(), values={"sequence": "T1"}),
    os.fsdecode(b"caf\xe9.dcm"): Case(classic(), "name"),
    # Whole files of unusual kinds
    "monochrome1.dcm": Case(classic(PhotometricInterpretation="MONOCHROME1"), values={"sequence": "T1"}),
    "signed.dcm": Case(classic(RAMP.astype("<i2") - 100, RescaleSlope=2, RescaleIntercept=-5), values={"Rows": 16}),
    "float.dcm": Case(floating, values={"sequence": "T1"}),
    "derived.dcm": Case(classic(ImageType=["DERIVED", "SECONDARY"]), values={"sequence": "T1"}),
    "screen.dcm": Case(classic(SOPClassUID=SecondaryCaptureImageStorage, ImageType=["DERIVED", "SECONDARY"], **COLOUR),
        values={"sequence": "OTHER"}),
    "rle.dcm": Case(classic(RAMP, RLELossless), values={"sequence": "T1"}),
    "deflated.dcm": Case(classic(RAMP, DeflatedExplicitVRLittleEndian), values={"sequence": "T1"}),
    "jpeg_ls.dcm": Case(shipped("MR_small_jpeg_ls_lossless.dcm"), values={"sequence": None}),
    "jpeg2000.dcm": Case(shipped("MR_small_jp2klossless.dcm"), values={"sequence": None}),
    "jpeg_lossless.dcm": Case(shipped("SC_rgb_jpeg_gdcm.dcm"), values={"Rows": 100}),
    "jpeg.dcm": Case(encapsulated(JPEGBaseline8Bit, jpeg(16, 16), pixels=RAMP.astype("u1")), values={"sequence": "T1"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, make_dataset):
    """Scan all cases at once, as somebody's folder; with it the folder."""
    home = tmp_path_factory.mktemp("hostile")
    folder = home / "data"
    folder.mkdir()
    for name, case in CASES.items():
        case.write(folder / name, make_dataset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLICESCOPE_WORKSPACE", str(home / "workspace"))
        get_settings.cache_clear()
        yield cohort.scan(folder, "hostile")
    get_settings.cache_clear()


@pytest.fixture(scope="module")
def sandbox():
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


def is_one_sentence(text):
    return text.endswith((".", "?")) and "\n" not in text and "/" not in text and 10 < len(text) < 200


@pytest.mark.parametrize("name", CASES, ids=ascii)
def test_each_file_is_a_right_row_or_refused_by_name(hostile, sandbox, name):
    case, path = CASES[name], os.fsencode(name).decode("utf-8", "backslashreplace")
    rows = hostile.table[hostile.table["path"] == path]
    reasons = hostile.rejected.loc[hostile.rejected["path"] == path, "reason"].tolist()
    if case.reason:
        assert rows.empty and len(reasons) == 1
        assert case.reason in reasons[0] and is_one_sentence(reasons[0])
        return
    assert not reasons and len(rows) == case.rows
    row = rows.iloc[0]
    for column, value in case.values.items():
        assert pd.isna(row[column]) if value is None else row[column] == value, f"{column} is {row[column]!r}"
    pixels = sandbox.pixels(hostile.root / row["path"], int(row["frame"]))
    assert pixels.shape == (row["Rows"], row["Columns"]) and np.isfinite(pixels).all()


def test_nothing_of_the_hostile_folder_is_lost_and_all_of_it_can_be_written(hostile):
    assert hostile.n_files == len(CASES)
    written = cohort.write(hostile)
    assert (len(written.table), len(written.rejected)) == (len(hostile.table), len(hostile.rejected))
    assert len(cohort.scan(hostile.root, "hostile", previous=written).table) == len(hostile.table)


def test_monochrome1_signed_and_float_pixels_show_what_was_stored(hostile, sandbox):
    np.testing.assert_array_equal(sandbox.pixels(hostile.root / "monochrome1.dcm"), 255.0 - RAMP)
    np.testing.assert_array_equal(sandbox.pixels(hostile.root / "signed.dcm"), (RAMP - 100.0) * 2 - 5)
    np.testing.assert_array_equal(sandbox.pixels(hostile.root / "float.dcm"), np.float32(RAMP / 256 - 0.5))


# Folders, links, permissions and time ----------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, workspace, make_slice):
    """A folder with one good slice."""
    make_slice(tmp_path / "data" / "good.dcm")
    return tmp_path / "data"


def reasons_of(made):
    return dict(zip(made.rejected["path"], made.rejected["reason"], strict=True))


def test_a_copied_instance_keeps_its_row_and_says_so(folder, make_slice):
    for name in ("one.dcm", "two.dcm"):
        make_slice(folder / name, SOPInstanceUID="1.2.3.4")
    table = cohort.scan(folder, "c").table.set_index("path")
    assert table.loc["two.dcm", "conflict"] == "same SOPInstanceUID as another file"
    assert table["SOPInstanceUID"].nunique() == len(table) == 3


def test_links_in_circles_and_links_to_nothing_are_refused_by_name(folder):
    (folder / "a.dcm").symlink_to(folder / "b.dcm")
    (folder / "b.dcm").symlink_to(folder / "a.dcm")
    (folder / "gone.dcm").symlink_to(folder / "nowhere")
    (folder / "circle").symlink_to(folder, target_is_directory=True)
    made = cohort.scan(folder, "c")
    assert made.table["path"].tolist() == ["good.dcm"]
    assert reasons_of(made) == {
        "a.dcm": "It is a link and cannot be opened (Too many levels of symbolic links).",
        "b.dcm": "It is a link and cannot be opened (Too many levels of symbolic links).",
        "gone.dcm": "It is a link and cannot be opened (No such file or directory).",
    }


def test_a_link_follows_its_file_when_that_changes(folder, make_slice):
    (folder / "link.dcm").symlink_to(folder / "good.dcm")
    first = cohort.scan(folder, "c")
    make_slice(folder / "good.dcm", SeriesDescription="AX T2", RepetitionTime=4000, EchoTime=90, ImageComments="new")
    table = cohort.scan(folder, "c", previous=first).table.set_index("path")
    assert table["sequence"].to_dict() == {"good.dcm": "T2", "link.dcm": "T2"}


def without_superuser():
    """Take from this process what lets root read everything (CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH)."""
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; others have neither, and it refuses


def test_what_permissions_keep_shut_is_refused_and_tried_again(folder, make_slice):
    make_slice(folder / "shut.dcm").chmod(0)
    make_slice(folder / "closed" / "in.dcm")
    (folder / "volume.nii").write_bytes(b"x")
    (folder / "volume.nii").chmod(0)
    (folder / "closed").chmod(0)
    script = "import sys; from core import cohort; cohort.write(cohort.scan(sys.argv[1], 'c'))"
    try:
        subprocess.run([sys.executable, "-c", script, str(folder)], preexec_fn=without_superuser, check=True,
                       cwd=PROJECT_DIR)  # fmt: skip
    finally:
        for path in ("closed", "shut.dcm", "volume.nii"):
            (folder / path).chmod(0o700)
    first = cohort.read("c")
    shut = "It cannot be opened (Permission denied)."
    assert reasons_of(first) == {"closed": shut, "shut.dcm": shut, "volume.nii": shut}
    again = cohort.scan(folder, "c", previous=first)
    assert set(again.table["path"]) == {"good.dcm", "shut.dcm", "closed/in.dcm"}
    assert "NIfTI" in reasons_of(again)["volume.nii"]


def test_what_could_not_be_opened_is_tried_again_by_a_resumed_scan_and_by_an_index(folder, make_slice, monkeypatch):
    make_slice(folder / "shut.dcm")
    with monkeypatch.context() as patch:
        patch.setattr(Sandbox, "read_slices", lambda self, paths: [UnopenedFile("It cannot be opened.")] * len(paths))
        assert cohort.scan(folder, "c", resume=True).table.empty
    assert len(cohort.scan(folder, "c", resume=True).table) == 2
    with monkeypatch.context() as patch:
        patch.setattr(Sandbox, "read_slices", lambda self, paths: [UnopenedFile("It cannot be opened.")] * len(paths))
        cohort.write(cohort.scan(folder, "c"))
    assert len(cohort.index(folder, "c").table) == 2


def test_files_that_vanish_or_change_during_the_scan(folder, make_slice, monkeypatch):
    for name in ("vanishes.dcm", "changes.dcm"):
        make_slice(folder / name)
    listed = {**find_files(folder), "vanished.dcm": (0, 0)}
    monkeypatch.setattr(cohort_scan, "find_files", lambda path: listed)
    read_slices = Sandbox.read_slices

    def meddle(self, paths):
        for path in paths:
            if path.name == "vanishes.dcm":
                path.unlink()
            if path.name == "changes.dcm":
                path.write_bytes(path.read_bytes()[:700])
        return read_slices(self, paths)

    monkeypatch.setattr(Sandbox, "read_slices", meddle)
    made = cohort.scan(folder, "c")
    assert made.table["path"].tolist() == ["good.dcm"]
    gone = "It cannot be opened (No such file or directory)."
    assert reasons_of(made)["vanishes.dcm"] == reasons_of(made)["vanished.dcm"] == gone
    assert "cut short" in reasons_of(made)["changes.dcm"]
    monkeypatch.undo()
    os.environ["SLICESCOPE_WORKSPACE"] = str(get_settings().workspace)
    make_slice(folder / "changes.dcm")
    assert set(cohort.scan(folder, "c", previous=made).table["path"]) == {"good.dcm", "changes.dcm"}


def test_a_file_that_changed_after_the_scan_is_refused_when_its_pixels_are_read(folder, make_slice, sandbox):
    row = cohort.scan(folder, "c").table.iloc[0]
    (folder / "good.dcm").write_bytes(b"")
    with pytest.raises(UnreadableFile, match="empty"):
        sandbox.pixels(folder / row["path"], row["frame"])


def test_a_full_disk_leaves_the_last_good_table(folder, make_slice, workspace):
    cohort.write(cohort.scan(folder, "c"))
    for i in range(3):
        make_slice(folder / f"{i}.dcm")
    more = cohort.scan(folder, "c")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))  # a table is larger, whatever stands in it
    try:
        with pytest.raises(CohortError, match=r"cannot be written.*stays as it was"):
            cohort.write(more)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert cohort.read("c").table["path"].tolist() == ["good.dcm"]
    assert not [path for path in workspace.rglob("*") if path.name.endswith(".tmp")]
    assert len(cohort.write(more).table) == 4


# Archives --------------------------------------------------------------------------------------------


@pytest.fixture
def unpack(tmp_path, monkeypatch):
    """Give ``unpack(archive, **limits) -> (kept, refused)``: it unpacks in a child with these limits."""

    def do(archive, **limits):
        for name, value in limits.items():
            monkeypatch.setenv(f"SLICESCOPE_{name.upper()}", str(value))
        get_settings.cache_clear()
        sandbox = Sandbox()
        try:
            refused = dict(sandbox.unpack(archive, tmp_path / "into"))
        finally:
            sandbox.close()
        return {p.relative_to(tmp_path / "into").as_posix() for p in (tmp_path / "into").rglob("*")}, refused

    yield do
    get_settings.cache_clear()


def overlapping(path, copies):
    """Write a zip whose directory names one packed member many times."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("0000", bytes(1 << 20))
        for i in range(1, copies):
            info = zipfile.ZipInfo(f"{i:04d}")
            for name in ("header_offset", "CRC", "compress_size", "file_size", "compress_type"):
                setattr(info, name, getattr(pack.filelist[0], name))
            pack.filelist.append(info)
    return path


def packed(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, data in members:
            pack.writestr(name, data)
    return path


def test_a_zip_whose_members_share_their_bytes_stops_at_the_limit(tmp_path, unpack):
    archive = overlapping(tmp_path / "a.zip", 400)
    assert archive.stat().st_size < 60_000
    kept, refused = unpack(archive, max_upload_mb=3)
    assert len(kept) <= 3 and len(kept) + len(refused) == 400


def test_a_zip_that_grows_a_thousandfold_stops_at_the_limit(tmp_path, unpack):
    archive = packed(tmp_path / "a.zip", [("bomb.dcm", bytes(64 << 20)), ("small.dcm", b"x")])
    kept, refused = unpack(archive, max_upload_mb=4)
    assert "more than 4 MB" in refused["bomb.dcm"] and "bomb.dcm" not in kept


def test_a_zip_of_very_many_files_stops_at_the_limit(tmp_path, unpack):
    kept, refused = unpack(packed(tmp_path / "a.zip", [(f"{i}", b"") for i in range(3000)]), max_upload_files=50)
    assert len(kept) == 50 and "what follows" in refused["50"]


def test_names_that_lead_out_or_are_no_text_cost_only_their_own_member(tmp_path, unpack):
    members = [("/etc/evil", b"x"), ("../evil", b"x"), ("a/../../evil", b"x"), ("good.dcm", b"x")]
    kept, refused = unpack(packed(tmp_path / "a.zip", members))
    assert kept == {"good.dcm"} and all("leads out" in text for text in refused.values()) and len(refused) == 3
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as pack:
        for name in (os.fsdecode(b"caf\xe9.dcm"), "fine.dcm"):
            pack.addfile(tarfile.TarInfo(name), io.BytesIO())
    kept, refused = unpack(archive)
    assert {"caf\ufffd.dcm", "fine.dcm"} <= kept and not refused
    assert not list(tmp_path.rglob("evil"))


# Stacks ----------------------------------------------------------------------------------------------


def test_echoes_of_one_series_become_stacks(folder, make_slice):
    for i in range(6):
        for echo, te in enumerate((20, 98)):
            make_slice(folder / f"{i}{echo}.dcm", SeriesInstanceUID="1.9", EchoTime=te, RepetitionTime=3000,
                       ImagePositionPatient=[0, 0, 5 * i], InstanceNumber=2 * i + echo + 1)  # fmt: skip
    table = cohort.scan(folder, "c").table.query("SeriesInstanceUID == '1.9'")
    assert table.groupby("stack")["EchoTime"].unique().map(list).to_dict() == {1: [20.0], 2: [98.0]}
    assert not table.duplicated(["stack", "position_mm"]).any()
    assert table.groupby("stack")["stack_note"].first().to_dict() == {1: "EchoTime 20", 2: "EchoTime 98"}
    assert sorted(table["image_number"]) == list(range(1, 13))


def test_b_values_and_directions_become_stacks(folder, make_slice):
    for volume, b in enumerate((0, 1000, 1000)):
        for i in range(3):
            make_slice(folder / f"{volume}{i}.dcm", SeriesInstanceUID="1.9", DiffusionBValue=float(b),
                       ImagePositionPatient=[0, 0, 5 * i], InstanceNumber=3 * volume + i + 1)  # fmt: skip
    table = cohort.scan(folder, "c").table.set_index("path").drop("good.dcm")
    assert table["stack"].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert table.loc["20.dcm", "stack_note"] == "DiffusionBValue 1000, repetition 2"


def test_interleaves_are_ordered_by_place_and_gaps_are_told(folder, make_slice):
    # Acquired as scanners do: every second slice, then those between; one of them never arrived.
    places = [0, 2, 4, 6, 8, 1, 3, 7]
    for number, place in enumerate(places, 1):
        make_slice(folder / f"{number}.dcm", SeriesInstanceUID="1.9", InstanceNumber=number,
                   ImageOrientationPatient=[1, 0, 0, 0, 0.8, 0.6],
                   ImagePositionPatient=[0, -3 * place, 4 * place])  # fmt: skip
    table = cohort.scan(folder, "c").table.query("SeriesInstanceUID == '1.9'").sort_values("image_number")
    # The position is the projection on the oblique slice's normal, (0, -0.6, 0.8).
    np.testing.assert_allclose(table["position_mm"], [5 * place for place in sorted(places)], atol=1e-9)
    assert set(table["stack"]) == {1}
    assert set(table["stack_note"]) == {"1 of 9 slices missing"}


def test_a_slice_that_lies_twice_at_one_place_is_a_repetition(folder, make_slice):
    for number, place in enumerate([0, 5, 10, 15, 10], 1):
        make_slice(folder / f"{number}.dcm", SeriesInstanceUID="1.9", InstanceNumber=number,
                   ImagePositionPatient=[0, 0, place])  # fmt: skip
    table = cohort.scan(folder, "c").table.set_index("path")
    assert table.loc["5.dcm", ["stack", "stack_note"]].tolist() == [2, "repetition 2, 1 of 4 positions"]


def test_planes_of_a_localizer_are_stacks_and_slices_without_a_place_are_one(folder, make_slice):
    for number, orientation in enumerate(([1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1])):
        make_slice(folder / f"loc{number}.dcm", SeriesInstanceUID="1.9", ImageOrientationPatient=orientation)
        make_slice(folder / f"none{number}.dcm", SeriesInstanceUID="1.8", ImageOrientationPatient=None)
    table = cohort.scan(folder, "c").table
    assert table.loc[table["SeriesInstanceUID"] == "1.9", "stack"].tolist() == [1, 2, 3]
    assert set(table.loc[table["SeriesInstanceUID"] == "1.8", "stack"]) == {1}


def test_enhanced_frames_are_rows_with_their_own_place_and_stack(folder, make_slice):
    frames = []
    for i in range(4):
        frame = pydicom.Dataset()
        for group, keyword, value in (
            ("PlanePositionSequence", "ImagePositionPatient", [0, 0, 5 * (i % 2)]),
            ("MREchoSequence", "EffectiveEchoTime", 20.0 if i < 2 else 98.0),
        ):
            item = pydicom.Dataset()
            setattr(item, keyword, value)
            setattr(frame, group, Sequence([item]))
        frames.append(frame)
    make_slice(folder / "e.dcm", np.zeros((4, 8, 8), "<u2"), NumberOfFrames=4, SeriesInstanceUID="1.9", EchoTime=None,
               PerFrameFunctionalGroupsSequence=Sequence(frames))  # fmt: skip
    table = cohort.scan(folder, "c").table.query("path == 'e.dcm'")
    assert table[["frame", "position_mm", "EchoTime", "stack"]].values.tolist() == [
        [0, 0, 20, 1], [1, 5, 20, 1], [2, 0, 98, 2], [3, 5, 98, 2],
    ]  # fmt: skip


def test_tiles_of_a_mosaic_and_of_a_uih_grid_are_rows_with_their_own_place(folder, make_dataset):
    sheet = np.kron(np.arange(4).reshape(2, 2), np.ones((4, 6))).astype("<u2")
    mosaic = make_dataset(sheet, Manufacturer="SIEMENS", ImageType=["ORIGINAL", "PRIMARY", "MOSAIC"],
                          PixelSpacing=[2, 3], SpacingBetweenSlices=4.5, ImagePositionPatient=[0, 0, 0])  # fmt: skip
    mosaic.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 4)
    mosaic.save_as(folder / "mosaic.dcm", enforce_file_format=True)
    grid = make_dataset(sheet, Manufacturer="UIH")
    block = grid.private_block(0x0065, "Image Private Header", create=True)
    block.add_new(0x50, "DS", "3")
    items = [pydicom.Dataset() for _ in range(3)]
    for i, item in enumerate(items):
        item.ImagePositionPatient = [0, 0, 7 * i]
    block.add_new(0x51, "SQ", Sequence(items))
    grid.save_as(folder / "grid.dcm", enforce_file_format=True)
    table = cohort.scan(folder, "c").table
    by_path = table.groupby("path")["position_mm"].apply(list)
    assert by_path["mosaic.dcm"] == [0, 4.5, 9, 13.5]
    assert by_path["grid.dcm"] == [0, 7, 14]
    assert set(table.loc[table["path"] == "grid.dcm", "Rows"]) == {4}


# Fuzz -------------------------------------------------------------------------------------------------

FEW = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # shrinking takes minutes; the seed is fixed, so that a failure comes again
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
#: What labels and geometry read, and the words that rules look for, so that fuzzing comes near them.
READ = (
    "RepetitionTime", "EchoTime", "InversionTime",
    "FlipAngle", "EchoTrainLength", "MagneticFieldStrength", "DiffusionBValue", "SiemensBValue", "GEBValue",
    "ScanningSequence", "SequenceVariant", "ScanOptions", "SequenceName", "ImageType", "SeriesDescription",
    "ProtocolName", "ContrastBolusAgent", "MRAcquisitionType", "PhotometricInterpretation", "SOPClassUID", "Rows",
    "InstanceNumber", "SeriesNumber", "PatientID", "PatientName", "StudyInstanceUID", "SOPInstanceUID", "FileName",
    "Manufacturer", "AcquisitionContrast", "SliceThickness",
)  # fmt: skip
WORDS = ("SE", "GR", "IR", "EP", "3D", "FLAIR", "t1", "POST GD", "ax", "RGB", "DERIVED", "MOSAIC", "ep_b1000", "\\", "")
NUMBERS = st.one_of(
    st.integers(-(10**30), 10**30), st.floats(), st.sampled_from([0.0, 12.0, 90.0, 500.0, 2200.0, 1e308])
)
#: JSON carries headers to the scan, so these are all the kinds of values that there can be.
VALUES = st.one_of(
    st.text(max_size=20), st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join), NUMBERS,
    st.lists(NUMBERS, max_size=7), st.none(), st.lists(NUMBERS, max_size=4).map(lambda v: "\\".join(map(str, v))),
)  # fmt: skip


NUMBER = st.floats(allow_nan=False, allow_infinity=False)
#: The reader lets through only geometry of the right count, see `core.dicom`.
GEOMETRY = {
    keyword: st.one_of(st.lists(NUMBER, min_size=n, max_size=n), st.sampled_from(usual))
    for keyword, n, usual in (
        ("ImageOrientationPatient", 6, ([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [0.0] * 6, [1, 0, 0, 1, 0, 0])),
        ("ImagePositionPatient", 3, ([0, 0, 5], [1e308] * 3)),
        ("PixelSpacing", 2, ([1, 1], [1e-300, 1])),
    )
}
HEADERS = st.builds(
    lambda words, geometry: {**words, **geometry, "kind": "dicom"},
    st.dictionaries(st.sampled_from(READ), VALUES, max_size=12),
    st.fixed_dictionaries({}, optional=GEOMETRY),
)


@FEW
@given(header=HEADERS)
def test_whatever_a_header_holds_labels_stay_in_the_vocabulary(header):
    label = label_header(header)
    assert label["plane"] in (None, *PLANES) and label["sequence"] in (None, *SEQUENCES)
    assert (label["plane"] is None) == (label["plane_rule"] == "")
    assert (label["sequence"] is None) == (label["sequence_rule"] == "")
    assert read_physics(header).possible <= set(SEQUENCES)


@settings(FEW, max_examples=8)
@given(headers=st.lists(HEADERS, min_size=5, max_size=15))
def test_whatever_headers_hold_a_scan_makes_a_table_of_them(folder, headers):
    answer = [{**header, "frame": i} for i, header in enumerate(headers)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sandbox, "read_slices", lambda self, paths: [list(map(split_header, answer)) for _ in paths])
        made = cohort.scan(folder, "c")
    assert len(made.table) == len(headers)
    assert made.table["SOPInstanceUID"].notna().all()
    made.table.to_parquet(io.BytesIO())


def test_an_instance_that_is_no_number_gets_a_name_of_its_own(folder, monkeypatch):
    answer = [{"kind": "dicom", "frame": 0, "SOPInstanceUID": float("nan"), "SeriesInstanceUID": float("nan")}]
    monkeypatch.setattr(Sandbox, "read_slices", lambda self, paths: [list(map(split_header, answer)) for _ in paths])
    (row,) = cohort.scan(folder, "c").table.to_dict("records")
    assert row["SOPInstanceUID"].startswith("2.25.") and row["SeriesInstanceUID"].startswith("2.25.")


@settings(FEW, max_examples=3)
@given(
    variants=st.lists(
        st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=12),
        min_size=20,
        max_size=40,
    )
)
def test_whatever_bytes_of_a_file_change_it_is_rows_or_refused(folder, sandbox, make_dataset, variants):
    buffer = io.BytesIO()
    make_dataset(SOPInstanceUID="1.2.3").save_as(buffer, enforce_file_format=True)
    for number, flips in enumerate(variants):
        data = bytearray(buffer.getvalue())
        for at, value in flips:
            data[at % len(data)] = value
        (folder / f"flipped{number}.dcm").write_bytes(data)
    made = cohort.scan(folder, "c")
    assert made.n_files == len(list(folder.iterdir()))
    assert [text for text in made.rejected["reason"] if not is_one_sentence(text)] == []
    for row in made.table.drop_duplicates("path").itertuples():
        assert row.plane in PLANES or pd.isna(row.plane)
        try:
            assert sandbox.pixels(made.root / row.path, row.frame).ndim == 2
        except UnreadableFile as error:
            assert is_one_sentence(str(error))
