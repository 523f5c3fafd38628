"""Scores and curves class by class, and the slices of the data where the model is worse than its average."""

import pandas as pd
import streamlit as st

from core.analysis.class_scores import MEASURES
from core.analysis.weak_spots import FACTS, LEAST_PATIENTS, LEAST_SLICES, LEVEL, spot_of
from pages.shared import cached, errors_gallery, state, widgets
from pages.shared.errors_choice import Chosen

_HEADINGS = {"precision": "Precision", "recall": "Recall", "f1": "F1", "auroc": "ROC AUC", "ap": "Average precision"}
#: Spots that are listed at most: who looks further looks for chance.
_LISTED = 40


def draw(chosen: Chosen) -> None:
    """Draw the scores of each class, the curves of one, and the weak spots."""
    made = cached.class_scores(chosen.run)
    if made is None:
        widgets.empty(
            "Not worked out for this run",
            "It was evaluated before there were scores by class. "
            f"`python -m core evaluate {chosen.run.id}` makes them.",
        )
        return
    table = made.table[(made.table["head"] == chosen.head) & (made.table["part"] == chosen.part)]
    table = table[table["name"].isin(chosen.classes)]
    st.markdown(f"#### Each class of {chosen.head} against the others: slices of the {chosen.part} part")
    if table.empty:
        widgets.empty("No class to score", "No slice of this part has a truth that the model was taught.")
        return
    _scores(table)
    _curves(chosen, table)
    _spots(chosen)


def _scores(table: pd.DataFrame) -> None:
    shown = pd.DataFrame({"Class": table["name"], "Slices": table["support"], "Patients": table["patients"]})
    # Without a slice that truly is of the class F1 is nought by definition, which tells nothing.
    table = table.assign(f1=table["f1"].where(table["support"] > 0))
    for measure in MEASURES:
        shown[_HEADINGS[measure]] = [
            _with_interval(*three)
            for three in zip(*(table[f"{measure}{end}"] for end in ("", "_low", "_high")), strict=True)
        ]
    st.dataframe(shown, hide_index=True, height=min(38 + 35 * len(shown), 430))
    st.caption(
        "In brackets 95 % intervals from drawing the patients anew 2,000 times. ROC AUC and average precision rank the "
        "probability of the class over all slices, each class against all others. A class that no slice truly is has "
        "no recall and no areas."
    )


def _with_interval(value: float, low: float, high: float) -> str:
    if value != value:
        return "–"
    return f"{value:.3f}" if low != low else f"{value:.3f} ({low:.2f}–{high:.2f})"


def _curves(chosen: Chosen, table: pd.DataFrame) -> None:
    names = table.loc[table["support"] > 0, "name"].tolist()
    # The class that needs a look first.
    worst = table.set_index("name")["f1"].loc[names].idxmin() if names else None
    place, *places = st.columns([1, 2, 2], gap="medium")
    name = place.selectbox(
        "Curves of", names, index=names.index(worst) if names else None, key=state.CLASS, bind="query-params",
        help="It begins with the class whose F1 is lowest.",
    )  # fmt: skip
    if name is None:
        return
    roc, pr = cached.class_curves(chosen.run, chosen.head, chosen.part, name)
    if not roc.data[:-1]:
        place.caption("One class only: there is nothing to tell it from, so there is no curve.")
        return
    for place, kind, figure in zip(places, ("roc", "precision-recall"), (roc, pr), strict=True):
        with place:
            widgets.chart(figure, kind, f"{chosen.run.id}-{chosen.head}-{kind}")


def _spots(chosen: Chosen) -> None:
    st.markdown("#### Where it is worse than its average")
    table = cached.weak_spots(chosen.run, chosen.head, chosen.part)
    if table is None or table.empty:
        st.caption(
            f"Nothing is worse than the average, of what has at least {LEAST_SLICES} slices of {LEAST_PATIENTS} "
            "patients."
        )
        return
    found = int((table["q"] <= LEVEL).sum())
    table = table.head(max(_LISTED, found))
    if found:
        st.markdown(f"**{found}** found, worst first; what follows may be chance.")
    else:
        st.markdown("**None is found:** those that look worst are listed, but each may be chance.")
    spots = [spot_of(row) for row in table.to_dict("records")]
    words = [_write(spot) for spot in spots]
    at = words.index(state.get(state.SPOT)) if state.get(state.SPOT) in words else None
    answer = st.dataframe(
        _shown(table, spots), hide_index=True, on_select="rerun", selection_mode="single-row",
        key=f"spots-{chosen.run.id}-{chosen.head}-{chosen.part}", height=min(38 + 35 * len(table), 330),
        selection_default={"selection": {"rows": [] if at is None else [at]}},
    )  # fmt: skip
    st.caption(
        f"Every value of every fact and all pairs, with at least {LEAST_SLICES} slices of {LEAST_PATIENTS} patients; "
        "pairs where they are clearly worse than both of their values. p: patients' contributions to the difference, "
        "their signs turned by a coin; q: corrected for all comparisons (Benjamini–Hochberg). Thirds of a stack are "
        "counted towards head, back or left."
    )
    rows = answer["selection"]["rows"]
    picked = rows[0] if rows and rows[0] < len(spots) else None
    written = None if picked is None else words[picked]
    if written != (state.get(state.SPOT) or None):
        state.put(**{state.SPOT: written, state.PAGE: None, state.SLICE: None})
    if picked is not None:
        _gallery(chosen, spots[picked])


def _write(spot: tuple[tuple[str, str], ...]) -> str:
    return "&".join(f"{fact}={word}" for fact, word in spot)


def _say(spot: tuple[tuple[str, str], ...]) -> str:
    return " and ".join(f"{FACTS.get(fact, fact).lower()} {word}" for fact, word in spot)


def _shown(table: pd.DataFrame, spots: list) -> pd.DataFrame:
    percent = [
        f"{100 * value:.1f} %" if low != low else f"{100 * value:.1f} % ({100 * low:.1f}–{100 * high:.1f})"
        for value, low, high in zip(table["accuracy"], table["low"], table["high"], strict=True)
    ]
    shown = pd.DataFrame({
        "Slices of the data": [" · ".join(f"{FACTS.get(fact, fact)}: {word}" for fact, word in spot) for spot in spots],
        "Slices": table["slices"], "Patients": table["patients"], "Accuracy": percent,
        "Average": [f"{100 * value:.1f} %" for value in table["average"]],
        "Mistakes too many": table["excess"].round(1), "p": table["p"].round(4), "q": table["q"].round(4),
    })  # fmt: skip
    found = (table["q"] <= LEVEL).tolist()
    if any(found):
        shown.insert(0, "", ["found" if one else "" for one in found])
    return shown


def _gallery(chosen: Chosen, spot: tuple[tuple[str, str], ...]) -> None:
    places = cached.slices_of_spot(chosen.run, chosen.head, chosen.part, spot)
    st.markdown(f"**{len(places):,} slices with {_say(spot)}**, mistakes first, the surest of them first")

    def tiles(page, _):
        columns = page[["key", "PatientID", "y_true", "y_pred", "p"]]
        return [errors_gallery.tile(*row) for row in columns.itertuples(index=False)]

    errors_gallery.draw(chosen.rows, places, tiles, 24, "spot")
