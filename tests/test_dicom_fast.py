"""The fast reader gives what the careful one gives, or nothing at all."""

import ast
import inspect
import json
import struct

import numpy as np
import pytest
from pydicom import Dataset, Sequence
from pydicom.datadict import tag_for_keyword
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from core import dicom, labels
from core.cohorts import cohort_scan, pseudonyms
from core.cohorts.listing import find_files
from core.errors import UnreadableFile
from core.labelling import (  # fmt: skip
    label_codes,
    label_physics,
    label_scan,
    label_text,
    label_timings,
    label_witness,
    label_words,
)
from core.reading.dicom_fast import KEYWORDS, read_slices, split_header


def careful(path):
    """Give the careful reader's answer in the fast one's words; None for a file that it refuses."""
    try:
        return [split_header(header) for header in dicom.read_headers(path)]
    except UnreadableFile:
        return None


def assert_same(path):
    fast = read_slices(path)
    assert fast is not None
    assert fast == careful(path)
    return [{**json.loads(shared), **own} for shared, own in fast]


MODULES = [
    cohort_scan, label_codes, label_physics, label_scan, label_text, label_timings, label_witness, label_words, labels,
    pseudonyms,
]  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_rows_and_labels_ask_for_nothing_that_the_fast_reader_leaves_out(module):
    words = {node.value for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Constant)}
    asked = {word for word in words if isinstance(word, str) and word and tag_for_keyword(word)}
    asked -= {"Plane"}  # a heading
    assert asked <= KEYWORDS, "add them to core.reading.dicom_fast.KEYWORDS"


def with_private(dataset, creator="SIEMENS MR HEADER", group=0x0019, element=0x0C, vr="IS", value="800"):
    dataset.private_block(group, creator, create=True).add_new(element, vr, value)
    return dataset


def item(**keywords) -> Dataset:
    dataset = Dataset()
    for keyword, value in keywords.items():
        setattr(dataset, keyword, value)
    return dataset


def enhanced(make_dataset, frames=3, undefined=False):
    """Make a multi-frame slice with groups of all depths, a private one among them."""
    dataset = make_dataset(
        np.arange(frames * 256, dtype="<u2").reshape(frames, 16, 16),
        NumberOfFrames=frames,
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        EchoTime=None,
    )
    dataset.SharedFunctionalGroupsSequence = [
        item(
            MRTimingAndRelatedParametersSequence=[item(RepetitionTime=900.0, FlipAngle=70.0)],
            PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        item(
            FrameContentSequence=[item(FrameAcquisitionNumber=i, DimensionIndexValues=[1, i + 1])],
            PlanePositionSequence=[item(ImagePositionPatient=[0.5, -1.25, 3.0 * i])],
            MREchoSequence=[item(EffectiveEchoTime=11.5 + i % 2)],
            MRDiffusionSequence=[
                item(
                    DiffusionBValue=1000.0,
                    DiffusionDirectionality="DIRECTIONAL",
                    DiffusionGradientDirectionSequence=[item(DiffusionGradientOrientation=[0.0, 0.0, 1.0])],
                )
            ],
        )
        for i in range(frames)
    ]
    for group in dataset.PerFrameFunctionalGroupsSequence:
        philips = with_private(item(PatientName="Someone^Else"), "PHILIPS IMAGING DD 001", 0x2001, 0x03, "FL", 1000.0)
        block = group.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
        block.add_new(0x0F, "SQ", Sequence([philips]))
    if undefined:
        _undefine(dataset)
    return dataset


def _undefine(dataset):
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for level in element.value:
                level.is_undefined_length_sequence_item = True
                _undefine(level)


@pytest.fixture
def save(tmp_path):
    def save(dataset, syntax=None, name="x.dcm"):
        if syntax:
            dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(tmp_path / name, enforce_file_format=True)
        return tmp_path / name

    return save


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^Jürgen", "SeriesDescription": "Schädel T1"},
        {"SpecificCharacterSet": "ISO_IR 100", "SeriesDescription": "tête axiale"},
        {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"},
        {"ImagePositionPatient": [-0.0, 1e-7, -123.456789], "InstanceNumber": None},
        {"ImageOrientationPatient": None, "ImagePositionPatient": None, "PixelSpacing": None},
        {"EchoTime": [12, 80], "ImageType": ["DERIVED", "PRIMARY", "ADC"], "ScanOptions": ["IR", "FS"]},
        {"NumberOfFrames": 1, "RepetitionTime": "", "MagneticFieldStrength": 15000},
        {"ReferencedImageSequence": [item(ReferencedSOPInstanceUID="1.2.3", ReferencedFrameNumber=[1, 2])]},
    ],
)
def test_classic_files_read_the_same_in_every_plain_encoding(make_dataset, save, keywords):
    for syntax in (None, ImplicitVRLittleEndian):
        assert_same(save(make_dataset(**keywords), syntax))
    undefined = make_dataset(**keywords)
    _undefine(undefined)
    assert_same(save(undefined))
    undefined.compress(RLELossless, generate_instance_uid=False)
    assert_same(save(undefined))


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
def test_private_attributes_are_found_by_their_creator_in_any_block(make_dataset, save, syntax):
    dataset = make_dataset(Manufacturer="SIEMENS")
    dataset.private_block(0x0019, "SOMEBODY ELSE", create=True).add_new(0x0C, "IS", "5")
    with_private(dataset)
    (header,) = assert_same(save(dataset, syntax))
    assert header["SiemensBValue"] in (800, "800")


