"""Filtering a slice table by facets, with counts that follow the other filters, at half a million rows.

Slices of a series are alike in nearly everything that people filter by. So a table is reduced once to *cells*, the
sets of rows that no filter can part, with their facets as small whole numbers; a filter looks at the cells alone and
only its answer is spread over the rows again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import pandas as pd

from core.splits import SPLITS
from core.vocabulary import PLANES, SEQUENCES

#: Facets and what they are called. ``field`` is the field strength, ``rule`` the one that gave the sequence.
FACETS = MappingProxyType({
    "plane": "Plane", "sequence": "Sequence", "vendor": "Vendor", "field": "Field strength", "split": "Split",
    "conflict": "Conflict", "rule": "Rule", "patient": "Patient",
})  # fmt: skip
#: Word of a facet for slices that have none.
NONE = "none"

_COLUMNS = {
    "plane": "plane", "sequence": "sequence", "vendor": "Manufacturer", "split": "split", "rule": "sequence_rule",
    "patient": "PatientID", "series": "SeriesInstanceUID", "description": "SeriesDescription",
}  # fmt: skip
_ORDER = (*PLANES, *SEQUENCES, *SPLITS, "header and text disagree", "no conflict")


@dataclass(frozen=True)
class Choice:
    """What is asked for: any of the words within a facet, and all of the conditions at once.

    Attributes
    ----------
    values : mapping of sequence of str
        Facet to words; a facet without words keeps everything.
    text : str
        Words that all stand in the series description, or begin the patient's pseudonym; case does not matter.
    timing_ms : (float, float, float, float), optional
        Least and greatest RepetitionTime, least and greatest EchoTime, in ms, ends included.
    """

    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    text: str = ""
    timing_ms: tuple[float, float, float, float] | None = None

    def __bool__(self) -> bool:
        return any(self.values.values()) or bool(self.text.split()) or self.timing_ms is not None


@dataclass(frozen=True)
class FacetIndex:
    """A slice table reduced to its cells; made by `build_index`.

    Attributes
    ----------
    cell : ndarray of int, shape (n,)
        Cell of each row.
    size : ndarray of int, shape (cells,)
        Rows in each cell.
    codes : dict of ndarray of int, shape (cells,)
        Each facet's word as its place in `words`; also of ``series`` and ``description``.
    words : dict of list of str
    timing_ms : ndarray of float, shape (cells, 2)
        RepetitionTime and EchoTime, to three significant digits; NaN where there is none.
    """

    cell: np.ndarray
    size: np.ndarray
    codes: dict[str, np.ndarray]
    words: dict[str, list[str]]
    timing_ms: np.ndarray

    def distinct(self, name: str, cells: np.ndarray | slice = slice(None)) -> int:
        """Count the words of a facet, ``series`` or ``description`` among cells."""
        return len(np.unique(self.codes[name][cells]))


@dataclass(frozen=True)
class Answer:
    """What a choice keeps.

    Attributes
    ----------
    rows : ndarray of bool, shape (n,)
    counts : dict of dict of int
        Facet to word to the slices that choosing this word would give, all *other* filters standing.
    slices, series, patients : int
    """

    rows: np.ndarray
    counts: dict[str, dict[str, int]]
    slices: int
    series: int
    patients: int


def build_index(table: pd.DataFrame) -> FacetIndex:
    """Reduce a slice table to its cells; about a second at 500,000 rows, so keep the answer.

    Parameters
    ----------
    table : DataFrame
        With the columns of `core.cohorts.slice_table.COLUMNS` that facets are made of.

    Returns
    -------
    FacetIndex
    """
    columns = {name: table[column] for name, column in _COLUMNS.items()}
    columns["conflict"] = pd.Series(
        np.where(table["conflict"].fillna("") == "", "no conflict", "header and text disagree"), table.index
    )
    columns["field"] = table["MagneticFieldStrength"].round(1).map(lambda tesla: f"{tesla:g} T", na_action="ignore")
    timing = np.column_stack([_rounded(table[column].to_numpy(float)) for column in ("RepetitionTime", "EchoTime")])
    codes, words = {}, {}
    for name, column in columns.items():
        codes[name], words[name] = _coded(column)
    cell = np.zeros(len(table), np.int64)
    times = [pd.factorize(timing[:, axis])[0] + 1 for axis in (0, 1)]
    for part in (*codes.values(), *times):
        # Numbered anew each time, so that the product of many facets does not outgrow 64 bits.
        cell = pd.factorize(cell * (int(part.max(initial=0)) + 1) + part)[0]
    first = np.unique(cell, return_index=True)[1]
    return FacetIndex(
        cell.astype(np.int32),
        np.bincount(cell, minlength=len(first)),
        {name: part[first] for name, part in codes.items()},
        words,
        timing[first],
    )


def _coded(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Number the words of a column, in the order in which people are shown them."""
    codes, found = pd.factorize(column.astype("str").replace("", None).fillna(NONE))
    rank = {word: place for place, word in enumerate(_ORDER)}
    order = sorted(range(len(found)), key=lambda at: (found[at] == NONE, rank.get(found[at], len(rank)), found[at]))
    place = np.empty(len(found), np.int32)
    place[order] = np.arange(len(found))
    return place[codes], [str(found[at]) for at in order]


