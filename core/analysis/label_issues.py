"""Which labels are probably wrong: confident learning on probabilities of slices that no judge was taught.

A linear head is trained on a run's embeddings, with whole patients left out in turn, so that each slice is judged by
others' labels alone; cleanlab then ranks the labels that do not fit (Northcutt, Jiang & Chuang, "Confident learning:
estimating uncertainty in dataset labels", JAIR 70, 2021). What a fine-tuned network has learnt by heart stands in its
embeddings, so a run with a frozen backbone finds more. Written are ``analyses/label_issues.parquet`` and ``.json``.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.analysis import analyses
from core.cohorts.slice_table import replaced
from core.runs import Run

#: Parts into which patients are dealt, and the fewest patients of a class that can be judged.
_FOLDS, _FEWEST = 5, 3
#: Slices that a fold's head is taught at most; more neighbours of the same heads tell it nothing new.
_TAUGHT = 20_000
_BLOCK = 50_000
#: Weak weights: a head that fits every wrong label of its own would not see those of others.
_C = 0.001
#: Rows kept a head: all that are suspected, and enough to look at beyond; at most the second number.
_LEAST, _MOST = 200, 20_000
_TABLE, _FACTS = "label_issues.parquet", "label_issues.json"


@dataclass(frozen=True)
class LabelIssues:
    """Labels of one head, the most doubtful first.

    Attributes
    ----------
    table : DataFrame
        ``at`` (which of the run's slices), ``given``, ``suggested``, ``score`` (from 0 to 1: how far the label fits),
        ``p_suggested``, ``suspected`` (whether it is taken for wrong).
    judged : int
        Slices whose label was judged.
    patients : int
    left_out : tuple of str
        Classes of too few patients to be judged.
    """

    table: pd.DataFrame
    judged: int
    patients: int
    left_out: tuple[str, ...] = ()


def out_of_sample(
    vectors: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    n_classes: int,
    report: Callable[[float], None] = lambda share: None,
) -> np.ndarray:
    """Give each slice the probabilities of a linear head that saw nothing of its patient.

    Parameters
    ----------
    vectors : ndarray, shape (n, d)
        Embeddings; may be mapped from a file.
    y : ndarray of int, shape (n,)
        Classes from 0, -1 for a slice that is left out.
    groups : ndarray of int, shape (n,)
        Patients.
    n_classes : int
    report : callable, optional
        Called with the share done, from 0 to 1.

    Returns
    -------
    ndarray of float32, shape (n, n_classes)
        NaN where nobody can judge: the slice is left out, or its class does not occur among other patients' slices.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    proba = np.full((len(y), n_classes), np.nan, np.float32)
    known = np.flatnonzero(y >= 0)
    folds = min(_FOLDS, len(np.unique(groups[known])))
    if folds < 2 or len(np.unique(y[known])) < 2:
        return proba
    rng = np.random.default_rng(0)
    dealt = StratifiedGroupKFold(folds, shuffle=True, random_state=0).split(known, y[known], groups[known])
    for fold, (taught, left) in enumerate(dealt):
        taught, left = known[taught], known[left]
        if len(taught) > _TAUGHT:
            taught = np.sort(rng.choice(taught, _TAUGHT, replace=False))
        if len(there := np.unique(y[taught])) < 2:
            continue
        head = make_pipeline(StandardScaler(), LogisticRegression(C=_C, max_iter=100))
        # Steps of this fit are too small to share: threads that wait for each other take tens of times as long.
        with threadpool_limits(1):
            head.fit(_numbers(vectors, taught), y[taught])
        left = left[np.isin(y[left], there)]
        for start in range(0, len(left), _BLOCK):
            block = left[start : start + _BLOCK]
            proba[block] = 0
            proba[np.ix_(block, there)] = head.predict_proba(_numbers(vectors, block))
        report((fold + 1) / folds)
    return proba


def _numbers(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    # An old run's embedding may hold what is no number.
    return np.nan_to_num(np.asarray(vectors[rows], np.float32), posinf=0, neginf=0)


def rank(proba: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rank labels by how little they fit.

    Parameters
    ----------
    proba : ndarray, shape (n, classes)
        From `out_of_sample`.
    y : ndarray of int, shape (n,)

    Returns
    -------
    order : ndarray of int, shape (m,)
        Slices that were judged: those whose label is taken for wrong, then the others; each by score.
    score : ndarray of float, shape (m,)
        From 0 (does not fit) to 1, in that order.
    suspected : ndarray of bool, shape (m,)
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    judged = np.flatnonzero(np.isfinite(proba).all(axis=1) & (y >= 0))
    # cleanlab wants classes without gaps.
    there, labels = np.unique(y[judged], return_inverse=True)
    if len(there) < 2:
        nothing = np.empty(0)
        return nothing.astype(int), nothing, nothing.astype(bool)
    p = proba[np.ix_(judged, there)].astype(float)
    p /= np.maximum(p.sum(axis=1, keepdims=True), 1e-12)
    # What the judge itself would say is no issue, whatever the counts of a small class make of it.
    suspected = find_label_issues(labels, p, filter_by="prune_by_noise_rate", n_jobs=1) & (p.argmax(axis=1) != labels)
    score = get_label_quality_scores(labels, p, method="normalized_margin")
    order = np.lexsort((score, ~suspected))
    return judged[order], score[order], suspected[order]


def write(run: Run, report: analyses.Report) -> None:
    """Judge the labels of an evaluated run, head by head, and keep the doubtful ones."""
    vectors = np.load(run.folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    table, classes = run.predictions(), run.card()["classes"]
    parts, facts = [], {}
    for number, (head, names) in enumerate(classes.items()):
        rows = table[table["head"] == head]

        def tell(share: float, done: int = number) -> None:
            report((done + share) / len(classes), "Judging the labels")

        found, facts[head] = _judge(rows, vectors, names, tell)
        parts.append(found.assign(head=head))
    folder = analyses.folder(run)
    with replaced(folder / _TABLE) as fresh:
        pd.concat(parts, ignore_index=True).to_parquet(fresh, index=False)
    with replaced(folder / _FACTS) as fresh:
        fresh.write_text(json.dumps(facts), encoding="utf-8")


def _judge(
    rows: pd.DataFrame, vectors: np.ndarray, names: list[str], report: Callable[[float], None]
) -> tuple[pd.DataFrame, dict]:
    patients, _ = pd.factorize(rows["PatientID"])
    y = pd.Categorical(rows["y_true"], categories=names).codes.astype(int)
    in_class = pd.DataFrame({"y": y, "patient": patients}).groupby("y")["patient"].nunique()
    few = [at for at, n in in_class.items() if at >= 0 and n < _FEWEST]
    y[np.isin(y, few)] = -1
    proba = out_of_sample(vectors, y, patients, len(names), report)
    order, score, suspected = rank(proba, y)
    kept = slice(min(_MOST, max(_LEAST, int(suspected.sum()))))
    at = order[kept]
    words = np.array(names, object)
    # The likeliest class that is not the given one: what the label would be, were it wrong.
    others = proba[at].copy()
    others[np.arange(len(at)), y[at]] = -1
    suggested = others.argmax(axis=1) if len(at) else at
    found = pd.DataFrame({
        "at": at.astype(np.int32), "given": pd.array(words[y[at]], dtype="str"),
        "suggested": pd.array(words[suggested], dtype="str"), "score": score[kept],
        "p_suggested": others[np.arange(len(at)), suggested].astype(float), "suspected": suspected[kept],
    })  # fmt: skip
    judged = np.isfinite(proba).all(axis=1)
    facts = {"judged": int(judged.sum()), "patients": len(np.unique(patients[judged])),
             "left_out": [names[at] for at in few]}  # fmt: skip
    return found, facts


def read(run: Run, head: str) -> LabelIssues | None:
    """Read what `write` kept of a head; None for a run that was evaluated before."""
    folder = analyses.folder(run)
    if not (folder / _TABLE).exists() or not (folder / _FACTS).exists():
        return None
    table = pd.read_parquet(folder / _TABLE, filters=[("head", "==", head)]).drop(columns="head")
    facts = json.loads((folder / _FACTS).read_text("utf-8")).get(head, {"judged": 0, "patients": 0, "left_out": []})
    return LabelIssues(table, facts["judged"], facts["patients"], tuple(facts["left_out"]))
