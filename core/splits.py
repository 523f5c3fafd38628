"""Splits by patient: no patient's slices ever stand on both sides.

Neighbouring slices of one head look alike, so a split by slice lets a model recognise the head instead
of the sequence.
"""

import hashlib
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from core.cohorts.slice_table import slice_keys
from core.errors import CohortError, ConfigError

SPLITS = ("train", "validation", "test")
#: A fourth part that some runs have: nothing is learnt, tuned or scored on it, and the model still answers it.
UNSEEN = "unseen"


def patient_split(
    table: pd.DataFrame,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    random_state: int = 0,
    label: str = "plane-sequence",
    test_patients: Sequence[str] = (),
) -> pd.Series:
    """Give every slice the split of its patient.

    Patients are dealt one by one, those with the rarest class first, each to the split that is shortest
    of that class: iterative stratification (Sechidis, Tsoumakas, Vlahavas, ECML PKDD 2011) with patients
    as the examples and their classes as the labels. Shares are of patients, not of slices.

    Parameters
    ----------
    table : DataFrame
        With ``PatientID`` and the columns that `label` names; missing labels count for nothing.
    fractions : sequence of float
        Shares of train, validation and test; they sum to 1. Every share above 0 gets at least one patient,
        train first, as far as there are patients.
    random_state : int
        Seed. The answer depends on it and on the patients, not on the order of rows.
    label : {"plane", "sequence", "plane-sequence"}
        What to balance.
    test_patients : sequence of str
        PatientIDs put into the test part by hand; they count towards its share.

    Returns
    -------
    Series of str
        ``train``, ``validation`` or ``test``, indexed like `table`.

    Raises
    ------
    ConfigError
        For fractions that are not three shares of 1, patients that are not in the table, or nobody left to train on.
    CohortError
        For rows without a PatientID.

    Examples
    --------
    >>> table = pd.DataFrame({"PatientID": list("aabbccddee"), "plane": "axial", "sequence": ["T1", "T2"] * 5})
    >>> patient_split(table).groupby(table["PatientID"]).first().value_counts().to_dict()
    {'train': 3, 'validation': 1, 'test': 1}
    >>> patient_split(table, test_patients=["c"])[4]
    'test'
    """
    shares = _check_fractions(fractions)
    if table["PatientID"].isna().any() or (table["PatientID"] == "").any():
        raise CohortError("Some slices have no PatientID, so no split by patient is possible. Index the files again.")
    columns = [column for column in label.split("-") if column in table]
    known = table[["PatientID", *columns]].dropna().drop_duplicates()
    classes_of: dict[str, set] = {patient: set() for patient in sorted(table["PatientID"].unique())}
    for patient, *values in known.itertuples(index=False):
        classes_of[patient].add(tuple(values))
    dealt = dict.fromkeys(_held(test_patients, classes_of), "test")
    # What those held leave of the test part's share is dealt to the others.
    if dealt:
        counts = shares * len(classes_of)
        counts[2] = max(0.0, counts[2] - len(dealt))
        shares = counts / counts.sum()
    others = {patient: classes for patient, classes in classes_of.items() if patient not in dealt}
    dealt |= _deal(others, shares, np.random.default_rng(random_state))
    return table["PatientID"].map(dealt).rename("split").astype("str")


def slice_split(
    table: pd.DataFrame,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    random_state: int = 0,
    label: str = "plane-sequence",
) -> pd.Series:
    """Deal slices one by one, balanced by class, whoever they show: a split that leaks, made to show what that does.

    Neighbouring slices of one patient then stand on both sides. Scores on such a test part say how well a model
    knows people again, not what it is worth for new ones.

    Parameters
    ----------
    table : DataFrame
        With SOPInstanceUID, frame and the columns that `label` names; slices without the label are dealt as well.
    fractions, random_state, label
        See `patient_split`; here shares are of each class's slices.

    Returns
    -------
    Series of str
        ``train``, ``validation`` or ``test``, indexed like `table`.

    Examples
    --------
    >>> table = pd.DataFrame({"SOPInstanceUID": list("abcdefghij"), "frame": 0, "PatientID": "one", "plane": "axial"})
    >>> slice_split(table, label="plane").value_counts().to_dict()
    {'train': 6, 'validation': 2, 'test': 2}
    """
    shares, rng = _check_fractions(fractions), np.random.default_rng(random_state)
    names = _joined(table, label).fillna("").to_numpy(str)
    order = np.argsort(slice_keys(table).to_numpy(str), kind="stable")
    dealt = np.empty(len(table), object)
    for name in np.unique(names):
        rows = rng.permutation(order[names[order] == name])
        dealt[rows] = np.repeat(SPLITS, _room(len(rows), shares))
    return pd.Series(dealt, index=table.index, name="split").astype("str")


