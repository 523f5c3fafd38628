"""Labelling: what stands first, whose answer counts, undo and redo, agreement of two people, a model's answers."""

import json
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from core import cohort, inference
from core.errors import CohortError
from core.labelling import label_agreement, label_log, label_queue, label_report, model_answers
from core.settings import PROJECT_DIR, get_settings

CLASSES = {"plane": ["axial", "coronal"], "sequence": ["T1", "T2", "FLAIR"]}
CONFLICT = "words say FLAIR, timings and codes say T1: taken as T1"


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, make_dataset):
    """Five series of three slices: sane T1 and T2, one that contradicts itself, one unlabelled, one of mixed planes."""
    folder = tmp_path_factory.mktemp("workspace")
    t1, t2 = {"RepetitionTime": 500, "EchoTime": 12}, {"RepetitionTime": 5000, "EchoTime": 100}
    flair = {"ScanningSequence": "SE\\IR", "RepetitionTime": 2200, "EchoTime": 9, "InversionTime": 860}
    silent = {"ScanningSequence": None, "RepetitionTime": None, "EchoTime": None}
    kinds = [("AX T1", t1), ("AX T2", t2), ("SAG FLAIR", flair), ("Series 9", silent), ("T1", t1)]
    (folder / "raw").mkdir()
    for series, (description, values) in enumerate(kinds):
        for number in range(3):
            coronal = series == 4 and number == 2
            make_dataset(
                PatientID=f"P-{series}", StudyInstanceUID=f"1.2.{series}", SeriesInstanceUID=f"1.2.{series}",
                SOPInstanceUID=f"1.2.{series}.{number}", InstanceNumber=number, SeriesDescription=description,
                ImagePositionPatient=[0, 0, 5 * number],
                ImageOrientationPatient=[1, 0, 0, 0, 0, -1] if coronal else [1, 0, 0, 0, 1, 0], **values,
            ).save_as(folder / "raw" / f"{series}-{number}.dcm", enforce_file_format=True)  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLICESCOPE_WORKSPACE", str(folder))
        get_settings.cache_clear()
        cohort.write(cohort.scan(folder / "raw", "c"))
        yield cohort.read_unlogged("c")
    get_settings.cache_clear()


@pytest.fixture
def made(scanned):
    """The cohort, about which nobody has said anything yet."""
    (scanned.folder / cohort.LOG_NAME).unlink(missing_ok=True)
    for name in ("queues", "answers"):
        shutil.rmtree(scanned.folder / name, ignore_errors=True)
    return scanned


@pytest.fixture
def table(made):
    keys = made.table["SOPInstanceUID"] + ":" + made.table["frame"].astype("str")
    return made.table.set_index(pd.Index(keys, name="key"))


def said(made, by):
    """A person's own answers to the queue of what headers alone say."""
    keys = made.table["SOPInstanceUID"] + ":" + made.table["frame"].astype("str")
    queue = label_queue.build_queue(made.table.set_index(pd.Index(keys, name="key")))
    return label_queue.answers_by(queue, cohort.read_log(made), by)


def answers(table, **of_series):
    """Tables as a model's answers are kept; a series' word, probability and verdict by ``s<number>``."""
    series = [
        {"SeriesInstanceUID": f"1.2.{n}", "plane": "axial", "plane_p": 0.9, "plane_verdict": "agree",
         **dict(zip(("sequence", "sequence_p", "sequence_verdict"), of_series.get(f"s{n}", ("T1", 0.9, "agree")),
                    strict=True))}
        for n in range(5)
    ]  # fmt: skip
    series = pd.DataFrame(series)
    return table[["SOPInstanceUID", "frame", "SeriesInstanceUID"]].merge(series, on="SeriesInstanceUID"), series


# The queue --------------------------------------------------------------------------------------------------


