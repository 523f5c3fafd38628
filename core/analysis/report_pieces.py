"""What a report is drawn from, and the pieces of HTML that its sections are made of."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from core.analysis import analyses
from core.runs import Run
from core.splits import SPLITS


@dataclass(frozen=True)
class Material:
    """What sections are drawn from.

    Attributes
    ----------
    run : Run
        Evaluated.
    pictures : bool
        Whether pictures of patients may stand in the report.
    """

    run: Run
    pictures: bool

    @cached_property
    def card(self) -> dict[str, Any]:
        """The model's card."""
        return self.run.card()

    @cached_property
    def known(self) -> pd.DataFrame:
        """Predictions whose truth is known."""
        table = self.run.predictions()
        return table[table["y_true"].notna()]

    @cached_property
    def part(self) -> str | None:
        """The part of the split that the run is judged on: test, else validation, else train."""
        return next((part for part in reversed(SPLITS) if (self.known["split"] == part).any()), None)

    def heads(self) -> Iterator[tuple[str, list[str], pd.DataFrame]]:
        """Yield each head with its classes and its predictions on the part that is judged."""
        for head, names in self.card["classes"].items():
            rows = self.known[(self.known["head"] == head) & (self.known["split"] == self.part)]
            if len(rows):
                yield head, names, rows

    def stored(self, name: str) -> pd.DataFrame | None:
        """Read a table of the run's analyses; None where it was not made."""
        path = analyses.folder(self.run) / f"{name}.parquet"
        return pd.read_parquet(path) if path.exists() else None

    def facts(self, name: str) -> dict[str, Any]:
        """Read what the run's analyses keep as JSON; empty where it was not made."""
        path = analyses.folder(self.run) / f"{name}.json"
        return json.loads(path.read_text("utf-8")) if path.exists() else {}


def html_table(rows: pd.DataFrame) -> str:
    """Draw a table as it stands; numbers are shortened, what is missing is a dash."""
    head = "".join(f"<th>{escape(str(name))}</th>" for name in rows)
    drawn = ("".join(f"<td>{escape(_cell(value))}</td>" for value in row) for row in rows.itertuples(index=False))
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(f"<tr>{row}</tr>" for row in drawn)}</table></div>'


def _cell(value: object) -> str:
    if value is None or value is pd.NA or value != value:
        return "–"
    if isinstance(value, bool | np.bool_ | str):
        return str(value)
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def html_facts(facts: dict[str, str]) -> str:
    """Draw names and values."""
    rows = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f"<dl>{''.join(rows)}</dl>"


def html_list(sentences: list[str]) -> str:
    """Draw sentences as a list; nothing without any."""
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>" if sentences else ""


def html_note(sentence: str) -> str:
    """Draw a sentence that explains what is above or below it."""
    return f'<p class="note">{escape(sentence)}</p>'
