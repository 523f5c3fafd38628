"""A run's whole analysis as one HTML file: it opens anywhere, asks no network for anything, and prints.

A section is a function that draws its part, or gives nothing where there is nothing to draw; `SECTIONS` is their order.
Sections of what analyses have stored are in `core.analysis.report_stored`.
"""

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

import core
from core import calibration, cohort, figures, images, runs, thumbnails, uncertainty
from core.analysis import confusion, doubt, doubt_figures, positions, report_stored, stress, stress_figures
from core.analysis.report_pieces import Material, html_facts, html_list, html_note, html_table
from core.analysis.stress_changes import CHANGES
from core.cohorts.slice_table import replaced, slice_keys
from core.comparing import compare_report, patient_scores, run_notes
from core.errors import CoreError, InputError
from core.publishing import model_card, registry
from core.runs import Run
from core.settings import PROJECT_DIR
from core.splits import SPLITS
from core.vocabulary import NOT_FOR_CLINICAL_USE

_STYLE = PROJECT_DIR / "assets" / "report.css"
#: Worst mistakes of a head that are shown as pictures, and their side in pixels.
_MOST_PICTURES, _SIDE = 24, 96
#: Classes that a confusion matrix can be read with on paper.
_MOST_CLASSES = 40


Section = Callable[[Material], str]


