"""One item of a queue: its picture, what header, model and a person call it, and the keys that label it."""

from functools import partial

import pandas as pd
import streamlit as st

from core.errors import CoreError
from core.labelling import label_log, label_queue
from core.labelling.label_queue import HEADS
from pages.shared import cached, desk, widgets
from pages.shared.components.label_keys import label_keys
from pages.shared.desk import Desk
from pages.shared.viewer import draw_stacks


def one_item(at: Desk) -> None:
    """Draw the item of the address: picture, what is said of it, keys."""
    done = at.answers["done"]
    item = desk.current(at)
    place, n_done = at.queue.index.get_loc(item), int(done.sum())
    rate = label_queue.per_minute(at.queue, at.log, at.by) if at.by else None
    pace = f" · {rate:.1f} a minute, about {(len(done) - n_done) / rate:.0f} min left" if rate else ""
    st.progress(
        n_done / len(done), f"Item {place + 1} of {len(done):,} · {n_done:,} done, {len(done) - n_done:,} left{pace}"
    )
    if done.all():
        st.success(
            "All items of this queue have your answer. The arrows still lead through them.", icon=":material/done_all:"
        )
    if problem := st.session_state.pop(desk.PROBLEM, None):
        st.error(problem)
    picture, words = st.columns([1.1, 1], gap="large")
    hidden = at.blind and not done[item]
    with picture:
        draw(at, item, hidden)
    with words:
        said(at, item, hidden)
        keys(at, item, hidden)
        if not hidden:
            why(at.queue.loc[item])


@st.fragment
def draw(at: Desk, item: str, hidden: bool) -> None:
    """Draw the item's series, at the slice of the address."""
    key, table = desk.shown_slice(at, item), at.made.table
    row = table.loc[key]
    uid = row["SeriesInstanceUID"]
    try:
        place = cached.series_rows(at.made, uid).index.get_loc(key)
        draw_stacks(at.made, uid, place, key="label-viewer", height_px=420, named=not hidden)
    except CoreError as error:
        st.warning(f"This series cannot be drawn: {error}")


def said(at: Desk, item: str, hidden: bool) -> None:
    """Say what header, model and this person call the item, and what does not fit."""
    row, mine = at.queue.loc[item], at.answers.loc[item]
    what = f"series of {row['n']} slices" if desk.is_series(at, item) else f"slice {row['image_number']} of its series"
    title = "" if hidden else f"<b>{widgets.escape(widgets.show(row['SeriesDescription']))}</b> · "
    st.html(f'{title}<span class="small">{widgets.escape(row["PatientID"])} · {what}</span>')
    if hidden:
        st.info("What header and model say is hidden until you have answered.", icon=":material/visibility_off:")
        return
    model = at.queue[[f"model_{head}" for head in HEADS]].notna().any(axis=None)
    st.html(
        '<table class="labels"><tr><th></th><th>you</th><th>header</th>'
        + ("<th>model</th><th></th></tr>" if model else "<th></th></tr>")
        + "".join(label_row(head, row, mine[head], model) for head in HEADS)
        + "</table>"
    )
    if sentence := in_words(row):
        st.warning(sentence, icon=":material/warning:")


def label_row(head: str, row: pd.Series, mine: str | None, model: bool) -> str:
    """Return HTML of what is said of a head, and whether it fits the person's answer or, before that, each other."""
    p = f' <span class="small">{100 * row[f"{head}_p"]:.0f}\u202f%</span>' if pd.notna(row[f"{head}_p"]) else ""
    verdict = widgets.verdict_chip(row[f"{head}_verdict"]) if pd.notna(row[f"{head}_verdict"]) else ""
    if pd.notna(mine):
        others = {"header": row[head], "model": row[f"model_{head}"]}
        verdict = "".join(
            widgets.chip(f"{name} {'agrees' if word == mine else 'differs'}", "good" if word == mine else "bad")
            for name, word in others.items() if pd.notna(word)
        )  # fmt: skip
    cells = [head.capitalize(), widgets.escape(widgets.show(mine)), widgets.escape(widgets.show(row[head]))]
    cells += [widgets.escape(widgets.show(row[f"model_{head}"])) + p] if model else []
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in (*cells, verdict))}</tr>"


def why(row: pd.Series) -> None:
    """Say which rule gave each of the header's words, and from what."""
    tilt = f"Tilted by {row['tilt_deg']:.0f}°." if row["tilt_deg"] == row["tilt_deg"] else ""
    st.html(
        "".join(
            f'<p class="why"><b>{head.capitalize()}</b>: {widgets.escape(widgets.rule(row[f"{head}_rule"]))}. '
            f'<span style="opacity:.7">{widgets.escape(evidence)}</span></p>'
            for head, evidence in (("plane", tilt), ("sequence", row["sequence_evidence"]))
        )
    )


def in_words(row: pd.Series) -> str:
    """Return what does not fit, as a sentence."""
    parts = [f"In the header, {row['conflict']}."] if row["conflict"] else []
    for head in HEADS:
        if row[f"{head}_verdict"] == "disagree":
            parts.append(f"The header says {row[head]}, the model sees {row[f'model_{head}']}.")
        elif row[f"{head}_verdict"] == "unsure":
            parts.append(f"The model is unsure of the {head}.")
        if pd.isna(row[head]):
            parts.append(f"The header gives no {head}.")
    return " ".join(parts)


def keys(at: Desk, item: str, hidden: bool) -> None:
    """Draw what an answer is of, and the keys."""
    series, chosen = desk.is_series(at, item), desk.selected(at)
    scopes = {
        "item": f"Label the series ({at.queue.at[item, 'n']})" if series else "Label this slice",
        "other": "only the slice shown" if series else "its whole series",
        "selection": f"the selection ({len(chosen)})",
    }
    if not chosen:
        del scopes["selection"]
    if st.session_state.get(desk.SCOPE) not in scopes:
        st.session_state[desk.SCOPE] = "item"
    st.segmented_control(
        "An answer labels", list(scopes), format_func=scopes.get, key=desk.SCOPE, required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    if not at.by:
        st.info("Give your name above before you label: each answer is kept with who gave it.", icon=":material/badge:")
    row, mine, place = at.queue.loc[item], at.answers.loc[item], at.queue.index.get_loc(item)
    done, taken_back = label_log.history(at.log, at.by)
    known = any(row[f"asks_{head}"] and pd.isna(mine[head]) and pd.notna(row[head]) for head in HEADS)
    can = {
        "accept": "Next" if mine["done"] else "As the header says",
        "previous": "Previous", "next": "Next", "skip": "Skip", "undo": "Undo", "redo": "Redo",
        "select": "Unselect" if item in chosen else "Select",
    }  # fmt: skip
    cannot = {
        "accept": not mine["done"] and (hidden or not at.by or not known),
        "previous": place == 0, "next": place == len(at.queue) - 1, "skip": bool(mine["done"]),
        "undo": not done, "redo": not taken_back,
    }  # fmt: skip
    st.session_state[desk.TURN] = turn = st.session_state.get(desk.TURN, 0) + 1
    label_keys(
        item, said={head: None if pd.isna(mine[head]) else mine[head] for head in HEADS},
        asks={head: bool(row[f"asks_{head}"]) for head in HEADS},
        moves={name: text for name, text in can.items() if not cannot.get(name)}, enabled=bool(at.by), turn=turn,
        on_press=partial(desk.press, at), key="label-keys",
    )  # fmt: skip
