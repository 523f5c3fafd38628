"""A model's card for people: what it is for, what it learnt from, how well it does, and where it ends.

The sections are those of Mitchell et al., "Model cards for model reporting" (FAT* 2019), as far as a run knows them.
Everything comes from the bundle's ``card.json``, so that a card that has travelled says the same.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from core import bundle, runs
from core.config import LABELS, RunConfig
from core.publishing import registry
from core.publishing.registry import Model
from core.splits import SPLITS
from core.vocabulary import NOT_FOR_CLINICAL_USE

INTENDED_USE = (
    "To name the {what} of slices and series of brain MRI from their pixels, for teaching, for research on data sets "
    "whose labels are missing or doubtful, and to find errors in them. A person looks at what it says."
)
OUT_OF_SCOPE = (
    "Diagnosis, treatment, triage or any other decision about a patient; parts of the body other than the head; other "
    "modalities than MRI."
)
_KINDS = {
    "transfer": "transfer learning: one answer from a pretrained backbone",
    "dual": "dual output: plane and sequence with a head each",
    "bayesian": "Bayesian: Monte-Carlo dropout says how sure it is",
    "siamese": "Siamese: a jury of reference slices votes",
}
_MEASURES = ("accuracy", "balanced_accuracy", "majority", "ece")


@dataclass(frozen=True)
class Section:
    """A part of the card.

    Attributes
    ----------
    title : str
    sentences : tuple of str
    facts : dict of str to str
    table : DataFrame or None
        Words and numbers as they are shown.
    """

    title: str
    sentences: tuple[str, ...] = ()
    facts: dict[str, str] | None = None
    table: pd.DataFrame | None = None


def of(model_id: str | None = None) -> tuple[Model, RunConfig | None]:
    """Find a model and its configuration; the current one without a name.

    Raises
    ------
    CoreError
        When there is no such run, or it has no trained model.
    """
    model = registry.find(model_id)
    return model, None if model.id == runs.SHIPPED else runs.read_run(model.id).config


def data_facts(table: pd.DataFrame, cohort: str) -> dict[str, Any]:
    """Describe what a run learnt from and was judged on, for its card.

    Parameters
    ----------
    table : DataFrame
        Rows of the cohort's slice table with the run's ``split``.
    cohort : str
        Name.

    Returns
    -------
    dict
        ``cohort``; ``slices`` and ``patients`` by part; ``vendors`` and ``field_strengths`` (tesla): slices of each,
        ``unknown`` among them.

    Examples
    --------
    >>> rows = pd.DataFrame({"split": ["train", "test"], "PatientID": ["P1", "P2"], "Manufacturer": ["ACME", None],
    ...                      "MagneticFieldStrength": [1.5, 2.89]})
    >>> facts = data_facts(rows, "demo")
    >>> facts["slices"], facts["patients"], facts["vendors"], facts["field_strengths"]
    ({'train': 1, 'test': 1}, {'train': 1, 'test': 1}, {'ACME': 1, 'unknown': 1}, {'1.5': 1, '2.9': 1})
    """
    parts = [part for part in SPLITS if (table["split"] == part).any()]
    of = {part: table[table["split"] == part] for part in parts}
    strength = table["MagneticFieldStrength"].map(lambda value: f"{value:.1f}", na_action="ignore")
    return {
        "cohort": cohort,
        "slices": {part: len(of[part]) for part in parts},
        "patients": {part: int(of[part]["PatientID"].nunique()) for part in parts},
        "vendors": _counted(table["Manufacturer"]),
        "field_strengths": _counted(strength),
    }


def _counted(words: pd.Series) -> dict[str, int]:
    return {str(word): int(n) for word, n in words.astype("str").fillna("unknown").value_counts().items()}


def sections(model: Model, config: RunConfig | None = None) -> list[Section]:
    """Return the card's parts in the order in which they are read.

    Parameters
    ----------
    model : Model
    config : RunConfig, optional
        Of the run; the shipped model has a recipe instead.
    """
    card = model.card
    return [
        Section("The model", facts=_details(model)),
        Section("Intended use", (INTENDED_USE.format(what=" and the ".join(model.heads)),)),
        Section("Not for", (NOT_FOR_CLINICAL_USE, OUT_OF_SCOPE)),
        Section("What it can say", facts={head: ", ".join(names) for head, names in card["classes"].items()}),
        _data(card),
        Section("How it was trained", facts=_training(card, config)),
        _scores(card),
        _calibration(card),
        Section("Limits", tuple(bundle.limits(card))),
        Section("Versions", facts={name: str(text) for name, text in card.get("versions", {}).items()}),
    ]


def markdown(model: Model, config: RunConfig | None = None) -> str:
    """Write the card as Markdown, for whoever has not got the app."""
    lines = [f"# Model card: {_plain(model.name)}", ""]
    for section in sections(model, config):
        lines += [f"## {section.title}", ""]
        if section.facts is not None:
            lines += [f"- {_plain(name)}: {_plain(value)}" for name, value in section.facts.items()] + [""]
        if section.table is not None:
            lines += [*_markdown_table(section.table), ""]
        lines += [f"- {_plain(sentence)}" for sentence in section.sentences] + [""] * bool(section.sentences)
    lines += ["The sections follow Mitchell et al., Model cards for model reporting, FAT* 2019.", ""]
    return "\n".join(lines)


def _details(model: Model) -> dict[str, str]:
    card = model.card
    size = card["input_shape"][0]
    origin = card.get("origin") or {}
    facts = {
        "Name": str(card["name"]),
        "Run": model.id,
        "Kind": _KINDS.get(card["kind"], str(card["kind"])),
        "Backbone": f"{card.get('backbone', 'unknown')}, input {size} × {size} pixels",
        "Made": str(card.get("created", ""))[:16].replace("T", " ") + " UTC",
        "SHA-256 of the model": card["sha256"],
    }
    if origin:
        facts["Imported"] = (
            f"{str(origin.get('imported', ''))[:16].replace('T', ' ')} UTC from a file with the SHA-256 "
            f"{origin.get('sha256', 'unknown')}, where the run was called {origin.get('run', 'unknown')}"
        )
    return facts


def _data(card: dict[str, Any]) -> Section:
    data = card.get("data") or {}
    facts = {"Cohort": str(data.get("cohort") or card.get("cohort") or "see the limits")}
    if card.get("split_hash"):
        facts["Split hash"] = str(card["split_hash"])
    for name, title in (("vendors", "Vendors"), ("field_strengths", "Field strengths (T)")):
        if data.get(name):
            facts[title] = ", ".join(f"{word} {n:,}" for word, n in data[name].items()) + " (slices)"
    parts = [part for part in SPLITS if part in data.get("slices", {})]
    table = None
    if parts:
        table = pd.DataFrame(
            {"Part": parts, "Patients": [f"{data['patients'][part]:,}" for part in parts],
             "Slices": [f"{data['slices'][part]:,}" for part in parts]}
        )  # fmt: skip
    return Section("Data", facts=facts, table=table)


def _training(card: dict[str, Any], config: RunConfig | None) -> dict[str, str]:
    if config is None:
        return {"Recipe": "make weights (core/weights.py)"}
    return {
        "Started from": str(card.get("weights", config.weights)),
        "Epochs": f"{config.epochs} of the head, {config.fine_tune_epochs} of fine-tuning",
        "Batch, learning rate, optimiser": f"{config.batch_size}, {config.learning_rate:g}, {config.optimiser}",
        "Dropout": f"{config.dropout:g}",
        "Augmentation": f"{config.augment_views} changed views a slice ({config.augmentation})",
        "Class balance": config.class_balance,
        "Split": f"by {config.split}",
        "Seed": str(config.random_state),
    }


def score_rows(scores: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row for each judgement that a card holds: ``on``, ``head``, ``part`` and its measures.

    A run's card holds ``{cohort: {head: {part: {measure: …}}}}``, the shipped one's leaves out the part, and for real
    images names the accuracy by the head itself. An interval stands beside its measure as ``…_interval``.

    Examples
    --------
    >>> rows = score_rows({"c": {"plane": {"test": {"accuracy": 0.5, "slices": 4}}}, "real": {"plane": 0.9}})
    >>> [(row["on"], row["head"], row["part"], row["accuracy"]) for row in rows]
    [('c', 'plane', 'test', 0.5), ('real', 'plane', '', 0.9)]
    """
    for on, heads in scores.items():
        for head, parts in heads.items():
            if isinstance(parts, float) and head in LABELS:
                interval = heads.get(f"{head}_interval")
                yield {**heads, "on": on, "head": head, "part": "", "accuracy": parts, "accuracy_interval": interval}
            elif isinstance(parts, dict) and "accuracy" in parts:
                yield {**parts, "on": on, "head": head, "part": ""}
            elif isinstance(parts, dict):
                for part, values in parts.items():
                    if isinstance(values, dict) and "accuracy" in values:
                        yield {**values, "on": on, "head": head, "part": part}


