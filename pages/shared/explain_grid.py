"""Which maps the Explain page shows beside each other: one, one a method, one a class, or those of the neighbours."""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from core import runs
from core.explanations.desk import Ask, Failed, Made
from core.explanations.map_desk import maps_desk
from core.explanations.question import METHOD_WORDS, SLOW, Question
from pages.shared.components.slice_viewer import Heat, HeatSet, Panel, Stack, pack_heat
from pages.shared.explain_controls import Choice, is_slow, layers_ask, usual
from pages.shared.series import Series

#: Slices around the reader whose maps are made ahead at most.
_AHEAD = 400
_NO_TRUTH = "No label is known of this slice, so that there is no true class. Choose a class by its name."


@dataclass(frozen=True)
class Column:
    """The maps of one question over some slices of the series.

    Attributes
    ----------
    id : str
    asks : dict of int to Ask or None
        By slice; None where nothing can be asked.
    spread : bool
        Whether it is the spread over passes that is shown.
    named : bool
        Whether the picture's name says already which class it is of.
    """

    id: str
    asks: dict[int, Ask | None]
    spread: bool = False
    named: bool = False

    def says(self, made: Made, question: Question) -> str:
        """Say what a map is of, where its picture does not."""
        if self.spread:
            return ""
        what = "" if self.named else made.target
        if question.against:
            what = f"{what} rather than {question.against}".strip()
        return ": ".join(part for part in (what, "" if made.heat.any() else "nothing speaks for it") if part)


@dataclass(frozen=True)
class Sheet:
    """What is shown.

    Attributes
    ----------
    id : str
        Stands for model, series and choice.
    stack : Stack
    columns : sequence of Column
    panels : sequence of Panel
        Their ``heat`` counts the columns.
    per_row, height_px : int
        As `slice_viewer` takes them.
    asks : sequence of Ask
        All that may be made, each once, those nearest to the reader first.
    unit : str
        What they are, in the plural.
    answer : Ask
        What the model is asked of the slice that is looked at.
    layers : Ask
        What the model's layers are.
    """

    id: str
    stack: Stack
    columns: Sequence[Column]
    panels: Sequence[Panel]
    per_row: int
    height_px: int
    asks: Sequence[Ask]
    unit: str
    answer: Ask
    layers: Ask

    def wanted(self, at: int, everything: bool) -> list[Ask]:
        """Return what is to be made; of slow maps only the first of the slice that is looked at, unless all are."""
        leading = self.of_slice(at)[:1]
        others = [ask for ask in self.asks if everything or not is_slow(ask.question)]
        # With the first map comes what the controls have to offer.
        return [*leading, self.layers, *others]

    def of_slice(self, at: int) -> list[Ask]:
        """Return what is asked of one slice."""
        return list(dict.fromkeys(ask for column in self.columns if (ask := column.asks.get(at))))

    def ready_of(self, at: int) -> list[tuple[str, int]]:
        """Return the maps of one slice that are there."""
        return [
            (column.id, at)
            for column in self.columns
            if (ask := column.asks.get(at)) and isinstance(maps_desk().found(ask), Made)
        ]

    def made(self, column: int, at: int) -> Made | None:
        """Return a map that is there, or None."""
        ask = self.columns[column].asks.get(at)
        found = maps_desk().found(ask) if ask else None
        return found if isinstance(found, Made) else None

    def sets(self, wanted: Collection[Ask]) -> list[HeatSet]:
        """Say which maps there are, and which of the others are `wanted`."""
        return [_set_of(column, wanted) for column in self.columns]

    def heats(self, wants: Iterable[tuple[str, int]]) -> list[Heat]:
        """Pack maps that are there."""
        of = {column.id: at for at, column in enumerate(self.columns)}
        packed = []
        for set_id, at in wants:
            if set_id in of and (made := self.made(of[set_id], at)):
                step = self.stack.places[self.stack.place_of[at]].step
                spread = self.columns[of[set_id]].spread
                packed.append(Heat(set_id, at, _packed(made, spread, self.stack.rows, self.stack.columns, step)))
        return packed


def _set_of(column: Column, wanted: Collection[Ask]) -> HeatSet:
    ready, names, failed = [], {}, {}
    for at, ask in column.asks.items():
        if ask is None:
            failed[str(at)] = _NO_TRUTH
            continue
        found = maps_desk().found(ask)
        if isinstance(found, Made):
            ready.append(at)
            names[str(at)] = column.says(found, ask.question)
        elif isinstance(found, Failed):
            failed[str(at)] = found.why
        elif ask not in wanted:
            failed[str(at)] = "This map is made when you ask for all."
    return HeatSet(column.id, ready, names, failed)


