"""A store that speaks S3 over HTTP on loopback, and a proxy before it that fails as it is told."""

import functools
import http.client
import itertools
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from ipt_platform.storage import s3 as requests_of_s3
from ipt_platform.storage.paths import S3Path
from ipt_platform.storage.s3 import S3, connect

ERROR = "<?xml version='1.0'?><Error><Code>{0}</Code><Message>as a test wants it</Message></Error>"
ANSWERS = {
    "error": (500, "InternalError"),
    "busy": (503, "SlowDown"),
    "full": (507, "XMinioStorageFull"),  # as MinIO says it
    "quota": (403, "QuotaExceeded"),  # as Ceph's gateway says it
    "denied": (403, "AccessDenied"),
    "skewed": (403, "RequestTimeTooSkewed"),
    "signature": (403, "SignatureDoesNotMatch"),
}
KEY_ID, SECRET = "AKIATESTONLY", "a-secret-that-is-nowhere-to-be-seen"
NUMBERS = itertools.count()


@dataclass(frozen=True)
class Request:
    """A request as the proxy saw it."""

    method: str
    path: str
    range: str
    encoding: str

    @property
    def bytes(self) -> int:
        """Bytes asked for by range."""
        first, _, last = self.range.removeprefix("bytes=").partition("-")
        return int(last) - int(first) + 1


class Proxy(ThreadingHTTPServer):
    """Hands requests on. `fault` names what to do to one: answer with an error of its own (one of `ANSWERS`); "reset" the
    connection, or break it in the middle of the body ("cut", "break"); be "silent"; "lose" the answer; send something
    "corrupt" to the store; or ask it for the "whole" where a range was wanted. `late` is called before an answer is handed on.
    """

    daemon_threads = True

    def __init__(self, store: tuple[str, int]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store = store
        self.requests: list[Request] = []
        self.fault: Callable[[Request], str] = lambda request: ""
        self.late: Callable[[Request], object] = lambda request: None
        self.over = threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fail_once(self, fault: str, wanted: Callable[[Request], bool]) -> None:
        """Do it to the first of each of the requests that are meant, and to none that comes again."""
        seen: set[Request] = set()

        def first(request: Request) -> str:
            if not wanted(request) or request in seen:
                return ""
            seen.add(request)
            return fault

        self.fault = first

    def count(self, method: str, text: str = "") -> int:
        return sum(each.method == method and text in each.path for each in self.requests)

    def handle_error(self, request, client_address) -> None:
        """A client that gave up is no news."""

    def close(self) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        wanted, encoding = self.headers.get("Range", ""), self.headers.get("Content-Encoding", "")
        request = Request(self.command, self.path, wanted, encoding)
        self.server.requests.append(request)
        fault = self.server.fault(request)
        if fault in ANSWERS:
            status, code = ANSWERS[fault]
            return self._answer(status, [("Content-Type", "application/xml")], ERROR.format(code).encode())
        if fault == "reset":
            return self._break()
        if fault == "silent":
            self.server.over.wait(60)
            return self._break()
        if fault == "corrupt":
            body = body[:-1] + bytes([body[-1] ^ 1])
        status, headers, data = self._ask_store(body, fault)
        self.server.late(request)
        if fault == "lose":
            return self._break()
        return self._answer(status, headers, data, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 (as http.server spells them)

    def _ask_store(self, body: bytes, fault: str) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(*self.server.store, timeout=60)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        dropped = {"connection", "expect"} | ({"range"} if fault == "whole" else set())
        for name, value in self.headers.items():
            if name.lower() not in dropped:
                connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), data

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, fault: str = "") -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                self.send_header(name, value)
        given = [value for name, value in headers if name.lower() == "content-length"]
        self.send_header("Content-Length", given[0] if given and self.command == "HEAD" else str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        broken = fault in ("cut", "break")
        self.wfile.write(data[: len(data) // 2] if broken else data)
        self.wfile.flush()
        if broken:
            self._break(hard=fault == "break")

    def _break(self, hard: bool = True) -> None:
        self.close_connection = True
        if hard:  # an end with RST, as from a machine that went away
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, format: str, *args) -> None:  # noqa: A002 (as http.server spells it)
        pass


@functools.lru_cache
def client_of(host: str, port: int, key_id: str, secret: str):
    """A client that does not go through the proxy."""
    return boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        region_name="us-east-1",
    )


@dataclass
class Store:
    """A bucket of its own for one test, seen through a proxy."""

    proxy: Proxy
    bucket: str
    environment: dict[str, str]

    @property
    def s3(self) -> S3:
        return connect()

    def path(self, key: str) -> S3Path:
        return S3Path(self.bucket, key)

    def url(self, key: str) -> str:
        return str(self.path(key))

    def direct(self):
        """A client that does not go through the proxy."""
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        return client_of(*self.proxy.store, *(self.environment[name] for name in names))

    def objects(self) -> dict[str, bytes]:
        """All that lies there, where nobody removes anything meanwhile."""
        client = self.direct()
        return {name: client.get_object(Bucket=self.bucket, Key=name)["Body"].read() for name in self.names()}

    def names(self) -> list[str]:
        """The keys of all that lies there."""
        return [each["Key"] for each in self.direct().list_objects_v2(Bucket=self.bucket).get("Contents", [])]


@pytest.fixture(scope="session")
def moto() -> Iterator[tuple[str, int]]:
    """Moto's server; it does what S3 does, but checks no signatures."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()
    server.stop()


@pytest.fixture(scope="session")
def proxy_to() -> Iterator[Callable[[tuple[str, int]], Proxy]]:
    """Makes a proxy to a store, one for each."""
    proxies: dict[tuple[str, int], Proxy] = {}

    def get(address: tuple[str, int]) -> Proxy:
        if address not in proxies:
            proxies[address] = Proxy(address)
        return proxies[address]

    yield get
    for proxy in proxies.values():
        proxy.close()


@pytest.fixture
def new_store(proxy_to, monkeypatch) -> Callable[..., Store]:
    """Makes a new bucket in a store, and the environment name that store, behind its proxy; with short pauses."""
    return lambda address, key_id, secret: named_store(proxy_to(address), monkeypatch, key_id, secret)


@pytest.fixture
def store(moto, new_store) -> Store:
    """A new bucket of moto's server."""
    return new_store(moto, KEY_ID, SECRET)


def named_store(proxy: Proxy, monkeypatch, key_id: str, secret: str) -> Store:
    """A new bucket, and an environment that names the store behind a proxy."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    environment = {
        "AWS_ENDPOINT_URL_S3": proxy.url,
        "AWS_ACCESS_KEY_ID": key_id,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "4",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(requests_of_s3, "FIRST_PAUSE", 0.001)
    store = Store(proxy, f"bucket-{next(NUMBERS)}", environment)
    store.direct().create_bucket(Bucket=store.bucket)
    proxy.fault = lambda request: ""
    proxy.requests.clear()
    return store
