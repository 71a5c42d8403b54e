"""Wherever a kill cuts a file of lines, the whole lines before the cut are read and the lines after it are not lost."""

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ipt_platform.observe.jsonl import Follower, append_line, last_lines, read_lines

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.text(max_size=5), values, max_size=3)


@settings(max_examples=150)
@given(lines=st.lists(objects, max_size=5), later=objects, data=st.data())
def test_a_cut_costs_at_most_the_line_it_falls_in(lines: list[dict], later: dict, data: st.DataObject):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.jsonl"
        ends = [0]
        for line in lines:
            append_line(path, line)
            ends.append(path.stat().st_size)
        cut = data.draw(st.integers(0, ends[-1]), "cut")
        whole = [line for line, end in zip(lines, ends[1:], strict=True) if end - 1 <= cut]
        if path.exists():
            path.write_bytes(path.read_bytes()[:cut])

        assert read_lines(path) == whole
        append_line(path, later)
        assert read_lines(path) == [*whole, later]
        assert read_lines(path, tail=1) == [later]


@settings(max_examples=150)
@given(content=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=6), data=st.data())
def test_a_follower_hands_out_every_complete_line_once(content: bytes, cuts: list[int], data: st.DataObject):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.log"
        start = data.draw(st.integers(0, len(content)), "start")
        path.write_bytes(content[:start])
        follower = Follower(path, from_end=True)
        first = follower.position
        seen: list[bytes] = []
        for cut in sorted({cut for cut in cuts if start <= cut <= len(content)} | {len(content)}):
            path.write_bytes(content[:cut])
            seen += follower.poll()

        assert seen == content[first:].split(b"\n")[:-1]
        assert first == content[:start].rfind(b"\n") + 1
        before = [line for line in content[:first].split(b"\n") if line.strip()]
        assert last_lines(path, 3, first) == before[-3:]


@given(value=objects)
def test_a_line_is_one_line_of_json(value: dict):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.jsonl"
        append_line(path, value)

        data = path.read_bytes()

        assert data.count(b"\n") == 1
        assert data.endswith(b"\n")
        assert json.loads(data) == value
