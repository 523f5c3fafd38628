"""DICOM files of every shape become slices, or one sentence that says why not."""

import csv
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from core import dicom
from core.errors import UnreadableFile

RAMP = np.arange(256, dtype="<u2").reshape(16, 16)


def reason(path):
    with pytest.raises(UnreadableFile) as caught:
        dicom.read_headers(path)
    text = str(caught.value)
    assert str(path.parent) not in text and path.name not in text
    assert text.endswith(".") and "\n" not in text
    return text


def sequence(**keywords):
    item = Dataset()
    for keyword, value in keywords.items():
        setattr(item, keyword, value)
    return Sequence([item])


# Whole slices ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_a_classic_slice_has_plain_values_and_its_pixels(make_slice, syntax):
    path = make_slice(syntax=syntax, PixelSpacing=[0.5, 0.75], ImageType=["ORIGINAL", "PRIMARY", "M"])
    (header,) = dicom.read_headers(path)
    assert (header["kind"], header["frame"], header["EchoTime"], header["Rows"]) == ("dicom", 0, 12.0, 16)
    assert header["ImageType"] == "ORIGINAL\\PRIMARY\\M"
    assert header["PixelSpacing"] == [0.5, 0.75]
    assert "PixelData" not in header
    assert all(type(value) in (str, int, float, list) for value in header.values())
    pixels = dicom.read_pixels(path)
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, RAMP)


def test_pixels_longer_than_what_is_put_off_are_read_deflated_too(make_slice):
    big = np.arange(128 * 128, dtype="<u2").reshape(128, 128)
    np.testing.assert_array_equal(dicom.read_pixels(make_slice(pixels=big, syntax=DeflatedExplicitVRLittleEndian)), big)
    np.testing.assert_array_equal(dicom.read_pixels(make_slice(pixels=big)), big)


def test_big_endian(make_slice):
    path = make_slice(syntax=ExplicitVRBigEndian, PixelData=RAMP.byteswap().tobytes())
    np.testing.assert_array_equal(dicom.read_pixels(path), RAMP)


def test_signed_pixels_are_rescaled(make_slice):
    pixels = np.array([[-1000, 0], [5, 100]], "<i2")
    path = make_slice(pixels=pixels, RescaleSlope=2, RescaleIntercept=-10)
    np.testing.assert_array_equal(dicom.read_pixels(path), pixels * 2.0 - 10)