def _scores(card: dict[str, Any]) -> Section:
    rows = list(score_rows(card.get("scores") or {}))
    if not rows:
        return Section("Scores", ("It was not judged on any data yet.",))
    table = pd.DataFrame({
        "Judged on": [f"{row['on']}, {row['part']}" if row["part"] else row["on"] for row in rows],
        "Head": [row["head"] for row in rows],
        "Accuracy": [_with_interval(row, "accuracy") for row in rows],
        "Balanced": [_with_interval(row, "balanced_accuracy") for row in rows],
        "Majority class": [_with_interval(row, "majority", "majority_baseline") for row in rows],
        "ECE": [_with_interval(row, "ece") for row in rows],
        "Slices": [_count(row, "slices") for row in rows],
        "Patients": [_count(row, "patients", "people", "subjects") for row in rows],
    })  # fmt: skip
    said = ["Majority class: accuracy of always naming the commonest class. ECE: expected calibration error."]
    if any(row.get(f"{name}_interval") for row in rows for name in _MEASURES):
        said.append("In brackets: 95 % intervals over patients.")
    if not any(row["part"] == "test" or not row["part"] for row in rows):
        said.append("No test part: these scores say nothing about new patients.")
    return Section("Scores", tuple(said), table=table)


def _calibration(card: dict[str, Any]) -> Section:
    temperature, below = card.get("temperature", {}), card.get("unsure_below", {})
    facts = {
        head: f"temperature {temperature.get(head, 1.0):.2f}; unsure below {100 * below.get(head, 0.5):.0f} %"
        for head in card["classes"]
    }
    apart = "Slices that show no brain are set apart." if card.get("brain") else "It cannot tell what is no brain."
    return Section("Calibration", (apart,), facts)


def _with_interval(row: dict[str, Any], *names: str) -> str:
    for name in names:
        if isinstance(row.get(name), int | float):
            edges = row.get(f"{name}_interval")
            bracket = f" ({edges[0]:.3f} to {edges[1]:.3f})" if edges else ""
            return f"{row[name]:.3f}{bracket}"
    return "–"


def _count(row: dict[str, Any], *names: str) -> str:
    return next((f"{row[name]:,}" for name in names if isinstance(row.get(name), int)), "–")


def _plain(text: object) -> str:
    """Let no name make a link, a picture or a tag of itself."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", re.sub(r"\s+", " ", str(text)))


def _markdown_table(table: pd.DataFrame) -> list[str]:
    rows = [list(table.columns), ["---"] * len(table.columns), *table.itertuples(index=False)]
    return ["| " + " | ".join(cell if cell == "---" else _plain(cell) for cell in row) + " |" for row in rows]
