"""A cohort as it travels to another machine: slice table, split and model inputs, without a file of the cohort.

::

    table.parquet   every row, with the columns that training and evaluation read; the others are emptied
    cohort.json     name and date
    split.json      the split that is saved with the cohort, where there is one
    inputs.npz      "keys": (m,) as `slice_table.slice_key` makes them; "inputs": (m, size, size) uint8

No name and no description travels: PatientID is the workspace's pseudonym, and paths are the shown ones. UIDs do, and
pictures of slices.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from core.cohorts import cohort_files
from core.cohorts.default_split import SPLIT_NAME
from core.cohorts.slice_table import COLUMNS, NEVER_MISSING, REJECTED_COLUMNS, Cohort, slice_keys, typed
from core.errors import CohortError
from core.settings import get_settings

INPUTS = "inputs.npz"
_TABLE, _FACTS = "table.parquet", "cohort.json"
#: What `core.splits`, `core.training` and `core.evaluation` read of a slice.
_KEPT = (
    "frame", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "image_number", "Rows", "Columns",
    "pixel_spacing_row_mm", "pixel_spacing_column_mm", "plane", "sequence", "split", "shown_path",
)  # fmt: skip


def pack(made: Cohort, rows: pd.DataFrame, inputs: np.ndarray, folder: Path) -> None:
    """Write a cohort for the journey.

    Parameters
    ----------
    made : Cohort
        Its whole table travels, since the split is dealt over all of it.
    rows : DataFrame
        Those of its rows, m of them, whose pictures are needed.
    inputs : ndarray of uint8, shape (m, size, size)
        From `core.batches.grey_inputs`.
    folder : Path
        Made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = typed(made.table[list(_KEPT)].assign(path=made.table["shown_path"]), _travelling())
    table.to_parquet(folder / _TABLE, index=False)
    facts = {"name": made.name, "created": made.created}
    (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")
    if (made.folder / SPLIT_NAME).exists():
        shutil.copyfile(made.folder / SPLIT_NAME, folder / SPLIT_NAME)
    keys = slice_keys(rows).to_numpy(dtype=str)
    np.savez_compressed(folder / INPUTS, keys=keys, inputs=inputs)


def unpack(folder: Path) -> Cohort:
    """Make what `pack` wrote a cohort of this workspace; `core.batches.grey_inputs` finds its inputs.

    Returns
    -------
    Cohort
    """
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    cohort_files.check_name(facts["name"])
    table = pd.read_parquet(folder / _TABLE)
    empty = {name: 0 for name, kind in COLUMNS.items() if kind == "int64"} | dict.fromkeys(NEVER_MISSING, "")
    table = typed(table.assign(**{name: value for name, value in empty.items() if name not in table}), COLUMNS)
    home = get_settings().cohorts_dir / facts["name"]
    home.mkdir(parents=True, exist_ok=True)
    for name in (INPUTS, SPLIT_NAME):
        if (folder / name).exists():
            (folder / name).replace(home / name)
    return cohort_files.write(
        Cohort(facts["name"], home, home, "carried", table, typed([], REJECTED_COLUMNS), facts["created"])
    )


def arrived(cohort: Cohort) -> bool:
    """Whether a cohort came without its files."""
    return cohort.source == "carried"


def inputs_of(cohort: Cohort, rows: pd.DataFrame, size: int) -> np.ndarray:
    """Return model inputs (n, size, size), uint8, of rows of a cohort that has `arrived`.

    Raises
    ------
    CohortError
        When a slice's picture, or pictures of this size, did not travel.
    """
    with np.load(cohort.folder / INPUTS, allow_pickle=False) as stored:
        keys, inputs = stored["keys"], stored["inputs"]
    places = pd.Index(keys).get_indexer(slice_keys(rows))
    if (places < 0).any() or inputs.shape[1] != size:
        raise CohortError(
            f"Cohort {cohort.name} came here without the pictures of {int((places < 0).sum())} of {len(rows)} slices "
            f"at {size} pixels (it has {len(keys)} at {inputs.shape[1]}). Train where its files are."
        )
    return inputs[places]


def _travelling() -> dict[str, str]:
    return {"path": COLUMNS["path"], **{name: COLUMNS[name] for name in _KEPT}}
