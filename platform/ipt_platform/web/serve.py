"""The page as a server: who may listen where, and on what."""

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from ipt_platform.errors import CancelledRunError, InfrastructureError, RefusedError, UsageError
from ipt_platform.web.app import create_app
from ipt_platform.web.security.hosts import is_loopback
from ipt_platform.web.security.users import read_users
from ipt_platform.web.settings import Settings

_GRACE_SECONDS = 3


@dataclass(frozen=True)
class Certificate:
    """What the page proves with who it is: files in PEM."""

    chain: Path
    key: Path


def listen(settings: Settings, port: int) -> socket.socket:
    """A socket that listens as the settings say.

    Raises:
        RefusedError: others could reach it, and nobody would have to log in.
        UsageError: the users cannot be read, or there are none.
        InfrastructureError: the address cannot be listened on.
    """
    if settings.users is None and not is_loopback(settings.host):
        raise RefusedError(
            f"{settings.host} is not loopback: others would see and steer the runs; name those who may with --users FILE "
            "(`ipt-platform user add NAME` makes one), or listen on 127.0.0.1 and use an SSH tunnel"
        )
    if settings.users and not read_users(settings.users):
        raise UsageError(f"{settings.users} has no users; `ipt-platform user add NAME --users {settings.users}` adds one")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen()  # who comes before the server is up waits for it
    except OSError as error:
        raise InfrastructureError(
            f"{settings.host}:{port} cannot be listened on: {error.strerror or error}; is another page there? "
            "--listen HOST:0 takes any free port"
        ) from error
    return found


def serve(settings: Settings, on: socket.socket, certificate: Certificate | None = None) -> None:
    """Answer until SIGINT or SIGTERM."""
    app = create_app(settings)
    app.state.services.warm()
    config = uvicorn.Config(
        app,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        limit_concurrency=1000,
        ssl_certfile=certificate and certificate.chain,
        ssl_keyfile=certificate and str(certificate.key),
    )
    with contextlib.suppress(KeyboardInterrupt, CancelledRunError):  # which uvicorn hands on once it has closed
        uvicorn.Server(config).run(sockets=[on])
