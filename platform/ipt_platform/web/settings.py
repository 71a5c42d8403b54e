"""What the page is told when it starts."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """What the page is told when it starts.

    Attributes:
        storage: of the runs and the registry: a folder, or `s3://bucket/prefix`.
        host: address that it listens on.
        users: file of those who may log in; None: nobody needs to, which loopback alone allows.
        names: host names that browsers may use for it, besides localhost and addresses in digits.
        prometheus: address of a Prometheus whose alerts are shown; None: none.
        cluster: name of the cluster whose machines are shown; None: that of RAY_ADDRESS or the configuration, if there is one.
        upload_bytes: of what may be sent in one request.
        session_seconds: for which a login lasts.
    """

    storage: str
    host: str = "127.0.0.1"
    users: Path | None = None
    names: tuple[str, ...] = ()
    prometheus: str | None = None
    cluster: str | None = None
    upload_bytes: int = 64 << 20
    session_seconds: float = 12 * 3600
