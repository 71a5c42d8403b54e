"""Logs as records: levels with their tracebacks, patterns, times; the last matching lines against a plain second reading."""

import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipt_platform.errors import UsageError
from ipt_platform.observe.jsonl import newest_with, read_ends, read_lines
from ipt_platform.observe.logs import LEVELS, Sieve, Wanted, tail, wanted
from ipt_platform.observe.moments import since

NOW = datetime(2026, 11, 26, 12, 0).astimezone()

LOG = """\
loose words before the first record
2026-11-26 11:00:00,100 INFO ipt_platform.train.worker: worker 0 of 1 on cpu
2026-11-26 11:30:00,200 WARNING ipt_platform.train.session: picture a.png is cut off
2026-11-26 11:45:00,300\tERROR worker.py:2014 -- ended by an error
Traceback (most recent call last):
  File "train.py", line 1, in <module>
ValueError: INFO is no number
[2026-11-26 11:50:00,400 W 4242 4242] (raylet) node_manager.cc:103: memory is low
[2026-11-26 11:55:00,500 I 4242 4242] (raylet) node_manager.cc:104: memory is fine
2026-11-26 11:59:00,600 DEBUG ipt_platform.train.session: step 2
""".splitlines()


def sieved(lines: list[str], **words: str | None) -> list[str]:
    sieve = Sieve(wanted(words.get("level"), words.get("grep"), words.get("since"), NOW))
    return [shown for line in lines for shown in sieve.feed(line)]


@pytest.mark.parametrize(
    ("level", "numbers"),
    [("debug", range(1, 10)), ("info", range(1, 9)), ("Warning", range(2, 8)), ("warn", range(2, 8)), ("ERROR", range(3, 7))],
)
def test_a_level_means_that_and_above_with_the_lines_that_follow(level: str, numbers: range):
    assert sieved(LOG, level=level) == [LOG[number] for number in numbers]


def test_critical_finds_nothing_here():
    assert sieved(LOG, level="critical") == []
    assert sieved(["[2026-11-26 11:55:00,500 F 1 1] core.cc:1: gone"], level="critical") != []


def test_a_pattern_in_any_line_shows_the_whole_record():
    assert sieved(LOG, grep="is no number$") == LOG[3:7]
    assert sieved(LOG, grep="^loose") == LOG[:1]
    assert sieved(LOG, grep="memory", level="warning") == LOG[7:8]


@pytest.mark.parametrize(
    ("text", "first"),
    [("20m", 3), ("15m", 3), ("899s", 7), ("2026-11-26T11:50", 7), ("2026-11-26", 1), ("1h30m", 1), ("0s", 10)],
)
def test_since_leaves_out_what_is_older(text: str, first: int):
    assert sieved(LOG, since=text) == LOG[first:]


def test_a_time_with_an_offset_is_that_moment():
    assert since("2026-11-26T10:30:00+02:00", NOW) == datetime.fromisoformat("2026-11-26T08:30:00+00:00")
    assert since("1d2h3m4.5s", NOW) == NOW - timedelta(days=1, hours=2, minutes=3, seconds=4.5)


@pytest.mark.parametrize("text", ["", "yesterday", "15", "m", "-5m", "2026-13-01", "5m3h", "99999999999d"])
def test_what_is_no_time_is_refused(text: str):
    with pytest.raises(UsageError, match="is no time: expected how long ago"):
        since(text, NOW)


def test_a_bad_pattern_or_level_is_refused_with_what_is_wrong():
    with pytest.raises(UsageError, match=r"--grep '\(' is no regular expression: missing \), unterminated subpattern"):
        wanted(None, "(", None, NOW)
    with pytest.raises(UsageError, match="--level 'loud' is no level; expected one of debug, info, warning, error, critical"):
        wanted("loud", None, None, NOW)


RECORDS = st.lists(
    st.tuples(
        st.sampled_from(LEVELS),
        st.text("ab ", min_size=1, max_size=6),
        st.lists(st.text("abc", min_size=1, max_size=4), max_size=4),
    ),
    max_size=12,
)


@given(RECORDS, st.sampled_from([None, *LEVELS]), st.sampled_from([None, "a", "b+", "^c"]), st.integers(0, 8))
def test_the_last_matching_lines_are_those_of_a_reading_that_splits_first(tmp_path_factory, records, level, grep, count):
    """The second reading has the records as they were made, and asks each whole one."""
    made = [[f"2026-11-26 11:00:00,000 {name} m: {text}", *more] for name, text, more in records]
    path = tmp_path_factory.mktemp("log") / "0.log"
    path.write_text("".join(f"{line}\n" for record in made for line in record))
    fitting = [
        line
        for (name, _, _), record in zip(records, made, strict=True)
        if (not level or LEVELS.index(name) >= LEVELS.index(level))
        and (not grep or any(re.search(grep, each) for each in record))
        for line in record
    ]

    found = tail(path, count, sieve=Sieve(Wanted(level, re.compile(grep) if grep else None)))

    assert found == (fitting[-count:] if count else [])


def test_a_tail_ends_where_a_follower_stands(tmp_path: Path):
    path = tmp_path / "0.log"
    path.write_text("\n".join(LOG) + "\n")
    end = path.read_bytes().index(b"ValueError")
    sieve = Sieve(Wanted("ERROR"))

    before = tail(path, 50, end, sieve)

    assert before == LOG[3:6]
    assert [sieve.feed(line) for line in LOG[6:8]] == [[LOG[6]], []], "the record goes on where the tail ended"


LINES = st.lists(st.dictionaries(st.sampled_from(["steps", "evaluation", "x"]), st.text(max_size=40), max_size=3), max_size=60)


@given(LINES, st.integers(1, 400))
def test_the_newest_object_with_a_key_is_found_from_the_end(tmp_path_factory, objects, reach):
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    text = [json.dumps(each) + "\n" for each in objects]
    path.write_text("".join(text))

    found = newest_with(path, ("steps", "evaluation"))
    near = newest_with(path, ("steps",), reach)

    for key in ("steps", "evaluation"):
        assert found.get(key) == next((each for each in reversed(objects) if key in each), None)
    within = [each for number, each in enumerate(objects) if len("".join(text[number:]).encode()) <= reach]
    assert near.get("steps") == next((each for each in reversed(within) if "steps" in each), None)


@given(LINES, st.integers(1, 400))
def test_the_ends_of_a_file_are_whole_lines_of_it(tmp_path_factory, objects, reach):
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    path.write_text("".join(json.dumps(each | {"n": n}) + "\n" for n, each in enumerate(objects)))

    found = read_ends(path, reach)

    numbers = [each["n"] for each in found]
    assert numbers == sorted(set(numbers))
    assert found[-1:] == read_lines(path)[-1:], "the last line is always among them"
    if path.stat().st_size <= 2 * reach:
        assert found == read_lines(path)
