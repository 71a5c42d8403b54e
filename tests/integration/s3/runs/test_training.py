"""A training whose run lies on S3 ends with the weights of one on a disk, whatever the store and the machines do meanwhile."""

import threading
import time

import pytest

from ipt_platform.checkpoint.files import read_json
from ipt_platform.checkpoint.remote import remote_checkpoints
from ipt_platform.errors import CancelledRunError, InfrastructureError, RefusedError
from ipt_platform.observe.checkpoints import newest_usable
from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.status import run_status
from tests.integration.s3.runs.trainings import Killed, die, job, train, types, weights, with_turns

pytestmark = pytest.mark.usefixtures("quick")


def test_a_training_goes_on_bit_for_bit_on_another_machine(machines, base, near, store):
    here = machines.new("here")
    with pytest.raises(Killed):
        train(here, base, job(), with_turns({9: die}))
    there = machines.find("there")
    report = train(there, base, job())

    third = machines.find("third")
    third.fetch()
    newest_usable(third)
    assert weights(third) == weights(there) == near
    assert read_json(third.report) == report
    steps = [event["step"] for event in read_events(third) if event["type"] == "resumed"]
    assert steps in ([4], [6], [8])  # what had reached the store by then
    assert [line["step"] for line in read_metrics(third) if "loss" in line and line["attempt"] == 2][-1] == 12
    assert run_status(third).state == "finished"
    assert run_status(third).checkpoint == 12
    assert any(key.endswith(".png") for key in store.objects() if "/samples/step-12/" in key)


@pytest.mark.slow
def test_a_training_that_dies_goes_on_here_with_what_was_not_sent_yet(machines, base, near, store):
    here = machines.new("here")
    store.proxy.fault = lambda request: "busy" if "/checkpoints/step-6/" in request.path and request.method == "PUT" else ""
    with pytest.raises(Killed):
        train(here, base, job(), with_turns({7: die}))
    store.proxy.fault = lambda request: ""
    train(here, base, job())

    assert [event["step"] for event in read_events(here) if event["type"] == "resumed"] == [6]
    assert weights(here) == near


@pytest.mark.slow
def test_a_store_that_is_gone_for_a_while_delays_and_nothing_else(machines, base, near, store, newest):
    here = machines.new("here")

    def gone() -> None:
        store.proxy.fault = lambda request: "reset"
        threading.Timer(1.0, lambda: setattr(store.proxy, "fault", lambda request: "")).start()

    train(here, base, job(), with_turns({3: gone}))

    assert newest(machines.find("there")).name == "step-12"
    assert weights(machines.find("there")) == near
    told = types(machines.find("there"))
    assert "warning" in told
    assert told[-1] == "finished"
    assert told.count("checkpoint") == 6


@pytest.mark.slow
def test_a_store_that_is_slow_delays_by_what_it_is_slower_and_says_so(machines, base, near, store, newest):
    here = machines.new("here")
    store.proxy.late = lambda request: time.sleep(0.05 if request.method == "PUT" and "/checkpoints/" in request.path else 0)
    try:
        train(here, base, job())
    finally:
        store.proxy.late = lambda request: None

    there = machines.find("there")
    assert newest(there).name == "step-12"
    assert weights(there) == near
    waited = [event["seconds"] for event in read_events(there) if "written faster than sent" in event.get("reason", "")]
    assert waited
    assert all(seconds > 0 for seconds in waited)
    assert types(there).count("checkpoint") == 6
    assert types(there)[-1] == "finished"


@pytest.mark.slow
def test_a_store_that_stays_away_ends_the_run_with_its_checkpoint_intact(machines, base, near, store):
    here = machines.new("here")

    def gone() -> None:
        store.proxy.fault = lambda request: "busy"

    with pytest.raises(InfrastructureError, match=r"could not be sent for \d+ s; it is on this machine"):
        train(here, base, job(patience=0.2), with_turns({3: gone}))
    store.proxy.fault = lambda request: ""
    train(here, base, job())

    assert weights(here) == near
    assert next(event["step"] for event in read_events(here) if event["type"] == "resumed") >= 4


@pytest.mark.slow
def test_a_training_that_was_overtaken_elsewhere_ends_and_commits_nothing_more(machines, base, near):
    here, taken = machines.new("here"), []

    def take_over() -> None:
        taken.append(machines.find("there"))
        taken[0].new_attempt()
        here.mirror.look()

    with pytest.raises(RefusedError, match="attempt 1 no longer owns run far: attempt 2"):
        train(here, base, job(), with_turns({5: take_over}))
    committed = [(each.step, each.attempt) for each in remote_checkpoints(here.mirror.remote) if each.committed]
    assert all(step <= 4 for step, _ in committed)
    train(taken[0], base, job())

    assert weights(taken[0]) == near


@pytest.mark.slow
def test_a_stop_from_another_machine_is_followed_after_a_checkpoint_that_is_there(machines, base, near, newest):
    here = machines.new("here")

    def stop() -> None:
        machines.find("there").request_stop("lunch")
        here.mirror.look()

    with pytest.raises(CancelledRunError, match="lunch"):
        train(here, base, job(), with_turns({4: stop}))
    there = machines.find("there")
    assert newest(there).name == "step-5"
    train(there, base, job())

    assert weights(there) == near


@pytest.mark.slow
def test_the_best_and_the_newest_are_kept_there(machines, base):
    here = machines.new("here")
    train(here, base, job(keep=2))

    steps = [each.step for each in remote_checkpoints(here.mirror.remote)]
    best = read_json(here.checkpoints / "step-12" / "state.json")["progress"]["best"].get("step")
    assert set(steps) == {12, 10, best} - {None}
