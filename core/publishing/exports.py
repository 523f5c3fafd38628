"""What leaves a run for other tools: predictions as a table, embeddings for the Embedding Projector, MLflow.

Patients stand in it by their pseudonyms, files by the paths that may be shown.
"""

import io
import json
import math
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from core import cohort, thumbnails
from core.analysis import analyses
from core.config import RunConfig
from core.errors import CoreError, InputError, SourceUnavailable
from core.publishing import model_card, registry
from core.runs import Run

#: The Embedding Projector takes sprite images of at most so many pixels a side, and draws slowly above so many points.
_SPRITE_SIDE, _MOST_POINTS = 8192, 10_000
_KEYS = ["path", "frame", "SOPInstanceUID", "SeriesInstanceUID", "PatientID", "split"]


def predictions_table(run: Run) -> pd.DataFrame:
    """Give what a run says of each slice, one row a slice.

    Parameters
    ----------
    run : Run
        Evaluated.

    Returns
    -------
    DataFrame
        Where the slice is from (``path`` as it may be shown), ``split``, and by head ``…_true``, ``…_pred``, ``…_p``
        (of the answer) and ``…_p_<class>``, calibrated.

    Raises
    ------
    RunError
        When the run was not evaluated.
    """
    long = run.predictions()
    classes = run.card()["classes"]
    heads = [long[long["head"] == head].reset_index(drop=True) for head in classes]
    wide = heads[0][_KEYS].copy()
    for (head, names), part in zip(classes.items(), heads, strict=True):
        proba = np.stack(part["y_proba"].to_list())
        columns = {f"{head}_true": part["y_true"], f"{head}_pred": part["y_pred"], f"{head}_p": proba.max(axis=1)}
        columns |= {f"{head}_p_{name}": proba[:, number] for number, name in enumerate(names)}
        wide = pd.concat([wide, pd.DataFrame(columns)], axis=1)
    return wide


def predictions_csv(run: Run, paths: bool = True) -> bytes:
    """Write `predictions_table` as CSV, to four decimals; without the paths that may be shown, if they should stay."""
    table = predictions_table(run)
    return (table if paths else table.drop(columns="path")).to_csv(index=False, float_format="%.4f").encode()


def predictions_parquet(run: Run) -> bytes:
    """Write `predictions_table` as Parquet, every digit."""
    out = io.BytesIO()
    predictions_table(run).to_parquet(out, index=False)
    return out.getvalue()


def analysis_tables(run: Run) -> dict[str, bytes]:
    """Write the tables of a run's analyses as CSV, by file name; columns that hold whole arrays are left out."""
    found = {}
    for path in sorted(analyses.folder(run).glob("*.parquet")):
        table = pd.read_parquet(path)
        first = {name: table[name].iloc[0] if len(table) else None for name in table}
        # A path may name a patient.
        plain = [name for name, value in first.items() if name != "path" and not isinstance(value, np.ndarray)]
        found[f"{path.stem}.csv"] = table[plain].to_csv(index=False, float_format="%.6g").encode()
    return found