def test_conflicts_stand_first_and_ask_only_for_what_is_in_doubt(table):
    queue = label_queue.build_queue(table)
    # Series 2 says SAG over axial slices and FLAIR over a T1's timings; 3 has a plane and no sequence.
    assert queue.index[:2].tolist() == ["1.2.2", "1.2.3"]
    assert queue["wrong"].tolist() == ["conflict", "no_label", *[""] * 5]
    assert queue.loc[["1.2.2", "1.2.3"], ["asks_plane", "asks_sequence"]].to_numpy().tolist() == [
        [True, True], [False, True]
    ]  # fmt: skip
    only = label_queue.build_queue(table.assign(conflict=np.where(table["SeriesInstanceUID"] == "1.2.0", CONFLICT, "")))
    assert only.loc["1.2.0", ["asks_plane", "asks_sequence"]].tolist() == [False, True]


def test_series_of_mixed_labels_is_asked_slice_by_slice(table):
    queue = label_queue.build_queue(table)
    mixed = queue[queue["SeriesInstanceUID"] == "1.2.4"]
    assert sorted(mixed.index) == ["1.2.4.0:0", "1.2.4.1:0", "1.2.4.2:0"]
    assert (mixed["n"] == 1).all()
    assert queue.loc["1.2.0", ["n", "slice"]].tolist() == [3, "1.2.0.1:0"]
    # Each slice is in one item.
    assert queue["n"].sum() == len(table)


def test_model_moves_what_it_contradicts_up_the_surest_first_and_what_it_is_unsure_of_the_least_sure_first(table):
    clean = table.assign(conflict="", sequence=table["sequence"].fillna("T1"), plane="axial")
    model = answers(
        clean, s0=("T2", 0.8, "disagree"), s1=("T1", 0.95, "disagree"), s2=("T1", 0.4, "unsure"),
        s3=("T1", 0.3, "unsure"),
    )  # fmt: skip
    queue = label_queue.build_queue(clean, *model)
    assert queue["wrong"].tolist() == ["disagree", "disagree", "unsure", "unsure", ""]
    assert queue.index.tolist() == ["1.2.1", "1.2.0", "1.2.3", "1.2.2", "1.2.4"]
    assert queue.loc["1.2.0", ["model_sequence", "sequence_p", "asks_plane", "asks_sequence"]].tolist() == [
        "T2", 0.8, False, True
    ]  # fmt: skip


def test_named_queue_keeps_its_order_and_leaves_out_what_is_not_there(made, table):
    label_queue.write_queue(made, "class", ["1.2.4.2:0", "gone", "1.2.0", "1.2.0"])
    assert label_queue.list_queues(made) == ["class"]
    queue = label_queue.named_queue(table, label_queue.read_queue(made, "class"))
    assert queue.index.tolist() == ["1.2.4.2:0", "1.2.0"]
    assert queue["n"].tolist() == [1, 3]
    assert queue[["asks_plane", "asks_sequence"]].all(axis=None)
    assert label_queue.named_queue(table, ["gone"]).empty


@pytest.mark.parametrize("text", ["{", "[]", '{"keys": "1.2"}', '{"keys": [1]}', "{}"])
def test_broken_queue_files_and_odd_names_are_named(made, text):
    (made.folder / "queues").mkdir()
    (made.folder / "queues" / "bad.json").write_text(text)
    with pytest.raises(CohortError, match="no list of keys"):
        label_queue.read_queue(made, "bad")
    with pytest.raises(CohortError, match="It has: bad"):
        label_queue.read_queue(made, "../cohort")
    with pytest.raises(CohortError, match="at most 40"):
        label_queue.write_queue(made, "../x", ["1"])
    with pytest.raises(CohortError, match="would be empty"):
        label_queue.write_queue(made, "x", [])


def test_own_latest_answer_counts_and_nobody_elses(made, table):
    queue = label_queue.build_queue(table)
    cohort.append_label(made, "1.2.3", "sequence", None, "T2", by="Ada")
    cohort.append_label(made, "1.2.3", "sequence", "T2", "FLAIR", by="Ada")
    cohort.append_label(made, "1.2.3", "sequence", None, "SWI", by="Ben")
    log = cohort.read_log(made)
    ada, ben = (label_queue.answers_by(queue, log, by) for by in ("Ada", "Ben"))
    assert (ada.at["1.2.3", "sequence"], ben.at["1.2.3", "sequence"]) == ("FLAIR", "SWI")
    assert ada.index[ada["done"]].tolist() == ["1.2.3"]
    # What all see in the table is the newest answer.
    assert set(cohort.read("c").table.query("SeriesInstanceUID == '1.2.3'")["sequence"]) == {"SWI"}
    assert not label_queue.answers_by(queue, log, "Eve")["done"].any()


