"""The map: principal components as numpy has them, thinning that keeps the rare, outlines, and layouts on demand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.analysis import analyses, embedding_map, map_figures
from core.analysis.embedding_map import inside, principal, thin
from core.config import RunConfig
from core.errors import RunError
from core.runs import create_run


def test_principal_components_are_those_of_the_singular_values(monkeypatch):
    monkeypatch.setattr(embedding_map, "_BLOCK", 7)
    vectors = np.random.default_rng(0).normal(size=(50, 5)) * [5, 3, 1, 1, 1] + 10
    points, explained = principal(vectors, np.arange(50))
    centred = vectors - vectors.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(u[:, :2] * s[:2]), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(explained, (s**2 / (s**2).sum())[:2])


@pytest.mark.parametrize("vectors", [np.zeros((4, 3)), np.ones((1, 3)), np.full((3, 1), np.nan), np.eye(3)[:, :1]])
def test_embeddings_without_spread_give_finite_points(vectors):
    points, explained = principal(vectors, np.arange(len(vectors)))
    assert points.shape == (len(vectors), 2) and np.isfinite(points).all() and np.isfinite(explained).all()


@given(st.lists(st.integers(0, 300), min_size=1, max_size=6), st.integers(120, 400))
def test_thinning_keeps_rare_kinds_and_the_limit(sizes, most):
    strata = np.repeat(np.arange(len(sizes)), sizes)
    rows = thin(strata, most, fewest=20)
    assert len(rows) == min(most, len(strata)) == len(set(rows.tolist()))
    for kind, size in enumerate(sizes):
        assert (strata[rows] == kind).sum() >= min(20, size)


def test_an_outline_may_cross_itself_or_have_no_area():
    bow = np.array([[0, 0], [2, 2], [2, 0], [0, 2]])
    points = np.array([[0.2, 1], [1, 0.2], [1.8, 1], [1, 1.8], [3, 1]])
    assert inside(points, bow).tolist() == [True, False, True, False, False]
    assert not inside(points, np.zeros((0, 2))).any()


def written(names=("a", "b"), n=12):
    run = create_run(RunConfig("m", "plane", "c"), "m")
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"split": "test", "head": "one", "y_true": rng.choice([*names, None], n), "y_pred": names[0]})
    table.to_parquet(run.folder / "predictions.parquet")
    np.save(run.folder / "embeddings.npy", rng.normal(size=(n, 4)).astype(np.float32))
    assert embedding_map.read(run) is None
    analyses.folder(run).mkdir()
    embedding_map.write(run, lambda share, message: None)
    return run


def test_a_layout_is_kept_until_the_run_is_judged_anew(workspace):
    run = written()
    assert set(embedding_map.read(run).points) == {"PCA"}
    embedding_map.lay_out(run, "t-SNE")
    kept = embedding_map.read(run)
    assert set(kept.points) == {"PCA", "t-SNE"} and np.isfinite(kept.points["t-SNE"]).all() and kept.of == 12
    embedding_map.write(run, lambda share, message: None)
    assert set(embedding_map.read(run).points) == {"PCA"}


def test_what_cannot_be_laid_out_says_why(workspace, monkeypatch):
    run = written(n=3)
    with pytest.raises(RunError, match="four slices"):
        embedding_map.lay_out(run, "t-SNE")
    with pytest.raises(RunError, match="t-SNE or UMAP"):
        embedding_map.lay_out(run, "magic")
    run = create_run(RunConfig("x", "plane", "c"), "x")
    with pytest.raises(RunError, match="no map yet"):
        embedding_map.lay_out(run, "UMAP")


def test_work_apart_ends_when_nobody_wants_it_and_tells_its_reason(workspace):
    run = create_run(RunConfig("x", "plane", "c"), "x")
    with pytest.raises(RunError, match="no map yet"):
        embedding_map.lay_out_apart(run, "t-SNE", lambda done, total: None)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embedding_map.lay_out_apart(run, "t-SNE", stop)


def test_a_figure_names_strange_classes_and_at_most_two_dozen():
    points = np.random.default_rng(0).normal(size=(40, 2))
    names = np.array([f"<b>{number}</b> %{{x}}" for number in range(40)], object)
    figure = map_figures.embedding_map(points, names, names, ("", ""), np.array([[0, 0], [1, 0], [1, 1]]))
    assert len(figure.data) == 24 and figure.data[-1].name == "17 others"
    assert sum(len(trace.x) for trace in figure.data) == 40 and len(figure.layout.shapes) == 1
    numbers = map_figures.embedding_map(points, np.full(40, np.nan), names, ("", ""))
    assert len(numbers.data) == 1 and not np.isnan(numbers.data[0].marker.color).any()
