"""Patterns on S3 mean what they mean on a disk; digests are those that S3 defines."""

import base64
import hashlib
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipt_platform.storage.digests import content_digests, digests_of
from ipt_platform.storage.listing import named
from ipt_platform.storage.paths import S3Path

KEYS = ("a.tar", "b.tar", "x.txt", "one/a.tar", "one/b.tar", "one/two/a.tar", "one/two/ab.tar", "oneself/a.tar", "o/.a.tar")


class Listed:
    """The listing and looking up of a store, over a list of keys, as S3 defines them."""

    def list(self, prefix, deep=False):
        for key in sorted(KEYS):
            rest = key.removeprefix(prefix.key)
            if key.startswith(prefix.key) and (deep or "/" not in rest):
                yield S3Path(prefix.bucket, key), 1

    def find(self, path):
        return path.key in KEYS


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    for key in KEYS:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(b"x")
    return root


part = st.sampled_from(["*", "a.tar", "*.tar", "?.tar", "[ab].tar", "[!a].tar", "one", "one*", "two", "o", "*.t*", "**"])


@given(st.lists(part, min_size=1, max_size=4))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_globs_match_as_they_do_on_a_disk(tree, parts):
    pattern = "/".join(parts)
    on_disk = sorted(str(path.relative_to(tree)) for path in set(tree.glob(pattern)) if path.is_file())
    if "*" not in pattern and "[" not in pattern and "?" not in pattern:
        return  # a plain name may also be a prefix
    if parts[-1] == "**":
        return  # which means folders alone on a disk

    assert [path.key for path in next(named(Listed(), [S3Path("b", pattern)], ".tar"))] == on_disk


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("one/a.tar", ["one/a.tar"]),
        ("one", ["one/a.tar", "one/b.tar"]),
        ("one/two", ["one/two/a.tar", "one/two/ab.tar"]),
        ("", ["a.tar", "b.tar"]),
        ("tw", []),
        ("x.txt", ["x.txt"]),
    ],
)
def test_a_name_is_an_object_or_what_lies_below_it(key, found):
    assert [path.key for path in next(named(Listed(), [S3Path("b", key)], ".tar"))] == found


@given(st.lists(st.sampled_from([*KEYS, "c.tar", "one/c.tar", "zz/a.tar"]), min_size=2, max_size=6))
@settings(max_examples=100)
def test_many_names_are_found_one_by_one(keys):
    assert list(named(Listed(), [S3Path("b", key) for key in keys], ".tar")) == [
        [S3Path("b", key)] if key in KEYS else [] for key in keys
    ]


@given(st.binary(max_size=300), st.integers(1, 100))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_digests_are_those_that_s3_defines(tmp_path, data, part_size):
    file = tmp_path / "file"
    file.write_bytes(data)
    parts = [data[start : start + part_size] for start in range(0, len(data), part_size)] or [b""]

    found = digests_of(file, part_size)

    assert found.sha256 == hashlib.sha256(data).hexdigest()
    if len(parts) == 1:
        assert found.tag == f'"{hashlib.md5(data).hexdigest()}"'
        assert found.checksum == content_digests(data)["ChecksumSHA256"]
    else:
        md5s = b"".join(hashlib.md5(each).digest() for each in parts)
        sha256s = b"".join(hashlib.sha256(each).digest() for each in parts)
        assert found.tag == f'"{hashlib.md5(md5s).hexdigest()}-{len(parts)}"'
        assert found.checksum == f"{base64.b64encode(hashlib.sha256(sha256s).digest()).decode()}-{len(parts)}"


def test_a_file_never_has_more_parts_than_s3_takes(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(string.printable.encode() * 301)

    found = digests_of(file, 1)

    assert found.part == 4
    assert len(found.md5s) == -(-file.stat().st_size // 4) <= 10_000
