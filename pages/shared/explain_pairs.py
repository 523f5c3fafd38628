"""Pairs of slices: how well the same is told from the different, the hardest pairs, and both maps of one."""

import pandas as pd
import streamlit as st

from core import runs
from core.comparing.bootstrap import FEW_PATIENTS
from core.explanations import pair_figures, pairs
from pages.shared import cached, explain_pair, state, tasks, widgets
from pages.shared.components.thumbnail_grid import Tile, thumbnail_grid
from pages.shared.subject import from_cohort

_KINDS = {
    "same": ("Same class, least alike", "What the model sees as unlike although the label is one."),
    "different": ("Different classes, most alike", "What the model sees as alike although the labels differ."),
}


def draw(run: runs.Run) -> None:
    """Draw the pair of the address, and this run's pairs."""
    st.markdown("Are slices of one class, of **different patients**, closer to each other than slices of two classes?")
    kept = cached.analysis(run, pairs.FILE)
    table = cached.analysis(run, pairs.TABLE)
    if kept is None or table is None:
        _make(run)
        return
    heads = list(kept["heads"])
    head = heads[-1] if len(heads) == 1 else st.segmented_control(
        "Labels", heads, default=heads[-1], key="pair_head", bind="query-params", required=True
    )  # fmt: skip
    facts = kept["heads"][head]
    if facts["why_not"]:
        widgets.empty("No pairs to compare", facts["why_not"])
        return
    _numbers(run, head, facts)
    rows = cached.predictions_of(run, head)
    _pair_of_the_address(run, rows)
    found = table[table["head"] == head]
    for column, (kind, (title, sentence)) in zip(st.columns(2, gap="large"), _KINDS.items(), strict=True):
        with column:
            st.markdown(f"##### {title}")
            st.caption(f"{sentence} Each slice, and each two series, once. Choose a pair to see both maps.")
            _gallery(rows, found[found["kind"] == kind], kind)


def _make(run: runs.Run) -> None:
    key = ("pairs", run.id)
    task = tasks.get(key)
    if task is not None and not task.finished:
        tasks.follow(key, "Comparing pairs", "percent")
        return
    if task is not None and task.error:
        st.error(task.error)
    widgets.empty(
        "Pairs were not compared yet",
        "This run was evaluated before pairs were kept. Comparing them takes some seconds, once.",
        ":material/compare:",
    )
    if st.button("Compare pairs", type="primary", icon=":material/play_arrow:"):
        tasks.forget(key)
        tasks.start(key, lambda report: pairs.write(run, lambda share, message: report(round(100 * share), 100)))
        st.rerun()


def _numbers(run: runs.Run, head: str, facts: dict) -> None:
    metrics = {
        "Equal error rate": f"{100 * facts['eer']:.1f} %",
        "Area under the ROC": f"{facts['auc']:.3f}",
        "Pairs": f"{facts['same'] + facts['different']:,}",
        "Equal errors at cosine": f"{facts['threshold']:.2f}",
    }
    widgets.metrics(metrics)
    few = facts["patients"]
    part = {"test": "the test part"}.get(facts["part"], f"the {facts['part']} part")
    said = f"{facts['slices']:,} slices of {few} patients of {part}."
    if facts["slices"] < facts["of"]:
        said += f" Drawn from {facts['of']:,}, each class by its share."
    if few < 3:
        said += " With so few patients there is no interval."
    else:
        (low, high), (least, most) = facts["eer_interval"], facts["auc_interval"]
        said += (
            f" 95 % intervals by patient: equal error rate {100 * low:.1f} to {100 * high:.1f} %, area {least:.3f} to "
            f"{most:.3f}{'; too narrow with so few patients' if few < FEW_PATIENTS else ''}."
        )
    if run.config.kind != "siamese":
        said += " This model was not trained on pairs; it is compared by its pooled features."
    st.caption(said)
    left, right = st.columns(2, gap="large")
    drawn = cached.of_analysis(run, pairs.FILE, _figures, facts, at=(head,))
    with left:
        st.markdown("##### Verification: same or different?")
        widgets.chart(drawn[0], "pair-roc", f"{run.id}-{head}-verification")
    with right:
        st.markdown("##### How alike pairs are")
        widgets.chart(drawn[1], "pair-histogram", f"{run.id}-{head}-similarities")


def _figures(facts: dict) -> tuple:
    return pair_figures.roc(facts), pair_figures.histogram(facts)


def _gallery(rows: pd.DataFrame, found: pd.DataFrame, kind: str) -> None:
    if found.empty:
        st.info("There is no such pair.")
        return
    one, other = (rows.iloc[found[side].to_numpy()] for side in ("one", "other"))
    keys = list(zip(one["key"], other["key"], strict=True))
    tiles = [
        Tile(
            key="|".join(key), title=a if a == b else f"{a} · {b}", note=f"{p} · {q}", badge=f"{cosine:.2f}",
            tone="bad",
        )
        for key, a, b, p, q, cosine in zip(
            keys, one["y_true"], other["y_true"], one["PatientID"], other["PatientID"], found["cosine"], strict=True
        )
    ]  # fmt: skip
    thumbnail_grid(
        tiles, cached.pair_sheet(cached.open_cohort(one["cohort"].iloc[0]), tuple(keys)),
        selected=state.get(state.PAIR) or None, on_click=lambda key: state.put(**{state.PAIR: key}),
        key=f"pairs-{kind}", tile_px=190,
    )  # fmt: skip


def _pair_of_the_address(run: runs.Run, rows: pd.DataFrame) -> None:
    keys = state.get(state.PAIR).split("|")
    if len(keys) != 2:
        return
    of = rows.drop_duplicates("key").set_index("key")
    cohort = rows["cohort"].iloc[0]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown("##### The pair", width="content")
            st.button("Close", icon=":material/close:", type="tertiary", on_click=state.put,
                      kwargs={state.PAIR: None})  # fmt: skip
        titles = tuple(widgets.show(of["y_true"].get(key)) for key in keys)
        explain_pair.draw(run, *(from_cohort(cohort, key) for key in keys), titles, "pair")
