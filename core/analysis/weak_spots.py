"""Where a model is worse than its average: slices of the data, by what their headers say, found automatically.

Each value of each fact (a vendor, a field strength, a third of the stack …) and each pair of values is one slice of the
data. What is asked of it is whether accuracy within differs from accuracy outside by more than chance, patient by
patient: the wild cluster bootstrap with the null hypothesis imposed (Cameron, Gelbach & Miller, Rev. Econ. Stat. 90,
2008) turns the sign of each patient's contribution by a coin. One patient full of mistakes therefore proves nothing.
Hundreds are asked about at once, so p-values are corrected for the false discovery rate (Benjamini & Hochberg, 1995)
over all that were asked about, shown or not.

Kept are ``weak_spots.parquet``, worst first, and ``slice_facts.parquet``, the facts of each slice of the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from core import cohort
from core.cohorts.slice_table import Cohort, replaced, slice_keys
from core.comparing.bootstrap import bootstrap_totals
from core.errors import CohortError
from core.runs import Run
from core.splits import SPLITS

SPOTS_FILE, FACTS_FILE = "weak_spots.parquet", "slice_facts.parquet"
#: With fewer slices or patients nothing can be told.
LEAST_SLICES, LEAST_PATIENTS = 30, 5
#: False discovery rate at which a spot counts as found.
LEVEL = 0.05
#: A pair is shown where it errs so many times as often as the worse of its two values: else that value says it all.
_WORSE_THAN_ITS_PARTS = 1.25
#: A p-value cannot be less than one in so many; hundreds of comparisons need small ones.
_COINS = 40_000
_AT_ONCE = 4000
_COLUMNS = ["head", "part", "fact", "word", "fact2", "word2", "slices", "patients", "accuracy", "low", "high",
            "average", "excess", "p", "q"]  # fmt: skip

#: Facts of a slice and what they are called. Thirds are counted along the stack, towards head, back or left.
FACTS = MappingProxyType({
    "vendor": "Vendor", "model": "Scanner", "field": "Field strength", "plane": "Plane", "sequence": "Sequence",
    "third": "Place in the stack", "thickness": "Slice thickness", "spacing": "Pixel spacing", "matrix": "Matrix size",
    "tilt": "Tilt", "agent": "Contrast agent", "finding": "Finding",
})  # fmt: skip


def files(folder: Path) -> tuple[Path, Path]:
    """Return where the analysis lies in a run's folder of analyses."""
    return folder / SPOTS_FILE, folder / FACTS_FILE


def read_spots(folder: Path) -> pd.DataFrame | None:
    """Read what was found: one row a slice of the data that is worse than average, worst first.

    Found ones come before the others, and each group has the most mistakes beyond the average first.

    Returns
    -------
    DataFrame or None
        head, part, fact, word, fact2, word2 (empty unless it is a pair), slices, patients, accuracy with its 95 %
        interval by patient (low, high), average, excess (mistakes beyond what the average would make), p, and q,
        corrected. None for a run that was evaluated before there was this analysis.
    """
    path, _ = files(folder)
    return pd.read_parquet(path) if path.exists() else None


def read_facts(folder: Path) -> pd.DataFrame:
    """Read the facts of a run's slices: `FACTS` as categories by slice key, a column only where something is known."""
    return pd.read_parquet(files(folder)[1])


