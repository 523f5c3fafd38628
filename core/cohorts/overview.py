"""A cohort at a glance: how much there is, of what, from which scanners, and what is missing."""

from dataclasses import dataclass

import pandas as pd

from core.cohorts.facets import FacetIndex
from core.cohorts.slice_table import Cohort
from core.vocabulary import CLASSIC_SEQUENCES, PLANES, SEQUENCES

_UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Overview:
    """What `look_over` counted.

    Attributes
    ----------
    patients, studies, series, slices, rejected, conflicts : int
        Conflicts are series with a slice whose witnesses disagree.
    bytes : int
        Size on disk of the files that gave slices.
    planes : DataFrame of int
        Slices by plane (rows) and sequence (columns); ``none`` where there is no label. No row or column is empty.
    vendors, fields : Series of int
        Series by vendor and by field strength, most first.
    timings : DataFrame
        Series by repetition_time_ms, echo_time_ms (three significant digits) and sequence: one row a place, ``n``.
    absent : list of str
        Sequences of the vocabulary without a slice.
    absent_pairs : list of (str, str)
        Plane and sequence, among those sequences of the classic four that there are, without a slice.
    rejected_by_reason : DataFrame
        reason, files, example (a path as it may be shown); most first.
    """

    patients: int
    studies: int
    series: int
    slices: int
    rejected: int
    conflicts: int
    bytes: int
    planes: pd.DataFrame
    vendors: pd.Series
    fields: pd.Series
    timings: pd.DataFrame
    absent: list[str]
    absent_pairs: list[tuple[str, str]]
    rejected_by_reason: pd.DataFrame


def look_over(cohort: Cohort, index: FacetIndex) -> Overview:
    """Count what a cohort holds.

    Parameters
    ----------
    cohort : Cohort
    index : FacetIndex
        Of its table, from `core.cohorts.facets.build_index`.

    Returns
    -------
    Overview
    """
    cells = _cells(index)
    planes = cells.pivot_table("slices", "plane", "sequence", "sum", fill_value=0, observed=True).astype(int)
    classic = [name for name in CLASSIC_SEQUENCES if name in planes]
    return Overview(
        patients=index.distinct("patient"),
        studies=cohort.table["StudyInstanceUID"].nunique(),
        series=index.distinct("series"),
        slices=len(cohort.table),
        rejected=len(cohort.rejected),
        conflicts=cells.loc[cells["conflict"] != "no conflict", "series"].nunique(),
        bytes=int(cohort.table.drop_duplicates("path")["file_size"].sum()),
        planes=planes,
        vendors=cells.groupby("vendor", observed=True)["series"].nunique().sort_values(ascending=False),
        fields=cells.groupby("field", observed=True)["series"].nunique().sort_values(ascending=False),
        timings=cells.dropna().groupby(["repetition_time_ms", "echo_time_ms", "sequence"], observed=True)["series"]
        .nunique().reset_index(name="n"),
        absent=[name for name in SEQUENCES if name not in planes],
        absent_pairs=[
            (plane, name)
            for name in classic
            for plane in PLANES
            if plane not in planes.index or not planes.at[plane, name]
        ],
        rejected_by_reason=_by_reason(cohort.rejected),
    )  # fmt: skip


def size_in_words(n_bytes: int) -> str:
    """Say a size on disk.

    Examples
    --------
    >>> [size_in_words(n) for n in (900, 24_500_000, 3_200_000_000)]
    ['900 B', '24.5 MB', '3.2 GB']
    """
    step = max((number for number in range(len(_UNITS)) if n_bytes >= 1000**number), default=0)
    return f"{n_bytes / 1000**step:.3g} {_UNITS[step]}"


def _cells(index: FacetIndex) -> pd.DataFrame:
    names = ("plane", "sequence", "vendor", "field", "conflict")
    cells = pd.DataFrame({name: pd.Categorical.from_codes(index.codes[name], index.words[name]) for name in names})
    return cells.assign(
        series=index.codes["series"], slices=index.size, repetition_time_ms=index.timing_ms[:, 0],
        echo_time_ms=index.timing_ms[:, 1],
    )  # fmt: skip


def _by_reason(rejected: pd.DataFrame) -> pd.DataFrame:
    grouped = rejected.groupby("reason", sort=False)["shown_path"]
    answer = pd.DataFrame({"files": grouped.size(), "example": grouped.first()}).reset_index()
    return answer.sort_values("files", ascending=False, kind="stable", ignore_index=True)
