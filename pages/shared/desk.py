"""The desk of one person who labels: the queue before them, what they answered, and what a key does."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from core import cohort
from core.errors import CoreError
from core.labelling import label_log, label_queue
from core.labelling.label_queue import HEADS
from pages.shared import cached, state

#: Keys of the session. Who labels stands in no address.
BY, SCOPE, SELECTED, SKIPPED, PROBLEM, TURN = "by", "scope", "selected", "skipped", "label_problem", "label_turn"


@dataclass(frozen=True)
class Desk:
    """What a person sees when a key is pressed.

    Attributes
    ----------
    made : Cohort
        With the labels of its headers.
    queue : DataFrame
        From `core.labelling.label_queue`, filtered.
    log : list of dict
    by : str
        Who labels; empty before a name was given.
    answers : DataFrame
        The person's own, from `core.labelling.label_queue.answers_by`.
    blind : bool
        Whether header's and model's words are hidden until the answer is given.
    """

    made: cohort.Cohort
    queue: pd.DataFrame
    log: list[dict]
    by: str
    answers: pd.DataFrame
    blind: bool


def set_up(made: cohort.Cohort, queue: pd.DataFrame, by: str, blind: bool) -> Desk:
    """Lay a queue before a person."""
    log = cached.labels_given(made.name)
    return Desk(made, queue, log, by, label_queue.answers_by(queue, log, by), blind)


def current(desk: Desk) -> str:
    """Return the item of the address, else the next to do; from then on it stands in the address."""
    key = state.get(state.ITEM)
    if key not in desk.queue.index:
        key = label_queue.next_open(desk.answers["done"], None, skipped()) or desk.queue.index[0]
        go(key)
    return key


def go(key: str | None) -> None:
    """Open an item."""
    state.put(**{state.ITEM: key, state.SLICE: None})


def skipped() -> list[str]:
    """Items that were put off in this session."""
    return st.session_state.setdefault(SKIPPED, [])


def selected(desk: Desk) -> list[str]:
    """Items that were selected, in the order of the queue."""
    chosen = set(st.session_state.get(SELECTED, ()))
    return [key for key in desk.queue.index if key in chosen] if chosen else []


def shown_slice(desk: Desk, item: str) -> str:
    """Key of the slice of an item that the address names, else its own."""
    key, row = state.get(state.SLICE), desk.queue.loc[item]
    table = desk.made.table
    mine = key in table.index and table.at[key, "SeriesInstanceUID"] == row["SeriesInstanceUID"]
    return key if mine else row["slice"]


def is_series(desk: Desk, item: str) -> bool:
    """Tell whether an item is a whole series."""
    return item == desk.queue.at[item, "SeriesInstanceUID"]


def targets(desk: Desk, item: str, scope: str) -> list[str]:
    """Return the keys that an answer labels: of the item, of the shown slice or whole series, or of the selection."""
    if scope == "selection":
        return selected(desk)
    if scope == "other":
        return [shown_slice(desk, item) if is_series(desk, item) else desk.queue.at[item, "SeriesInstanceUID"]]
    return [item]


def press(desk: Desk, item: str, name: str, word: str) -> None:
    """Do what a key says, as a callback of the page.

    Parameters
    ----------
    desk : Desk
    item : str
        Key of the item that was shown when the key was pressed.
    name : str
        A head, or one of `pages.shared.components.label_keys.MOVES`.
    word : str
        The label, for a head.
    """
    if item not in desk.queue.index:
        return
    try:
        if name in HEADS:
            answer(desk, targets(desk, item, st.session_state.get(SCOPE) or "item"), {name: word})
            settle(desk, item)
        elif name == "accept" and desk.answers.at[item, "done"]:
            go(label_queue.next_open(desk.answers["done"], item, skipped()) or item)
        elif name == "accept":
            row, mine = desk.queue.loc[item], desk.answers.loc[item]
            asked = [head for head in HEADS if row[f"asks_{head}"] and pd.isna(mine[head]) and pd.notna(row[head])]
            answer(desk, [item], {head: str(row[head]) for head in asked})
            settle(desk, item)
        elif name in ("undo", "redo"):
            turn_back(desk, name)
        elif name == "skip":
            skipped().append(item)
            go(label_queue.next_open(desk.answers["done"], item, skipped()))
        elif name == "select":
            chosen = st.session_state.setdefault(SELECTED, [])
            (chosen.remove if item in chosen else chosen.append)(item)
        else:
            at = desk.queue.index.get_loc(item) + (1 if name == "next" else -1)
            go(desk.queue.index[min(max(at, 0), len(desk.queue) - 1)])
    except CoreError as error:
        st.session_state[PROBLEM] = str(error)


def answer(desk: Desk, keys: Sequence[str], words: dict[str, str]) -> None:
    """Write answers to the log, a line a head."""
    if not desk.by or not keys:
        return
    for head, word in words.items():
        old = {before(desk, key, head) for key in keys}
        key = keys[0] if len(keys) == 1 else keys
        cohort.append_label(desk.made, key, head, old.pop() if len(old) == 1 else None, word, desk.by)
    if len(keys) > 1:
        st.session_state[SELECTED] = []
    # A wider or narrower answer is for once.
    st.session_state[SCOPE] = "item"


def before(desk: Desk, key: str, head: str) -> str | None:
    """Return the label that this person saw: their own answer, else the header's."""
    if key in desk.queue.index:
        words = [desk.answers.at[key, head], desk.queue.at[key, head]]
    else:
        table = desk.made.table
        words = (
            [table.at[key, head]] if key in table.index else list(table[table["SeriesInstanceUID"] == key][head][:1])
        )
    return next((str(word) for word in words if pd.notna(word)), None)


def settle(desk: Desk, item: str) -> None:
    """Go on when this item has just become done; who works blind first sees what the others say."""
    done = set_up(desk.made, desk.queue, desk.by, desk.blind).answers["done"]
    if done[item] and not desk.answers.at[item, "done"] and not desk.blind:
        go(label_queue.next_open(done, item, skipped()) or item)


def turn_back(desk: Desk, name: str) -> None:
    """Undo or redo this person's last answer, and show the item that it was of."""
    done, taken_back = label_log.history(desk.log, desk.by)
    lines = done if name == "undo" else taken_back
    if not lines:
        return
    line = lines[-1]
    cohort.undo_label(desk.made, line["id"] if name == "undo" else label_log.undone_by(desk.log)[line["id"]], desk.by)
    if key := next((key for key in label_log.keys_of(line) if key in desk.queue.index), None):
        go(key)