def write(run: Run, report) -> None:
    """Look for the weak spots of an evaluated run and keep them; see `core.analysis.analyses`."""
    table = run.predictions()
    try:
        facts = facts_of(cohort.read(run.config.cohort))
    except CohortError:
        # Predictions can be judged without their cohort, but nothing is known of where they come from.
        facts = pd.DataFrame(index=pd.Index([], name="key"))
    keys = slice_keys(table)
    facts = facts.loc[facts.index.isin(keys)]
    made = []
    asked = [(head, part) for head in run.card()["classes"] for part in SPLITS]
    for number, (head, part) in enumerate(asked):
        report(number / len(asked), f"Looking for weak spots of {head}, {part}")
        kept = ((table["head"] == head) & (table["split"] == part) & table["y_true"].notna()).to_numpy()
        if kept.any():
            rows = table[kept]
            right = (rows["y_true"] == rows["y_pred"]).to_numpy()
            found = find(facts.reindex(keys[kept]), rows["PatientID"], right)
            made.append(found.assign(head=head, part=part))
    spots, kept_facts = files(run.folder / "analyses")
    with replaced(spots) as fresh:
        (pd.concat(made, ignore_index=True) if made else _nothing())[_COLUMNS].to_parquet(fresh)
    with replaced(kept_facts) as fresh:
        facts.to_parquet(fresh)


def facts_of(made: Cohort) -> pd.DataFrame:
    """Say of each slice of a cohort, by slice key, what may make it easy or hard; see `FACTS`.

    ``finding`` is known where the cohort's folder has a ``labels.csv`` that names one by series, as phantoms have.
    """
    table = made.table
    last = table.groupby(["SeriesInstanceUID", "stack"])["image_number"].transform("max")
    spacing = table[["pixel_spacing_row_mm", "pixel_spacing_column_mm"]].max(axis=1)
    columns = {
        "vendor": table["Manufacturer"].str.strip(),
        "model": table["ManufacturerModelName"].str.strip(),
        "field": table["MagneticFieldStrength"].round(1).map(lambda tesla: f"{tesla:g} T", na_action="ignore"),
        "plane": table["plane"],
        "sequence": table["sequence"],
        "third": _bands((table["image_number"] - 0.5) / last.where(last >= 3), [1 / 3, 2 / 3], "first third",
                        "middle third", "last third"),
        "thickness": _bands(table["SliceThickness"], [2, 4], "up to 2 mm", "2 to 4 mm", "over 4 mm"),
        "spacing": _bands(spacing, [0.6, 1.1], "up to 0.6 mm", "0.6 to 1.1 mm", "over 1.1 mm"),
        "matrix": _bands(table[["Rows", "Columns"]].max(axis=1), [192, 384], "up to 192", "193 to 384", "over 384"),
        "tilt": _bands(table["tilt_deg"], [5, 15], "up to 5°", "5° to 15°", "over 15°"),
        "agent": pd.Series(
            np.where(table["ContrastBolusAgent"].fillna("").str.strip() == "", "none in the header", "in the header"),
            table.index,
        ),
        "finding": table["SeriesInstanceUID"].map(_findings(made.root)),
    }  # fmt: skip
    words = {name: pd.Categorical(column.replace("", None).to_numpy(object)) for name, column in columns.items()}
    known = {name: one for name, one in words.items() if len(one.categories)}
    return pd.DataFrame(known, index=pd.Index(slice_keys(table).to_numpy(), name="key"))


def _bands(values: pd.Series, edges: list[float], *words: str) -> pd.Series:
    """Name the band that each value lies in, upper edges included; nothing for what is no number."""
    return pd.cut(values.astype(float), [-np.inf, *edges, np.inf], labels=list(words)).astype(object)


def _findings(root: Path) -> Mapping[str, str]:
    path = root / "labels.csv"
    try:
        labels = pd.read_csv(path, dtype=str)
    except (OSError, ValueError):
        return {}
    if not {"SeriesInstanceUID", "finding"} <= set(labels):
        return {}
    return dict(zip(labels["SeriesInstanceUID"], labels["finding"].str.replace("_", " "), strict=True))


