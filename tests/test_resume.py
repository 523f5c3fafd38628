"""Real training processes that are killed, cancelled and resumed: the end is the same as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from core import bundle, cohort, runs
from core.config import RunConfig
from core.learning import checkpoints, epochs
from core.settings import PROJECT_DIR, get_settings

#: How far a weight of a resumed run may lie from that of an unbroken one, on one machine's CPU. Weights are of the
#: order of 0.1 to 1, and float32 tells 1 from 1 + 1.2e-7.
TOLERANCE = 1e-6

PLANES = {"axial": [1, 0, 0, 0, 1, 0], "coronal": [1, 0, 0, 0, 0, -1], "sagittal": [0, 1, 0, 0, 0, -1]}
TIMES = {"T1": (500, 12), "T2": (4000, 100)}

#: Runs ``core.training`` after a change that was given as text.
CHANGED = """
import os, runpy, signal, sys, time
from pathlib import Path
from core import batches, inference
from core.learning import checkpoints
exec(sys.argv.pop(1))
runpy.run_module("core.training", run_name="__main__")
"""
IN_A_BATCH = """
from core.learning.training_callbacks import Epochs
told = Epochs.on_train_batch_end
def kill(self, batch, logs=None):
    if self.stage == STAGE and self.last and self.last.epoch == 2 and batch == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    told(self, batch, logs)
Epochs.on_train_batch_end = kill
"""
BEFORE_THE_CHECKPOINT = """
write = checkpoints.write
def kill(folder, checkpoint):
    if checkpoint.now.stage == STAGE and checkpoint.now.epoch == 3:
        (folder / ".checkpoint.npz.1.ab.tmp").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    write(folder, checkpoint)
checkpoints.write = kill
"""


@pytest.fixture
def made(workspace, make_slice, tmp_path):
    """A cohort of small real files: planes differ by the direction of stripes, sequences by their brightness."""
    rng = np.random.default_rng(3)
    row, column = np.mgrid[:40, :40]
    for patient in range(8):
        for place, (plane, orientation) in enumerate(PLANES.items()):
            for sequence, (repetition, echo) in TIMES.items():
                wave = np.sin((row, column, row + column)[place] + rng.uniform(0, 6))
                pixels = 300 + 200 * (sequence == "T2") + 150 * wave + rng.normal(0, 40, (40, 40))
                make_slice(
                    tmp_path / "files" / f"{patient}{plane}{sequence}.dcm", np.maximum(pixels, 0).astype("<u2"),
                    PatientID=f"P{patient}", StudyInstanceUID=f"1.{patient}", ImageOrientationPatient=orientation,
                    SeriesInstanceUID=f"1.{patient}.{place}.{echo}", RepetitionTime=repetition, EchoTime=echo,
                    SeriesDescription="", PixelSpacing=[5, 5],
                )  # fmt: skip
    return cohort.write(cohort.scan(tmp_path / "files", "made"))


def new_run(name: str, kind: str, **changes) -> runs.Run:
    values = {"label": "plane", "image_size": 32, "epochs": 6, "batch_size": 8, "learning_rate": 3e-3,
              "augment_views": 1, "mc_samples": 4, "jury_size": 2}  # fmt: skip
    return runs.create_run(RunConfig(name, kind, "made", **{**values, **changes}), name)


def started(run: runs.Run, change: str = "") -> subprocess.Popen:
    command = ["-c", CHANGED, change] if change else ["-m", "core.training"]
    environment = {
        **os.environ, "SLICESCOPE_WORKSPACE": str(get_settings().workspace), "PYTHONPATH": str(PROJECT_DIR),
        "TF_CPP_MIN_LOG_LEVEL": "3", "SLICESCOPE_DEVICE": "cpu",
    }  # fmt: skip
    with (run.folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *command, str(run.folder)], cwd=PROJECT_DIR, env=environment, stdout=log, stderr=log
        )


def trained(run: runs.Run) -> runs.Run:
    assert started(run).wait(timeout=300) == 0, run.log_tail()
    assert run.status["state"] == "done", run.status
    return run


def epochs_told(run: runs.Run) -> list[tuple[str, int]]:
    return [(line["stage"], line["epoch"]) for line in run.metrics().to_dict("records")]


CASES = [
    pytest.param("bayesian", {}, "head", IN_A_BATCH, id="head"),
    pytest.param("dual", {"epochs": 2, "fine_tune_epochs": 6}, "fine-tuning", IN_A_BATCH, id="fine-tuning"),
    pytest.param("siamese", {}, "head", BEFORE_THE_CHECKPOINT, id="siamese, between two files"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "changes", "stage", "moment"), CASES)
def test_killed_in_the_third_of_six_epochs_and_resumed_it_ends_as_unbroken(made, kind, changes, stage, moment):
    whole = trained(new_run("whole", kind, **changes))
    broken = new_run("broken", kind, **changes)
    assert started(broken, f"STAGE = {stage!r}\n{moment}").wait(timeout=300) == -signal.SIGKILL
    assert broken.status["state"] == "interrupted"
    assert (checkpoints.glance(broken.folder).now.stage, checkpoints.glance(broken.folder).now.epoch) == (stage, 2)

    trained(broken)

    assert "Going on after epoch 2 of 6" in (broken.folder / "log.txt").read_text()
    assert epochs_told(broken) == epochs_told(whole)
    for name in ("bundle", "last"):
        one, other = (bundle.load(run.folder / name).get_weights() for run in (whole, broken))
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=TOLERANCE)
        cards = [bundle.read_card(run.folder / name)["epoch"] for run in (whole, broken)]
        assert cards[0] == pytest.approx(cards[1])
    columns = [name for name in whole.metrics() if name not in ("stage", "seconds")]
    np.testing.assert_allclose(whole.metrics()[columns], broken.metrics()[columns], rtol=0, atol=1e-5)
    first, second = epochs.read(whole.folder), epochs.read(broken.folder)
    assert (first.numbers, first.best) == (second.numbers, second.best)
    for head in first.classes:
        np.testing.assert_array_equal(first.answers[head], second.answers[head])
    # Done: what was kept to go on is gone, and nothing half written lies about.
    assert not (broken.folder / "checkpoint.npz").exists()
    assert not list(broken.folder.rglob("*.tmp")) + list(broken.folder.rglob("part-*"))


STUCK = """
def stuck(*args, **more):
    Path(sys.argv[1], "stuck").touch()
    time.sleep(100)
