"""What can be taken away from a map: figure, numbers, and a contact sheet for slides; made when they are asked for."""

from functools import partial
from io import BytesIO

import numpy as np
import streamlit as st

from core import figures, images, runs
from core.explanations import map_files
from core.explanations.desk import Answered, Made, Result
from core.explanations.question import METHOD_WORDS
from pages.shared.explain_controls import Choice
from pages.shared.explain_grid import Column, Sheet
from pages.shared.series import Series


def draw(
    run: runs.Run, series: Series, sheet: Sheet, choice: Choice, at: int, answer: Result | None, ticking: bool
) -> None:
    """Draw the menu of downloads; closed while the page is `ticking`, for each redraw takes back what it offered."""
    made = next((found for column in range(len(sheet.columns)) if (found := sheet.made(column, at))), None)
    if made is None:
        return
    file = f"explanation-{choice.question.head}-{choice.question.method}"
    buttons = {"Contact sheet (PNG)": (partial(contact_sheet, run, series, sheet, choice, at), f"{file}-sheet.png")}
    if len(sheet.columns) == 1 or choice.question.passes:
        give = partial(figure, run, series, choice, at, made, answer)
        buttons = {
            "Figure (PNG)": (partial(give, "png"), f"{file}.png"),
            "Figure (SVG)": (partial(give, "svg"), f"{file}.svg"),
            "Numbers (npz)": (partial(numbers, run, series, choice, at, made), f"{file}.npz"),
        } | buttons
    if ticking:
        st.popover("Save", icon=":material/download:", disabled=True, help="When the maps are made, or cancelled.")
        return
    with st.popover("Save", icon=":material/download:"):
        for label, (make, name) in buttons.items():
            st.download_button(label, make, name, key=f"explain-{label}", on_click="ignore", width="stretch")
        st.caption("Figures have the original project's colours: Viridis at 50 %. No file says who the patient is.")


def title_of(run: runs.Run, choice: Choice, what: str) -> str:
    """Say what a picture shows: model, head, class, method."""
    return f"{run.config.name} · {choice.question.head}: {what} · {METHOD_WORDS[choice.question.method]}"


def figure(
    run: runs.Run, series: Series, choice: Choice, at: int, made: Made, answer: Result | None, kind: str
) -> bytes:
    """Write image, overlay and map as one figure, ``png`` or ``svg``."""
    it = series.subject(series.places[at])
    title = f"{series.title(at)} · {title_of(run, choice, Column('', {}).says(made, choice.question))}"
    said = said_of(run, choice, answer)
    display, heat = images.to_display(it.pixels), made.on_slice()
    if kind == "svg":
        return map_files.explanation_svg(display, heat, title, said, it.aspect)
    file = BytesIO()
    figures.explanation_png(display, heat, title, file, said, it.aspect)
    return file.getvalue()


def said_of(run: runs.Run, choice: Choice, answer: Result | None) -> str:
    """Say what the model answered; nothing before it has."""
    if not isinstance(answer, Answered):
        return ""
    proba = answer.heads[choice.question.head]
    best = int(np.argmax(proba))
    return f"The model says {run.card()['classes'][choice.question.head][best]}, {100 * proba[best]:.0f} %"


def numbers(run: runs.Run, series: Series, choice: Choice, at: int, made: Made) -> bytes:
    """Write the map on the slice's own grid, with what it is of."""
    question = choice.question
    place = series.stack.places[series.stack.place_of[at]]
    spacing = place.spacing_mm and [mm / place.step for mm in place.spacing_mm]
    about = {
        "model": run.config.name, "sha256": run.card()["sha256"], "head": question.head, "class": made.target,
        "rather_than": question.against, "method": question.method, "layer": made.layer, "passes": question.passes,
        "random_state": question.random_state, "slice": series.title(at), "spacing_mm": spacing,
    }  # fmt: skip
    spread = None if made.spread is None else made.on_slice(spread=True)
    return map_files.numbers(made.on_slice(), spread, about)


def contact_sheet(run: runs.Run, series: Series, sheet: Sheet, choice: Choice, at: int) -> bytes:
    """Draw the series, or the grid of one slice, with the maps that are there."""
    if choice.show in ("One map", "Neighbours"):
        places = [(0, one, f"{one + 1} of {len(series)}") for one in map_files.evenly(len(series))]
        title, subtitle = title_of(run, choice, choice.question.target or "the model's answer"), series.title(at)
        subtitle = subtitle.rsplit(" · slice ", 1)[0]
    else:
        places = [(panel.heat, at, panel.name) for panel in sheet.panels if panel.kind == "overlay"]
        title, subtitle = f"{run.config.name} · {choice.question.head} · by {choice.show.lower()}", series.title(at)
    tiles = []
    for column, one, name in places:
        made = sheet.made(column, one)
        it = series.subject(series.places[one])
        ask = sheet.columns[column].asks.get(one)
        said = sheet.columns[column].says(made, ask.question) if made else "no map yet"
        tiles.append(map_files.MapTile(
            images.to_display(it.pixels), made.on_slice() if made else None,
            " · ".join(part for part in (name, said) if part), it.aspect,
        ))  # fmt: skip
    return map_files.contact_sheet(tiles, title, subtitle)