def find(facts: pd.DataFrame, patients: pd.Series, right: np.ndarray, random_state: int = 0) -> pd.DataFrame:
    """Find slices of the data on which answers are worse than on average.

    Parameters
    ----------
    facts : DataFrame
        n rows, a column a fact, of category; missing where nothing is known.
    patients : sequence of str, length n
    right : ndarray of bool, shape (n,)
    random_state : int
        Of the coins.

    Returns
    -------
    DataFrame
        As `read_spots`, without head and part. Only what has `LEAST_SLICES` slices of `LEAST_PATIENTS` patients
        is asked about.
    """
    right = np.asarray(right, dtype=float)
    patient, _ = pd.factorize(np.asarray(patients, dtype=object))
    asked = _questions(_Cells.of(facts, patient, right))
    if not asked:
        return _nothing()
    n, hits = (np.stack([getattr(one, name) for one in asked], axis=1) for name in ("n", "hits"))
    whole_n = np.bincount(patient).astype(float)
    whole_hits = np.bincount(patient, right)
    p = _p_values(n, hits, whole_n, whole_hits, random_state)
    q = false_discovery_control(p)
    slices, accuracy, average = n.sum(axis=0), hits.sum(axis=0) / n.sum(axis=0), whole_hits.sum() / whole_n.sum()
    accuracies = {one.values: value for one, value in zip(asked, accuracy, strict=True)}
    shown = [at for at, one in enumerate(asked) if accuracy[at] < average and _adds(one.values, accuracies)]
    if not shown:
        return _nothing()
    low, high = _intervals(n[:, shown], hits[:, shown])
    table = pd.DataFrame({
        **_named([asked[at].values for at in shown]),
        "slices": slices[shown].astype(int), "patients": (n[:, shown] > 0).sum(axis=0),
        "accuracy": accuracy[shown], "low": low, "high": high, "average": average,
        "excess": (average - accuracy[shown]) * slices[shown], "p": p[shown], "q": q[shown],
    })  # fmt: skip
    return (
        table.assign(found=table["q"] <= LEVEL)
        .sort_values(["found", "excess"], ascending=False, kind="stable", ignore_index=True)
        .drop(columns="found")
    )


@dataclass(frozen=True)
class _Cells:
    """Slices that no question can part, each patient's by themselves: counted once, looked at often."""

    words: dict[str, tuple[np.ndarray, list[str]]]  # of each fact the code by cell, -1 where unknown, and its words
    patient: np.ndarray
    n: np.ndarray
    hits: np.ndarray

    @classmethod
    def of(cls, facts: pd.DataFrame, patient: np.ndarray, right: np.ndarray) -> "_Cells":
        coded = {name: (facts[name].cat.codes.to_numpy(int), list(facts[name].cat.categories)) for name in facts}
        cell = patient.astype(np.int64)
        for code, words in coded.values():
            # Numbered anew each time, so that the product never outgrows 64 bits.
            cell = pd.factorize(cell * (len(words) + 1) + code + 1)[0]
        _, first = np.unique(cell, return_index=True)
        n = np.bincount(cell).astype(float)
        words = {name: (code[first], words) for name, (code, words) in coded.items()}
        return cls(words, patient[first], n, np.bincount(cell, right))


@dataclass(frozen=True)
class _Question:
    values: tuple[tuple[str, str], ...]  # one or two of (fact, word)
    n: np.ndarray  # by patient
    hits: np.ndarray


def _questions(cells: _Cells) -> list[_Question]:
    """List single values and pairs that hold enough, each set of slices once, by its shortest name."""
    n_patients = int(cells.patient.max()) + 1
    most, seen, asked = cells.n.sum() - LEAST_SLICES, set(), []

    def ask(values: tuple, inside: np.ndarray) -> bool:
        """Tell whether there is enough to ask, or to look further within."""
        size = cells.n[inside].sum()
        if size < LEAST_SLICES:
            return False
        n = np.bincount(cells.patient[inside], cells.n[inside], n_patients)
        if (n > 0).sum() < LEAST_PATIENTS:
            return False
        sign = np.packbits(inside).tobytes()
        # What leaves next to nobody outside is the average itself.
        if size <= most and sign not in seen:
            seen.add(sign)
            asked.append(_Question(values, n, np.bincount(cells.patient[inside], cells.hits[inside], n_patients)))
        return True

    single = {}
    for name, (code, words) in cells.words.items():
        for number, word in enumerate(words):
            if ask(((name, word),), code == number):
                single[name, word] = code == number
    for (one, first), (two, second) in combinations(single.items(), 2):
        if one[0] != two[0]:
            ask((one, two), first & second)
    return asked


