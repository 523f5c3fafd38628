"""Two or more runs side by side, judged on the test slices that all of them have in common.

The first run is the one that the others are compared with. Numbers are of the common test slices only, so that no run
is ahead because its patients were easier; intervals and paired differences are by patient (`core.comparing.bootstrap`).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from core.analysis.confusion import ConfusionMatrix, confusion
from core.cohorts.slice_table import slice_keys
from core.comparing.bootstrap import Bootstrap
from core.comparing.patient_scores import bootstrap_scores, score_totals
from core.errors import RunError
from core.runs import Run

#: More runs than colours cannot be told apart in one figure.
MOST_RUNS = 6
PART = "test"

#: Fields that differ between any two runs and say nothing about why one is better.
_NOT_COMPARED = ("name",)


@dataclass(frozen=True)
class McNemar:
    """McNemar's test, exact: of the slices that just one of two runs named rightly, how many fell to each.

    Attributes
    ----------
    mended, broken : int
        Slices that the first run named wrongly and the other rightly, and the reverse.
    """

    mended: int
    broken: int

    @property
    def p(self) -> float:
        """Two-sided, of a fair coin; 1 when no slice flipped.

        It takes slices for independent, which those of one patient are not: it is too small, and the bootstrap by
        patient is the answer to go by.
        """
        flipped = self.mended + self.broken
        return float(binomtest(self.mended, flipped).pvalue) if flipped else 1.0


@dataclass(frozen=True)
class HeadComparison:
    """What two or more runs answer to one question about the same slices.

    Attributes
    ----------
    head : str
    classes : tuple of str
    slices : DataFrame
        One row a common slice: key, cohort, PatientID, y_true.
    y_pred, p : ndarray, shape (runs, slices)
        Answers (words) and their probabilities.
    scores : tuple of Bootstrap
        `core.comparing.patient_scores.SCORES` of each run, all from the same draws of patients.
    tested : tuple of int
        How many labelled test slices each run has by itself.
    relabelled : int
        Common slices left out because their label was changed between the evaluations.
    """

    head: str
    classes: tuple[str, ...]
    slices: pd.DataFrame
    y_pred: np.ndarray
    p: np.ndarray
    scores: tuple[Bootstrap, ...]
    tested: tuple[int, ...]
    relabelled: int

    @property
    def patients(self) -> int:
        """How many patients the common slices are of."""
        return self.scores[0].patients

    @property
    def right(self) -> np.ndarray:
        """Whether each answer is right, (runs, slices)."""
        return self.y_pred == self.slices["y_true"].to_numpy(object)

    def difference(self, other: int) -> Bootstrap:
        """Scores of another run less those of the first, paired by patient."""
        return self.scores[other] - self.scores[0]

    def mcnemar(self, other: int) -> McNemar:
        """Test whether the first and another run err equally often."""
        first, second = self.right[0], self.right[other]
        return McNemar(int((~first & second).sum()), int((first & ~second).sum()))

    def flips(self, other: int, mended: bool) -> pd.DataFrame:
        """Slices that flipped, the other run's surest answers first.

        Parameters
        ----------
        other : int
            Number of the run.
        mended : bool
            Those that it named rightly and the first wrongly, or the reverse.

        Returns
        -------
        DataFrame
            key, cohort, PatientID, y_true, and of both runs y_first, p_first, y_other, p_other.
        """
        first, second = self.right[0], self.right[other]
        chosen = (~first & second) if mended else (first & ~second)
        table = self.slices[chosen].assign(
            y_first=self.y_pred[0][chosen], p_first=self.p[0][chosen],
            y_other=self.y_pred[other][chosen], p_other=self.p[other][chosen],
        )  # fmt: skip
        return table.sort_values("p_other", ascending=False, kind="stable")

    def confusion(self, run: int) -> ConfusionMatrix:
        """Confusion matrix of a run on the common slices."""
        return confusion(self.slices["y_true"], self.y_pred[run], self.classes)


@dataclass(frozen=True)
class Comparison:
    """Two or more runs side by side.

    Attributes
    ----------
    ids, names : tuple of str
        Of the runs, the first being the one that others are compared with; names are told apart.
    configuration : DataFrame
        One row a field that differs, a column a run (by id).
    heads : tuple of HeadComparison
        Of each head that all runs have with the same classes and common test slices; at least one.
    left_out : tuple of str
        A sentence for each head that cannot be compared.
    leaks : tuple of str
        A sentence for each run that was tested on patients it was trained on.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    configuration: pd.DataFrame
    heads: tuple[HeadComparison, ...]
    left_out: tuple[str, ...]
    leaks: tuple[str, ...]


