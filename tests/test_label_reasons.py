"""Labels explained in words: what the rule and the evidence say, and nothing more."""

import pytest

from core.labelling.label_reasons import plane_words, sequence_words
from core.labels import label_header

T1_POST = {"kind": "dicom", "SeriesDescription": "AX T1 POST GD", "ScanningSequence": "SE", "RepetitionTime": 500.0,
           "EchoTime": 12.0, "ImageOrientationPatient": [1, 0, 0, 0, 0.9986, 0.0523]}  # fmt: skip


def said(**changes) -> tuple[str, str]:
    """Plane and sequence in words, of a header's labels."""
    made = label_header({**T1_POST, **changes})
    return (
        plane_words(made["plane"], made["plane_rule"], made["tilt_deg"]),
        sequence_words(made["sequence"], made["sequence_rule"], made["sequence_evidence"]),
    )


def test_contrast_agent_is_told_by_words_and_the_rest_by_timings():
    plane, sequence = said()
    assert plane == "Axial, because the slice normal lies 3° from the head–foot axis."
    assert sequence == (
        "T1CE: the words “ax t1 post gd” prove contrast agent; timings and codes say T1 "
        "(spin echo T1: TR 500 ms, TE 12 ms)."
    )


def test_unknown_contrast_is_said_to_be_unknown():
    sequence = said(SeriesDescription="AX T1", ContrastBolusAgent="GADO")[1]
    assert "whether contrast agent was given is not known (ContrastBolusAgent GADO proves none)" in sequence
    assert said(SeriesDescription="AX T1 PRE")[1].endswith("the words say that no agent was given.")


def test_one_witness_alone_is_named_alone():
    assert said(SeriesDescription="")[1].startswith("T1: timings and codes say T1 (spin echo T1: TR 500 ms")
    silent = {"ScanningSequence": None, "RepetitionTime": None, "EchoTime": None}
    assert said(SeriesDescription="AX FLAIR", **silent)[1] == (
        "FLAIR: the words “ax flair” say so; timings and codes leave it open."
    )


def test_words_that_contradict_timings_are_said_not_to_decide():
    sequence = said(SeriesDescription="AX FLAIR")[1]
    assert sequence.startswith("T1: timings and codes say T1") and "“ax flair” do not decide it" in sequence


def test_no_label_says_what_was_read():
    assert said(SeriesDescription="", ScanningSequence="GR", EchoTime=4.0, RepetitionTime=20.0)[1].startswith(
        "No sequence: what the header says leaves it open ("
    )
    assert plane_words(None, "") == "No plane: the header has no usable geometry, and no word names one."


@pytest.mark.parametrize(
    ("orientation", "words"),
    [
        ([1, 0, 0, 0, 0.8, 0.6], "Axial is the nearest plane, but the slice is oblique: its normal lies 37° from"),
        ([0, 1, 0, 0, 0, -1], "Sagittal, because the slice normal lies 0° from the left–right axis."),
        (None, "Axial, because words of the header or the file name say so"),
    ],
)
def test_plane_is_told_by_its_normal_or_by_words(orientation, words):
    assert said(ImageOrientationPatient=orientation)[0].startswith(words)


def test_labels_of_people_and_of_rules_unheard_of_are_told_as_such():
    assert sequence_words("T2", "person", "Ada, 2026-01-02") == "T2, set by hand (Ada, 2026-01-02)."
    assert plane_words("axial", "person", 3.0) == "Axial, set by hand."
    assert plane_words("axial", "label_table") == "Axial, by the rule “label table”."
