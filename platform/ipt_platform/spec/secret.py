"""Where a secret is: the environment or a file that its owner alone can read; never the secret itself."""

import os
import re
import stat
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from ipt_platform.errors import NotFoundError, UsageError
from ipt_platform.spec.base import Text

_WORD = re.compile(r"[!-~]+")


def secret_place(value: str) -> str:
    """Where a secret is, and never what it is.

    Raises:
        ValueError: it does not say so.
    """
    kind, colon, name = value.partition(":")
    if kind not in ("env", "file") or not colon or not name:
        # The value is not shown: it may be the secret itself.
        raise ValueError("expected where the secret is, as in env:GPU_TOKEN or file:~/gpu.token; never the secret itself")
    return value


SecretPlace = Annotated[Text, AfterValidator(secret_place)]
"""env:NAME or file:PATH."""


def read_secret(place: str, owner: str, what: str) -> tuple[str, str]:
    """A secret, and in words where it came from.

    Args:
        place: a SecretPlace.
        owner: whose it is, as in "cluster gpu"; for errors.
        what: what it is, as in "token".

    Raises:
        NotFoundError: it is not there.
        UsageError: others can read it, or it has characters that no header carries.
    """
    kind, _, name = place.partition(":")
    if kind == "env":
        if not (secret := os.environ.get(name, "").strip()):
            raise NotFoundError(f"{owner}: the environment has no {name}, where its {what} should be")
        return _sendable(secret, owner, what, f"the environment variable {name}")
    path = Path(name).expanduser()
    try:
        # Bytes that are no UTF-8 are refused with the other characters that no header carries.
        mode, secret = path.stat().st_mode, path.read_text(errors="replace").strip()
    except OSError as error:
        raise NotFoundError(f"{owner}: its {what} should be in {path}: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(f"{owner}: others can read its {what}; run `chmod 600 {path}`, and change the {what}")
    if not secret:
        raise NotFoundError(f"{owner}: {path}, where its {what} should be, is empty")
    return _sendable(secret, owner, what, f"the file {path}")


def _sendable(secret: str, owner: str, what: str, place: str) -> tuple[str, str]:
    """A secret and where it came from, if a header can carry it; it is not shown."""
    if not _WORD.fullmatch(secret):
        raise UsageError(
            f"{owner}: what is in {place} is no {what}: expected one word of printable ASCII characters, without blanks "
            "and line ends inside"
        )
    return secret, place
