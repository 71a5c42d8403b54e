"""Shards on S3: the same pictures, batches and verdicts as on a disk, by few requests, through a store that fails."""

import json
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from ipt_platform.data.carrier import local_stream
from ipt_platform.data.degradations.noise import GaussianNoise
from ipt_platform.data.index import index_path, load_index
from ipt_platform.data.pack import pack
from ipt_platform.data.pairs import BatchMaker, PairedDraw, TaskDraw
from ipt_platform.data.plan import Plan, Schedule, Stage
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.scan import ensure_index
from ipt_platform.data.shards import expand_shards, verify
from ipt_platform.errors import DataError, InfrastructureError, NotFoundError, UsageError
from ipt_platform.storage.files import BUFFER
from ipt_platform.storage.paths import S3Path
from ipt_platform.storage.ranges import SPAN

SCHEDULE = Schedule((Stage(steps=4, patch=16, images=6), Stage(steps=3, patch=24, images=4)))


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Twenty pictures in some shards on a disk."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "photos").mkdir()
    for seed in range(20):
        pixels = np.random.default_rng(seed).integers(0, 256, (24 + seed, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"photos/p{seed:02d}.png")
    return pack(folder / "photos", folder / "shards", shard_size=20_000).shards


@pytest.fixture
def remote(store, local):
    """The same shards on S3."""
    client = store.direct()
    for shard in local:
        for path in (shard, index_path(shard)):
            client.put_object(Bucket=store.bucket, Key=f"set/{path.name}", Body=path.read_bytes())
    return [store.path(f"set/{shard.name}") for shard in local]


def maker(shards, draws=None, **settings) -> BatchMaker:
    draws = draws or [TaskDraw("denoise", 2, GaussianNoise(sigma=25))]
    return BatchMaker(shards=shards, plan=Plan(7, shards.images), schedule=SCHEDULE, draws=draws, seed=7, **settings)


def batches(making: BatchMaker, processes: int = 0) -> list[tuple[bytes, ...]]:
    """All that a training would see, byte for byte."""
    return [
        (batch.head(), *[array.tobytes() for arrays in batch.tasks.values() for array in arrays])
        for batch in local_stream(making, 0, SCHEDULE.total_steps, processes)
    ]


def test_batches_are_those_of_the_same_shards_on_a_disk(store, local, remote):
    on_disk, on_s3 = ShardSet.open(local), ShardSet.open(remote)

    assert on_s3.digest == on_disk.digest
    assert batches(maker(on_s3)) == batches(maker(on_disk))
    assert batches(maker(on_s3, cache_bytes=0), processes=2) == batches(maker(on_disk))


@pytest.mark.parametrize("fault", ["error", "busy", "reset", "cut", "break", "lose"])
def test_batches_are_the_same_whatever_fails_once(store, local, remote, fault):
    store.proxy.fail_once(fault, lambda request: True)

    making = pickle.loads(pickle.dumps(maker(ShardSet.open(remote))))

    assert batches(making) == batches(maker(ShardSet.open(local)))


def test_the_pictures_of_a_step_come_by_few_requests_and_none_twice(store, local, remote):
    opened = ShardSet.open(remote)
    assert len(store.proxy.requests) == 2 * len(remote)  # what it is, and its index
    store.proxy.requests.clear()
    making = maker(opened)
    making.make(0)
    first = len(store.proxy.requests)
    assert 1 <= first <= len(remote) < 6
    making.make(0)
    assert len(store.proxy.requests) == first  # decoded pictures are kept

    for step in range(SCHEDULE.total_steps):
        maker(opened, cache_bytes=0).make(step)
    asked = [request for request in store.proxy.requests if request.range]
    assert len(asked) == len(store.proxy.requests)  # no shard whole
    assert sum(request.bytes for request in asked) <= sum(path.stat().st_size for path in local)


def test_little_is_kept_and_nothing_fetched_ahead_where_the_job_says_so(store, local, remote):
    none, little = ShardSet.open(remote, cache_bytes=0), ShardSet.open(remote, cache_bytes=9_000)
    expected = batches(maker(ShardSet.open(local)))

    assert batches(maker(none)) == batches(maker(little)) == expected
    assert little._ranges.held <= 9_000
    assert none._ranges.held == 0


def test_no_request_asks_for_more_than_a_span_or_a_piece(store, local, remote, tmp_path):
    assert verify(remote).problems == []
    batches(maker(ShardSet.open(remote)))

    tars = [request for request in store.proxy.requests if request.method == "GET" and request.path.endswith(".tar")]
    assert tars
    assert all(request.range and request.bytes <= max(SPAN, BUFFER) for request in tars)


def test_a_store_that_stays_down_is_an_error_that_names_picture_shard_and_bytes(store, remote):
    making = maker(ShardSet.open(remote))
    store.proxy.fault = lambda request: "busy"

    with pytest.raises(InfrastructureError) as caught:
        making.make(0)
    said = str(caught.value)
    assert said.startswith("picture p")
    assert f": {store.url('set/')}" in said
    assert ": reading bytes " in said
    assert "failed 4 times, the last time because it said SlowDown (HTTP 503). Check that" in said


def test_a_shard_that_changed_in_use_is_an_error(store, remote):
    used, unused = maker(ShardSet.open(remote)), pickle.loads(pickle.dumps(maker(ShardSet.open(remote))))
    client = store.direct()
    for path in remote:  # of the same size, as a disk would not notice
        data = client.get_object(Bucket=path.bucket, Key=path.key)["Body"].read()
        client.put_object(Bucket=path.bucket, Key=path.key, Body=data[:-1] + b"x")

    for making in (used, unused):
        with pytest.raises(DataError, match="changed while it was in use"):
            making.make(0)


def test_pairs_on_s3_are_those_on_a_disk(store, tmp_path):
    for half, seeds in (("degraded", 0), ("clean", 100)):
        for seed in range(8):
            pixels = np.random.default_rng(seeds + seed).integers(0, 256, (30, 30, 3), np.uint8)
            (tmp_path / half).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / half / f"{seed}.png")
    with tarfile.open(tmp_path / "pairs.tar", "w") as tar:
        for seed in range(8):
            for half in ("degraded", "clean"):
                tar.add(tmp_path / half / f"{seed}.png", f"{seed}.{half}.png")
    ensure_index(tmp_path / "pairs.tar")
    path = store.path("pairs.tar")
    for file in (tmp_path / "pairs.tar", tmp_path / "pairs.tar.index.json"):
        store.direct().put_object(Bucket=path.bucket, Key=file.name, Body=file.read_bytes())
    there, here = ShardSet.open([path]), ShardSet.open([tmp_path / "pairs.tar"])
    store.proxy.requests.clear()

    assert batches(maker(there, [PairedDraw("real", 1, there)])) == batches(maker(here, [PairedDraw("real", 1, here)]))
    assert len(store.proxy.requests) <= SCHEDULE.total_steps  # both halves of all pairs of a step by one


