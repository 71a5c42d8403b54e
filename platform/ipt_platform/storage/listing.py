"""Which objects on S3 a name or pattern stands for."""

import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import TYPE_CHECKING

from ipt_platform.storage.paths import S3Path

if TYPE_CHECKING:
    from ipt_platform.storage.s3 import S3

MAGIC = re.compile(r"[*?\[]")


def named(s3: "S3", paths: Sequence[S3Path], suffix: str) -> Iterator[list[S3Path]]:
    """The objects that each path stands for, sorted: one object, those that match a glob, or those directly below a prefix
    whose names end in the suffix.
    """
    bucket, keys = paths[0].bucket, [path.key for path in paths]
    if len(paths) == 1 or any(path.bucket != bucket or MAGIC.search(path.key) for path in paths):
        yield from (_one(s3, path, suffix) for path in paths)
        return
    # many names at once: one listing of what they have in common, instead of a question for each
    common, last = os.path.commonprefix(keys), max(keys)  # noqa: RUF071 (characters are meant, not folders)
    listed = s3.list(S3Path(bucket, common), deep=any("/" in key[len(common) :] for key in keys))
    there = {path for path, _ in takewhile(lambda each: each[0].key <= last, listed)}
    yield from ([path] if path in there else [] for path in paths)


def _one(s3: "S3", path: S3Path, suffix: str) -> list[S3Path]:
    if MAGIC.search(path.key):
        return _matching(s3, path)
    if path.key and s3.find(path):
        return [path]
    below = S3Path(path.bucket, f"{path.key}/" if path.key else "")
    return [each for each, _ in s3.list(below) if each.name.endswith(suffix)]


def _matching(s3: "S3", pattern: S3Path) -> list[S3Path]:
    literal = MAGIC.split(pattern.key, maxsplit=1)[0]
    listed = s3.list(S3Path(pattern.bucket, literal), deep="/" in pattern.key[len(literal) :])
    wanted = pattern.key.split("/")
    return [path for path, _ in listed if matches(path.key.split("/"), wanted)]


def matches(parts: list[str], pattern: list[str]) -> bool:
    """As globs match paths on a disk: `*` stays within a part, `**` is any number of parts."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(matches(parts[skipped:], pattern[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and matches(parts[1:], pattern[1:])