def test_monochrome1_is_inverted(make_slice):
    path = make_slice(PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(dicom.read_pixels(path), 255.0 - RAMP)


def test_colour_becomes_luminance(make_slice):
    colour = np.zeros((4, 6, 3), np.uint8)
    colour[0, 0], colour[1, 1] = (255, 0, 0), (255, 255, 255)
    path = make_slice(
        Rows=4, Columns=6, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="RGB",
        BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=colour.tobytes(),
    )  # fmt: skip
    pixels = dicom.read_pixels(path)
    assert pixels.shape == (4, 6)
    assert pixels[0, 0] == pytest.approx(255 * 0.299, abs=0.01)
    assert pixels[1, 1] == pytest.approx(255, abs=0.01)


def test_a_palette_is_looked_up():
    path = Path(get_testdata_file("examples_palette.dcm", download=False))
    pixels = dicom.read_pixels(path)
    stored = pydicom.dcmread(path).pixel_array
    assert pixels.shape == stored.shape[:2]
    assert not np.array_equal(pixels, stored)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_slices(syntax):
    names = {RLELossless: "MR_small_RLE.dcm", JPEGLSLossless: "MR_small_jpeg_ls_lossless.dcm"}
    plain = dicom.read_pixels(Path(get_testdata_file("MR_small.dcm", download=False)))
    packed = Path(get_testdata_file(names[syntax], download=False))
    assert len(dicom.read_headers(packed)) == 1
    np.testing.assert_array_equal(dicom.read_pixels(packed), plain)


def test_jpeg_and_jpeg2000():
    for name in ("SC_rgb_jpeg_gdcm.dcm", "MR_small_jp2klossless.dcm"):
        path = Path(get_testdata_file(name, download=False))
        (header,) = dicom.read_headers(path)
        assert dicom.read_pixels(path).shape == (header["Rows"], header["Columns"])


# Enhanced files -------------------------------------------------------------------------------------


@pytest.fixture
def enhanced(make_slice):
    """Three frames, each with its own position, echo time, b value and slope."""
    pixels = np.arange(3 * 64, dtype="<u2").reshape(3, 8, 8)
    frames = []
    for i in range(3):
        frame = Dataset()
        frame.PlanePositionSequence = sequence(ImagePositionPatient=[0, 0, 4 * i])
        frame.MREchoSequence = sequence(EffectiveEchoTime=10.0 + i)
        frame.MRDiffusionSequence = sequence(DiffusionBValue=500.0 * i, DiffusionDirectionality="ISOTROPIC")
        frame.MRImageFrameTypeSequence = sequence(
            FrameType=["ORIGINAL", "PRIMARY", "M"], AcquisitionContrast="DIFFUSION", ComplexImageComponent="MAGNITUDE"
        )
        frame.PixelValueTransformationSequence = sequence(RescaleSlope=1 + i, RescaleIntercept=-5)
        frames.append(frame)
    shared = Dataset()
    shared.PlaneOrientationSequence = sequence(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    shared.PixelMeasuresSequence = sequence(PixelSpacing=[2, 3], SliceThickness=4)
    shared.MRTimingAndRelatedParametersSequence = sequence(RepetitionTime=4000.0, FlipAngle=70.0)
    shared.MRModifierSequence = sequence(InversionTimes=[1650.0])
    shared.MREchoSequence = sequence(EchoPulseSequence="SPIN", EchoPlanarPulseSequence="YES")
    return make_slice(
        pixels=pixels, NumberOfFrames=3, SOPInstanceUID="1.2.3.4",
        ImageOrientationPatient=None, ImagePositionPatient=None, PixelSpacing=None, EchoTime=None,
        RepetitionTime=None, FlipAngle=None, SliceThickness=None,
        PerFrameFunctionalGroupsSequence=Sequence(frames), SharedFunctionalGroupsSequence=Sequence([shared]),
    ), pixels  # fmt: skip


def test_enhanced_frames_have_their_own_header(enhanced):
    headers = dicom.read_headers(enhanced[0])
    assert [h["frame"] for h in headers] == [0, 1, 2]
    assert [h["EchoTime"] for h in headers] == [10, 11, 12]
    assert [h["DiffusionBValue"] for h in headers] == [0, 500, 1000]
    assert [h["ImagePositionPatient"][2] for h in headers] == [0, 4, 8]
    last = headers[2]
    assert last["ImageOrientationPatient"] == [1, 0, 0, 0, 0, -1]
    assert (last["RepetitionTime"], last["FlipAngle"], last["InversionTime"]) == (4000, 70, 1650)
    assert (last["PixelSpacing"], last["SliceThickness"]) == ([2, 3], 4)
    assert (last["EchoPulseSequence"], last["EchoPlanarPulseSequence"]) == ("SPIN", "YES")
    assert last["AcquisitionContrast"] == "DIFFUSION"
    assert (last["FrameType"], last["ComplexImageComponent"]) == ("ORIGINAL\\PRIMARY\\M", "MAGNITUDE")
    assert last["SOPInstanceUID"] == "1.2.3.4"


def test_enhanced_frames_have_their_own_slope(enhanced):
    path, pixels = enhanced
    for frame in (2, 0, 1):
        np.testing.assert_array_equal(dicom.read_pixels(path, frame), pixels[frame] * (1.0 + frame) - 5)
    with pytest.raises(UnreadableFile, match="3 slices; slice 3"):
        dicom.read_pixels(path, 3)


def test_private_copies_of_a_header_do_not_replace_the_frame(enhanced):
    """Philips repeats a classic header in each frame, with identifiers of its own."""
    path, _ = enhanced
    dataset = pydicom.dcmread(path)
    block = dataset.PerFrameFunctionalGroupsSequence[0].private_block(0x2005, "Philips MR Imaging DD 005", create=True)
    copy = Dataset()
    copy.SOPInstanceUID, copy.EchoTime = "9.9.9", 77
    copy.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x20, "LO", "DwiSE")
    block.add_new(0x0F, "SQ", Sequence([copy]))
    dataset.save_as(path)
    first = dicom.read_headers(path)[0]
    assert (first["SOPInstanceUID"], first["EchoTime"], first["PhilipsPulseSequence"]) == ("1.2.3.4", 10.0, "DwiSE")


# Private witnesses and mosaics ----------------------------------------------------------------------


def private(dataset, group, creator, element, vr, value):
    dataset.private_block(group, creator, create=True).add_new(element, vr, value)


def test_private_witnesses_are_read_by_their_creator(make_dataset, tmp_path):
    dataset = make_dataset()
    # Another vendor's block comes first, so that Siemens' lies in the second.
    private(dataset, 0x0019, "SOMEBODY ELSE", 0x0C, "IS", "7")
    private(dataset, 0x0019, "SIEMENS MR HEADER", 0x0C, "IS", "1000")
    private(dataset, 0x0043, "GEMS_PARM_01", 0x39, "IS", ["1000000800", "8", "0", "0"])
    path = tmp_path / "a.dcm"
    dataset.save_as(path, enforce_file_format=True)
    (header,) = dicom.read_headers(path)
    assert header["SiemensBValue"] == 1000
    assert header["GEBValue"] == "1000000800\\8\\0\\0"


def test_the_same_numbers_of_another_vendor_are_no_witness(make_dataset, tmp_path):
    dataset = make_dataset()
    private(dataset, 0x0019, "GEMS_ACQU_01", 0x0C, "IS", "1000")
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert "SiemensBValue" not in dicom.read_headers(tmp_path / "a.dcm")[0]


def csa(**attributes):
    """Make a Siemens CSA header ("SV10") with these attributes, each a list of numbers."""
    block = b"SV10\4\3\2\1" + struct.pack("<II", len(attributes), 77)
    for name, values in attributes.items():
        block += name.encode().ljust(64, b"\0") + struct.pack("<I4sIII", len(values), b"FD\0\0", 3, 6, 77)
        for i in range(6):
            text = f"{values[i]}".encode().ljust(16, b"\0") if i < len(values) else b""
            block += struct.pack("<IIII", len(text), 0, 77, 0) + text
    return block


def test_siemens_own_header_fills_in_what_was_dropped(make_dataset, tmp_path):
    dataset = make_dataset(Manufacturer="SIEMENS", ScanningSequence="EP", SequenceName=None)
    private(dataset, 0x0029, "SIEMENS CSA HEADER", 0x10, "OB", csa(B_value=[1000]))
    protocol = b'ASCCONV\ntSequenceFileName\t = \t""%SiemensSeq%\\ep2d_diff""\nalTR[0] = 5'
    private(dataset, 0x0029, "SIEMENS CSA HEADER", 0x20, "OB", protocol)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    header = dicom.read_headers(tmp_path / "a.dcm")[0]
    assert (header["SiemensBValue"], header["SiemensSequenceFile"]) == (1000, "ep2d_diff")
    dataset.SequenceName = "*ep_b1000"
    dataset.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    assert "SiemensSequenceFile" not in dicom.read_headers(tmp_path / "b.dcm")[0]


def test_private_attributes_are_found_in_any_block(make_dataset, tmp_path):
    sheet = np.kron(np.arange(4).reshape(2, 2), np.ones((3, 5))).astype("<u2")
    dataset = make_dataset(sheet, Manufacturer="UIH")
    private(dataset, 0x0065, "SOMEBODY ELSE", 0x50, "DS", "9")
    private(dataset, 0x0065, "Image Private Header", 0x50, "DS", "3")
    private(dataset, 0x2001, "SOMEBODY ELSE", 0x13, "SL", 7)
    private(dataset, 0x2001, "Philips Imaging DD 001", 0x13, "SL", 47)
    assert (0x0065, 0x1150) in dataset
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    headers = dicom.read_headers(tmp_path / "a.dcm")
    assert len(headers) == 3
    assert headers[0]["PhilipsEPIFactor"] == 47


@pytest.fixture
def mosaic(make_dataset, tmp_path):
    """Five 4 x 6 tiles on a 3 x 3 sheet; tile k is filled with k + 1."""

    def make(count=5, **attributes):
        sheet = np.zeros((12, 18), "<u2")
        for tile in range(5):
            row, column = divmod(tile, 3)
            sheet[4 * row : 4 * row + 4, 6 * column : 6 * column + 6] = tile + 1
        dataset = make_dataset(
            sheet, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"], Manufacturer="SIEMENS", PixelSpacing=[2, 3],
            ImagePositionPatient=[100, 200, 300], SpacingBetweenSlices=4.5,
        )  # fmt: skip
        if attributes:
            private(dataset, 0x0029, "SIEMENS CSA HEADER", 0x10, "OB", csa(**attributes))
        else:
            private(dataset, 0x0019, "SIEMENS MR HEADER", 0x0A, "US", count)
        dataset.save_as(tmp_path / "mosaic.dcm", enforce_file_format=True)
        return tmp_path / "mosaic.dcm"

    return make


@pytest.mark.parametrize("attributes", [{}, {"NumberOfImagesInMosaic": [5]}])
def test_a_mosaic_is_cut_into_its_slices(mosaic, attributes):
    path = mosaic(**attributes)
    headers = dicom.read_headers(path)
    assert [h["frame"] for h in headers] == [0, 1, 2, 3, 4]
    assert (headers[0]["Rows"], headers[0]["Columns"]) == (4, 6)
    # The corner moves in by half of what the sheet is larger: 6 columns of 3 mm, 4 rows of 2 mm.
    assert headers[0]["ImagePositionPatient"] == [118, 208, 300]
    assert headers[4]["ImagePositionPatient"] == [118, 208, 300 + 4 * 4.5]
    for tile in range(5):
        np.testing.assert_array_equal(dicom.read_pixels(path, tile), np.full((4, 6), tile + 1.0))
    with pytest.raises(UnreadableFile, match="5 slices"):
        dicom.read_pixels(path, 5)


def test_a_mosaic_may_run_against_its_normal(mosaic):
    headers = dicom.read_headers(mosaic(NumberOfImagesInMosaic=[5], SliceNormalVector=[0, 0, -1]))
    assert headers[1]["ImagePositionPatient"] == [118, 208, 295.5]


def test_mosaics_that_cannot_be_cut(mosaic):
    assert "does not say how many" in reason(mosaic(SliceNormalVector=[0, 0, 1]))
    assert "cannot hold" in reason(mosaic(count=65000))


@pytest.mark.parametrize("positions", [True, False])
def test_a_uih_grid_is_cut_into_its_slices(make_dataset, tmp_path, positions):
    sheet = np.kron(np.arange(4).reshape(2, 2), np.ones((3, 5))).astype("<u2")
    dataset = make_dataset(sheet, Manufacturer="UIH", ImagePositionPatient=[1, 2, 3])
    private(dataset, 0x0065, "Image Private Header", 0x50, "DS", "3")
    if positions:
        items = [sequence(ImagePositionPatient=[7, 8, 10 * tile])[0] for tile in range(3)]
        private(dataset, 0x0065, "Image Private Header", 0x51, "SQ", Sequence(items))
    path = tmp_path / "grid.dcm"
    dataset.save_as(path, enforce_file_format=True)
    headers = dicom.read_headers(path)
    assert [(h["frame"], h["Rows"], h["Columns"]) for h in headers] == [(0, 3, 5), (1, 3, 5), (2, 3, 5)]
    # The position in the file is that of one slice or of the sheet; nothing tells which.
    expected = [[7, 8, 0], [7, 8, 10], [7, 8, 20]] if positions else [None] * 3
    assert [h.get("ImagePositionPatient") for h in headers] == expected
    for tile in range(3):
        np.testing.assert_array_equal(dicom.read_pixels(path, tile), np.full((3, 5), tile))


# What is refused ------------------------------------------------------------------------------------


def test_what_is_no_dicom(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture at all")
    (tmp_path / "nothing").write_bytes(b"")
    (tmp_path / "noise").write_bytes(b"\x08\x00" + bytes(range(256)) * 4)
    assert "not a DICOM" in reason(tmp_path / "notes.txt")
    assert reason(tmp_path / "nothing") == "The file is empty."
    assert reason(tmp_path / "noise")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, RLELossless])
