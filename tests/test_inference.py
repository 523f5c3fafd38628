"""One model, asked in this process and through a worker: the same answers, limits kept, deaths survived."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from core import bundle, inference
from core.calibration import apply_temperature
from core.config import RunConfig
from core.errors import BundleError, ChildTimeout, ConfigError, InputError
from core.explanations import in_process
from core.explanations.jury import Jury, unit
from core.explanations.question import Question
from core.explanations.votes import deliberate
from core.settings import PROJECT_DIR, get_settings

SIZE = 32
CLASSES = {"plane": ["axial", "coronal", "sagittal"], "sequence": ["T1", "T1CE", "T2", "FLAIR"]}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """A dual and a Siamese bundle in a workspace of their own, and images to ask about."""
    keras = pytest.importorskip("keras")
    from core.models import BUILDERS

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLICESCOPE_WORKSPACE", str(tmp_path_factory.mktemp("workspace")))
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        get_settings.cache_clear()
        made = {}
        for kind, classes in (("dual", CLASSES), ("siamese", {"sequence": CLASSES["sequence"]})):
            keras.utils.set_random_seed(1)
            config = RunConfig(kind, kind, "none", weights="none", image_size=SIZE, dropout=0.4)
            made[kind] = get_settings().runs_dir / kind / "bundle"
            card = {"name": kind, "kind": kind, "classes": classes, "temperature": dict.fromkeys(classes, 1.7)}
            bundle.save(BUILDERS[kind](config, classes), card, made[kind])
        rng = np.random.default_rng(0)
        labels = tuple(np.repeat(CLASSES["sequence"], 2))
        references = unit(rng.normal(size=(8, 64))).astype(np.float32)
        Jury(
            tuple(CLASSES["sequence"]), labels, tuple("aabbccdd"), tuple(f"{i}:0" for i in range(8)), references,
            np.zeros((8, 9, 9), np.uint8),
        ).save(made["siamese"])  # fmt: skip
        yield made
    get_settings.cache_clear()


@pytest.fixture(scope="module")
def worker(bundles):
    worker = inference.InferenceWorker()
    yield worker
    worker.close()


@pytest.fixture
def images():
    return np.random.default_rng(3).random((70, SIZE, SIZE), dtype=np.float32)


@pytest.mark.parametrize("kind", ["dual", "siamese"])
def test_worker_answers_as_this_process_does(bundles, worker, images, kind):
    here = inference.predict_local(bundles[kind], images)
    there = worker.predict(bundles[kind], images)
    assert there.classes == here.classes and list(there.heads) == list(here.heads)
    for head, proba in here.heads.items():
        assert proba.shape == (70, len(CLASSES[head]))
        np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(there.heads[head], proba, atol=1e-5)
    assert here.embeddings.shape[0] == 70
    np.testing.assert_allclose(there.embeddings, here.embeddings, atol=1e-4)


def test_many_slices_are_asked_in_several_requests(bundles, worker, images, monkeypatch):
    whole = worker.predict(bundles["dual"], images)
    monkeypatch.setattr(inference, "REQUEST", 32)
    parts = worker.predict(bundles["dual"], images)
    np.testing.assert_allclose(parts.heads["plane"], whole.heads["plane"], atol=1e-5)
    np.testing.assert_allclose(parts.embeddings, whole.embeddings, atol=1e-4)


def test_no_slice_is_no_error(bundles, worker):
    answer = worker.predict(bundles["dual"], np.empty((0, SIZE, SIZE)))
    assert {head: proba.shape for head, proba in answer.heads.items()} == {"plane": (0, 3), "sequence": (0, 4)}


def test_temperature_of_the_card_is_applied_when_it_changes(bundles, images):
    raw = inference.predict_local(bundles["dual"], images[:5], calibrated=False).heads["plane"]
    for temperature in (0.5, 3.0):
        bundle.update_card(bundles["dual"], temperature={"plane": temperature, "sequence": 1.0})
        answer = inference.predict_local(bundles["dual"], images[:5])
        np.testing.assert_allclose(answer.heads["plane"], apply_temperature(raw, temperature), atol=1e-5)
        np.testing.assert_allclose(answer.heads["sequence"].sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", ["dual", "siamese"])
def test_samples_repeat_by_seed_and_leave_the_model_deterministic(bundles, worker, images, kind):
    before = worker.predict(bundles[kind], images[:6])
    first, again, other = (worker.mc_samples(bundles[kind], images[:6], 12, seed) for seed in (5, 5, 6))
    for head, proba in before.heads.items():
        assert first[head].shape == (6, 12, len(CLASSES[head]))
        np.testing.assert_allclose(first[head].sum(axis=2), 1, atol=1e-5)
        np.testing.assert_array_equal(first[head], again[head])
        assert np.abs(first[head] - other[head]).max() > 0
        assert first[head].std(axis=1).max() > 0
        np.testing.assert_allclose(worker.predict(bundles[kind], images[:6]).heads[head], proba, atol=1e-6)


@pytest.mark.parametrize("kind", ["dual", "siamese"])
def test_explains_one_class_against_another_and_over_passes(bundles, worker, images, kind, monkeypatch):
    ask = Question("sequence", "T2", method="layer_cam", against="T1", passes=4, random_state=2)
    maps = worker.explain(bundles[kind], images[:3], ask)
    assert maps.targets == ("T2",) * 3 and maps.heat.shape == maps.spread.shape == (3, SIZE, SIZE)
    assert 0 < maps.spread.max() <= 0.5
    here = in_process.explain_local(bundles[kind], images[:3], ask)
    np.testing.assert_allclose(maps.heat, here.heat, atol=1e-3)
    np.testing.assert_allclose(maps.spread, here.spread, atol=1e-3)
    monkeypatch.setattr(inference, "BATCH", 8)
    parts = worker.explain(bundles[kind], images[:3], ask)
    np.testing.assert_allclose(parts.heat, maps.heat, atol=1e-3)
    assert parts.targets == maps.targets
    assert worker.explain(bundles[kind], images[:1], Question("sequence")).spread is None


def test_explains_what_a_model_that_looks_twice_answers(bundles, images):
    """Its answer is the mean of two looks, so the map is of that class, and of both looks."""
    once = in_process.explain_local(bundles["dual"], images, Question("sequence"))
    bundle.update_card(bundles["dual"], mirrored=True)
    try:
        answers = inference.predict_local(bundles["dual"], images).heads["sequence"].argmax(axis=1)
        twice = in_process.explain_local(bundles["dual"], images, Question("sequence"))
    finally:
        bundle.update_card(bundles["dual"], mirrored=False)
    assert twice.targets == tuple(CLASSES["sequence"][answer] for answer in answers)
    assert np.abs(twice.heat - once.heat).max() > 0.01


@pytest.mark.parametrize(("kind", "head"), [("dual", "plane"), ("dual", "sequence"), ("siamese", "sequence")])
def test_explains_its_own_answer(bundles, worker, images, kind, head):
    answer = worker.predict(bundles[kind], images[:1]).heads[head][0].argmax()
    answer = CLASSES[head][answer]
    maps = worker.explain(bundles[kind], images[:1], Question(head))
    assert maps.targets == (answer,)
    assert maps.heat.shape == (1, SIZE, SIZE) and maps.heat.dtype == np.float32
    assert maps.heat.min() >= 0 and maps.heat.max() <= 1
    assert bundle.read_card(bundles[kind])["cam_layer"] == maps.layers[-1] == maps.layer
    again = worker.explain(bundles[kind], images[:1], Question(head, answer, maps.layers[-1]))
    np.testing.assert_allclose(again.heat, maps.heat, atol=1e-6)
    another = next(name for name in CLASSES[head] if name != answer)
    other = worker.explain(bundles[kind], images[:1], Question(head, another, maps.layers[0], "layer_cam"))
    assert other.targets == (another,) and np.abs(other.heat - maps.heat).max() > 0


@pytest.mark.parametrize("stored", [True, False])
def test_eight_bits_are_answered_as_floats_and_nonsense_is_refused(bundles, images, stored):
    grey = np.round(255 * np.clip(images[:3], 0, 1)).astype(np.uint8)
    one, other = (inference.forward(bundles["dual"], x, stored)[0] for x in (grey, grey * np.float32(1 / 255)))
    for head in one:
        np.testing.assert_allclose(one[head], other[head], atol=1e-6)
    with pytest.raises(InputError, match="not finite"):
        inference.forward(bundles["dual"], images[:3] * np.nan, stored)
    with pytest.raises(InputError, match="wants slices"):
        inference.forward(bundles["dual"], grey[:, :16], stored)


def test_jury_votes_as_the_model_predicts(bundles, worker, images):
    answer = worker.predict(bundles["siamese"], images[:4])
    proba = answer.heads["sequence"]
    verdicts = [deliberate(Jury.load(bundles["siamese"]), one) for one in answer.embeddings]
    assert [verdict.winner for verdict in verdicts] == [CLASSES["sequence"][i] for i in proba.argmax(axis=1)]
    assert all(len(verdict.similarities) == 8 and verdict.pictures.shape == (8, 9, 9) for verdict in verdicts)


@pytest.mark.parametrize("kind", ["dual", "siamese"])
def test_a_map_of_either_side_of_a_pair(bundles, worker, images, kind):
    head = list(bundle.read_card(bundles[kind])["classes"])[-1]
    one, other = images[:1], images[1]
    maps = worker.explain(bundles[kind], one, Question(head), other)
    assert maps.targets == (in_process.PARTNER,) and maps.heat.shape == one.shape and maps.heat.max() <= 1
    # A partner may also be given as its embedding, of any length.
    embedding = worker.predict(bundles[kind], images[1:2]).embeddings[0]
    np.testing.assert_allclose(
        worker.explain(bundles[kind], one, Question(head), 3 * embedding).heat, maps.heat, atol=1e-4
    )
    # Another partner asks another question.
    for method in ("grad_cam", "saliency"):
        heat = [worker.explain(bundles[kind], one, Question(head, method=method), p).heat for p in (other, images[2])]
        assert np.abs(heat[0] - heat[1]).max() > 1e-6, method
    np.testing.assert_allclose(worker.predict(bundles[kind], images[1:2]).embeddings[0], embedding, atol=1e-6)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda w, b, i: w.predict(b["dual"], i[:, :16]), InputError, r"\(n, 32, 32\); received \(70, 16, 32\)"),
        (lambda w, b, i: w.predict(b["dual"], i * np.nan), InputError, "not finite"),
        (lambda w, b, i: w.predict(b["dual"].parent, i), BundleError, "no model card"),
        (
            lambda w, b, i: w.explain(b["dual"], i[:1], Question("colour")),
            InputError,
            "no head 'colour'; it has plane, sequence",
        ),
        (lambda w, b, i: w.explain(b["dual"], i[:1], Question("plane", "x")), InputError, "no class 'x'"),
        (
            lambda w, b, i: w.explain(b["dual"], i[:1], Question("plane", against="x")),
            InputError,
            "no class 'x'",
        ),
        (
            lambda w, b, i: w.explain(b["dual"], i[:1], Question("plane", "axial", against="axial")),
            InputError,
            "not held against itself",
        ),
        (lambda w, b, i: w.explain(b["siamese"], i[:1], Question("sequence"), np.ones(3)), InputError, "of 64 numbers"),
        (lambda w, b, i: w.explain(b["siamese"], i[:1], Question("sequence"), np.zeros(64)), InputError, "not all 0"),
        (lambda w, b, i: w.explain(b["dual"], i[:1], Question("plane"), i[0, :9]), InputError, r"received \(1, 9, 32"),
        (lambda w, b, i: w.explain(b["dual"], i[:1], Question("plane", layer="x")), InputError, "layer 'x'"),
        (
            lambda w, b, i: w.explain(b["dual"], i[:1], Question("plane", method="magic")),
            InputError,
            "Choose one of grad_cam",
        ),
        (lambda w, b, i: w.mc_samples(b["dual"], i, 0), ConfigError, "at least 1"),
    ],
)
def test_refusals_come_back_as_what_they_are_and_the_worker_lives_on(bundles, worker, images, ask, error, message):
    worker.predict(bundles["dual"], images[:1])
    pid = worker.pid
    with pytest.raises(error, match=message):
        ask(worker, bundles, images)
    assert worker.pid == pid


def test_killed_while_idle_it_answers_all_the_same(bundles, worker, images):
    before = worker.predict(bundles["dual"], images[:3])
    pid = worker.pid
    os.kill(pid, signal.SIGKILL)
    after = worker.predict(bundles["dual"], images[:3])
    assert worker.pid not in (None, pid)
    np.testing.assert_allclose(after.heads["plane"], before.heads["plane"], atol=1e-6)


def test_too_slow_is_stopped_and_the_next_question_is_answered(bundles, worker, images, monkeypatch):
    worker.predict(bundles["dual"], images[:1])
    pid = worker.pid
    with monkeypatch.context() as patch:
        patch.setenv("SLICESCOPE_PREDICT_TIMEOUT_S", "0.05")
        get_settings.cache_clear()
        started = time.monotonic()
        with pytest.raises(ChildTimeout):
            worker.mc_samples(bundles["dual"], np.repeat(images, 20, axis=0), 1000)
        assert time.monotonic() - started < 5
    get_settings.cache_clear()
    assert worker.predict(bundles["dual"], images[:1]).embeddings.shape[0] == 1
    assert worker.pid != pid


def test_asking_loads_no_tensorflow_here(bundles):
    script = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from core import inference\n"
        "from core.explanations.question import Question\n"
        "worker = inference.get_worker()\n"
        "image = np.zeros((32, 32), 'float32')\n"
        "worker.predict(Path(sys.argv[1]), image[None])\n"
        "worker.explain(Path(sys.argv[1]), image[None], Question('plane'))\n"
        "print(sorted({'tensorflow', 'keras', 'tf_keras_vis'} & set(sys.modules)))\n"
        "worker.close()\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, str(bundles["dual"])], cwd=PROJECT_DIR, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "[]"