"""
PLACES = {
    "reading": "batches.grey_inputs = stuck",
    "features": "from core.learning import fitting\nfitting.view_features = stuck",
    "batch": """
from core.learning.training_callbacks import Epochs
Epochs.on_train_batch_begin = lambda self, batch, logs=None: stuck() if self.last and self.last.epoch == 2 else None
""",
    "evaluation": "inference.forward = stuck",
}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_asked_to_end_it_ends_within_five_seconds_wherever_it_is_stuck(made, place):
    run = new_run("stuck", "transfer", weights="none" if place == "batch" else "slicescope", epochs=3)
    process = started(run, STUCK + PLACES[place])
    try:
        deadline = time.monotonic() + 200
        while not (run.folder / "stuck").exists():
            assert process.poll() is None, run.log_tail()
            assert time.monotonic() < deadline, run.log_tail()
            time.sleep(0.05)
        asked = time.monotonic()
        process.terminate()
        assert process.wait(timeout=30) == 0
        assert time.monotonic() - asked < 5
    finally:
        process.kill()
    status = run.status
    assert status["state"] == "cancelled"
    if place in ("reading", "features"):
        assert status["message"] == "Cancelled before anything had been learnt."
        return
    n = {"batch": 2, "evaluation": 3}[place]
    assert f"the best of {n} epochs is kept" in status["message"]
    assert bundle.read_card(run.bundle)["epoch"]["epoch"] <= n
    bundle.load(run.bundle)
    trained(run)
    assert len(epochs_told(run)) == 3


@pytest.mark.slow
def test_a_checkpoint_of_other_data_or_settings_is_not_taken_up(made):
    run = new_run("changed", "transfer", epochs=3)
    change = "STAGE = 'head'\n" + IN_A_BATCH
    assert started(run, change).wait(timeout=300) == -signal.SIGKILL
    config = json.loads((run.folder / "config.json").read_text())
    (run.folder / "config.json").write_text(json.dumps({**config, "learning_rate": 1e-3}))
    trained(run)
    assert "Going on after" not in (run.folder / "log.txt").read_text()
    assert epochs_told(run) == [("head", 1), ("head", 2), ("head", 3)]
