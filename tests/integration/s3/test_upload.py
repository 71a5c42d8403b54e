"""Uploads: whole or not at all, proved byte for byte, never over something else."""

import numpy as np
import pytest

from ipt_platform.errors import InfrastructureError, RefusedError
from ipt_platform.storage.multipart import upload

PART = 5 << 20  # the smallest that S3 takes
DATA = np.random.default_rng(1).bytes(2 * PART + 12345)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "000000.tar"
    path.write_bytes(DATA)
    return path


def left_over(store) -> list:
    return store.direct().list_multipart_uploads(Bucket=store.bucket).get("Uploads", [])


@pytest.mark.parametrize("size", [0, 1000, PART, PART + 1, len(DATA)])
def test_what_is_uploaded_is_what_lies_there(store, file, size):
    file.write_bytes(DATA[:size])

    assert upload(store.s3, file, store.path("x.tar"), PART) is True
    assert store.objects() == {"x.tar": DATA[:size]}
    parts = store.proxy.count("PUT", "partNumber")
    assert parts == (0 if size <= PART else -(-size // PART))
    assert store.proxy.count("GET", "/x.tar") == 0  # the store's own checksum or tag proves it
    assert left_over(store) == []

    store.proxy.requests.clear()
    assert upload(store.s3, file, store.path("x.tar"), PART) is False
    assert store.proxy.count("PUT") == store.proxy.count("POST") == 0


@pytest.mark.parametrize("fault", ["error", "reset", "lose"])
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_every_request_of_an_upload_may_fail_once(store, file, fault, method):
    store.proxy.fail_once(fault, lambda request: request.method == method)

    upload(store.s3, file, store.path("x.tar"), PART)

    assert store.objects() == {"x.tar": DATA}


def test_an_upload_that_fails_leaves_nothing(store, file):
    store.proxy.fault = lambda request: "error" if "partNumber=2" in request.path else ""

    with pytest.raises(InfrastructureError, match=r"x\.tar: uploading part 2 of 3 failed 4 times"):
        upload(store.s3, file, store.path("x.tar"), PART)
    assert store.objects() == {}
    assert left_over(store) == []


def test_nothing_is_written_over_unless_it_is_the_same(store, file):
    client = store.direct()
    client.put_object(Bucket=store.bucket, Key="other.tar", Body=b"x" * len(DATA))
    client.put_object(Bucket=store.bucket, Key="same.tar", Body=DATA)  # not in parts: another tag, and no checksum

    with pytest.raises(RefusedError, match=r"other\.tar: is there already, with other bytes"):
        upload(store.s3, file, store.path("other.tar"), PART)
    assert upload(store.s3, file, store.path("same.tar"), PART) is False
    assert store.proxy.count("PUT") == store.proxy.count("POST") == 0


@pytest.mark.parametrize("size", [1000, len(DATA)])
def test_of_two_at_once_one_is_refused(store, file, size):
    file.write_bytes(DATA[:size])
    client = store.direct()

    def meanwhile(request) -> str:
        if request.method == "PUT" and not store.objects():
            client.put_object(Bucket=store.bucket, Key="x.tar", Body=b"theirs")
        return ""

    store.proxy.fault = meanwhile
    with pytest.raises(RefusedError, match=r"x\.tar: appeared while it was being uploaded, with other bytes"):
        upload(store.s3, file, store.path("x.tar"), PART)
    assert store.objects() == {"x.tar": b"theirs"}
    assert left_over(store) == []


@pytest.mark.parametrize("size", [1000, len(DATA)])
def test_bytes_that_changed_on_the_way_are_noticed_and_removed(store, file, size):
    file.write_bytes(DATA[:size])
    store.proxy.fault = lambda request: "corrupt" if request.method == "PUT" else ""

    with pytest.raises(InfrastructureError):
        upload(store.s3, file, store.path("x.tar"), PART)
    assert store.objects() == {}
    assert left_over(store) == []
