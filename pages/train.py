"""Launch a run, follow the queue, cancel, open what is finished."""

import streamlit as st

from core import cohort, figures, jobs, runs, splits
from core.config import BACKBONES, KINDS, LABELS, RunConfig
from core.errors import CoreError
from core.images import MODEL_SIZE
from pages.shared import cached, state, widgets

MEANINGS = {
    "transfer": "Transfer learning: one answer from a backbone that has learnt elsewhere.",
    "dual": "Dual output: one model that answers plane and sequence at once.",
    "bayesian": "Bayesian: many Monte-Carlo dropout passes tell how sure it is.",
    "siamese": "Siamese: learns which slices are alike, and lets a jury of reference slices vote.",
}
TONES = {
    "done": "good",
    "failed": "bad",
    "interrupted": "bad",
    "cancelled": "warn",
    "running": "info",
    "queued": "plain",
}

widgets.header("Train", "Choose what to learn from a cohort, see the split by patient, start, and watch it learn.")


def form(name: str) -> RunConfig:
    """Draw the form and return the configuration it describes."""
    kind = st.segmented_control("Kind", KINDS, default="transfer", key="kind", bind="query-params", required=True)
    st.caption(MEANINGS[kind])
    label = "sequence"
    if kind != "dual":
        label = st.segmented_control(
            "Label", LABELS, default="sequence", key="label", bind="query-params",
            required=True, help="plane-sequence makes one class of each pair, for example axial-T2.",
        )  # fmt: skip
    one, two = st.columns(2)
    backbone = one.selectbox(
        "Backbone",
        BACKBONES,
        help="slicescope is small and quick; the others are Keras' own and want more time and memory.",
    )
    starts = ["slicescope", "none"] if backbone == "slicescope" else ["imagenet", "none"]
    weights = two.selectbox(
        "Start from",
        starts,
        help="slicescope: shipped weights. imagenet: fetched once from the network. none: random numbers.",
    )
    one, two = st.columns(2)
    epochs = one.number_input("Epochs", 1, 500, 20, help="Passes over the training slices with the backbone frozen.")
    fine = two.number_input(
        "Fine-tuning epochs", 0, 200, 0, help="A second stage that also trains the backbone: slower, sometimes better."
    )
    with st.expander("More choices", icon=":material/tune:"):
        one, two = st.columns(2)
        image_size = one.select_slider(
            "Image size",
            [64, 96, 128, 160, 192, 224],
            MODEL_SIZE,
            help="Pixels along a side; ResNet50 was made for 224.",
        )
        batch = two.select_slider("Batch size", [8, 16, 32, 64, 128], 64)
        rate = one.select_slider("Learning rate", [1e-4, 3e-4, 1e-3, 3e-3, 1e-2], 1e-3, format_func=lambda v: f"{v:g}")
        dropout = two.slider("Dropout", 0.0, 0.8, 0.3, 0.05, help="Share of units switched off at each step.")
        views = one.number_input(
            "Augmented views", 0, 8, 2, help="Shifted, turned, brighter copies of each training slice."
        )
        seed = two.number_input("Seed", 0, 2**31 - 1, 0, help="The same seed gives the same split and the same run.")
        mc_samples = one.number_input(
            "MC passes", 2, 500, 50, disabled=kind != "bayesian", help="Dropout passes per slice of a Bayesian run."
        )
        jury_size = two.number_input(
            "Jury size", 1, 50, 5, disabled=kind != "siamese", help="Reference slices per class of a Siamese run."
        )
    title = st.text_input("Name", value=f"{kind} {'' if kind == 'dual' else label}".strip(), max_chars=60)
    return RunConfig(
        name=title, kind=kind, label=label, cohort=name, backbone=backbone, weights=weights, image_size=int(image_size),
        epochs=int(epochs), fine_tune_epochs=int(fine), batch_size=int(batch), learning_rate=float(rate),
        dropout=float(dropout), augment_views=int(views), mc_samples=int(mc_samples), jury_size=int(jury_size),
        random_state=int(seed),
    )  # fmt: skip


