"""The model that Study uses: its card, another one in its place, and models that travel."""

import secrets
import tempfile
from functools import partial
from pathlib import Path

import streamlit as st

from core import runs
from core.publishing import exports, model_card, model_zip, registry
from pages.shared import cached, state, tasks, widgets


def draw() -> None:
    """Draw which model answers, the card of the chosen one, and what can be done with it."""
    current = registry.current()
    said = st.session_state.pop("model-said", "")
    if said:
        st.success(said)
    if current.note:
        st.warning(current.note)
    ids = list(dict.fromkeys([current.id, runs.SHIPPED, *cached.finished()]))
    followed = state.get(state.FOLLOWED)
    choose, what = st.columns([1.2, 2], gap="large", vertical_alignment="bottom")
    chosen = choose.selectbox(
        "Card of", ids, index=ids.index(followed) if followed in ids else 0,
        format_func=lambda run_id: f"{run_id} (the model)" if run_id == current.id else run_id,
        help="Any finished run. The one that is promoted answers on Study, and by default in `classify` and Label.",
    )  # fmt: skip
    if chosen != followed:
        state.put(**{state.FOLLOWED: chosen})
    with what:
        st.html(
            f"{widgets.chip('the model', 'good')} &nbsp;Study asks <b>{widgets.escape(current.name)}</b>"
            + f" <span class='small'>{widgets.escape(_since(current))}{current.sha256[:10]}</span>"
        )
    _actions(chosen, current)
    with st.container(border=True):
        _card(chosen)
    _import()


def _since(model: registry.Model) -> str:
    return f"since {model.promoted[:16].replace('T', ' ')} UTC · " if model.promoted else ""


def _actions(chosen: str, current: registry.Model) -> None:
    """Draw the buttons that promote, and the downloads; a download is made when it is clicked."""
    with st.container(horizontal=True):
        if chosen != current.id and st.button(
            "Make it the model", type="primary", icon=":material/verified:", key="promote"
        ):
            _say(registry.promote(chosen))
        if (
            current.id != runs.SHIPPED
            and chosen != runs.SHIPPED
            and st.button("Back to the shipped model", icon=":material/undo:", key="demote")
        ):
            _say(registry.promote(runs.SHIPPED))
        st.download_button(
            "Card", lambda: model_card.markdown(*model_card.of(chosen)), f"{chosen}-card.md", "text/markdown",
            icon=":material/download:", on_click="ignore", help="The card below as Markdown.",
        )  # fmt: skip
        if chosen not in cached.finished():
            return
        run = runs.read_run(chosen)
        st.download_button(
            "Model", lambda: model_zip.export(run), f"{chosen}.zip", "application/zip", icon=":material/download:",
            on_click="ignore",
            help="Model, card, configuration and scores in a zip that can be imported elsewhere. No path, no patient.",
        )  # fmt: skip
        if (run.folder / "predictions.parquet").exists():
            st.download_button(
                "Predictions", lambda: exports.predictions_csv(run), f"{chosen}-predictions.csv", "text/csv",
                icon=":material/download:", on_click="ignore", help="What it says of each slice, as CSV.",
            )  # fmt: skip
            st.download_button(
                "Embeddings", lambda: exports.projector_zip(run), f"{chosen}-projector.zip", "application/zip",
                icon=":material/download:", on_click="ignore",
                help="vectors.tsv, metadata.tsv and a picture of each slice, for projector.tensorflow.org or "
                "TensorBoard's Embedding Projector. The pictures show slices of the cohort.",
            )  # fmt: skip


def _say(model: registry.Model) -> None:
    st.session_state["model-said"] = f"Study now asks {model.name}. Studies labelled before can be labelled again."
    st.rerun()


def _card(chosen: str) -> None:
    """Draw a card: words and facts in two columns, the scores below over the whole width."""
    sections = {section.title: section for section in cached.card_sections(chosen)}
    left, right = st.columns(2, gap="large")
    left.html(_html(sections, "The model", "Intended use", "Not for", "Limits"))
    right.html(_html(sections, "What it can say", "Data", "How it was trained", "Calibration", "Versions"))
    st.html(_html(sections, "Scores"))


def _html(sections: dict[str, model_card.Section], *titles: str) -> str:
    parts = []
    for section in (sections[title] for title in titles):
        parts.append(f"<h4>{widgets.escape(section.title)}</h4>{widgets.facts(section.facts or {})}")
        if section.table is not None:
            parts.append(_table(section.table.loc[:, (section.table != "–").any()]))
        parts += [f"<p>{widgets.escape(sentence)}</p>" for sentence in section.sentences]
    return f'<div class="model-card">{"".join(parts)}</div>'


def _table(table) -> str:
    head = "".join(f"<th>{widgets.escape(name)}</th>" for name in table)
    rows = ("".join(f"<td>{widgets.escape(str(cell))}</td>" for cell in row) for row in table.itertuples(index=False))
    return f'<table class="labels"><tr>{head}</tr>{"".join(f"<tr>{row}</tr>" for row in rows)}</table>'


def _import() -> None:
    """Take an exported model, and follow its check."""
    # One session's refusal is no news for the others.
    key = ("import-model", st.session_state.setdefault("import-key", secrets.token_hex(4)))
    task = tasks.get(key)
    with st.expander("Import a model", icon=":material/upload:", expanded=task is not None):
        if task is not None and not task.finished:
            tasks.follow(key, "Checking the model", "steps")
            return
        if task is not None:
            _outcome(task)
        given = st.file_uploader(
            "A zip that another Slicescope exported", type="zip", key=f"model-{st.session_state.get('imports', 0)}",
            help="It is checked in a process with little memory and time: hashes, words, layers, weights. Anything "
            "else than an exported model is refused. It becomes a run, and the model only when you say so.",
        )  # fmt: skip
        if st.button("Import it", disabled=given is None, icon=":material/upload:"):
            tasks.start(key, partial(_admit, given.getvalue()))
            st.session_state["imports"] = st.session_state.get("imports", 0) + 1
            st.rerun()


def _admit(data: bytes, report) -> runs.Run:
    with tempfile.NamedTemporaryFile(suffix=".zip") as file:
        file.write(data)
        file.flush()
        return model_zip.admit(Path(file.name), report)


def _outcome(task: tasks.Task) -> None:
    if task.error:
        st.error(task.error)
    elif task.result:
        st.success(f"Imported as run {task.result.id}. Choose it above to see its card, or to make it the model.")
