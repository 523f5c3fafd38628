"""A run is what its folder says."""

import os

import pytest

from core import runs
from core.config import RunConfig
from core.errors import RunError

CONFIG = RunConfig("My first run!", "dual", "phantom", epochs=3)


def test_a_run_is_found_again_with_its_configuration(workspace):
    made = runs.create_run(CONFIG)
    found = runs.read_run(made.id)
    assert found.config == CONFIG
    assert found.status["state"] == "queued"
    assert made.id.startswith("my-first-run-")


def test_newest_run_comes_first_and_other_folders_are_no_runs(workspace):
    older = runs.create_run(CONFIG, "older")
    older.update(created="2020-01-01T00:00:00")
    runs.create_run(CONFIG, "newer")
    (workspace / "runs" / "notes").mkdir()
    assert [run.id for run in runs.list_runs()] == ["newer", "older"]


@pytest.mark.parametrize("run_id", ["../../etc", "", "a/b", "A", "missing", "x" * 200, ".."])
def test_an_id_from_an_address_is_not_trusted(workspace, run_id):
    with pytest.raises(RunError, match="There is no run"):
        runs.read_run(run_id)


def test_a_running_run_whose_process_is_gone_is_interrupted(workspace):
    run = runs.create_run(CONFIG)
    run.update(state="running", pid=os.getpid())
    assert run.status["state"] == "running"
    # The number of a dead process may have been given to another one, which began at another time.
    run.update(process_started=1.0)
    assert run.status["state"] == "interrupted"


def test_a_half_written_epoch_is_not_read(workspace):
    run = runs.create_run(CONFIG)
    assert run.metrics().empty
    (run.folder / "metrics.jsonl").write_text('{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "lo')
    assert run.metrics()["epoch"].tolist() == [1]


def test_what_a_run_lacks_is_said_in_a_sentence(workspace):
    run = runs.create_run(CONFIG)
    with pytest.raises(RunError, match="no trained model"):
        run.card()
    with pytest.raises(RunError, match=r"no predictions.parquet .it is queued"):
        run.predictions()
    (run.folder / "status.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        _ = run.status
