"""The look before a start: what it counts, what it refuses, and that an alarm must be dismissed in words."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from core import batches, cohort, jobs, runs, training
from core.cohorts import default_split, leaks
from core.config import RunConfig
from core.errors import ConfigError, WeightsUnavailable
from core.learning import pace_measure, preflight, view_samples
from core.learning.preflight import look, require
from core.settings import get_settings

PLANES = {"axial": [1, 0, 0, 0, 1, 0], "coronal": [1, 0, 0, 0, 0, -1]}


def write(folder, make_dataset, patients=6, planes=tuple(PLANES), twins=()) -> cohort.Cohort:
    """Index a folder in which each patient has two slices a plane; a twin is somebody's files under another name."""
    raw = folder / "raw"
    for patient in range(patients):
        rng = np.random.default_rng(patient)
        for plane in planes:
            for number in (1, 2):
                coarse = rng.integers(0, 900, (6, 6)).astype("<u2")
                uid = f"1.{patient}.{list(PLANES).index(plane)}"
                for name, more in [(f"P{patient}", ""), *([(f"T{patient}", ".9")] if patient in twins else [])]:
                    path = raw / name / f"{plane}-{number}.dcm"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    make_dataset(
                        np.kron(coarse, np.ones((8, 8), "<u2")), PatientID=name, StudyInstanceUID=f"1.{patient}{more}",
                        SeriesInstanceUID=uid + more, SOPInstanceUID=f"{uid}.{number}{more}", InstanceNumber=number,
                        ImageOrientationPatient=PLANES[plane], ImagePositionPatient=[5 * number] * 3,
                    ).save_as(path, enforce_file_format=True)  # fmt: skip
    return cohort.write(cohort.scan(raw, "made"))


def config(**changes) -> RunConfig:
    return RunConfig("x", "transfer", "made", **{"label": "plane", "image_size": 32, **changes})


@pytest.fixture
def made(workspace, tmp_path, make_dataset):
    return write(tmp_path, make_dataset)


@pytest.fixture
def started(monkeypatch):
    """Let nothing run that was queued."""
    asked = []
    monkeypatch.setattr(jobs, "ensure_dispatcher", lambda: asked.append(True))
    return asked


def test_counts_are_those_of_the_training(made, tmp_path):
    seen = look(made, config())
    table, classes = training._labelled(made, config())
    by = table.groupby(["plane", "split"])["PatientID"]
    counts = seen.counts.set_index(["label", "split"])
    assert counts["slices"].to_dict() == by.size().to_dict()
    assert counts["patients"].to_dict() == by.nunique().to_dict()
    assert sum(n for n, _ in seen.amounts.values()) == len(table) == 24
    assert seen.split_hash == training._write_split(table, tmp_path)
    assert (seen.refusals, seen.shared, seen.unlabelled, seen.left_out) == ((), (), 0, 0)
    assert seen.counts["label"].drop_duplicates().tolist() == classes["plane"]


def test_what_is_dropped_is_counted(made):
    table = made.table.copy()
    table.loc[table.index[:3], "plane"] = None
    lost = replace(made, table=table)
    assert look(lost, config()).unlabelled == 3
    half = look(lost, config(train_share=0.5))
    assert half.left_out > 0
    assert half.left_out + half.unlabelled + sum(n for n, _ in half.amounts.values()) == len(table)


def test_a_class_that_a_part_lacks_is_named(made):
    default_split.save_default_split(made, look(made, config()).split, {})
    judged = (look(made, config(split="cohort")).split == "test").to_numpy()
    table = made.table.assign(plane=made.table["plane"].mask(judged & (made.table["plane"] == "coronal").to_numpy()))
    seen = look(replace(made, table=table), config(split="cohort"))
    assert seen.missing == ("No test slice shows coronal (plane): these classes cannot be judged.",)
    assert look(made, config(split="cohort")).missing == ()


def test_both_heads_of_a_dual_run_are_counted(made):
    table = made.table.assign(sequence=np.where(np.arange(len(made.table)) % 2, "T1", "T2"))
    seen = look(replace(made, table=table), replace(config(), kind="dual"))
    assert set(seen.counts["head"]) == {"plane", "sequence"}
    assert not seen.refusals


def test_one_class_is_refused(workspace, tmp_path, make_dataset):
    flat = write(tmp_path, make_dataset, planes=("axial",))
    (sentence,) = look(flat, config()).refusals
    assert "show 1 class of plane (axial); at least 2 are needed" in sentence


def test_no_validation_patients_are_refused_and_no_test_is_told(made):
    (sentence,) = look(made, config(fractions=(1.0, 0.0, 0.0))).refusals
    assert "left for validation" in sentence
    (sentence,) = look(made, config(fractions=(0.5, 0.5, 0.0))).warnings
    assert "left for the test" in sentence


def test_files_that_are_gone_are_refused(made):
    assert not look(made, config()).refusals
    (made.root / made.table["path"].iloc[0]).unlink()
    (sentence,) = look(made, config()).refusals
    assert "1 of 24" in sentence and "P0" not in sentence
    (sentence,) = look(replace(made, root=made.root / "elsewhere"), config()).refusals
    assert "24 of 24" in sentence


