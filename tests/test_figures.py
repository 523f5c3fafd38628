"""Figures hold the numbers they were given, on no background of their own."""

import io
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from core import calibration, figures, uncertainty
from core.errors import InputError

CLASSES = ["FLAIR", "T2", "T1", "T1CE", "PD", "DWI", "SWI", "<b>"]


@dataclass(frozen=True)
class Matrix:
    counts: np.ndarray
    classes: tuple[str, ...]


def metrics(*heads, stages=("head", "fine-tuning")):
    names = ["loss", *(f"{head}_accuracy" for head in heads), "accuracy"]
    rows = [
        {"stage": stage, "epoch": epoch, **{f"{v}{name}": 0.5 for v in ("", "val_") for name in names}}
        for stage in stages
        for epoch in (1, 2, 3)
    ]
    return pd.DataFrame(rows)


def all_figures():
    rng = np.random.default_rng(0)
    samples = rng.dirichlet(np.ones(8), 50)
    table = pd.DataFrame(
        {"PatientID": list("aabbcc"), "plane": ["axial"] * 5 + ["coronal"], "split": ["train"] * 4 + ["test"] * 2}
    )
    y = rng.integers(0, 8, 50)
    return {
        "mc": figures.mc_histogram(samples, CLASSES),
        "risk": figures.risk_coverage(*uncertainty.risk_coverage(rng.random(50) < 0.8, rng.random(50)), 0.9),
        "counts": figures.label_counts(table, "plane"),
        "curve": figures.learning_curve(metrics()),
        "matrix": figures.confusion_matrix(Matrix(np.array([[3, 1], [0, 4]]), ("axial", "coronal"))),
        "reliability": figures.reliability(calibration.reliability(samples, y)),
    }


@pytest.mark.parametrize("name", all_figures())
def test_no_background_and_serialisable(name):
    figure = all_figures()[name]
    layout = figure.layout.template.layout
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert figure.layout.paper_bgcolor is None and figure.layout.plot_bgcolor is None
    assert len(figure.to_json()) > 100


def test_histogram_shows_the_likeliest_classes_and_counts_all_passes():
    samples = np.tile([0.02, 0.05, 0.5, 0.1, 0.03, 0.2, 0.06, 0.04], (20, 1))
    samples[0] = np.eye(8)[0]
    figure = figures.mc_histogram(samples, CLASSES)
    assert [sum(bar.y) for bar in figure.data] == [20] * 6
    names = [annotation.text for annotation in figure.layout.annotations]
    assert names[0].startswith("<b>T1</b>") and names[1].startswith("<b>DWI</b>") and len(names) == 6


def test_histogram_refuses_other_classes():
    with pytest.raises(InputError, match=r"8 classes.*received \(20, 3\)"):
        figures.mc_histogram(np.zeros((20, 3)), CLASSES)


def test_risk_marks_the_share_kept():
    coverage, accuracy = uncertainty.risk_coverage(np.arange(100) < 90, np.arange(100))
    curve, mark = figures.risk_coverage(coverage, accuracy, 0.9).data
    assert (curve.x[-1], curve.y[-1]) == (1, 0.9)
    assert (mark.x[0], mark.y[0]) == (0.9, 1.0)
    assert len(figures.risk_coverage(np.linspace(0, 1, 10**5), np.ones(10**5)).data[0].x) <= 1000
    assert len(figures.risk_coverage(np.empty(0), np.empty(0), 0.5).data) == 0


def test_counts_are_per_split():
    bars = {bar.name: dict(zip(bar.x, bar.y, strict=True)) for bar in all_figures()["counts"].data}
    assert bars == {"train": {"axial": 4}, "test": {"axial": 1, "coronal": 1}}


@pytest.mark.parametrize(("heads", "curves"), [((), 4), (("plane", "sequence"), 6)])
def test_learning_curve_of_one_head_and_of_two(heads, curves):
    figure = figures.learning_curve(metrics(*heads))
    assert len(figure.data) == curves
    assert all(list(curve.x) == [1, 2, 3, 4, 5, 6] for curve in figure.data)
    assert len(figure.layout.shapes) == 2  # one line a panel, where fine-tuning starts
    assert len(figures.learning_curve(metrics(stages=("head",))).layout.shapes) == 0


def test_learning_curve_before_the_first_epoch():
    assert len(figures.learning_curve(pd.DataFrame()).data) == 0


def test_matrix_colours_by_share_of_the_truth():
    heatmap = all_figures()["matrix"].data[0]
    np.testing.assert_allclose(heatmap.z, [[0.75, 0.25], [0, 1]])
    np.testing.assert_array_equal(heatmap.customdata, [[3, 1], [0, 4]])
    # White on a strong colour; on a faint one what can be read on light and dark pages.
    assert [text.count("white") for text in np.ravel(heatmap.text)] == [1, 0, 0, 1]


def test_viridis_is_monotonic_in_lightness():
    colours = figures.viridis(np.linspace(0, 1, 64)).astype(float)
    lightness = colours @ [0.299, 0.587, 0.114]
    assert (np.diff(lightness) > 0).all()


@pytest.mark.parametrize(("shape", "aspect"), [((64, 48), 1.0), ((5, 400), 1.0), ((1024, 1024), 0.5)])
def test_explanation_is_three_pictures_of_one_slice(shape, aspect, tmp_path):
    display = np.full(shape, 100, np.uint8)
    heat = np.zeros(shape)
    heat[:, shape[1] // 2 :] = 1
    figures.explanation_png(display, heat, "A very long title · " * 20, tmp_path / "figure.png", "FLAIR 97 %", aspect)
    picture = np.asarray(Image.open(tmp_path / "figure.png").convert("RGB")).astype(int)
    assert picture.shape[1] == 3 * 384 + 4 * 16
    middle = 72 + 192
    # The panels' halves: grey, then mixed with the map's two ends, then these alone.
    centres = [16 + i * 400 + 192 for i in range(3)]
    image, overlay, alone = ([picture[middle, x + step] for step in (-8, 8)] for x in centres)
    np.testing.assert_allclose(image, 100, atol=1)
    np.testing.assert_allclose(alone, [[68, 1, 84], [253, 231, 37]], atol=4)
    np.testing.assert_allclose(overlay, (np.array(image) + np.array(alone)) / 2, atol=2)


def test_explanation_can_be_written_to_memory_and_refuses_another_grid():
    file = io.BytesIO()
    figures.explanation_png(np.zeros((8, 8), np.uint8), np.zeros((8, 8)), "t", file)
    assert file.getvalue().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="one grid"):
        figures.explanation_png(np.zeros((8, 8), np.uint8), np.zeros((4, 8)), "t", file)


def test_class_curves_show_strange_names_as_they_are():
    from core.analysis import error_figures

    curves = pd.DataFrame({"name": ["<b>", "<b>", "other", "other"], "x": [0.0, 1, 0, 1], "y": [0.0, 1, 0.5, 1]})
    table = pd.DataFrame({"auroc": [0.75, 0.5]}, index=["<b>", "other"])
    figure = error_figures.class_curves(curves, table, "<b>", "roc")
    assert [line.name for line in figure.data] == ["other", "&lt;b&gt;", None]
    assert figure.layout.title.text == "ROC of &lt;b&gt;: area 0.750"