def test_a_file_that_is_cut_short(make_slice, tmp_path, syntax):
    big = np.random.default_rng(0).integers(0, 4000, (64, 64), dtype="<u2")
    path = make_slice(pixels=big, syntax=ImplicitVRLittleEndian)
    if syntax == RLELossless:
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(path)
    whole = path.read_bytes()
    assert len(dicom.read_headers(path)) == 1
    for share in (0.9, 0.5):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert "cut short" in reason(path)
    path.write_bytes(whole[:300])
    assert reason(path)


def test_missing_compressed_frames_are_counted(make_slice):
    pixels = np.zeros((3, 16, 16), "<u2")
    path = make_slice(pixels=pixels, NumberOfFrames=3)
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.NumberOfFrames = 9
    dataset.save_as(path)
    assert "of 9 compressed slices 3 are there" in reason(path)


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.22", "Enhanced SR Storage"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "Grayscale Softcopy Presentation State Storage"),
        ("1.2.840.10008.5.1.4.1.1.66", "Raw Data Storage"),
        ("1.2.840.10008.5.1.4.1.1.4.2", "MR Spectroscopy Storage"),
    ],
)
def test_objects_without_pixels_are_named(make_slice, uid, name):
    assert name in reason(make_slice(SOPClassUID=uid, PixelData=None))