@pytest.mark.parametrize("undefined", [False, True])
def test_enhanced_files_read_the_same_whatever_the_lengths(make_dataset, save, undefined):
    headers = assert_same(save(enhanced(make_dataset, 5, undefined)))
    assert [header["ImagePositionPatient"][2] for header in headers] == [0, 3, 6, 9, 12]
    assert [header["EchoTime"] for header in headers] == [11.5, 12.5, 11.5, 12.5, 11.5]
    assert {header["RepetitionTime"] for header in headers} == {900.0}
    assert {header["PhilipsBValue"] for header in headers} == {1000.0}
    assert {header["PatientName"] for header in headers} == {"Lovelace^Adalina"}


@pytest.mark.parametrize("normal", [None, (0, 0, 1), (0, 0, -1)])
def test_mosaics_read_the_same(make_dataset, save, normal):
    dataset = make_dataset(np.zeros((32, 32), np.uint16), ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    if normal is None:
        with_private(dataset, element=0x0A, vr="US", value=3)
    else:
        values = {b"NumberOfImagesInMosaic": [3], b"Other": [1.5], b"SliceNormalVector": normal}
        block = b"SV10" + b"".join(map(csa_attribute, values, values.values()))
        dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", block)
    headers = assert_same(save(dataset))
    assert [header["ImagePositionPatient"][2] for header in headers] == (
        [0, -5, -10] if normal == (0, 0, -1) else [0, 5, 10]
    )
    assert read_slices(save(make_dataset(ImageType=["ORIGINAL", "MOSAIC"]))) is None  # it does not say how many


def csa_attribute(name: bytes, numbers) -> bytes:
    """Encode one attribute of a Siemens CSA header, with the empty items that these have."""
    texts = [f"{number:.8f}".encode() + b"\0" for number in numbers] + [b""]
    items = (struct.pack("<I12x", len(text)) + text.ljust(-(-len(text) // 4) * 4, b"\0") for text in texts)
    return struct.pack("<64sI4sIII", name, 1, b"FD", 6, len(texts), 77) + b"".join(items)


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
@pytest.mark.parametrize("other", [None, "SIEMENS MEDCOM HEADER"])
def test_what_siemens_own_headers_tell_reads_the_same_in_any_block(make_dataset, save, syntax, other):
    dataset = make_dataset(Manufacturer="SIEMENS", ScanningSequence="EP", SequenceName=None)
    if other:  # its attributes have the same places in another block
        dataset.private_block(0x0029, other, create=True).add_new(0x10, "LO", "something else")
        dataset.private_block(0x0029, other).add_new(0x20, "OB", b"more of it")
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", b"SV10" + csa_attribute(b"B_value", [750]) + csa_attribute(b"Other", [1]))
    block.add_new(0x20, "OB", b'.. tSequenceFileName = ""%SiemensSeq%\\ep2d_diff"" ..')
    (header,) = assert_same(save(dataset, syntax))
    assert (header["SiemensBValue"], header["SiemensSequenceFile"]) == (750, "ep2d_diff")
    dataset.private_block(0x0029, "SIEMENS CSA HEADER").add_new(0x10, "OB", b"")
    assert read_slices(save(dataset, syntax)) is None


def test_every_private_attribute_that_labels_need_reads_the_same(make_dataset, save):
    for (group, element), (creator, maker, name) in dicom._PRIVATE.items():
        if name in ("UIHGridCount", "SiemensMosaicCount"):
            continue
        for value in ("3", "T1_tse"):
            dataset = with_private(make_dataset(Manufacturer=maker), creator, group, element, "LO", value)
            (header,) = assert_same(save(dataset))
            assert header[name] == value


@pytest.mark.parametrize(
    "keywords",
    [
        {"NumberOfFrames": -1},
        {"NumberOfFrames": "2.0"},
        {"pixels": 2, "NumberOfFrames": 1},
        {"pixels": 2, "NumberOfFrames": 2, "PhotometricInterpretation": "YBR_FULL_422"},
        {"Rows": 0},
    ],
)
def test_what_the_careful_reader_refuses_or_weighs_is_left_to_it(make_dataset, save, keywords):
    pixels = np.zeros((keywords.pop("pixels", 1), 16, 16), np.uint16)
    assert read_slices(save(make_dataset(pixels.squeeze(), **keywords))) is None


def test_counts_in_another_representation_are_left_to_the_careful_reader(make_dataset, save):
    dataset = make_dataset(np.zeros((16, 16), np.uint16))
    del dataset.Rows
    dataset.add_new("Rows", "SS", 16)
    assert read_slices(save(dataset)) is None


def test_frames_without_groups_have_the_files_header(make_dataset, save):
    pixels = np.zeros((4, 8, 8), np.uint16)
    assert [header["frame"] for header in assert_same(save(make_dataset(pixels, NumberOfFrames=4)))] == [0, 1, 2, 3]


def test_what_is_not_plain_is_left_to_the_careful_reader(make_dataset, save, tmp_path):
    grid = make_dataset(np.zeros((32, 32), np.uint16))
    assert read_slices(save(with_private(grid, "IMAGE PRIVATE HEADER", 0x0065, 0x50, "DS", "4"))) is None
    assert read_slices(save(make_dataset(), DeflatedExplicitVRLittleEndian)) is None
    big = make_dataset()
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    big.save_as(tmp_path / "big.dcm", little_endian=False, implicit_vr=False)
    assert read_slices(tmp_path / "big.dcm") is None
    whole = save(make_dataset()).read_bytes()
    (tmp_path / "bare.dcm").write_bytes(whole[132:])
    assert read_slices(tmp_path / "bare.dcm") is None
    (tmp_path / "empty.dcm").write_bytes(b"")
    assert read_slices(tmp_path / "empty.dcm") is None
    assert read_slices(tmp_path / "gone.dcm") is None
    assert read_slices(save(make_dataset(PixelData=None))) is None


@pytest.mark.parametrize("kind", ["classic", "implicit", "enhanced", "compressed"])
def test_a_damaged_file_is_read_as_the_careful_reader_reads_it_or_not_at_all(make_dataset, save, kind, tmp_path):
    dataset = enhanced(make_dataset, undefined=True) if kind == "enhanced" else with_private(make_dataset())
    if kind == "compressed":
        dataset.compress(RLELossless, generate_instance_uid=False)
    whole = save(dataset, ImplicitVRLittleEndian if kind == "implicit" else None).read_bytes()
    random, path, read = np.random.default_rng(0), tmp_path / "damaged.dcm", 0
    header = min(len(whole), whole.index(dataset.PixelData[:32]) if kind != "compressed" else len(whole))
    for _ in range(120):
        damaged = bytearray(whole)
        for at in random.integers(132, header, random.integers(1, 4)):
            damaged[at] = random.choice([0, 1, 0x20, 0x31, 0x5C, 0x7F, 0xFE, 0xFF, *random.integers(0, 256, 4)])
        path.write_bytes(damaged[: random.integers(132, len(damaged))] if random.random() < 0.15 else damaged)
        fast = read_slices(path)
        assert fast is None or fast == careful(path)
        read += fast is not None
    assert read > 10


@pytest.mark.real
def test_every_real_file_reads_the_same(real_data):
    read = 0
    for relative in find_files(real_data):
        fast = read_slices(real_data / relative)
        assert fast is None or fast == careful(real_data / relative), relative
        read += fast is not None
    assert read > 100
