"""Sections of a report that show what a run's analyses have stored; each gives nothing where its file was not made."""

from html import escape

import numpy as np
import pandas as pd

from core.analysis.report_pieces import Material, html_note, html_table
from core.comparing.compare_report import percent

#: Weak spots of a head that are shown, fewer where all may be chance; and sets of answers at which level.
_MOST_SPOTS, _FEW_SPOTS, _LEVEL = 12, 3, "0.9"
#: False discovery rate up to which a weak spot is more than chance.
_LIKELY = 0.05
#: Columns of `core.analysis.class_scores`, and what they are called.
_SCORES = {"precision": "Precision (%)", "recall": "Recall (%)", "f1": "F1 (%)", "auroc": "AUROC (%)",
           "ap": "Average precision (%)"}  # fmt: skip


def class_scores(made: Material) -> str:
    """Draw each class' scores with their intervals."""
    stored = made.stored("class_scores")
    if stored is None:
        return ""
    parts = []
    for head in made.card["classes"]:
        rows = stored[(stored["head"] == head) & (stored["part"] == made.part)]
        rows = rows[(rows["support"] > 0) | (rows["named"] > 0)]
        if rows.empty:
            continue
        columns = {"Class": rows["name"]}
        for name, title in _SCORES.items():
            columns[title] = [
                _interval(*values) for values in zip(rows[name], rows[f"{name}_low"], rows[f"{name}_high"], strict=True)
            ]
        columns |= {"Slices": rows["support"], "Patients": rows["patients"]}
        parts.append(f"<h3>{escape(head)}</h3>{html_table(pd.DataFrame(columns))}")
    said = "In brackets: 95 % intervals by patient. AUROC and average precision: each class against all others."
    return "".join(parts) + html_note(said) if parts else ""


def weak_spots(made: Material) -> str:
    """Draw where the model is worse than its average."""
    stored = made.stored("weak_spots")
    if stored is None:
        return ""
    parts = []
    for head in made.card["classes"]:
        rows = stored[(stored["head"] == head) & (stored["part"] == made.part)]
        sure = rows[rows["q"] <= _LIKELY]
        parts.append(f"<h3>{escape(head)}</h3>")
        if sure.empty:
            parts.append(html_note("No slice of the data is worse than the average by more than chance."))
        rows = (rows.head(_FEW_SPOTS) if sure.empty else sure).head(_MOST_SPOTS)
        if rows.empty:
            continue
        found = pd.DataFrame({
            "Slices with": [_spot(row) for row in rows.itertuples()],
            "Accuracy (%)": [_interval(row.accuracy, row.low, row.high) for row in rows.itertuples()],
            "Average (%)": [percent(value) for value in rows["average"]], "Slices": rows["slices"],
            "Patients": rows["patients"], "q": [f"{q:.3f}" for q in rows["q"]],
        })  # fmt: skip
        parts.append(html_table(found))
    said = (
        "q: share of false alarms to expect among spots as striking as this one, however many were looked at; "
        "above 0.05 a spot may well be chance."
    )
    return "".join(parts) + html_note(said) if parts else ""


def _spot(row) -> str:
    pairs = ((row.fact, row.word), (row.fact2, row.word2))
    return " and ".join(f"{fact}: {word}" for fact, word in pairs if isinstance(fact, str) and fact)


def calibration(made: Material) -> str:
    """Draw calibration errors before and after temperature scaling."""
    rows = []
    for head, facts in made.facts("calibration").items():
        part = facts.get("parts", {}).get(made.part)
        if part:
            before, after = part["before"], part["after"]
            rows.append({
                "Head": head, "Temperature": f"{facts['temperature']:.2f}",
                "ECE before (%)": _interval(before["ece"], before["low"], before["high"]),
                "ECE after (%)": _interval(after["ece"], after["low"], after["high"]),
                "Brier before": f"{before['brier']:.4f}", "Brier after": f"{after['brier']:.4f}",
                "Fitted on": f"{facts['fitted_slices']:,} slices of {facts['fitted_patients']:,} patients"
                if facts["fitted_slices"] else "other slices than this run's",
            })  # fmt: skip
    return html_table(pd.DataFrame(rows)) if rows else ""


def detection(made: Material) -> str:
    """Draw how well each measure of uncertainty tells mistakes from right answers."""
    rows = []
    for head, facts in made.facts("doubt").items():
        for measure, found in facts.get("parts", {}).get(made.part, {}).items():
            rows.append({
                "Head": head, "Measure": measure.replace("_", " "),
                "AUROC (%)": _interval(found["auroc"], found["low"], found["high"]), "Mistakes": found["wrong"],
                "Right": found["right"],
            })  # fmt: skip
    if not rows:
        return ""
    return html_table(pd.DataFrame(rows)) + html_note(
        "AUROC: how often a mistake is less certain than a right answer; 50 % is chance. In brackets: by patient."
    )


def conformal(made: Material) -> str:
    """Draw how often sets of answers hold the truth."""
    parts = []
    for head, facts in made.facts("conformal").items():
        drawn = "".join(
            f"<p><b>{escape(method)}</b></p>{html_table(_coverage(levels[_LEVEL]))}"
            for method, levels in facts.get("methods", {}).items()
            if _LEVEL in levels
        )
        if drawn:
            parts.append(f"<h3>{escape(head)}</h3>{drawn}")
    said = "Sets that should hold the truth in 90 % of slices: made on validation, measured on test."
    return html_note(said) + "".join(parts) if parts else ""


def _coverage(rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame({
        "Class": [row["class"] or "all" for row in rows],
        "Held the truth (%)": [percent(row["covered"]) for row in rows],
        "Mean size": [f"{row['size']:.2f}" for row in rows], "Slices": [row["slices"] for row in rows],
        "": ["fewer than promised" if row["under"] else "" for row in rows],
    })  # fmt: skip


def novelty(made: Material) -> str:
    """Draw how many slices look like nothing that the model knows."""
    facts = made.facts("novelty")
    rows = [
        {"Kind": kind, "Slices": part["slices"], "Strange": part["strange"]}
        for kind, found in facts.get("kinds", {}).items()
        if (part := found.get("parts", {}).get(made.part))
    ]
    return html_table(pd.DataFrame(rows)) if rows else ""


def series(made: Material) -> str:
    """Draw what it is worth to let the slices of a series vote."""
    rows = []
    for head, parts in made.facts("series").items():
        found = parts.get(made.part, {})
        if "slices" in found and "series" in found:
            one = {"Head": head}
            for name in ("slices", "series"):
                scores = found[name]
                one[f"Accuracy of {name} (%)"] = _interval(scores["accuracy"], scores["low"], scores["high"])
                one[name.capitalize()] = scores["n"]
            rows.append(one)
    return html_table(pd.DataFrame(rows)) if rows else ""


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    """Write a share in percent with its interval; what was not judged is a dash."""
    value, low, high = (np.nan if one is None else float(one) for one in (value, low, high))
    return percent(value) + ("" if np.isnan(low) or np.isnan(high) else f" ({percent(low)} to {percent(high)})")
