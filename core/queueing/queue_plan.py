"""Who comes when: position in the queue, estimated start, time left."""

import heapq
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from core import jobs, runs
from core.queueing import device_load
from core.runs import Run
from core.settings import get_settings

#: Of so many runs of the same sort, the latest, the median time counts.
_REMEMBERED = 9
#: As many words of `core.jobs.likeness` as must be the same, at least: kind and backbone.
_LEAST_ALIKE = 2
_NEVER = float("inf")


@dataclass(frozen=True)
class Place:
    """An active run's place.

    Attributes
    ----------
    run : Run
    status : dict
        The run's status at the time.
    position : int
        0 for a running one, from 1 for those that wait.
    starts_in_s, left_s : float or None
        Seconds until it starts, and that it will take from then on (or from now, when it runs); None for unknown.
    """

    run: Run
    status: dict[str, Any]
    position: int
    starts_in_s: float | None
    left_s: float | None


def plan() -> list[Place]:
    """Return the places of all runs that run or wait, in the order of their turn."""
    found = runs.snapshot()
    ended = [status for _, status in found if status["state"] == "done" and "took_s" in status]
    ended.sort(key=lambda status: status["updated"], reverse=True)
    active = jobs.in_turn(found)
    there = device_load.devices(get_settings().device)
    # A device's free from then on; None, for nobody knows when, comes last.
    free = dict.fromkeys(there, 0.0)
    places = []
    for run, status in active:
        if status["state"] == "running":
            left = time_left_s(status, expected_s(status, ended))
            free |= {device: _or_never(left) for device in status.get("devices", there[:1])}
            places.append(Place(run, status, 0, 0.0, left))
    times = [free[device] for device in there]
    heapq.heapify(times)
    waiting = [(run, status) for run, status in active if status["state"] == "queued"]
    for position, (run, status) in enumerate(waiting, 1):
        taken = [heapq.heappop(times) for _ in jobs.devices_of(run, there[0])]
        start, takes = max(taken), expected_s(status, ended)
        if takes is not None and status.get("resume"):
            takes *= 1 - status["progress"]
        for _ in taken:
            heapq.heappush(times, start + _or_never(takes))
        places.append(Place(run, status, position, None if start == _NEVER else start, takes))
    return places


def _or_never(seconds: float | None) -> float:
    return _NEVER if seconds is None else seconds


def epochs_left(run: Run, done: int) -> int:
    """Return how many epochs a run has yet at most, after so many; early stopping may end it before."""
    return max(0, run.config.epochs + run.config.fine_tune_epochs - done)


def expected_s(status: dict[str, Any], ended: Sequence[dict[str, Any]]) -> float | None:
    """Return how long a run will take from its beginning to its end.

    Parameters
    ----------
    status : dict
        Its own estimate, ``estimate_s``, comes first.
    ended : sequence of dict
        Status of runs that were done, the latest first.

    Returns
    -------
    float or None
        Seconds: the median of the latest runs that are most alike; None when none is.

    Examples
    --------
    >>> ended = [{"like": ["dual", "ResNet50", 20], "took_s": 90}, {"like": ["dual", "ResNet50", 5], "took_s": 30}]
    >>> expected_s({"like": ["dual", "ResNet50", 5]}, ended), expected_s({"like": ["dual", "ResNet50", 7]}, ended)
    (30, 60.0)
    >>> expected_s({"like": ["siamese", "ResNet50", 5]}, ended)
    """
    if isinstance(status.get("estimate_s"), int | float) and status["estimate_s"] > 0:
        return status["estimate_s"]
    mine = status.get("like") or []
    for alike in range(len(mine), _LEAST_ALIKE - 1, -1):
        # A resumed run took only part of the time.
        times = [
            one["took_s"] for one in ended if one.get("like", [])[:alike] == mine[:alike] and not one.get("resume")
        ]
        if times:
            return statistics.median(times[:_REMEMBERED])
    return None


def time_left_s(status: dict[str, Any], expected: float | None, now: datetime | None = None) -> float | None:
    """Return how long a running run has yet, from its progress and from what was expected.

    At the beginning the expectation counts, towards the end and past the expected time the pace. None when neither
    says anything.

    Examples
    --------
    >>> at = datetime.fromisoformat
    >>> status = {"progress": 0.5, "started": "2026-01-01T10:00:00+00:00"}
    >>> time_left_s(status, None, at("2026-01-01T10:01:00+00:00"))
    60.0
    >>> time_left_s(status, 180.0, at("2026-01-01T10:01:00+00:00")), time_left_s(status, 9.0, at("2026-01-01T10:01Z"))
    (90.0, 60.0)
    """
    try:
        elapsed = max(0.0, ((now or datetime.now(UTC)) - datetime.fromisoformat(status["started"])).total_seconds())
    except (KeyError, ValueError, TypeError):
        return expected
    done = min(1.0, max(0.0, float(status.get("progress") or 0.0)))
    if status.get("resume"):
        # Its bar did not begin at 0, so its pace says nothing.
        return None if expected is None else expected * (1 - done)
    by_pace = elapsed * (1 - done) / done if done >= 0.05 else None
    by_expectation = None if expected is None else max(0.0, expected - elapsed)
    if by_pace is None or by_expectation is None:
        return by_expectation if by_pace is None else by_pace
    trust = max(done, min(1.0, elapsed / expected))
    return trust * by_pace + (1 - trust) * by_expectation
