"""How well a model names real slices, which took no part in making the shipped weights."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core import classify, cohort, runs
from core.phantom import render
from core.vocabulary import sequence_from


def with_truth(table: pd.DataFrame, folder: Path, plane: str = "plane") -> pd.DataFrame:
    """Put what ``labels.csv`` says of real files beside a table of their slices.

    Parameters
    ----------
    table : DataFrame
        With ``path``, relative to ``folder``, and a column ``plane``.
    folder : Path
        With ``labels.csv``: path, plane (or ``volume``, cut along its coarsest axis), sequence, subject.
    plane : str
        Column that tells along which plane a volume was cut.

    Returns
    -------
    DataFrame
        The rows that have a truth, with ``plane_true``, ``sequence_true`` (our words) and ``subject``.
    """
    truth = pd.read_csv(folder / "labels.csv")[["path", "plane", "sequence", "subject"]]
    table = table.merge(truth.rename(columns={"plane": "plane_true", "sequence": "sequence_true"}), on="path")
    table["plane_true"] = table["plane_true"].where(table["plane_true"] != "volume", table[plane])
    table["sequence_true"] = [sequence_from(word) for word in table["sequence_true"]]
    return table


def shares_of_subjects(table: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return the shares of slices named rightly, each the mean over a subject's files of the mean over their slices.

    Parameters
    ----------
    table : DataFrame
        From `with_truth`, with the answers in ``plane`` and ``sequence``.

    Returns
    -------
    plane : Series
        By ``subject``.
    sequence : Series
        By ``sequence_true`` and ``subject``, of what the model is taught.
    """

    def shares(part: pd.DataFrame, head: str, *by: str) -> pd.Series:
        right = (part[head] == part[f"{head}_true"]).groupby([part[key] for key in (*by, "subject", "path")]).mean()
        return right.groupby([*by, "subject"]).mean()

    known = table[table["sequence_true"].isin(render.LEAVES)]
    return shares(table, "plane"), shares(known, "sequence", "sequence_true")


def judge_on_real(folder: Path, model: str = runs.SHIPPED, n_bootstrap: int = 500) -> dict[str, Any]:
    """Score a model on real files, which took no part in making the shipped weights.

    Parameters
    ----------
    folder : Path
        See `with_truth`.
    model : str
        As for `core.classify.classify`.
    n_bootstrap : int
        Draws of subjects, with replacement, that the intervals are taken from.

    Returns
    -------
    dict
        Shares of slices named rightly, averaged over the slices of a file, the files of a subject, the subjects of a
        class and, for ``sequence``, the classes that the model knows; so neither a long series nor a common class
        decides. Each ``…_interval`` holds 95 % of the draws. ``set_apart`` is the share of slices taken for no brain:
        nearly all of them are blank, at the ends of volumes, so they are in no other figure.
    """
    made = cohort.scan(folder, "real", workers=os.cpu_count() or 1)
    slices, _, _ = classify.classify(made, model, workers=os.cpu_count() or 1)
    table = with_truth(slices, folder, "header_plane")
    seen = table[table["plane_verdict"] != "not_a_brain"]

    def interval(of_subjects: pd.Series, mean: Callable[[pd.Series], float]) -> list[float]:
        rng = np.random.default_rng(0)
        names = of_subjects.index.get_level_values("subject").unique()
        rows = {name: np.flatnonzero(of_subjects.index.get_level_values("subject") == name) for name in names}
        draws = [
            mean(of_subjects.iloc[np.concatenate([rows[name] for name in rng.choice(names, len(names))])])
            for _ in range(n_bootstrap)
        ]
        return [float(edge) for edge in np.quantile(draws, (0.025, 0.975))]

    def over_classes(part: pd.Series) -> float:
        return float(part.groupby("sequence_true").mean().mean())

    plane, sequence = shares_of_subjects(seen)
    return {
        "plane": float(plane.mean()),
        "plane_interval": interval(plane, lambda part: float(part.mean())),
        "sequence": over_classes(sequence),
        "sequence_interval": interval(sequence, over_classes),
        "sequence_by_class": {
            str(name): float(share) for name, share in sequence.groupby("sequence_true").mean().items()
        },
        "set_apart": float((table["plane_verdict"] == "not_a_brain").mean()),
        "files": int(table["path"].nunique()),
        "subjects": int(table["subject"].nunique()),
        "slices": len(table),
    }
