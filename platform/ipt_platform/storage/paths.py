"""Names of files: a path on a disk, or `s3://bucket/key`."""

import re
from dataclasses import dataclass
from pathlib import Path

from ipt_platform.errors import UsageError

SCHEME = "s3://"
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
MAX_KEY_BYTES = 1024


@dataclass(frozen=True, order=True)
class S3Path:
    """An object on S3, or what the keys of several begin with; it has of a `Path` what shards need."""

    bucket: str
    key: str

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self.key.rpartition("/")[2]

    def with_name(self, name: str) -> "S3Path":
        """The object of another name beside this one."""
        head, slash, _ = self.key.rpartition("/")
        return S3Path(self.bucket, f"{head}{slash}{name}")

    def __truediv__(self, name: str) -> "S3Path":
        return S3Path(self.bucket, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"


AnyPath = Path | S3Path


@dataclass(frozen=True)
class Found:
    """A file that is there: its size in bytes, and on S3 the tag (ETag) that another content would not have."""

    size: int
    tag: str = ""


def any_path(text: str | AnyPath) -> AnyPath:
    """The path that a user or a file names.

    Raises:
        UsageError: It is a URL, but not one of an object on S3.
    """
    if isinstance(text, S3Path):
        return text
    name = str(text)
    if "://" not in name:
        return Path(text)
    if not name.startswith(SCHEME):
        raise UsageError(f"{name}: files are read from folders and from S3; name a path, or {SCHEME}BUCKET/KEY.")
    bucket, _, key = name.removeprefix(SCHEME).partition("/")
    # what follows may be a secret, so it is not repeated
    if "@" in bucket or re.search(r"\?[\w.-]+=", key):
        raise UsageError(
            f"{SCHEME}{bucket.rpartition('@')[2]}/...: credentials and parameters do not belong in a path. "
            "They are found as boto3 finds them, in environment or profile; see docs/storage.md."
        )
    if not BUCKET.fullmatch(bucket):
        raise UsageError(f"{name}: {bucket!r} cannot be the name of a bucket; expected {SCHEME}BUCKET/KEY.")
    key = key.rstrip("/")
    if len(key.encode()) > MAX_KEY_BYTES:
        raise UsageError(f"{name}: a key has at most {MAX_KEY_BYTES} bytes.")
    return S3Path(bucket, key)


def from_base(base: Path, text: str) -> AnyPath:
    """The path that a job names: on a disk relative to a folder, on S3 as it is.

    Raises:
        UsageError: as `any_path`.
    """
    path = any_path(text)
    return base / path if isinstance(path, Path) else path
