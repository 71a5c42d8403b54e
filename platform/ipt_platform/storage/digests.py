"""Digests by which S3 knows what it is sent and what it holds."""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

MAX_PARTS = 10_000
CHUNK = 1 << 20


def content_digests(data: bytes) -> dict[str, str]:
    """Arguments of an upload that let the server refuse bytes that changed on the way.

    MD5 is what every S3 checks; SHA-256 is kept by those that know it. Given as headers they leave the body as it is,
    whereas the checksum that boto3 would append is stored as part of the object by servers that do not know of it.
    """
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    return {"ContentMD5": _as_text(md5), "ChecksumSHA256": _as_text(hashlib.sha256(data).digest())}


@dataclass(frozen=True)
class Digests:
    """A file as S3 would know it: size, size of its parts, and the digests of all and of each part."""

    size: int
    part: int
    sha256: str
    md5s: list[bytes]
    sha256s: list[bytes]

    @property
    def tag(self) -> str:
        """The ETag, of stores that make it the usual way (without keys of the customer's)."""
        if self.size <= self.part:
            return f'"{self.md5s[0].hex()}"'
        return f'"{hashlib.md5(b"".join(self.md5s), usedforsecurity=False).hexdigest()}-{len(self.md5s)}"'

    @property
    def checksum(self) -> str:
        """The SHA-256 of S3: for an upload in parts, that of the digests of the parts, and their number."""
        if self.size <= self.part:
            return _as_text(self.sha256s[0])
        return f"{_as_text(hashlib.sha256(b''.join(self.sha256s)).digest())}-{len(self.sha256s)}"


def digests_of(file: Path, part: int) -> Digests:
    """Read a file once for all its digests; parts are larger where there would be too many."""
    size = file.stat().st_size
    part = max(part, -(-size // MAX_PARTS))
    whole = hashlib.sha256()
    md5s, sha256s = [], []
    with file.open("rb") as stream:
        for start in range(0, max(size, 1), part):
            md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
            for place in range(start, min(start + part, size), CHUNK):
                data = stream.read(min(CHUNK, start + part - place))
                for digest in (md5, sha256, whole):
                    digest.update(data)
            md5s.append(md5.digest())
            sha256s.append(sha256.digest())
    return Digests(size, part, whole.hexdigest(), md5s, sha256s)


def _as_text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
