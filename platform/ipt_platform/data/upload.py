"""Packing to S3: into a folder on this machine first, and from there up; the tars, and when all are there their indexes.

A tar without an index is no shard. So nobody sees a part of the set as if it were the whole: until the last index is there,
whoever reads the set is told which one is missing.
"""

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ipt_platform.data.index import SUFFIX, index_path
from ipt_platform.errors import RefusedError
from ipt_platform.storage.files import s3
from ipt_platform.storage.multipart import upload
from ipt_platform.storage.paths import S3Path

SHARD_NAME = re.compile(rf"\d{{6,}}\.tar({re.escape(SUFFIX)})?")


@contextmanager
def staged(target: S3Path) -> Iterator[Path]:
    """A folder on this machine to pack into, with room for the whole set in TMPDIR; it is removed at the end.

    Raises:
        RefusedError: Something else than shards lies below `target` already.
        UsageError, NotFoundError, InfrastructureError: The bucket cannot be used; told before anything is packed.
    """
    for path, _ in s3().list(_below(target), deep=True):
        if "/" in path.key.removeprefix(_below(target).key) or not SHARD_NAME.fullmatch(path.name):
            raise RefusedError(f"{target}: holds something else already, such as {path}. Name another output.")
    with tempfile.TemporaryDirectory(prefix="ipt-pack-") as folder:
        yield Path(folder, "shards")


def upload_shards(
    shards: Sequence[Path], target: S3Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[S3Path]:
    """Upload shards: tars first, indexes last. Files of the same bytes that are there already are left as they are,
    so that an upload which failed goes on where it stopped when the same pictures are packed again.

    Args:
        shards: Tars with an index beside each, on this machine.
        target: What the keys begin with.
        progress: Told (files done, files in all) after each one.

    Returns:
        Where they are now.

    Raises:
        RefusedError: Another file has the name of one of them, or other shards lie beside them.
        InfrastructureError: The store failed as often as it was tried; what was sent of that file is removed.
    """
    files = [*shards, *(shard.with_name(index_path(shard).name) for shard in shards)]
    client = s3()
    there = {path.name for path, _ in client.list(_below(target), deep=True)}
    if others := sorted(there - {file.name for file in files}):
        raise RefusedError(
            f"{target}: holds {len(others)} other files, such as {others[0]}; these shards would mix with them. "
            "Name another output, or remove them."
        )
    for done, file in enumerate(files, 1):
        upload(client, file, target / file.name, there=file.name in there)
        progress(done, len(files))
    return [target / shard.name for shard in shards]


def _below(target: S3Path) -> S3Path:
    return S3Path(target.bucket, f"{target.key}/" if target.key else "")