@lru_cache(maxsize=512)
def _packed(made: Made, spread: bool, rows: int, columns: int, step: int) -> bytes:
    # A spread is at most 0.5.
    return pack_heat(made.on_slice(spread) * (2 if spread else 1), (rows, columns), step)


def sheet_of(run: runs.Run, series: Series, choice: Choice, stamp: str) -> Sheet:
    """Return what is shown of a series for a choice."""
    make = {"One map": _one, "Methods": _methods, "Classes": _classes, "Neighbours": _neighbours}[choice.show]
    columns, panels, per_row, height_px, unit = make(run, series, choice, stamp)
    return Sheet(
        id=_id(stamp, series.id, choice), stack=series.stack, columns=columns, panels=panels, per_row=per_row,
        height_px=height_px, unit=unit,
        asks=list(dict.fromkeys(ask for column in columns for ask in column.asks.values() if ask)),
        answer=series.asks(run, stamp, None)[series.at],
        layers=layers_ask(run, choice.question.head, stamp),
    )  # fmt: skip


def _id(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _column(run: runs.Run, series: Series, choice: Choice, stamp: str, at: Sequence[int]) -> Column:
    if not choice.of_truth:
        asks = series.asks(run, stamp, choice.question)
        return Column(_id(stamp, choice.question), {one: asks[one] for one in at})
    truth, classes = series.truth(choice.question.head), run.card()["classes"][choice.question.head]
    of = {word: series.asks(run, stamp, choice.of(word)) for word in {truth[one] for one in at} if word in classes}
    found = {one: of[truth[one]][one] if truth[one] in of else None for one in at}
    return Column(_id(stamp, choice.question, choice.of_truth), found)


def _outwards(series: Series) -> list[int]:
    here = series.at
    return sorted(range(len(series)), key=lambda one: abs(one - here))[:_AHEAD]


def _one(run: runs.Run, series: Series, choice: Choice, stamp: str) -> tuple:
    column = _column(run, series, choice, stamp, _outwards(series))
    columns, panels = [column], [Panel("image", "Image"), Panel("overlay", "Overlay"), Panel("heat", "Map")]
    if choice.question.passes:
        columns.append(replace(column, id=f"{column.id}-spread", spread=True))
        panels.append(Panel("heat", "Spread, 0 to 0.5", heat=1))
    return columns, panels, 0, 360, "maps of this series"


def _methods(run: runs.Run, series: Series, choice: Choice, stamp: str) -> tuple:
    choices = {}
    for name in sorted(METHOD_WORDS, key=lambda name: name in SLOW):
        question = usual(replace(choice.question, method=name), run.card().get("cam_layer"))
        choices[METHOD_WORDS[name]] = replace(choice, question=question)
    return _tiles(run, series, choices, stamp, "methods")


def _classes(run: runs.Run, series: Series, choice: Choice, stamp: str) -> tuple:
    card = run.card()
    choices = {
        name: replace(
            choice, question=usual(replace(choice.question, target=name), card.get("cam_layer")), of_truth=False
        )
        for name in card["classes"][choice.question.head]
    }
    return _tiles(run, series, choices, stamp, "classes", named=True)


def _tiles(
    run: runs.Run, series: Series, choices: dict[str, Choice], stamp: str, unit: str, named: bool = False
) -> tuple:
    columns = [replace(_column(run, series, one, stamp, [series.at]), named=named) for one in choices.values()]
    panels = [Panel("image", "Image"), *(Panel("overlay", name, heat=at) for at, name in enumerate(choices))]
    per_row = 3 if len(panels) <= 6 else 4 if len(panels) <= 8 else 5
    return columns, panels, per_row, 300, unit


def _neighbours(run: runs.Run, series: Series, choice: Choice, stamp: str) -> tuple:
    column = _column(run, series, choice, stamp, _outwards(series))
    names = {-2: "Two before", -1: "One before", 0: "This slice", 1: "One after", 2: "Two after"}
    panels = [Panel("overlay", name, offset=offset) for offset, name in names.items()]
    return [column], panels, len(panels), 300, "maps of this series"
