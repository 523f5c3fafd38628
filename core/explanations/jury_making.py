"""Calling a named jury: references from slices that somebody picked, or drawn from a cohort, and its trial.

Nothing is trained. The model embeds the references and the slices that the jury is tried on; that is all.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from core import batches, inference, runs, thumbnails
from core.cohorts.slice_table import Cohort, slice_keys
from core.errors import CoreError, InputError
from core.explanations.juries import TARGET, NamedJury, Report, Trial, check_label, ruled
from core.explanations.jury import Jury, unit
from core.publishing import registry
from core.vocabulary import PLANES, SEQUENCES

#: How references can be drawn, in words.
WAYS = {
    "own": "the run's own",
    "patient": "drawn at random, spread over patients",
    "medoids": "medoids: each class's most typical slices",
}
HEADS = ("plane", "sequence", "plane-sequence")
#: Side in pixels of the pictures.
_PICTURE = 96
#: Slices of a class among which medoids are looked for, and slices of a class that a jury is tried on.
_POOL, _TRIED = 60, 40
#: With fewer slices of other patients a jury is tried on itself.
_FEWEST_TRIED = 20
_MOST_REFERENCES = 500


def by_patient(labels: np.ndarray, patients: np.ndarray, size: int, random_state: int = 0) -> np.ndarray:
    """Draw slices of each class, spread over patients: one of each, then a second of each, and so on.

    The order of patients is one for all classes, so that a small jury needs few of them.

    Parameters
    ----------
    labels, patients : ndarray of str, shape (n,)
    size : int
        Of each class; fewer where there are fewer.
    random_state : int

    Returns
    -------
    ndarray of int
        Rows, class after class.

    Examples
    --------
    >>> rows = by_patient(np.array(["a"] * 6), np.array(list("ppppqr")), 3)
    >>> sorted(np.array(list("ppppqr"))[rows].tolist())
    ['p', 'q', 'r']
    """
    rng = np.random.default_rng(random_state)
    names = np.unique(patients)
    place = dict(zip(names, rng.permutation(len(names)), strict=True))
    shuffled = rng.permutation(len(labels))
    rows: list[int] = []
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        of = pd.Series(patients[members])
        turn = of.groupby(of).cumcount().to_numpy()
        rows += members[np.lexsort((of.map(place).to_numpy(), turn))][:size].tolist()
    return np.array(rows, int)


def medoids(vectors: np.ndarray, size: int) -> np.ndarray:
    """Choose slices that together lie nearest to all of their class.

    The first step of partitioning around medoids (Kaufman & Rousseeuw, *Finding Groups in Data*, 1990): one after the
    other, whichever shortens the distances most.

    Parameters
    ----------
    vectors : ndarray, shape (n, d)
        Of length 1.
    size : int

    Returns
    -------
    ndarray of int
        At most `size` rows, the most typical first.

    Examples
    --------
    >>> medoids(np.array([[1, 0], [0.99, 0.14], [0.96, 0.28], [0, 1.0]]), 2).tolist()
    [2, 3]
    """
    alike = vectors @ vectors.T
    best, chosen = np.full(len(vectors), -1.0), []
    for _ in range(min(size, len(vectors))):
        gain = np.maximum(alike, best).sum(axis=1)
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        best = np.maximum(best, alike[chosen[-1]])
    return np.array(chosen, int)


def make(
    name: str,
    model: registry.Model,
    cohort: Cohort,
    picked: Mapping[str, str] | None = None,
    *,
    by: str | None = None,
    head: str = "sequence",
    size: int = 5,
    random_state: int = 0,
    vote: str = "mean",
    k: int = 5,
    target: float = TARGET,
    report: Report | None = None,
) -> NamedJury:
    """Call a jury and try it; it is not saved yet.

    Parameters
    ----------
    name : str
    model : registry.Model
    cohort : Cohort
        Where the slices are.
    picked : mapping of str to str, optional
        Keys of slices to the class that each is an example of: known words, or new ones.
    by : {"own", "patient", "medoids"}, optional
        Also take the references that a Siamese run has anyway, or draw some for each class that the cohort's labels
        know, from a run's training slices where it is the run's own cohort.
    head : {"plane", "sequence", "plane-sequence"}
        Which labels those are.
    size : int
        References of each class that are drawn.
    random_state : int
    vote, k, target
        As for `core.explanations.juries.ruled`.
    report : callable, optional
        Called with (slices done, slices in all).

    Returns
    -------
    NamedJury

    Raises
    ------
    InputError
        When there are fewer than two classes, or a key that the cohort does not have.
    CoreError
        When slices cannot be read or the model cannot be asked.
    """
    report = report or (lambda done, total: None)
    table = cohort.table.set_index(slice_keys(cohort.table).rename("key"), drop=False)
    parts = _parts(model, cohort)
    wanted = _checked(picked or {}, table)
    if by is not None:
        take = _own if by == "own" else _drawn
        wanted = {**take(model, cohort, table, parts, by, head, size, random_state), **wanted}
    classes = tuple(dict.fromkeys(wanted.values()))
    if len(classes) < 2 or len(wanted) > _MOST_REFERENCES:
        raise InputError(
            f"A jury has two classes or more and at most {_MOST_REFERENCES} references; received {len(wanted)} slices "
            f"of {', '.join(classes) or 'no class'}."
        )
    rows = table.loc[list(wanted)]
    tried, truths, how = _trial_rows(table, rows, classes, parts, random_state)
    vectors = _embed(model, cohort, pd.concat([rows, tried]), report)
    references, others = vectors[: len(rows)], vectors[len(rows) :]
    made = Jury(
        classes, tuple(wanted.values()), tuple(map(str, rows["PatientID"])), tuple(wanted), references,
        thumbnails.sprites(cohort, rows, _PICTURE),
    )  # fmt: skip
    trial = Trial((others @ references.T).astype(np.float32), truths, how) if how else left_out(made)
    chosen = " and ".join([*([WAYS[by]] if by else []), *(["chosen by hand"] if picked else [])])
    return ruled(NamedJury(name, made, model.id, model.sha256, cohort.name, chosen, trial=trial), vote, k, target)


def left_out(jury: Jury) -> Trial:
    """Try a jury on its own references, without those of the same patient, or without itself where no other is left.

    Classes with a single reference cannot be tried.
    """
    codes, patients = jury.codes, np.array(jury.patients)
    cosines = (jury.embeddings @ jury.embeddings.T).astype(np.float32)
    same_patient = patients[:, None] == patients
    same_class = codes[:, None] == codes
    stranded = ~(same_class & ~same_patient).any(axis=1)
    absent = np.where(stranded[:, None], np.eye(len(codes), dtype=bool), same_patient)
    cosines[absent] = np.nan
    asked = (same_class & ~absent).any(axis=1)
    how = "its own references, each without those of its patient" if not stranded[asked].any() else (
        "its own references, each left out in turn; they are of too few patients to trust that"
    )  # fmt: skip
    return Trial(cosines[asked], codes[asked], how if asked.any() else "")


def _checked(picked: Mapping[str, str], table: pd.DataFrame) -> dict[str, str]:
    gone = [key for key in picked if key not in table.index]
    if gone:
        raise InputError(f"The cohort has no slice {gone[0]!r} (and {len(gone) - 1} more). Choose its own cohort.")
    return {key: check_label(label) for key, label in picked.items()}


def _parts(model: registry.Model, cohort: Cohort) -> pd.Series:
    """Which part of a run's split each slice is in; empty where the model was not trained on this cohort."""
    try:
        run = runs.read_run(model.id)
        if run.config.cohort == cohort.name:
            split = run.split()
            return pd.Series(split["split"].to_numpy(), slice_keys(split))
    except CoreError:
        pass
    return pd.Series(dtype="str")


