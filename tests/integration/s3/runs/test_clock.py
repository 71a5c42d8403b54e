"""Clocks that are set back: attempts, order of events, states and lists go by numbers, not by the time of any machine."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ipt_platform.observe import events, rundir
from ipt_platform.observe.events import append_event, read_events, utc_now
from ipt_platform.observe.heartbeat import Silence
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.process import Process
from ipt_platform.observe.runs import all_statuses
from ipt_platform.observe.status import as_it_is_now, run_status
from ipt_platform.observe.summary import publish, read_all
from ipt_platform.storage.prefix import prefix_at
from tests.integration.s3.runs.trainings import Killed, die, job, train, types, weights, with_turns

HOUR = timedelta(hours=1)


def earlier(hours: int) -> Callable[[], datetime]:
    return lambda: utc_now() - hours * HOUR


@pytest.fixture
def set_back(monkeypatch) -> Callable[[int], None]:
    """Sets the clock that events, reports and attempts are written by so many hours back."""

    def turn(hours: int) -> None:
        class Late(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz) - hours * HOUR

        for module in (events, rundir):
            monkeypatch.setattr(module, "datetime", Late)

    return turn


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_clock_set_back_within_and_between_attempts_changes_nothing(machines, base, near, set_back):
    here, seen = machines.new("here"), []
    silence = Silence(here, limit=3600, every=0)

    def look() -> None:
        status = run_status(here)
        seen.append((status.state, status.attempt, status.step, silence.too_long()))

    def back_an_hour() -> None:
        set_back(1)

    with pytest.raises(Killed):
        train(here, base, job(), with_turns({3: back_an_hour, 7: look, 9: die}))
    set_back(2)
    train(here, base, job(), with_turns({11: look}))

    assert weights(here) == near
    assert [(state, attempt, late) for state, attempt, _, late in seen] == [("running", 1, False), ("running", 2, False)]
    # batches are made ahead of the steps that are told
    assert 4 <= seen[0][2] <= 7
    assert 8 <= seen[1][2] <= 11
    times = [event["time"] for event in read_events(here)]
    assert times != sorted(times)
    there = machines.find("there")
    assert read_events(there) == read_events(here)
    steps = [(event["attempt"], event["step"]) for event in read_events(there) if event["type"] == "checkpoint"]
    assert steps == sorted(steps)
    assert types(there)[-1] == "finished"
    assert [line["step"] for line in read_metrics(there) if "loss" in line and line["attempt"] == 1] == list(range(1, 10))
    status = run_status(there)
    assert (status.state, status.step, status.attempt, status.checkpoint) == ("finished", 12, 2, 12)
    publish(there)
    assert [(each.state, each.step) for each in all_statuses(machines.storage)] == [("finished", 12)]


def test_lines_of_one_process_keep_their_order(machines):
    here = machines.new("here")
    attempt = here.new_attempt()
    for kind, hours in (("started", 0), ("stage", 0), ("warning", 2), ("checkpoint", 1), ("finished", 3)):
        append_event(here, kind, attempt, clock=earlier(hours), step=1)

    assert types(machines.find("there")) == ["started", "stage", "warning", "checkpoint", "finished"]


def test_the_state_that_was_told_last_is_listed_whatever_the_clock_said(machines, store):
    run = machines.new("here")
    append_event(run, "started", run.new_attempt(), step=0)
    publish(run)
    append_event(run, "finished", 1, step=9)
    publish(run, clock=lambda: (utc_now() - HOUR).timestamp())

    assert [(each.state, each.step) for each in all_statuses(machines.storage)] == [("finished", 9)]
    assert len([key for key in store.objects() if ".summaries" in key]) == 1


def test_a_run_on_a_machine_with_a_wrong_clock_is_listed_as_running_while_it_speaks(machines):
    run = machines.new("here")
    append_event(run, "started", run.new_attempt(), step=0)
    publish(run)
    [(status, _, told)] = read_all(prefix_at(machines.storage)).values()
    elsewhere = Process("another-machine", 77)
    behind = replace(status, updated=earlier(1)().isoformat())

    assert as_it_is_now(behind, elsewhere, told).state == "running"
    assert as_it_is_now(behind, elsewhere, told, clock=lambda: datetime.now(UTC) + HOUR).state == "interrupted"
    assert as_it_is_now(behind, elsewhere).state == "interrupted"
