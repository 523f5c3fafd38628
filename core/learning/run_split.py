"""Which slices a run learns from and is judged on, by what its configuration says; the same before and at its start."""

import numpy as np
import pandas as pd

from core import splits
from core.cohorts.default_split import read_default_split
from core.cohorts.slice_table import Cohort
from core.config import RunConfig
from core.errors import ConfigError


def split_label(config: RunConfig) -> str:
    """Name the label that a run's split is balanced by."""
    return "sequence" if config.kind == "dual" else config.label


def dealt(made: Cohort, config: RunConfig) -> pd.Series:
    """Deal a cohort's slices as a run asks for.

    Parameters
    ----------
    made : Cohort
        As `core.cohort.read` gives it: with the saved split applied.
    config : RunConfig
        Its split, fractions, random_state, kind and label count.

    Returns
    -------
    Series of str
        ``train``, ``validation``, ``test`` or, for a naive run, ``unseen``; indexed like the cohort's table.

    Raises
    ------
    ConfigError
        When the cohort's own split is asked for and nobody has saved one.
    """
    if config.split == "cohort":
        if not read_default_split(made):
            raise ConfigError(
                f"The cohort {made.name} has no saved split. Save one under Browse, Splits, or let the run deal its "
                "patients itself (split patient)."
            )
        return made.table["split"]
    if config.split == "naive":
        return _naive(made.table, config)
    deal = splits.slice_split if config.split == "slice" else splits.patient_split
    return deal(made.table, config.fractions, config.random_state, split_label(config))


def _naive(table: pd.DataFrame, config: RunConfig) -> pd.Series:
    """Deal by slice among all but the test patients of a split by patient, whom the model then never sees.

    About as many slices are for training as in the split by patient, so that it is the dealing that differs; what is
    left for validation is shared by validation and test.
    """
    rule = config.fractions, config.random_state, split_label(config)
    outside = splits.patient_split(table, *rule) == "test"
    train, validation, _ = config.fractions
    shares = (train, validation / 2, validation / 2)
    inside = splits.slice_split(table[~outside], [share / sum(shares) for share in shares], *rule[1:])
    return inside.reindex(table.index, fill_value=splits.UNSEEN)


def left_out(table: pd.DataFrame, config: RunConfig) -> np.ndarray:
    """Tell which training slices a run that learns from a share of the training patients leaves out.

    The patients of a small share are among those of any larger one with the same seed, and each share shows the
    classes about as often as all do: what a learning curve needs. Validation and test stay whole.

    Parameters
    ----------
    table : DataFrame
        With ``PatientID``, ``split`` and labels.
    config : RunConfig
        Its train_share, random_state, kind and label count.

    Returns
    -------
    ndarray of bool
        (n,) True where a row stays out.
    """
    training = (table["split"] == "train").to_numpy()
    if config.train_share == 1 or not training.any():
        return np.zeros(len(table), bool)
    order = splits.nested_order(table[training], split_label(config), config.random_state)
    taken = order[: max(1, int(config.train_share * len(order) + 0.5))]
    return training & ~table["PatientID"].isin(taken).to_numpy()