def _own(model: registry.Model, cohort: Cohort, table: pd.DataFrame, *drawing: object) -> dict[str, str]:
    if model.card["kind"] != "siamese":
        raise InputError(f"Only a Siamese run has references of its own; {model.id} is none. Draw them by patient.")
    jury = Jury.load(model.bundle)
    there = [key in table.index for key in jury.keys]
    if not all(there):
        raise InputError(
            f"{len(there) - sum(there)} of the run's own {len(there)} references are not in cohort {cohort.name}. "
            "Choose the one that the run learnt from."
        )
    return dict(zip(jury.keys, jury.labels, strict=True))


def _drawn(
    model: registry.Model, cohort: Cohort, table: pd.DataFrame, parts: pd.Series, by: str, head: str, size: int,
    random_state: int,
) -> dict[str, str]:  # fmt: skip
    if by not in WAYS or head not in HEADS or size < 1:
        raise InputError(
            f"References are drawn by {' or '.join(WAYS)}, for {', '.join(HEADS)}, one or more of each class; "
            f"received {by!r}, {head!r} and {size}."
        )
    rows = table.assign(word=batches.label_values(table, head)).dropna(subset="word")
    training = rows.index.isin(parts.index[parts == "train"])
    if training.any():
        rows = rows[training]
    elif by == "medoids":
        # Half of the people stay away, so that the jury can be tried on them.
        people = np.random.default_rng(random_state).permutation(np.unique(rows["PatientID"]))
        rows = rows[rows["PatientID"].isin(people[: max(1, len(people) // 2)])]
    words, patients = rows["word"].to_numpy(str), rows["PatientID"].to_numpy(str)
    if by == "patient":
        chosen = by_patient(words, patients, size, random_state)
    else:
        pool = by_patient(words, patients, _POOL, random_state)
        vectors = _embed(model, cohort, rows.iloc[pool], lambda done, total: None)
        chosen = np.concatenate([
            pool[mine][medoids(vectors[mine], size)]
            for mine in (np.flatnonzero(words[pool] == word) for word in np.unique(words))
        ]) if len(pool) else pool  # fmt: skip
    return dict(zip(rows.index[chosen], words[chosen].tolist(), strict=True))


def _trial_rows(
    table: pd.DataFrame, references: pd.DataFrame, classes: tuple[str, ...], parts: pd.Series, random_state: int
) -> tuple[pd.DataFrame, np.ndarray, str]:
    """Choose slices of other patients whose class the cohort's labels tell; none where that cannot be."""
    head = head_of(classes)
    nothing = table.iloc[:0], np.empty(0, int), ""
    if not head:
        return nothing
    rows = table.assign(word=batches.label_values(table, head))
    rows = rows[rows["word"].isin(classes) & ~rows["PatientID"].isin(references["PatientID"])]
    part = pd.Series(rows.index.map(parts.get), rows.index)
    validation = (part == "validation").to_numpy()
    rows = rows[validation] if validation.any() else rows[(part != "train").to_numpy()]
    words, patients = rows["word"].to_numpy(str), rows["PatientID"].to_numpy(str)
    chosen = by_patient(words, patients, _TRIED, random_state)
    if len(chosen) < _FEWEST_TRIED or set(words[chosen]) != set(classes):
        return nothing
    rows = rows.iloc[chosen]
    how = _tried_on(rows["PatientID"], bool(validation.any()))
    return rows.drop(columns="word"), np.array([classes.index(word) for word in words[chosen]]), how


def _tried_on(patients: pd.Series, validation: bool) -> str:
    """Say on whose slices a jury was tried; empty without any."""
    kind = "validation slices" if validation else "slices of patients who are not in it"
    return f"{len(patients)} {kind} ({patients.nunique()} patients)" if len(patients) else ""


def head_of(classes: tuple[str, ...]) -> str:
    """Tell which labels of a cohort speak of these classes; empty where none do.

    Examples
    --------
    >>> head_of(("T1", "SWI")), head_of(("axial", "coronal")), head_of(("axial-T1", "axial-T2")), head_of(("T1", "odd"))
    ('sequence', 'plane', 'plane-sequence', '')
    """
    pairs = {f"{plane}-{sequence}" for plane in PLANES for sequence in SEQUENCES}
    for head, words in (("plane", set(PLANES)), ("sequence", set(SEQUENCES)), ("plane-sequence", pairs)):
        if set(classes) <= words:
            return head
    return ""


def _embed(model: registry.Model, cohort: Cohort, rows: pd.DataFrame, report: Report) -> np.ndarray:
    """Ask the model for embeddings of length 1, (n, d)."""
    size = model.card["input_shape"][0]
    images = batches.model_inputs(cohort, rows, size, lambda done, total: report(done // 2, total))
    worker, parts = inference.get_worker(), []
    for start in range(0, len(images), inference.BATCH):
        parts.append(worker.predict(Path(model.bundle), images[start : start + inference.BATCH]).embeddings)
        done = min(len(images), start + inference.BATCH)
        report((len(images) + done) // 2, len(images))
    return unit(np.concatenate(parts)).astype(np.float32)


def of_run(run: runs.Run) -> NamedJury:
    """Return a Siamese run's own jury, whose vote by *mean* is the run's answer, tried on what the run has kept.

    Raises
    ------
    CoreError
        When the run has no jury, or was not evaluated.
    """
    card, made = run.card(), Jury.load(run.bundle)
    rows, embeddings = run.predictions(), run.embeddings()
    known = rows["y_true"].isin(made.classes) & ~rows["PatientID"].isin(made.patients)
    validation = known & (rows["split"] == "validation")
    tried = np.flatnonzero(validation if validation.any() else known & (rows["split"] != "train"))
    trial = Trial(
        (unit(embeddings[tried]) @ made.embeddings.T).astype(np.float32),
        np.array([made.classes.index(word) for word in rows["y_true"].iloc[tried]], int),
        _tried_on(rows["PatientID"].iloc[tried], bool(validation.any())),
    )
    ((_, temperature),) = card["temperature"].items()
    return NamedJury(
        "", made, run.id, card["sha256"], run.config.cohort, WAYS["own"], temperature=temperature, trial=trial
    )  # fmt: skip
