"""How far two people agree on the same queue, each head by itself."""

from dataclasses import dataclass

import pandas as pd

from core.labelling.label_log import WORDS, keys_of, standing
from core.labelling.label_queue import HEADS


@dataclass(frozen=True)
class Agreement:
    """Two people's answers to one head.

    Attributes
    ----------
    n : int
        Items that both answered.
    same : int
        Items on which they agree.
    kappa : float or None
        Cohen's kappa, -1 to 1: agreement beyond what chance would give. None where it is not defined: without an item
        that both answered, and where both gave one and the same word to all.
    matrix : DataFrame of int
        Items by the words that occur: rows are the first person's, columns the second's.
    differ : Index
        Keys of the items on which they disagree.
    """

    n: int
    same: int
    kappa: float | None
    matrix: pd.DataFrame
    differ: pd.Index


def agreement(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Agreement]:
    """Compare two people's answers.

    Parameters
    ----------
    first, second : DataFrame
        From `core.labelling.label_queue.answers_by`, of the same queue.

    Returns
    -------
    dict of Agreement
        By head.

    Examples
    --------
    >>> ada = pd.DataFrame({"plane": ["axial"] * 3, "sequence": ["T1", "T1", "T2"]})
    >>> ben = pd.DataFrame({"plane": ["axial"] * 3, "sequence": ["T1", "T2", "T2"]})
    >>> found = agreement(ada, ben)
    >>> round(found["sequence"].kappa, 3), found["sequence"].differ.tolist(), found["plane"].kappa
    (0.4, [1], None)
    """
    return {head: _compared(first[head], second[head], WORDS[head]) for head in HEADS}


def _compared(first: pd.Series, second: pd.Series, words: tuple[str, ...]) -> Agreement:
    # Scikit-learn takes longer to import than a page may take to draw, and one view alone needs it.
    from sklearn.metrics import cohen_kappa_score

    both = first.notna() & second.notna()
    first, second = first[both], second[both]
    used = [word for word in words if word in {*first, *second}]
    counts = pd.crosstab(first, second).reindex(index=used, columns=used, fill_value=0)
    kappa = float(cohen_kappa_score(first, second, labels=used)) if len(used) > 1 else None
    same = (first == second).to_numpy(bool)
    return Agreement(n=len(first), same=int(same.sum()), kappa=kappa, matrix=counts, differ=first.index[~same])


def people(queue: pd.DataFrame, log: list[dict]) -> list[str]:
    """List who answered an item of a queue, sorted.

    Examples
    --------
    >>> queue = pd.DataFrame({"SeriesInstanceUID": ["1.2"]}, index=["1.2.3:0"])
    >>> people(queue, [{"id": "a", "key": "1.2", "column": "plane", "new": "axial", "by": "Ada"}])
    ['Ada']
    """
    keys = {*queue.index, *queue["SeriesInstanceUID"]}
    return sorted({line["by"] for line in standing(log) if keys.intersection(keys_of(line))})
