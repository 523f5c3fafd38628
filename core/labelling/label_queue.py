"""What a person should look at, in which order, and how far they are.

A queue is a table, one row an item: a series whose slices all have one label by their headers, or a slice of a series
where they differ. It is made from headers and, where a model was asked about the cohort, its answers; never from what
people said. So it stays the same while people work on it, and shows nobody what others said.

A named queue is a list of keys in ``queues/<name>.json`` of the cohort's folder: ``{"name", "keys", "created"}``.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from core.cohorts.cohort_files import check_name, is_name
from core.cohorts.slice_table import Cohort, replaced, slice_keys
from core.errors import CohortError
from core.labelling.label_log import WORDS, keys_of, standing
from core.vocabulary import PLANES

#: What can be wrong with an item, the first first; an item with nothing wrong has "".
WRONG = ("conflict", "disagree", "no_label", "unsure")
HEADS = tuple(WORDS)
#: Answers further apart than this belong to two sittings.
PAUSE_S = 300


def build_queue(
    table: pd.DataFrame, slices: pd.DataFrame | None = None, series: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Make the queue of a whole cohort: what is most likely wrong stands first.

    Parameters
    ----------
    table : DataFrame
        Slice table with the labels of the headers, indexed by slice key.
    slices, series : DataFrame, optional
        A model's answers, from `core.labelling.model_answers`.

    Returns
    -------
    DataFrame
        Indexed by ``key``, a SeriesInstanceUID or a slice key. ``slice``: key of the slice to show;
        ``SeriesInstanceUID``; ``n``: slices that an answer labels; ``image_number``; ``wrong``: one of `WRONG` or "";
        ``asks_plane``, ``asks_sequence``: whether a person is asked for it; ``conflict``; by head the header's word
        (``plane``), its rule, and of the model ``model_plane``, ``plane_p``, ``plane_verdict``.

    Notes
    -----
    Conflicts of a header come first; then what a model contradicts, the surest first; then what has no label; then
    what the model is unsure of, the least sure first; then the rest.
    """
    return _ordered(_judged(_with_answers(_items(table), slices, series)))


