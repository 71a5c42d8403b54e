"""A store that takes no more, or lets nobody write, in the middle of a training: told in words, and nothing corrupt."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from ipt_platform.checkpoint.manifest import verify
from ipt_platform.errors import FailureClass, NoRoomError, UsageError
from ipt_platform.observe.events import read_events
from tests.conftest import HANG
from tests.integration.s3.runs.trainings import job, train, types, weights, with_turns

pytestmark = [pytest.mark.usefixtures("quick"), pytest.mark.slow]


def refuse(store, fault: str, seconds: float | None = None) -> Callable[[], None]:
    """Once it has a checkpoint, nothing can be written any more; reading goes on."""

    def turn() -> None:
        end = time.monotonic() + HANG
        while not any(key.endswith("/COMMIT") for key in store.objects()):
            assert time.monotonic() < end
            time.sleep(0.01)
        store.proxy.fault = lambda request: fault if request.method in ("PUT", "POST") else ""
        if seconds:
            threading.Timer(seconds, open_again, [store]).start()

    return turn


def open_again(store) -> None:
    store.proxy.fault = lambda request: ""


def told(run) -> list[dict[str, Any]]:
    return [event for event in read_events(run) if event["type"] == "warning"]


def test_while_a_store_is_full_checkpoints_wait_and_nothing_else(machines, base, near, store, newest):
    here = machines.new("here")
    train(here, base, job(), with_turns({5: refuse(store, "quota", seconds=1.0)}))

    there = machines.find("there")
    verify(newest(there))
    assert weights(there) == near
    late = [event["reason"] for event in told(there) if "it is tried again" in event["reason"]]
    assert len(late) == 1
    assert "says QuotaExceeded (HTTP 403): the store is full, or the quota of the bucket" in late[0]
    assert types(there).count("checkpoint") == 6
    assert types(there)[-1] == "finished"


@pytest.mark.parametrize(
    ("fault", "error", "kind", "says"),
    [
        (
            "full",
            NoRoomError,
            FailureClass.INFRASTRUCTURE,
            r"HTTP 507\): the store is full.*`ipt-platform gc`",
        ),
        (
            "denied",
            UsageError,
            FailureClass.USER,
            r"AccessDenied \(HTTP 403\): the credentials that were found may",
        ),
    ],
)
def test_a_store_that_takes_nothing_more_ends_the_run_in_words(machines, base, near, store, newest, fault, error, kind, says):
    here = machines.new("here")
    with pytest.raises(error, match=says) as ended:
        # what is refused for good is not waited for
        train(here, base, job(patience=0.2 if fault == "full" else 600), with_turns({5: refuse(store, fault)}))
    assert ended.value.failure == kind
    open_again(store)
    there = machines.find("there")
    verify(newest(there))
    kept = int(newest(there).name.removeprefix("step-"))
    assert kept in (2, 4)
    train(here, base, job())

    assert weights(here) == near
    steps = [event["step"] for event in read_events(here) if event["type"] == "resumed"]
    assert len(steps) == 1
    assert steps[0] > kept  # from the checkpoints of this machine, which the store had not taken
    assert newest(machines.find("third")).name == "step-12"
