"""The first page: machines, what runs, what waits, alerts."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ipt_platform.web.render import page


def _fleet(request: Request) -> Response:
    return page(request, "fleet/fleet.html", storage=request.app.state.settings.storage)


routes = [Route("/", _fleet)]
