"""Log in with a token, and log out."""

import logging
from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ipt_platform.errors import IptError
from ipt_platform.web.render import page
from ipt_platform.web.security.guard import Guard
from ipt_platform.web.security.sessions import cookie_name

log = logging.getLogger(__name__)


def _form(request: Request) -> Response:
    if request.state.user:
        return RedirectResponse(_next(request.query_params.get("next", "/")), 303)
    said = "Your login has ended; log in again." if "again" in request.query_params else ""
    return _show(request, said, request.query_params.get("next", "/"))


async def _login(request: Request) -> Response:
    guard: Guard = request.state.guard
    form = request.state.form
    if guard.users is None:
        return RedirectResponse("/", 303)
    try:
        user = await run_in_threadpool(guard.users.with_token, form.get("token", "").strip(), datetime.now(UTC))
    except IptError as error:
        log.error("nobody is let in: %s", error)
        return _show(request, "The file of users cannot be used; the log of the page says why.", form.get("next", "/"), 503)
    if user is None:
        return _show(request, "This token is not known, or it has expired.", form.get("next", "/"), 401)
    response = RedirectResponse(_next(form.get("next", "/")), 303)
    response.set_cookie(
        cookie_name(request.url),
        guard.sessions.begin(user.token),
        max_age=int(guard.sessions.seconds),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


def _logout(request: Request) -> Response:
    request.state.guard.sessions.end(request.cookies.get(cookie_name(request.url), ""))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(cookie_name(request.url), httponly=True, samesite="strict")
    return response


def _show(request: Request, said: str, after: str, status: int = 200) -> Response:
    return page(request, "login/form.html", status, said=said, after=_next(after))


def _next(path: str) -> str:
    """Where to go after a login: a path of ours, and of nobody else."""
    plain = path.startswith("/") and not path.startswith(("//", "/\\", "/login")) and path.isprintable()
    return path if plain else "/"


routes = [
    Route("/login", _form),
    Route("/login", _login, methods=["POST"]),
    Route("/logout", _logout, methods=["POST"]),
]
