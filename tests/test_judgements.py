"""Judgements stand in the label log, change no label, are undone like labels, and go with a subset."""

import pytest

from core import cohort
from core.analysis.judgements import append_judgement, looked_at, said_of
from core.cohorts import subsets
from core.errors import CohortError
from core.labelling import label_report

KEYS = [f"1.2.2.{number}:0" for number in range(3)]


@pytest.fixture
def made(workspace, make_slice, tmp_path):
    for number in range(3):
        make_slice(tmp_path / f"in/{number}.dcm", SOPInstanceUID=f"1.2.2.{number}", InstanceNumber=number + 1,
                   ImagePositionPatient=[0, 0, 5 * number])  # fmt: skip
    return cohort.write(cohort.scan(tmp_path / "in", "small"))


def words(made, key=KEYS[0]):
    return [one.words for one in said_of(cohort.read_log(made), key, "1.2.2")]


def test_what_is_said_is_listed_newest_first_and_undone_by_its_line(made):
    line = append_judgement(made, KEYS[0], "sequence", "ambiguous", "Ada", run="r")
    append_judgement(made, KEYS[0], "sequence", "", "Ben", note="  dark \n band ")
    assert words(made) == ["note", "ambiguous"]
    assert said_of(cohort.read_log(made), KEYS[0], "1.2.2")[0].note == "dark band"
    undone = cohort.undo_label(made, line, "Ada")
    assert words(made) == ["note"]
    cohort.undo_label(made, undone, "Ada")
    assert words(made) == ["note", "ambiguous"]
    assert words(made, KEYS[1]) == []


def test_labels_of_the_slice_and_of_its_series_are_listed_too(made):
    cohort.append_label(made, KEYS[0], "plane", "axial", "coronal", "Ada")
    cohort.append_label(made, "1.2.2", "sequence", "T1", None, "Ben")
    assert words(made) == ["sequence is not known (whole series)", "plane is coronal"]
    assert words(made, KEYS[1]) == ["sequence is not known (whole series)"]


def test_a_judgement_changes_no_label_and_no_list_of_answers(made):
    before = cohort.read(made.name).table
    append_judgement(made, KEYS[0], "sequence", "label_wrong", "Ada")
    after = cohort.read(made.name)
    assert after.table.equals(before)
    assert label_report.log_table(after.table, cohort.read_log(made)).empty
    assert label_report.label_table(after.table, cohort.read_log(made)).empty


def test_looked_at_is_by_head_and_forgets_what_was_undone(made):
    line = append_judgement(made, KEYS[0], "sequence", "model_wrong", "Ada")
    append_judgement(made, KEYS[1], "plane", "ambiguous", "Ada")
    cohort.append_label(made, KEYS[2], "sequence", "T1", "T2", "Ada")
    log = cohort.read_log(made)
    assert looked_at(log, "sequence") == {KEYS[0], KEYS[2]}
    assert looked_at(log, "plane") == {KEYS[1]}
    assert looked_at(log, "plane-sequence") == {KEYS[2]}
    cohort.undo_label(made, line, "Ada")
    assert looked_at(cohort.read_log(made), "sequence") == {KEYS[2]}


@pytest.mark.parametrize(
    "verdict, by, note",
    [("wrong", "Ada", ""), ("", "Ada", "  "), ("ambiguous", "", ""), ("", "Ada", "x" * 501)],
)
def test_what_says_nothing_is_refused_and_leaves_no_line(made, verdict, by, note):
    with pytest.raises(CohortError):
        append_judgement(made, KEYS[0], "sequence", verdict, by, note=note)
    assert cohort.read_log(made) == []


def test_a_subset_takes_the_judgements_of_its_slices(made):
    append_judgement(made, KEYS[0], "sequence", "ambiguous", "Ada")
    line = append_judgement(made, KEYS[2], "sequence", "ambiguous", "Ada")
    cohort.undo_label(made, line, "Ada")
    whole = cohort.read(made.name)
    part = subsets.save_subset(whole, [KEYS[0], KEYS[2]], "part")
    assert words(part, KEYS[0]) == ["ambiguous"] and words(part, KEYS[2]) == []
    rest = subsets.save_subset(whole, [KEYS[1]], "rest")
    assert cohort.read_log(rest) == []