def nested_order(table: pd.DataFrame, label: str, random_state: int = 0) -> list[str]:
    """Order patients so that the first of them, however many, show the classes about as often as all do.

    Whoever shows a class that nobody before showed comes first; then who brings the shares nearest to those of all.

    Parameters
    ----------
    table : DataFrame
        With ``PatientID`` and the columns that `label` names; missing labels count for nothing.
    label : {"plane", "sequence", "plane-sequence"}
    random_state : int
        Decides between equals.

    Returns
    -------
    list of str
        Every patient once.

    Examples
    --------
    >>> table = pd.DataFrame({"PatientID": list("abcd"), "plane": ["axial", "axial", "axial", "coronal"]})
    >>> "d" in nested_order(table, "plane")[:2]
    True
    """
    patients = sorted(table["PatientID"].unique())
    known = pd.DataFrame({"PatientID": table["PatientID"], "word": _joined(table, label)}).dropna().drop_duplicates()
    shows = pd.crosstab(known["PatientID"], known["word"]).reindex(patients, fill_value=0).to_numpy()
    wanted, seen = shows.mean(axis=0), np.zeros(shows.shape[1])
    left, order = np.random.default_rng(random_state).permutation(len(patients)), []
    while len(left):
        fresh = (shows[left] * (seen == 0)).sum(axis=1)
        away = np.abs((seen + shows[left]) / (len(order) + 1) - wanted).sum(axis=1).round(9)
        best = np.lexsort((away, -fresh))[0]
        seen += shows[left[best]]
        order.append(patients[left[best]])
        left = np.delete(left, best)
    return order


def _joined(table: pd.DataFrame, label: str) -> pd.Series:
    """Return the label's word of each row, missing where a part of it is; its first column alone may be there."""
    first, *others = [column for column in label.split("-") if column in table]
    names = table[first].astype("str")
    for column in others:
        names = names + "-" + table[column].astype("str")
    return names


def _check_fractions(fractions: Sequence[float]) -> np.ndarray:
    shares = np.asarray(fractions, dtype=float)
    if shares.shape != (3,) or not np.isclose(shares.sum(), 1) or (shares < 0).any() or shares[0] == 0:
        raise ConfigError(
            "The split needs three shares (train, validation, test) that sum to 1, with some for train, such as "
            f"0.6, 0.2, 0.2. Received: {tuple(fractions)}."
        )
    return shares


def _held(test_patients: Sequence[str], patients: Collection[str]) -> set[str]:
    held = set(test_patients)
    if unknown := held - set(patients):
        raise ConfigError(f"The cohort has no patient {', '.join(sorted(unknown))}. Choose among its own.")
    if held and len(held) == len(patients):
        raise ConfigError("Every patient is held for test, so nobody is left to train on. Hold fewer.")
    return held


def _deal(classes_of: dict[str, set], shares: np.ndarray, rng: np.random.Generator) -> dict[str, str]:
    patients = [list(classes_of)[i] for i in rng.permutation(len(classes_of))]
    room = _room(len(patients), shares)
    counts: dict[tuple, int] = {}
    for patient in patients:
        for name in classes_of[patient]:
            counts[name] = counts.get(name, 0) + 1
    wanted = {name: count * shares for name, count in counts.items()}
    dealt: dict[str, str] = {}
    while len(dealt) < len(patients):
        left = [patient for patient in patients if patient not in dealt]
        remaining = {name: sum(name in classes_of[p] for p in left) for name in counts}
        open_ = [name for name, count in remaining.items() if count]
        rarest = min(open_, key=lambda name: (remaining[name], name)) if open_ else None
        group = [patient for patient in left if rarest is None or rarest in classes_of[patient]]
        for patient in group:
            need = wanted[rarest] if rarest is not None else room
            # Ties go to the split with most room left, so that small cohorts fill evenly.
            choice = max(np.flatnonzero(room > 0), key=lambda s: (round(float(need[s]), 9), room[s], -s))
            dealt[patient] = SPLITS[choice]
            room[choice] -= 1
            for name in classes_of[patient]:
                wanted[name][choice] -= 1
    return dealt