def test_answer_to_a_series_is_one_to_its_slices_and_not_the_other_way_round(made):
    cohort.append_label(made, "1.2.4", "plane", None, "axial", by="Ada")
    cohort.append_label(made, "1.2.4.2:0", "plane", None, "coronal", by="Ada")
    cohort.append_label(made, "1.2.0.1:0", "plane", None, "coronal", by="Ada")
    ada = said(made, "Ada")
    assert ada.loc[["1.2.4.0:0", "1.2.4.2:0"], "plane"].tolist() == ["axial", "coronal"]
    assert pd.isna(ada.at["1.2.0", "plane"])


def test_next_open_item_goes_round_and_puts_skipped_ones_last():
    done = pd.Series([False, True, False, False], index=list("abcd"))
    assert label_queue.next_open(done, "d") == "a"
    assert label_queue.next_open(done, "a", ["c"]) == "d"
    assert label_queue.next_open(done, "b", ["a", "c", "d"]) == "c"
    assert label_queue.next_open(done, None) == "a"


def test_rate_is_that_of_the_last_sitting():
    queue = pd.DataFrame({"SeriesInstanceUID": list("abc")}, index=list("abc"))
    times = {"a": "09:00:00", "b": "10:00:00", "c": "10:00:30"}
    log = [{"id": key, "key": key, "column": "plane", "new": "axial", "by": "Ada", "at": f"2026-01-01T{at}+00:00"}
           for key, at in times.items()]  # fmt: skip
    assert label_queue.per_minute(queue, log, "Ada") == 2.0
    assert label_queue.per_minute(queue, log[:1], "Ada") is None
    assert label_queue.per_minute(queue, log, "Ben") is None


# Undo, redo, the log ------------------------------------------------------------------------------------------


def test_undo_and_redo_go_back_and_forth_as_in_an_editor(made):
    words = iter(["T1", "T2", "FLAIR"])
    first, second = (cohort.append_label(made, "1.2.3", "sequence", None, next(words), by="Ada") for _ in range(2))
    foreign = cohort.append_label(made, "1.2.0", "sequence", "T1", "PD", by="Ben")

    def ids():
        return [[line["id"] for line in part] for part in label_log.history(cohort.read_log(made), "Ada")]

    assert ids() == [[first, second], []]
    cohort.undo_label(made, second, by="Ada")
    undo = cohort.undo_label(made, first, by="Ada")
    assert ids() == [[], [second, first]]
    assert said(made, "Ada")["sequence"].isna().all()
    cohort.undo_label(made, undo, by="Ada")
    assert ids() == [[first], [second]]
    assert said(made, "Ada").at["1.2.3", "sequence"] == "T1"
    # After something new there is nothing to redo; what Ben said was never touched.
    third = cohort.append_label(made, "1.2.3", "sequence", "T1", next(words), by="Ada")
    assert ids() == [[first, third], []]
    assert foreign in {line["id"] for line in label_log.standing(cohort.read_log(made))}


def test_one_answer_to_several_is_one_line_and_one_undo(made):
    line = cohort.append_label(made, ["1.2.0", "1.2.4.2:0"], "sequence", "T1", "T1CE", by="Ada")
    table = cohort.read("c").table
    assert table.loc[table["sequence"] == "T1CE", "SOPInstanceUID"].tolist() == [
        "1.2.0.0", "1.2.0.1", "1.2.0.2", "1.2.4.2"
    ]  # fmt: skip
    cohort.undo_label(made, line, by="Ben")
    pd.testing.assert_frame_equal(cohort.read("c").table, made.table)


