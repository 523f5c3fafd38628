"""Mistakes along the head are counted where they are."""

import numpy as np
import pandas as pd
import pytest

from core.analysis import positions, stress_figures


def table(n=20, series=("1", "2", "3"), plane="axial"):
    rows = [
        {"SOPInstanceUID": f"{uid}.{at}", "frame": 0, "SeriesInstanceUID": uid, "stack": 1, "image_number": at + 1,
         "plane": plane, "PatientID": f"P{uid}"}
        for uid in series for at in range(n)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def predictions(made, wrong):
    """T1 everywhere; `wrong` says of an image number whether it is taken for T2."""
    y_pred = ["T2" if wrong(number) else "T1" for number in made["image_number"]]
    return made[["SOPInstanceUID", "frame", "PatientID"]].assign(
        split="test", head="sequence", y_true=pd.array(["T1"] * len(made), dtype="str"), y_pred=y_pred
    )


def test_mistakes_stand_in_the_bin_where_they_are():
    made = table()
    placed = positions.place(predictions(made, lambda number: number == 1), made)
    bins = positions.by_bin(placed)
    assert len(bins) == positions.BINS and (bins["slices"] == 3).all()
    assert bins.set_index("bin")["accuracy"].to_dict() == {0: 0.0, **dict.fromkeys(range(1, 20), 1.0)}
    found = positions.pairs(placed)
    assert found[found["y_pred"] == "T2"][["bin", "slices"]].to_numpy().tolist() == [[0, 3]]
    assert positions.sentence(bins, "axial").startswith("axial: 75 % right in the fifth of the stack towards the feet")
    assert len(stress_figures.position_pairs(found).data) == 1
    assert stress_figures.position_pairs(found[found["y_pred"] == "T1"]) is None


def test_interval_is_over_patients_and_missing_with_one():
    made = table()
    given = predictions(made, lambda number: False)
    # One patient of three is wrong in the middle.
    given.loc[(made["PatientID"] == "P1") & (made["image_number"] == 10), "y_pred"] = "T2"
    bins = positions.by_bin(positions.place(given, made)).set_index("bin")
    assert bins.loc[9, "accuracy"] == pytest.approx(2 / 3)
    assert bins.loc[9, "low"] == 0 and bins.loc[9, "high"] == 1
    alone = positions.by_bin(positions.place(given[made["PatientID"] == "P1"], made))
    assert alone["low"].isna().all() and len(stress_figures.position_curves(alone).data) == 2


def test_short_stacks_unknown_truth_and_unknown_planes_are_left_out():
    short = table(n=4)
    assert positions.place(predictions(short, lambda number: False), short).empty
    made = table()
    unknown = predictions(made, lambda number: False)
    unknown["y_true"] = pd.array([None] * len(made), dtype="str")
    empty = positions.place(unknown, made)
    assert empty.empty and positions.by_bin(empty).empty and positions.pairs(empty).empty
    no_plane = made.assign(plane=pd.array([None] * len(made), dtype="str"))
    assert positions.place(predictions(made, lambda number: False), no_plane).empty


def test_two_stacks_of_a_series_are_two_stacks():
    made = pd.concat([table(10, ("1",)), table(10, ("1",)).assign(stack=2, image_number=np.arange(11, 21))])
    made["SOPInstanceUID"] = [f"u{at}" for at in range(20)]
    np.testing.assert_allclose(positions.position(made), np.tile((np.arange(10) + 0.5) / 10, 2))
