"""Who may use the page: a file of users, each with a role and the digest of a token.

    [users."alice"]
    role = "runner"
    token_sha256 = "..."                    of 256 random bits, so that no salt and no slow hash is needed
    expires = 2027-01-01T00:00:00Z          optional

The token itself is shown once, when it is made. The file is read again whenever it has changed.
"""

import hashlib
import hmac
import json
import re
import secrets
import tomllib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

from pydantic import AwareDatetime, Field, ValidationError

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.errors import NotFoundError, RefusedError, SpecError, UsageError
from ipt_platform.observe.lock import locked
from ipt_platform.spec.base import Spec
from ipt_platform.spec.problems import problems_of
from ipt_platform.spec.source import Document

Role = Literal["viewer", "runner", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what those before it may: look; cancel and resume runs; everything."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_MARK = "ipt_"
"""Begins every token, so that one is known for what it is wherever it turns up."""


@dataclass(frozen=True)
class User:
    """Who asks: a name, what they may do, and by which token they are known ("": nobody had to show one)."""

    name: str
    role: Role
    token: str = ""

    def may(self, role: Role) -> bool:
        """Whether they may do what this role may."""
        return ROLES.index(self.role) >= ROLES.index(role)


class UserEntry(Spec):
    """One user of the file."""

    role: Role = Field(description="viewer, runner or admin.")
    token_sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Digest of the token.")
    expires: AwareDatetime | None = Field(default=None, description="From when on the token is no longer taken.")


class UsersFile(Spec):
    """The file of users."""

    users: dict[str, UserEntry] = Field(default_factory=dict, description="Users by name.")


class Users:
    """The users of a file, as it is now."""

    def __init__(self, path: Path):
        self.path = path
        self._mark: tuple[int, int, int] | None = None
        self._known: dict[str, UserEntry] = {}

    def all(self) -> dict[str, UserEntry]:
        """Every user by name.

        Raises:
            UsageError, SpecError: the file cannot be read, or is wrong; then nobody is let in.
        """
        try:
            stat = self.path.stat()
        except OSError as error:
            raise UsageError(
                f"{self.path}: cannot be read: {error.strerror}; `ipt-platform user add NAME --users {self.path}` begins one"
            ) from error
        mark = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if mark != self._mark:
            self._known, self._mark = read_users(self.path), mark
        return self._known

    def with_token(self, token: str, now: datetime) -> User | None:
        """Whose token this is; None: nobody's, or it has expired."""
        return self.with_digest(digest_of(token), now)

    def with_digest(self, digest: str, now: datetime) -> User | None:
        """Whose token has this digest; as `with_token`."""
        found = None
        for name, entry in self.all().items():  # all of them, so that the time it takes tells nothing
            if hmac.compare_digest(entry.token_sha256, digest) and (entry.expires is None or now < entry.expires):
                found = User(name, entry.role, digest)
        return found


def digest_of(token: str) -> str:
    """What the file holds of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def read_users(path: Path) -> dict[str, UserEntry]:
    """The users of a file by name; {} where there is none.

    Raises:
        UsageError: it is no TOML.
        SpecError: it is no file of users; carries every problem.
    """
    try:
        value = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: is no file of users: {error}") from error
    try:
        return UsersFile.model_validate(value).users
    except ValidationError as error:
        raise SpecError(problems_of(error, UsersFile, Document(value, {}, str(path), {}))) from error


def add_user(path: Path, name: str, role: str, expires: datetime | None = None) -> str:
    """Add a user to a file, which is made if it is not there.

    Returns:
        The token, which stands nowhere else.

    Raises:
        UsageError: the name or the role is none, or as `read_users`.
        RefusedError: there is a user of this name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of a user: expected letters, digits, '.', '_', '@' and '-', at most 64 of them")
    if role not in ROLES:
        raise UsageError(f"there is no role {role!r}; expected one of {', '.join(ROLES)}")
    token = _MARK + secrets.token_urlsafe(32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock")):
        users = read_users(path)
        if name in users:
            raise RefusedError(
                f"{path} has a user {name} already; `ipt-platform user rm {name}` takes the old token back first"
            )
        users[name] = UserEntry(role=role, token_sha256=digest_of(token), expires=expires)
        _write(path, users)
    return token


def remove_user(path: Path, name: str) -> None:
    """Take a user out of a file; the page lets them do nothing more from then on.

    Raises:
        NotFoundError: there is none of this name.
        UsageError, SpecError: as `read_users`.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such file")
    with locked(path.with_name(f".{path.name}.lock")):
        users = read_users(path)
        if name not in users:
            raise NotFoundError(f"{path} has no user {name!r}; it has {', '.join(sorted(users)) or 'none'}")
        del users[name]
        _write(path, users)


def _write(path: Path, users: dict[str, UserEntry]) -> None:
    parts = []
    for name, entry in users.items():
        lines = [f"[users.{json.dumps(name)}]", f'role = "{entry.role}"', f'token_sha256 = "{entry.token_sha256}"']
        parts.append("\n".join([*lines, *([f"expires = {entry.expires.isoformat()}"] if entry.expires else [])]) + "\n")
    replace_file(path, "\n".join(parts).encode())
    path.chmod(0o600)