def compare(runs: Sequence[Run], names: Sequence[str] | None = None) -> Comparison:
    """Compare finished runs on the test slices that they share.

    Parameters
    ----------
    runs : sequence of Run
        Two to six; the others are compared with the first.
    names : sequence of str, optional
        What people call them; their configurations' names when not given.

    Returns
    -------
    Comparison

    Raises
    ------
    RunError
        For one run or too many, runs without predictions, and runs that share no head, no classes or no test slice.
    """
    ids = tuple(run.id for run in runs)
    if not 2 <= len(set(ids)) == len(ids) <= MOST_RUNS:
        raise RunError(f"A comparison takes 2 to {MOST_RUNS} different runs; received {', '.join(ids) or 'none'}.")
    names = told_apart(names or [run.config.name for run in runs], ids)
    classes = [run.card()["classes"] for run in runs]
    tables = [run.predictions() for run in runs]
    heads, left_out = [], []
    for head in dict.fromkeys(head for one in classes for head in one):
        try:
            heads.append(_compare_head(head, names, classes, tables))
        except RunError as error:
            left_out.append(str(error))
    if not heads:
        raise RunError(f"{' and '.join(names)} cannot be compared. {' '.join(left_out)}")
    leaks = tuple(filter(None, map(_leak, names, tables)))
    return Comparison(ids, names, config_difference(runs), tuple(heads), tuple(left_out), leaks)


def told_apart(names: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """Give runs that are called the same the end of their ids.

    Examples
    --------
    >>> told_apart(["planes", "planes", "other"], ["planes-1-ab12", "planes-2-cd34", "other-ef56"])
    ('planes (ab12)', 'planes (cd34)', 'other')
    """
    return tuple(
        f"{name} ({run_id[-4:]})" if list(names).count(name) > 1 else name
        for name, run_id in zip(names, ids, strict=True)
    )


def config_difference(runs: Sequence[Run]) -> pd.DataFrame:
    """Tabulate the fields in which configurations differ: a row a field, a column a run (by id), all as text."""
    configs = {run.id: asdict(run.config) for run in runs}
    fields = next(iter(configs.values()))
    rows = {
        field: {run_id: _shown(config[field]) for run_id, config in configs.items()}
        for field in fields
        if field not in _NOT_COMPARED and len({_shown(config[field]) for config in configs.values()}) > 1
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(configs), dtype="str")
    return table.rename_axis("field")


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _compare_head(
    head: str, names: Sequence[str], classes: Sequence[dict[str, list[str]]], tables: Sequence[pd.DataFrame]
) -> HeadComparison:
    without = [name for name, one in zip(names, classes, strict=True) if head not in one]
    if without:
        raise RunError(f"{_and(without)} {'does' if len(without) == 1 else 'do'} not name the {head}.")
    known = [sorted(one[head]) for one in classes]
    if other := [name for name, one in zip(names, known, strict=True) if one != known[0]]:
        raise RunError(
            f"{names[0]} and {_and(other)} did not learn the same classes of {head} ({', '.join(known[0])} against "
            f"{', '.join(known[names.index(other[0])])})."
        )
    parts = [_judged(table, head) for table in tables]
    keys = parts[0].index
    for part in parts[1:]:
        keys = keys.intersection(part.index, sort=False)
    if keys.empty:
        raise RunError(
            f"Their {PART} parts have no {head} slice in common: another seed or other shares deal the patients "
            "otherwise. Train both with the cohort's saved split (split: cohort), or with the same seed."
        )
    parts_common = [part.loc[keys] for part in parts]
    truth = parts_common[0]["y_true"].to_numpy(object)
    same = np.all([part["y_true"].to_numpy(object) == truth for part in parts_common[1:]], axis=0)
    if not same.any():
        raise RunError(f"All common {head} slices were labelled anew between the evaluations. Evaluate them again.")
    rows = [part[same] for part in parts_common]
    return _scored(head, tuple(classes[0][head]), rows, tuple(map(len, parts)), int((~same).sum()))


def _scored(
    head: str, classes: tuple[str, ...], rows: list[pd.DataFrame], tested: tuple[int, ...], relabelled: int
) -> HeadComparison:
    number = {name: at for at, name in enumerate(classes)}
    first = rows[0]
    patients = pd.factorize(first["PatientID"])[0]
    y_true = first["y_true"].map(number).to_numpy(int)
    scores = tuple(
        bootstrap_scores(
            score_totals(
                patients, y_true, part["y_pred"].map(number).to_numpy(int), part["p"].to_numpy(), len(classes)
            ),
            len(classes),
        )
        for part in rows
    )
    return HeadComparison(
        head, classes, first[["cohort", "PatientID", "y_true"]].reset_index(),
        np.stack([part["y_pred"].to_numpy(object) for part in rows]), np.stack([part["p"].to_numpy() for part in rows]),
        scores, tested, relabelled,
    )  # fmt: skip


def _judged(table: pd.DataFrame, head: str) -> pd.DataFrame:
    """Labelled test slices of a head by slice key: one slice in two cohorts is still one slice."""
    rows = table[((table["head"] == head) & (table["split"] == PART)).to_numpy() & table["y_true"].notna().to_numpy()]
    proba = np.stack(rows["y_proba"].to_list()) if len(rows) else np.zeros((0, 1))
    keys = slice_keys(rows)
    part = rows[["cohort", "PatientID", "y_true", "y_pred"]].assign(key=keys, p=proba.max(axis=1).astype(float))
    return part.set_index("key")


def _leak(name: str, table: pd.DataFrame) -> str:
    patients = table["PatientID"].groupby(table["split"]).unique()
    shared = set(patients.get("train", ())) & set(patients.get(PART, ()))
    return f"{name} was trained on {len(shared)} of its test patients, so its scores flatter it." if shared else ""


def _and(words: Sequence[str]) -> str:
    return " and ".join(words)
