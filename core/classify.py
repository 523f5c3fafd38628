"""What is this? Plane and sequence of every slice and series, from its pixels and from its header, and a verdict."""

import os.path
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import entr

from core import bundle, images, inference, novelty
from core.cohorts.slice_table import REJECTED_COLUMNS, Cohort, typed
from core.errors import UnreadableFile
from core.explanations import jury_columns
from core.explanations.juries import NamedJury
from core.publishing import registry
from core.sandbox import Sandbox, Sandboxes
from core.series_vote import vote

#: Columns of the tables, in their order.
SLICE_COLUMNS = (
    "path", "frame", "SeriesInstanceUID", "plane", "plane_p", "sequence", "sequence_p", "t1_family_p", "entropy",
    "header_plane", "header_sequence", "plane_verdict", "sequence_verdict",
)  # fmt: skip
SERIES_COLUMNS = (
    "path", "SeriesInstanceUID", "n", "plane", "plane_p", "sequence", "sequence_p", "t1_family_p", "header_plane",
    "header_sequence", "plane_verdict", "sequence_verdict",
)  # fmt: skip

_T1_FAMILY = ("T1", "T1CE")
#: What `core.labels` writes into the evidence of a T1 whose header cannot tell whether contrast agent was given.
_CONTRAST_UNKNOWN = "contrast: unknown"