def write(run: Run, path: Path, pictures: bool = False) -> int:
    """Write `html` into a file; returns its size in bytes.

    Raises
    ------
    InputError
        For another ending than .html, or where the file cannot be written.
    RunError
        When the run was not evaluated.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"A report is written as .html; received {path.name!r}. Change the suffix.")
    data = html(run, pictures).encode()
    try:
        with replaced(path) as fresh:
            fresh.write_bytes(data)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}. Choose another place.") from None
    return len(data)


def html(run: Run, pictures: bool = False) -> str:
    """Draw the report of a run.

    Parameters
    ----------
    run : Run
        Evaluated.
    pictures : bool
        Whether the worst mistakes are shown: pictures of patients leave the house with it.

    Returns
    -------
    str
        A page; no patient is named in it, no file and no folder.
    """
    made = Material(run, pictures)
    title = escape(run_notes.title(run))
    drawn = [(name, section(made)) for name, section in SECTIONS]
    there = [(f"s{number}", name, body) for number, (name, body) in enumerate(drawn) if body]
    contents = "".join(f'<a href="#{mark}">{escape(name)}</a>' for mark, name, _ in there)
    body = "".join(f'<section id="{mark}"><h2>{escape(name)}</h2>{part}</section>' for mark, name, part in there)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{title}: report</title><style>{_STYLE.read_text('utf-8')}</style>"
        f"<script>{get_plotlyjs()}</script></head><body><header><div><h1>{title}</h1><p>{_subtitle(made)}</p></div>"
        f'<b class="clinical">{escape(NOT_FOR_CLINICAL_USE)}</b></header><nav>{contents}</nav><main>{body}</main>'
        f"<footer>{_colophon(made)}</footer></body></html>"
    )


# Sections -------------------------------------------------------------------------------------------------


def _headline(made: Material) -> str:
    numbers = []
    for head, names, rows in made.heads():
        scores = _bootstrap(rows, names)
        low, high = (100 * float(end[0]) for end in scores.interval())
        said = "" if np.isnan(low) else f"95 % interval by patient {low:.1f} to {high:.1f} %"
        wrong = int((rows["y_true"] != rows["y_pred"]).sum())
        numbers.append(
            f"<div><span>{escape(head)}</span><b>{100 * float(scores.estimate[0]):.1f} %</b><small>{said}</small>"
            f"<small>{wrong:,} of {len(rows):,} slices wrong</small></div>"
        )
    if not numbers:
        return "<p>No slice of this run has a known answer, so there is nothing to judge by.</p>"
    return f'<div class="numbers">{"".join(numbers)}</div><p>{_basis(made)}</p>'


def _basis(made: Material) -> str:
    rows = made.known[made.known["split"] == made.part]
    n = rows[["SOPInstanceUID", "frame"]].drop_duplicates().shape[0]
    said = f"Judged on the {made.part} part: {n:,} slices of {rows['PatientID'].nunique():,} patients."
    if made.part != "test":
        said += " There is no test part: these figures say nothing about new patients."
    return said


def _scores(made: Material) -> str:
    table = []
    for head, names in made.card["classes"].items():
        for part in SPLITS:
            rows = made.known[(made.known["head"] == head) & (made.known["split"] == part)]
            if len(rows):
                cells = compare_report.score_cells(_bootstrap(rows, names))
                table.append([head, part, *cells, f"{len(rows):,}", f"{rows['PatientID'].nunique():,}"])
    if not table:
        return ""
    titles = ["Head", "Part", *(f"{score} (%)" for score in patient_scores.SCORES), "Slices", "Patients"]
    return html_table(pd.DataFrame(table, columns=titles)) + html_note(
        "In brackets: 95 % intervals by a bootstrap that draws patients. ECE: expected calibration error."
    )


def _bootstrap(rows: pd.DataFrame, names: list[str]):
    y_true, y_pred = (rows[column].map({name: n for n, name in enumerate(names)}) for column in ("y_true", "y_pred"))
    patients, _ = pd.factorize(rows["PatientID"])
    confidence = np.nan_to_num(_proba(rows).max(axis=1))
    totals = patient_scores.score_totals(patients, y_true.to_numpy(int), y_pred.to_numpy(int), confidence, len(names))
    return patient_scores.bootstrap_scores(totals, len(names))


def _proba(rows: pd.DataFrame) -> np.ndarray:
    return np.stack(rows["y_proba"].to_list()).astype(float)


def _split(made: Material) -> str:
    split = made.run.split()
    counts = split.groupby("split").agg(Slices=("PatientID", "size"), Patients=("PatientID", "nunique"))
    counts = counts.reindex([part for part in SPLITS if part in counts.index]).rename_axis("Part").reset_index()
    shared = split.groupby("PatientID")["split"].nunique().gt(1).sum()
    said = f"{shared:,} patients stand in more than one part: scores are too good." if shared else (
        "No patient stands in more than one part."
    )  # fmt: skip
    return html_table(counts) + html_note(f"{said} Split hash: {made.card.get('split_hash') or 'none'}.")


def _matrices(made: Material) -> str:
    parts = []
    for head, names, rows in made.heads():
        seen = set(rows["y_true"]) | set(rows["y_pred"])
        classes = [name for name in names if name in seen]
        parts.append(f"<h3>{escape(head)}</h3>")
        if len(classes) > _MOST_CLASSES:
            parts.append(html_note(f"{len(classes)} classes are too many to be drawn; see the classes below."))
            continue
        matrix = confusion.confusion(rows["y_true"], rows["y_pred"], classes)
        parts.append(_figure(figures.confusion_matrix(matrix)))
        parts.append(
            html_note(
                f"{made.part} slices; rows are the truth. Accuracy {100 * matrix.accuracy:.1f} %, of always naming the "
                f"commonest class {100 * matrix.majority:.1f} %."
            )
        )
    return "".join(parts)


def _classes(made: Material) -> str:
    with_intervals = report_stored.class_scores(made)
    if with_intervals:
        return with_intervals
    parts = []
    for head, names, rows in made.heads():
        counts = confusion.confusion(rows["y_true"], rows["y_pred"], names).counts
        right, true, named = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
        there = (true + named) > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = (right / named, right / true, 2 * right / (true + named))
        columns = {
            title: [compare_report.percent(value) for value in share[there]]
            for title, share in zip(("Precision (%)", "Recall (%)", "F1 (%)"), shares, strict=True)
        }
        table = pd.DataFrame({"Class": np.array(names, dtype=object)[there], **columns, "Slices": true[there]})
        parts.append(f"<h3>{escape(head)}</h3>{html_table(table)}")
    return "".join(parts)


def _calibration(made: Material) -> str:
    parts = []
    for head, names, rows in made.heads():
        proba, y = _proba(rows), rows["y_true"].map({name: n for n, name in enumerate(names)}).to_numpy(int)
        usable = np.isfinite(proba).all(axis=1)
        if not usable.any():
            continue
        bins = calibration.reliability(proba[usable], y[usable])
        temperature = made.card.get("temperature", {}).get(head, 1.0)
        parts.append(
            f"<div><h3>{escape(head)}</h3>{_figure(figures.reliability(bins))}"
            + html_note(
                f"Expected calibration error {100 * bins.ece:.1f} %, at the card's temperature {temperature:.2f}."
            )
            + "</div>"
        )
    return f'<div class="side">{"".join(parts)}</div>{report_stored.calibration(made)}' if parts else ""


def _doubt(made: Material) -> str:
    parts = []
    for head, _, rows in made.heads():
        proba = _proba(rows)
        usable = np.isfinite(proba).all(axis=1)
        if not usable.any():
            continue
        values = uncertainty.predictive_entropy(proba[usable][:, None])
        right = (rows["y_true"] == rows["y_pred"]).to_numpy()[usable]
        coverage, accuracy = uncertainty.risk_coverage(right, values)
        at = max(0, round(0.9 * len(right)) - 1)
        spread = doubt_figures.right_against_wrong(doubt.histogram(values, ~right), "Uncertainty")
        parts.append(
            f'<h3>{escape(head)}</h3><div class="side"><div>{_figure(figures.risk_coverage(coverage, accuracy, 0.9))}'
            f"</div><div>{_figure(spread.update_layout(height=340))}</div></div>"
            + html_note(
                f"Of the 90 % of slices that it is most certain of, {100 * accuracy[at]:.1f} % are right; of all, "
                f"{100 * right.mean():.1f} %. Uncertainty: entropy of the stored probabilities, in nats."
            )
        )
    return "".join(parts)


def _positions(made: Material) -> str:
    bins, pairs = made.stored("positions"), made.stored("position_pairs")
    if bins is None or pairs is None:
        return ""
    parts = []
    for head, _, _ in made.heads():
        of_head, of_pairs = (table[(table["head"] == head) & (table["split"] == made.part)] for table in (bins, pairs))
        if of_head.empty:
            continue
        said = [positions.sentence(of_head, plane) for plane in positions.ENDS if (of_head["plane"] == plane).any()]
        parts.append(f"<h3>{escape(head)}</h3>{_figure(stress_figures.position_curves(of_head))}{html_list(said)}")
        mistakes = stress_figures.position_pairs(of_pairs)
        if mistakes is not None:
            parts.append(_figure(mistakes))
    return "".join(parts)


def _stress(made: Material) -> str:
    drawn = made.stored("stress_curves")
    if drawn is None or drawn.empty:
        return ""
    heads = list(dict.fromkeys(drawn["head"]))
    parts = [
        html_note(
            f"{drawn['slices'].max():,} slices of {drawn['patients'].max():,} patients, as many of each class as there "
            "were, each changed step by step. Dotted: the share of answers that are still sure."
        ),
        _figure(stress_figures.stress_curves(drawn, heads)),
    ]
    for head in heads:
        said = [f"{change.title}: {stress.sentence(drawn, head, change)}" for change in CHANGES]
        parts.append(f"<h3>{escape(head)}</h3>{html_list(said)}")
    return "".join(parts)


def _mistakes(made: Material) -> str:
    if not made.pictures:
        return ""
    try:
        whole = cohort.read(made.run.config.cohort)
    except CoreError:
        return html_note("The cohort is no longer here, so its slices cannot be shown.")
    table = whole.table.set_axis(slice_keys(whole.table))
    parts = []
    for head, _, rows in made.heads():
        wrong = rows[rows["y_true"] != rows["y_pred"]]
        wrong = wrong.assign(key=slice_keys(wrong), p=np.nan_to_num(_proba(wrong).max(axis=1)) if len(wrong) else [])
        wrong = wrong[wrong["key"].isin(table.index)].sort_values("p", ascending=False).head(_MOST_PICTURES)
        if wrong.empty:
            continue
        tiles = thumbnails.sprites(whole, table.loc[wrong["key"]], _SIDE)
        drawn = (
            f'<figure><img alt="" src="{_png(tile)}"><figcaption>{escape(row.y_true)} → {escape(row.y_pred)} '
            f"{100 * row.p:.0f} %</figcaption></figure>"
            for tile, row in zip(tiles, wrong.itertuples(), strict=True)
        )
        parts.append(f'<h3>{escape(head)}</h3><div class="tiles">{"".join(drawn)}</div>')
    return "".join(parts)


def _card(made: Material) -> str:
    model = registry.find(made.run.id)
    config = None if made.run.id == runs.SHIPPED else made.run.config
    parts = []
    for section in model_card.sections(model, config):
        parts.append(f"<h3>{escape(section.title)}</h3>")
        if section.facts:
            parts.append(html_facts({name: _no_path(value) for name, value in section.facts.items()}))
        if section.table is not None:
            parts.append(html_table(section.table))
        if section.sentences:
            parts.append(html_list(list(section.sentences)))
    return f'<div class="card">{"".join(parts)}</div>'


def _no_path(value: str) -> str:
    """A local file of weights stands in a configuration with its folders, which may name somebody."""
    return Path(value).name if Path(value).is_absolute() else value


#: Title and what draws it, in order.
SECTIONS: tuple[tuple[str, Section], ...] = (
    ("In short", _headline),
    ("Scores", _scores),
    ("Confusion matrices", _matrices),
    ("Classes", _classes),
    ("Where it is worse than its average", report_stored.weak_spots),
    ("Calibration", _calibration),
    ("Does it know when it is wrong?", _doubt),
    ("Telling mistakes from right answers", report_stored.detection),
    ("Sets of answers", report_stored.conformal),
    ("Slices that are strange to it", report_stored.novelty),
    ("Series that vote", report_stored.series),
    ("Where in the head does it go wrong?", _positions),
    ("What happens at another hospital?", _stress),
    ("Worst mistakes", _mistakes),
    ("The split", _split),
    ("Model card", _card),
)


# Pieces ---------------------------------------------------------------------------------------------------


def _figure(figure: go.Figure) -> str:
    drawn = figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True})
    return f'<div class="figure">{drawn}</div>'


def _png(tile: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(images.to_png(tile)).decode()


def _subtitle(made: Material) -> str:
    config = made.run.config
    words = (config.kind, " and ".join(made.card["classes"]), config.backbone, f"cohort {config.cohort}")
    return escape(" · ".join(words))


def _colophon(made: Material) -> str:
    facts = {
        "Slicescope": core.__version__,
        "Written": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Run": made.run.id,
        "SHA-256 of the model": made.card["sha256"],
        "Split hash": made.card.get("split_hash") or "none",
    }
    return f"{html_facts(facts)}<p>{escape(NOT_FOR_CLINICAL_USE)}</p>"