def _rounded(values: np.ndarray) -> np.ndarray:
    """Round to three significant digits; what is not above 0 is missing.

    Examples
    --------
    >>> _rounded(np.array([2301.4, 0.0, 2.9871])).tolist()
    [2300.0, nan, 2.99]
    """
    values = np.where(values > 0, values, np.nan)
    unit = 10.0 ** (np.floor(np.log10(values)) - 2)
    return np.round(np.round(values / unit) * unit, 6)


def select(index: FacetIndex, choice: Choice) -> Answer:
    """Apply a choice.

    Parameters
    ----------
    index : FacetIndex
    choice : Choice
        Words that the table does not have keep nothing.

    Returns
    -------
    Answer

    Examples
    --------
    >>> from core.cohorts.slice_table import COLUMNS, typed
    >>> rows = [{"PatientID": p, "SeriesInstanceUID": p, "plane": "axial", "sequence": s, "conflict": "", "frame": 0}
    ...         for p, s in (("P-1", "T1"), ("P-1", "T2"), ("P-2", "T2"))]
    >>> counted = {"image_number", "stack", "Rows", "Columns", "file_size", "file_mtime_ns"}
    >>> table = typed([{**row, **dict.fromkeys(counted, 1)} for row in rows], COLUMNS)
    >>> answer = select(build_index(table), Choice({"sequence": ["T2"]}))
    >>> answer.slices, answer.counts["sequence"], answer.counts["patient"]
    (2, {'T1': 1, 'T2': 2}, {'P-1': 1, 'P-2': 1})
    """
    failed = np.zeros(len(index.size), np.int16)
    by_facet = {}
    for name in FACETS:
        if chosen := choice.values.get(name):
            wanted = np.isin(index.words[name], list(chosen))
            by_facet[name] = ~wanted[index.codes[name]]
            failed += by_facet[name]
    if choice.text.split():
        failed += ~_holds(index, choice.text)
    if choice.timing_ms is not None:
        low, high = np.reshape(choice.timing_ms, (2, 2)).T
        # Comparisons with NaN are false: series without times lie in no box.
        failed += ~((index.timing_ms >= low) & (index.timing_ms <= high)).all(axis=1)
    keep = failed == 0
    counts = {}
    for name in FACETS:
        among = failed == by_facet[name] if name in by_facet else keep
        sums = np.bincount(index.codes[name][among], index.size[among], len(index.words[name])).astype(int)
        counts[name] = dict(zip(index.words[name], sums.tolist(), strict=True))
    return Answer(
        keep[index.cell], counts, int(index.size[keep].sum()), index.distinct("series", keep),
        index.distinct("patient", keep),
    )  # fmt: skip


def _holds(index: FacetIndex, text: str) -> np.ndarray:
    """Tell for each cell whether its description or patient has all words of `text`."""
    descriptions = [word.lower() for word in index.words["description"]]
    patients = [word.lower() for word in index.words["patient"]]
    found = np.ones(len(index.size), bool)
    for word in text.lower().split():
        in_description = np.array([word in one for one in descriptions], bool)
        of_patient = np.array([one.startswith(word) for one in patients], bool)
        found &= in_description[index.codes["description"]] | of_patient[index.codes["patient"]]
    return found