def classify(
    cohort: Cohort,
    model: str | None = None,
    workers: int = 1,
    report: Callable[[int, int], None] | None = None,
    jury: NamedJury | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Ask a model about every slice, and compare its answers with the headers'.

    Parameters
    ----------
    cohort : Cohort
        As `core.cohort.scan` gives it; it need not be written.
    model : str, optional
        ``shipped``, or a run's id; the promoted one without, see `core.publishing.registry`.
    workers : int
        Sandboxes that decode pixels side by side.
    report : callable, optional
        Called with (slices done, slices in all).
    jury : NamedJury, optional
        Of this very model; both tables then end with `core.explanations.jury_columns.JURY_COLUMNS`.

    Returns
    -------
    slices : DataFrame
        One row a slice, `SLICE_COLUMNS`; ``path`` opens the file. ``plane`` and ``sequence`` come from pixels
        alone; ``…_p`` are calibrated probabilities, ``entropy`` is that of the sequence in nats (of the plane, where
        the model tells no sequence). What the model has no head for is missing, and its verdict ``header_only``.
    series : DataFrame
        One row a series, `SERIES_COLUMNS`; ``path`` is the file or folder as it may be shown.
    rejected : DataFrame
        One row a file that gave no slice, as `Cohort.rejected`. A file with a slice whose pixels cannot be
        decoded is rejected whole, so that each file stands in one of the tables.

    Raises
    ------
    CoreError
        When the model cannot be had or asked.
    """
    folder = registry.find(model).bundle
    card = bundle.read_card(folder)
    size, table = card["input_shape"][0], cohort.table

    def read(sandbox: Sandbox, row: Any) -> np.ndarray | UnreadableFile:
        try:
            pixels = sandbox.pixels(cohort.root / row.path, row.frame)
        except UnreadableFile as error:
            return error
        spacing = (row.pixel_spacing_row_mm, row.pixel_spacing_column_mm)
        return images.to_model_input(pixels, spacing, size)[0]

    worker, failed, votes = inference.get_worker(), {}, []
    none = {head: np.empty((0, len(names)), np.float32) for head, names in card["classes"].items()}
    parts: list[dict[str, np.ndarray]] = [{**none, "other": np.empty(0, bool)}]
    with Sandboxes(workers) as sandboxes:
        for start in range(0, len(table), inference.REQUEST):
            rows = list(table.iloc[start : start + inference.REQUEST].itertuples())
            inputs = np.zeros((len(rows), size, size), np.float32)
            for place, (row, image) in enumerate(zip(rows, sandboxes.map(read, rows), strict=True)):
                if isinstance(image, UnreadableFile):
                    failed.setdefault(row.path, str(image))
                else:
                    inputs[place] = image
            answer = worker.predict(folder, inputs)
            other = is_other(inputs, answer.embeddings, card)
            parts.append({**answer.heads, "other": other})
            if jury:
                votes.append(jury.ask(answer.embeddings)[0])
            if report:
                report(start + len(rows), len(table))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    other = joined.pop("other")
    heads = marginals(joined, card["classes"])
    limits = {name: _limit(card, name) for name in heads}
    kept = ~table["path"].isin(list(failed)).to_numpy()
    heads = {name: (names, proba[kept]) for name, (names, proba) in heads.items()}
    table, other = table[kept].reset_index(drop=True), other[kept]
    groups = list(table.groupby("SeriesInstanceUID", sort=False).indices.values())
    series = pd.DataFrame([
        _series_row(table.loc[rows], {name: (names, proba[rows]) for name, (names, proba) in heads.items()},
                    other[rows], limits)
        for rows in groups
    ], columns=list(SERIES_COLUMNS))  # fmt: skip
    slices = _slice_rows(table, heads, other, limits)
    if jury:
        said = jury_columns.joined(jury, votes, kept)
        slices = slices.join(jury_columns.columns(jury, said, other))
        series = series.join(jury_columns.of_series(jury, said, groups, other))
    return slices, series, _rejected(cohort, failed)


def is_blank(images: np.ndarray) -> np.ndarray:
    """Tell which slices are of one grey throughout: images (n, S, S) to bool (n,)."""
    return np.ptp(images, axis=(1, 2)) == 0


def is_other(images: np.ndarray, embeddings: np.ndarray, card: dict[str, Any]) -> np.ndarray:
    """Tell which slices show no brain: blank ones, and those that the model sets apart.

    Parameters
    ----------
    images : ndarray of float32, shape (n, S, S)
    embeddings : ndarray of float32, shape (n, d)
    card : dict
        Of the model that `embeddings` come from.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    return is_blank(images) | (novelty.brain_probability(embeddings, card) < card.get("brain", {}).get("below", 0.0))


def marginals(heads: dict[str, np.ndarray], classes: dict[str, list[str]]) -> dict[str, tuple[list[str], np.ndarray]]:
    """Give class names and probabilities for ``plane`` and ``sequence``, as far as a model's heads tell them.

    Parameters
    ----------
    heads : dict of ndarray, shape (n, classes)
        Probabilities, by head.
    classes : dict of list of str

    Returns
    -------
    dict
        Of a ``plane-sequence`` head, the sums over the other part of its classes.

    Examples
    --------
    >>> names = ["axial-T1", "axial-T2", "coronal-T1"]
    >>> both = marginals({"plane-sequence": np.array([[0.5, 0.2, 0.3]])}, {"plane-sequence": names})
    >>> [(name, words, (10 * proba).round().tolist()) for name, (words, proba) in both.items()]
    [('plane', ['axial', 'coronal'], [[7.0, 3.0]]), ('sequence', ['T1', 'T2'], [[8.0, 2.0]])]
    """
    answer = {}
    for head, proba in heads.items():
        parts = head.split("-")
        for place, part in enumerate(parts):
            words = [name.split("-")[place] if len(parts) > 1 else name for name in classes[head]]
            names = list(dict.fromkeys(words))
            summed = np.zeros((len(proba), len(names)), np.float32)
            for column, word in enumerate(words):
                summed[:, names.index(word)] += proba[:, column]
            answer[part] = names, summed
    return answer


def verdict(
    header: str | None, image: str | None, p: float, unsure_below: float, classes: list[str], evidence: str = ""
) -> str:
    """Compare what header and image model say of one slice or series.

    Parameters
    ----------
    header, image : str or None
        Their words; None where they say nothing.
    p : float
        Probability of the image model's word.
    unsure_below : float
        The card's threshold.
    classes : list of str
        Words that the image model can say.
    evidence : str
        Of the header's word.

    Returns
    -------
    str
        One of `core.vocabulary.VERDICTS`.

    Notes
    -----
    A header's word that the image model does not know (LOCALIZER, say) cannot be compared: ``header_only``. A header
    that says T1 and cannot tell whether agent was given does not contradict T1CE: ``image_only``.

    Examples
    --------
    >>> verdict("T1", "T2", 0.9, 0.5, ["T1", "T2"]), verdict("LOCALIZER", "T2", 0.9, 0.5, ["T1", "T2"])
    ('disagree', 'header_only')
    """
    if image is None or (header is not None and header not in classes):
        return "header_only"
    if p < unsure_below:
        return "unsure"
    if header is None:
        return "image_only"
    if header == image:
        return "agree"
    return "image_only" if (header, image) == _T1_FAMILY and _CONTRAST_UNKNOWN in evidence else "disagree"


def _limit(card: dict[str, Any], name: str) -> float:
    heads = (head for head in card["classes"] if name in head.split("-"))
    return float(card["unsure_below"].get(next(heads), 0.5))


def _t1_family(names: list[str], proba: np.ndarray) -> np.ndarray:
    """P(T1) + P(T1CE), along the last axis."""
    return proba[..., [place for place, name in enumerate(names) if name in _T1_FAMILY]].sum(axis=-1)


def _words(column: pd.Series) -> list[str | None]:
    return [None if pd.isna(word) else str(word) for word in column]


def _slice_rows(table: pd.DataFrame, heads: dict, other: np.ndarray, limits: dict[str, float]) -> pd.DataFrame:
    answer = table[["path", "frame", "SeriesInstanceUID"]].copy()
    for name in ("plane", "sequence"):
        header = _words(table[name])
        names, proba = heads.get(name, ([], None))
        image = [names[at] for at in proba.argmax(axis=1)] if names else [None] * len(table)
        p = proba.max(axis=1) if names else np.full(len(table), np.nan)
        evidence = table["sequence_evidence"] if name == "sequence" else [""] * len(table)
        answer[name], answer[f"{name}_p"] = pd.array(image, dtype="str"), p
        answer[f"header_{name}"] = pd.array(header, dtype="str")
        answer[f"{name}_verdict"] = [
            "not_a_brain" if nothing else verdict(h, i, q, limits.get(name, 0.5), names, why)
            for h, i, q, why, nothing in zip(header, image, p, evidence, other, strict=True)
        ]
    names, proba = heads.get("sequence") or heads["plane"]
    answer["entropy"] = entr(proba).sum(axis=1)
    answer["t1_family_p"] = _t1_family(names, proba) if "sequence" in heads else np.nan
    return answer[list(SLICE_COLUMNS)]


def _series_row(table: pd.DataFrame, heads: dict, other: np.ndarray, limits: dict[str, float]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "path": _common_path(table["shown_path"].unique()),
        "SeriesInstanceUID": table["SeriesInstanceUID"].iloc[0],
        "n": len(table),
        "t1_family_p": np.nan,
    }
    # What shows no brain, as at the ends of a stack, has no say.
    seen = ~other if not other.all() else other
    for name in ("plane", "sequence"):
        header = table[name].mode()
        header = str(header.iloc[0]) if len(header) else None
        names, proba = heads.get(name, ([], None))
        shares = vote(proba[seen]) if names else np.array([np.nan])
        image = names[int(shares.argmax())] if names else None
        if name == "sequence" and names:
            row["t1_family_p"] = float(_t1_family(names, shares))
        evidence = table["sequence_evidence"].iloc[0] if name == "sequence" else ""
        row |= {name: image, f"{name}_p": float(shares.max()), f"header_{name}": header}
        row[f"{name}_verdict"] = (
            "not_a_brain"
            # A few slices beyond the brain are usual; a stack that mostly shows something else is something else.
            if other.mean() > 0.5
            else verdict(header, image, float(shares.max()), limits.get(name, 0.5), names, evidence)
        )
    return row


def _common_path(paths: np.ndarray) -> str:
    """The file itself, or the innermost folder that holds all of several."""
    return str(paths[0]) if len(paths) == 1 else os.path.commonpath([*map(os.path.dirname, paths)]) or "."


def _rejected(cohort: Cohort, failed: dict[str, str]) -> pd.DataFrame:
    files = cohort.table[cohort.table["path"].isin(list(failed))].drop_duplicates("path")
    return pd.concat(
        [cohort.rejected, typed(files.assign(reason=files["path"].map(failed)), REJECTED_COLUMNS)], ignore_index=True
    ).sort_values("path", kind="stable", ignore_index=True)  # fmt: skip
