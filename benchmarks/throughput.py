"""Images per second of the original recipe and the quick preset: forward and training, single and half precision.

``KERAS_BACKEND=jax python -m benchmarks.throughput [--quick] [--out throughput.json] [--against cpu.json]``

Three arms a row, on the same model, the same images and the same device:

- *device*: batches that are ready and always the same, so nothing is waited for but the device and Keras' own loop;
- *ours*: batches as a run makes them, from 8-bit images, changed by `core.batches.augment` in threads;
- *plain*: what one writes first, `fit` over images in memory with Keras' augmentation layers in the model.

Training is a step of the whole network. Frozen is a forward pass of the backbone over changed images; plain is then
`fit` with the backbone frozen, which a run does once for each view and plain in each epoch. *busy* is device time over
the time of ours: how little the device waits for its input.

Needs Keras, NumPy, SciPy, pandas, Pillow, pydantic-settings, and JAX, PyTorch or TensorFlow; no cohort, no weights, no
network. Each row is written as soon as it is known, and no row is begun when the time is up, so that a run that is cut
off still tells something.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from core.config import RunConfig
from core.images import MODEL_SIZE
from core.models import BUILDERS

CLASSES = {"sequence": ["T1", "T1CE", "T2", "FLAIR"]}
CASES = {"quick preset": ("slicescope", MODEL_SIZE), "original recipe": ("ResNet50", 224)}
POLICIES = {"float32": "float32", "mixed": "mixed_bfloat16"}
COMPILED = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy"}


class Ready(keras.utils.PyDataset):
    """One batch that is ready, again and again."""

    def __init__(self, batch: tuple, steps: int):
        super().__init__()
        self.batch, self.steps = batch, steps

    def __len__(self):
        return self.steps

    def __getitem__(self, i):
        return self.batch


class Views(keras.utils.PyDataset):
    """Batches as a run makes them: 8-bit images to floats, changed anew each time, in threads."""

    def __init__(self, images: np.ndarray, y: np.ndarray | None, batch: int, steps: int, workers: int):
        from core import batches

        super().__init__(workers=workers, max_queue_size=2 * workers)
        self.images, self.y, self.size, self.steps, self.augment = images, y, batch, steps, batches.augment

    def __len__(self):
        return self.steps

    def __getitem__(self, i):
        rows = np.arange(i * self.size, (i + 1) * self.size) % len(self.images)
        x = self.augment(self.images[rows], np.random.default_rng([0, i]))[..., None]
        return (x,) if self.y is None else (x, self.y[rows])


def machine() -> dict[str, str]:
    """Name the device that is computed on, and what computes."""
    name = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    backend = keras.backend.backend()
    if any("gpu" in device.lower() or "cuda" in device.lower() for device in keras.distribution.list_devices()):
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        try:
            name = subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout.strip() or "GPU"
        except (OSError, subprocess.SubprocessError):
            name = "GPU"
        kind = "gpu"
    else:
        kind = "cpu"
    return {"device": name, "kind": kind, "backend": backend, "keras": keras.__version__}


def built(backbone: str, size: int) -> keras.Model:
    """Build a classifier with random weights."""
    config = RunConfig("speed", "transfer", "none", backbone=backbone, weights="none", image_size=size)
    return BUILDERS["transfer"](config, CLASSES)


def behind_augmentation(model: keras.Model, size: int, frozen: bool) -> keras.Model:
    """Put Keras' augmentation layers before a classifier, all of which or all but the last layer of which learns."""
    for layer in model.layers[:-1]:
        layer.trainable = not frozen
    image = x = keras.Input((size, size, 1))
    for layer in (
        keras.layers.RandomFlip("horizontal"),
        keras.layers.RandomRotation(10 / 360),
        keras.layers.RandomZoom(0.12),
        keras.layers.RandomTranslation(0.06, 0.06),
        keras.layers.RandomBrightness(0.1, value_range=(0, 1)),
    ):
        x = layer(x)
    plain = keras.Model(image, model(x))
    plain.compile(**COMPILED)
    return plain


def per_second(work: Callable[[], object], n_images: int, options: argparse.Namespace) -> float:
    """Images per second: the median of a few repeats, fewer when one takes longer than is worth it."""
    rates, began = [], time.perf_counter()
    while len(rates) < options.repeats and time.perf_counter() - began < 2 * options.repeats * options.seconds:
        started = time.perf_counter()
        work()
        rates.append(n_images / (time.perf_counter() - started))
    return statistics.median(rates)


def steps_for(work: Callable[[int], object], seconds: float, most: int) -> int:
    """How many steps fill `seconds`; `work(steps)` is run to see, after once to compile."""
    work(2)
    started = time.perf_counter()
    work(2)
    pace = (time.perf_counter() - started) / 2
    return int(np.clip(seconds / max(pace, 1e-6), 2, most))


