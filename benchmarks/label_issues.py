"""How many labels that were made wrong on purpose are found.

``python -m benchmarks.label_issues [RUN]`` takes the embeddings of a finished run (the shipped model on the phantom
cohort by default), gives 5 % of its slices another of the head's labels, and asks `core.analysis.label_issues` which
are wrong: single slices, then whole series, which is how headers err. What is printed is the share of really wrong ones
among the first 50, and what share of the wrong ones is suspected; the worst and the mean of several draws.
"""

import argparse
import time

import numpy as np
import pandas as pd

from core import runs
from core.analysis import label_issues
from core.runs import Run

SHARE, FIRST = 0.05, 50


def spoil(y: np.ndarray, units: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Give a share of the slices another label that occurs, whole units at a time; return labels and which."""
    rng = np.random.default_rng(seed)
    classes, spoilt, bad = np.unique(y), y.copy(), np.zeros(len(y), bool)
    for unit in rng.permutation(np.unique(units)):
        if bad.sum() >= SHARE * len(y):
            break
        its = units == unit
        spoilt[its] = rng.choice(classes[classes != y[its][0]])
        bad |= its
    return spoilt, bad


def measure(run: Run, head: str, of_series: bool, seed: int) -> dict[str, float]:
    """Spoil the labels of a head and look for them.

    Returns
    -------
    dict
        ``precision`` of the first 50, ``recall`` and ``precision_suspected`` of what is suspected, ``seconds``.
    """
    rows = run.predictions()
    rows = rows[(rows["head"] == head).to_numpy()]
    known = rows["y_true"].notna().to_numpy()
    rows, vectors = rows[known], run.embeddings()[known]
    y = pd.factorize(rows["y_true"])[0]
    patients = pd.factorize(rows["PatientID"])[0]
    units = pd.factorize(rows["SeriesInstanceUID"])[0] if of_series else np.arange(len(rows))
    spoilt, bad = spoil(y, units, seed)
    start = time.perf_counter()
    proba = label_issues.out_of_sample(vectors, spoilt, patients, y.max() + 1)
    order, _, suspected = label_issues.rank(proba, spoilt)
    found = bad[order[suspected]]
    return {
        "precision": float(bad[order[:FIRST]].mean()), "recall": float(found.sum() / bad.sum()),
        "precision_suspected": float(found.mean()) if len(found) else 0.0, "seconds": time.perf_counter() - start,
    }  # fmt: skip


def main() -> None:
    """Print a line a head and kind of mistake."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", default=runs.SHIPPED)
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    run = runs.read_run(options.run)
    for head in run.card()["classes"]:
        for of_series in (False, True):
            drawn = pd.DataFrame([measure(run, head, of_series, seed) for seed in range(options.draws)])
            said = ", ".join(f"{name} {drawn[name].mean():.2f} (worst {drawn[name].min():.2f})" for name in drawn)
            print(f"{head}, {'series' if of_series else 'slices'} spoilt: {said}", flush=True)


if __name__ == "__main__":
    main()
