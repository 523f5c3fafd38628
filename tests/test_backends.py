"""One training under every Keras backend and on several devices, each in a process of its own.

JAX and PyTorch are no requirements: they are tried where this environment has them, or where SLICESCOPE_TEST_JAX and
SLICESCOPE_TEST_TORCH name the Python of an environment that has them beside requirements-dev.txt.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from importlib import util

import numpy as np
import pytest

from core import bundle, cohort, inference, runs
from core.config import KINDS
from core.explanations import in_process
from core.explanations.question import Question
from core.settings import PROJECT_DIR, get_settings
from tests.test_training import config, fake_inputs, fresh

pytestmark = pytest.mark.slow


def interpreter(backend: str) -> str:
    """Find a Python that has a backend, or skip and say what is missing."""
    named = os.environ.get(f"SLICESCOPE_TEST_{backend.upper()}")
    if named:
        return named
    if backend == "tensorflow" or util.find_spec(backend):
        return sys.executable
    pytest.skip(
        f"{backend} is not installed here, and SLICESCOPE_TEST_{backend.upper()} names no Python of an environment "
        "that has it"
    )


def trained(workspace, backend: str, configs: dict, evaluate: bool = False, **environment) -> dict:
    """Train runs in a child with a backend; returns what it told."""
    settings = json.dumps({"runs": {name: asdict(one) for name, one in configs.items()}, "evaluate": evaluate})
    answer = subprocess.run(
        [interpreter(backend), str(PROJECT_DIR / "tests" / "backend_child.py"), settings],
        cwd=PROJECT_DIR, capture_output=True, text=True, timeout=900,
        env={**os.environ, "PYTHONPATH": str(PROJECT_DIR), "SLICESCOPE_WORKSPACE": str(workspace),
             "KERAS_BACKEND": backend, **environment},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-4000:]
    return json.loads(answer.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_every_kind_trains_under_another_backend_and_opens_in_tensorflow(workspace, backend):
    configs = {kind: config(kind, weights="none", epochs=9, mc_samples=5) for kind in KINDS}
    configs["transfer"] = config("transfer", weights="slicescope", epochs=9, fine_tune_epochs=1, mc_samples=5)
    told = trained(workspace, backend, configs, evaluate=True)
    assert {name: one["message"] for name, one in told["runs"].items() if one["code"]} == {}
    # TensorFlow's import costs seconds and takes a GPU's memory.
    assert told["heavy"] == [backend]
    x, truth = fresh(4)
    for kind in KINDS:
        run = runs.read_run(kind)
        assert run.status["state"] == "done" and len(run.metrics()) >= 9
        card = run.card()
        assert card["backend"] == backend and card["versions"][backend]
        found = inference.predict_local(run.bundle, x)
        for head, proba in found.heads.items():
            names = card["classes"][head]
            accuracy = np.mean(np.array(names)[proba.argmax(axis=1)] == truth[head])
            assert accuracy > 1 / len(names) + 0.15, (kind, head, accuracy)
            heat = in_process.explain_local(run.bundle, x[:1], Question(head)).heat[0]
            assert heat.shape == x[0].shape and np.isfinite(heat).all() and heat.max() > 0
            samples = inference.mc_samples_local(run.bundle, x[:3], 4)[head]
            assert samples.shape == (3, 4, len(names)) and samples.std(axis=1).max() > 0
        stored = np.load(run.folder / "mc_samples.npz")
        assert {head: stored[head].shape[1] for head in stored} == dict.fromkeys(card["classes"], 5)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_same_model_answers_the_same_in_tensorflow(workspace, backend):
    trained(workspace, backend, {"one": config("dual", weights="none", epochs=2)}, evaluate=True)
    run = runs.read_run("one")
    made = cohort.read("made")
    rows = made.table[made.table["plane"].notna()]
    here = inference.predict_local(run.bundle, fake_inputs(made, rows, 32))
    there = run.predictions()
    for head, proba in here.heads.items():
        np.testing.assert_allclose(np.stack(there.loc[there["head"] == head, "y_proba"].to_list()), proba, atol=1e-4)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_share_each_batch_and_learn_what_one_learns(workspace, backend):
    usual = {"weights": "slicescope", "epochs": 4, "dropout": 0.0, "augment_views": 0, "batch_size": 12}
    configs = {f"by-{n}": config("transfer", devices=n, **usual) for n in (1, 2)}
    # Batches of 7 of 36 slices leave one over, which two devices cannot share; the whole network has statistics that
    # a device without slices would spoil.
    odd = {"weights": "slicescope", "epochs": 1, "fine_tune_epochs": 1, "batch_size": 7}
    configs |= {"odd": config("dual", devices=2, **odd), "pairs": config("siamese", devices=2, **odd)}
    told = trained(workspace, backend, configs, SLICESCOPE_LOGICAL_CPUS="2")["runs"]
    assert {name: one["message"] for name, one in told.items() if one["code"]} == {}
    assert {rows for _, rows in told["by-1"]["parts"]} == {12}
    # Each device, and each with half of the batch.
    assert len({device for device, _ in told["by-2"]["parts"]}) == 2
    assert {rows for _, rows in told["by-2"]["parts"]} == {6}
    assert len({device for device, _ in told["odd"]["parts"]}) == 2
    x, _ = fresh(2)
    one, two = (inference.predict_local(runs.read_run(name).bundle, x) for name in ("by-1", "by-2"))
    np.testing.assert_allclose(one.heads["plane"], two.heads["plane"], atol=1e-3)
    np.testing.assert_allclose(*(runs.read_run(name).metrics()["loss"] for name in ("by-1", "by-2")), rtol=1e-3)
    for name in ("odd", "pairs"):
        weights = bundle.load(runs.read_run(name).bundle).get_weights()
        assert all(np.isfinite(weight).all() for weight in weights)
        assert len(runs.read_run(name).metrics()) == 2


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_more_devices_than_there_are_are_refused_in_a_sentence(workspace, backend):
    told = trained(workspace, backend, {"many": config("transfer", weights="none", devices=3)},
                   SLICESCOPE_LOGICAL_CPUS="2")["runs"]["many"]  # fmt: skip
    assert told["code"] == 1
    expected = "Several devices need the backend" if backend == "torch" else "3 devices are asked for and 2 found"
    assert told["message"].startswith(expected)


def test_the_processor_is_one_device_unless_somebody_splits_it(workspace):
    assert get_settings().logical_cpus == 0
    told = trained(workspace, "tensorflow", {"two": config("transfer", weights="none", devices=2)},
                   SLICESCOPE_LOGICAL_CPUS="0", SLICESCOPE_DEVICE="cpu")["runs"]["two"]  # fmt: skip
    assert told["message"].startswith("2 devices are asked for and 1 found")