def test_appends_of_several_processes_at_once_all_arrive_whole(made):
    script = (
        "import sys\nfrom core import cohort\nmade = cohort.read_unlogged('c')\n"
        "for i in range(40):\n    cohort.append_label(made, ['1.2.0'] * 200, 'plane', None, 'axial', by=sys.argv[1])\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, f"writer {n}"], cwd=PROJECT_DIR) for n in range(3)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    log = cohort.read_log(made)
    assert len(log) == len({line["id"] for line in log}) == 120
    assert {line["by"] for line in log} == {"writer 0", "writer 1", "writer 2"}


def test_what_a_killed_writer_left_does_not_spoil_the_next_line(made):
    cohort.append_label(made, "1.2.0", "plane", None, "axial", by="Ada")
    with (made.folder / cohort.LOG_NAME).open("a") as file:
        file.write('{"id": "cut' + "x" * 9000)
    cohort.append_label(made, "1.2.0", "plane", None, "coronal", by="Ada")
    assert [line["new"] for line in cohort.read_log(made)] == ["axial", "coronal"]


def test_full_disk_is_said_and_leaves_the_log_whole(made):
    log = made.folder / cohort.LOG_NAME
    log.symlink_to("/dev/full")
    with pytest.raises(CohortError, match="answer was not kept"):
        cohort.append_label(made, "1.2.0", "plane", None, "axial", by="Ada")


def test_label_table_holds_what_people_said_and_no_path_of_a_patient(made):
    cohort.append_label(made, "1.2.3", "sequence", None, "T2", by="Ada", at="2026-01-01T00:00:00+00:00")
    cohort.append_label(made, "1.2.3.0:0", "plane", "axial", "coronal", by="Ben", at="2026-01-02T00:00:00+00:00")
    out = label_report.label_table(made.table, cohort.read_log(made))
    assert tuple(out.columns) == label_report.LABEL_COLUMNS
    assert out["SOPInstanceUID"].tolist() == ["1.2.3.0", "1.2.3.1", "1.2.3.2"]
    assert set(out["path"]) <= set(made.table["shown_path"])
    assert out[["plane", "sequence", "by"]].iloc[0].tolist() == ["coronal", "T2", "Ben"]
    assert pd.isna(out["plane"][1]) and out["by"][1] == "Ada"


def test_log_is_listed_newest_first_in_words(made, table):
    line = cohort.append_label(made, "1.2.3", "sequence", None, "T2", by="Ada")
    cohort.append_label(made, ["1.2.0", "1.2.1"], "plane", "axial", "coronal", by="Ben")
    cohort.undo_label(made, line, by="Ben")
    lines = label_report.log_table(table, cohort.read_log(made))
    assert lines["by"].tolist() == ["Ben", "Ada"]
    assert lines["undone"].tolist() == [False, True]
    patient = table.loc["1.2.3.0:0", "PatientID"]
    assert lines["what"].tolist() == ["2 items together", f"{patient} · Series 9"]


# Two people -------------------------------------------------------------------------------------------------


def test_kappa_is_what_one_gets_by_hand():
    # 10 items: both T1 on 4, both T2 on 3, Ada T1 and Ben T2 on 2, the other way round on 1.
    ada = ["T1"] * 4 + ["T2"] * 3 + ["T1", "T1", "T2"]
    ben = ["T1"] * 4 + ["T2"] * 3 + ["T2", "T2", "T1"]
    keys = list("abcdefghij")
    first, second = (pd.DataFrame({"plane": "axial", "sequence": words}, index=keys) for words in (ada, ben))
    second.loc["a", "plane"] = None
    found = label_agreement.agreement(first, second)
    # Observed 7/10; by chance 6/10 · 5/10 + 4/10 · 5/10 = 1/2.
    assert found["sequence"].kappa == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert found["sequence"].matrix.to_numpy().tolist() == [[4, 2], [1, 3]]
    assert found["sequence"].differ.tolist() == ["h", "i", "j"]
    assert (found["sequence"].same, found["sequence"].n) == (7, 10)
    # One and the same word throughout, and an item that one of them left out: nothing beyond chance to measure.
    assert (found["plane"].kappa, found["plane"].n, found["plane"].same) == (None, 9, 9)


def test_agreement_on_nothing_is_no_error():
    empty = pd.DataFrame({"plane": [None], "sequence": [None]}, index=["a"], dtype="str")
    found = label_agreement.agreement(empty, empty)
    assert found["plane"].n == 0 and found["plane"].kappa is None and found["plane"].matrix.empty


# A model's answers ------------------------------------------------------------------------------------------


class FakeWorker:
    """Says axial and T2 of everything, or whatever else `ask` does first."""

    def __init__(self, ask=lambda: None):
        self.ask = ask

    def predict(self, bundle, images):
        self.ask()
        heads = {head: np.tile(np.eye(len(names), dtype=np.float32)[names.index(word)], (len(images), 1))
                 for (head, names), word in zip(CLASSES.items(), ("axial", "T2"), strict=True)}  # fmt: skip
        return inference.Prediction(heads, CLASSES, np.zeros((len(images), 4), np.float32))


class Inline(threading.Thread):
    """A thread that has ended when it was started."""

    def start(self):
        self.run()


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A bundle of which only the card is read."""
    card = {"name": "m", "kind": "dual", "classes": CLASSES, "input_shape": [64, 64, 1], "sha256": "a" * 64,
            "unsure_below": {}}  # fmt: skip
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "card.json").write_text(json.dumps(card))
    monkeypatch.setattr("core.bundle.read_card", lambda folder: card)
    monkeypatch.setattr("core.classify.is_other", lambda images, embeddings, card: np.zeros(len(images), bool))
    monkeypatch.setattr(inference, "get_worker", FakeWorker)
    monkeypatch.setattr(model_answers, "threading", SimpleNamespace(Thread=Inline))
    return card


def test_model_is_asked_once_and_its_answers_order_the_queue(made, table, model):
    assert model_answers.answers_of(made).status == {"state": "none"}
    with pytest.raises(CohortError, match="no answers of model"):
        model_answers.answers_of(made).table("series")
    found = model_answers.start(made)
    assert found.status["state"] == "done"
    assert (found.status["done"], found.status["sha256"]) == (15, model["sha256"])
    assert found.folder == made.folder / "answers" / model["sha256"]
    slices, series = found.table("slices"), found.table("series")
    assert "path" not in slices and "path" not in series and len(slices) == 15
    queue = label_queue.build_queue(table, slices, series)
    assert queue.at["1.2.0", "wrong"] == "disagree" and queue.at["1.2.1", "wrong"] == ""
    assert queue.at["1.2.4.0:0", "model_sequence"] == "T2"


def test_answers_about_an_older_scan_or_of_another_model_do_not_count(made, model):
    model_answers.start(made)
    assert model_answers.answers_of(made).status["state"] == "done"
    later = replace(made, created="2100-01-01T00:00:00+00:00")
    assert model_answers.answers_of(later).status == {"state": "none"}
    model["sha256"] = "b" * 64
    assert model_answers.answers_of(made).status == {"state": "none"}


def test_cancelled_and_interrupted_answers_say_so(made, model, monkeypatch):
    worker = FakeWorker(lambda: model_answers.cancel(model_answers.answers_of(made)))
    monkeypatch.setattr(inference, "get_worker", lambda: worker)
    found = model_answers.start(made)
    assert found.status["state"] == "cancelled"
    status = json.loads((found.folder / "status.json").read_text())
    (found.folder / "status.json").write_text(json.dumps(status | {"state": "running", "process_started": 1.0}))
    assert found.status["state"] == "interrupted"
    (found.folder / "status.json").write_text(json.dumps(status | {"state": "running"}))
    with pytest.raises(CohortError, match="already"):
        model_answers.start(made)


def test_model_that_cannot_be_asked_says_why(made, model, monkeypatch):
    def fail():
        raise CohortError("No luck.")

    monkeypatch.setattr(inference, "get_worker", lambda: FakeWorker(fail))
    assert (model_answers.start(made).status["state"], model_answers.answers_of(made).status["message"]) == (
        "failed", "No luck."
    )  # fmt: skip