def test_shards_are_named_as_on_a_disk(store, local, remote):
    for pattern in ("set/*.tar", "set", "set/", f"set/{{000000..{len(remote) - 1:06d}}}.tar", "*/*.tar", "**/0*.tar"):
        assert expand_shards(store.url(pattern)) == remote
    mixed = expand_shards([store.url("set/000001.tar"), local[0], store.url("set")])
    assert mixed == [remote[1], local[0], remote[0], *remote[2:]]
    with pytest.raises(NotFoundError, match=r"No shards: s3://\S+/set/000099\.tar, s3://\S+/set/000100\.tar \("):
        expand_shards([store.url("set/{000099..000100}.tar"), *map(str, remote)])
    with pytest.raises(NotFoundError, match="there is no bucket 'nowhere-at-all'"):
        expand_shards("s3://nowhere-at-all/*.tar")
    with pytest.raises(UsageError, match="should count up"):
        expand_shards(store.url("{5..1}.tar"))


def test_many_shards_are_found_by_one_listing(store, remote):
    names = store.url(f"set/{{000000..{len(remote) - 1:06d}}}.tar")

    assert expand_shards(names) == remote
    assert len(store.proxy.requests) == 1


def test_a_tar_packed_elsewhere_is_indexed_where_it_lies(store, local):
    path = store.path("plain.tar")
    store.direct().put_object(Bucket=path.bucket, Key=path.key, Body=local[0].read_bytes())
    with pytest.raises(NotFoundError, match=rf"{path}: has no index. Make one with `ipt-platform data index {path}`"):
        load_index(path)

    assert ensure_index(path) is True
    assert ensure_index(path) is False
    assert load_index(path).members == load_index(local[0]).members
    assert store.objects()["plain.tar.index.json"] == index_path(local[0]).read_bytes().replace(b"000000.tar", b"plain.tar")
    assert ensure_index(path, force=True) is True


def test_what_is_wrong_with_shards_is_found_as_on_a_disk(store, local, remote, tmp_path):
    client = store.direct()
    rotten, cut, moved, lost = remote[:4]
    at = load_index(local[0]).members[0].offset + 100
    data = bytearray(local[0].read_bytes())
    data[at] ^= 1
    client.put_object(Bucket=store.bucket, Key=rotten.key, Body=bytes(data))
    client.put_object(Bucket=store.bucket, Key=cut.key, Body=local[1].read_bytes()[:-2000])
    index = json.loads(index_path(local[2]).read_bytes())
    index["members"][0]["offset"] += 512
    client.put_object(Bucket=store.bucket, Key=index_path(moved).key, Body=json.dumps(index).encode())
    client.delete_object(Bucket=store.bucket, Key=index_path(lost).key)
    for path in remote[:4]:
        copy = tmp_path / path.name
        for key, body in store.objects().items():
            if key.startswith(path.key):
                copy.with_name(key.rpartition("/")[2]).write_bytes(body)

    report = verify([*remote, store.path("none.tar")])
    here = verify([*[tmp_path / path.name for path in remote[:4]], *local[4:], tmp_path / "none.tar"])

    said = [(each.shard.name, each.member, each.reason.replace(store.url("set/"), "")) for each in report.problems]
    said_here = [(each.shard.name, each.member, each.reason.replace(f"{tmp_path}/", "")) for each in here.problems]
    assert [(name, member, reason.replace(store.url(""), "")) for name, member, reason in said] == said_here
    assert len(report.problems) >= 6
    assert (report.shards, report.images, report.bytes) == (here.shards, here.images, here.bytes)


def test_a_store_that_goes_down_ends_a_check_rather_than_condemn_every_picture(store, remote):
    store.proxy.fault = lambda request: "busy" if request.range else ""

    with pytest.raises(InfrastructureError, match="SlowDown"):
        verify(remote)


def test_paths_travel_as_words(remote):
    assert S3Path(remote[0].bucket, remote[0].key) in {*remote}
    assert pickle.loads(pickle.dumps(remote)) == remote
