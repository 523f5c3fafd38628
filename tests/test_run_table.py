"""The table of runs: what their folders say, and one read for one change."""

import io
import json
import os

import numpy as np
import pandas as pd
import pytest

from core import runs
from core.comparing import run_table
from core.comparing.run_table import COLUMNS, Filters, RunTable, select, to_csv, words_of
from core.config import RunConfig


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Take folders that have just changed for settled ones: tests are quicker than the file system's clock."""
    monkeypatch.setattr(run_table, "_TICK_NS", -(10**18))


@pytest.fixture
def reads(monkeypatch):
    """Ids of the runs whose folders were read, in order."""
    seen, real = [], run_table.read_row
    monkeypatch.setattr(run_table, "read_row", lambda run: seen.append(run.id) or real(run))
    return seen


def a_run(run_id: str, kind: str = "transfer", accuracy: float | None = None, notes: dict | None = None, **status):
    run = runs.create_run(RunConfig(f"name of {run_id}", kind, "phantom"), run_id, **{"state": "done", **status})
    if accuracy is not None:
        part = {"accuracy": accuracy, "balanced_accuracy": accuracy - 0.1, "ece": 0.04}
        heads = {head: {"test": part, "train": {"accuracy": 1.0}} for head in run.config.heads}
        scores = {"accuracy": accuracy, "accuracy_interval": [accuracy - 0.05, accuracy + 0.02], "split": "test",
                  "heads": heads}  # fmt: skip
        (run.folder / "scores.json").write_text(json.dumps(scores))
    if notes is not None:
        (run.folder / "notes.json").write_text(json.dumps(notes))
    return run


def table_of(workspace) -> RunTable:
    return RunTable(workspace / "runs")


def touch(run: runs.Run) -> None:
    """Give the folder another time, whatever the file system's clock says."""
    stat = run.folder.stat()
    os.utime(run.folder, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))


