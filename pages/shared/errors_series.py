"""What a series' vote is worth against single slices, and where in the head slices go wrong."""

import numpy as np
import pandas as pd
import streamlit as st

from core.analysis import doubt_figures, series_report
from pages.shared import cached, state, widgets
from pages.shared.errors_analysis import between, gallery, read
from pages.shared.errors_choice import Chosen


def draw(chosen: Chosen) -> None:
    """Draw slices against series, accuracy along the stack, and one series slice by slice."""
    st.markdown(f"#### Slices against their series' vote: {chosen.head}, {chosen.part}")
    found = read(chosen, series_report.FILE)
    table, position = (cached.analysis(chosen.run, file) for file in (series_report.TABLE_FILE,
                                                                      series_report.POSITION_FILE))  # fmt: skip
    if found is None or table is None or position is None:
        return
    part = found.get(chosen.head, {}).get(chosen.part)
    if not part or part["why_not"]:
        st.caption("No slice here has a truth and probabilities to be judged by.")
        return
    left, right = st.columns([1, 2], gap="large")
    with left:
        slices, series = part["slices"], part["series"]
        st.metric(
            "Slices named rightly", f"{100 * slices['accuracy']:.1f} %", f"{slices['n']:,} slices", delta_color="off",
            delta_arrow="off",
            help=between(slices["low"], slices["high"], slices["few"]),
        )  # fmt: skip
        gain = 100 * (series["accuracy"] - slices["accuracy"])
        st.metric(
            "Series named rightly", f"{100 * series['accuracy']:.1f} %", f"{gain:+.1f} points by voting",
            help=between(series["low"], series["high"], series["few"]),
        )  # fmt: skip
        mixed = f" {part['mixed']} hold slices of several truths; the commonest counts." if part["mixed"] else ""
        st.caption(
            f"{series['n']:,} series. A series votes with the mean of its slices' calibrated probabilities.{mixed}"
        )
    with right:
        if sum(part["along"]["all"]):
            widgets.chart(
                cached.of_analysis(
                    chosen.run, series_report.FILE, doubt_figures.along, part["along"],
                    at=(chosen.head, chosen.part),
                ), "along", f"{chosen.run.id}-{chosen.head}-along")  # fmt: skip
        else:
            st.caption("The cohort does not say where in their stacks the slices lie.")
    st.divider()
    _one(chosen, table[(table["head"] == chosen.head) & (table["split"] == chosen.part)], position)


def _one(chosen: Chosen, series: pd.DataFrame, position: np.ndarray) -> None:
    """Draw the table of series, worst first, and the chosen one along its stack."""
    st.markdown("#### One series along its stack")
    series = series.assign(wrong=series["y_true"] != series["y_pred"])
    series = series.sort_values(["wrong", "slices_right", "p"], ascending=[False, True, False], kind="stable")
    at = state.get(state.SERIES)
    if at not in set(series["SeriesInstanceUID"]):
        at = series["SeriesInstanceUID"].iloc[0]
    left, right = st.columns([1, 1.2], gap="large")
    with left:
        event = st.dataframe(
            pd.DataFrame(
                {
                    "patient": series["PatientID"], "truth": series["y_true"], "vote": series["y_pred"],
                    "p": series["p"], "slices": series["slices"], "right": series["slices_right"],
                }
            ),
            hide_index=True, height=330, on_select="rerun", selection_mode="single-row", key="series-table",
            column_config={
                "p": st.column_config.NumberColumn(format="percent"),
                "right": st.column_config.NumberColumn(format="percent", help="Slices named rightly"),
            },
        )  # fmt: skip
        st.caption("Series whose vote is wrong first, then those with most wrong slices. Choose one by its row.")
        if event.selection.rows:
            at = series["SeriesInstanceUID"].iloc[event.selection.rows[0]]
            state.put(**{state.SERIES: at})
    one = series.set_index("SeriesInstanceUID").loc[at]
    mine = chosen.rows[(chosen.rows["SeriesInstanceUID"] == at).to_numpy()]
    mine = mine.assign(place=position[mine.index.to_numpy() % len(position)]).sort_values("place", kind="stable")
    with right:
        tone = "bad" if one["wrong"] else "good"
        st.html(
            f"<b>{widgets.escape(one['PatientID'])}</b> &nbsp;{widgets.chip('true: ' + one['y_true'])} "
            f"{widgets.chip('vote: ' + one['y_pred'], tone)}"
        )
        proba = np.stack(mine["y_proba"].to_list())
        y = np.array([chosen.names.index(name) for name in mine["y_true"]])
        widgets.chart(
            doubt_figures.one_series(proba, y, chosen.names), "one-series", f"{chosen.run.id}-{chosen.head}-one-series"
        )
    wrong = np.flatnonzero(proba.argmax(axis=1) != y)
    place = mine["place"].to_numpy()
    gallery(
        mine, wrong, lambda at: f"place {100 * place[at]:.0f} %" if np.isfinite(place[at]) else "", "series",
        "Every slice of this series is named rightly.",
    )  # fmt: skip
