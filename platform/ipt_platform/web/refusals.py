"""What went wrong, as a page for people and as JSON for programs: what was found, and what to do."""

import logging
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ipt_platform.errors import ExitCode, InfrastructureError, IptError
from ipt_platform.web.render import answer, page

log = logging.getLogger(__name__)

STATUS_OF = {ExitCode.USAGE: 400, ExitCode.NOT_FOUND: 404}
"""The status of a response by the exit code that a command would end with, where that is not 409."""


def refused(request: Request, error: Exception) -> Response:
    """The response to a request that is refused, that leads nowhere, or that a service could not fulfil."""
    if isinstance(error, HTTPException):
        response = _tell(request, error.status_code, error.detail)
        response.headers.update(error.headers or {})
        return response
    if isinstance(error, InfrastructureError):
        return _tell(request, 503, str(error))
    if isinstance(error, IptError):
        return _tell(request, STATUS_OF.get(error.exit_code, 409), str(error))
    log.error("%s %s", request.method, request.url.path, exc_info=error)
    return _tell(request, 500, "something is wrong with the page itself; its log says more")


def _tell(request: Request, status: int, message: str) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        return answer(request, {"error": message}, status)
    return page(request, "error.html", status, title=HTTPStatus(status).phrase, message=message)


HANDLERS = {HTTPException: refused, IptError: refused}
"""By kind of error, what answers it; the guard answers every other."""