def test_weights_that_are_missing_or_something_else_are_refused(made, tmp_path):
    for name, data, words in (("gone.keras", None, "no weights file gone.keras"), ("a.keras", b"text", "damaged"),
                              ("b.weights.h5", b"PK\x03\x04zip", "damaged")):  # fmt: skip
        if data is not None:
            (tmp_path / name).write_bytes(data)
        (sentence,) = look(made, config(weights=str(tmp_path / name))).refusals
        assert words in sentence and str(tmp_path) not in sentence
    with zipfile.ZipFile(tmp_path / "good.keras", "w") as file:
        file.writestr("config.json", "{}")
    (tmp_path / "good.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n and more")
    for name in ("good.keras", "good.weights.h5"):
        assert not look(made, config(weights=str(tmp_path / name))).refusals


@pytest.mark.parametrize(
    ("device", "gpus", "devices", "words"),
    [
        ("gpu:0", 0, 1, "gpu:0 is not there"), ("gpu:2", 2, 1, "gpu:2 is not there"), ("fast", 0, 1, "must be auto"),
        ("auto", 2, 3, "3 devices are asked for and 2 can"), ("gpu:1", 2, 1, ""), ("auto", 2, 2, ""),
        ("auto", 0, 3, "3 devices are asked for and 1 can"), ("gpu:0,gpu:1", 2, 2, ""),
        ("gpu:0,gpu:5", 2, 1, "gpu:5 is not there"),
    ],
)  # fmt: skip
def test_a_device_that_is_not_there_is_refused(made, monkeypatch, device, gpus, devices, words):
    monkeypatch.setenv("SLICESCOPE_DEVICE", device)
    get_settings.cache_clear()
    monkeypatch.setattr(preflight.device_load, "gpu_ids", lambda: tuple(map(str, range(gpus))))
    refusals = look(made, config(devices=devices)).refusals
    assert len(refusals) == bool(words)
    assert not words or words in refusals[0]


def test_a_processor_that_is_split_can_share_a_run(made, monkeypatch):
    monkeypatch.setenv("SLICESCOPE_LOGICAL_CPUS", "2")
    get_settings.cache_clear()
    assert not look(made, config(devices=2)).refusals
    assert "3 devices" in look(made, config(devices=3)).refusals[0]


def test_more_memory_than_there_is_is_refused(made, monkeypatch):
    monkeypatch.setattr(preflight, "_memory_mb", lambda: 0.05)
    (sentence,) = look(made, config()).refusals
    assert "of memory are needed" in sentence
    assert preflight.cost_refusal(pace_measure.Estimate({}, 1.0))
    assert not preflight.cost_refusal(pace_measure.Estimate({}, 0.01))


