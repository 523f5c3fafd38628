"""Series → stacks: what one series holds of each position, told apart, and what a stack lacks.

A series may hold each position several times: echoes, inversions, b-values, magnitude and phase, the volumes of a run.
Scrolled as one pile its pictures would flicker; each stack holds a position once.
"""

import numpy as np
import pandas as pd

#: What tells the pictures of one position apart, in order of precedence.
_TELLING = ("EchoTime", "InversionTime", "DiffusionBValue", "ImageType")
#: Slices from which on a stack has a step to compare with.
_FEWEST = 5


def number_stacks(table: pd.DataFrame) -> pd.DataFrame:
    """Part each series into stacks.

    Parameters
    ----------
    table : DataFrame
        Slice-table rows, n of them.

    Returns
    -------
    DataFrame
        n rows with the index of `table`. ``image_number`` (from 1) orders a series by geometry, pictures of one
        position by InstanceNumber, frame and path; without geometry these alone count. ``stack`` (from 1) parts a
        series by plane; where positions repeat, by whichever of echo time, inversion time, b-value and ImageType
        differs there; and what is left by repetition. ``stack_note`` says what sets a stack apart from the others
        of its series and how many slices it lacks, or is ``""``.

    Examples
    --------
    >>> table = pd.DataFrame({"SeriesInstanceUID": "1.2", "plane": "axial", "position_mm": [0.0, 5, 0, 5],
    ...     "EchoTime": [20.0, 20, 98, 98], "InversionTime": np.nan, "DiffusionBValue": np.nan, "ImageType": "M",
    ...     "InstanceNumber": [1, 3, 2, 4], "frame": 0, "path": ["a", "b", "c", "d"]})
    >>> number_stacks(table).values.tolist()
    [[1, 1, 'EchoTime 20'], [3, 1, 'EchoTime 20'], [2, 2, 'EchoTime 98'], [4, 2, 'EchoTime 98']]
    """
    order = table[["SeriesInstanceUID", "plane", *_TELLING, "InstanceNumber", "frame", "path"]].assign(
        plane=table["plane"].fillna(""), place=table["position_mm"].round(2)
    )
    # A localizer's series holds three planes; a run holds each position many times.
    order = order.sort_values(["SeriesInstanceUID", "plane", "place", "InstanceNumber", "frame", "path"], kind="stable")
    series = order["SeriesInstanceUID"]
    place = [series, order["plane"], order["place"]]
    for keyword in _TELLING:
        # What never differs at one position may still drift from slice to slice; that parts nothing.
        differs = order.groupby(place)[keyword].transform("nunique") > 1
        order[keyword] = order[keyword].where(differs.groupby(series).transform("any"))
    kind = [series, order["plane"], *(order[keyword] for keyword in _TELLING)]
    order["repetition"] = (
        order.groupby([*kind, order["place"]], dropna=False).cumcount().where(order["place"].notna(), 0)
    )
    number = order.groupby([*kind, order["repetition"]], dropna=False).ngroup()
    order["stack"] = number - number.groupby(series).transform("min") + 1
    answer = pd.DataFrame({
        "image_number": order.groupby("SeriesInstanceUID").cumcount() + 1,
        "stack": order["stack"],
        "stack_note": _notes(order, kind),
    })  # fmt: skip
    return answer.reindex(table.index).astype({"image_number": "int64", "stack": "int64", "stack_note": "str"})


def _notes(order: pd.DataFrame, kind: list[pd.Series]) -> pd.Series:
    """Say once a stack what it is and what it lacks."""
    first = ~order.duplicated(["SeriesInstanceUID", "stack"])
    stacks = order[first].set_index(["SeriesInstanceUID", "stack"])
    counts = order.groupby(["SeriesInstanceUID", "stack"]).size()
    repeated = order.groupby(kind, dropna=False)["repetition"].transform("max")[first].to_numpy() > 0
    whole = counts.groupby([stacks[name] for name in ("plane", *_TELLING)] + [stacks.index.get_level_values(0)],
                           dropna=False).transform("max")  # fmt: skip
    missing = _missing(order)
    notes = {}
    for row, again, n, most, gone in zip(stacks.itertuples(), repeated, counts[stacks.index], whole[stacks.index],
                                         missing.reindex(stacks.index), strict=True):  # fmt: skip
        parts = [f"{keyword} {value:g}" if isinstance(value, float) else f"{keyword} {value}"
                 for keyword in _TELLING if pd.notna(value := getattr(row, keyword))]  # fmt: skip
        if again:
            parts.append(f"repetition {row.repetition + 1}" + (f", {n} of {most} positions" if n < most else ""))
        if gone:
            parts.append(f"{gone:g} of {n + gone:g} slices missing")
        notes[row.Index] = ", ".join(parts)
    keys = pd.MultiIndex.from_frame(order[["SeriesInstanceUID", "stack"]])
    return pd.Series(pd.Series(notes).reindex(keys).to_numpy(), index=order.index) if notes else pd.Series(dtype="str")


def _missing(order: pd.DataFrame) -> pd.Series:
    """Count the slices that each stack lacks between its first and last; only where its other steps are even."""
    stacks = order.sort_values(["SeriesInstanceUID", "stack", "place"], kind="stable")
    stacks = stacks.groupby(["SeriesInstanceUID", "stack"])["place"]
    steps = stacks.diff()
    keys = [order["SeriesInstanceUID"], order["stack"]]
    usual = steps.groupby(keys).transform("median")
    times = (steps / usual.where(usual > 0)).round(1)
    even = (times == 1).groupby(keys).sum() >= np.maximum(_FEWEST - 1, 0.6 * (stacks.size() - 1))
    lost = (times.round() - 1).where((times - times.round()).abs() <= 0.1).clip(lower=0).groupby(keys).sum()
    return lost.where(even, 0).astype("int64")
