"""Whether a model knows when it is wrong, which slices should go to a person, and thresholds class by class."""

import numpy as np
import pandas as pd
import streamlit as st

from core import figures, uncertainty
from core.analysis import class_thresholds, doubt, doubt_figures
from pages.shared import cached, state, widgets
from pages.shared.errors_analysis import between, first_page, gallery, read
from pages.shared.errors_choice import Chosen

#: Measures of one slice's passes, as the dossier shows them.
MEASURES = {doubt.MEASURES[name]: getattr(uncertainty, name) for name in list(doubt.MEASURES)[:4]}


def draw(chosen: Chosen) -> None:
    """Draw how doubt finds mistakes, who goes to a person, and what thresholds reach."""
    st.markdown(f"#### Does it know when it is wrong? {chosen.head}, {chosen.part} slices")
    found = read(chosen, doubt.FILE)
    values = cached.analysis(chosen.run, doubt.VALUES_FILE)
    if found is None or values is None or len(values) != len(cached.predictions(chosen.run)):
        return
    head = found.get(chosen.head, {})
    measured = head.get("parts", {}).get(chosen.part)
    if not measured:
        st.caption("No slice here has a truth to be judged by.")
        return
    if head["not_numbers"]:
        st.warning(
            f"{head['not_numbers']:,} predictions hold no numbers. They count as wrong, and go to a person first.",
            icon=":material/warning:",
        )
    name = _keep(chosen, head, measured, values)
    st.divider()
    _compare(chosen, head, measured, name)
    st.divider()
    _thresholds(chosen, head["thresholds"])


def _order(values: np.ndarray, rows: pd.DataFrame) -> tuple[np.ndarray, ...]:
    """Rows from the surest to the least sure, coverage, accuracy, and how many are wrong among the first of them."""
    right = (rows["y_true"] == rows["y_pred"]).to_numpy() & rows["p"].notna().to_numpy()
    order = doubt.risk_order(values)
    return order, *uncertainty.risk_coverage(right, doubt.sortable(values)), np.cumsum(~right[order])


def _keep(chosen: Chosen, head: dict, measured: dict, values: pd.DataFrame) -> str:
    """Draw the slider, what it means, and the slices that go to a person; return the measure that sorts them."""
    words = {name: doubt.MEASURES[name] for name in measured}
    left, right = st.columns([1, 2], gap="large")
    with left:
        name = state.pick(
            st.selectbox, "Uncertainty", words, state.MEASURE, on_change=first_page,
            help="From the Monte-Carlo passes where the run keeps them, else from its probabilities.",
        )  # fmt: skip
        kept = st.slider("Slices kept (%)", 5, 100, 90, key=state.KEPT, bind="query-params", on_change=first_page)
    rows = chosen.rows
    column = values[name].to_numpy()[rows.index]
    order, coverage, accuracy, wrong = cached.of_analysis(
        chosen.run, doubt.VALUES_FILE, _order, column, rows, at=(chosen.head, chosen.part, name, len(rows))
    )
    n = min(len(rows), max(1, round(kept / 100 * len(rows))))
    away = order[n:][::-1]
    with left:
        gain = 100 * (accuracy[n - 1] - accuracy[-1])
        st.metric("Accuracy on what is kept", f"{100 * accuracy[n - 1]:.1f} %", f"{gain:+.1f} points against all")
        st.markdown(
            f"Keep **{kept} %** of {len(rows):,} slices: accuracy **{100 * accuracy[n - 1]:.1f} %**. "
            f"**{len(away):,}** go to a person, the least certain first; "
            f"{wrong[-1] - wrong[n - 1]:,} of the {wrong[-1]:,} mistakes are among them."
        )
        passes = f"{head['passes']} Monte-Carlo passes" if head["passes"] else "probabilities; this run keeps no passes"
        st.caption(f"From {passes}.")
    with right:
        widgets.chart(
            figures.risk_coverage(coverage, accuracy, n / len(rows)), "risk-coverage",
            f"{chosen.run.id}-{chosen.head}-risk-coverage",
        )  # fmt: skip
    st.markdown(f"**The {len(away):,} slices that go to a person**, least certain first")
    gallery(
        rows, away, lambda place: f"{column[place]:.3g}" if np.isfinite(column[place]) else "no numbers", "person",
        "Everything is kept. Move the slider to the left.",
    )  # fmt: skip
    return name