def projector_files(run: Run, sprite: bool = True, most: int = _MOST_POINTS) -> dict[str, bytes]:
    """Write a run's embeddings as TensorBoard's Embedding Projector and projector.tensorflow.org read them.

    Parameters
    ----------
    run : Run
        Evaluated.
    sprite : bool
        Whether a picture of each slice goes along, where its cohort is still here.
    most : int
        Points; of more slices as many are taken, spread evenly over the run.

    Returns
    -------
    dict of bytes
        ``vectors.tsv`` and ``metadata.tsv`` (a row a slice, the same order), ``sprite.png`` (row by row), and
        ``projector_config.pbtxt``, which names them for ``tensorboard --logdir``.

    Raises
    ------
    CoreError
        When the run was not evaluated.
    """
    vectors, table = run.embeddings(), predictions_table(run)
    rows = np.unique(np.linspace(0, len(table) - 1, min(most, len(table))).astype(int))
    table = table.iloc[rows].reset_index(drop=True)
    words = [name for name in table if name.endswith(("_true", "_pred", "_p"))]
    metadata = table[["PatientID", "split", *words, "SeriesInstanceUID", "frame"]]
    files = {
        "vectors.tsv": _tsv(pd.DataFrame(vectors[rows]), header=False),
        "metadata.tsv": _tsv(metadata.fillna("none"), header=True),
    }
    side = min(64, _SPRITE_SIDE // math.ceil(math.sqrt(len(rows))))
    picture = _sprite(run, table, side) if sprite else None
    if picture:
        files["sprite.png"] = picture
    files["projector_config.pbtxt"] = _projector_config(run, side if picture else 0).encode()
    return files


def projector_zip(run: Run) -> bytes:
    """Pack `projector_files` for a download."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, data in projector_files(run).items():
            pack.writestr(name, data)
    return out.getvalue()


def write_projector(run: Run, folder: Path) -> list[str]:
    """Write `projector_files` into a folder; returns their names.

    Raises
    ------
    InputError
        When the folder cannot be written.
    """
    files = projector_files(run)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}. Choose another place.") from None
    return list(files)


def _tsv(table: pd.DataFrame, header: bool) -> bytes:
    return table.to_csv(sep="\t", index=False, header=header, float_format="%.6g").encode()


def _sprite(run: Run, table: pd.DataFrame, side: int) -> bytes | None:
    """Lay the slices' pictures out in a square, row by row; None where the cohort is gone."""
    try:
        made = cohort.read(run.config.cohort)
    except CoreError:
        return None
    slices = made.table.drop(columns="split")
    rows = table[["SOPInstanceUID", "frame"]].merge(slices, on=["SOPInstanceUID", "frame"], how="left")
    if rows["path"].isna().any():
        return None
    # In the size of Browse's grid, whose pictures are made already.
    tiles = thumbnails.sprites(made, rows, 96)
    across = math.ceil(math.sqrt(len(tiles)))
    sheet = Image.new("L", (across * side, across * side))
    for number, tile in enumerate(tiles):
        picture = Image.fromarray(tile).resize((side, side))
        sheet.paste(picture, (number % across * side, number // across * side))
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()


def _projector_config(run: Run, side: int) -> str:
    lines = [
        f'  tensor_name: "{run.id}"', '  tensor_path: "vectors.tsv"', '  metadata_path: "metadata.tsv"',
    ]  # fmt: skip
    if side:
        lines.append(f'  sprite {{ image_path: "sprite.png" single_image_dim: {side} single_image_dim: {side} }}')
    return "\n".join(["embeddings {", *lines, "}", ""])


def log_to_mlflow(run: Run, uri: str, experiment: str = "slicescope") -> str:
    """Log a run to MLflow: configuration, metrics by epoch, scores, and the bundle with its card as artifacts.

    Parameters
    ----------
    run : Run
        Done.
    uri : str
        Of the tracking server, or ``sqlite:///FILE``; MLflow 3 does not write to plain folders any more.
    experiment : str
        Made if there is none of that name.

    Returns
    -------
    str
        MLflow's id of the run.

    Raises
    ------
    SourceUnavailable
        When the extra is not installed, or MLflow cannot write there.
    """
    model, config = registry.verified(run.id), run.config
    try:
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise SourceUnavailable('MLflow is not installed. Install it with: pip install "slicescope[mlflow]"') from None
    try:
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(experiment)
        number = known.experiment_id if known else client.create_experiment(experiment, _artifacts_of(uri))
        # The client alone adds no tags: `mlflow.start_run` would add who is logged in here, and from which folder.
        there = client.create_run(number, run_name=run.id)
        name = there.info.run_id
        params = [Param(key, str(value)) for key, value in _params(config).items()]
        tags = [RunTag("model_sha256", model.sha256), RunTag("split_hash", str(model.card.get("split_hash", "")))]
        client.log_batch(name, params=params, tags=tags)
        metrics = [Metric(*one) for one in _metrics(run)]
        for start in range(0, len(metrics), 1000):
            client.log_batch(name, metrics=metrics[start : start + 1000])
        client.log_artifacts(name, str(run.bundle), "bundle")
        client.log_text(name, model_card.markdown(model, config), "CARD.md")
        client.log_text(name, json.dumps(run.scores(), indent=2), "scores.json")
        client.set_terminated(name)
    except (MlflowException, OSError) as error:
        said = str(error).splitlines()[0][:200]
        raise SourceUnavailable(f"MLflow could not take the run: {said}. Check the tracking URI.") from None
    return name


def _artifacts_of(uri: str) -> str | None:
    """Keep the files of a database's runs beside it; MLflow would put them wherever this process happens to be."""
    name = uri.removeprefix("sqlite:///")
    return (Path(name).resolve().parent / "mlruns").as_uri() if name != uri else None


def _params(config: RunConfig) -> dict[str, Any]:
    values = json.loads(config.to_json())
    return {**values, "weights": Path(config.weights).name}


def _metrics(run: Run) -> list[tuple[str, float, int, int]]:
    """Name, value, time in ms and step of each metric; stages follow each other, as they did."""
    found, began = [], int(datetime.fromisoformat(run.status["created"]).timestamp() * 1000)
    for step, line in enumerate(run.metrics().to_dict("records"), start=1):
        numbers = {key: line[key] for key in line if key not in ("stage", "epoch", "seconds")}
        found += [(key, float(value), began + step, step) for key, value in numbers.items() if math.isfinite(value)]
    for row in model_card.score_rows(run.scores() and {run.config.cohort: run.scores()["heads"]}):
        for measure in ("accuracy", "balanced_accuracy", "ece"):
            value = row.get(measure)
            if value is not None and math.isfinite(value):
                found.append((f"{row['part']}_{row['head']}_{measure}", float(value), began, 0))
    return found
