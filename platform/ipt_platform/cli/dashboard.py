"""`dashboard`: the page, for the browser."""

from pathlib import Path
from typing import Annotated

import typer

from ipt_platform.cli.output import AnyStorage, Json, console, emit, say
from ipt_platform.cli.user import DEFAULT_USERS
from ipt_platform.errors import UsageError
from ipt_platform.web.serve import Certificate, listen, serve
from ipt_platform.web.settings import Settings


def dashboard(
    storage: AnyStorage = "runs",
    listen_on: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where it listens; port 0 is any that is free.")
    ] = "127.0.0.1:8260",
    users: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Who may log in; needed where others than this machine can reach it.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="A name by which browsers reach it; repeatable.")
    ] = None,
    prometheus: Annotated[str | None, typer.Option(metavar="URL", help="Prometheus whose alerts are shown.")] = None,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Cluster whose machines are shown; else that of RAY_ADDRESS or the configuration."),
    ] = None,
    certificate: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificate for https, in PEM.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="The key of the certificate, in PEM.")] = None,
    as_json: Json = False,
) -> None:
    """Serve the page: machines, runs, curves, checkpoints and logs, read from the storage's files."""
    host, port = _address(listen_on)
    if (certificate is None) != (key is None):
        raise UsageError("--certificate and --key belong together; give both")
    for file in filter(None, (certificate, key)):
        if not file.is_file():
            raise UsageError(f"{file}: there is no such file")
    if prometheus and not prometheus.startswith(("http://", "https://")):
        raise UsageError(f"--prometheus {prometheus!r} is no address; expected one as in http://127.0.0.1:9090")
    settings = Settings(storage, host, users, tuple(name or ()), prometheus, cluster)
    found = listen(settings, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"{'https' if certificate else 'http'}://{shown}:{found.getsockname()[1]}/"
    emit({"address": address}, as_json, lambda to: say(to, f"the page is at {address}"))
    if users is None and DEFAULT_USERS.is_file():
        say(console(stderr=True), f"nobody needs to log in; --users {DEFAULT_USERS} would ask for a token")
    serve(settings, found, Certificate(certificate, key) if certificate and key else None)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"--listen {text!r} is no address; expected HOST:PORT, as in 127.0.0.1:8260 or [::1]:8260")
    return host, int(port)
