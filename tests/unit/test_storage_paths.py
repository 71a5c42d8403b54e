"""Names of objects; what is no name of one is refused, and a secret in it is not repeated."""

from pathlib import Path

import pytest

from ipt_platform.errors import UsageError
from ipt_platform.storage.paths import S3Path, any_path


@pytest.mark.parametrize(
    ("text", "path", "name"),
    [
        ("s3://bucket/a/b.tar", S3Path("bucket", "a/b.tar"), "b.tar"),
        ("s3://my.bucket_1/b.tar", S3Path("my.bucket_1", "b.tar"), "b.tar"),
        ("s3://bucket/a/", S3Path("bucket", "a"), "a"),
        ("s3://bucket", S3Path("bucket", ""), ""),
        ("s3://bucket//a//b", S3Path("bucket", "/a//b"), "b"),
        ("s3://bucket/what?/[ab]*.tar", S3Path("bucket", "what?/[ab]*.tar"), "[ab]*.tar"),
    ],
)
def test_paths_on_s3(text, path, name):
    assert any_path(text) == path
    assert any_path(path) == path
    assert any_path(str(path)) == path
    assert path.name == name


def test_paths_on_a_disk_stay_what_they_are():
    assert any_path("a/b.tar") == Path("a/b.tar")
    assert any_path(Path("/a")) == Path("/a")


def test_what_stands_beside_and_below():
    assert S3Path("b", "x/1.tar").with_name("2.tar") == S3Path("b", "x/2.tar")
    assert S3Path("b", "1.tar").with_name("2.tar") == S3Path("b", "2.tar")
    assert S3Path("b", "x") / "1.tar" == S3Path("b", "x/1.tar")
    assert S3Path("b", "") / "1.tar" == S3Path("b", "1.tar")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gs://bucket/a.tar", "from folders and from S3"),
        ("s3://", "'' cannot be the name of a bucket"),
        ("s3://-a/b", "'-a' cannot be"),
        ("s3://buck et/b", "'buck et' cannot be"),
        ("s3://bucket/" + "a" * 1025, "at most 1024 bytes"),
    ],
)
def test_what_names_no_object_is_refused(text, said):
    with pytest.raises(UsageError, match=said):
        any_path(text)


@pytest.mark.parametrize("text", ["s3://AKIA:hush@bucket/a.tar", "s3://bucket/a.tar?secret_key=hush&region=eu"])
def test_secrets_in_a_path_are_refused_and_not_repeated(text):
    with pytest.raises(UsageError, match=r"^s3://bucket/\.\.\.: credentials and parameters do not belong in a path") as caught:
        any_path(text)
    assert "hush" not in str(caught.value)
