"""Header labels on real files: silence is allowed, a wrong label is not, except where a file's own name lies."""

import csv
from pathlib import Path, PurePosixPath

import pytest

from core import sources
from core.labels import label_header
from core.settings import get_settings
from core.vocabulary import PLANES, sequence_from

pytestmark = pytest.mark.real

#: The table says that this file's name contradicts its content, and a NIfTI header has no second witness.
LYING_NAMES = {"fepegar__torchio-data/data/fernando/t2.nii.gz"}


@pytest.fixture(scope="module")
def judged():
    """Label every file by the header of its middle slice: (kind, path, truths, labels) each."""
    folder = get_settings().real_data
    if folder is None or not (folder / "labels.csv").exists():
        pytest.skip("SLICESCOPE_REAL_DATA names no folder with a labels.csv")
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        truths = list(csv.DictReader(file))
    answers = []
    for truth in truths:
        headers = sources.read_headers(Path(folder) / truth["path"])
        header = headers[len(headers) // 2]
        answers.append((truth, label_header({**header, "FileName": PurePosixPath(truth["path"]).name})))
    return answers


def count(judged, kind, column, is_right):
    """Count right, wrong and silent labels of one kind of file, and print them."""
    tally = {"right": 0, "wrong": 0, "silent": 0}
    wrong = []
    for truth, labels in judged:
        if truth["kind"] != kind:
            continue
        verdict = "silent" if labels[column] is None else "right" if is_right(truth, labels[column]) else "wrong"
        tally[verdict] += 1
        if verdict == "wrong":
            wrong.append(truth["path"])
    print(f"{kind} {column}: {tally}")
    return tally, wrong


def plane_is_right(truth, plane):
    usable = PLANES if truth["plane"] == "volume" else (truth["plane"],)
    return plane in usable


def sequence_is_right(truth, sequence):
    return sequence == sequence_from(truth["sequence"])


def test_dicom_planes_are_all_right(judged):
    tally, wrong = count(judged, "dicom", "plane", plane_is_right)
    assert wrong == []
    assert tally["silent"] == 0


def test_dicom_sequences_are_right_or_silent(judged):
    tally, wrong = count(judged, "dicom", "sequence", sequence_is_right)
    assert wrong == []
    # Gradient-echo EPI whose name says nothing may be a functional or a perfusion run.
    assert tally["silent"] <= 0.05 * sum(tally.values())


@pytest.mark.parametrize("kind", ["nifti", "jpg"])
def test_other_files_are_right_or_silent_where_their_names_are_true(judged, kind):
    for column, is_right in (("plane", plane_is_right), ("sequence", sequence_is_right)):
        _, wrong = count(judged, kind, column, is_right)
        assert set(wrong) <= LYING_NAMES
