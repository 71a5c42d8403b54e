"""The queue of checkpoints that are sent while training goes on: bounded, in order, patient."""

import errno
import threading

import pytest

from ipt_platform.checkpoint import uploads as module
from ipt_platform.checkpoint.uploads import Uploads
from ipt_platform.errors import InfrastructureError, NoRoomError, RefusedError


class Store:
    """Sends when it is let, and notes what it was told."""

    def __init__(self):
        self.let, self.sent, self.told, self.calls = threading.Semaphore(0), [], [], 0
        self.failing: list[Exception] = []
        self.begun = threading.Semaphore(0)

    def send(self, step: int) -> None:
        self.calls += 1
        self.begun.release()
        self.let.acquire()
        if self.failing:
            raise self.failing.pop(0)

    def queue(self, patience: float = 1e9, **more) -> Uploads:
        return Uploads(
            self.send,
            lambda step, seconds: self.sent.append(step),
            lambda words, **more: self.told.append(words),
            patience,
            **more,
        )


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.0)


def test_one_is_sent_one_waits_and_a_third_waits_outside(monkeypatch):
    monkeypatch.setattr(module, "NOTICED", 0.0)
    store = Store()
    queue = store.queue()
    queue.submit(1)
    queue.submit(2)
    store.begun.acquire()
    assert queue.pending == {1, 2}
    third = threading.Thread(target=queue.submit, args=(3,))
    third.start()
    third.join(0.2)
    assert third.is_alive()
    assert queue.pending == {1, 2}
    store.let.release()
    third.join(30)
    assert not third.is_alive()
    for _ in range(2):
        store.let.release()
    queue.finish()

    assert store.sent == [1, 2, 3]
    assert queue.pending == set()
    assert any("training waited" in words for words in store.told)


def test_who_waits_says_all_along_that_it_is_alive(monkeypatch):
    """Else training that waits for a slow store would be taken for training that stands still."""
    monkeypatch.setattr(module, "LOOK", 0.01)
    store, said = Store(), threading.Semaphore(0)
    queue = store.queue(waits=said.release)
    queue.submit(1)
    waiting = threading.Thread(target=queue.finish)
    waiting.start()
    for _ in range(3):
        assert said.acquire(timeout=30)
    store.let.release()
    waiting.join(30)

    assert store.sent == [1]


def test_a_failure_that_passes_is_told_once_and_the_step_sent_again():
    store = Store()
    store.failing = [InfrastructureError("busy"), InfrastructureError("still busy")]
    queue = store.queue()
    for _ in range(3):
        store.let.release()
    queue.submit(5)
    queue.finish()

    assert (store.sent, store.calls) == ([5], 3)
    assert store.told == ["the checkpoint of step 5 cannot be sent; it is tried again: busy"]


def test_patience_ends():
    store, now = Store(), iter(range(0, 10_000, 40))
    store.failing = [InfrastructureError("gone")] * 50
    queue = store.queue(patience=100, clock=lambda: float(next(now)))
    for _ in range(50):
        store.let.release()
    queue.submit(5)

    with pytest.raises(InfrastructureError, match=r"step 5 could not be sent for 1[0-4]0 s; it is on this machine.*: gone"):
        queue.finish()
    assert store.sent == []
    assert 2 <= store.calls <= 4
    with pytest.raises(InfrastructureError, match="could not be sent"):
        queue.submit(6)


def test_what_will_not_pass_is_raised_at_once_where_the_training_asks():
    store = Store()
    store.failing = [RefusedError("attempt 1 no longer owns the run")]
    store.let.release()
    queue = store.queue()
    queue.submit(5)

    with pytest.raises(RefusedError, match="no longer owns"):
        queue.finish()
    with pytest.raises(RefusedError, match="no longer owns"):
        queue.check()
    assert store.told == []


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "events.jsonl"),
            NoRoomError,
            "events.jsonl: storage failed: No space",
        ),
        (InfrastructureError("events.jsonl has been locked for 60 s"), InfrastructureError, "has been locked"),
        (ZeroDivisionError("a mistake"), ZeroDivisionError, "a mistake"),
    ],
)
@pytest.mark.parametrize("of", ["sent", "warn"])
def test_what_cannot_be_told_ends_the_waiting_too(error, kind, says, of):
    """The events of the run lie on a disk that may be full when all is sent."""
    store = Store()

    def tell(what: str) -> None:
        if what == of:
            raise error

    store.failing = [InfrastructureError("gone")] if of == "warn" else []
    store.let.release()
    queue = Uploads(store.send, lambda *_: tell("sent"), lambda *_, **__: tell("warn"), 1e9)
    queue.submit(5)

    with pytest.raises(kind, match=says):
        queue.finish()
    with pytest.raises(kind, match=says):
        queue.submit(6)