def preview(made: cohort.Cohort, config: RunConfig) -> None:
    """Show how patients and slices fall into the split that this run would use."""
    st.markdown("#### The split, by patient")
    label = "sequence" if config.kind == "dual" else config.label
    split, table = cached.split(made, config.fractions, config.random_state, label)
    counts = splits.summary(table, split, label)
    shown = counts["slices"].astype("str") + " from " + counts["patients"].astype("str")
    wide = counts.assign(shown=shown).pivot(index=label, columns="split", values="shown")
    st.dataframe(wide.reindex(columns=splits.SPLITS).fillna("none"))
    st.caption("Slices, and from how many patients.")
    shared = splits.leaks(table, split)
    if shared.empty:
        st.caption(
            ":material/verified: No patient is in more than one part, so the test says something about new people."
        )
    else:
        st.error(f"{len(shared)} patients are in more than one part: {', '.join(shared['PatientID'].astype(str)[:5])}")


def launch(name: str | None) -> None:
    """Draw form and split, and start."""
    if name is None:
        widgets.empty("No cohort to train on", "Open **Browse** and index a folder, or run `python -m core demo`.")
        return
    made = cached.open_cohort(name)
    left, right = st.columns([1.1, 1], gap="large")
    with left, st.container(border=True):
        config = form(name)
        go = st.button("Start training", type="primary", icon=":material/play_arrow:", width="stretch")
    with right:
        preview(made, config)
    if go:
        config.validate()
        run = jobs.submit(config)
        st.session_state["started"] = run.id
        state.put(**{state.FOLLOWED: run.id})
        st.rerun()


@st.fragment(run_every=1.5)
def follow_live(run_ids: list[str]) -> None:
    """Redraw what is queued or running; when the last one ends, the page is drawn anew without this timer."""
    found = [runs.read_run(run_id) for run_id in run_ids]
    if any(run.status["state"] not in runs.ACTIVE for run in found):
        # Before it is drawn: a button that is about to be drawn anew would swallow the click.
        st.rerun()
    for run in found:
        draw_run(run)


def draw_run(run: runs.Run) -> None:
    """Draw a run: state, progress, curves, and what can be done with it."""
    status = run.status
    name = run.status["state"]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.html(
                f"<b style='font-size:1.05rem'>{widgets.escape(run.config.name)}</b> &nbsp;"
                f"{widgets.chip(name, TONES[name])} <span style='opacity:.65'>&nbsp; {widgets.escape(run.id)} · "
                f"{widgets.escape(run.config.kind)} · {widgets.escape(run.config.cohort)}</span>"
            )
            if name in runs.ACTIVE and st.button("Cancel", key=f"cancel-{run.id}", icon=":material/stop_circle:"):
                jobs.cancel(run.id)
            if name == "done":
                state.go_button(
                    "Open in Errors", "pages/errors.py", key=f"open-{run.id}", icon=":material/troubleshoot:",
                    sidebar={state.RUN: run.id},
                )  # fmt: skip
        if name in runs.ACTIVE:
            st.progress(float(status.get("progress") or 0.0), text=status.get("message") or "Waiting for its turn")
        elif status.get("message"):
            st.caption(status["message"])
        metrics = run.metrics()
        if len(metrics):
            st.plotly_chart(figures.learning_curve(metrics), width="stretch", key=f"curve-{run.id}")


def overview() -> None:
    """Draw the queue, the run that was asked for, and the list of all runs."""
    everything = runs.list_runs()
    active = [run for run in everything if run.status["state"] in runs.ACTIVE]
    if active:
        follow_live([run.id for run in active])
    rest = [run for run in everything if run.status["state"] not in runs.ACTIVE]
    if not everything:
        widgets.empty("No run yet", "Start one under **New run**; it goes on when this tab is closed.")
        return
    if not rest:
        return
    ids = [run.id for run in rest]
    st.markdown("#### Ended runs")
    picked = st.dataframe(
        cached.run_table(rest), hide_index=True, key="runs", on_select="rerun", selection_mode="single-row",
        column_config={"Accuracy": st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1)},
    )  # fmt: skip
    rows = picked["selection"]["rows"]
    if rows:
        state.put(**{state.FOLLOWED: ids[rows[0]]})
    followed = state.get(state.FOLLOWED)
    if not active or followed in ids:
        draw_run(rest[ids.index(followed) if followed in ids else 0])


if st.session_state.pop("started", None):
    state.choose(view="Queue and runs")
view = st.segmented_control(
    "View", ["New run", "Queue and runs"], default="New run", key=state.VIEW, bind="query-params",
    label_visibility="collapsed", required=True,
)  # fmt: skip
try:
    if view == "New run":
        launch(st.session_state[state.COHORT])
    else:
        overview()
except CoreError as error:
    st.error(str(error))
