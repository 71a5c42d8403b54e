"""Logins that a cookie stands for; they live in the memory of the page, so a restart ends them."""

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import URL

_MOST = 10_000


def cookie_name(url: URL) -> str:
    """Of the cookie of a login at the page that is reached so: browsers keep one set of cookies for all ports of a host."""
    return f"ipt_session_{url.port or (443 if url.scheme == 'https' else 80)}"


@dataclass(frozen=True)
class Session:
    """A login: the digest of the token it was made with, and until when it lasts (seconds, by the clock of `Sessions`)."""

    token: str
    until: float


class Sessions:
    """Logins by the value of their cookie.

    Args:
        seconds: for which a login lasts.
        clock: seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]):
        self.seconds, self._clock = seconds, clock
        self._known: OrderedDict[str, Session] = OrderedDict()
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()

    def begin(self, token: str) -> str:
        """A new login of who has the token with this digest; gives the value of the cookie."""
        value = secrets.token_urlsafe(32)
        with self._lock:
            self._known[value] = Session(token, self._clock() + self.seconds)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return value

    def find(self, value: str) -> Session | None:
        """The login that a cookie stands for; None: it is over, or never was."""
        with self._lock:
            found = self._known.get(value)
            if found and self._clock() >= found.until:
                del self._known[value]
                return None
            return found

    def end(self, value: str) -> None:
        """End a login."""
        with self._lock:
            self._known.pop(value, None)

    def proof(self, value: str) -> str:
        """What a form must carry that was made for this cookie ("": for a page without logins)."""
        return hmac.new(self._secret, b"form:" + value.encode(), hashlib.sha256).hexdigest()

    def proves(self, value: str, proof: str) -> bool:
        """Whether a form was made for this cookie."""
        return hmac.compare_digest(self.proof(value).encode(), proof.encode())
