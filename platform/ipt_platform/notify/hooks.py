"""Who is told of state changes. The configuration of the machine that leads a run says so, never a job: a job file that comes
from somebody else must not be able to send anything anywhere.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from ipt_platform.errors import UsageError
from ipt_platform.spec.base import Many, Spec, Text
from ipt_platform.spec.secret import SecretPlace, read_secret

Occasion = Literal[
    "started", "resumed", "preempted", "worker-lost", "resized", "stop-requested", "interrupted", "failed", "cancelled",
    "finished",
]  # fmt: skip
OCCASIONS: tuple[Occasion, ...] = get_args(Occasion)
"""Of what a hook may be told: the events of these names, and `interrupted`, which no file says and the next attempt finds."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PREFIX = "whsec_"
_KEY_BYTES = (24, 64)


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if "@" in url or parts.fragment:
        # Not shown: it may be a login.
        raise ValueError("expected an address without a login and fragment; what is sent is signed with the secret")
    if not host or (parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK)):
        raise ValueError("expected the address of a webhook, as in https://hooks.example/runs (http on loopback alone)")
    return url


class HookEntry(Spec):
    """One webhook of the configuration file."""

    url: Annotated[Text, AfterValidator(_address)] = Field(description="Where messages are sent to by POST; https.")
    secret: SecretPlace = Field(description="Where the key is that signs them: env:NAME or file:PATH; it looks like whsec_...")
    on: Many[Occasion] = Field(
        default=("started", "resumed", "interrupted", "failed", "cancelled", "finished"),
        min_length=1,
        description="Of which events.",
    )


@dataclass(frozen=True)
class Hook:
    """A webhook with its key.

    Attributes:
        name: in the configuration file.
        url: where to.
        key: what signs; bytes.
        on: of which events.
    """

    name: str
    url: str
    key: bytes
    on: frozenset[str]

    @property
    def host(self) -> str:
        """Where to, for people; the rest of an address may be a secret of the other side."""
        return urlsplit(self.url).hostname or ""

    def __repr__(self) -> str:
        return f"Hook({self.name}, {self.host})"


def hook_of(name: str, entry: HookEntry) -> Hook:
    """The hook of an entry.

    Raises:
        NotFoundError: its secret is not where it should be.
        UsageError: others can read the secret, or it is no key.
    """
    secret, place = read_secret(entry.secret, f"notify.{name}", "secret")
    return Hook(name, entry.url, _key(secret, f"notify.{name}: {place}"), frozenset(entry.on))


def _key(secret: str, where: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True) if secret.startswith(_PREFIX) else b""
    except binascii.Error:
        key = b""
    if not _KEY_BYTES[0] <= len(key) <= _KEY_BYTES[1]:
        raise UsageError(
            f"{where} holds no key for a webhook: expected whsec_ and {_KEY_BYTES[0]} to {_KEY_BYTES[1]} bytes in base64; "
            'make one with `echo "whsec_$(openssl rand -base64 32)"`, and give it to the other side too'
        )
    return key
