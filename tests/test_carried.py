"""A cohort travels without its files, and nothing that names a patient goes along."""

import numpy as np
import pandas as pd
import pytest

from core import batches, cohort, splits
from core.cohorts import default_split
from core.config import RunConfig
from core.errors import CohortError
from core.learning import run_split
from core.queueing import carried
from core.settings import get_settings


@pytest.fixture
def made(workspace, make_slice, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        make_slice(
            tmp_path / "files" / "Lovelace" / f"{number}.dcm", rng.integers(0, 900, (24, 24)).astype("<u2"),
            PatientID=f"HOSP-{number}", SOPInstanceUID=f"1.2.{number}", SeriesInstanceUID=f"1.{number}",
            SeriesDescription="AX T1", EchoTime=[12, 90][number % 2], RepetitionTime=[500, 4000][number % 2],
        )  # fmt: skip
    return cohort.write(cohort.scan(tmp_path / "files", "heads"))


def test_what_arrives_trains_as_what_was_sent(made, tmp_path, monkeypatch):
    rows = made.table[made.table["plane"].notna()]
    inputs = batches.grey_inputs(made, rows, 32)
    by_hand = pd.Series(["test", "train", "train", "validation"], made.table.index)
    default_split.save_default_split(made, by_hand, {})
    carried.pack(made, rows, inputs, tmp_path / "packed")
    sent = splits.patient_split(made.table)

    monkeypatch.setenv("SLICESCOPE_WORKSPACE", str(tmp_path / "far"))
    get_settings.cache_clear()
    carried.unpack(tmp_path / "packed")
    arrived = cohort.read("heads")
    assert carried.arrived(arrived) and not carried.arrived(made)
    for column in ("plane", "sequence", "PatientID", "SOPInstanceUID"):
        pd.testing.assert_series_equal(arrived.table[column], made.table[column])
    assert splits.patient_split(arrived.table).tolist() == sent.tolist()
    assert run_split.dealt(arrived, RunConfig("x", "dual", "heads", split="cohort")).tolist() == by_hand.tolist()
    # In another order than they were packed.
    again = batches.grey_inputs(arrived, arrived.table.iloc[::-1], 32)
    assert again.dtype == inputs.dtype == np.uint8
    assert np.array_equal(again[::-1], inputs)
    with pytest.raises(CohortError, match="without the pictures"):
        batches.grey_inputs(arrived, arrived.table, 48)


def test_no_patient_travels(made, tmp_path):
    assert made.table["path"].str.contains("Lovelace").all()
    carried.pack(made, made.table, np.zeros((len(made.table), 8, 8), np.uint8), tmp_path / "packed")
    table = pd.read_parquet(tmp_path / "packed" / "table.parquet")
    words = table.astype(str).to_csv() + (tmp_path / "packed" / "cohort.json").read_text()
    for word in ("Lovelace", "HOSP", "AX T1", str(tmp_path)):
        assert word not in words
    assert table["PatientID"].nunique() == 4
