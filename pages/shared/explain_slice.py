"""One slice: image, overlay and heatmap, and what the model says of it."""

import streamlit as st

from core import runs, studies
from core.explanations.question import METHOD_WORDS, Question
from pages.shared import cached, explain_badge, state, widgets
from pages.shared.components.slice_viewer import one_slice, pack_heat, slice_viewer
from pages.shared.components.thumbnail_grid import Tile, thumbnail_grid
from pages.shared.intake import follow, uploader
from pages.shared.subject import Subject, from_cohort, from_study


def subject() -> Subject | None:
    """Return the slice that the address names, or None."""
    if state.get(state.SLICE):
        return from_cohort(st.session_state[state.COHORT], state.get(state.SLICE))
    if state.get(state.STUDY):
        study = studies.open_study(state.get(state.STUDY))
        if study.status["state"] == "running":
            follow(study)
            return None
        return from_study(study, state.get_int(state.ITEM))
    return None


def forget() -> None:
    """Let go of the slice."""
    state.put(**{state.SLICE: None, state.STUDY: None, state.ITEM: None})


def choose_subject(run: runs.Run) -> None:
    """Offer slices that the run was tested on, worst mistakes first, and an upload."""
    st.markdown("#### A slice of this run")
    st.caption("Test slices, wrong answers first. Any slice on Study, Browse or Errors also leads here.")
    rows = cached.predictions(run)
    rows = rows[rows["split"] == "test"] if (rows["split"] == "test").any() else rows
    rows = rows[rows["y_true"].notna()]
    wrong = rows["y_true"] != rows["y_pred"]
    rows = rows.assign(wrong=wrong).sort_values(["wrong", "p"], ascending=False).drop_duplicates("key").head(24)
    tiles = [
        Tile(key=row.key, title=f"{row.y_pred} {100 * row.p:.0f} %", note=row.PatientID,
             badge=f"truth: {row.y_true}" if row.wrong else "", tone="bad")
        for row in rows.itertuples()
    ]  # fmt: skip
    of = rows.set_index("key")

    def open_slice(key: str) -> None:
        # The head that was wrong is the one to look at.
        state.choose(cohort=of.at[key, "cohort"], x_head=of.at[key, "head"])
        state.put(**{state.SLICE: key})

    thumbnail_grid(tiles, cached.run_sheet(rows), selected=None, on_click=open_slice, key="suggestions", tile_px=140)
    st.markdown("#### Or a file of yours")
    uploader("explain")


def controls(run: runs.Run, it: Subject) -> Question:
    """Draw head, class, layer and method choice."""
    one, two, three, four = st.columns(4)
    card = run.card()
    # The sequence first: it is what people ask about.
    head = one.selectbox("Head", list(card["classes"])[::-1], key="x_head", bind="query-params")
    target = two.selectbox(
        "Class", ["predicted", *card["classes"][head]], key="x_class", bind="query-params",
        help="Whose evidence is shown: the model's answer, or any other class.",
    )  # fmt: skip
    layers = cached.explain(run, it, Question(head)).layers
    layer = three.selectbox(
        "Layer", layers, index=layers.index(card["cam_layer"]), key="x_layer", bind="query-params",
        help="Deeper layers know more and see coarser.",
    )  # fmt: skip
    method = four.selectbox(
        "Method", list(METHOD_WORDS), format_func=METHOD_WORDS.get, key="x_method", bind="query-params"
    )
    # The usual layer under its other name, so that one map is not made twice.
    return Question(
        head, None if target == "predicted" else target, None if layer == card["cam_layer"] else layer, method
    )


def figure(run: runs.Run, it: Subject) -> None:
    """Draw the three pictures, what the model says, and the download."""
    with st.spinner("Asking the model"):
        question = controls(run, it)
        classes = run.card()["classes"][question.head]
        proba = cached.predict(run, it)[question.head]
        maps = cached.explain(run, it, question)
    heat, (shown,) = maps.heat[0], maps.targets
    stack, piece = one_slice(it.pixels, it.place)
    slice_viewer(
        [stack], [piece], key="explain-viewer", heat=pack_heat(heat),
        panels=(("image", "Image"), ("overlay", f"Overlay: {shown}"), ("heat", "Heatmap")), height_px=400,
    )  # fmt: skip
    explain_badge.draw(run, it, question)
    answer, words = st.columns([1.3, 1], gap="large")
    with answer:
        best = int(proba.argmax())
        st.html(
            f"<b>{question.head.capitalize()}</b>: the model says {widgets.chip(classes[best], 'info')} the header "
            f"says {widgets.chip(widgets.show(it.labels.get(question.head)), 'plain')}" + widgets.bars(proba, classes)
        )
    with words:
        st.markdown(
            f"Where **{METHOD_WORDS[question.method]}** finds evidence for **{shown}** in layer `{maps.layer}`. It "
            "says what the model used, not what is true, and it is coarse: one cell of the layer covers many pixels."
        )
        answered = f"The model says {classes[best]}, {100 * proba[best]:.0f} %"
        title = f"{it.title} · {run.config.name} · {question.head}: {shown} · {METHOD_WORDS[question.method]}"
        st.download_button(
            "Download as PNG",
            cached.png(title, answered, it, heat),
            "explanation.png",
            "image/png",
            icon=":material/download:",
        )


def draw(run: runs.Run) -> None:
    """Draw the slice of the address, or a choice of slices."""
    # What was drawn here before goes at once, not when the model has answered.
    slot = st.empty()
    it = subject()
    if it is None:
        if not state.get(state.STUDY):
            with slot.container():
                choose_subject(run)
        return
    slot.empty()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{it.title}**", width="content")
        st.button("Another slice", icon=":material/arrow_back:", on_click=forget)
    figure(run, it)
