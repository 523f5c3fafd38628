"""Lessons: how their runs are dealt and queued, what is read from them when they are done, and what is said of it."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import cohort, jobs, runs
from core.__main__ import main
from core.cohorts.slice_table import COLUMNS, Cohort, typed
from core.comparing.bootstrap import Bootstrap
from core.config import RunConfig
from core.errors import ConfigError, RunError
from core.learning import lesson_figures, lesson_report, lesson_results, lessons, preflight, run_split
from core.learning.lesson_results import CurveHead, power_law
from core.settings import get_settings
from core.splits import SPLITS, UNSEEN, leaks, patient_split

CLASSES = ["T1", "T2"]
CONFIG = RunConfig("brains", "transfer", "made", label="sequence")


def table_of(patients: int, slices: int = 8, only_t1: tuple[int, ...] = ()) -> pd.DataFrame:
    """Each patient has two series of some slices; some patients have but one sequence."""
    zeros = {column: 0 for column, kind in COLUMNS.items() if kind == "int64"}
    rows = []
    for patient, t2, number in np.ndindex(patients, 2, slices):
        uid = f"1.{patient}.{t2}.{number}"
        rows.append({
            **zeros, "path": f"{uid}.dcm", "shown_path": f"{uid}.dcm", "PatientID": f"P-{patient:02}",
            "SOPInstanceUID": uid, "SeriesInstanceUID": f"1.{patient}.{t2}", "image_number": number,
            "plane": "axial", "sequence": CLASSES[t2 and patient not in only_t1],
        })  # fmt: skip
    return typed(rows, COLUMNS)


def write_cohort(patients: int = 12, **more) -> Cohort:
    folder = get_settings().cohorts_dir / "made"
    folder.mkdir(parents=True)
    table = table_of(patients, **more)
    for path in table["path"]:
        (folder / path).touch()
    rejected = pd.DataFrame({"path": [], "shown_path": [], "reason": [], "file_size": [], "file_mtime_ns": []})
    return cohort.write(Cohort("made", folder, folder, "folder", table, rejected, "2024-01-01T00:00:00"))


@pytest.fixture
def made(workspace, monkeypatch):
    """A cohort without pictures, and a queue that nobody takes runs from."""
    monkeypatch.setattr(jobs, "ensure_dispatcher", lambda: None)
    monkeypatch.setattr(preflight, "check_weights", lambda config: None)
    return write_cohort()


def finish(run_id: str, share_right: dict[str, float], state: str = "done") -> None:
    """Give a queued run a split and answers of which a share is right, the first of each part."""
    run = runs.read_run(run_id)
    config, table = run.config, cohort.read("made").table
    split = run_split.dealt(cohort.read("made"), config)
    kept = ~run_split.left_out(table.assign(split=split), config)
    columns = ["path", "frame", "SOPInstanceUID", "SeriesInstanceUID", "PatientID"]
    part = table[columns].assign(split=split)[kept].reset_index(drop=True)
    part.to_parquet(run.folder / "split.parquet")
    truth = table["sequence"][kept].reset_index(drop=True)
    within = part.groupby("split").cumcount() / part.groupby("split")["split"].transform("size")
    right = within < part["split"].map(share_right).fillna(1.0)
    other = truth.map(dict(zip(CLASSES, CLASSES[::-1], strict=True)))
    part.assign(
        cohort="made", head="sequence", y_true=truth, y_pred=truth.where(right, other),
        y_proba=[[0.9, 0.1]] * len(part),
    ).to_parquet(run.folder / "predictions.parquet")  # fmt: skip
    run.update(state=state)


# Dealing ----------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(patients=st.integers(3, 20), seed=st.integers(0, 99), validation=st.sampled_from([0.1, 0.2, 0.3]))
def test_a_naive_split_leaks_among_all_but_the_honest_test_patients(patients, seed, validation):
    config = RunConfig("x", "transfer", "made", split="naive", random_state=seed,
                       fractions=(0.8 - validation, validation, 0.2))  # fmt: skip
    table = table_of(patients)
    made = Cohort("made", None, None, "folder", table, table, "now")
    naive = run_split.dealt(made, config)
    honest = patient_split(table, config.fractions, seed, "sequence")
    assert (naive == UNSEEN).equals(honest == "test")
    assert set(naive) == {*SPLITS, UNSEEN}
    assert len(leaks(table, naive)) > 0 and UNSEEN not in "".join(leaks(table, naive)["splits"])
    inside = (naive != UNSEEN).sum()
    assert (naive == "train").sum() / inside == pytest.approx((0.8 - validation) / 0.8, abs=0.06)
    pd.testing.assert_series_equal(run_split.dealt(made, config), naive)


def test_the_look_counts_nobody_whom_a_naive_run_does_not_see(made):
    seen = preflight.look(made, replace(CONFIG, split="naive"))
    unseen = int((seen.split == UNSEEN).sum())
    assert unseen > 0
    assert seen.counts["slices"].sum() == sum(n for n, _ in seen.amounts.values()) == len(made.table) - unseen
    assert "too good" in seen.warnings[0] and seen.shared


# Starting ---------------------------------------------------------------------------------------------------


def test_a_naive_lesson_queues_both_runs_and_is_found_again(made):
    lesson = lessons.start_naive(CONFIG)
    honest, naive = (runs.read_run(run_id) for run_id in lesson.runs)
    assert (honest.config.split, naive.config.split) == ("patient", "naive")
    assert honest.status["state"] == naive.status["state"] == "queued"
    assert "lesson" in json.loads((naive.folder / "preflight.json").read_text())["dismissal"]["reason"]
    assert json.loads((honest.folder / "preflight.json").read_text())["dismissal"] is None
    assert lessons.read(lesson.id) == lesson and lessons.list_lessons() == [lesson]
    assert [member.state for member in lessons.active(lesson)] == ["queued", "queued"]


def test_a_curve_takes_each_number_of_patients_once(made):
    lesson = lessons.start_curve(CONFIG)
    shares = [runs.read_run(run_id).config.train_share for run_id in lesson.runs]
    # 7 patients train: 0.7, 1.75, 3.5 and 7 of them.
    assert lesson.patients == (1, 2, 4, 7) and shares == [0.1, 0.25, 0.5, 1.0] and not lesson.notes


def test_equal_numbers_of_patients_are_one_run(workspace, monkeypatch):
    monkeypatch.setattr(jobs, "ensure_dispatcher", lambda: None)
    monkeypatch.setattr(preflight, "check_weights", lambda config: None)
    write_cohort(4)
    lesson = lessons.start_curve(CONFIG)
    # 2 patients train, and 10, 25 and 50 % are one of them.
    assert lesson.patients == (1, 2)
    assert [runs.read_run(run_id).config.train_share for run_id in lesson.runs] == [0.1, 1.0]


def test_a_share_that_shows_one_class_is_left_out_with_its_reason(workspace, monkeypatch):
    monkeypatch.setattr(jobs, "ensure_dispatcher", lambda: None)
    monkeypatch.setattr(preflight, "check_weights", lambda config: None)
    write_cohort(12)
    table = cohort.read("made").table
    mixed = table["PatientID"].isin(["P-00", "P-01", "P-02", "P-03", "P-04", "P-05"])
    made = cohort.read("made")
    words = np.where(mixed, "T1", "T2")
    cohort.write(replace(made, table=made.table.assign(sequence=pd.array(words, dtype="str"))))
    lesson = lessons.start_curve(CONFIG)
    assert lesson.patients == (2, 4, 7)
    assert "10 % of the training patients (1) were left out" in lesson.notes[0]


def test_what_cannot_work_queues_nothing(made, monkeypatch):
    with pytest.raises(ConfigError, match="needs patients for validation and for the test"):
        lessons.start_naive(replace(CONFIG, fractions=(0.8, 0.2, 0.0)))
    submit, asked = jobs.submit, []

    def refuses_the_second(config, **options):
        asked.append(config)
        if len(asked) == 2:
            raise ConfigError("No.")
        return submit(config, **options)

    monkeypatch.setattr(jobs, "submit", refuses_the_second)
    with pytest.raises(ConfigError, match="No"):
        lessons.start_naive(CONFIG)
    assert runs.list_runs() == [] and lessons.list_lessons() == [] and len(asked) == 2


def test_cancel_and_delete(made):
    lesson = lessons.start_curve(CONFIG)
    with pytest.raises(RunError, match="not ended"):
        lessons.delete(lesson)
    lessons.cancel(lesson)
    assert {member.state for member in lessons.members(lesson)} == {"cancelled"}
    lessons.delete(lesson)
    assert lessons.list_lessons() == [] and len(runs.list_runs()) == 4
    for stranger in (lesson.id, "../../etc/passwd", ""):
        with pytest.raises(RunError, match="There is no lesson"):
            lessons.read(stranger)


def test_a_damaged_file_is_passed_over(made):
    lesson = lessons.start_naive(CONFIG)
    path = get_settings().lessons_dir / f"{lesson.id}.json"
    path.write_text(path.read_text().replace('"naive"', '"other"', 1))
    assert lessons.list_lessons() == []
    with pytest.raises(RunError, match="damaged"):
        lessons.read(lesson.id)


# Reading ----------------------------------------------------------------------------------------------------


def test_what_a_naive_test_promised_and_what_came_of_it(made):
    lesson = lessons.start_naive(CONFIG)
    honest, naive = lesson.runs
    assert lesson_results.naive_result(lesson) is None
    finish(naive, {"test": 1.0, UNSEEN: 0.75})
    assert lesson_results.naive_result(lesson) is None
    finish(honest, {"test": 0.5})
    result = lesson_results.naive_result(lesson)
    (head,) = result.heads
    assert head.slices == (20, 32) and head.patients == 2
    assert (float(head.promised.estimate), float(head.naive.estimate), float(head.honest.estimate)) == (1.0, 0.75, 0.5)
    assert float(head.gap.estimate) == 0.25 and head.gap.interval()[0] >= 0
    # Brute force: neighbours in the series of each test slice.
    split = runs.read_run(naive).split()
    place = dict(zip(split["SOPInstanceUID"], split["split"], strict=True))
    tests = [uid for uid, part in place.items() if part == "test"]
    beside = 0
    for uid in tests:
        series, _, number = uid.rpartition(".")
        beside += any(place.get(f"{series}.{int(number) + step}") == "train" for step in (-1, 1))
    assert (result.tested, result.known, result.beside) == (20, 20, beside) and beside > 10
    assert result.trained[0][1] == 7 and result.trained[1][1] == 10
    said = lesson_report.text(lesson, result)
    assert "100.0 % (100.0 to 100.0)" in said and "of 2 people whom it never saw 75.0 %" in said
    assert f"All 20 slices of the naive test show people whom it learnt from, and {beside} have" in said
    assert "2 patients only" in said and "P-0" not in said
    figure = lesson_figures.naive(result.heads)
    assert [trace.x[0] for trace in figure.data] == [1.0, 0.75, 0.5]


def test_verdicts_on_the_gap():
    def head(promised, came):
        one, other = np.array(promised, float), np.array(came, float)
        parts = [Bootstrap(draws.mean(), draws, 12) for draws in (one, other, other)]
        gap = Bootstrap(one.mean() - other.mean(), one - other, 12)
        return lesson_results.NaiveHead("plane", *parts, gap, (10, 10))

    assert "promised 20.0 points too much" in lesson_report.naive_sentences(head([0.9, 0.9], [0.7, 0.7]))[0]
    assert "could be chance" in lesson_report.naive_sentences(head([0.9, 0.7], [0.8, 0.8]))[0]
    assert "these people are easier" in lesson_report.naive_sentences(head([0.7, 0.7], [0.9, 0.9]))[0]
    assert lesson_report.weakness(head([0.7], [0.9])) == ""


def test_a_curve_grows_as_its_runs_end(made):
    lesson = lessons.start_curve(CONFIG)
    assert lesson_results.curve_result(lesson) == ()
    for at, right in enumerate((0.5, 0.625, 0.75, 0.875)):
        finish(lesson.runs[at], {"test": right})
        (head,) = lesson_results.curve_result(lesson)
        assert head.trained == lesson.patients[: at + 1] and head.slices == 32
        assert (head.law is None) == (at < 3)
        assert len(lesson_figures.curve((head,)).data) == (1 if at < 3 else 3)
    assert [float(one.estimate) for one in head.accuracy] == [0.5, 0.625, 0.75, 0.875]
    said = lesson_report.text(lesson, (head,))
    assert "From 4 to 7 patients in training, accuracy rose by 12.5 points" in said
    assert "puts 14 patients at" in said and "2 patients only" in said
    # One that came to nothing leaves a curve of the others, without a fit.
    runs.read_run(lesson.runs[1]).update(state="failed")
    (head,) = lesson_results.curve_result(lesson)
    assert head.trained == (1, 4, 7) and head.law is None


def curve_head(accuracies, spread=0.0, patients=20, trained=(1, 2, 4, 8)):
    rng = np.random.default_rng(0)
    noise = spread * rng.standard_normal((len(accuracies), 2000))
    points = tuple(Bootstrap(np.array(a), np.clip(a + noise[at], 0, 1), patients) for at, a in enumerate(accuracies))
    return CurveHead("plane", trained, points, 500, power_law(trained, points, 500))


@pytest.mark.parametrize(
    ("accuracies", "spread", "said"),
    [
        ((0.5, 0.6, 0.7, 0.8), 0.01, "more patients are likely to help"),
        ((0.5, 0.7, 0.8, 0.8), 0.001, "unlikely to help"),
        ((0.5, 0.7, 0.8, 0.81), 0.03, "more test patients would tell"),
        ((0.5, 0.9, 0.97, 0.999), 0.0001, "hardly anything left to gain"),
    ],
)
def test_advice_follows_the_numbers(accuracies, spread, said):
    assert said in lesson_report.curve_sentence(curve_head(accuracies, spread)).lower()


def test_few_or_single_test_patients_are_named():
    assert "As far as 2 test patients can tell" in lesson_report.curve_sentence(curve_head((0.5, 0.6), 0.01, 2, (1, 2)))
    alone = curve_head((0.5, 0.6, 0.7, 0.8), 0.01, 1)
    assert "One test patient tells nothing" in lesson_report.curve_sentence(alone) and alone.law is None
    assert "Only one patient" in lesson_report.weakness(alone)


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.1, 0.8), power=st.floats(0.05, 1.5))
def test_a_power_law_is_found_again(scale, power):
    trained = (2, 4, 8, 16, 32)
    points = [Bootstrap(np.array(1 - scale * n**-power), np.full(50, 1 - scale * n**-power), 9) for n in trained]
    law = power_law(trained, points, 10**9)
    np.testing.assert_allclose(1 - law.accuracy, scale * law.patients**-power, rtol=1e-3, atol=1e-7)
    assert law.patients[0] == pytest.approx(2) and law.patients[-1] == pytest.approx(64)
    assert (law.low <= law.accuracy + 1e-6).all() and (law.accuracy <= law.high + 1e-6).all()


def test_points_off_a_line_widen_the_band():
    near, far = (curve_head(values, 0.001).law for values in ((0.5, 0.6, 0.68, 0.744), (0.5, 0.7, 0.6, 0.75)))
    assert (far.high - far.low)[-1] > 3 * (near.high - near.low)[-1]


def test_the_command_queues_a_lesson(made, capsys):
    flags = ["--kind", "transfer", "--label", "sequence", "--cohort", "made", "--no-wait", "--dismiss-leaks", "blank"]
    from core.cohorts import leaks as picture_leaks

    empty = pd.DataFrame()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture_leaks, "check", lambda *args: picture_leaks.LeakReport(empty, empty, empty, 0))
        patch.setattr(preflight, "_report", lambda *args: {"estimate": None, "dismissal": None})
        assert main(["lesson", "naive", *flags]) == 0
        assert main(["lesson", "curve", *flags]) == 0
    said = capsys.readouterr().out
    assert said.count("is queued: ") == 2 and [lesson.kind for lesson in lessons.list_lessons()] == ["curve", "naive"]
    assert main(["lesson", "other", *flags]) == 2
