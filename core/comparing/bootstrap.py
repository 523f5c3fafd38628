"""How far a score could lie elsewhere with other patients: a bootstrap that draws patients, not slices.

Slices of one head are no independent witnesses: an interval from drawn slices is far too narrow. So whole patients are
drawn with replacement (the cluster bootstrap; Field & Welsh, J. R. Statist. Soc. B 69, 2007), and an interval is that
between percentiles of what the draws give (Efron, 1979). No slice is ever copied: a draw is how often each patient
was drawn, and scores that are functions of sums over slices come from one matrix product for all draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import InputError

#: Percentiles at 2.5 and 97.5 % of so many draws are themselves uncertain by a tenth of the interval's width.
N_DRAWS = 2000
#: With fewer patients a percentile interval is too narrow, and should be shown with that word.
FEW_PATIENTS = 10


@dataclass(frozen=True)
class Bootstrap:
    """A statistic, and what it would have been with patients drawn anew.

    Attributes
    ----------
    estimate : ndarray, shape (...)
        On the patients that there are.
    draws : ndarray, shape (draws, ...)
        NaN where a draw has nothing to judge by.
    patients : int
    """

    estimate: np.ndarray
    draws: np.ndarray
    patients: int

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end, each of the estimate's shape; NaN where no draw has anything to judge by.

        And with a single patient, who tells of nobody else.
        """
        ends = np.full((2, *np.shape(self.estimate)), np.nan)
        judged = ~np.isnan(self.draws).all(axis=0)
        if self.patients > 1 and judged.any():
            percents = [50 * (1 - level), 50 * (1 + level)]
            ends[:, judged] = np.nanpercentile(self.draws[:, judged], percents, axis=0)
        low, high = ends
        return low, high

    def __sub__(self, other: "Bootstrap") -> "Bootstrap":
        """Subtract a statistic of the same patients in the same draws: the paired difference."""
        if self.draws.shape != other.draws.shape or self.patients != other.patients:
            raise InputError("Only statistics of the same patients and draws have a paired difference.")
        return Bootstrap(self.estimate - other.estimate, self.draws - other.draws, self.patients)


def patient_bootstrap(
    groups: Sequence[str],
    values: np.ndarray,
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    n_draws: int = N_DRAWS,
    random_state: int = 0,
) -> Bootstrap:
    """Bootstrap a statistic of values of slices by drawing patients.

    Parameters
    ----------
    groups : sequence of str, length n
        PatientID of each slice.
    values : ndarray, shape (n,) or (n, m)
        For example 1.0 where an answer is right.
    statistic : callable, optional
        ``(sums, n) -> (draws, ...)`` with sums of the drawn values, shape (draws,) or (draws, m), and the number of
        drawn slices, shape (draws,). Their mean when not given.
    n_draws : int
    random_state : int
        One seed and the same patients give the same draws, so two statistics can be compared in pairs.

    Returns
    -------
    Bootstrap

    Raises
    ------
    InputError
        Without slices, or where groups and values differ in length.

    Examples
    --------
    >>> right = np.array([1, 1, 1, 0, 1, 0, 0, 0], float)
    >>> made = patient_bootstrap(list("aaabbccc"), right)
    >>> made.estimate, made.patients, [round(float(end), 2) for end in made.interval()]
    (array(0.5), 3, [0.0, 1.0])
    """
    values = np.asarray(values, dtype=float)
    names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(codes) != len(values) or not len(codes):
        raise InputError(f"Each slice has a patient and a value; received {len(codes)} and {len(values)}.")
    flat = values.reshape(len(values), -1)
    sums = np.stack([np.bincount(codes, column, len(names)) for column in flat.T], axis=1)
    totals = np.column_stack([sums, np.bincount(codes)])
    shape = values.shape[1:]

    def of_totals(drawn: np.ndarray) -> np.ndarray:
        drawn_sums, n = drawn[:, :-1].reshape(-1, *shape), drawn[:, -1]
        return statistic(drawn_sums, n) if statistic else drawn_sums / n.reshape(-1, *[1] * len(shape))

    return bootstrap_totals(totals, of_totals, n_draws, random_state)


def bootstrap_totals(
    totals: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], n_draws: int = N_DRAWS, random_state: int = 0
) -> Bootstrap:
    """Bootstrap a statistic of sums over slices, given each patient's sums.

    Parameters
    ----------
    totals : ndarray, shape (patients, m)
        Sums over each patient's slices, for example the cells of a confusion matrix; see `patient_totals`.
    statistic : callable
        ``(draws, m) -> (draws, ...)``, a row a draw.
    n_draws, random_state : int
        As for `patient_bootstrap`.

    Returns
    -------
    Bootstrap

    Raises
    ------
    InputError
        Without patients or draws.
    """
    totals = np.asarray(totals, dtype=float)
    if totals.ndim != 2 or not len(totals) or n_draws < 1:
        raise InputError(
            f"A bootstrap needs at least one patient and one draw; received sums of the shape {totals.shape} and "
            f"{n_draws} draws."
        )
    patients = len(totals)
    times = np.random.default_rng(random_state).multinomial(patients, np.full(patients, 1 / patients), n_draws)
    estimate = np.asarray(statistic(totals.sum(axis=0, keepdims=True)))[0]
    return Bootstrap(np.asarray(estimate), np.asarray(statistic(times.astype(float) @ totals)), patients)


def patient_totals(
    patients: np.ndarray, cells: np.ndarray, n_cells: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """Count each patient's slices by cell, or sum their weights.

    Parameters
    ----------
    patients : ndarray of int, shape (n,)
        From 0, every number up to the highest in use.
    cells : ndarray of int, shape (n,)
        Below `n_cells`; for example true class times classes plus predicted class.
    n_cells : int
    weights : ndarray, shape (n,), optional

    Returns
    -------
    ndarray, shape (patients, n_cells)

    Examples
    --------
    >>> patient_totals(np.array([0, 0, 1]), np.array([1, 1, 0]), 2).tolist()
    [[0.0, 2.0], [1.0, 0.0]]
    """
    n_patients = int(patients.max()) + 1 if len(patients) else 0
    place = patients.astype(np.int64) * n_cells + cells
    summed = np.bincount(place, weights, n_patients * n_cells)
    return summed.reshape(n_patients, n_cells).astype(float)
