"""How long maps take: Grad-CAM of a stack of thirty slices at once, one by one, and in a plain tf-keras-vis loop.

``python -m benchmarks.explain [--methods]`` prints medians in milliseconds and their ratios for the shipped model and
for a ResNet50 with random weights at 224 pixels. The three arms take turns within each round, in this process and
warm, so that what else the machine does meets all of them. With ``--methods`` also what each method takes a slice.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SLICES = 30


def seconds(work) -> float:
    return both_clocks(work)[0]


def both_clocks(work) -> tuple[float, float]:
    """Seconds by the clock, and of all this process' threads."""
    started = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started[0], time.process_time() - started[1]


def plain_loop(view, layer: str, images: np.ndarray, chosen: np.ndarray):
    """tf-keras-vis as its documentation uses it, on a model without softmax."""
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.scores import CategoricalScore

    gradcam = Gradcam(view)

    def work():
        for image, index in zip(images, chosen, strict=True):
            gradcam(
                CategoricalScore(int(index)), image[None, ..., None], penultimate_layer=layer,
                seek_penultimate_conv_layer=False,
            )  # fmt: skip

    return work


def compare(name: str, bundle: Path, head: str, rounds: int) -> None:
    from core import bundle as bundles
    from core import inference
    from core.explanations import in_process
    from core.explanations.question import Question
    from core.explanations.scores import logits_view

    card = bundles.read_card(bundle)
    size = card["input_shape"][0]
    images = np.random.default_rng(0).random((SLICES, size, size)).astype(np.float32)
    question = Question(head)
    load = seconds(lambda: inference.predict_local(bundle, images[:1]))
    first = seconds(lambda: in_process.explain_local(bundle, images[:1], question))
    view = logits_view(bundles.load(bundle), head)
    answers = inference.predict_local(bundle, images).heads[head].argmax(axis=1)
    arms = {
        "plain": plain_loop(view, card["cam_layer"], images, answers),
        "singly": lambda: [in_process.explain_local(bundle, image[None], question) for image in images],
        "at once": lambda: in_process.explain_local(bundle, images, question),
        "one": lambda: in_process.explain_local(bundle, images[:1], question),
    }
    for work in arms.values():
        work()
    times = {arm: [] for arm in arms}
    for _ in range(rounds):
        for arm, work in arms.items():
            times[arm].append(seconds(work))
    took = {arm: statistics.median(values) for arm, values in times.items()}
    print(f"{name}: loading and one answer {load:.1f} s, then the first map {1000 * first:.0f} ms")
    print(
        f"  one map, warm {1000 * took['one']:.0f} ms; {SLICES} slices: plain {1000 * took['plain']:.0f} ms, singly "
        f"{1000 * took['singly']:.0f} ms, at once {1000 * took['at once']:.0f} ms; at once is "
        f"{took['singly'] / took['at once']:.1f} times the rate of singly and {took['plain'] / took['at once']:.1f} "
        "times that of plain"
    )


def each_method(name: str, bundle: Path, head: str) -> None:
    from core import bundle as bundles
    from core.explanations import in_process
    from core.explanations.question import METHOD_WORDS, SLOW, WITH_PASSES, Question

    size = bundles.read_card(bundle)["input_shape"][0]
    image = np.random.default_rng(0).random((1, size, size)).astype(np.float32)
    for method in METHOD_WORDS:
        for passes in (0, 20) if method in WITH_PASSES else (0,):
            question = Question(head, method=method, passes=passes)
            # The first one compiles. Of the slow ones a second look is enough.
            times = [
                both_clocks(lambda q=question: in_process.explain_local(bundle, image, q))
                for _ in range(2 if method in SLOW else 4)
            ][1:]
            took, spent = (1000 * statistics.median(values) for values in zip(*times, strict=True))
            print(
                f"  {name}, {method}, {passes} passes: {took:.0f} ms a slice, {spent:.0f} of processor time", flush=True
            )


def made_bundle(backbone: str, size: int) -> Path:
    """Write a bundle with random weights into this process' workspace."""
    from core import bundle
    from core.config import RunConfig
    from core.models import BUILDERS
    from core.settings import get_settings

    classes = {"sequence": ["T1", "T1CE", "T2", "FLAIR"]}
    config = RunConfig(backbone, "transfer", "none", backbone=backbone, weights="none", image_size=size)
    folder = get_settings().runs_dir / backbone / "bundle"
    card = {"name": backbone, "kind": "transfer", "classes": classes}
    bundle.save(BUILDERS["transfer"](config, classes), card, folder)
    return folder


def main() -> None:
    import os

    with tempfile.TemporaryDirectory() as workspace:
        os.environ["SLICESCOPE_WORKSPACE"] = workspace
        from core.images import MODEL_SIZE
        from core.settings import WEIGHTS_DIR

        resnet = made_bundle("ResNet50", 224)
        compare(f"shipped, {MODEL_SIZE} px", WEIGHTS_DIR, "sequence", 7)
        compare("ResNet50, 224 px", resnet, "sequence", 3)
        if "--methods" in sys.argv:
            each_method("shipped", WEIGHTS_DIR, "sequence")
            each_method("ResNet50", resnet, "sequence")


if __name__ == "__main__":
    main()