def test_a_transfer_syntax_that_nothing_decodes_is_named(make_dataset, tmp_path):
    dataset = make_dataset()
    dataset.PixelData = pydicom.encaps.encapsulate([bytes(64)])
    dataset["PixelData"].is_undefined_length = True
    for syntax, name in ((MPEG2MPML, "MPEG2"), (pydicom.uid.UID("1.2.3.4.5"), "1.2.3.4.5")):
        dataset.file_meta.TransferSyntaxUID = syntax
        with (tmp_path / "film.dcm").open("wb") as file:
            pydicom.dcmwrite(file, dataset, implicit_vr=False, little_endian=True, force_encoding=True)
        text = reason(tmp_path / "film.dcm")
        assert "decodes" in text and name in text


def test_size_bombs_are_refused_before_they_are_decoded(make_slice):
    assert "65000 × 65000" in reason(make_slice(Rows=65000, Columns=65000))
    assert "2000000000 slices" in reason(make_slice(NumberOfFrames=2_000_000_000))
    assert "0 × 0" in reason(make_slice(Rows=None, Columns=None))


def test_a_deflated_bomb_is_refused_before_it_inflates(make_slice, monkeypatch):
    monkeypatch.setattr(dicom, "_MAX_INFLATED", 1 << 20)
    black = np.zeros((2048, 2048), np.uint16)
    path = make_slice(pixels=black, syntax=DeflatedExplicitVRLittleEndian)
    assert path.stat().st_size < black.nbytes / 500
    monkeypatch.setattr(pydicom, "dcmread", lambda *args, **keywords: pytest.fail("pydicom inflates it in one go"))
    assert "inflates to more than 1 MB" in reason(path)