def test_imagenet_needs_the_cache_or_the_network(made, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    online = []
    monkeypatch.setattr(preflight, "_reachable", lambda address: bool(online))
    wanted = config(backbone="MobileNetV2", weights="imagenet", image_size=96)
    with pytest.raises(WeightsUnavailable, match="Offline choices: the slicescope backbone"):
        preflight.check_weights(wanted)
    (tmp_path / "models").mkdir()
    # The file is another one for each of five sizes, and that of 224 for all others.
    (tmp_path / "models" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5").touch()
    preflight.check_weights(wanted)
    with pytest.raises(WeightsUnavailable):
        preflight.check_weights(replace(wanted, image_size=64))
    online.append(True)
    preflight.check_weights(replace(wanted, image_size=64))


def test_nobody_answers_at_a_closed_port():
    assert not preflight._reachable("http://127.0.0.1:9")


def test_a_split_by_slice_leaks_and_says_so(made):
    seen = look(made, config(split="slice"))
    assert len(seen.shared) > 1
    assert any("dealt one by one" in sentence for sentence in seen.warnings)
    (alarm,) = preflight.alarms(seen, None)
    assert f"{len(seen.shared)} patients have slices in more than one part" in alarm


def test_a_saved_split_that_is_not_there_is_an_error(made):
    with pytest.raises(ConfigError, match="has no saved split"):
        look(made, config(split="cohort"))


# The gate


def test_what_cannot_work_never_queues(made, started):
    with pytest.raises(ConfigError, match="left for validation"):
        jobs.submit(config(fractions=(1.0, 0.0, 0.0)))
    with pytest.raises(ConfigError, match="This split leaks: 5 patients have"):
        jobs.submit(config(split="slice"))
    with pytest.raises(ConfigError, match="leaks"):
        jobs.submit(config(split="slice"), dismissed="  ")
    assert runs.list_runs() == [] and not started


def test_the_look_stands_in_the_run_folder(made, started):
    run = jobs.submit(config())
    report = json.loads((run.folder / "preflight.json").read_text())
    assert report["parts"]["train"]["slices"] == look(made, config()).amounts["train"][0]
    assert report["dismissal"] is None and report["pictures_compared"] is None
    assert preflight.limits(run.folder) == []
    assert "The same run is queued already" in preflight.twin(config())
    assert preflight.twin(config(epochs=9)) == ""
    again = jobs.submit(config())  # a twin is only told
    assert any(run.id in sentence for sentence in json.loads((again.folder / "preflight.json").read_text())["warnings"])


def test_equal_pictures_under_two_names_are_an_alarm(workspace, tmp_path, make_dataset, started):
    made = write(tmp_path, make_dataset, patients=4, twins=(0, 1, 2, 3))
    people = made.table.groupby("PatientID")["path"].first().str.split("/").str[0]
    # Everybody learns, and everybody's twin is the test but for one.
    part = people.map(lambda name: "train" if name[0] == "P" else "validation" if name == "T0" else "test")
    default_split.save_default_split(made, made.table["PatientID"].map(part), {})
    wanted, made = config(split="cohort"), cohort.read(made.name)
    seen = look(made, wanted)
    assert not seen.shared
    told = []
    with pytest.raises(ConfigError, match="16 pictures equal to one of another part"):
        jobs.submit(wanted, report=lambda done, total: told.append((done, total)))
    assert told[-1] == (32, 32)
    found = leaks.check(made, seen.split)
    run = jobs.submit(wanted, found=found, dismissed="copies on purpose")
    report = json.loads((run.folder / "preflight.json").read_text())
    assert report["dismissal"]["reason"] == "copies on purpose" and report["dismissal"]["when"] == report["looked"]
    assert len(report["shared_pictures"]) == 16 and report["shared_pictures"][0]["how"] == "equal"
    (sentence,) = preflight.limits(run.folder)
    assert "16 pictures equal" in sentence and sentence.endswith("copies on purpose")


@pytest.mark.slow
def test_a_dismissal_stands_on_the_card(made, started, monkeypatch):
    monkeypatch.setattr("core.evaluation.evaluate", lambda run, report=None: None)
    run = jobs.submit(config(split="slice", epochs=1, weights="none"), dismissed="a lesson")
    card = training.train(run.config, run.folder)
    assert any(
        "5 patients have slices in more than one part" in limit and "a lesson" in limit for limit in card["limits"]
    )


def test_a_report_of_somebody_else_is_an_error(tmp_path):
    (tmp_path / "preflight.json").write_text("[]")
    with pytest.raises(ConfigError, match="no look before a start"):
        preflight.limits(tmp_path)


def test_an_estimate_that_is_known_is_written(made, monkeypatch):
    one = pace_measure.Measured("CPU", 5, 2, 2, 10, 1, 4, 100, 3, 1, 4, 500, 0.1)
    monkeypatch.setattr(pace_measure, "known", lambda config: one)
    assert require(config())["estimate"]["seconds"] > 5
    monkeypatch.setattr(preflight, "_memory_mb", lambda: 400)
    with pytest.raises(ConfigError, match="of memory are needed"):
        require(config())


def test_other_runs_leave_what_can_be_used(made):
    seen, mine = look(made, config()), config()
    for others, expected in (
        ([], (False, False)),
        ([("a", mine)], (True, True)),
        ([("shipped", mine)], (True, False)),
        ([("a", config(augment_views=1))], (True, False)),
        ([("a", config(weights="none"))], (True, False)),
        ([("a", config(image_size=64))], (False, False)),
        ([("a", replace(mine, cohort="other"))], (False, False)),
    ):
        work = seen.work(mine, 5.0, others)
        assert (work.inputs_stored, work.features_stored) == expected


# Samples


def test_samples_are_of_every_class_and_always_the_same(made):
    seen = look(made, config())
    one, two = (view_samples.draw_samples(made, config(), seen.split, 6) for _ in range(2))
    assert one.words == two.words and sorted(one.words) == ["axial"] * 3 + ["coronal"] * 3
    np.testing.assert_array_equal(one.changed, two.changed)
    assert one.originals.shape == one.changed.shape == (6, 32, 32)
    assert (one.originals != one.changed).mean() > 0.3
    other = view_samples.draw_samples(made, config(random_state=1), look(made, config(random_state=1)).split, 6)
    assert (other.changed != one.changed).any()


def test_samples_are_training_slices(made):
    seen = look(made, config())
    learning = made.table[(seen.split == "train").to_numpy()]
    shown = view_samples.draw_samples(made, config(), seen.split, 99)
    assert len(shown.words) == len(learning)
    expected = np.round(255 * batches.model_inputs(made, learning, 32)).astype(np.uint8)
    assert {one.tobytes() for one in shown.originals} == {one.tobytes() for one in expected}


def test_large_samples_are_shown_small(made):
    shown = view_samples.draw_samples(made, config(image_size=224), look(made, config()).split, 2)
    assert shown.originals.shape == (2, 160, 160) and shown.originals.std() > 10


def test_a_table_without_rows_is_refused(made):
    empty = replace(made, table=made.table.head(0))
    refusals = look(empty, config()).refusals
    assert any("no slices" in sentence for sentence in refusals)
    assert isinstance(look(empty, config()).counts, pd.DataFrame)
