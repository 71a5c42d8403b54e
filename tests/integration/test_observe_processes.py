"""Several real processes at one run: they get different attempts, and their lines never mix."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ipt_platform.observe.events import append_event, read_events
from ipt_platform.observe.jsonl import append_line, read_lines
from ipt_platform.observe.process import Process, this_process
from ipt_platform.observe.rundir import RunDir


def race(count: int, act: Callable[[int], None]) -> None:
    """Fork `count` processes, let them all begin at once, and wait until each came to a good end."""
    ready, go = os.pipe()
    pids: list[int] = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(go)
                os.read(ready, 1)  # returns when the parent closes the other end: for all children at once
                act(number)
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    os.close(ready)
    os.close(go)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * count


def test_processes_that_race_for_an_attempt_get_different_numbers(tmp_path: Path):
    run = RunDir(tmp_path / "run")

    def act(number: int) -> None:
        taken = [run.new_attempt() for _ in range(25)]
        (tmp_path / str(number)).write_text(json.dumps(taken))

    race(4, act)

    taken = [json.loads((tmp_path / str(number)).read_text()) for number in range(4)]
    assert sorted(number for numbers in taken for number in numbers) == list(range(1, 101))
    assert all(numbers == sorted(numbers) for numbers in taken)
    pids = {process.pid for process in (run.attempt(number).process for number in range(1, 101)) if process}
    assert len(pids) == 4


def test_lines_of_processes_that_write_at_once_never_mix(tmp_path: Path):
    path = tmp_path / "x.jsonl"

    def act(number: int) -> None:
        for i in range(300):
            append_line(path, {"writer": number, "i": i, "fill": str(number) * (1 + 37 * i % 9000)})

    race(3, act)

    data = path.read_bytes()
    lines = [json.loads(line) for line in data.splitlines() if line]
    assert Counter(line["writer"] for line in lines) == {0: 300, 1: 300, 2: 300}
    assert all(line["fill"] == str(line["writer"]) * (1 + 37 * line["i"] % 9000) for line in lines)
    for writer in range(3):
        assert [line["i"] for line in lines if line["writer"] == writer] == list(range(300))
    assert read_lines(path) == lines


def test_events_of_processes_that_write_at_once_all_arrive(tmp_path: Path):
    run = RunDir(tmp_path)

    race(2, lambda number: [append_event(run, "bad-sample", number, key=f"{number}-{i}") for i in range(40)] and None)

    assert {event["key"] for event in read_events(run)} == {f"{number}-{i}" for number in range(2) for i in range(40)}


def test_a_process_is_alive_until_it_is_dead(tmp_path: Path):
    ready, go = os.pipe()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        os.write(tell, json.dumps(vars(this_process())).encode())
        os.read(ready, 1)
        os._exit(0)
    os.close(ready)
    child = Process(**json.loads(os.read(told, 4096)))
    assert child.pid == pid
    assert child.alive() is True

    os.close(go)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it has ended, but nobody has asked for its status: a zombie
    assert child.alive() is False
    os.waitpid(pid, 0)
    assert child.alive() is False
