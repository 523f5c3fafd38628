"""Dealing slices for a run: by patient, as saved, by slice, and a nested share of the training patients."""

import dataclasses

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from core.cohorts import default_split
from core.cohorts.slice_table import Cohort
from core.config import RunConfig
from core.errors import ConfigError
from core.learning import run_split
from core.splits import SPLITS, leaks, patient_split, slice_split


def table_of(patients: int, per_class: int = 3) -> pd.DataFrame:
    """Each patient has axial slices, every other one coronal ones, and one slice has no plane."""
    rows = [
        (f"P{patient}", plane, f"{patient}.{plane}.{number}")
        for patient in range(patients)
        for plane in (["axial", "coronal"] if patient % 2 else ["axial"])
        for number in range(per_class)
    ]
    table = pd.DataFrame(rows, columns=["PatientID", "plane", "SOPInstanceUID"])
    table.loc[0, "plane"] = None
    return table.assign(frame=0, sequence="T1", split="test")


def cohort_of(table: pd.DataFrame, tmp_path) -> Cohort:
    return Cohort("c", tmp_path, tmp_path, "folder", table, pd.DataFrame(), "2024-01-01T00:00:00")


def deal(made: Cohort, asked: RunConfig) -> pd.Series:
    table = made.table.assign(split=run_split.dealt(made, asked))
    return table["split"].mask(run_split.left_out(table, asked))


def config(**changes) -> RunConfig:
    return RunConfig("x", "transfer", "c", label="plane", **changes)


def test_by_patient_is_the_patient_split(tmp_path):
    table = table_of(10)
    dealt = deal(cohort_of(table, tmp_path), config(random_state=3))
    pd.testing.assert_series_equal(dealt, patient_split(table, random_state=3, label="plane"))
    assert leaks(table, dealt).empty


def test_as_saved_needs_somebody_to_have_saved_it(tmp_path):
    table = table_of(10)
    made = cohort_of(table, tmp_path)
    with pytest.raises(ConfigError, match="has no saved split"):
        deal(made, config(split="cohort"))
    chosen = patient_split(table, random_state=8)
    default_split.save_default_split(made, chosen, {})
    saved = default_split.read_default_split(made)
    made = dataclasses.replace(made, table=default_split.apply_default_split(made.table, saved))
    assert deal(made, config(split="cohort")).tolist() == chosen.tolist()


@given(patients=st.integers(2, 20), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_by_slice_each_class_is_dealt_in_proportion_whatever_the_order_of_rows(patients, seed):
    table = table_of(patients, per_class=10)
    split = slice_split(table, (0.6, 0.2, 0.2), seed, "plane")
    pd.testing.assert_series_equal(slice_split(table[::-1], (0.6, 0.2, 0.2), seed, "plane")[::-1], split)
    assert set(split) <= set(SPLITS)
    for _, part in split.groupby(table["plane"]):
        assert abs((part == "train").sum() - 0.6 * len(part)) < 1
    assert not leaks(table, split).empty


@pytest.mark.parametrize("split", ["patient", "slice"])
def test_a_share_leaves_out_training_slices_alone(tmp_path, split):
    made = cohort_of(table_of(20), tmp_path)
    whole, part = deal(made, config(split=split)), deal(made, config(split=split, train_share=0.5))
    assert part.isna().any()
    assert set(whole[part.isna()]) == {"train"}
    assert (part[part.notna()] == whole[part.notna()]).all()
    learning = made.table["PatientID"][whole == "train"].nunique()
    assert made.table["PatientID"][part == "train"].nunique() == round(learning / 2)
    assert np.array_equal(part.isna(), deal(made, config(split=split, train_share=0.5)).isna())
