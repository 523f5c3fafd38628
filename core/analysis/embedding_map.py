"""A run's slices as points on a plane, so that slices which the model sees alike lie together.

Principal components are there at once; t-SNE and UMAP (McInnes, Healy & Melville 2018) keep neighbours together better,
take minutes, and are made when somebody asks: ``python -m core.analysis.embedding_map RUN METHOD``. All show the same
slices, as many as a browser draws. Written are ``analyses/map.npz`` and ``analyses/map-<method>.npy``.
"""

import argparse
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.analysis import analyses
from core.analysis.judged import a_row_a_slice
from core.cohorts.slice_table import replaced
from core.errors import CoreError, RunError
from core.runs import Run, read_run
from core.settings import PROJECT_DIR

#: Ways to lay slices out, the first of which is always there.
METHODS = ("PCA", "t-SNE", "UMAP")
#: Points that are drawn at most, and the fewest of a kind that thinning leaves.
MOST_POINTS, _FEWEST = 20_000, 20
#: Principal components that neighbours are looked for in: the rest is mostly noise, and costs as much again.
_COMPONENTS = 50
_BLOCK = 20_000
#: Seconds that a layout takes, by t-SNE on two cores: to start, and for each point.
_START_S, _POINT_S = 8, 0.01
#: What there is to say when the optional package is not there.
NO_UMAP = "UMAP needs the optional package umap-learn: `pip install -e '.[umap]'`, then start the app again."


@dataclass(frozen=True)
class EmbeddingMap:
    """Points of a run's slices.

    Attributes
    ----------
    slices : ndarray of int, shape (m,)
        Which of the run's slices are shown, in their order in ``split.parquet``; ascending.
    of : int
        How many slices the run has.
    points : dict of ndarray of float32, shape (m, 2)
        By method, of those that have been made.
    explained : tuple of float
        Share of the embeddings' variance along the two principal components.
    """

    slices: np.ndarray
    of: int
    points: dict[str, np.ndarray]
    explained: tuple[float, float]


def thin(strata: np.ndarray, most: int, fewest: int = _FEWEST, random_state: int = 0) -> np.ndarray:
    """Choose rows so that each stratum keeps its share, and a rare one is not lost.

    Parameters
    ----------
    strata : ndarray of int, shape (n,)
    most : int
        Rows to choose about, never more.
    fewest : int
        Rows that a stratum keeps before shares count, if it has them.

    Returns
    -------
    ndarray of int
        Ascending.

    Examples
    --------
    >>> rows = thin(np.repeat([0, 1], [990, 10]), most=100, fewest=10)
    >>> len(rows), int((rows >= 990).sum())
    (100, 10)
    """
    if len(strata) <= most:
        return np.arange(len(strata))
    # In random order; then by how many of its stratum come before a row, as a share of it.
    order = np.random.default_rng(random_state).permutation(len(strata))
    rank = pd.Series(strata[order]).groupby(strata[order]).cumcount().to_numpy()
    size = np.bincount(strata, minlength=strata.max() + 1)[strata[order]]
    turn = np.where(rank < fewest, -1.0, rank / size)
    return np.sort(order[np.argsort(turn, kind="stable")[:most]])


