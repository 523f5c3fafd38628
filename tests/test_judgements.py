"""Judgements stand in the label log, change no label, and are undone like labels."""

import pytest

from core import cohort, judgements, label_agreement, label_log, label_report, subsets
from core.errors import CohortError
from core.judgements import append_judgement, looked_at, said_of
from tests.test_label_queue import *  # noqa: F403


@pytest.fixture
def made(workspace, make_slice, tmp_path):
    for number in range(3):
        make_slice(f"in/{number}.dcm", SOPInstanceUID=f"1.2.2.{number}", InstanceNumber=number + 1,
                   ImagePositionPatient=[0, 0, 5 * number])  # fmt: skip
    return cohort.index(tmp_path / "in", "small")
