"""What people say of runs is kept, and the trash gives back what it got."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import jobs, runs
from core.__main__ import main
from core.comparing import run_notes
from core.config import RunConfig
from core.errors import InputError, RunError
from core.settings import PROJECT_DIR

CONFIG = RunConfig("planes", "transfer", "phantom")


@pytest.fixture
def run(workspace):
    return runs.create_run(CONFIG, "planes-1", state="done")


def test_a_run_is_renamed_tagged_and_noted(run):
    assert run_notes.title(run) == "planes"
    run_notes.rename(run, "  My\tbest \u200bplanes ")
    run_notes.tag(run, ["Group 3", "best", "best", " "])
    run_notes.annotate(run, "one\ntwo ")
    assert run_notes.read(run) == run_notes.Notes("My best planes", "one\ntwo", ("best", "group 3"))
    assert run_notes.title(run) == "My best planes" and run.config == CONFIG
    run_notes.tag(run, [])
    run_notes.annotate(run, "")
    assert run_notes.read(run) == run_notes.Notes("My best planes")


@pytest.mark.parametrize("name", ["", " \n ", "x" * 61])
def test_a_name_that_is_none_is_refused(run, name):
    with pytest.raises(InputError, match="1 to 60"):
        run_notes.rename(run, name)


@pytest.mark.parametrize(("tags", "words"), [(["x" * 31], "x"), (["a,b"], "a,b"), (list("abcdefghijklm"), "13")])
def test_tags_that_are_none_are_refused(run, tags, words):
    with pytest.raises(InputError, match=f"received .?{words}"):
        run_notes.tag(run, tags)
    with pytest.raises(InputError, match="2000"):
        run_notes.annotate(run, "x" * 2001)
    assert not (run.folder / run_notes.FILE).exists()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.text(max_size=15), max_size=8), note=st.text(max_size=200))
def test_whatever_was_kept_is_kept_the_same_way_again(run, words, note):
    kept = [word for word in words if "," not in word]
    run_notes.tag(run, kept)
    run_notes.annotate(run, note)
    once = run_notes.read(run)
    run_notes.tag(run, list(once.tags))
    run_notes.annotate(run, once.note)
    assert run_notes.read(run) == once


def test_two_who_write_at_once_lose_nothing_of_each_other(run):
    script = (
        "import sys; from core import runs; from core.comparing import run_notes; run = runs.read_run('planes-1');"
        "[run_notes.annotate(run, f'note {i}') for i in range(60)]"
    )
    other = subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT_DIR)
    with ThreadPoolExecutor(8) as pool:
        while other.poll() is None:
            list(
                pool.map(lambda i: run_notes.rename(run, f"name {i}") if i % 2 else run_notes.tag(run, ["t"]), range(8))
            )
    assert other.returncode == 0
    notes = run_notes.read(run)
    assert notes.note == "note 59" and notes.tags == ("t",) and notes.name.startswith("name ")


@pytest.mark.parametrize("text", ["{", "[]", '{"tags": 3}', "null"])
def test_a_damaged_file_is_no_notes(run, text):
    (run.folder / run_notes.FILE).write_text(text)
    assert run_notes.read(run) == run_notes.Notes()


def test_the_trash_gives_back_what_it_got(run):
    run_notes.rename(run, "kept")
    before = {path.name: path.read_bytes() for path in run.folder.iterdir() if path.name != run_notes.FILE}
    run_notes.trash(run.id)
    assert runs.list_runs() == [] and [one.id for one in run_notes.list_trash()] == [run.id]
    with pytest.raises(RunError, match="There is no run"):
        runs.read_run(run.id)
    back = run_notes.restore(run.id)
    assert runs.list_runs() == [back] == [run] and run_notes.list_trash() == []
    assert {path.name: path.read_bytes() for path in run.folder.iterdir() if path.name != run_notes.FILE} == before
    assert run_notes.read(run) == run_notes.Notes("kept")


def test_what_is_deleted_is_gone_and_only_from_the_trash(run):
    with pytest.raises(RunError, match="in the trash"):
        run_notes.delete(run.id)
    run_notes.trash(run.id)
    run_notes.delete(run.id)
    assert run_notes.list_trash() == [] and not run.folder.exists()


@pytest.mark.parametrize("run_id", ["../runs/planes-1", "", "..", "/etc"])
def test_an_id_from_an_address_deletes_nothing_else(run, run_id):
    for act in (run_notes.delete, run_notes.restore):
        with pytest.raises(RunError):
            act(run_id)
    assert runs.list_runs() == [run]


@pytest.mark.parametrize("state", runs.ACTIVE)
def test_an_active_run_cannot_be_trashed(run, state, monkeypatch):
    monkeypatch.setattr(runs, "alive", lambda status: True)
    run.update(state=state)
    with pytest.raises(RunError, match="cancel it first"):
        run_notes.trash(run.id)
    assert runs.list_runs() == [run]


def test_the_shipped_run_keeps_its_name_and_place(workspace):
    shipped = runs.create_run(CONFIG, runs.SHIPPED, state="done")
    for act in (lambda: run_notes.rename(shipped, "mine"), lambda: run_notes.trash(shipped.id)):
        with pytest.raises(RunError, match="shipped model cannot"):
            act()
    run_notes.tag(shipped, ["reference"])
    assert run_notes.read(shipped).tags == ("reference",)


def test_a_change_of_a_run_that_went_to_the_trash_makes_no_ghost(run):
    run_notes.trash(run.id)
    for act in (lambda: run.update(progress=0.5), lambda: run_notes.annotate(run, "late")):
        with pytest.raises(RunError, match="trash"):
            act()
    assert not run.folder.exists()


def test_commands_do_what_the_page_does(run, capsys, monkeypatch):
    monkeypatch.setattr(jobs, "ensure_dispatcher", lambda: None)

    def says(*words, code=0):
        assert main(["runs", *words]) == code
        out, err = capsys.readouterr()
        return out + err

    says("rename", run.id, "my planes")
    says("tag", run.id, "best", "group 3")
    says("note", run.id, "as before")
    (run.folder / "log.txt").write_text("first\nlast\n")
    text = says("show", run.id, "--log", "1")
    for word in ("my planes", "done", "best, group 3", "as before", '"kind": "transfer"', "last"):
        assert word in text
    assert "first" not in text
    assert "#best" in says()
    says("trash", run.id)
    assert run.id in says("trash") and run.id not in says("list")
    says("restore", run.id)
    assert "Duplicate it" in says("retry", run.id, code=2)
    run.update(state="interrupted", progress=0.5)
    says("resume", run.id)
    assert run.status["resume"] is True
    assert "position:  1" in says("show", run.id)
    says("cancel", run.id)
    says("retry", run.id)
    assert run.status["resume"] is False
    says("cancel", run.id)
    says("trash", run.id)
    says("delete", run.id)
    assert "There is no run" in says("show", run.id, code=2)
