"""The web server that Prometheus scrapes: GET /metrics, and nothing else."""

import contextlib
import hmac
import socket
import socketserver
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from ipt_platform.errors import InfrastructureError, UsageError
from ipt_platform.observe.listen import Listen

PATH = "/metrics"
AT_ONCE = 16
"""Connections that are answered at a time; for one more the oldest is closed."""

PATIENCE = 20.0
"""Seconds for a connection in all, however much of that a client takes to say what it wants and to hear the answer."""


@contextlib.contextmanager
def serving(registry: CollectorRegistry, listen: Listen, token: str | None) -> Iterator[Listen]:
    """Answer scrapes, in threads of its own, while the block runs.

    Args:
        registry: what is exported.
        listen: where.
        token: what a client must bear; None: it need not, which is for loopback alone.

    Yields:
        Where it listens, with the port that it has.

    Raises:
        UsageError: others could reach it, and there is no token.
        InfrastructureError: it cannot listen there.
    """
    if not listen.loopback and not token:
        raise UsageError(
            f"metrics at {listen} would be told to anybody who can reach it; set a token (metrics.token in config.toml, or "
            "IPT_METRICS_TOKEN), or listen on 127.0.0.1"
        )
    try:
        server = _Server(listen, _guarded(registry, token))
    except OSError as error:
        raise InfrastructureError(
            f"metrics cannot be served at {listen}: {error.strerror or error}; is the port taken?"
        ) from error
    with server:
        thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        try:
            yield Listen(listen.host, server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def _guarded(registry: CollectorRegistry, token: str | None) -> Any:
    """The application: it refuses what is no scrape, and whoever does not bear the token."""
    scrape = make_wsgi_app(registry)

    def application(environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        def refuse(status: str, text: str, *headers: tuple[str, str]) -> Iterable[bytes]:
            start(status, [("Content-Type", "text/plain; charset=utf-8"), *headers])
            return [text.encode()]

        if token and not _bears(environment.get("HTTP_AUTHORIZATION", ""), token):
            wanted = ("WWW-Authenticate", 'Bearer realm="ipt-platform metrics"')
            return refuse("401 Unauthorized", "Bear the token of these metrics: Authorization: Bearer TOKEN\n", wanted)
        if environment.get("PATH_INFO") != PATH:
            return refuse("404 Not Found", f"Only {PATH} is here.\n")
        if environment["REQUEST_METHOD"] != "GET":
            return refuse("405 Method Not Allowed", "Metrics can only be read, by GET.\n", ("Allow", "GET"))
        return scrape({**environment, "QUERY_STRING": ""}, start)  # all of it, whatever is asked for

    return application


def _bears(header: str, token: str) -> bool:
    scheme, _, given = header.partition(" ")
    # latin-1 is what wsgiref has read it as; how long it takes does not tell how much of it is right
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1", "replace"), token.encode())


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name in the class above)
        """Nothing: what is told to whom is not worth a line each 15 seconds."""

    def address_string(self) -> str:
        """The client's address; its name would have to be asked for."""
        return str(self.client_address[0])


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = AT_ONCE

    def __init__(self, listen: Listen, application: Any):
        self._began: dict[Any, float] = {}  # of each connection, the oldest first
        self._lock = threading.Lock()
        if ":" in listen.host:
            self.address_family = socket.AF_INET6
        super().__init__((listen.host, listen.port), _Handler)
        self.set_app(application)

    def server_bind(self) -> None:
        """Bind, without asking for the machine's name as http.server does: that may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own; if there are too many, the oldest makes room."""
        with self._lock:
            if len(self._began) == AT_ONCE:
                self._cut_off(next(iter(self._began)))
            self._began[request] = time.monotonic()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._began.pop(request, None)

    def service_actions(self) -> None:
        """Close what takes too long; called twice a second."""
        with self._lock:
            for request, began in list(self._began.items()):
                if time.monotonic() - began > PATIENCE:
                    self._cut_off(request)

    def _cut_off(self, request: Any) -> None:
        """Let the thread of a connection see its end."""
        del self._began[request]
        with contextlib.suppress(OSError):  # it has just ended
            request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours."""