def _room(n: int, shares: np.ndarray) -> np.ndarray:
    """Round ``n * shares`` to whole patients, at least one for each share above 0 while patients last."""
    room = np.floor(n * shares + 1e-9).astype(int)
    by_remainder = np.argsort(-(n * shares - room), kind="stable")
    room[by_remainder[: n - room.sum()]] += 1
    for split in np.flatnonzero(shares > 0):
        if room[split] == 0 and room.max() > 1:
            room[np.argmax(room)] -= 1
            room[split] = 1
    if n and room[0] == 0:
        room[np.argmax(room)] -= 1
        room[0] = 1
    return room


def split_hash(table: pd.DataFrame, split: pd.Series) -> str:
    """Name a split by who is where: 64 hexadecimal digits, whatever the order of rows.

    Parameters
    ----------
    table : DataFrame
        With SOPInstanceUID and frame.
    split : Series of str
        Indexed like `table`.

    Returns
    -------
    str
        What a run trained on just these slices writes on its card as ``split_hash``.
    """
    keys = slice_keys(table) + " " + split.astype("str")
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()


def leaks(table: pd.DataFrame, split: pd.Series) -> pd.DataFrame:
    """List patients whose slices stand in more than one split.

    Parameters
    ----------
    table : DataFrame
        With ``PatientID``.
    split : Series
        Indexed like `table`; rows with a missing split stand nowhere.

    Returns
    -------
    DataFrame
        PatientID, splits (joined by a comma), slices; empty when nothing leaks.

    Examples
    --------
    >>> leaks(pd.DataFrame({"PatientID": ["a", "a", "b"]}), pd.Series(["train", "test", "test"])).values.tolist()
    [['a', 'test, train', 2]]
    """
    placed = pd.DataFrame({"PatientID": table["PatientID"], "split": split}).dropna()
    by_patient = placed.groupby("PatientID")["split"]
    answer = pd.DataFrame(
        {"splits": by_patient.agg(lambda s: ", ".join(sorted(s.unique()))), "slices": by_patient.size()}
    )
    return answer[by_patient.nunique() > 1].reset_index()


def summary(table: pd.DataFrame, split: pd.Series, label: str) -> pd.DataFrame:
    """Count slices and patients per class and split.

    Parameters
    ----------
    table : DataFrame
        With ``PatientID`` and the columns that `label` names.
    split : Series
        Indexed like `table`.
    label : {"plane", "sequence", "plane-sequence"}
        ``plane-sequence`` counts the combined class, for example ``axial-T1``.

    Returns
    -------
    DataFrame
        One row a class and split that hold something: label, split, slices, patients. Slices without the
        label are left out.

    Examples
    --------
    >>> table = pd.DataFrame({"PatientID": ["a", "a", "b"], "plane": ["axial", "axial", "coronal"]})
    >>> summary(table, pd.Series(["train", "train", "test"]), "plane").values.tolist()
    [['axial', 'train', 2, 1], ['coronal', 'test', 1, 1]]
    """
    frame = pd.DataFrame({label: _joined(table, label), "split": split, "PatientID": table["PatientID"]})
    frame = frame[frame[label].notna()]
    grouped = frame.groupby([label, "split"])["PatientID"]
    answer = pd.DataFrame({"slices": grouped.size(), "patients": grouped.nunique()}).reset_index()
    order = {name: position for position, name in enumerate(SPLITS)}
    return answer.sort_values([label, "split"], key=lambda s: s.map(order) if s.name == "split" else s).reset_index(
        drop=True
    )