def test_a_row_says_what_the_folder_says(workspace):
    run = a_run("one", "dual", 0.9, {"note": "why", "tags": ["keep", "paper"]}, created="2026-01-02T03:04:05+00:00")
    (run.folder / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n{"ep')
    status = json.loads((run.folder / "status.json").read_text())
    status |= {"started": "2026-01-02T03:05:00+00:00", "updated": "2026-01-02T03:06:30.500+00:00"}
    (run.folder / "status.json").write_text(json.dumps(status))
    row = table_of(workspace).read().iloc[0]
    assert row[["id", "name", "state", "kind", "cohort", "note"]].tolist() == [
        "one", "name of one", "done", "dual", "phantom", "why",
    ]  # fmt: skip
    assert (row["label"], row["tags"]) == (("plane", "sequence"), ("keep", "paper"))
    assert row[["accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "ece"]].tolist() == pytest.approx(
        [0.9, 0.85, 0.92, 0.8, 0.04]
    )
    assert (row["seconds"], row["epochs"]) == (90.5, 2)
    assert row["created"] == pd.Timestamp("2026-01-02T03:04:05Z")


def test_a_given_name_takes_the_place_of_the_first_one(workspace):
    a_run("one", notes={"name": "better name", "tags": None})
    a_run("two", notes=["no", "notes"])
    table = table_of(workspace).read().set_index("id")
    assert table["name"].to_dict() == {"one": "better name", "two": "name of two"}
    assert table["tags"].to_dict() == {"one": (), "two": ()}


def test_only_what_has_changed_is_read_again(workspace, reads):
    made = [a_run(name) for name in ("a", "b", "c")]
    table = table_of(workspace)
    first = table.read()
    assert sorted(reads) == ["a", "b", "c"]
    assert table.read() is first and len(reads) == 3
    made[1].update(state="failed")
    touch(made[1])
    assert table.read().set_index("id")["state"].to_dict() == {"a": "done", "b": "failed", "c": "done"}
    assert reads[3:] == ["b"]
    a_run("d")
    assert set(table.read()["id"]) == set("abcd") and reads[4:] == ["d"]
    made[0].folder.rename(workspace / "gone")
    assert set(table.read()["id"]) == set("bcd") and reads[4:] == ["d"]


def test_a_folder_that_has_just_changed_is_not_trusted_yet(workspace, reads, monkeypatch):
    monkeypatch.setattr(run_table, "_TICK_NS", 10**15)
    run = a_run("a")
    table = table_of(workspace)
    table.read()
    before = run.folder.stat().st_mtime_ns
    run.update(state="failed")
    os.utime(run.folder, ns=(before, before))  # as two changes within one tick of the clock
    assert table.read()["state"].tolist() == ["failed"] and reads == ["a", "a"]


def test_every_file_that_a_row_is_made_of_changes_its_folders_time(workspace):
    """What `RunTable` relies on: files are replaced, never written in place."""
    run = a_run("a", accuracy=0.5)
    for change in (lambda: run.update(progress=0.5), lambda: runs.create_run(run.config, "a")):
        os.utime(run.folder, ns=(0, 0))
        change()
        assert run.folder.stat().st_mtime_ns > 0


def test_a_run_whose_process_dies_is_seen_to_be_interrupted(workspace, monkeypatch):
    a_run("a").update(state="running", pid=os.getpid())
    table = table_of(workspace)
    assert table.read()["state"].tolist() == ["running"]
    monkeypatch.setattr(runs, "alive", lambda status: False)
    assert table.read()["state"].tolist() == ["interrupted"]


@pytest.mark.parametrize(
    ("file", "text"), [("status.json", "{"), ("config.json", "{}"), ("scores.json", "[1"), ("config.json", None)]
)
def test_a_damaged_folder_is_a_row_that_says_so(workspace, file, text):
    a_run("good", accuracy=0.9)
    path = a_run("bad", notes={"tags": ["mine"]}).folder / file
    path.unlink() if text is None else path.write_text(text)
    table = table_of(workspace).read().set_index("id")
    assert table.loc["bad", "state"] == run_table.UNREADABLE and table.loc["bad", "message"]
    assert table.loc["good", "state"] == "done" and table.loc["bad", "tags"] == ("mine",)


def test_what_is_no_run_is_passed_over(workspace):
    a_run("one")
    (workspace / "runs" / "empty").mkdir()
    (workspace / "runs" / "Not A Run").mkdir()
    (workspace / "runs" / "Not A Run" / "status.json").write_text("{}")
    (workspace / "runs" / "file").write_text("")
    assert table_of(workspace).read()["id"].tolist() == ["one"]


def test_no_workspace_is_an_empty_table(workspace):
    table = table_of(workspace).read()
    assert table.empty and tuple(table) == COLUMNS


def test_newest_comes_first_and_one_without_a_time_last(workspace):
    for run_id, created in (("old", "2025-01-01T00:00:00"), ("new", "2026-01-01T00:00:00+00:00"), ("never", "soon")):
        a_run(run_id, created=created)
    assert table_of(workspace).read()["id"].tolist() == ["new", "old", "never"]


@pytest.mark.parametrize(
    ("text", "words", "ids"),
    [
        ("", {}, "abcd"),
        ("", {"kind": ["dual"]}, "b"),
        ("", {"label": ["plane"]}, "b"),
        ("", {"label": ["sequence"]}, "abcd"),
        ("", {"state": ["failed", "done"], "kind": ["transfer", "siamese"]}, "acd"),
        ("", {"tags": ["keep"]}, "ab"),
        ("", {"tags": ["keep", "paper"]}, "abc"),
        ("PAPER of", {}, "c"),
        ("name keep", {"kind": []}, "ab"),
        ("nothing like it", {}, ""),
    ],
)
def test_filters_keep_what_is_asked_for(workspace, text, words, ids):
    a_run("a", notes={"tags": ["keep"]})
    a_run("b", "dual", notes={"tags": ["keep"]})
    a_run("c", "siamese", notes={"tags": ["paper"], "note": "The figure of page 3"})
    a_run("d", state="failed")
    table = table_of(workspace).read()
    assert set(select(table, Filters(text, words))["id"]) == set(ids)
    assert words_of(table, "tags") == ["keep", "paper"] and words_of(table, "label") == ["plane", "sequence"]


def test_csv_can_be_read_back(workspace):
    a_run("a", "dual", 0.9, {"note": 'with "quotes", commas\nand lines', "tags": ["x", "y"]})
    a_run("b")
    table = table_of(workspace).read()
    back = pd.read_csv(io.BytesIO(to_csv(table)), keep_default_na=False, na_values={"accuracy": [""]})
    assert list(back) == list(COLUMNS)
    row = back.set_index("id").loc["a"]
    assert row[["label", "tags", "note"]].tolist() == ["plane sequence", "x y", 'with "quotes", commas\nand lines']
    assert row["accuracy"] == 0.9 and np.isnan(back.set_index("id").loc["b", "accuracy"])
