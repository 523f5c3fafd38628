"""Whether probabilities mean what they say, and sets of answers that hold the truth as often as promised."""

import pandas as pd
import streamlit as st

from core.analysis import calibration_report, conformal, doubt_figures
from pages.shared import cached, state, widgets
from pages.shared.errors_analysis import between, read
from pages.shared.errors_choice import Chosen


def draw(chosen: Chosen) -> None:
    """Draw calibration before and after scaling, then the sets."""
    st.markdown(f"#### Does 90 % mean nine in ten? {chosen.head}, {chosen.part} slices")
    found = read(chosen, calibration_report.FILE)
    if found is None:
        return
    _calibration(chosen, found.get(chosen.head, {}))
    st.divider()
    st.markdown(f"#### Sets of answers: {chosen.head}, test slices")
    st.caption(
        "Instead of one answer, as many as it takes for the set to hold the truth as often as promised (conformal "
        "prediction, made on validation slices). The promise is for slices like those; slices of one patient are "
        "alike, so with few patients it is kept more loosely than their number suggests."
    )
    made = cached.analysis(chosen.run, conformal.FILE)
    if made and chosen.head in made:
        _sets(chosen, made[chosen.head])


def _calibration(chosen: Chosen, head: dict) -> None:
    part = head.get("parts", {}).get(chosen.part)
    if not part:
        st.caption("No slice here has a truth and probabilities to be judged by.")
        return
    before, after = part["before"], part["after"]
    columns = st.columns(4)
    columns[0].metric(
        "Expected calibration error", f"{after['ece']:.3f}", _change(before["ece"], after["ece"]),
        delta_color="inverse",
        help="Mean distance of confidence and accuracy over 15 bins, weighted by their slices. "
        + between(after["low"], after["high"], part["few"]),
    )  # fmt: skip
    columns[1].metric(
        "Brier score", f"{after['brier']:.3f}", _change(before["brier"], after["brier"]),
        delta_color="inverse", help="Mean squared distance of all probabilities from the truth, 0 to 2.",
    )  # fmt: skip
    columns[2].metric("Temperature", f"{head['temperature']:.2f}", help="Above 1 it makes the model less sure.")
    columns[3].metric(
        "Slices", f"{part['slices']:,}", f"{part['patients']} patients", delta_color="off", delta_arrow="off"
    )
    widgets.chart(
        cached.of_analysis(
            chosen.run, calibration_report.FILE, doubt_figures.reliability, part, at=(chosen.head, chosen.part)
        ), "reliability", f"{chosen.run.id}-{chosen.head}-reliability")  # fmt: skip
    fitted = (
        f"The temperature was fitted on {head['fitted_slices']:,} validation slices of {head['fitted_patients']} "
        "patients; it stands in the bundle, and every later prediction uses it."
        if head["fitted_slices"]
        else "This run has no validation slices: its temperature came with the model."
    )
    own = " These are the slices it was fitted on, so they flatter it." if chosen.part == "validation" else ""
    st.caption(fitted + own)


def _change(before: float, after: float) -> str | None:
    """Put what scaling changed into words, if it would be seen."""
    return f"{after - before:+.3f} by scaling" if abs(after - before) >= 0.0005 else None


def _sets(chosen: Chosen, facts: dict) -> None:
    if facts["why_not"]:
        widgets.empty("No sets", facts["why_not"], ":material/data_array:")
        return
    left, right = st.columns(2)
    levels = {f"{level:g}": f"{100 * level:g} %" for level in conformal.LEVELS}
    level = state.pick(
        left.segmented_control, "Promise", levels, state.LEVEL, default="0.9", required=True,
        help="Share of sets that should hold the truth.",
    )  # fmt: skip
    methods = {name: words for name, words in conformal.METHODS.items() if name in facts["methods"]}
    name = state.pick(
        right.segmented_control, "Made as", methods, state.SETS, required=True,
        help="LAC: the smallest sets on average, some may be empty. APS: larger ones, fairer to hard slices.",
    )  # fmt: skip
    wanted = levels[level]
    rows = facts["methods"][name][level]
    every, classes = rows[0], rows[1:]
    slices, patients = facts["calibrated_on"]
    st.markdown(
        f"Promised **{wanted}**, measured **{100 * every['covered']:.1f} %** on {every['slices']:,} test slices of "
        f"{every['patients']} patients, **{every['size']:.2f}** answers a set on average "
        f"({100 * every['empty']:.1f} % empty). Made on {slices:,} validation slices of {patients} patients."
    )
    _warn(every, classes, wanted)
    picture, table = st.columns([1.1, 1], gap="large")
    with picture:
        widgets.chart(
            cached.of_analysis(
                chosen.run, conformal.FILE, doubt_figures.coverage, rows, float(level), at=(chosen.head, name, level)
            ), "coverage", f"{chosen.run.id}-{chosen.head}-coverage")  # fmt: skip
    shown = pd.DataFrame(
        {
            "class": [one["class"] or "all" for one in rows],
            "slices": [one["slices"] for one in rows],
            "patients": [one["patients"] for one in rows],
            "hold the truth": [one["covered"] for one in rows],
            "answers a set": [one["size"] for one in rows],
            "note": [
                "too few to tell" if one["few"] else "under-covered" if one["under"] else "" for one in rows
            ],
        }
    )  # fmt: skip
    table.dataframe(
        shown, hide_index=True,
        column_config={
            "hold the truth": st.column_config.NumberColumn(format="percent"),
            "answers a set": st.column_config.NumberColumn(format="%.2f"),
        },
    )  # fmt: skip


def _warn(every: dict, classes: list[dict], wanted: str) -> None:
    under = [one["class"] for one in classes if one["under"] and not one["few"]]
    few = [one["class"] for one in classes if one["few"]]
    if under:
        st.warning(
            f"Under-covered: {', '.join(under)}. So few of their sets hold the truth that it is no chance, if slices "
            f"were drawn one by one: {wanted} holds for all classes together, and not for these.",
            icon=":material/warning:",
        )
    if few:
        st.caption(
            f"Fewer than {conformal.FEW_SLICES} slices or {conformal.FEW_PATIENTS} patients, too few to tell: "
            f"{', '.join(few)}."
        )
