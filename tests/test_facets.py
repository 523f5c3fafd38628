"""Facets against the plain way with pandas, on random tables; the overview; and the figures of both."""

import numpy as np
import pandas as pd
import pytest

from core.cohorts import cohort_figures
from core.cohorts.facets import FACETS, NONE, Choice, build_index, select
from core.cohorts.overview import look_over, size_in_words
from core.cohorts.slice_table import COLUMNS, REJECTED_COLUMNS, Cohort, typed

COLUMN_OF = {"plane": "plane", "sequence": "sequence", "vendor": "Manufacturer", "split": "split",
             "rule": "sequence_rule", "patient": "PatientID"}  # fmt: skip


def table_of(n: int = 400, seed: int = 0) -> pd.DataFrame:
    """A table with what real ones have: missing labels, empty rules, times of 0, several descriptions."""
    rng = np.random.default_rng(seed)
    rows = {
        "PatientID": rng.choice(["P-a1", "P-a2", "P-b1"], n), "Manufacturer": rng.choice(["GE", "SIEMENS", None], n),
        "SeriesInstanceUID": rng.choice([f"1.{number}" for number in range(20)], n),
        "SeriesDescription": rng.choice(["AX T1 POST", "ax t1", "SAG T2", None], n),
        "plane": rng.choice(["axial", "sagittal", None], n), "sequence": rng.choice(["T2", "T1", None], n),
        "sequence_rule": rng.choice(["", "text_t1"], n), "split": rng.choice(["train", "test"], n),
        "conflict": rng.choice(["", "they disagree"], n), "MagneticFieldStrength": rng.choice([1.5, 2.89, np.nan], n),
        "RepetitionTime": rng.choice([500, 2300.4, 0, np.nan], n), "EchoTime": rng.choice([2.98, 90.0], n),
        "StudyInstanceUID": "1", "SOPInstanceUID": [f"1.2.{number}" for number in range(n)],
        "path": [f"{number}.dcm" for number in range(n)], "file_size": 1000,
    }  # fmt: skip
    counted = {column: 0 for column, dtype in COLUMNS.items() if dtype == "int64" and column not in rows}
    return typed(pd.DataFrame({**rows, **counted}, index=range(n)), COLUMNS)


def cohort_of(table: pd.DataFrame, reasons: tuple[str, ...] = ()) -> Cohort:
    rejected = [
        {"path": f"{SECRET}/{i}", "shown_path": f"P-a1/{i}", "reason": reason} for i, reason in enumerate(reasons)
    ]
    rejected = pd.DataFrame(rejected, columns=list(REJECTED_COLUMNS)).fillna(0)
    return Cohort("c", None, None, "folder", table, typed(rejected, REJECTED_COLUMNS), "")


SECRET = "Lovelace"

CHOICES = [
    Choice(),
    Choice({"plane": ["axial"]}),
    Choice({"plane": ["axial", NONE], "sequence": ["T1"], "patient": ["P-a1", "P-b1"]}),
    Choice({"vendor": ["GE"], "split": ["test"]}, "T1 post"),
    Choice({"rule": [NONE]}, "p-a"),
    Choice({}, "", (500, 2300, 2, 3)),
    Choice({"sequence": ["T2"]}, "sag", (500, 500, 2.98, 90)),
]


def plainly(table: pd.DataFrame, choice: Choice, without: str = "") -> pd.Series:
    """Rows that a choice keeps, one filter forgotten, by comparing the table's own words."""
    keep = pd.Series(True, table.index)
    for name, words in choice.values.items():
        if words and name != without:
            keep &= table[COLUMN_OF[name]].replace("", None).fillna(NONE).isin(words)
    for word in choice.text.lower().split():
        described = table["SeriesDescription"].fillna(NONE).str.lower().str.contains(word, regex=False)
        keep &= described | table["PatientID"].str.lower().str.startswith(word)
    if choice.timing_ms:
        a, b, c, d = choice.timing_ms
        keep &= table["RepetitionTime"].between(a - 1, b + 1) & table["EchoTime"].between(c, d)
    return keep