def principal(vectors: np.ndarray, rows: np.ndarray, components: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Project rows on the principal components of all of them.

    Parameters
    ----------
    vectors : ndarray, shape (n, d)
        May be mapped from a file: it is read block by block.
    rows : ndarray of int, shape (m,)
        Rows to project.
    components : int

    Returns
    -------
    points : ndarray of float32, shape (m, components)
        Further components than there are dimensions are 0. Each axis points to where its longest arm is positive.
    explained : ndarray, shape (components,)
        Share of the variance.
    """
    n, d = vectors.shape
    total, products = np.zeros(d), np.zeros((d, d))
    for start in range(0, n, _BLOCK):
        block = _numbers(vectors[start : start + _BLOCK])
        total += block.sum(axis=0)
        products += block.T @ block
    mean = total / max(n, 1)
    values, axes = np.linalg.eigh(products / max(n, 1) - np.outer(mean, mean))
    kept = min(components, d)
    values, axes = np.maximum(values[::-1][:kept], 0), axes[:, ::-1][:, :kept]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(kept)])
    points = np.zeros((len(rows), components), np.float32)
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        points[start : start + len(part), :kept] = (_numbers(vectors[part]) - mean) @ axes
    variance = np.trace(products) / max(n, 1) - mean @ mean
    return points, np.pad(values / variance if variance > 0 else values, (0, components - kept))


def _numbers(block: np.ndarray) -> np.ndarray:
    return np.nan_to_num(np.asarray(block, float), posinf=0, neginf=0)


def write(run: Run, report: analyses.Report) -> None:
    """Lay the slices of an evaluated run out by their principal components."""
    report(0.0, "Drawing the map")
    table = run.predictions()
    strata = [a_row_a_slice(table)["split"].to_numpy(object)]
    for _, rows in table.groupby("head", sort=False):
        strata += [rows["y_true"].fillna("").to_numpy(object), (rows["y_true"] == rows["y_pred"]).to_numpy(object)]
    kinds = pd.MultiIndex.from_arrays(strata).factorize()[0]
    slices = thin(kinds, MOST_POINTS)
    vectors = np.load(run.folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    points, explained = principal(vectors, slices)
    folder = analyses.folder(run)
    # What was laid out of other embeddings is no map of these.
    for old in folder.glob("map-*.npy"):
        old.unlink()
    with replaced(folder / "map.npz") as fresh, fresh.open("wb") as file:
        np.savez(file, slices=slices.astype(np.int32), of=len(kinds), points=points, explained=explained)


def lay_out(run: Run, method: str) -> None:
    """Lay the slices of a run's map out by t-SNE or UMAP, and keep it.

    Raises
    ------
    RunError
        When the run has no map yet, the method is none, or its package is not there.
    """
    kept = read(run)
    if kept is None:
        raise RunError(f"Run {run.id} has no map yet. Make it: python -m core evaluate {run.id}")
    if method not in METHODS[1:]:
        raise RunError(f"A map is made by {' or '.join(METHODS[1:])}; received {method!r}.")
    if len(kept.slices) < 4:
        raise RunError(f"A map by {method} needs four slices at least; run {run.id} has {len(kept.slices)}.")
    vectors = np.load(run.folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    near, _ = principal(vectors, kept.slices, min(_COMPONENTS, vectors.shape[1]))
    if method == "UMAP":
        if not has_umap():
            raise RunError(NO_UMAP)
        from umap import UMAP

        points = UMAP(n_neighbors=min(15, len(near) - 1), random_state=0).fit_transform(near)
    else:
        from sklearn.manifold import TSNE

        points = TSNE(perplexity=min(30, (len(near) - 1) / 3), init="pca", random_state=0).fit_transform(near)
    with replaced(_file(run, method)) as fresh, fresh.open("wb") as file:
        np.save(file, np.asarray(points, np.float32))


def lay_out_apart(run: Run, method: str, report: Callable[[int, int], None]) -> None:
    """Do `lay_out` in a process of its own, which ends when `report` raises.

    It is called with the seconds that passed, and those that it takes in all, roughly: neither method tells.

    Raises
    ------
    RunError
        With what the process said.
    """
    command = [sys.executable, "-m", "core.analysis.embedding_map", run.id, method]
    kept = read(run)
    usual = _START_S + round(_POINT_S * (len(kept.slices) if kept else 0))
    with subprocess.Popen(command, cwd=PROJECT_DIR, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        start = time.monotonic()
        try:
            while process.poll() is None:
                passed = round(time.monotonic() - start)
                report(passed, max(usual, passed + 1))
                time.sleep(0.3)
        finally:
            process.kill()
        said = process.stderr.read().decode(errors="replace").strip().splitlines()
    if process.returncode:
        raise RunError(said[-1] if process.returncode == 2 and said else f"The map by {method} could not be made.")


def has_umap() -> bool:
    """Tell whether the optional package is there, without loading it."""
    return importlib.util.find_spec("umap") is not None


def read(run: Run) -> EmbeddingMap | None:
    """Read what was kept; None for a run that was evaluated before there were maps."""
    path = analyses.folder(run) / "map.npz"
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as kept:
        slices, of, explained = kept["slices"], int(kept["of"]), kept["explained"]
        points = {METHODS[0]: kept["points"]}
    for method in METHODS[1:]:
        if (file := _file(run, method)).exists():
            laid = np.load(file, allow_pickle=False)
            # Of a run that is being evaluated anew, the two may not fit for a moment.
            points |= {method: laid} if len(laid) == len(slices) else {}
    return EmbeddingMap(slices, of, points, (float(explained[0]), float(explained[1])))


def _file(run: Run, method: str):
    return analyses.folder(run) / f"map-{method.lower()}.npy"


def inside(points: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Tell which points lie within an outline.

    Parameters
    ----------
    points : ndarray, shape (n, 2)
    outline : ndarray, shape (k, 2)
        Corners in order; the last is joined to the first.

    Returns
    -------
    ndarray of bool, shape (n,)
        By how often a ray crosses the outline, which may cross itself.

    Examples
    --------
    >>> inside(np.array([[0.5, 0.5], [2, 0.5]]), np.array([[0, 0], [1, 0], [1, 1], [0, 1]])).tolist()
    [True, False]
    """
    x, y = points.T
    within = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y0 != y1:
            within ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return within


def main() -> int:
    """Lay a run out; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m core.analysis.embedding_map", description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("method", choices=METHODS[1:])
    options = parser.parse_args()
    try:
        lay_out(read_run(options.run), options.method)
    except CoreError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
