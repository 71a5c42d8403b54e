"""A receiver of webhooks on loopback that fails as servers do."""

import base64
import json
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ipt_platform.notify.notifier import Notifier
from ipt_platform.observe.feed import FeedError
from tests.conftest import HANG

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


class Receiver:
    """A server that answers with what `answers` gives, then with 204; `heard` holds what came, taken or not."""

    def __init__(self):
        self.answers: list[Any] = []
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
                answer = receiver.answers.pop(0) if receiver.answers else 204
                if answer == "reset":
                    # Without lingering, closing sends RST.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    return
                if answer == "slow":
                    receiver.released.wait(HANG)
                    return
                status, own = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in own.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *words: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/runs?x=1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.heard]

    def types(self) -> list[str]:
        return [message["type"] for message in self.messages()]

    def ids(self) -> list[str]:
        return [own["webhook-id"] for own, _ in self.heard]

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


def insist(notifier: Notifier) -> list[FeedError]:
    """Turn until everything is told; what went wrong meanwhile."""
    errors = []
    while True:
        try:
            notifier.turn(last=True)
        except FeedError as error:
            errors.append(error)
        else:
            return errors
