"""The Train page shows a run's confusion matrix epoch by epoch, and a link opens it at one."""

import json

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core import runs
from core.config import RunConfig
from core.learning import epochs
from core.learning.checkpoints import EpochMark
from core.settings import PROJECT_DIR


@pytest.fixture
def run(workspace):
    """A finished run of three epochs: after the first 1 of 4 test slices is right, then 3, then 2."""
    run = runs.create_run(RunConfig("by epoch", "transfer", "gone", label="plane"), "by-epoch", state="done")
    lines = [{"stage": "head", "epoch": e, "loss": 1 / e, "val_loss": 1 / e, "accuracy": 0.5} for e in (1, 2, 3)]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    kept = epochs.begin({"plane": ["a", "b"]}, {"plane": np.array([0, 0, 1, 1])}, np.repeat("test", 4), np.arange(4))
    for number, answers in enumerate(([1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]), 1):
        mark = EpochMark("head", number, 3, "val_loss", 1 / number)
        kept = epochs.added(kept, number, mark, {"plane": np.array(answers)}, min(number, 2), 3)
    epochs.write(run.folder, kept)
    return run


def opened(**address: str) -> AppTest:
    app = AppTest.from_file(str(PROJECT_DIR / "app.py"), default_timeout=60)
    app.run()
    for key, value in {"view": "Runs", **address}.items():
        app.query_params[key] = value
    app.switch_page("pages/train.py").run()
    assert not app.exception, app.exception[0].message
    return app


def shown(app: AppTest) -> str:
    return next(metric.value for metric in app.metric if metric.label == "Accuracy, test")


def test_it_opens_at_the_best_epoch_and_follows_the_slider(run):
    app = opened(followed=run.id)
    (slider,) = app.select_slider
    assert slider.value == 2
    assert shown(app) == "75.0 %"
    slider.set_value(1).run()
    assert not app.exception
    assert shown(app) == "25.0 %"
    assert app.query_params["epoch"] == "1"
    assert app.query_params["followed"] == run.id


def test_a_link_opens_one_epoch_and_nonsense_the_best(run):
    assert shown(opened(followed=run.id, epoch="3")) == "50.0 %"
    assert shown(opened(followed=run.id, epoch="99")) == "75.0 %"


def test_a_run_that_kept_no_answers_is_shown_without(run):
    (run.folder / "epochs.npz").unlink()
    app = opened(followed=run.id)
    assert "by epoch" in "".join(block.value for block in app.get("html"))
    assert not app.select_slider
    assert "Confusion matrix by epoch" not in "".join(block.value for block in app.markdown)
