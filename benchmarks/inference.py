"""How long the shipped model takes, warm: one slice, and a series of thirty beside thirty single slices.

``python -m benchmarks.inference`` prints medians in milliseconds, the ratio of the two ways to ask about a series, both
from pixels to calibrated probabilities through the worker that the app asks, and the share of making model inputs.
"""

import statistics
import time

import numpy as np

from core import images, inference
from core.settings import WEIGHTS_DIR

RUNS, SLICES, ROWS = 30, 30, 256


def median_ms(work) -> float:
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def main() -> None:
    from core import bundle

    size = bundle.read_card(WEIGHTS_DIR)["input_shape"][0]
    pixels = np.random.default_rng(0).random((SLICES, ROWS, ROWS)).astype(np.float32)
    worker = inference.InferenceWorker()

    def ask(part):
        worker.predict(WEIGHTS_DIR, np.stack([images.to_model_input(slice_, size=size)[0] for slice_ in part]))

    ask(pixels)
    ask(pixels[:1])
    one, series = median_ms(lambda: ask(pixels[:1])), median_ms(lambda: ask(pixels))
    singly = median_ms(lambda: [ask(slice_[None]) for slice_ in pixels])
    inputs = median_ms(lambda: [images.to_model_input(slice_, size=size) for slice_ in pixels])
    worker.close()
    print(
        f"one slice {one:.1f} ms; a series of {SLICES} {series:.1f} ms, {series / singly:.2f} of as many singly, "
        f"{inputs / series:.2f} of it to cut and shrink them"
    )


if __name__ == "__main__":
    main()
