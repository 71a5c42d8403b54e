"""What every request passes before a page is asked: host, size, rate, who asks, and whether a form is one of ours."""

import getpass
import logging
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ipt_platform.errors import IptError
from ipt_platform.web.security.headers import HEADERS
from ipt_platform.web.security.hosts import known_host, own_names, same_origin
from ipt_platform.web.security.limits import Limiter
from ipt_platform.web.security.sessions import Sessions, cookie_name
from ipt_platform.web.security.users import User, Users
from ipt_platform.web.settings import Settings

log = logging.getLogger(__name__)

SAFE = ("GET", "HEAD")
OPEN = ("/login", "/healthz")
"""The paths that everybody may look at, besides what lies below /static/."""

FORM_BYTES = 1 << 16
FORM_FIELDS = 100
_FORM = "application/x-www-form-urlencoded"

Refuse = Callable[[Request, Exception], Response]


class Guard:
    """Stands before the pages. What a page is told of the request: `request.state.user`, `.form` (of a form) and `.proof`.

    Args:
        app: the pages.
        settings: as the page was started.
        refuse: the response to what is refused.
        clock: seconds.
    """

    def __init__(self, app: ASGIApp, settings: Settings, refuse: Refuse, clock: Callable[[], float] = time.monotonic):
        self.app, self.settings, self.refuse = app, settings, refuse
        self.names = own_names(settings.host, settings.names)
        self.users = Users(settings.users) if settings.users else None
        self.sessions = Sessions(settings.session_seconds, clock)
        self.changes = Limiter(burst=30, per_minute=60, clock=clock)
        self.logins = Limiter(burst=10, per_minute=10, clock=clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it to the pages."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        state = scope.setdefault("state", {})
        state |= {"user": None, "form": {}, "proof": "", "guard": self}
        sending = _Sending(send)
        try:
            answer, receive = await self._look(request, receive)
            await (answer or self.app)(scope, receive, sending)
        except Exception as error:
            if sending.begun:
                raise
            response = await run_in_threadpool(self.refuse, request, error)
            await response(scope, receive, sending)

    async def _look(self, request: Request, receive: Receive) -> tuple[Response | None, Receive]:
        """What is to be answered at once, or None; and from where the body comes.

        Raises:
            HTTPException: the request is refused.
        """
        headers, state = request.headers, request.state
        if not known_host(headers.get("host", ""), self.names):
            raise HTTPException(421, "this name is not one of the page; start it with --name NAME to reach it so")
        receive = _capped(receive, headers, self.settings.upload_bytes)
        cookie = request.cookies.get(cookie_name(request.url), "")
        user, by_header = await run_in_threadpool(self._who, headers, cookie)
        state.user = user
        state.proof = self.sessions.proof(cookie if user and user.token else "")
        if user is None and not _is_open(request):
            return self._to_login(request, bool(cookie)), receive
        if request.method not in SAFE:
            receive = await self._judge_change(request, receive, "" if by_header else cookie, by_header)
        return None, receive

    def _who(self, headers: Headers, cookie: str) -> tuple[User | None, bool]:
        """Who asks, and whether a header says so, which no foreign page can make a browser send."""
        if self.users is None:
            return User(system_user(), "admin"), False
        try:
            return self._known(self.users, headers, cookie)
        except IptError as error:
            log.error("nobody is let in: %s", error)
            return None, False

    def _known(self, users: Users, headers: Headers, cookie: str) -> tuple[User | None, bool]:
        """As `_who`, where one has to log in."""
        now, (kind, _, token) = datetime.now(UTC), headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return users.with_token(token.strip(), now), True
        session = self.sessions.find(cookie)
        # The file may have changed since the login.
        return (users.with_digest(session.token, now) if session else None), False

    async def _judge_change(self, request: Request, receive: Receive, cookie: str, by_header: bool) -> Receive:
        """Let a request that changes something through only if it comes from one of our pages and not too often."""
        login = request.url.path == "/login"
        client = request.client.host if request.client else ""
        name = client if login or not request.state.user else f"{client} {request.state.user.name}"
        if wait := (self.logins if login else self.changes).take(name):
            raise HTTPException(429, f"too many requests; try again in {wait:.0f} s", {"Retry-After": f"{wait + 1:.0f}"})
        headers = request.headers
        if not by_header and not same_origin(headers.get("origin"), headers.get("sec-fetch-site"), headers.get("host", "")):
            raise HTTPException(403, "this did not come from a page of ours")
        proof = headers.get("x-csrf-token")
        if headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM:
            body = await _read(receive, FORM_BYTES)
            request.state.form = _fields(body)
            proof = proof or request.state.form.get("csrf")
            receive = _replay(body)
        if not by_header and not login and not self.sessions.proves(cookie if request.state.user.token else "", proof or ""):
            raise HTTPException(403, "the form is out of date; load the page again")
        return receive

    def _to_login(self, request: Request, had_cookie: bool) -> Response:
        wants_page = request.method in SAFE and "text/html" in request.headers.get("accept", "")
        if not wants_page or "authorization" in request.headers:
            raise HTTPException(401, "log in first: the token is missing, wrong or expired", {"WWW-Authenticate": "Bearer"})
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        again = "&again=1" if had_cookie else ""
        return RedirectResponse(f"/login?next={quote(path, safe='/')}{again}", 303)


def system_user() -> str:
    """Who runs the page, for a page without logins."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return f"user {os.getuid()}"


class _Sending:
    """Sends a response with the headers that every one has."""

    def __init__(self, send: Send):
        self._send, self.begun = send, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await self._send(message)


def _capped(receive: Receive, headers: Headers, most: int) -> Receive:
    """The body, which is refused when it is larger than `most` bytes.

    Raises:
        HTTPException: its length says so already.
    """
    told = headers.get("content-length", "0")
    if not told.isdecimal() or int(told) > most:
        raise HTTPException(413, f"more than the {most:,} bytes that one request may have")
    seen = 0

    async def receiving() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise HTTPException(413, f"more than the {most:,} bytes that one request may have")
        return message

    return receiving


def _is_open(request: Request) -> bool:
    """Whether nobody has to log in for this."""
    path = request.url.path
    return path == "/login" or (request.method in SAFE and (path in OPEN or path.startswith("/static/")))


def _fields(body: bytes) -> dict[str, str]:
    """The fields of a form by name.

    Raises:
        HTTPException: there are too many.
    """
    try:
        return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=FORM_FIELDS))
    except ValueError as error:
        raise HTTPException(400, f"more than the {FORM_FIELDS} fields that a form may have") from error


async def _read(receive: Receive, most: int) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > most:
            raise HTTPException(413, f"more than the {most:,} bytes that a form may have")
    return body


def _replay(body: bytes) -> Receive:
    left: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> Message:
        return left.pop() if left else {"type": "http.disconnect"}

    return receiving
