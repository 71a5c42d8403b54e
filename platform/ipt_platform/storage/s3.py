"""Requests to S3: each tried again where that can help, its errors in plain words.

The only module that imports boto3; `storage/files.py` imports it where a path on S3 is met. Credentials, region and endpoint
are found as boto3 finds them (environment, profile, role of the machine): nothing of the platform's names them.
"""

import functools
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import exceptions as boto
from botocore.config import Config
from botocore.parsers import ResponseParserError

from ipt_platform.errors import DataError, InfrastructureError, IptError, NoRoomError, NotFoundError, UsageError
from ipt_platform.storage.digests import content_digests
from ipt_platform.storage.paths import Found, S3Path
from ipt_platform.storage.retry import GivenUpError, Retry

Result = TypeVar("Result")
log = logging.getLogger(__name__)

CONNECT_SECONDS = 10
READ_SECONDS = 30
CONNECTIONS = 32
PAGE = 1000
ATTEMPTS = 8
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 20.0

HELP = "see docs/storage.md"


class ShortBodyError(Exception):
    """A connection ended before all bytes had come."""


class MissingObjectError(NotFoundError):
    """The bucket is there, the object is not."""


class S3:
    """The requests that this platform makes.

    Every method raises, beside what it names:
        UsageError: there are no credentials, or they are wrong or not allowed to do this.
        NotFoundError: there is no such bucket or object.
        InfrastructureError: the store did not answer, or failed, as often as it was tried.
        NoRoomError: it is full, which is asked once: room is not made within seconds.
    """

    def __init__(self, client: Any, retry: Retry):
        self.client, self.retry = client, retry
        self.endpoint = without_login(client.meta.endpoint_url)

    def find(self, path: S3Path) -> Found | None:
        """What is there, or None."""
        head = self.head(path)
        return None if head is None else Found(head["ContentLength"], head["ETag"])

    def head(self, path: S3Path) -> dict[str, Any] | None:
        """What the store says of an object, its checksums included; None where there is none."""
        try:
            return self.ask("head_object", path, "looking it up", ChecksumMode="ENABLED")
        except MissingObjectError:
            return None

    def read(self, path: S3Path, start: int, size: int, tag: str = "") -> bytes:
        """Bytes of a range; fewer only where the object ends.

        Args:
            path: the object.
            start: first byte.
            size: how many.
            tag: what the object is known by (`Found.tag`).

        Raises:
            DataError: the object is no longer the one with this tag.
        """
        if size <= 0:
            return b""
        asked: dict[str, Any] = {"Range": f"bytes={start}-{start + size - 1}"} | ({"IfMatch": tag} if tag else {})

        def once() -> bytes:
            answer = self.client.get_object(Bucket=path.bucket, Key=path.key, **asked)
            with closing(answer["Body"]) as body:
                if answer["ContentLength"] > size or (start and not answer.get("ContentRange")):
                    raise InfrastructureError(f"{path}: {self.endpoint} does not answer with the range that was asked for.")
                data = body.read()
            if len(data) < min(size, _length(answer) - start):
                raise ShortBodyError
            return data

        try:
            return self._attempt(path, f"reading bytes {start} to {start + size - 1}", once)
        except boto.ClientError as error:
            if _status(error) == 416:
                return b""
            raise

    def read_whole(self, path: S3Path, limit: int) -> bytes:
        """All bytes of a small object.

        Raises:
            DataError: it has more than `limit` bytes.
        """

        def once() -> bytes:
            answer = self.client.get_object(Bucket=path.bucket, Key=path.key)
            with closing(answer["Body"]) as body:
                if answer["ContentLength"] > limit:
                    raise DataError(f"{path}: has {answer['ContentLength']} bytes; at most {limit} are allowed.")
                data = body.read()
            if len(data) < answer["ContentLength"]:
                raise ShortBodyError
            return data

        return self._attempt(path, "reading it", once)

    def list(self, prefix: S3Path, deep: bool = False) -> Iterator[tuple[S3Path, int]]:
        """Objects whose keys begin with a prefix, and their sizes, in the order of the keys.

        Args:
            prefix: what keys begin with.
            deep: also those with a slash after it.
        """
        for path, each in self.entries(prefix, deep):
            yield path, each["Size"]

    def entries(self, prefix: S3Path, deep: bool = False) -> Iterator[tuple[S3Path, dict[str, Any]]]:
        """What `list` gives, with all that the store says of each: `Size`, `ETag`, `LastModified`."""
        asked: dict[str, Any] = {"Prefix": prefix.key, "MaxKeys": PAGE} | ({} if deep else {"Delimiter": "/"})
        token: dict[str, Any] = {}
        while True:
            answer = self.ask("list_objects_v2", S3Path(prefix.bucket, ""), "listing it", **asked, **token)
            for each in answer.get("Contents", ()):
                yield S3Path(prefix.bucket, each["Key"]), each
            if not answer.get("IsTruncated"):
                return
            token = {"ContinuationToken": answer["NextContinuationToken"]}

    def folders(self, prefix: S3Path) -> Iterator[str]:
        """What stands between a prefix and the next slash, of all keys that have one, in order."""
        asked: dict[str, Any] = {"Prefix": prefix.key, "MaxKeys": PAGE, "Delimiter": "/"}
        token: dict[str, Any] = {}
        while True:
            answer = self.ask("list_objects_v2", S3Path(prefix.bucket, ""), "listing it", **asked, **token)
            yield from (each["Prefix"][len(prefix.key) : -1] for each in answer.get("CommonPrefixes", ()))
            if not answer.get("IsTruncated"):
                return
            token = {"ContinuationToken": answer["NextContinuationToken"]}

    def put(self, path: S3Path, data: bytes, new: bool) -> bool:
        """Write an object; False where there is one already and `new` asks for a new one."""
        only_new = {"IfNoneMatch": "*"} if new else {}
        try:
            self.ask("put_object", path, "writing it", Body=data, **content_digests(data), **only_new)
        except DataError:
            return False
        return True

    def unfinished(self, prefix: S3Path) -> Iterator[tuple[S3Path, str, datetime]]:
        """Uploads in parts below a prefix that nobody has ended or given up: the object, the upload's id, when it began."""
        asked: dict[str, Any] = {"Prefix": f"{prefix.key}/" if prefix.key else ""}
        mark: dict[str, Any] = {}
        while True:
            answer = self.ask("list_multipart_uploads", S3Path(prefix.bucket, ""), "listing its uploads", **asked, **mark)
            for each in answer.get("Uploads", ()):
                yield S3Path(prefix.bucket, each["Key"]), each["UploadId"], each["Initiated"]
            if not answer.get("IsTruncated"):
                return
            mark = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    def unfinished_bytes(self, path: S3Path, upload_id: str) -> int:
        """Bytes that the parts of an upload take (of the first thousand parts)."""
        parts = self.ask("list_parts", path, "listing the parts of an upload", UploadId=upload_id)
        return sum(each["Size"] for each in parts.get("Parts", ()))

    def abort(self, path: S3Path, upload_id: str) -> None:
        """Give up an upload; its parts go."""
        self.ask("abort_multipart_upload", path, "giving up its upload", UploadId=upload_id)

    def delete(self, path: S3Path) -> None:
        """Remove an object; it need not be there."""
        self.ask("delete_object", path, "removing it")

    def ask(self, operation: str, path: S3Path, doing: str, **arguments: Any) -> Any:
        """One request, by boto3's name of it.

        Raises:
            DataError: a condition of the request (`IfMatch`, `IfNoneMatch`) does not hold.
        """
        key = {"Key": path.key} if path.key else {}
        call = getattr(self.client, operation)
        return self._attempt(path, doing, lambda: call(Bucket=path.bucket, **key, **arguments))

    def _attempt(self, path: S3Path, doing: str, call: Callable[[], Result]) -> Result:
        try:
            return self.retry.run(f"{path}: {doing}", call, passing)
        except GivenUpError as error:
            raise InfrastructureError(
                f"{path}: {doing} failed {error.attempts} times, the last time because {error.reason}. Check that "
                f"{self.endpoint} is the store that is meant (AWS_ENDPOINT_URL_S3 names another), that it is up, and "
                "that this machine reaches it; then start again."
            ) from error.__cause__
        except boto.ClientError as error:
            if _status(error) == 416:
                raise
            raise self._explained(path, doing, self._why(path, error)) from error
        except boto.BotoCoreError as error:
            raise not_usable(error) from error

    def _why(self, path: S3Path, error: boto.ClientError) -> boto.ClientError:
        """The error with its reason: the answer to a HEAD has no body, so it says no more than a number."""
        if error.operation_name != "HeadObject":
            return error
        try:
            self.client.list_objects_v2(Bucket=path.bucket, Prefix=path.key, MaxKeys=1)
        except boto.ClientError as told:
            return error if _status(error) == 404 and _code(told) != "NoSuchBucket" else told
        except boto.BotoCoreError:
            pass
        return error

    def _explained(self, path: S3Path, doing: str, error: boto.ClientError) -> IptError:
        status, code = _status(error), _code(error)
        said = _said(error)
        if _full(error):
            return NoRoomError(
                f"{path}: {doing}: {self.endpoint} says {said}: the store is full, or the quota of the bucket or of its owner "
                f"is used up. Make room (`ipt-platform gc` removes what nobody needs of runs) or raise the quota; {HELP}."
            )
        if code == "NoSuchBucket":
            return NotFoundError(f"{path}: there is no bucket '{path.bucket}' at {self.endpoint}.")
        if status == 404:
            return MissingObjectError(f"{path}: there is no such object at {self.endpoint}.")
        if status == 412:
            return DataError(
                f"{path}: changed while it was in use: it is no longer what it was when it was opened. Start again."
            )
        if remedy := REMEDIES.get(code):
            return UsageError(f"{path}: {doing}: {self.endpoint} says {said}: {remedy}; {HELP}.")
        if status in (401, 403):
            return UsageError(
                f"{path}: {doing}: {self.endpoint} says {said}: the credentials that were found may not do this, or there "
                f"is no such object and they may not list the bucket; {HELP}."
            )
        message = error.response.get("Error", {}).get("Message", "")
        return InfrastructureError(f"{path}: {doing}: {self.endpoint} says {said}{f': {message}' if message else ''}.")


