"""Making a jury: a name, example slices of each class, and how they vote."""

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from core import runs
from core.cohorts import cohort_files
from core.errors import CoreError
from core.explanations import juries, jury_making
from core.explanations.votes import VOTES
from core.publishing import registry
from pages.shared import cached, state, tasks, widgets
from pages.shared.components.thumbnail_grid import Tile, thumbnail_grid

_HELD, _LABEL = "jury-examples", "jury-label"
_PER_PAGE = 36
_NOBODY = "nobody"
_ANY = "any"


def draw(run: runs.Run) -> None:
    """Draw the steps: examples by hand, references that are drawn, the vote."""
    name = st.session_state[state.COHORT]
    if name is None:
        widgets.empty("No cohort yet", "Examples are slices of a cohort: index a folder on **Browse**.")
        return
    key = ("jury", run.id)
    task = tasks.get(key)
    if task is not None and not task.finished:
        tasks.follow(key, "Looking at references and trying the jury")
        return
    if task is not None and task.error:
        st.error(task.error)
    if task is not None and task.result is not None:
        _made(key, task.result)
        return
    made = cached.open_cohort(name)
    held = _held(made)
    st.markdown(
        f"Pick a few slices of cohort **{made.name}** for each class and say what they are examples of: a class that "
        "the model knows, or a new one. Five slices of several patients are a good start. Nothing is trained."
    )
    _pick(made, held)
    _examples(made, held)
    _call(run, made, held, key)


def _held(made) -> dict[str, str]:
    """Return keys and classes of the examples so far; they are forgotten with the cohort."""
    where = (made.name, made.created)
    held = st.session_state.get(_HELD)
    if held is None or held["where"] != where:
        held = st.session_state[_HELD] = {"where": where, "labels": {}, "picked": set()}
    return held


def _pick(made, held: dict) -> None:
    one, two, three, four = st.columns([1, 1, 1.6, 1.4], vertical_alignment="bottom")
    chosen = {
        column: place.selectbox(column.capitalize(), [_ANY, *sorted(made.table[column].dropna().unique())],
                                key=f"jury-{column}")
        for place, column in ((one, "plane"), (two, "sequence"))
    }  # fmt: skip
    text = three.text_input("Words of the description", key="jury-text").casefold()
    middle = four.toggle("Only the middle of each series", value=True, key="jury-middle")
    rows = made.table[_fits(made.table, chosen, text, middle)]
    page = widgets.pager(len(rows), _PER_PAGE, st.session_state.get("jury-page", 1),
                         lambda number: st.session_state.update({"jury-page": number}), "jury-pages")  # fmt: skip
    shown = rows.iloc[page]
    if shown.empty:
        widgets.empty("Nothing fits", "Take other words, or turn off the middle slices.")
        return
    tiles = [
        Tile(key=key, title=widgets.show(sequence), note=patient, badge=held["labels"].get(key, ""), tone="good",
             hover=f"{widgets.show(plane)}: {widgets.show(words)}")
        for key, plane, sequence, patient, words in zip(
            shown.index, shown["plane"], shown["sequence"], shown["PatientID"], shown["SeriesDescription"], strict=True)
    ]  # fmt: skip
    picked = held["picked"]

    def turn(key: str) -> None:
        picked.symmetric_difference_update({key})

    def ticked(keys: list[str]) -> None:
        picked.difference_update(shown.index)
        picked.update(keys)

    thumbnail_grid(tiles, cached.cohort_sheet(made, tuple(shown.index)), selected=None, on_click=turn,
                   key="jury-grid", tile_px=96, picked=picked, on_pick=ticked)  # fmt: skip
    label, button = st.columns([3, 1], vertical_alignment="bottom")
    label.text_input("These are examples of", key=_LABEL, placeholder="T1, or a word of your own", max_chars=40)
    button.button(
        f"Add {len(picked)} {'slice' if len(picked) == 1 else 'slices'}", disabled=not picked, width="stretch",
        icon=":material/add:", on_click=partial(_add, held),
    )  # fmt: skip
    if said := st.session_state.pop("jury-refused", ""):
        st.error(said)


