"""Telling the exporter: nothing is waited for, nothing is lost while it is slow, and one that comes anew hears everything."""

import pickle
import threading
import time
from collections.abc import Callable

import pytest

from ipt_platform.observe import teller as module
from ipt_platform.observe.teller import OBSERVATIONS, LostError, Mailbox, Report, Teller, Voice
from tests.conftest import HANG


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Looks into the mailbox as often as a test can stand."""
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)


class Exporter:
    """A line in this process; says no while it is busy, and is lost while it is gone."""

    def __init__(self) -> None:
        self.messages: list[list[Report]] = []
        self.busy = self.gone = False
        self.asked = 0

    def send(self, reports: list[Report]) -> bool:
        self.asked += 1
        if self.gone:
            raise LostError("gone")
        if not self.busy:
            self.messages.append(reports)
        return not self.busy

    def settle(self, seconds: float) -> None:
        pass

    def total(self, name: str) -> float:
        return sum(value for reports in list(self.messages) for each, _, _, value in reports if each == name)

    def last(self, name: str) -> float | None:
        return (
            next((value for each, _, _, value in reversed(self.messages[-1]) if each == name), None) if self.messages else None
        )


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + HANG
    while not true():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


def told(box: Mailbox) -> dict[tuple[str, ...], object]:
    return {(name, *labels.values(), operation): value for name, labels, operation, value in box.take()}


def test_a_mailbox_keeps_the_newest_of_gauges_and_the_sum_of_counts():
    box, a, b = Mailbox(), {"job": "a"}, {"job": "b"}
    box.put(("gauge", a, "set", 1), ("gauge", b, "set", 5), ("gauge", a, "set", 2))
    box.put(("best", a, "max", 3), ("best", a, "max", 1))
    box.put(("count", a, "add", 1), ("count", a, "add", 2))
    box.put(("seconds", a, "observe", [1.0]), ("seconds", a, "observe", [2.0, 3.0]))

    gauges = {("gauge", "a", "set"): 2, ("gauge", "b", "set"): 5, ("best", "a", "max"): 3}
    assert told(box) == {**gauges, ("count", "a", "add"): 3, ("seconds", "a", "observe"): [1.0, 2.0, 3.0]}
    assert told(box) == gauges


def test_what_was_taken_and_not_told_is_counted_again_and_gauges_stay_the_newer_ones():
    box, a = Mailbox(), {"job": "a"}
    box.put(("gauge", a, "set", 1), ("count", a, "add", 1))
    taken = box.take()
    box.put(("gauge", a, "set", 2), ("count", a, "add", 10))
    box.put_back(taken)

    assert told(box) == {("gauge", "a", "set"): 2, ("count", "a", "add"): 11}


def test_a_mailbox_that_nobody_empties_stays_small_and_says_what_is_missing():
    box = Mailbox()
    for _ in range(30):
        box.put(("seconds", {"job": "a"}, "observe", [1.0] * 1000), ("count", {"job": "a"}, "add", 1000))

    found = told(box)
    values = found[("seconds", "a", "observe")]
    assert isinstance(values, list)
    assert len(values) == OBSERVATIONS
    assert found[("ipt_exporter_dropped_total", "busy", "add")] == 30_000 - OBSERVATIONS
    assert found[("count", "a", "add")] == 30_000


def test_everything_told_arrives_and_close_waits_for_the_last_word():
    exporter = Exporter()
    teller = Teller(lambda: exporter)
    for number in range(100):
        teller.tell(("count", {}, "add", 1), ("gauge", {}, "set", number))
    teller.close(HANG)

    assert exporter.total("count") == 100
    assert exporter.last("gauge") == 99


def test_a_busy_exporter_is_not_waited_for_and_loses_nothing():
    exporter = Exporter()
    exporter.busy = True
    teller = Teller(lambda: exporter)
    for _ in range(50):
        teller.tell(("count", {}, "add", 1))
    until(lambda: exporter.asked > 3)
    assert exporter.messages == []
    exporter.busy = False
    teller.tell(("count", {}, "add", 1))
    teller.close(HANG)

    assert exporter.total("count") == 51


def test_the_last_words_are_said_when_an_exporter_that_was_busy_can_hear_them():
    class Slow(Exporter):
        def settle(self, seconds: float) -> None:
            self.busy = False  # it took what was sent earlier

    exporter = Slow()
    exporter.busy = True
    teller = Teller(lambda: exporter)
    teller.tell(("gauge", {}, "set", 1), ("count", {}, "add", 1))
    until(lambda: exporter.asked)
    teller.tell(("gauge", {}, "set", 0), ("count", {}, "add", 1))
    teller.close(HANG)

    assert exporter.last("gauge") == 0
    assert exporter.total("count") == 2


def test_one_that_stays_busy_is_given_up_at_the_end():
    exporter = Exporter()
    exporter.busy = True
    teller = Teller(lambda: exporter)
    teller.tell(("count", {}, "add", 1))
    until(lambda: exporter.asked)
    teller.close(0.05)

    assert teller._thread
    teller._thread.join(HANG)
    assert not teller._thread.is_alive()
    assert exporter.messages == []


def test_one_that_comes_late_or_anew_hears_all_gauges():
    found: list[Exporter] = []
    looks: list[None] = []

    def find() -> Exporter | None:
        looks.append(None)
        return found[-1] if found else None

    teller = Teller(find)
    teller.tell(("gauge", {"of": "the beginning"}, "set", 7), ("count", {}, "add", 1))
    until(lambda: looks)
    assert not teller.heard
    found.append(Exporter())
    teller.tell(("count", {}, "add", 1))
    until(lambda: found[0].total("count") == 2)
    assert found[0].last("gauge") == 7

    found[0].gone = True
    found.append(Exporter())
    teller.tell(("count", {}, "add", 1))
    until(lambda: found[1].total("count") == 1)
    teller.close(HANG)

    assert found[1].last("gauge") == 7
    # of the message before nobody knows whether it was taken
    assert found[1].total("ipt_exporter_dropped_total") == 1


def test_what_is_told_in_one_block_comes_in_one_message():
    exporter = Exporter()
    voice = Voice(Teller(lambda: exporter), "a")
    for number in range(200):
        with voice.at_once:
            voice.set("one", number)
            voice.set("two", number)
    voice.close()

    assert exporter.messages
    for reports in exporter.messages:
        assert len({value for _, _, _, value in reports}) == 1


def test_a_mistake_in_the_thread_does_not_reach_who_tells():
    def find():
        raise RuntimeError("a mistake of ours")

    teller = Teller(find)
    teller.tell(("count", {}, "add", 1))
    until(lambda: teller._thread and not teller._thread.is_alive())
    teller.tell(("count", {}, "add", 1))
    teller.close(HANG)


def test_a_line_that_hangs_delays_the_end_by_no_more_than_was_said():
    hanging = threading.Event()

    class Hanging(Exporter):
        def send(self, reports: list[Report]) -> bool:
            self.asked += 1
            return hanging.wait(HANG)

    exporter = Hanging()
    teller = Teller(lambda: exporter)
    teller.tell(("count", {}, "add", 1))
    until(lambda: exporter.asked)
    teller.close(0.05)

    assert teller._thread
    assert teller._thread.is_alive()
    hanging.set()
    teller._thread.join(HANG)


def test_a_part_of_a_job_tells_what_it_counts_and_no_gauges():
    exporter = Exporter()
    voice = Voice(Teller(lambda: exporter), "search", part=True)
    voice.set("ipt_train_step", 5)
    voice.raise_to("ipt_eval_best_psnr_db", 30, task="t", set="s")
    voice.add("ipt_train_steps_total", 1)
    voice.observe("ipt_train_step_seconds", [0.1])
    voice.close()

    names = {(name, labels["job"]) for reports in exporter.messages for name, labels, _, _ in reports}
    assert names == {("ipt_train_steps_total", "search"), ("ipt_train_step_seconds", "search")}


def test_without_a_teller_nothing_is_told():
    voice = Voice(None, "a")
    with voice.at_once:
        voice.add("ipt_train_steps_total", 1)
    voice.close()

    assert not voice.heard


def test_a_copy_for_another_process_says_nothing():
    exporter = Exporter()
    teller = Teller(lambda: exporter)
    voice = Voice(teller, "job")

    copied = pickle.loads(pickle.dumps(voice))
    copied.add("ipt_train_steps_total", 1)
    voice.add("ipt_train_steps_total", 2)
    teller.close()

    assert (copied.job, copied.part, copied.heard) == ("job", False, False)
    assert exporter.total("ipt_train_steps_total") == 2
