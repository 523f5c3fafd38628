"""Bad input, end to end: each file of a hostile folder ends as a right row or as one sentence, and nothing else is lost.

`CASES` names a builder for each file and what must become of it. All of them lie in one folder that is scanned
once, so that each must also leave its neighbours alone.
"""

import ctypes
import errno
import functools
import gzip
import io
import os
import resource
import struct
import subprocess
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
from hypothesis import HealthCheck, given, settings
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
from core.errors import CohortError, UnreadableFile
from core.label_physics import read_physics
from core.labels import label_header
from core.sandbox import Sandbox
from core.settings import get_settings
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
        What the first row must hold.
    pixels : str
        Part of the sentence that refuses its pixels, or "" when they must decode.
    """

    write: Callable
    reason: str = ""
    rows: int = 1
    values: dict = field(default_factory=dict)
    pixels: str = ""


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
    "jpeg_ls.dcm": Case(shipped("MR_small_jpeg_ls_lossless.dcm"), values={"sequence": "T2"}),
    "jpeg2000.dcm": Case(shipped("MR_small_jp2klossless.dcm"), values={"sequence": "T2"}),
    "jpeg_lossless.dcm": Case(shipped("SC_rgb_jpeg_gdcm.dcm"), values={"Rows": 100}),
    "jpeg.dcm": Case(encapsulated(JPEGBaseline8Bit, jpeg(16, 16), pixels=RAMP.astype("u1")), values={"sequence": "T1"}),
}  # fmt: skip
