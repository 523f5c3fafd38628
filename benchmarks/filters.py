"""How long a filter of Browse takes at 500,000 slices, beside the ordinary way with pandas on the same table.

``python -m benchmarks.filters`` prints medians in milliseconds over many different choices, each with the counts of
all facets. The table is synthetic: 400 patients, about 17,000 series of 30 slices, 900 descriptions.
"""

import statistics
import time

import numpy as np
import pandas as pd

from core.cohorts.facets import FACETS, Choice, build_index, select
from core.cohorts.slice_table import COLUMNS, typed
from core.splits import SPLITS
from core.vocabulary import PLANES, SEQUENCES

SLICES, PER_SERIES, PATIENTS, RUNS = 500_000, 30, 400, 40
_PANDAS = {"plane": "plane", "sequence": "sequence", "vendor": "Manufacturer", "split": "split", "patient": "PatientID"}


def synthetic(alike: bool = True) -> pd.DataFrame:
    """A slice table; where nothing is alike, each slice has labels of its own and shares them with no neighbour."""
    rng = np.random.default_rng(0)
    n = -(-SLICES // PER_SERIES) if alike else SLICES
    words = rng.choice(["AX", "COR", "SAG", "T1", "T2", "FLAIR", "POST GD", "FSE", "3D", "MPRAGE"], (900, 4))
    series = pd.DataFrame({
        "PatientID": [f"P-{number:010x}" for number in rng.integers(0, PATIENTS, n)],
        "SeriesInstanceUID": [f"1.2.{number // (1 if alike else PER_SERIES)}" for number in range(n)],
        "SeriesDescription": [" ".join(words[at]) for at in rng.integers(0, len(words), n)],
        "Manufacturer": rng.choice(["SIEMENS", "GE MEDICAL SYSTEMS", "Philips", "TOSHIBA"], n),
        "MagneticFieldStrength": rng.choice([1.5, 3.0], n),
        "RepetitionTime": rng.choice([500.0, 2000, 4500, 9000], n) + rng.integers(0, 90, n),
        "EchoTime": rng.choice([3.0, 12, 90], n) + rng.integers(0, 9, n),
        "plane": rng.choice(PLANES, n),
        "sequence": rng.choice(SEQUENCES, n),
        "sequence_rule": rng.choice([f"rule_{number}" for number in range(40)], n),
        "conflict": rng.choice(["", "", "", "text and physics disagree"], n),
        "split": rng.choice(SPLITS, n),
    })  # fmt: skip
    table = series.loc[np.repeat(np.arange(n), PER_SERIES if alike else 1)[:SLICES]].reset_index(drop=True)
    counted = {column: 0 for column, dtype in COLUMNS.items() if dtype == "int64"}
    return typed(table.assign(**counted), COLUMNS)


def choices() -> list[Choice]:
    rng = np.random.default_rng(1)
    return [
        Choice(
            {
                "plane": rng.choice(PLANES, 2, replace=False).tolist(),
                "sequence": rng.choice(SEQUENCES, rng.integers(0, 4), replace=False).tolist(),
                "vendor": ["SIEMENS"] if number % 3 else [],
            },
            "t1 post" if number % 4 == 0 else "",
            (400, 3000, 2, 30) if number % 5 == 0 else None,
        )
        for number in range(RUNS)
    ]


def with_pandas(table: pd.DataFrame, choice: Choice) -> dict[str, pd.Series]:
    """The same question on columns of text: what the page did before, with counts."""
    masks = {name: table[_PANDAS[name]].isin(words) for name, words in choice.values.items() if words}
    for word in choice.text.split():
        masks[word] = table["SeriesDescription"].str.lower().str.contains(word, regex=False)
    if choice.timing_ms:
        low, high, least, most = choice.timing_ms
        masks["timing"] = table["RepetitionTime"].between(low, high) & table["EchoTime"].between(least, most)
    counts = {}
    for name, column in _PANDAS.items():
        keep = pd.Series(True, table.index)
        for other, mask in masks.items():
            if other != name:
                keep &= mask
        counts[name] = table.loc[keep, column].value_counts()
    return counts


def times_ms(work, asked: list[Choice]) -> list[float]:
    spent = []
    for choice in asked:
        started = time.perf_counter()
        work(choice)
        spent.append(1000 * (time.perf_counter() - started))
    return spent


def main() -> None:
    asked = choices()
    for name, alike in (("series of 30 slices", True), ("no two slices alike", False)):
        table = synthetic(alike)
        started = time.perf_counter()
        index = build_index(table)
        built = time.perf_counter() - started
        ours = times_ms(lambda choice, index=index: select(index, choice), asked)
        theirs = times_ms(lambda choice, table=table: with_pandas(table, choice), asked[:8])
        ratio = statistics.median(theirs) / statistics.median(ours)
        print(
            f"{name}: {len(table):,} slices in {len(index.size):,} cells, index {built:.1f} s once; a filter with the "
            f"counts of {len(FACETS)} facets {statistics.median(ours):.1f} ms (at most {max(ours):.1f}), pandas with "
            f"those of {len(_PANDAS)} takes {ratio:.0f} times as long"
        )


if __name__ == "__main__":
    main()
