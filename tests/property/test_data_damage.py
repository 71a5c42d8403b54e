"""Whatever bytes come: a whole index or batch, or a DataError that says where; never another error, nor much memory."""

import copy
import io
import json
import tarfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ipt_platform.data.bad import Bad
from ipt_platform.data.batch import Batch, arrays_in, room_for
from ipt_platform.data.image import decode_rgb
from ipt_platform.data.index import index_path, load_index
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.scan import ensure_index
from ipt_platform.errors import BadPictureError, DataError

SHARED = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
ODD = [0, -1, 1, 511, 10**9, 2**31, 2**63, 10**30, 1.5, True, None, "", "x", "../x", "\x1b[2J", "n" * 3000, "0" * 64, [], {}]

json_values = st.sampled_from(ODD) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Every place in a JSON document."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from places(each, (*path, key))


@st.composite
def changed(draw: st.DrawFn, document: Any) -> bytes:
    """A document of which a few values were replaced, removed or doubled, or a few bytes."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(document))))
        parent = document
        for key in path[:-1]:
            parent = parent[key]
        match draw(st.sampled_from(["set", "set", "drop", "double", "add"])):
            case "set":
                parent[path[-1]] = draw(json_values)
            case "drop":
                del parent[path[-1]]
            case "double" if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[path[-1]]))
            case _ if isinstance(parent, dict):
                parent[draw(st.text(max_size=8))] = draw(json_values)
            case _:
                pass
        if not list(places(document)):
            break
    data = bytearray(json.dumps(document).encode())
    if draw(st.booleans()):
        for _ in range(draw(st.integers(1, 4))):
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
        data = data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data
    return bytes(data)


@contextmanager
def little_memory(given: int) -> Iterator[None]:
    """At most a few MB, and in proportion to what was given."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 4_000_000 + 200 * given
    finally:
        tracemalloc.stop()


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((5, 7, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def shard(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("shards") / "0.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(3):
            for half in ("clean", "degraded"):
                info = tarfile.TarInfo(f"{number}.{half}.png")
                info.size = len(png(number))
                tar.addfile(info, io.BytesIO(png(number)))
    ensure_index(path)
    return path


def usable(shard: Path, data: bytes) -> str:
    """Read all that an index of these bytes leads to; what is said where it is refused."""
    index_path(shard).write_bytes(data)
    try:
        index = load_index(shard)
    except DataError as error:
        return str(error)
    assert index == type(index).model_validate_json(index.model_dump_json(exclude_none=True))
    files = [file for member in index.members for file in member.files]
    assert all(0 <= file.offset <= file.offset + file.size <= shard.stat().st_size for file in files)
    assert len({member.key for member in index.members}) == len(index.members)
    shards = ShardSet.open([shard])
    assert shards.images == len(index.members)
    for number, member in enumerate(index.members):
        assert shards.locate(number).key == member.key
        try:
            decode_rgb(shards.read(number).data)
            decode_rgb(shards.read_degraded(number).data)
        except BadPictureError:
            pass
    return ""


@given(st.data())
@SHARED
def test_a_changed_index_is_one_that_can_be_read_or_is_refused_by_name(shard, tmp_path_factory, data):
    good = tmp_path_factory.getbasetemp() / "good.json"
    if not good.exists():
        good.write_bytes(index_path(shard).read_bytes())
    changed_index = data.draw(changed(json.loads(good.read_bytes())))
    with little_memory(len(changed_index)):
        says = usable(shard, changed_index)

    assert not says or says.startswith(str(shard))


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode) | st.integers(1, 30_000).map(lambda deep: b"[" * deep))
@SHARED
def test_any_bytes_in_the_place_of_an_index_are_refused_by_name(shard, data):
    with little_memory(len(data)):
        says = usable(shard, data)

    assert says.startswith(f"{index_path(shard)}: not an index of format ipt-index/1")


def test_one_long_name_costs_its_length_once_and_not_for_every_member(tmp_path):
    shard = tmp_path / "0.tar"
    shard.write_bytes(bytes(1024))
    entry = {"offset": 0, "size": 9, "width": 1, "height": 1, "sha256": "0" * 64}
    names = [str(number) for number in range(4000)] + ["é" * 1024]
    members = [{"key": name, "name": f"{name}"} | entry for name in names]
    index_path(shard).write_text(json.dumps({"format": "ipt-index/1", "shard": "0.tar", "bytes": 1024, "members": members}))

    shards = ShardSet.open([shard])
    assert [shards.locate(number).key for number in (0, 1, 3999, 4000)] == ["0", "1", "3999", "é" * 1024]
    assert len(shards._tables[0].keys) < 20_000


# Batches

SHAPES = {"denoise": (2, 4, 4, 3), "rain": (1, 3, 3, 3)}
WHOLE = Batch(
    step=7,
    tasks=arrays_in(np.arange(room_for(SHAPES), dtype=np.uint8), SHAPES),
    keys=["a", "b"],
    params=[{"task": "denoise", "crop": [1, 2]}],
    bad=[Bad("c", "cut-off", "cut off.", "0.tar")],
)


def read(head: bytes, pixels: np.ndarray) -> Batch | None:
    try:
        return Batch.of(head, pixels)
    except DataError as error:
        return None if str(error).startswith("The batch is ") else pytest.fail(str(error))


@given(changed(json.loads(WHOLE.head())) | st.binary(max_size=100), st.integers(0, 2000))
@SHARED
def test_a_damaged_batch_is_a_batch_within_its_buffer_or_refused(head, size):
    pixels = np.zeros(size, np.uint8)
    with little_memory(len(head) + size):
        batch = read(head, pixels)

    if batch:
        arrays = [array for pair in batch.tasks.values() for array in pair]
        assert sum(array.nbytes for array in arrays) <= size
        assert all(array.size and array.ndim == 4 for array in arrays)
        assert json.loads(batch.head()) == json.loads(head)
        assert all(isinstance(bad, Bad) for bad in batch.bad)


def test_a_whole_batch_is_read():
    pixels = np.arange(room_for(SHAPES), dtype=np.uint8)
    again = read(WHOLE.head(), pixels)

    assert again
    assert again.head() == WHOLE.head()
    assert again.bad == WHOLE.bad
    assert all(a.tobytes() == b.tobytes() for name in SHAPES for a, b in zip(again.tasks[name], WHOLE.tasks[name], strict=True))


def test_deep_nesting_is_refused():
    assert read(b"[" * 100_000, np.zeros(0, np.uint8)) is None
