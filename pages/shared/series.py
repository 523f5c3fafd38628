"""The series that the Explain page scrolls through, wherever it comes from, and what is asked of its slices."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from core import images, runs, studies
from core.batches import label_values
from core.explanations.desk import Ask
from core.explanations.question import Question
from core.sandbox import get_sandbox
from pages.shared import cached, state
from pages.shared.components.slice_viewer import Piece, Stack, one_slice
from pages.shared.stacks import order_words, spacing_of
from pages.shared.subject import Subject, cohort_of, from_cohort, from_study, slices_of


@dataclass(frozen=True, eq=False)
class Series:
    """Slices in the order in which they are scrolled; two of one id are the same.

    Attributes
    ----------
    id : str
        Stands for their pixels.
    stack : Stack
    rows : DataFrame
        One row a slice: path, frame, how it lies, and the header's ``plane`` and ``sequence``.
    files : Path
        What paths are relative to.
    ids : tuple of str, length n
        Each slice's own.
    key : str
        The address's name for a slice of this kind.
    places : sequence, length n
        What the address says for each.
    piece : callable
        Number of a piece to the piece.
    subject : callable
        Place to the slice itself, pixels read.
    """

    id: str
    stack: Stack
    rows: pd.DataFrame
    files: Path
    ids: tuple[str, ...]
    key: str
    places: Sequence
    piece: Callable[[int], Piece]
    subject: Callable[[object], Subject]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Series) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def at(self) -> int:
        """Which slice the address names; the first of the series when it names none of its slices."""
        named = state.get_int(self.key) if self.key == state.ITEM else state.get(self.key)
        return list(self.places).index(named) if named in self.places else 0

    @property
    def order(self) -> str:
        """In which order slices come, in a sentence."""
        return order_words(self.rows) if len(self) > 1 else ""

    def title(self, at: int) -> str:
        """What a slice is called; holds no identity."""
        row = self.rows.iloc[at]
        if self.key == state.ITEM:
            return str(row["shown_path"])
        named = (row["PatientID"], row["SeriesDescription"], f"slice {row['image_number']}")
        return " · ".join(str(word) for word in named if not pd.isna(word))

    def truth(self, head: str) -> list[str | None]:
        """Each slice's label, as its header or a person gave it; None where it is not known."""
        return [None if pd.isna(word) else str(word) for word in label_values(self.rows, head)]

    def asks(self, run: runs.Run, stamp: str, question: Question | None) -> Sequence[Ask]:
        """Return what the desk is asked about each slice."""
        return _asks(self, run.bundle, run.card()["input_shape"][0], stamp, question)

    def model_input(self, at: int, size: int) -> tuple[np.ndarray, images.Geometry]:
        """Read a slice as a model sees it."""
        row = self.rows.iloc[at]
        pixels = get_sandbox().pixels(self.files / row["path"], int(row["frame"]))
        return images.to_model_input(pixels, spacing_of(row), size)


@lru_cache(maxsize=128)
def _asks(series: Series, bundle: Path, size: int, stamp: str, question: Question | None) -> tuple[Ask, ...]:
    return tuple(
        Ask(bundle, stamp, question, one, partial(series.model_input, at, size)) for at, one in enumerate(series.ids)
    )


def in_cohort(name: str | None, key: str) -> Series:
    """Return the series that a cohort's slice belongs to; raises as `cohort_of`."""
    made = cohort_of(name, key)
    uid = made.table.at[key, "SeriesInstanceUID"]
    rows = cached.series_rows(made, uid)
    stack = cached.stack(made, uid)
    return Series(
        id=f"{name}/{stack.id}", stack=stack, rows=rows, files=made.root,
        ids=tuple(f"{name}/{one}/{stamp}" for one, stamp in zip(rows.index, rows["file_mtime_ns"], strict=True)),
        key=state.SLICE, places=tuple(rows.index), piece=partial(cached.piece, made, uid),
        subject=partial(from_cohort, name),
    )  # fmt: skip


def in_study(study: studies.Study, item: int) -> Series:
    """Return the series that a slice of a dropped study belongs to, by its row; raises as `slices_of`."""
    slices = slices_of(study, item)
    uid = slices.iloc[item]["SeriesInstanceUID"]
    stack, rows = cached.study_stack(study, uid)
    piece = partial(cached.study_piece, study, uid)
    if stack is None:
        it = from_study(study, item)
        stack, only = one_slice(it.pixels, it.place)
        rows, piece = slices.iloc[[item]], lambda number: only
    return Series(
        id=f"{study.id}/{stack.id}", stack=stack,
        rows=rows.assign(plane=rows["header_plane"], sequence=rows["header_sequence"]), files=study.files,
        ids=tuple(f"{study.id}/{one}" for one in rows.index), key=state.ITEM, places=tuple(map(int, rows.index)),
        piece=piece, subject=partial(from_study, study),
    )  # fmt: skip
