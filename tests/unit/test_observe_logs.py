"""events.jsonl and metrics.jsonl: what is appended is read back, torn lines are passed over and harm no other."""

import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ipt_platform.observe import logs
from ipt_platform.observe.events import append_event, read_events
from ipt_platform.observe.jsonl import Follower, append_line, last_lines, read_lines
from ipt_platform.observe.metrics_log import append_metrics, read_metrics
from ipt_platform.observe.rundir import RunDir

NOON = datetime(2026, 1, 2, 12, 0, 0, 250_000, tzinfo=UTC)


def test_an_event_carries_time_type_attempt_and_fields(tmp_path: Path):
    run = RunDir(tmp_path)
    assert read_events(run) == []

    append_event(run, "resumed", 2, clock=lambda: NOON, step=100, reason="submitted again")
    append_event(run, "failed", 2, clock=lambda: NOON, reason="two\nlines")

    expected = {"time": "2026-01-02T12:00:00.250+00:00", "type": "resumed", "attempt": 2, "step": 100}
    assert read_events(run)[0] == {**expected, "reason": "submitted again"}
    assert read_events(run, tail=1)[0]["reason"] == "two\nlines"
    assert len(run.events.read_bytes().splitlines()) == 2


def test_an_event_of_no_known_type_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="'restarted' is no event type; expected one of created, started"):
        append_event(RunDir(tmp_path), "restarted", 1)

    assert not RunDir(tmp_path).events.exists()


def test_numbers_beyond_json_survive_and_the_file_stays_json(tmp_path: Path):
    run = RunDir(tmp_path)
    loss = {"denoise": math.inf, "deblur": -math.inf, "derain": math.nan, "dehaze": 0.1}

    append_metrics(run, {"step": 1, "loss": loss, "list": [math.inf, 1]}, clock=lambda: NOON)

    line = read_metrics(run)[0]
    assert line["loss"]["denoise"] == math.inf
    assert line["loss"]["deblur"] == -math.inf
    assert math.isnan(line["loss"]["derain"])
    assert line["loss"]["dehaze"] == 0.1
    assert line["list"] == [math.inf, 1]

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    json.loads(run.metrics.read_text(), parse_constant=refuse)


def test_a_torn_line_is_passed_over_and_the_next_writer_starts_afresh(tmp_path: Path):
    run = RunDir(tmp_path)
    append_metrics(run, {"step": 1})
    with run.metrics.open("ab") as file:
        file.write(b'{"time": "2026-01-02T12:00:00", "step": 2, "lo')
    assert [line["step"] for line in read_metrics(run)] == [1]

    append_metrics(run, {"step": 3})

    assert [line["step"] for line in read_metrics(run)] == [1, 3]
    assert [line["step"] for line in read_metrics(run, tail=1)] == [3]


def test_lines_that_are_no_objects_are_passed_over(tmp_path: Path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'[1]\n\xff\xfe\n\n{"a": 1}\nnull\n' + b"[" * 100_000 + b'\n{"a": 2}')

    assert read_lines(path) == [{"a": 1}, {"a": 2}]


def test_the_tail_of_a_long_file_is_its_end(tmp_path: Path):
    path = tmp_path / "x.jsonl"
    for i in range(50):
        append_line(path, {"i": i, "fill": "ä" * 4000})  # 400 kB: several blocks, cut inside characters

    lines = read_lines(path)

    assert [line["i"] for line in lines] == list(range(50))
    for tail in (0, 1, 7, 8, 49, 50, 51):
        assert read_lines(path, tail) == lines[max(0, 50 - tail) :]


def test_a_follower_sees_what_comes_and_the_tail_ends_where_it_begins(tmp_path: Path):
    path = tmp_path / "0.log"
    path.write_bytes(b"one\ntwo\nthr")
    follower = Follower(path, from_end=True)

    assert last_lines(path, 9, follower.position) == [b"one", b"two"]
    assert follower.poll() == []
    with path.open("ab") as file:
        file.write(b"ee\nfour\nfi")
    assert follower.poll() == [b"three", b"four"]
    assert follower.poll() == []


def test_a_follower_waits_for_a_file_that_is_not_there_yet(tmp_path: Path):
    follower = Follower(tmp_path / "later", from_end=True)
    assert follower.poll() == []

    append_line(tmp_path / "later", {"a": 1})

    assert follower.poll_objects() == [{"a": 1}]


def test_a_long_log_is_looked_through_from_its_end_as_far_as_asked(tmp_path):
    path = tmp_path / "0.log"
    path.write_text("".join(f"2026-11-26 10:00:00,000 INFO a: line {number:03d}\n" for number in range(100)))
    size = path.stat().st_size // 100

    fives = logs.Wanted(pattern=re.compile("line ..[05]"))

    def found(reach: int | None) -> list[str]:
        return [line[-3:] for line in logs.tail(path, 50, sieve=logs.Sieve(fives), reach=reach)]

    assert found(None) == found(100 * size) == found(10**9) == [f"{number:03d}" for number in range(0, 100, 5)]
    assert found(10 * size + 1) == ["090", "095"]
    assert found(size // 2) == []
