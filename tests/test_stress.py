"""The stress bench: each change does what its name says, grows, repeats itself, and is counted right."""

import itertools
import json
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import cohort, inference, runs
from core.analysis import analyses, stress
from core.analysis.stress_changes import CHANGES, Slice, change_named, changed, model_input, slice_of
from core.config import RunConfig
from core.errors import InputError, RunError
from core.images import intensity_range

CLASSES = ["T1", "T2"]
SEED = (0, 1)
PATIENTS, SLICES = 4, 6


def head_slice(spacing=(1.0, 1.0), shape=(128, 96)) -> Slice:
    """A bright disc with a darker, off-centre one in it, on black."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    pixels = np.zeros(shape, np.float32)
    pixels[np.hypot((rows - 60) / 45, (columns - 48) / 38) < 1] = 800
    pixels[np.hypot(rows - 45, columns - 35) < 12] = 300
    return Slice(pixels, spacing)


def applied(name: str, strength, made: Slice | None = None, seed=SEED) -> Slice:
    return changed(made or head_slice(), change_named(name), strength, seed)


# Changes --------------------------------------------------------------------------------------------------


def test_noise_has_the_ratio_that_is_asked_for():
    made = head_slice()
    for snr in (40.0, 10.0, 5.0):
        noisy = applied("noise", snr, made).pixels
        body = made.pixels == 800
        # Far above the noise Rician is nearly Gaussian, with the sigma of one channel.
        assert noisy[body].std() == pytest.approx(made.signal / snr, rel=0.05)
        # In air it is Rayleigh: a mean of sigma times the root of pi / 2.
        air = noisy[made.pixels == 0]
        assert air.mean() == pytest.approx(made.signal / snr * np.sqrt(np.pi / 2), rel=0.05)


def test_blur_is_in_mm():
    point = np.zeros((65, 65), np.float32)
    point[32, 32] = 1000
    spread = applied("blur", 6.0, Slice(point, (1.0, 2.0))).pixels
    along = spread[32] / spread.max()
    down = spread[:, 32] / spread.max()
    assert down[32 + 3] == pytest.approx(0.5, abs=0.01)  # half of the maximum at half the width, 3 mm
    assert along[32 + 1] == pytest.approx(0.5 ** (4 / 9), abs=0.01)  # 2 mm
    assert spread.sum() == pytest.approx(1000, rel=1e-3)


def test_resolution_gives_pixels_of_that_size_and_leaves_larger_ones():
    coarse = applied("resolution", 4.0, head_slice((1.0, 2.0)))
    assert coarse.spacing_mm == pytest.approx((4.0, 4.0)) and coarse.pixels.shape == (32, 48)
    assert coarse.pixels.mean() == pytest.approx(head_slice().pixels.mean(), rel=1e-3)
    same = applied("resolution", 2.0, head_slice((3.0, 3.0)))
    np.testing.assert_array_equal(same.pixels, head_slice().pixels)


def test_bias_spans_what_it_says():
    flat = Slice(np.where(np.arange(100)[:, None] < 2, 0, 100) * np.ones((100, 100), np.float32))
    field = applied("bias", 80.0, flat).pixels[2:] / 100
    assert field.max() - field.min() == pytest.approx(0.8, abs=0.03)


def test_rotation_turns_by_the_angle_and_keeps_shapes_of_oblong_pixels():
    bar = np.zeros((64, 128), np.float32)
    bar[28:36, 10:118] = 1000  # lies along the columns, whose pixels are half as wide
    turned = applied("rotation", 90.0, Slice(bar, (1.0, 0.5)))
    assert turned.spacing_mm == (0.5, 0.5)
    rows, columns = np.nonzero(turned.pixels > 500)
    # 54 mm by 8 mm, now upright.
    assert np.ptp(rows) * 0.5 == pytest.approx(54, abs=1.5) and np.ptp(columns) * 0.5 == pytest.approx(8, abs=1.5)


def test_inversion_mirroring_gamma_and_cropping_are_exact():
    made = head_slice()
    low, high = intensity_range(made.pixels)
    inverted = applied("inversion", "picture", made).pixels
    np.testing.assert_allclose(inverted, low + high - np.clip(made.pixels, low, high))
    head_only = applied("inversion", "head", made).pixels
    assert (head_only[made.pixels == 0] == 0).all() and (head_only[made.pixels == 300] == 500).all()
    np.testing.assert_array_equal(applied("mirroring", "both", made).pixels, made.pixels[::-1, ::-1])
    np.testing.assert_array_equal(applied("mirroring", "left–right", made).pixels, made.pixels[:, ::-1])
    assert applied("gamma", 2.5, made).pixels[45, 35] == pytest.approx(800 * (300 / 800) ** 2.5, rel=1e-4)
    np.testing.assert_array_equal(applied("cropping", 10.0, made).pixels, made.pixels[12:-12, 9:-9])


@pytest.mark.parametrize("change", [change for change in CHANGES if change.growing], ids=lambda change: change.name)
def test_each_strength_changes_more_than_the_one_before(change):
    made = head_slice()
    plain = model_input(made, 64)
    distance = [np.abs(model_input(changed(made, change, at, SEED), 64) - plain).mean() for at in change.strengths]
    # A turn by 90° of a nearly round head may differ less than one by 45°, as may a crop that leaves only brain; one
    # that leaves all of the head takes away what is not seen anyway.
    steps = {"rotation": distance[:4], "cropping": distance[1:4]}.get(change.name, distance)
    # Where the head lies is found to a pixel of the slice, and mild changes weigh no more than that.
    assert all(later > one - 0.005 for one, later in itertools.pairwise(steps)), distance
    assert steps[-1] > 2 * steps[0] > 0, distance


def test_a_crop_that_leaves_the_head_whole_hardly_matters():
    made = head_slice()
    plain = model_input(made, 64)
    mild, hard = (np.abs(model_input(applied("cropping", at, made), 64) - plain).mean() for at in (10.0, 20.0))
    assert mild < 0.02 < 0.1 < hard


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_one_seed_gives_one_picture(change):
    for at in change.strengths:
        once, twice = (applied(change.name, at).pixels for _ in range(2))
        np.testing.assert_array_equal(once, twice)
    assert (applied("noise", 5.0).pixels != applied("noise", 5.0, seed=(1, 1)).pixels).any()


@pytest.mark.filterwarnings("error")
@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)), fill=st.sampled_from([0.0, 7.0, np.nan, np.inf]),
    spacing=st.tuples(st.sampled_from([0.3, 1.0, 9.0, 0.0, np.nan]), st.sampled_from([0.3, 1.0, 9.0])),
)  # fmt: skip
def test_no_slice_is_too_odd(shape, fill, spacing):
    pixels = np.random.default_rng(0).random(shape)
    pixels[0, 0] = fill
    for image in stress.pictures(slice_of(pixels, spacing), "a", 16, 0):
        assert image.shape == (16, 16) and np.isfinite(image).all() and 0 <= image.min() <= image.max() <= 1


# Which slices ---------------------------------------------------------------------------------------------


def predictions(n=200, split="test", seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        "SOPInstanceUID": [f"1.{n}" for n in range(n)], "frame": 0, "split": split, "head": "sequence",
        "PatientID": rng.choice(["A", "B", "C", "D"], n, p=[0.85, 0.05, 0.05, 0.05]),
        "y_true": pd.array(rng.choice(["T1", "T2", None], n, p=[0.7, 0.2, 0.1]), dtype="str"),
    })  # fmt: skip


def test_sample_is_even_over_classes_and_patients():
    table = predictions()
    chosen = stress.sample(table, 8, 0)
    table = table.assign(key=table["SOPInstanceUID"] + ":0").set_index("key").loc[chosen["key"]]
    assert table["y_true"].value_counts().to_dict() == {"T1": 8, "T2": 8}
    # Each patient has at least two slices of T1, so each gives two, however many the first one has.
    assert table[table["y_true"] == "T1"]["PatientID"].value_counts().to_dict() == dict.fromkeys("ABCD", 2)
    assert stress.sample(predictions(), 8, 0).equals(chosen)
    assert not stress.sample(predictions(), 8, 1).equals(chosen)


def test_sample_takes_the_part_that_is_judged():
    both = pd.concat([predictions(50, "train"), predictions(20, "validation").assign(frame=1)])
    assert stress.sample(both, 3, 0)["key"].str.endswith(":1").all()
    with pytest.raises(RunError, match="known answer"):
        stress.sample(predictions().assign(y_true=pd.array([None] * 200, dtype="str")), 3, 0)


# Scores ---------------------------------------------------------------------------------------------------


def answers(right: np.ndarray, p: np.ndarray) -> pd.DataFrame:
    """Answers of n slices at every step; right of shape (n, 2) for the slice as it is and for all else."""
    names, labels = zip(*(step.words for step in stress.STEPS), strict=True)
    rows = []
    for number in range(len(right)):
        for at, (change, strength) in enumerate(zip(names, labels, strict=True)):
            good = right[number, min(at, 1)]
            rows.append({"key": f"k{number}", "step": at, "change": change, "strength": strength, "head": "sequence",
                         "PatientID": f"P{number % 3}", "y_true": "T1", "y_pred": "T1" if good else "T2",
                         "p": p[number, min(at, 1)]})  # fmt: skip
    return pd.DataFrame(rows)


def test_curves_are_those_counted_by_hand():
    right = np.array([[1, 1], [1, 0], [1, 0], [1, 1], [0, 0], [1, 0]])
    p = np.array([[0.99, 0.95], [0.99, 0.95], [0.5, 0.5], [0.8, 0.91], [0.7, 0.4], [0.9, np.nan]])
    drawn = stress.curves(answers(right, p))
    plain, noisy = drawn.iloc[0], drawn.iloc[1]
    assert plain["accuracy"] == pytest.approx(5 / 6) and noisy["accuracy"] == pytest.approx(2 / 6)
    assert noisy["loss"] == pytest.approx(3 / 6) and plain["loss"] == 0
    assert noisy["sure"] == pytest.approx(3 / 6) and noisy["sure_right"] == pytest.approx(2 / 3)
    assert noisy["mean_p"] == pytest.approx((0.95 + 0.95 + 0.5 + 0.91 + 0.4) / 5)
    assert 0 <= noisy["low"] <= noisy["accuracy"] <= noisy["high"] <= 1
    assert noisy["slices"] == 6 and noisy["patients"] == 3 and not stress.outdated(drawn)


def test_a_single_patient_has_no_interval_and_nobody_is_warned_about_nothing():
    made = answers(np.ones((3, 2)), np.full((3, 2), np.nan)).assign(PatientID="P")
    drawn = stress.curves(made)
    assert drawn["low"].isna().all() and drawn["sure_right"].isna().all()
    assert stress.sentence(drawn, "sequence", CHANGES[0]) == "sequence holds: it loses nothing."


def test_a_loss_that_may_be_chance_is_called_so():
    right = np.array([[1, 0], [1, 1], [1, 1], [1, 1], [1, 1], [1, 1]])
    drawn = stress.curves(answers(right, np.full((6, 2), 0.95)))
    assert "with other patients that could be nothing" in stress.sentence(drawn, "sequence", CHANGES[0])


def test_gamma_has_none_between_its_two_sides():
    labels = [step.words[1] for step in stress.steps_of("gamma")]
    assert labels == ["0.4", "0.6", "0.8", stress.NEUTRAL, "1.25", "1.7", "2.5"]
    drawn = stress.curves(answers(np.ones((3, 2)), np.ones((3, 2))))
    assert stress.curve(drawn, "sequence", change_named("gamma"))["strength"].tolist() == labels


# The whole bench ------------------------------------------------------------------------------------------


class Brightness:
    """Answers T2 where a picture is bright, T1 where it is dark."""

    def predict(self, bundle, images):
        share = np.clip(images.mean(axis=(1, 2)), 0, 1)
        proba = np.stack([1 - share, share], axis=1).astype(np.float32)
        return inference.Prediction({"sequence": proba}, {"sequence": CLASSES}, np.zeros((len(images), 2), np.float32))


@pytest.fixture
def run(workspace, make_slice, monkeypatch):
    """An evaluated run over 24 slices of four patients; half are bright, and those are T2."""
    for patient, number in np.ndindex(PATIENTS, SLICES):
        t2 = number % 2
        pixels = np.full((32, 32), 100, "<u2")
        pixels[2:-2, 2:-2] = 1000
        if not t2:
            pixels[6:] = 100
        make_slice(
            workspace / "raw" / f"Lovelace-{patient}" / f"{number}.dcm", pixels, PatientID=f"Lovelace-{patient}",
            SeriesInstanceUID=f"1.2.{patient}.{t2}", SOPInstanceUID=f"1.2.{patient}.{t2}.{number}",
            InstanceNumber=number, ImagePositionPatient=[0, 0, 5 * number], StudyInstanceUID=f"1.2.{patient}",
        )  # fmt: skip
    made = cohort.write(cohort.scan(workspace / "raw", "made"))
    run = runs.create_run(RunConfig("bench", "transfer", "made"), "bench", state="done")
    table = made.table
    true = np.where(table["SeriesInstanceUID"].str.endswith(".1"), "T2", "T1")
    columns = ["path", "frame", "SOPInstanceUID", "SeriesInstanceUID", "PatientID"]
    table[columns].assign(
        split="test", cohort="made", head="sequence", y_true=true, y_pred=true, y_proba=[[0.5, 0.5]] * len(table)
    ).to_parquet(run.folder / "predictions.parquet")
    run.bundle.mkdir()
    card = {
        "name": "bench",
        "kind": "transfer",
        "classes": {"sequence": CLASSES},
        "input_shape": [32, 32, 1],
        "sha256": "0",
    }
    (run.bundle / "card.json").write_text(json.dumps(card))
    monkeypatch.setattr(inference, "get_worker", Brightness)
    return run


def test_bench_asks_about_every_step_of_every_slice(run):
    seen = []
    drawn = stress.work(run, 6, report=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 12) and seen[-1] == (12, 12)
    stored = pd.read_parquet(analyses.folder(run) / "stress.parquet")
    assert len(stored) == 12 * len(stress.STEPS) and set(stored["y_true"]) == {"T1", "T2"}
    assert drawn.loc[0, "accuracy"] == 1
    # This model looks at brightness alone, so a negative turns every answer round.
    inverted = drawn[(drawn["change"] == "inversion") & (drawn["strength"] == "picture")]
    assert inverted["accuracy"].item() == 0
    assert drawn[drawn["change"] == "mirroring"]["accuracy"].tolist() == [1, 1, 1]
    status = stress.status(run)
    assert status["state"] == "done" and status["slices"] == 12 and status["sha256"] == "0"
    assert stress.estimate_s(run, 6) == pytest.approx(status["seconds"], rel=0.01, abs=0.2)
    assert "Lovelace" not in (analyses.folder(run) / "stress.json").read_text()
    again = stress.measure(run, 6)
    pd.testing.assert_frame_equal(drawn, again)


def test_bench_refuses_nonsense_and_says_why_it_failed(run):
    with pytest.raises(InputError, match="at least one slice"):
        stress.work(run, 0)
    assert stress.status(run)["state"] == "failed" and "at least one slice" in stress.status(run)["message"]


def test_a_running_bench_is_followed_cancelled_and_not_started_twice(run, monkeypatch, tmp_path):
    fake = tmp_path / "sleeper"
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    assert stress.status(run) == {"state": "none"}
    stress.start(run)
    assert stress.status(run)["state"] == "running"
    with pytest.raises(RunError, match="running already"):
        stress.start(run)
    with pytest.raises(RunError, match="running already"):
        stress.work(run)
    pid = stress.status(run)["pid"]
    began = time.monotonic()
    stress.cancel(run)
    assert time.monotonic() - began < 5 and stress.status(run)["state"] == "cancelled"
    # Somebody waited for it: no process is left, not even in the system's list.
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not psutil.pid_exists(pid)


def test_a_bench_whose_process_is_gone_is_interrupted(run):
    analyses.folder(run).mkdir(exist_ok=True)
    gone = {"state": "running", "message": "", "done": 3, "total": 9, "pid": 1 << 22, "process_started": 0.0}
    (analyses.folder(run) / "stress.json").write_text(json.dumps(gone))
    assert stress.status(run)["state"] == "interrupted"


def test_the_process_says_in_one_line_what_is_wrong(workspace, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["core.analysis.stress", "no-such-run", "3", "0"])
    assert stress.main() == 2
    assert "no run 'no-such-run'" in capsys.readouterr().err