@pytest.mark.parametrize("choice", CHOICES)
def test_rows_and_counts_are_those_of_the_plain_way(choice):
    table = table_of()
    answer = select(build_index(table), choice)
    expected = plainly(table, choice)
    np.testing.assert_array_equal(answer.rows, expected)
    assert answer.slices == expected.sum()
    assert answer.series == table.loc[expected, "SeriesInstanceUID"].nunique()
    assert answer.patients == table.loc[expected, "PatientID"].nunique()
    for name, column in COLUMN_OF.items():
        others = table.loc[plainly(table, choice, without=name), column].replace("", None).fillna(NONE)
        assert {word: n for word, n in answer.counts[name].items() if n} == others.value_counts().to_dict()


def test_words_stand_in_the_order_of_the_vocabulary_and_none_last():
    counts = select(build_index(table_of()), Choice()).counts
    assert list(counts) == list(FACETS)
    assert list(counts["sequence"]) == ["T1", "T2", NONE]
    assert list(counts["split"]) == ["train", "test"]
    assert list(counts["field"]) == ["1.5 T", "2.9 T", NONE]


def test_unknown_words_keep_nothing_and_empty_tables_are_no_trouble():
    assert select(build_index(table_of()), Choice({"plane": ["oblique"]})).slices == 0
    nothing = build_index(table_of(0))
    assert select(nothing, Choice({"plane": ["axial"]}, "t1", (1, 2, 3, 4))).slices == 0
    overview = look_over(cohort_of(table_of(0)), nothing)
    assert (overview.slices, overview.bytes, len(overview.timings)) == (0, 0, 0)


def test_choice_says_whether_it_asks_for_anything():
    assert not Choice({"plane": []}, "  ")
    assert Choice({"plane": ["axial"]}) and Choice({}, "t1") and Choice({}, "", (1, 2, 3, 4))


def test_overview_counts_and_names_what_is_missing():
    table = table_of()
    overview = look_over(cohort_of(table, ("no image", "cut off", "no image")), build_index(table))
    assert (overview.patients, overview.series, overview.slices, overview.rejected) == (3, 20, 400, 3)
    assert overview.bytes == 400_000 and size_in_words(overview.bytes) == "400 kB"
    assert overview.planes.to_numpy().sum() == 400
    both = (table["plane"] == "axial") & (table["sequence"] == "T1")
    assert overview.planes.at["axial", "T1"] == both.sum()
    assert "FLAIR" in overview.absent and "T1" not in overview.absent
    assert overview.absent_pairs == [("coronal", "T1"), ("coronal", "T2")]
    assert overview.rejected_by_reason.values.tolist() == [["no image", 2, "P-a1/0"], ["cut off", 1, "P-a1/1"]]
    assert SECRET not in overview.rejected_by_reason.to_string()
    assert set(overview.timings["repetition_time_ms"]) == {500, 2300}


def test_figures_say_what_a_click_stands_for():
    table = table_of()
    overview = look_over(cohort_of(table), build_index(table))
    bars = cohort_figures.plane_bars(overview.planes)
    assert [list(pair) for pair in bars.data[0].customdata] == [["axial", name] for name in overview.planes]
    assert sum(sum(trace.x) for trace in bars.data) == 400
    assert cohort_figures.count_bars(overview.vendors).data[0].customdata[0][0] == overview.vendors.index[0]
    scatter = cohort_figures.timing_scatter(overview.timings)
    assert all(isinstance(trace.customdata, tuple) for trace in (*bars.data, *scatter.data))
    assert {trace.name for trace in scatter.data} == {"T1", "T2", NONE}
    assert scatter.layout.xaxis.type == scatter.layout.yaxis.type == "log"
    assert sum(point[2] for trace in scatter.data for point in trace.customdata) == overview.timings["n"].sum()