def named_queue(
    table: pd.DataFrame, keys: Iterable[str], slices: pd.DataFrame | None = None, series: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Make a queue of these slices and series, in their order; plane and sequence are asked of each.

    Parameters
    ----------
    table, slices, series : DataFrame
        As in `build_queue`.
    keys : iterable of str
        Slice keys or SeriesInstanceUIDs; those that the cohort does not have are left out.

    Returns
    -------
    DataFrame
        As of `build_queue`.
    """
    keys = pd.Index(dict.fromkeys(keys), dtype="str")
    single = table[table.index.isin(keys)]
    whole = table[table["SeriesInstanceUID"].isin(keys)]
    both = pd.concat([_by_slice(single), _by_series(whole)])
    items = _judged(_with_answers(both.loc[[key for key in keys if key in both.index]], slices, series))
    return items.assign(**{f"asks_{head}": True for head in HEADS})


def _items(table: pd.DataFrame) -> pd.DataFrame:
    """Take series whole where their slices have one label, slice by slice where not."""
    labels = table[["plane", "sequence", "conflict"]].fillna("")
    code = labels.groupby(list(labels), sort=False).ngroup()
    by_series = code.groupby(table["SeriesInstanceUID"], sort=False)
    mixed = by_series.transform("min") != by_series.transform("max")
    return pd.concat([_by_series(table[~mixed]), _by_slice(table[mixed])])


_FACTS = [
    "SeriesInstanceUID", "PatientID", "SeriesDescription", "image_number", "plane", "plane_rule", "tilt_deg",
    "sequence", "sequence_rule", "sequence_evidence", "conflict",
]  # fmt: skip


def _by_series(table: pd.DataFrame) -> pd.DataFrame:
    """One row a series, that of its middle slice."""
    table = table.sort_values(["PatientID", "SeriesInstanceUID", "image_number"], kind="stable")
    groups = table.groupby("SeriesInstanceUID", sort=False)["frame"]
    n = groups.transform("size")
    middle = table[groups.cumcount() == n // 2]
    items = middle[_FACTS].assign(slice=middle.index, n=n[middle.index])
    return items.set_index(pd.Index(middle["SeriesInstanceUID"], name="key"))


def _by_slice(table: pd.DataFrame) -> pd.DataFrame:
    items = table.sort_values(["PatientID", "SeriesInstanceUID", "image_number"], kind="stable")[_FACTS]
    return items.assign(slice=items.index, n=1).rename_axis("key")


def _with_answers(items: pd.DataFrame, slices: pd.DataFrame | None, series: pd.DataFrame | None) -> pd.DataFrame:
    columns = [column for head in HEADS for column in (head, f"{head}_p", f"{head}_verdict")]
    if slices is None or series is None:
        answers = pd.DataFrame(columns=columns, index=items.index)
    else:
        by_slice = slices.set_index(slice_keys(slices))
        answers = pd.concat([series.set_index("SeriesInstanceUID")[columns], by_slice[columns]]).reindex(items.index)
    answers = answers.rename(columns={head: f"model_{head}" for head in HEADS})
    return items.join(answers.astype({f"{head}_p": "float64" for head in HEADS}))


def _judged(items: pd.DataFrame) -> pd.DataFrame:
    """Say of each head what is wrong with it, and of the item the worst of both."""
    # A conflict's sentence is about the plane if it names one.
    of_plane = items["conflict"].str.contains("|".join(PLANES))
    of_sequence = items["conflict"].str.split("; ").map(lambda parts: any(map(_names_no_plane, parts)))
    ranks = {}
    for head, conflict in zip(HEADS, (of_plane, of_sequence), strict=True):
        # What shows no brain has no answer of the model that could be compared.
        verdict = items[f"{head}_verdict"]
        holds = [conflict, verdict == "disagree", items[head].isna(), verdict == "unsure"]
        ranks[head] = np.select([mask.to_numpy(bool) for mask in holds], range(len(WRONG)), len(WRONG))
    worst = np.minimum(*ranks.values())
    names = np.array([*WRONG, ""], dtype=object)
    asks = {f"asks_{head}": (rank < len(WRONG)) | (worst == len(WRONG)) for head, rank in ranks.items()}
    return items.assign(wrong=pd.array(names[worst], dtype="str"), **asks)


def _names_no_plane(sentence: str) -> bool:
    return bool(sentence) and not any(plane in sentence for plane in PLANES)


def _ordered(items: pd.DataFrame) -> pd.DataFrame:
    rank = items["wrong"].map({name: place for place, name in enumerate((*WRONG, ""))})
    p = items[[f"{head}_p" for head in HEADS]].where(items[[f"asks_{head}" for head in HEADS]].to_numpy()).min(axis=1)
    sure = np.select([items["wrong"] == "disagree", items["wrong"] == "unsure"], [-p.fillna(0), p.fillna(1)], 0.0)
    return items.iloc[np.lexsort((np.arange(len(items)), sure, rank))]


# Named queues -----------------------------------------------------------------------------------------------


def list_queues(cohort: Cohort) -> list[str]:
    """List the names of a cohort's queues, sorted."""
    return sorted(path.stem for path in (cohort.folder / "queues").glob("*.json") if is_name(path.stem))


def write_queue(cohort: Cohort, name: str, keys: Iterable[str]) -> Path:
    """Keep a list of slices and series under a name, and give its file; a queue of that name is replaced.

    Raises
    ------
    CohortError
        For a name that cannot be a file's, or without keys.
    """
    keys = list(keys)
    check_name(name, "queue")
    if not keys:
        raise CohortError(f"Queue {name!r} would be empty. Choose at least one slice or series.")
    created = datetime.now(UTC).isoformat(timespec="seconds")
    path = cohort.folder / "queues" / f"{name}.json"
    with replaced(path) as fresh:
        fresh.write_text(json.dumps({"name": name, "keys": keys, "created": created}), "utf-8")
    return path


def read_queue(cohort: Cohort, name: str) -> list[str]:
    """Read the keys of a named queue.

    Raises
    ------
    CohortError
        When there is none of that name, or its file is not such a list.
    """
    if name not in (there := list_queues(cohort)):
        raise CohortError(f"Cohort {cohort.name!r} has no queue {name!r}. It has: {', '.join(there) or 'none yet'}.")
    try:
        keys = json.loads((cohort.folder / "queues" / f"{name}.json").read_text("utf-8"))["keys"]
    except (ValueError, KeyError, TypeError):
        keys = None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise CohortError(f"Queue {name!r} of cohort {cohort.name!r} holds no list of keys. Make it again.")
    return keys


# Progress ---------------------------------------------------------------------------------------------------


def answers_by(queue: pd.DataFrame, log: list[dict], by: str) -> pd.DataFrame:
    """Give a person's own latest standing answer to each item; what others said has no part in it.

    Parameters
    ----------
    queue : DataFrame
        From `build_queue` or `named_queue`.
    log : list of dict
        From `core.cohort.read_log`.
    by : str

    Returns
    -------
    DataFrame
        Indexed as `queue`: ``plane``, ``sequence`` (missing without an answer, and for the answer "no label"),
        ``done`` (all that is asked was answered).

    Notes
    -----
    An answer to a series is one to each of its slices; one to a slice is none to its series.
    """
    lines = standing(log)
    places: dict[str, dict[str, int]] = {head: {} for head in HEADS}
    for place, line in enumerate(lines):
        if line["by"] == by:
            places[line["column"]].update(dict.fromkeys(keys_of(line), place))
    answers, open_ = pd.DataFrame(index=queue.index), np.zeros(len(queue), bool)
    for head in HEADS:
        by_key = pd.Series(places[head], dtype="float64")
        latest = np.fmax(by_key.reindex(queue.index).to_numpy(), by_key.reindex(queue["SeriesInstanceUID"]).to_numpy())
        words = np.full(len(queue), None)
        answered = np.flatnonzero(~np.isnan(latest))
        words[answered] = [lines[int(place)]["new"] for place in latest[answered]]
        answers[head] = pd.array(words, dtype="str")
        open_ |= queue[f"asks_{head}"].to_numpy(bool) & np.isnan(latest)
    return answers.assign(done=~open_)


def per_minute(queue: pd.DataFrame, log: list[dict], by: str) -> float | None:
    """Tell how many items a person answers in a minute, in their present or last sitting; None while it cannot be told.

    Examples
    --------
    >>> queue = pd.DataFrame({"SeriesInstanceUID": ["1", "2", "3"]}, index=["1", "2", "3"])
    >>> log = [{"id": key, "key": key, "column": "plane", "new": "axial", "by": "Ada", "at": f"2026-01-01T09:00:{s}"}
    ...        for key, s in (("1", "00"), ("2", "20"), ("3", "40"))]
    >>> per_minute(queue, log, "Ada")
    3.0
    """
    mine = [(key, line) for line in standing(log) if line["by"] == by for key in keys_of(line)]
    said, uids = {key for key, _ in mine}, queue["SeriesInstanceUID"]
    here = {*queue.index[queue.index.isin(said)], *uids[uids.isin(said)]}
    last = {str(line["key"]): datetime.fromisoformat(line["at"]).timestamp() for key, line in mine if key in here}
    times = sorted(last.values(), reverse=True)
    breaks = [place for place in range(1, len(times)) if times[place - 1] - times[place] > PAUSE_S]
    times = times[: breaks[0]] if breaks else times
    return 60 * (len(times) - 1) / (times[0] - times[-1]) if len(times) > 1 and times[0] > times[-1] else None


def next_open(done: pd.Series, key: str | None, skipped: Iterable[str] = ()) -> str | None:
    """Find the item to do after one: the next that is not done, from the start again after the end, skipped ones last.

    Examples
    --------
    >>> done = pd.Series([True, False, False], index=["a", "b", "c"])
    >>> next_open(done, "c"), next_open(done, "a", skipped=["b"]), next_open(done | True, "a")
    ('b', 'c', None)
    """
    start = done.index.get_loc(key) + 1 if key in done.index else 0
    rest = np.roll(done.index[~done], -int((~done.iloc[:start]).sum()))
    skipped = set(skipped)
    return next((item for item in rest if item not in skipped), rest[0] if len(rest) else None)
