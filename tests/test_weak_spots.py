"""Weak spots: one that was planted is found first, and where there is none nothing is found."""

import numpy as np
import pandas as pd
import pytest

from core.analysis import weak_spots
from core.cohorts.slice_table import COLUMNS, Cohort, typed


def slices(seed: int, patients: int = 60, each: int = 40):
    """Facts of slices: vendor and field by patient, plane by series, thirds within it; no mistakes yet."""
    rng = np.random.default_rng(seed)
    n = patients * each
    patient = np.repeat(np.arange(patients), each)
    vendor = rng.choice(["Ash", "Birch", "Cedar"], patients)
    field = np.where((vendor == "Ash") & (rng.random(patients) < 0.8), "3 T", rng.choice(["1.5 T", "3 T"], patients))
    place = np.tile(np.arange(each) % 10, patients)
    facts = pd.DataFrame({
        "vendor": vendor[patient], "field": field[patient],
        "plane": np.array(["axial", "coronal", "sagittal"])[(np.arange(n) // 10) % 3],
        "third": np.array(["first third", "middle third", "last third"])[np.digitize(place, [3, 7])],
        "thickness": rng.choice(["thin", "thick"], n),
    }).astype("category")  # fmt: skip
    return rng, facts, patient, rng.beta(8, 1.5, patients)[patient]


def test_planted_weakness_is_found_first():
    rng, facts, patient, chance = slices(0)
    weak = (facts["vendor"] == "Birch") & (facts["third"] == "last third")
    right = rng.random(len(facts)) < np.where(weak, chance - 0.4, chance)
    table = weak_spots.find(facts, patient, right)
    first = table.iloc[0]
    assert {first["word"], first["word2"]} == {"Birch", "last third"} and first["q"] < 0.01
    assert (first["slices"], first["patients"]) == (weak.sum(), len(np.unique(patient[weak])))
    assert first["accuracy"] == pytest.approx(right[weak].mean()) and first["average"] == pytest.approx(right.mean())
    assert first["low"] < first["accuracy"] < first["high"] < first["average"]
    assert first["excess"] == pytest.approx((right.mean() - right[weak].mean()) * weak.sum())
    np.testing.assert_array_equal(weak_spots.members(facts, weak_spots.spot_of(first)), weak)


@pytest.mark.parametrize("seed", range(5))
def test_planted_vendor_is_found_first_and_not_in_pieces(seed):
    rng, facts, patient, chance = slices(seed)
    right = rng.random(len(facts)) < np.where(facts["vendor"] == "Cedar", chance - 0.3, chance)
    table = weak_spots.find(facts, patient, right)
    assert table.loc[0, ["fact", "word", "fact2"]].tolist() == ["vendor", "Cedar", ""]
    assert (table["q"] <= 0.05).sum() <= 4


@pytest.mark.slow
def test_nothing_is_found_where_nothing_is():
    found = 0
    for seed in range(50):
        rng, facts, patient, chance = slices(seed)
        # Patients differ in how hard they are, so slices of one vendor are no independent witnesses.
        table = weak_spots.find(facts, patient, rng.random(len(facts)) < chance, random_state=seed)
        found += bool((table["q"] <= 0.05).any())
    assert found <= 5


def test_one_patient_full_of_mistakes_proves_nothing():
    _, facts, patient, _ = slices(1)
    one = facts["vendor"].eq("Ash").to_numpy()
    right = ~(patient == patient[one][0])
    table = weak_spots.find(facts, patient, right)
    assert table.loc[0, "word"] == "Ash" and not (table["q"] <= 0.05).any()


def test_too_few_patients_are_not_asked_about():
    _, facts, patient, _ = slices(2, patients=4)
    assert weak_spots.find(facts, patient, np.arange(len(facts)) % 3 > 0).empty


def test_sets_of_the_same_slices_are_one_question():
    rng, facts, patient, chance = slices(3)
    right = rng.random(len(facts)) < np.where(facts["vendor"] == "Ash", chance - 0.4, chance)
    twice = facts.assign(maker=facts["vendor"])
    pd.testing.assert_frame_equal(weak_spots.find(twice, patient, right), weak_spots.find(facts, patient, right))


@pytest.mark.parametrize("right", [True, False])
def test_all_right_or_all_wrong_has_no_weak_spot(right):
    _, facts, patient, _ = slices(4)
    assert weak_spots.find(facts, patient, np.full(len(facts), right)).empty


def test_without_facts_there_is_nothing_to_ask():
    assert weak_spots.find(pd.DataFrame(index=range(100)), np.arange(100), np.zeros(100)).empty


def test_facts_of_a_cohort(tmp_path):
    zeros = {column: 0 for column, kind in COLUMNS.items() if kind == "int64"}
    rows = [
        {**zeros, "SOPInstanceUID": f"1.{number}", "SeriesInstanceUID": "1", "image_number": number, "stack": 1,
         "Manufacturer": "ACME ", "MagneticFieldStrength": 1.494, "SliceThickness": 2.0, "Rows": 192, "Columns": 256,
         "plane": "axial", "pixel_spacing_row_mm": 1.0, "pixel_spacing_column_mm": 0.5, "PatientID": "P"}
        for number in (1, 2, 3, 4, 5, 6)
    ]  # fmt: skip
    empty = pd.DataFrame({"path": [], "shown_path": [], "reason": [], "file_size": [], "file_mtime_ns": []})
    made = Cohort("c", tmp_path, tmp_path, "folder", typed(rows, COLUMNS), empty, "2024-01-01T00:00:00")
    facts = weak_spots.facts_of(made)
    assert facts.index.tolist() == [f"1.{number}:0" for number in range(1, 7)]
    assert facts["third"].tolist() == ["first third"] * 2 + ["middle third"] * 2 + ["last third"] * 2
    words = {name: facts[name].iloc[0] for name in facts}
    assert words["vendor"] == "ACME" and words["field"] == "1.5 T" and words["thickness"] == "up to 2 mm"
    assert words["matrix"] == "193 to 384" and words["spacing"] == "0.6 to 1.1 mm"
    assert words["agent"] == "none in the header"
    assert {"model", "finding", "sequence"}.isdisjoint(facts)
    (tmp_path / "labels.csv").write_text("SeriesInstanceUID,finding\n1,white_matter_lesions\n")
    assert set(weak_spots.facts_of(made)["finding"]) == {"white matter lesions"}
