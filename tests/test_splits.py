"""Splits by patient: no leak, right shares, balanced classes, the same answer for the same question."""

import numpy as np
import pandas as pd
import pytest

from core.errors import CohortError, ConfigError
from core.splits import leaks, patient_split, split_hash, summary


def cohort(n_patients=50, slices=6):
    rng = np.random.default_rng(3)
    rows = []
    for i in range(n_patients):
        # One rare class in a tenth of the patients, one common class in all.
        sequences = ["T1", "T2", "FLAIR"] + (["SWI"] if i % 10 == 0 else [])
        for _ in range(slices):
            rows.append(
                {
                    "PatientID": f"P-{i:03d}",
                    "plane": rng.choice(["axial", "coronal"]),
                    "sequence": rng.choice(sequences),
                }
            )
    return pd.DataFrame(rows)


def test_no_patient_in_two_splits_and_shares_of_patients():
    table = cohort()
    split = patient_split(table, (0.6, 0.2, 0.2))
    assert leaks(table, split).empty
    assert split.groupby(table["PatientID"]).first().value_counts().to_dict() == {
        "train": 30,
        "validation": 10,
        "test": 10,
    }
    assert split.index.equals(table.index)


def test_rare_class_reaches_every_split():
    table = cohort()
    for seed in range(10):
        split = patient_split(table, random_state=seed, label="sequence")
        assert set(split[table["sequence"] == "SWI"]) == {"train", "validation", "test"}


def test_depends_on_seed_but_not_on_row_order():
    table = cohort()
    split = patient_split(table, random_state=1)
    shuffled = table.sample(frac=1, random_state=0)
    pd.testing.assert_series_equal(patient_split(shuffled, random_state=1).sort_index(), split)
    assert not patient_split(table, random_state=2).equals(split)


@pytest.mark.parametrize(
    ("n", "expected"), [(1, {"train"}), (2, {"train", "validation"}), (3, {"train", "validation", "test"})]
)
def test_few_patients(n, expected):
    split = patient_split(cohort(n))
    assert "train" in set(split)
    assert len(set(split)) == len(expected)


def test_many_patients_in_reasonable_time_and_unlabelled_slices_too():
    table = cohort(1000, 3)
    table.loc[table.index[::2], ["plane", "sequence"]] = None
    split = patient_split(table)
    assert split.notna().all()
    assert leaks(table, split).empty


def test_empty_table_gives_empty_split():
    assert patient_split(cohort().head(0)).empty


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.5, 0.2, 0.2), (1.2, -0.1, -0.1), (0, 0.5, 0.5)])
def test_bad_fractions_are_refused(fractions):
    with pytest.raises(ConfigError, match="three shares"):
        patient_split(cohort(5), fractions)


def test_zero_share_gets_nobody():
    assert set(patient_split(cohort(10), (0.8, 0.2, 0.0))) == {"train", "validation"}


def test_held_patients_are_in_test_and_count_towards_its_share():
    table = cohort(10)
    for held in (["P-003"], ["P-000", "P-001", "P-002", "P-003"]):
        split = patient_split(table, (0.6, 0.2, 0.2), test_patients=held).groupby(table["PatientID"]).first()
        assert set(split[held]) == {"test"}
        assert (split == "test").sum() == max(2, len(held))
        assert (split == "train").sum() > (split == "validation").sum() > 0


@pytest.mark.parametrize(("held", "message"), [(["P-nobody"], "no patient P-nobody"), (None, "nobody is left")])
def test_patients_that_cannot_be_held_are_refused(held, message):
    table = cohort(3)
    with pytest.raises(ConfigError, match=message):
        patient_split(table, test_patients=list(table["PatientID"].unique()) if held is None else held)


def test_split_hash_knows_no_order_of_rows_and_every_change():
    table = cohort(5).assign(frame=0)
    table["SOPInstanceUID"] = [f"1.2.{row}" for row in range(len(table))]
    split = patient_split(table)
    shuffled = table.sample(frac=1, random_state=0)
    assert split_hash(table, split) == split_hash(shuffled, split[shuffled.index])
    moved = split.mask(table["PatientID"] == "P-000", "nowhere")
    assert split_hash(table, split) != split_hash(table, moved)


def test_missing_patient_is_refused():
    table = cohort(3)
    table.loc[0, "PatientID"] = None
    with pytest.raises(CohortError, match="PatientID"):
        patient_split(table)


def test_leaks_names_the_patient():
    table = pd.DataFrame({"PatientID": ["a", "a", "b"]}, index=[5, 6, 7])
    assert leaks(table, pd.Series(["train", "test", "test"], index=[5, 6, 7]))["PatientID"].tolist() == ["a"]


def test_summary_counts_slices_and_patients_of_combined_class():
    table = pd.DataFrame(
        {"PatientID": ["a", "a", "b", "c"], "plane": ["axial"] * 4, "sequence": ["T1", "T1", "T1", None]}
    )
    counts = summary(table, pd.Series(["train", "train", "test", "test"]), "plane-sequence")
    assert counts.values.tolist() == [["axial-T1", "train", 2, 1], ["axial-T1", "test", 1, 1]]
