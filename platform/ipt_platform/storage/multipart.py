"""Uploading a file to S3 in parts: whole or not at all, and proved to be there byte for byte."""

import hashlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipt_platform.errors import DataError, InfrastructureError, IptError, NotFoundError, RefusedError
from ipt_platform.storage.digests import Digests, content_digests, digests_of
from ipt_platform.storage.paths import S3Path

if TYPE_CHECKING:
    from ipt_platform.storage.s3 import S3

log = logging.getLogger(__name__)

PART = 16 << 20
"""Bytes of a part; as many parts as there are `UPLOADERS` are in memory at a time."""

UPLOADERS = 4


def upload(s3: "S3", file: Path, target: S3Path, part: int = PART, there: bool = True) -> bool:
    """Upload a file under a name that no object has; True where it was done, False where its bytes are there already.

    Nothing is to be seen under the name before all is there. What an upload that failed has sent is removed.

    Args:
        s3: the store.
        file: what to upload.
        target: the name.
        part: bytes that are sent by one request, unless the file would then have too many parts.
        there: False where the name was free just now; this is then not asked again.

    Raises:
        RefusedError: an object of other bytes has the name.
        InfrastructureError: the store failed as often as it was tried, or what it stored is not what it was sent.
    """
    digests = digests_of(file, part)
    if there and s3.find(target) is not None:
        if holds(s3, target, digests):
            return False
        raise RefusedError(f"{target}: is there already, with other bytes; nothing is written over. Name another output.")
    made = _put(s3, file, target) if digests.size <= digests.part else _put_parts(s3, file, target, digests)
    if holds(s3, target, digests):
        return True
    if not made:
        raise RefusedError(f"{target}: appeared while it was being uploaded, with other bytes. Name another output.")
    s3.delete(target)
    raise InfrastructureError(
        f"{target}: {s3.endpoint} stored other bytes than it was sent, so the object was removed again. "
        "Is a proxy between that changes requests, or a store that does not know S3's headers?"
    )


def holds(s3: "S3", target: S3Path, digests: Digests) -> bool:
    """Whether an object has the bytes of a file: by its size, and by the checksum or tag that the store made of what it
    stored; where neither says so, by reading it.
    """
    head = s3.head(target)
    if head is None or head["ContentLength"] != digests.size:
        return False
    if head.get("ChecksumSHA256") == digests.checksum or head["ETag"] == digests.tag:
        return True
    whole = hashlib.sha256()
    for start in range(0, digests.size, PART):
        whole.update(s3.read(target, start, min(PART, digests.size - start), head["ETag"]))
    return whole.hexdigest() == digests.sha256


def _put(s3: "S3", file: Path, target: S3Path) -> bool:
    return s3.put(target, file.read_bytes(), new=True)


def _put_parts(s3: "S3", file: Path, target: S3Path, digests: Digests) -> bool:
    """Upload in parts; False where something has the name meanwhile."""
    begun = s3.ask("create_multipart_upload", target, "beginning to upload it", ChecksumAlgorithm="SHA256")["UploadId"]
    done = False
    try:
        done = _complete(s3, target, begun, list(_parts(s3, file, target, digests, begun)))
    finally:  # after an interrupt, too: parts that nobody sees cost money
        if not done:
            _give_up(s3, target, begun)
    return done


def _parts(s3: "S3", file: Path, target: S3Path, digests: Digests, begun: str) -> Iterator[dict[str, Any]]:
    def send(number: int) -> dict[str, Any]:
        with file.open("rb") as stream:
            stream.seek((number - 1) * digests.part)
            data = stream.read(digests.part)
        doing = f"uploading part {number} of {len(digests.md5s)}"
        answer = s3.ask("upload_part", target, doing, UploadId=begun, PartNumber=number, Body=data, **content_digests(data))
        # a store that does not know checksums says none, and would not know what to do with one
        known = {"ChecksumSHA256": answer["ChecksumSHA256"]} if "ChecksumSHA256" in answer else {}
        return {"PartNumber": number, "ETag": answer["ETag"], **known}

    pool = ThreadPoolExecutor(UPLOADERS, thread_name_prefix="ipt-upload")
    try:
        yield from pool.map(send, range(1, len(digests.md5s) + 1))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _complete(s3: "S3", target: S3Path, begun: str, parts: list[dict[str, Any]]) -> bool:
    upload = {"UploadId": begun, "MultipartUpload": {"Parts": parts}, "IfNoneMatch": "*"}
    try:
        s3.ask("complete_multipart_upload", target, "ending its upload", **upload)
    except (DataError, NotFoundError):
        # The name is taken, or there is no such upload: it may be that it was ended, and the answer to that got lost. What lies
        # there will show which of them it is.
        if s3.find(target) is None:
            raise
        return False
    return True


def _give_up(s3: "S3", target: S3Path, begun: str) -> None:
    try:
        with suppress(NotFoundError):  # it was ended after all
            s3.ask("abort_multipart_upload", target, "giving up its upload", UploadId=begun)
    except IptError as error:
        log.warning("%s: the parts of an upload that failed may still be there: %s", target, error)