def _compare(chosen: Chosen, head: dict, measured: dict, name: str) -> None:
    """Draw the measures beside each other, and the chosen one's histogram."""
    st.markdown("#### Which measure finds the mistakes?")
    word, one = doubt.MEASURES[name], measured[name]
    if one["auroc"] is None:
        st.caption(
            f"All {one['right'] + one['wrong']:,} answers here are {'wrong' if one['wrong'] else 'right'}, so nothing "
            "is there to tell apart."
        )
        return
    left, right = st.columns(2, gap="large")
    chosen_by = (chosen.head, chosen.part)
    with left:
        widgets.chart(
            cached.of_analysis(
                chosen.run, doubt.FILE, doubt_figures.detection, measured, doubt.MEASURES, at=chosen_by
            ), "detection", f"{chosen.run.id}-{chosen.head}-detection")  # fmt: skip
        few = f" Only {one['wrong']} mistakes: the figure is rough." if one["wrong"] < 20 else ""
        st.caption(
            f"{word}: {one['auroc']:.3f} ({between(one['low'], one['high'], one['few'])}), {one['wrong']:,} wrong and "
            f"{one['right']:,} right answers of {one['patients']} patients; 0.5 is guessing.{few}"
        )
    with right:
        widgets.chart(
            cached.of_analysis(
                chosen.run, doubt.FILE, doubt_figures.right_against_wrong, one["histogram"], word,
                at=(*chosen_by, name),
            ), "right-wrong", f"{chosen.run.id}-{chosen.head}-right-wrong")  # fmt: skip


def _thresholds(chosen: Chosen, facts: dict) -> None:
    """Draw thresholds by class: what was asked, and what was reached."""
    st.markdown("#### A threshold for each class")
    st.caption(
        "The lowest probability at which the answers named so were right often enough on validation slices; what lies "
        "below it goes to a person. Judged on the test slices, of other patients."
    )
    if facts["why_not"]:
        widgets.empty("No thresholds", facts["why_not"], ":material/rule:")
        return
    words = {target: f"{100 * float(target):g} %" for target in facts["targets"]}
    target = state.pick(
        st.segmented_control, "Accuracy wanted", words, state.TARGET, default=list(words)[1], required=True
    )
    rows = facts["targets"][target]
    kept, named, accuracy = class_thresholds.overall(rows, "test")
    if named:
        reached = f"{100 * accuracy:.1f} %" if kept else "nothing, as no answer is kept"
        st.markdown(
            f"Wanted **{words[target]}**, reached on test **{reached}** with {kept:,} of {named:,} answers kept "
            f"({100 * kept / named:.0f} %)."
        )
    table = pd.DataFrame([_row(row) for row in rows])
    percent = st.column_config.NumberColumn(format="percent")
    st.dataframe(
        table, hide_index=True,
        column_config={name: percent for name in table if "kept" in name or "accuracy" in name},
    )  # fmt: skip


def _row(fact: dict) -> dict:
    row = {"class": fact["class"], "threshold": "none reaches it" if fact["threshold"] >= 1 else
           f"{fact['threshold']:.3f}"}  # fmt: skip
    for part in ("validation", "test"):
        one = fact[part] or {"named": 0, "kept": 0, "accuracy": None}
        row[f"{part}, named so"] = one["named"]
        row[f"{part}, kept"] = one["kept"] / one["named"] if one["named"] else None
        row[f"{part}, accuracy of kept"] = one["accuracy"]
    row["note"] = "few slices or patients" if fact["few"] else ""
    return row