def _p_values(
    n: np.ndarray, hits: np.ndarray, whole_n: np.ndarray, whole_hits: np.ndarray, random_state: int
) -> np.ndarray:
    """One-sided p of each question being worse than the rest, by turning patients' signs."""
    rate = whole_hits.sum() / whole_n.sum()
    inside, outside = hits - rate * n, (whole_hits - rate * whole_n)[:, None] - (hits - rate * n)
    # Their sum over patients is accuracy inside less accuracy outside.
    moved = inside / n.sum(axis=0) - outside / (whole_n.sum() - n.sum(axis=0))
    difference = moved.sum(axis=0)
    rng, worse = np.random.default_rng(random_state), np.zeros(n.shape[1])
    for _ in range(_COINS // _AT_ONCE):
        coins = rng.integers(0, 2, (_AT_ONCE, len(n))).astype(np.float32) * 2 - 1
        worse += (coins @ moved.astype(np.float32) <= difference + 1e-6 * np.abs(moved).max()).sum(axis=0)
    return (1 + worse) / (1 + _COINS)


def _adds(values: tuple, accuracies: Mapping[tuple, float]) -> bool:
    """Whether a pair errs clearly more often than both of its values; a single value always tells something."""
    if len(values) == 1:
        return True
    errors = [1 - accuracies[(one,)] for one in values if (one,) in accuracies]
    return 1 - accuracies[values] >= _WORSE_THAN_ITS_PARTS * max(errors, default=0)


def _intervals(n: np.ndarray, hits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % intervals of accuracy by patient."""

    def share(drawn: np.ndarray) -> np.ndarray:
        right, of = np.hsplit(drawn, 2)
        return np.divide(right, of, out=np.full(of.shape, np.nan), where=of > 0)

    return bootstrap_totals(np.hstack([hits, n]), share).interval()


def _named(spots: list[tuple]) -> dict[str, list[str]]:
    pairs = [(*values, ("", ""))[:2] for values in spots]
    return {
        "fact": [one[0] for one, _ in pairs], "word": [one[1] for one, _ in pairs],
        "fact2": [two[0] for _, two in pairs], "word2": [two[1] for _, two in pairs],
    }  # fmt: skip


def _nothing() -> pd.DataFrame:
    return pd.DataFrame(
        {column: pd.Series(dtype="str" if column in _COLUMNS[:6] else "float64") for column in _COLUMNS}
    )


def members(facts: pd.DataFrame, spot: Sequence[tuple[str, str]]) -> np.ndarray:
    """Tell which slices lie in a spot, (n,) of bool.

    Parameters
    ----------
    facts : DataFrame
        A row a slice.
    spot : sequence of (fact, word)
        One or two; from an address, so a fact need not exist.

    Examples
    --------
    >>> facts = pd.DataFrame({"vendor": ["A", "B", None], "field": ["3 T", "3 T", "3 T"]})
    >>> members(facts, [("vendor", "B"), ("field", "3 T")]).tolist()
    [False, True, False]
    """
    inside = np.ones(len(facts), bool)
    for fact, word in spot:
        inside &= (facts[fact] == word).to_numpy(bool) if fact in facts else False
    return inside


def spot_of(row: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the one or two (fact, word) of a row of `read_spots`."""
    pairs = ((row["fact"], row["word"]), (row["fact2"], row["word2"]))
    return tuple(pair for pair in pairs if pair[0])
