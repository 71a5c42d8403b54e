"""Requests over HTTP to a store that fails: the same bytes in the end, or one clear error; never wrong bytes."""

import logging

import numpy as np
import pytest

from ipt_platform.errors import DataError, InfrastructureError, NoRoomError, NotFoundError, UsageError
from ipt_platform.storage import s3 as module
from ipt_platform.storage.files import find, open_file, read_bytes, write_bytes

DATA = np.random.default_rng(0).bytes(300_000)
PASSING = ("error", "busy", "reset", "cut", "break", "silent", "lose")


@pytest.fixture
def shard(store):
    path = store.path("some/x.tar")
    store.direct().put_object(Bucket=path.bucket, Key=path.key, Body=DATA)
    return path


@pytest.fixture
def impatient(request, store, monkeypatch):
    """Half a second is enough to wait for a store that says nothing; the others may be slow on a machine that is busy."""
    if "silent" in request.node.name:
        monkeypatch.setattr(module, "READ_SECONDS", 0.5)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")


@pytest.mark.parametrize("fault", PASSING)
def test_a_read_that_failed_gives_the_same_bytes_the_next_time(store, shard, fault, impatient):
    store.proxy.fail_once(fault, lambda request: request.method == "GET")

    assert store.s3.read(shard, 1000, 5000) == DATA[1000:6000]
    assert store.s3.read_whole(shard, 1 << 20) == DATA
    assert [path.name for path, _ in store.s3.list(store.path("some/"))] == ["x.tar"]
    assert store.proxy.count("GET") == 6


@pytest.mark.parametrize("fault", ["error", "busy", "reset", "silent", "lose"])
def test_a_write_that_failed_is_done_the_next_time(store, fault, impatient):
    store.proxy.fail_once(fault, lambda request: request.method == "PUT")
    path = store.path("some/x")

    made = store.s3.put(path, DATA, new=True)

    assert store.objects() == {"some/x": DATA}
    assert made is (fault != "lose")  # it was stored, but nobody heard of it: so it was there already
    assert store.s3.put(path, b"other", new=True) is False
    assert store.objects() == {"some/x": DATA}
    assert store.s3.put(path, b"other", new=False) is True
    assert store.objects() == {"some/x": b"other"}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("error", r"it said InternalError \(HTTP 500\)"),
        ("busy", r"it said SlowDown \(HTTP 503\)"),
        ("reset", "the connection broke"),
        ("cut", "the connection ended before all bytes had come"),
        ("silent", "it did not answer in time"),
    ],
)
def test_after_the_last_attempt_the_error_says_what_where_and_why(store, shard, fault, reason, impatient):
    store.proxy.fault = lambda request: fault

    with pytest.raises(InfrastructureError, match=reason) as caught:
        store.s3.read(shard, 1000, 5000)
    said = str(caught.value)
    attempts = 2 if fault == "silent" else 4
    assert said.startswith(f"{shard}: reading bytes 1000 to 5999 failed {attempts} times, the last time because ")
    assert f"Check that {store.proxy.url} is the store that is meant (AWS_ENDPOINT_URL_S3 names another)" in said
    assert store.proxy.count("GET") == attempts
    assert caught.value.exit_code == 6


def test_what_will_not_pass_is_asked_once(store, shard):
    with pytest.raises(NotFoundError, match=rf"{store.url('none.tar')}: there is no such object at {store.proxy.url}"):
        store.s3.read(store.path("none.tar"), 0, 10)
    assert len(store.proxy.requests) == 1

    store.proxy.fault = lambda request: "signature"
    with pytest.raises(
        UsageError, match=r"says SignatureDoesNotMatch .*: the secret key is not that of the access key"
    ) as caught:
        store.s3.read(shard, 0, 10)
    assert len(store.proxy.requests) == 2
    assert caught.value.exit_code == 2
    # the answer to a HEAD has no body: the reason is asked for once
    with pytest.raises(UsageError, match="SignatureDoesNotMatch"):
        store.s3.find(shard)
    assert len(store.proxy.requests) == 4
    store.proxy.fault = lambda request: "skewed"
    with pytest.raises(UsageError, match=r"RequestTimeTooSkewed .*: the clock of this machine is wrong; set it"):
        store.s3.read(shard, 0, 10)


@pytest.mark.parametrize(
    ("fault", "said"), [("full", r"XMinioStorageFull \(HTTP 507\)"), ("quota", r"QuotaExceeded \(HTTP 403\)")]
)
def test_a_full_store_is_asked_once_and_told_from_one_that_denies(store, shard, fault, said):
    store.proxy.fault = lambda request: fault

    with pytest.raises(
        NoRoomError, match=rf"writing it: {store.proxy.url} says {said}: the store is full, or the quota"
    ) as caught:
        store.s3.put(store.path("some/x"), DATA, new=True)
    assert len(store.proxy.requests) == 1
    assert caught.value.exit_code == 6


