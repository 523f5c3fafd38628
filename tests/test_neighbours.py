"""Nearest training slices: the tiles find what a full table of cosines finds."""

import numpy as np
import pandas as pd
import pytest

from core.analysis import neighbours
from core.config import RunConfig
from core.runs import create_run


def by_hand(vectors, queries, references, k, groups=None):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = (unit[queries] @ unit[references].T).astype(float)
    cosine[queries[:, None] == references] = -np.inf
    if groups is not None:
        cosine[groups[queries][:, None] == groups[references]] = -np.inf
    order = np.argsort(-cosine, axis=1)[:, :k]
    return references[order], np.take_along_axis(cosine, order, axis=1)


@pytest.mark.parametrize("grouped", [False, True])
def test_tiles_find_what_a_full_table_finds(monkeypatch, grouped):
    monkeypatch.setattr(neighbours, "_QUERIES", 7)
    monkeypatch.setattr(neighbours, "_REFERENCES", 13)
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(120, 6)).astype(np.float32)
    groups = rng.integers(0, 9, 120) if grouped else None
    queries, references = np.arange(0, 120, 3), rng.permutation(120)[:80]
    rows, cosine = neighbours.nearest(vectors, queries, references, 5, groups)
    expected, its = by_hand(vectors, queries, references, 5, groups)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(cosine, its, atol=1e-6)


def test_too_few_references_are_minus_one_and_numbers_that_are_none_are_like_nothing():
    vectors = np.array([[1.0, 0], [1, 0.1], [np.nan, np.inf]])
    rows, cosine = neighbours.nearest(vectors, np.array([0, 2]), np.array([0, 1]), 3)
    assert rows[0].tolist() == [1, -1, -1]
    assert cosine[1].tolist() == [0, 0, 0]


def written(table, vectors, name="n"):
    run = create_run(RunConfig(name, "plane", "c"), name)
    parts = [table.assign(head=head, y_true="a", y_pred="a", y_proba=[[1.0]] * len(table)) for head in ("one", "two")]
    pd.concat(parts).to_parquet(run.folder / "predictions.parquet")
    np.save(run.folder / "embeddings.npy", vectors)
    neighbours.write(run, lambda share, message: None)
    return neighbours.read(run)


def test_a_run_keeps_the_training_neighbours_of_what_it_was_judged_on(workspace):
    vectors = np.array([[1, 0], [0, 1], [0.9, 0.1], [0.2, 1]], np.float32)
    table = pd.DataFrame({"split": ["train", "train", "test", "validation"], "PatientID": list("abcd")})
    kept = written(table, vectors)
    assert kept.among == "train"
    assert kept.of(2)[0].tolist() == [0, 1]
    assert kept.of(3)[0].tolist() == [1, 0]
    assert not len(kept.of(0)[0]) and not len(kept.of(99)[0])


def test_a_run_without_training_slices_looks_at_other_patients(workspace):
    vectors = np.array([[1, 0], [1, 0.01], [0.5, 0.5]], np.float32)
    kept = written(pd.DataFrame({"split": "test", "PatientID": ["a", "a", "b"]}), vectors)
    assert kept.among == "others"
    assert kept.of(0)[0].tolist() == [2]
    assert kept.of(2)[0].tolist() == [1, 0]


def test_an_older_run_has_none(workspace):
    assert neighbours.read(create_run(RunConfig("x", "plane", "c"), "x")) is None
