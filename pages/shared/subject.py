"""The slice that the Explain page looks at, wherever it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core import studies
from core.cohorts.slice_table import Cohort
from core.errors import InputError
from pages.shared import cached, widgets
from pages.shared.components.slice_viewer import Place
from pages.shared.stacks import aspect_of, place_of, spacing_of


@dataclass(frozen=True)
class Subject:
    """One slice with what is known of it.

    Parameters
    ----------
    id : str
        What caches are keyed by.
    title : str
        What it is called on the page; holds no identity.
    pixels : ndarray of float32, shape (rows, columns)
    spacing_mm : tuple of float or None
        Between rows, between columns.
    aspect : float
        A pixel's width over its height.
    place : Place
        How the slice lies.
    labels : mapping
        Header's word for ``plane`` and ``sequence``, or None.
    """

    id: str
    title: str
    pixels: np.ndarray
    spacing_mm: tuple[float, float] | None
    aspect: float
    place: Place
    labels: Mapping[str, str | None]


def cohort_of(name: str | None, key: str) -> Cohort:
    """Return a cohort that has a slice.

    Raises
    ------
    InputError
        The cohort has no such slice.
    """
    made = cached.open_cohort(name) if name else None
    if made is None or key not in made.table.index:
        raise InputError(f"Cohort {name!r} has no slice {key!r}. Choose the cohort that it belongs to in the sidebar.")
    return made


def slices_of(study: studies.Study, item: int) -> pd.DataFrame:
    """Return the slices of a dropped study that has one at row `item`.

    Raises
    ------
    InputError
        It has not.
    """
    slices = cached.study_tables(study)[0]
    if not 0 <= item < len(slices):
        raise InputError(f"This study has {len(slices)} slices; received number {item}.")
    return slices


def from_cohort(name: str | None, key: str) -> Subject:
    """Return a cohort's slice; raises as `cohort_of`."""
    made = cohort_of(name, key)
    row = made.table.loc[key]
    title = f"{row['PatientID']} · {widgets.show(row['SeriesDescription'])} · slice {row['image_number']}"
    return _subject(f"{name}/{key}", title, cached.cohort_pixels(made, key), row, dict(row[["plane", "sequence"]]))


def from_study(study: studies.Study, item: int) -> Subject:
    """Return a slice of a dropped study, by its row; raises as `slices_of`."""
    row = slices_of(study, item).iloc[item]
    labels = {"plane": row["header_plane"], "sequence": row["header_sequence"]}
    return _subject(f"{study.id}/{item}", row["shown_path"], cached.study_pixels(study, item), row, labels)


def _subject(subject_id: str, title: str, pixels: np.ndarray, row, labels: dict) -> Subject:
    return Subject(
        id=subject_id,
        title=title,
        pixels=pixels,
        spacing_mm=spacing_of(row),
        aspect=aspect_of(row),
        place=place_of(row, pixels.shape),
        labels=labels,
    )
