"""Drop a study: every series labelled, checked against its header, explained, exported."""

import streamlit as st

from core import studies
from core.errors import CoreError
from pages.shared import cached, state, widgets
from pages.shared.intake import follow, open_study, uploader

SERIES_PER_PAGE = 12

widgets.header("Study", "Drop a brain MRI study and see, for every series, what its header and its pixels say it is.")


def welcome() -> None:
    """Explain the page and take files."""
    st.html(
        '<div class="steps">'
        "<div>Drop the files of one examination: DICOM, a folder of it, a zip, NIfTI, PNG or JPEG.</div>"
        "<div>Each series gets a plane and a sequence twice: from its header, and from its pixels alone.</div>"
        "<div>Where the two disagree, or the image model is unsure, it says so instead of guessing.</div>"
        "<div>Open any slice to see what the model looked at, and take the table with you as CSV.</div></div>"
    )
    uploader("study")


def card(study: studies.Study, number: int, row, first, status: dict) -> None:
    """Draw one series: its middle slice, both answers, how sure, and the verdicts."""
    heads = status.get("heads", studies.HEADS)
    answers = studies.answers(row, heads)
    with st.container(border=True):
        picture, words = st.columns([1, 2.1], gap="medium")
        path = study.picture(number)
        if path:
            picture.image(str(path), width="stretch")
        with words:
            st.html(
                f'<div title="{widgets.escape(row.title)}"><b>{widgets.escape(row.title)}</b> '
                f'<span style="opacity:.65">· {row.n} {"slice" if row.n == 1 else "slices"}</span></div>'
                '<table class="labels"><tr><th></th><th>header</th><th>image</th><th style="width:31%"></th></tr>'
                + "".join(map(label_row, answers))
                + "</table>"
                + "".join(
                    widgets.bar(one.image, one.p, f"probability of the {one.head}, mean over the series")
                    for one in answers
                    if one.image
                )
                + f'<span class="small">Entropy of the middle slice\'s {heads[-1]} {first.entropy:.2f} nats</span>'
            )
            state.go_button(
                "Explain this slice", "pages/explain.py", key=f"explain-{number}", icon=":material/lightbulb:",
                sidebar={state.RUN: status["model"]} if status["model"] in cached.finished() else None,
                **{state.STUDY: study.id, state.ITEM: first.Index},
            )  # fmt: skip


def label_row(one: studies.Answer) -> str:
    """Return HTML of one row: header's word with its rule on hover, image's word, verdict."""
    header, image = (widgets.escape(widgets.show(word)) for word in (one.header, one.image))
    return (
        f'<tr><td>{one.head.capitalize()}</td><td><span class="hint" title="{widgets.escape(one.why)}">{header}</span>'
        f"</td><td>{image}</td><td>{widgets.verdict_chip(one.verdict) if one.verdict else ''}</td></tr>"
    )


def answered_by(study: studies.Study, status: dict) -> None:
    """Say which model answered, and offer the current one where that is another."""
    newer = studies.newer_model(study)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html(widgets.model_line(status), width="content")
        if newer and st.button(f"Label it again with {newer.name}", icon=":material/refresh:", type="tertiary"):
            open_study(study)
    if newer and newer.note:
        st.warning(newer.note)


def results(study: studies.Study) -> None:
    """Draw a finished study."""
    slices, series, rejected = cached.study_tables(study)
    status = study.status
    counts = studies.counts(series, status.get("heads", studies.HEADS))
    widgets.metrics(
        {
            "Series": len(series),
            "Slices": f"{len(slices):,}",
            "Header and image agree": counts["agree"],
            "Disagree": counts["disagree"],
            "Unsure": counts["unsure"],
            "Not read": len(rejected),
        }
    )
    answered_by(study, status)
    with st.container(horizontal=True):
        for name in ("series", "slices"):
            csv = cached.study_csv(study.id, name)
            st.download_button(f"Table of {name} (CSV)", csv, f"{name}.csv", "text/csv", icon=":material/download:")
        another = st.button("Another study", icon=":material/add:")
        delete = st.button("Delete it from the server", icon=":material/delete:")
    if delete:
        studies.remove(study)
    if another or delete:
        state.put(**{state.STUDY: None, state.PAGE: None})
        st.rerun()
    widgets.rejected_table(rejected)
    if series.empty:
        widgets.empty("No slice was found", "None of the files could be read as an image; the list above says why.")
        return
    shown = widgets.pager(
        len(series), SERIES_PER_PAGE, state.get_int(state.PAGE, 1), lambda p: state.put(page=p), "series"
    )
    columns = st.columns(2, gap="medium")
    for place, row in enumerate(series.iloc[shown].itertuples()):
        with columns[place % 2]:
            card(study, row.Index, row, next(slices.loc[[row.middle]].itertuples()), status)


study_id = state.get(state.STUDY)
try:
    study = studies.open_study(study_id) if study_id else None
    status = study.status if study else {}
except CoreError as error:
    st.warning(str(error))
    study, status = None, {}

if study is None:
    welcome()
elif status["state"] == "running":
    follow(study)
elif status["state"] == "done":
    results(study)
else:
    st.error(f"This study was not finished ({status['state']}). {status['message']}")
    if st.button("Read it again", type="primary"):
        open_study(study)
