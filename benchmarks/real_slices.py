"""The real slices that benchmarks judge the shipped model on."""

import os

import numpy as np
import pandas as pd

from core import batches, bundle, classify, cohort
from core.settings import WEIGHTS_DIR, get_settings
from core.shipping.real_files import with_truth

#: Classes with fewer subjects prove nothing.
LEAST_SUBJECTS = 5


def read() -> tuple[pd.DataFrame, np.ndarray]:
    """Read the folder that ``SLICESCOPE_REAL_DATA`` names.

    Returns
    -------
    rows : DataFrame
        Slices with their truth, from `core.shipping.real_files.with_truth`.
    images : ndarray of float32, shape (n, S, S)
        As the shipped model wants them. Blank slices, at the ends of volumes, are left out: they have nothing to name.
    """
    folder = get_settings().real_data
    made = cohort.scan(folder, "real", workers=os.cpu_count() or 1)
    rows = with_truth(made.table, folder)
    images = batches.model_inputs(made, rows, bundle.read_card(WEIGHTS_DIR)["input_shape"][0])
    seen = ~classify.is_blank(images)
    return rows[seen], images[seen]
