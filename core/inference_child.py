"""The child of an `InferenceWorker`: ``python -m core.inference_child`` answers questions on standard input.

A module of its own, as what is run has another name than what is imported: models would be loaded twice.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core import inference
from core.child import interruptible, serve
from core.explanations import in_process
from core.explanations.question import Question
from core.settings import get_settings


def _answer_predict(header, arrays):
    answer = inference.predict_local(Path(header["bundle"]), arrays["images"])
    heads = {f"head {head}": proba for head, proba in answer.heads.items()}
    return {"classes": answer.classes}, {**heads, "embeddings": answer.embeddings}


def _answer_mc_samples(header, arrays):
    samples = inference.mc_samples_local(Path(header["bundle"]), arrays["images"], header["n_samples"], header["seed"])
    return {}, samples


def _answer_explain(header, arrays):
    maps = in_process.explain_local(
        Path(header["bundle"]), arrays["images"], Question(**header["question"]), arrays.get("partner")
    )
    arrays = {"heat": maps.heat} if maps.spread is None else {"heat": maps.heat, "spread": maps.spread}
    return {"targets": maps.targets, "layer": maps.layer, "layers": maps.layers}, arrays


def _answer_layers(header, arrays):
    return {"layers": in_process.layers_local(Path(header["bundle"]), header["head"])}, {}


def _answer_badge(header, arrays):
    question = Question(**header["question"])
    badges = in_process.measured(Path(header["bundle"]), arrays["images"], question, interruptible())
    return {"badges": badges}, {}


@contextmanager
def _no_banner() -> Iterator[None]:
    """Swallow what TensorFlow's C++ half prints on loading, which no log level reaches."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def main() -> None:
    """Serve as the child of an `InferenceWorker`."""
    with _no_banner():
        from core import backend_tensorflow
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    backend_tensorflow.limit_threads(cores)
    # Trainings may have several; one is enough to answer.
    backend_tensorflow.choose_device(get_settings().device.split(",")[0])
    serve(
        {
            "predict": _answer_predict,
            "mc_samples": _answer_mc_samples,
            "explain": _answer_explain,
            "layers": _answer_layers,
            "badge": _answer_badge,
        }
    )


if __name__ == "__main__":
    main()