def _fits(table: pd.DataFrame, chosen: dict[str, str], text: str, middle: bool) -> np.ndarray:
    fits = np.ones(len(table), bool)
    for column, word in chosen.items():
        if word != _ANY:
            fits &= (table[column] == word).fillna(False).to_numpy(bool)
    if text:
        fits &= table["SeriesDescription"].fillna("").str.casefold().str.contains(text, regex=False).to_numpy(bool)
    if middle:
        of = table.groupby("SeriesInstanceUID", sort=False)["image_number"]
        fits &= (of.rank("first") == (of.transform("size") + 1) // 2).to_numpy(bool)
    return fits


def _add(held: dict) -> None:
    try:
        label = juries.check_label(st.session_state[_LABEL])
    except CoreError as error:
        st.session_state["jury-refused"] = str(error)
        return
    held["labels"].update(dict.fromkeys(held["picked"], label))
    held["picked"].clear()
    st.session_state[_LABEL] = ""


def _examples(made, held: dict) -> None:
    """Draw the examples so far, class by class; a click takes one away."""
    labels = held["labels"]
    if not labels:
        return
    keys = sorted(labels, key=lambda key: labels[key])
    patients = made.table["PatientID"]
    counts = pd.Series(labels).groupby(pd.Series(labels), sort=True).size()
    st.markdown("##### Examples: " + ", ".join(f"{n} of **{label}**" for label, n in counts.items()))
    tiles = [Tile(key=key, title=labels[key], note=patients[key]) for key in keys]
    thumbnail_grid(tiles, cached.cohort_sheet(made, tuple(keys)), selected=None, key="jury-examples-grid", tile_px=96,
                   on_click=lambda key: labels.pop(key, None))  # fmt: skip
    st.caption("Choose one to take it away.")


def _call(run: runs.Run, made, held: dict, key: tuple) -> None:
    own = {"own": "the run's own references"} if run.config.kind == "siamese" else {}
    ways = {_NOBODY: "only my examples", **own, "patient": "drawn, spread over patients", "medoids": "the most typical"}
    with st.form("jury-call"):
        one, two, three, four = st.columns([1.4, 1.6, 1.2, 0.9])
        name = one.text_input("Name of the jury", max_chars=40, placeholder="letters, digits, - and _")
        by = two.selectbox("Other references", list(ways), format_func=ways.get,
                           help="Classes that the cohort's labels know, beside your examples.")  # fmt: skip
        head = three.selectbox("of labels", jury_making.HEADS[1::-1] + jury_making.HEADS[2:])
        size = four.number_input("of each class", 1, 50, 5)
        five, six, seven, eight = st.columns([1.4, 1.6, 1.2, 0.9], vertical_alignment="bottom")
        vote = five.selectbox("Vote", list(VOTES), format_func=VOTES.get)
        target = six.slider("Accuracy asked of answers, %", 80, 100, 95)
        k = seven.number_input("Majority of the nearest", 1, 51, 5, 2)
        called = eight.form_submit_button("Call it", type="primary", icon=":material/gavel:", width="stretch")
    if not called:
        return
    try:
        cohort_files.check_name(name, "jury")
        if name in juries.names(run.id):
            st.error(f"There is a jury {name!r} already. Take another name, or delete that one first.")
            return
    except CoreError as error:
        st.error(str(error))
        return
    model, labels = registry.find(run.id), dict(held["labels"])

    def work(report) -> juries.NamedJury:
        found = jury_making.make(
            name, model, made, labels, by=None if by == _NOBODY else by, head=head, size=int(size), vote=vote,
            k=int(k), target=target / 100, report=report,
        )  # fmt: skip
        juries.save(found)
        return found

    tasks.forget(key)
    tasks.start(key, work)
    st.rerun()


def _made(key: tuple, made: juries.NamedJury) -> None:
    facts = made.facts
    st.success(f"Jury {made.name} is called: {facts['references']} references for {facts['classes']}.")
    if facts["accuracy"] is not None:
        st.markdown(f"Tried on {facts['tried on']}: **{100 * facts['accuracy']:.1f} %** right.")
    st.code(f"python -m core classify PATH --jury {made.name} --model {made.model}", language="bash")
    with st.container(horizontal=True):
        st.button("Use it", type="primary", on_click=_use, args=(key, made.name), icon=":material/gavel:")
        st.button("Make another", on_click=tasks.forget, args=(key,))


def _use(key: tuple, name: str) -> None:
    tasks.forget(key)
    st.session_state.pop(_HELD, None)
    state.choose(**{state.JURY_NEW: False})
    state.put(**{state.JURY: name})
