"""Range reads: every picture by its number, from any thread or process, and no wrong bytes when a file changes."""

import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from ipt_platform.data import reader
from ipt_platform.data.index import load_index
from ipt_platform.data.pack import pack
from ipt_platform.data.reader import ShardSet
from ipt_platform.errors import DataError


def write_photos(folder, count, first=0):
    folder.mkdir()
    for i in range(first, first + count):
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(buffer, "PNG")
        (folder / f"{i:03d}.png").write_bytes(buffer.getvalue())
    return folder


@pytest.fixture
def shards(tmp_path):
    return pack(write_photos(tmp_path / "photos", 20), tmp_path / "out", shard_size=700).shards


def originals(tmp_path):
    return [path.read_bytes() for path in sorted((tmp_path / "photos").iterdir())]


def test_pictures_are_numbered_through_all_shards(shards, tmp_path):
    opened = ShardSet.open(shards)

    assert len(shards) > 3
    assert [opened.read(i).data for i in range(opened.images)] == originals(tmp_path)
    assert [opened.read(i).key for i in (0, 19)] == ["000", "019"]
    for outside in (-1, 20):
        with pytest.raises(IndexError):
            opened.read(outside)


def test_it_travels_without_its_files_and_indexes(shards, tmp_path):
    opened = ShardSet.open(shards)
    opened.read(0)
    parcel = pickle.dumps(opened)
    again = pickle.loads(parcel)

    assert len(parcel) < 200 + 200 * len(shards)
    assert [again.read(i).data for i in range(20)] == originals(tmp_path)
    assert again.digest == opened.digest


def test_many_threads_read_right_while_files_are_closed_under_them(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "OPEN_FILES", 1)
    opened = ShardSet.open(shards)
    expected = originals(tmp_path)
    numbers = np.random.default_rng(0).integers(0, 20, 2000).tolist()
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda i: opened.read(i).data, numbers))

    assert all(data == expected[i] for i, data in zip(numbers, read, strict=True))


def test_the_digest_is_of_pictures_and_order_not_of_shards(shards, tmp_path):
    packed_otherwise = pack(tmp_path / "photos", tmp_path / "one").shards
    others = pack(write_photos(tmp_path / "more", 20, first=1), tmp_path / "two").shards
    digest = ShardSet.open(shards).digest

    assert ShardSet.open(packed_otherwise).digest == digest
    assert ShardSet.open(shards[::-1]).digest != digest
    assert ShardSet.open(others).digest != digest


def test_a_tar_that_changed_is_refused_at_once(shards):
    shards[1].write_bytes(shards[1].read_bytes() + bytes(512))

    with pytest.raises(DataError, match="no longer matches"):
        ShardSet.open(shards)


def test_a_tar_that_is_cut_while_in_use_never_gives_wrong_bytes(shards):
    opened = ShardSet.open(shards)
    last = load_index(shards[0]).members[-1]
    opened.read(0)
    with shards[0].open("r+b") as file:
        file.truncate(last.offset + 3)

    with pytest.raises(DataError, match=rf"cut off: {last.key} should have {last.size} bytes from byte {last.offset}, 3 are"):
        opened.read(opened.counts[0] - 1)


def test_no_shards_is_an_error():
    with pytest.raises(DataError, match="no shards"):
        ShardSet.open([])
