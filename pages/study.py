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


def card(study: studies.Study, number: int, row, first) -> None:
    """Draw one series: its middle slice, both answers, how sure, and the verdicts."""
    with st.container(border=True):
        picture, words = st.columns([1, 2.1], gap="medium")
        path = study.picture(number)
        if path:
            picture.image(str(path), width="stretch")
        with words:
            st.html(
                f'<div title="{widgets.escape(row.title)}"><b>{widgets.escape(row.title)}</b> '
                f'<span style="opacity:.65">· {row.n} {"slice" if row.n == 1 else "slices"}</span></div>'
                '<table class="labels"><tr><th></th><th>header</th><th>image</th><th></th></tr>'
                + label_row("Plane", row.header_plane, row.plane_why, row.plane, row.plane_verdict)
                + label_row("Sequence", row.header_sequence, row.sequence_why, row.sequence, row.sequence_verdict)
                + "</table>"
                + widgets.bar(row.plane, row.plane_p, "probability of the plane, mean over the series")
                + widgets.bar(row.sequence, row.sequence_p, "probability of the sequence, mean over the series")
                + f'<span class="small">Entropy of the middle slice {first.entropy:.2f} nats</span>'
            )
            state.go_button(
                "Explain this slice", "pages/explain.py", key=f"explain-{number}", icon=":material/lightbulb:",
                **{state.STUDY: study.id, state.ITEM: first.Index},
            )  # fmt: skip


def label_row(name: str, header: str | None, why: str, image: str, verdict: str) -> str:
    """Return HTML of one row: header's word with its rule on hover, image's word, verdict."""
    word = widgets.show(header)
    return (
        f'<tr><td>{name}</td><td><span class="hint" title="{widgets.escape(why)}">{widgets.escape(word)}</span></td>'
        f"<td>{widgets.escape(widgets.show(image))}</td><td>{widgets.verdict_chip(verdict)}</td></tr>"
    )


def results(study: studies.Study) -> None:
    """Draw a finished study."""
    slices, series, rejected = cached.study_tables(study)
    verdicts = series[["plane_verdict", "sequence_verdict"]]
    widgets.metrics(
        {
            "Series": len(series),
            "Slices": f"{len(slices):,}",
            "Header and image agree": int((verdicts == "agree").all(axis=1).sum()),
            "Disagree": int((verdicts == "disagree").any(axis=1).sum()),
            "Unsure": int((verdicts == "unsure").any(axis=1).sum()),
            "Not read": len(rejected),
        }
    )
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
            card(study, row.Index, row, next(slices.loc[[row.middle]].itertuples()))


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
