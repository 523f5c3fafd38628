"""Maps of many slices: averaged at the same place of each head, counted, resumed, and said in words."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from test_head_frame import a_head
from test_pages import no_tensorflow, open_page, words

from core import cohort, runs
from core.analysis import analyses
from core.config import RunConfig
from core.errors import InputError, RunError
from core.explanations import cohort_maps, heat_figures, in_process
from core.explanations.cohort_maps import ANY
from core.explanations.head_frame import BOX, GRID
from core.explanations.question import Maps, Question
from core.settings import get_settings

__all__ = ["no_tensorflow"]

CLASSES = ["T1", "T2"]
QUESTION = Question("sequence")
SIZE, PATIENTS, SLICES = 64, 4, 6
#: How each patient's slices are stored: as the frame has them, mirrored, upside down, and turned.
WAYS = {
    (1, 0, 0, 0, 1, 0): lambda slice_: slice_,
    (-1, 0, 0, 0, 1, 0): lambda slice_: slice_[:, ::-1],
    (1, 0, 0, 0, -1, 0): lambda slice_: slice_[::-1],
    (0, 1, 0, 1, 0, 0): lambda slice_: slice_.T,
}
#: The slice that carries print, and where its model looks.
PRINTED = "1.2.0.0.0:0"


class Spot:
    """A model that looks at the bright spot of each head, which is front and right; or at what is printed."""

    def __init__(self):
        self.asked = []

    def __call__(self, bundle, images, question):
        self.asked.append((question.target, len(images)))
        heat = (images > 0.97).astype(np.float32)
        printed = images[:, 2:5, 2:8].min(axis=(1, 2)) > 0.9
        heat[printed, 9:] = 0
        return Maps(heat, (question.target,) * len(images), "last", ("last",))


@pytest.fixture(scope="module")
def looked(tmp_path_factory, make_dataset):
    """A workspace of its own, with a run over heads that are stored in four ways; one of 24 answers is wrong."""
    folder = tmp_path_factory.mktemp("workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLICESCOPE_WORKSPACE", str(folder))
        get_settings.cache_clear()
        for patient, number in np.ndindex(PATIENTS, SLICES):
            orientation, stored = list(WAYS.items())[patient]
            t2 = number % 2
            pixels = stored(np.clip(a_head(SIZE, SIZE), 0, 1)).copy()
            if (patient, number) == (0, 0):
                pixels[4:10, 4:14] = 1
            path = folder / "raw" / f"Lovelace-{patient}" / f"{number}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            make_dataset(
                np.round(1000 * pixels).astype("<u2"), PatientID=f"Lovelace-{patient}",
                SeriesInstanceUID=f"1.2.{patient}.{t2}", SOPInstanceUID=f"1.2.{patient}.{t2}.{number}",
                StudyInstanceUID=f"1.2.{patient}", InstanceNumber=number, ImageOrientationPatient=list(orientation),
                ImagePositionPatient=[0, 0, 5 * number],
            ).save_as(path, enforce_file_format=True)  # fmt: skip
        made = cohort.write(cohort.scan(folder / "raw", "made"))
        run = runs.create_run(RunConfig("looked", "transfer", "made"), "looked", state="done")
        table = made.table
        true = np.where(table["SeriesInstanceUID"].str.endswith(".1"), "T2", "T1")
        answered = np.where(table["SOPInstanceUID"] == "1.2.3.1.5", "T1", true)
        columns = ["path", "frame", "SOPInstanceUID", "SeriesInstanceUID", "PatientID"]
        table[columns].assign(
            split="test",
            cohort="made",
            head="sequence",
            y_true=true,
            y_pred=answered,
            y_proba=[[0.5, 0.5]] * len(table),
        ).to_parquet(run.folder / "predictions.parquet")
        run.bundle.mkdir()
        card = {"name": "looked", "kind": "transfer", "classes": {"sequence": CLASSES}, "input_shape": [SIZE, SIZE, 1],
                "sha256": "0"}  # fmt: skip
        (run.bundle / "card.json").write_text(json.dumps(card))
        yield run
    get_settings.cache_clear()


@pytest.fixture
def run(looked, monkeypatch):
    """The run, without maps."""
    monkeypatch.setenv("SLICESCOPE_WORKSPACE", str(looked.folder.parent.parent))
    get_settings.cache_clear()
    for path in looked.folder.glob("analyses/maps-*"):
        path.unlink()
    yield looked
    get_settings.cache_clear()


def kept(run, ending: str):
    path = analyses.folder(run) / cohort_maps.name_of(QUESTION, ending)
    return np.load(path) if ending.endswith("npy") else pd.read_parquet(path)


def test_heat_at_one_place_of_each_head_is_at_that_place_of_the_mean(run, monkeypatch):
    monkeypatch.setattr(in_process, "explain_local", Spot())
    found = cohort_maps.work(run, QUESTION, 12)
    cells, means = kept(run, "-cells.parquet"), kept(run, "-means.npy").astype(float)
    assert len(found) == PATIENTS * SLICES and means.shape == (len(cells), 2, GRID, GRID)
    at = cells.index[(cells["y_pred"] == "T2") & (cells["decisions"] == "all")].item()
    heat = means[at, 0]
    # Stored in four ways the spot has lain in three corners; in the frame it lies in one, at full heat.
    assert np.nanmax(heat) > 0.9
    row, column = np.unravel_index(np.nanargmax(heat), heat.shape)
    share = (row + 0.5 - GRID / 2) / BOX["axial"][0], (column + 0.5 - GRID / 2) / BOX["axial"][1]
    # The spot's middle in the phantom head, whose middle is at 0.52 and 0.5 and whose sizes are 0.84 and 0.72.
    assert share == pytest.approx(((0.3 - 0.52) / 0.84, (0.38 - 0.5) / 0.72), abs=0.06)
    assert heat_figures.whereabouts(heat, "axial") == "front, right side"
    assert cells.loc[at, ["slices", "patients"]].tolist() == [11, 4]


def test_print_outside_the_head_comes_first_among_strays(run, monkeypatch):
    monkeypatch.setattr(in_process, "explain_local", Spot())
    found = cohort_maps.work(run, QUESTION, 12)
    first = cohort_maps.strays(found).iloc[0]
    assert (first["key"], first["outside"]) == (PRINTED, pytest.approx(1.0))
    assert found.loc[found["key"] != PRINTED, "outside"].max() < 0.05
    assert kept(run, "-strays.npy").shape == (cohort_maps.STRAYS, SIZE, SIZE, 3)
    assert 0.3 < found["air"].mean() < 0.7


def test_every_map_is_of_what_the_run_answered(run, monkeypatch):
    spot = Spot()
    monkeypatch.setattr(in_process, "explain_local", spot)
    found = cohort_maps.work(run, QUESTION, 12)
    for name in CLASSES:
        assert sum(n for target, n in spot.asked if target == name) == (found["y_pred"] == name).sum()
    assert (found["y_true"] != found["y_pred"]).sum() == 1 == (~found["right"]).sum()


def test_the_same_slices_are_chosen_each_time_and_spread_over_patients(run, monkeypatch):
    monkeypatch.setattr(in_process, "explain_local", Spot())
    once, twice = (cohort_maps.work(run, QUESTION, 4) for _ in range(2))
    pd.testing.assert_frame_equal(once, twice)
    assert len(once) == 8 and once.groupby("y_true")["PatientID"].nunique().tolist() == [4, 4]
    status = cohort_maps.status(run, QUESTION)
    assert (status["state"], status["slices"], status["sha256"]) == ("done", 8, "0")
    assert cohort_maps.estimate_s(run, QUESTION, 12) == pytest.approx(3 * status["seconds"], abs=0.01)


def test_an_interrupted_work_goes_on_where_it_was(run, monkeypatch):
    spot = Spot()
    monkeypatch.setattr(cohort_maps, "_PIECE", 5)
    monkeypatch.setattr(in_process, "explain_local", spot)
    whole = cohort_maps.work(run, QUESTION, 12)
    means = kept(run, "-means.npy")
    n = len(spot.asked)

    def ends_at_the_third(bundle, images, question):
        if len(spot.asked) == n + 2:
            raise RunError("Enough.")
        return spot(bundle, images, question)

    monkeypatch.setattr(in_process, "explain_local", ends_at_the_third)
    with pytest.raises(RunError, match="Enough"):
        cohort_maps.work(run, QUESTION, 12)
    assert cohort_maps.status(run, QUESTION)["state"] == "failed"
    monkeypatch.setattr(in_process, "explain_local", spot)
    again = cohort_maps.work(run, QUESTION, 12)
    assert len(spot.asked) == 2 * n, "no piece was asked for twice"
    pd.testing.assert_frame_equal(again, whole)
    np.testing.assert_array_equal(kept(run, "-means.npy"), means)
    assert not list(analyses.folder(run).glob("*part*"))


def test_what_cannot_be_mapped_is_said(run, monkeypatch):
    with pytest.raises(InputError, match="At least one slice"):
        cohort_maps.work(run, QUESTION, 0)
    with pytest.raises(InputError, match="no maps of"):
        cohort_maps.status(run, Question("../../etc"))
    made = cohort.read("made")
    made.table["plane"] = None
    with pytest.raises(RunError, match="no frame"):
        cohort_maps.chosen(run.predictions(), made, "sequence", 3, 0)
    monkeypatch.setattr(sys, "argv", ["cohort_maps", "no-such-run", "plane", "grad_cam", "3", "0"])
    assert cohort_maps.main() == 2


# Means, figures and words ---------------------------------------------------------------------------------


def some(wrong: int, n: int = 12) -> tuple[pd.DataFrame, np.ndarray]:
    """Sagittal slices with heat in front when right, behind when wrong; the last map has no heat."""
    found = pd.DataFrame({
        "key": [f"{i}:0" for i in range(n)], "PatientID": [f"P{i % 3}" for i in range(n)], "plane": "sagittal",
        "y_true": "T1", "y_pred": "T1", "right": np.arange(n) >= wrong, "outside": 0.25, "air": 0.5,
    })  # fmt: skip
    found.loc[n - 1, "outside"] = np.nan
    framed = np.zeros((n, 2, GRID, GRID), np.float32)
    framed[:wrong, 0, 45:51, 70:75] = 1
    framed[wrong:-1, 0, 45:51, 20:25] = 1
    framed[:, 1] = 0.5
    framed[: n // 2, 1, :4] = np.nan
    framed[:-2, 1, -4:] = np.nan
    return found, framed


def test_means_are_of_right_and_wrong_apart_and_of_what_is_there():
    found, framed = some(wrong=4)
    cells, means = cohort_maps.averaged(found, framed)
    assert cells[["y_pred", "decisions", "slices"]].to_numpy().tolist() == [
        [name, *rest] for name in (ANY, "T1") for rest in (["all", 11], ["right", 7], ["wrong", 4])
    ]
    assert means[3, 0, 47, 72] == pytest.approx(4 / 11) and means[4, 0, 47, 72] == 0 and means[5, 0, 47, 72] == 1
    # What half of the slices reach counts; what two of eleven reach does not.
    assert means[3, 1, 0, 0] == 0.5 and np.isnan(means[3, 1, -1, 0])


def test_figures_show_every_cell_and_compare_only_what_can_be_compared():
    found, framed = some(wrong=4)
    cells, means = cohort_maps.averaged(found, framed)
    figure = heat_figures.mean_maps(cells, means)
    assert [trace.type for trace in figure.data] == ["image"]
    assert "11 slices of 3 patients" in figure.data[0].hovertemplate
    compared = heat_figures.right_and_wrong(cells, means)
    assert len(compared.data) == 6  # All classes and T1: right, wrong, difference
    few, some_means = cohort_maps.averaged(*some(wrong=heat_figures.LEAST_WRONG - 1))
    assert heat_figures.right_and_wrong(few, some_means) is None


def test_sentences_say_where_how_much_and_how_many_have_no_heat():
    found, framed = some(wrong=0)
    cells, means = cohort_maps.averaged(found, framed)
    said = heat_figures.sayings(found, cells, means)
    assert said[0].startswith("25% of the heat lies outside the head, on average over 11 slices")
    assert said[1:] == [
        "Warmest on sagittal slices: T1: front.",
        "1 map had no heat at all: nothing in the picture spoke for the answer.",
    ]


def test_without_any_heat_there_is_no_mean():
    found, framed = some(wrong=0)
    cells, means = cohort_maps.averaged(found.assign(outside=np.nan), framed)
    assert cells.empty and means.shape == (0, 2, GRID, GRID)
    assert heat_figures.sayings(found.assign(outside=np.nan), cells, means) == [
        "12 maps had no heat at all: nothing in the picture spoke for the answer."
    ]


# The page -------------------------------------------------------------------------------------------------


def test_the_page_offers_draws_and_follows(run, monkeypatch):
    assert "No maps of many slices yet" in words(app := open_page("explain", view="Cohort", run="looked"))
    assert "Make the maps" in [button.label for button in app.button]
    monkeypatch.setattr(in_process, "explain_local", Spot())
    cohort_maps.work(run, QUESTION, 12)
    app = open_page("explain", view="Cohort", run="looked")
    assert len(app.get("plotly_chart")) == 1 and "Warmest on axial slices" in words(app)
    assert "Of these decisions 1 is wrong" in words(app) and "LOVELACE" not in words(app).upper()
    running = {"state": "running", "message": "3 of 9", "done": 3, "total": 9}
    monkeypatch.setattr(cohort_maps, "status", lambda run, question: running)
    app = open_page("explain", view="Cohort", run="looked")
    assert "Cancel" in [button.label for button in app.button] and not app.get("plotly_chart")
