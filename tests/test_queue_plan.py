"""Positions and times are what the folders say."""

from datetime import UTC, datetime, timedelta

import pytest

from core import jobs, runs
from core.config import RunConfig
from core.queueing import queue_plan
from core.settings import get_settings


def made(state, name="a run", kind="transfer", devices=1, **status):
    config = RunConfig(name, kind, "phantom", devices=devices)
    return runs.create_run(config, state=state, like=jobs.likeness(config), queued=runs.now(), **status)


@pytest.fixture
def running(workspace, monkeypatch):
    """A run that is halfway after 60 s; its process counts as alive."""
    monkeypatch.setattr(runs, "alive", lambda status: True)
    started = (datetime.now(UTC) - timedelta(seconds=60)).isoformat()
    return made("running", progress=0.5, started=started, devices=1)


def test_those_who_wait_start_one_after_the_other(running):
    made("done", took_s=100.0)
    first, second, unknown = made("queued"), made("queued", estimate_s=30), made("queued", kind="siamese")
    last = made("queued")
    places = queue_plan.plan()
    assert [place.run for place in places] == [running, first, second, unknown, last]
    assert [place.position for place in places] == [0, 1, 2, 3, 4]
    left = places[0].left_s
    assert left == pytest.approx(0.6 * 60 + 0.4 * 40, abs=2)
    assert [place.starts_in_s for place in places[1:4]] == pytest.approx([left, left + 100, left + 130], abs=1)
    assert [place.left_s for place in places[1:4]] == [100.0, 30, None]
    # Behind a run of which nobody knows how long it takes, nobody knows when.
    assert places[4].starts_in_s is None


def test_without_any_experience_nothing_is_pretended(workspace, monkeypatch):
    monkeypatch.setattr(runs, "alive", lambda status: True)
    made("running", progress=0.01, started=runs.now())
    made("queued")
    assert [(place.starts_in_s, place.left_s) for place in queue_plan.plan()] == [(0.0, None), (None, None)]


def test_two_devices_take_turns_and_a_run_on_both_waits_for_the_later(running, monkeypatch):
    monkeypatch.setenv("SLICESCOPE_DEVICE", "gpu:0,gpu:1")
    get_settings.cache_clear()
    running.update(devices=["gpu:0"])
    free, both = made("queued", estimate_s=10), made("queued", estimate_s=10, devices=2)
    after = made("queued", estimate_s=10)
    starts = {place.run: place.starts_in_s for place in queue_plan.plan()}
    assert starts[free] == 0
    assert starts[both] == pytest.approx(60, abs=2)
    assert starts[after] == pytest.approx(70, abs=2)


def test_what_was_resumed_is_no_measure_and_goes_by_the_rest(workspace):
    made("done", took_s=5.0, resume=True)
    made("done", took_s=100.0)
    waits = made("queued", resume=True, progress=0.75)
    assert queue_plan.plan()[0].left_s == pytest.approx(25)
    waits.update(resume=False)
    assert queue_plan.plan()[0].left_s == 100


def test_epochs_left_count_both_stages():
    class Fake:
        config = RunConfig("a run", "transfer", "phantom", epochs=4, fine_tune_epochs=2)

    assert [queue_plan.epochs_left(Fake, done) for done in (0, 5, 9)] == [6, 1, 0]
