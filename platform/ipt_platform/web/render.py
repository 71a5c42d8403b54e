"""Templates to responses: every value is escaped, and what the browser has already is not sent again."""

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from ipt_platform import __version__
from ipt_platform.web import words

STATIC = Path(__file__).parent / "static"
NAVIGATION = (("Fleet", "/"), ("Runs", "/runs"), ("Tasks", "/tasks"), ("Search", "/search"), ("Try it", "/try"))
"""The pages that every page links to."""


@functools.cache
def environment() -> Environment:
    """The templates; a name that a page was not given is an error, and no value is taken for markup."""
    made = Environment(
        loader=PackageLoader("ipt_platform.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"static": static_url, "navigation": NAVIGATION, "version": __version__}
    made.filters |= words.FILTERS
    return made


def page(request: Request, template: str, code: int = 200, **values: Any) -> Response:
    """A page, or a part of one, from its template and values.

    Args:
        request: what is answered; templates see it, and `user`.
        template: its name below `templates/`.
        code: status of the response.
        values: what the template shows.
    """
    text = environment().get_template(template).render(request=request, user=request.state.user, **values)
    return _fresh(request, text.encode(errors="replace"), "text/html; charset=utf-8", code)


def answer(request: Request, value: Any, code: int = 200) -> Response:
    """A value as JSON; numbers that JSON does not know must not be in it."""
    data = json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    return _fresh(request, data, "application/json", code)


@functools.cache
def static_url(name: str) -> str:
    """Address of a file below `static/`, which changes with its content, so that browsers may keep it for ever."""
    return f"/static/{name}?v={hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


def _fresh(request: Request, body: bytes, kind: str, code: int) -> Response:
    """The response, or 304 where the browser says that it has the same."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if code == 200 and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, code, headers, kind)