def measured(backbone: str, size: int, training: bool, batch: int, options: argparse.Namespace) -> dict[str, float]:
    """Measure the three arms of one row."""
    rng = np.random.default_rng(0)
    workers = len(os.sched_getaffinity(0))
    # Enough that memory is walked through, and little enough to lie in memory as floats.
    n = batch * max(2, min(16, (1 << 28) // (batch * size * size * 4)))
    images = rng.integers(0, 256, (n, size, size), dtype=np.uint8)
    y = rng.integers(0, 4, n).astype(np.int32)
    model = built(backbone, size)
    model.compile(**COMPILED)
    ready = (keras.ops.convert_to_tensor(images[:batch, ..., None] / np.float32(255)),)
    if training:
        ready += (keras.ops.convert_to_tensor(y[:batch]),)

    def run(source):
        model.fit(source, verbose=0, shuffle=False) if training else model.predict(source, verbose=0)

    steps = steps_for(lambda steps: run(Ready(ready, steps)), options.seconds, options.most)
    ours = Views(images, y if training else None, batch, steps, workers)
    answer = {
        "device": per_second(lambda: run(Ready(ready, steps)), steps * batch, options),
        "ours": per_second(lambda: run(ours), steps * batch, options),
    }
    plain = behind_augmentation(model, size, frozen=not training)
    part = slice(0, min(n, steps * batch))
    x, y = (images / np.float32(255))[part, ..., None], y[part]
    plain.fit(x[: 2 * batch], y[: 2 * batch], batch_size=batch, verbose=0)
    epochs = max(1, steps * batch // n)

    def fit():
        plain.fit(x, y, batch_size=batch, epochs=epochs, verbose=0)

    answer["plain"] = per_second(fit, epochs * len(x), options)
    return {**answer, "steps": steps}


def shown(results: dict, against: dict | None) -> str:
    """Write the rows as a table in Markdown."""
    head = ["preset", "stage", "precision", "batch", "device", "ours", "plain", "ours ÷ plain", "busy"]
    elsewhere = {}
    if against:
        head.append(f"ours ÷ {against['machine']['kind']}")
        elsewhere = {(row["case"], row["stage"], row["precision"]): row for row in against["rows"]}
    lines = ["| " + " | ".join(head) + " |", "| --- " * 4 + "| ---: " * (len(head) - 4) + "|"]
    for row in results["rows"]:
        cells = [row["case"], row["stage"], row["precision"], str(row["batch"])]
        if "error" in row:
            cells += [f"failed: {row['error'][:80]}"] + [""] * (len(head) - 5)
        else:
            cells += [f"{row[arm]:,.0f}" for arm in ("device", "ours", "plain")]
            cells += [f"{row['ours'] / row['plain']:.1f}", f"{100 * min(1, row['ours'] / row['device']):.0f} %"]
            if against:
                # Half precision is there for accelerators: what it is held against is the other machine's float32.
                key = (row["case"], row["stage"], row["precision"])
                other = elsewhere.get(key) or elsewhere.get((*key[:2], "float32"))
                cells.append(f"{row['ours'] / other['ours']:.0f}" if other and "ours" in other else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short measurements, and nothing begun after 75 s")
    parser.add_argument("--out", type=Path, default=Path("throughput.json"))
    parser.add_argument("--against", type=Path, help="results of another machine, for ratios")
    parser.add_argument("--batch", type=int, help="default: 64 on a GPU, 16 on a CPU")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--precisions", nargs="*", choices=list(POLICIES))
    parser.add_argument("--budget", type=float, help="seconds after which no row is begun")
    options = parser.parse_args()
    options.seconds, options.repeats = (0.7, 3) if options.quick else (3.0, 5)
    options.most = 100 if options.quick else 1000
    budget = options.budget or (75 if options.quick else 3600)
    where = machine()
    batch = options.batch or (64 if where["kind"] == "gpu" else 16)
    # Half precision has no units of its own on most CPUs, and takes many times as long there.
    precisions = options.precisions or (list(POLICIES) if where["kind"] == "gpu" else ["float32"])
    results = {"machine": where, "rows": []}
    against = json.loads(options.against.read_text("utf-8")) if options.against else None
    began = time.perf_counter()
    print(f"{where['device']}, {where['backend']}, Keras {where['keras']}; images per second", flush=True)
    order = [(case, training, name) for name in precisions for case in options.cases for training in (False, True)]
    for case, training, precision in order:
        row = {"case": case, "stage": "training" if training else "frozen", "precision": precision, "batch": batch}
        if time.perf_counter() - began > budget:
            row["error"] = "no time left"
        else:
            keras.utils.clear_session()
            keras.config.set_dtype_policy(POLICIES[precision])
            started = time.perf_counter()
            try:
                row |= measured(*CASES[case], training, batch, options)
            except Exception as error:
                # One row that cannot be measured, for want of memory say, must not cost the others.
                row["error"] = f"{type(error).__name__}: {error}"
                traceback.print_exc()
            row["seconds"] = round(time.perf_counter() - started, 1)
        results["rows"].append(row)
        options.out.write_text(json.dumps(results, indent=2), encoding="utf-8")
        print(json.dumps(row), flush=True)
    print(shown(results, against))


if __name__ == "__main__":
    main()