REMEDIES = {
    "InvalidAccessKeyId": "it does not know the access key; check AWS_ACCESS_KEY_ID or AWS_PROFILE, and the endpoint",
    "SignatureDoesNotMatch": "the secret key is not that of the access key; check AWS_SECRET_ACCESS_KEY or AWS_PROFILE",
    "ExpiredToken": "the session has expired; sign in again",
    "ExpiredTokenException": "the session has expired; sign in again",
    "InvalidToken": "the session token is not valid; sign in again, or unset AWS_SESSION_TOKEN",
    "RequestTimeTooSkewed": "the clock of this machine is wrong; set it",
    "AuthorizationHeaderMalformed": "the bucket lies in another region; name it with AWS_DEFAULT_REGION",
    "PermanentRedirect": "the bucket lies in another region; name it with AWS_DEFAULT_REGION",
    "IllegalLocationConstraintException": "the bucket lies in another region; name it with AWS_DEFAULT_REGION",
}
"""What to do about errors that are the caller's."""

BUSY = frozenset(
    {
        "ConditionalRequestConflict",
        "InternalError",
        "RequestTimeout",
        "RequestTimeoutException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    }
)
"""Errors that pass, whatever the HTTP status they come with."""

FULL = frozenset(
    {
        "InsufficientStorage",
        "NoSpaceLeftOnDevice",
        "QuotaExceeded",
        "XMinioAdminBucketQuotaExceeded",
        "XMinioStorageFull",
    }
)
"""What stores say that take no more: Ceph and others a quota with HTTP 403, MinIO with 400, and a full disk with 507."""


def passing(error: Exception) -> str:
    """Why an error may pass when the request is sent again, in a few words; empty where it will not."""
    match error:
        case boto.ClientError():
            busy = _status(error) >= 500 or _status(error) == 429 or _code(error) in BUSY
            return f"it said {_said(error)}" if busy and not _full(error) else ""
        case boto.ConnectTimeoutError() | boto.ReadTimeoutError():
            return "it did not answer in time"
        case boto.SSLError():
            return ""
        case boto.ConnectionError():
            return "it could not be reached"
        case boto.IncompleteReadError() | boto.ResponseStreamingError() | ShortBodyError():
            return "the connection ended before all bytes had come"
        case boto.HTTPClientError():
            return "the connection broke"
        case ResponseParserError():
            return "its answer could not be read"
        case boto.CredentialRetrievalError() | boto.MetadataRetrievalError():
            return "credentials could not be fetched"
        case _:
            return ""


def not_usable(error: Exception) -> UsageError:
    """What to do where S3 cannot be used at all as this machine is set up."""
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return UsageError(
            "S3: no credentials were found, or not all of them. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            f"AWS_PROFILE, or run where the machine has a role; {HELP}."
        )
    return UsageError(f"S3 cannot be used as it is set up here: {str(error).rstrip('.')}; {HELP}.")


def without_login(url: str) -> str:
    """An endpoint as it may be shown: without a user's name and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def connect() -> S3:
    """S3 as the environment of this process names it; one client for each process, made when it is first asked for.

    Raises:
        UsageError: the environment or the profile cannot be used.
    """
    environment = frozenset((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    with _CONNECTING:  # boto3 makes clients in one thread at a time
        return _connect(os.getpid(), environment)


_CONNECTING = threading.Lock()


@functools.lru_cache(maxsize=1)
def _connect(process: int, environment: frozenset[tuple[str, str]]) -> S3:
    """A client; other settings, or another process (whose connections would be this one's too), need another."""
    try:
        session = botocore.session.get_session()
        attempts = session.get_config_variable("max_attempts") or ATTEMPTS
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=CONNECTIONS,
            retries={"total_max_attempts": 1, "mode": "standard"},  # `Retry` also covers bodies, which boto3's do not
            # Checksums are sent as headers, see `content_digests`.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            user_agent_extra="ipt-platform",
        )
        client = boto3.Session(botocore_session=session).client("s3", config=config)
    except (boto.BotoCoreError, ValueError) as error:  # an endpoint that is no URL is a ValueError
        raise not_usable(error) from error
    return S3(client, Retry(max(1, attempts), FIRST_PAUSE, LONGEST_PAUSE))


def _length(answer: dict[str, Any]) -> int:
    """Bytes of the whole object, as the answer to a request for a range says: `bytes 100-149/150`.

    An object that ends early is thereby told from a connection that does.
    """
    total = answer.get("ContentRange", "").rpartition("/")[2]
    return int(total) if total.isdigit() else answer["ContentLength"]


def _status(error: boto.ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _code(error: boto.ClientError) -> str:
    return re.sub(r"[^\w.]", "", error.response.get("Error", {}).get("Code", ""))


def _full(error: boto.ClientError) -> bool:
    return _status(error) == 507 or _code(error) in FULL


def _said(error: boto.ClientError) -> str:
    status, code = _status(error), _code(error)
    return f"{code} (HTTP {status})" if code and code != str(status) else f"HTTP {status}"