def test_deep_nesting_ends_in_a_sentence(make_slice):
    path = make_slice()
    # 3,000 sequences of undefined length, each in the one before: the reader recurses.
    level = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    path.write_bytes(path.read_bytes() + level * 3000)
    text = reason(path)
    assert "nested too deeply" in text


def test_damaged_values_do_not_reach_the_header(make_slice):
    path = make_slice(PixelSpacing=[0, 0], ImageOrientationPatient=[0] * 6, ImagePositionPatient=[1, 2])
    (header,) = dicom.read_headers(path)
    assert not {"PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"} & set(header)


# Real files -----------------------------------------------------------------------------------------


@pytest.mark.real
def test_every_real_file_decodes(real_data):
    with (real_data / "labels.csv").open(newline="", encoding="utf-8") as file:
        paths = [real_data / row["path"] for row in csv.DictReader(file) if row["kind"] == "dicom"]
    assert len(paths) > 100
    for path in paths:
        headers = dicom.read_headers(path)
        for i in {0, len(headers) // 2, len(headers) - 1}:
            header = headers[i]
            pixels = dicom.read_pixels(path, header["frame"])
            assert pixels.shape == (header["Rows"], header["Columns"]), path.name
            assert np.isfinite(pixels).all() and np.ptp(pixels) > 0, path.name
            assert len(header["ImageOrientationPatient"]) == 6, path.name
