"""`user add | ls | rm`: who may use the page."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ipt_platform.cli.output import Json, emit, say, table
from ipt_platform.web.security.users import ROLES, add_user, read_users, remove_user

app = typer.Typer(name="user", no_args_is_help=True, add_completion=False)

DEFAULT_USERS = Path("users.toml")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]
Users = Annotated[Path, typer.Option("--users", metavar="FILE", help="File of the users.")]


@app.callback()
def _user() -> None:
    """Say who may use the page beyond this machine: users, each with a role and a token."""


@app.command()
def add(
    name: Name,
    role: Annotated[str, typer.Option(help=f"What they may do: {', '.join(ROLES)}; each what those before it may.")] = "viewer",
    days: Annotated[float | None, typer.Option(min=0, help="The token is taken for so many days; for ever by default.")] = None,
    users: Users = DEFAULT_USERS,
    as_json: Json = False,
) -> None:
    """Add a user, and print the token once; the file holds its digest alone."""
    expires = None if days is None else datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    token = add_user(users, name, role, expires)

    def render(to: Console) -> None:
        say(to, token)

    emit({"user": name, "role": role, "expires": expires and expires.isoformat(), "token": token}, as_json, render)


@app.command()
def ls(users: Users = DEFAULT_USERS, as_json: Json = False) -> None:
    """List the users."""
    found = read_users(users)

    def render(to: Console) -> None:
        if found:
            rows = [(name, each.role, each.expires.isoformat() if each.expires else "-") for name, each in found.items()]
            table(to, ("user", "role", "expires"), rows)
        else:
            say(to, f"no users in {users}; `ipt-platform user add NAME` adds one")

    data = [
        {"user": name, "role": each.role, "expires": each.expires and each.expires.isoformat()} for name, each in found.items()
    ]
    emit(data, as_json, render)


@app.command()
def rm(name: Name, users: Users = DEFAULT_USERS, as_json: Json = False) -> None:
    """Take a user out; from then on the page lets them do nothing."""
    remove_user(users, name)
    emit({"user": name, "removed": True}, as_json, lambda to: say(to, f"{name} was taken out of {users}"))