def test_there_or_not_there(store, shard):
    assert find(shard).size == len(DATA)
    assert find(store.path("some")) is None
    with pytest.raises(NotFoundError, match="there is no bucket 'no-such-bucket' at"):
        find(type(shard)("no-such-bucket", "x"))


def test_an_object_that_changed_is_never_read_as_if_it_had_not(store, shard):
    tag = find(shard).tag
    assert store.s3.read(shard, 0, 10, tag) == DATA[:10]
    store.direct().put_object(Bucket=shard.bucket, Key=shard.key, Body=DATA[::-1])

    with pytest.raises(DataError, match=f"{shard}: changed while it was in use"):
        store.s3.read(shard, 0, 10, tag)


def test_an_object_that_ends_early_is_no_broken_connection(store, shard):
    assert store.s3.read(shard, len(DATA) - 7, 100) == DATA[-7:]
    assert store.s3.read(shard, len(DATA), 100) == b""
    assert store.s3.read(shard, 0, len(DATA) + 1) == DATA
    assert len(store.proxy.requests) == 3


def test_a_store_that_does_not_know_ranges_is_refused_before_its_bytes_are_taken(store, shard):
    store.proxy.fault = lambda request: "whole"

    with pytest.raises(InfrastructureError, match="does not answer with the range that was asked for"):
        store.s3.read(shard, 10, 100)


def test_a_file_is_read_through_in_pieces(store, shard, monkeypatch):
    monkeypatch.setattr("ipt_platform.storage.files.BUFFER", 50_000)
    store.proxy.fail_once("break", lambda request: request.method == "GET")
    with open_file(shard, find(shard)) as file:
        assert file.read() == DATA
        assert file.seek(100_000) == 100_000
        assert (file.read(10), file.tell()) == (DATA[100_000:100_010], 100_010)
        file.seek(-5, 2)
        assert (file.read(10), file.read(10)) == (DATA[-5:], b"")

    assert max(request.bytes for request in store.proxy.requests if request.range) <= 50_000


def test_bodies_go_as_they_are_whatever_boto3_is_told(store, monkeypatch):
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")

    store.s3.put(store.path("x"), DATA, new=True)

    assert [request.encoding for request in store.proxy.requests] == [""]  # and not aws-chunked, which some stores keep


def test_small_files_are_read_and_written_whole_and_large_ones_refused(store, shard, tmp_path):
    for path in (store.path("a/index.json"), tmp_path / "index.json"):
        write_bytes(path, b"old")
        write_bytes(path, b"new")
        assert read_bytes(path, 3) == b"new"
        with pytest.raises(DataError, match=r"has 3 bytes; at most 2 are allowed"):
            read_bytes(path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]


def test_listings_go_on_page_after_page(store, monkeypatch):
    monkeypatch.setattr(module, "PAGE", 3)
    client = store.direct()
    keys = [f"p/{number:04d}" for number in range(8)]
    for key in [*keys, "p/deep/x", "q"]:
        client.put_object(Bucket=store.bucket, Key=key, Body=b"")

    assert [path.key for path, _ in store.s3.list(store.path("p/"))] == keys
    assert [path.key for path, _ in store.s3.list(store.path("p/"), deep=True)] == [*keys, "p/deep/x"]
    assert store.proxy.count("GET") == 6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials were found"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "no credentials were found, or not all of them"),
        ({"AWS_PROFILE": "nobody"}, r"could not be found.*docs/storage\.md"),
        ({"AWS_ENDPOINT_URL_S3": "no url"}, "Invalid endpoint: no url"),
        ({"AWS_MAX_ATTEMPTS": "many"}, "S3 cannot be used as it is set up here: .*many"),
    ],
)
def test_what_is_missing_or_wrong_in_the_environment_is_said(store, shard, monkeypatch, changes, said):
    for name, value in changes.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)

    with pytest.raises(UsageError, match=said):
        store.s3.read(shard, 0, 10)
    assert store.proxy.requests == []


def test_an_endpoint_where_nobody_listens_is_named_without_the_login_in_it(store, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://me:hush@127.0.0.1:1")

    with pytest.raises(
        InfrastructureError, match=r"because it could not be reached\. Check that http://127.0.0.1:1 is"
    ) as caught:
        store.s3.find(store.path("x"))
    assert "hush" not in str(caught.value)


def test_no_secret_is_logged_or_told(store, shard, caplog):
    caplog.set_level(logging.INFO)
    told = []
    for fault in ("error", "reset", "cut", "signature"):
        store.proxy.fault = lambda request, fault=fault: fault
        with pytest.raises((InfrastructureError, UsageError)) as caught:
            store.s3.read(shard, 0, 10)
        told.append(str(caught.value))
    told += [record.getMessage() for record in caplog.records]

    assert len(told) > 10
    for secret in (store.environment["AWS_ACCESS_KEY_ID"], store.environment["AWS_SECRET_ACCESS_KEY"]):
        assert [text for text in told if secret in text] == []
