"""The page as an application: its routes behind the guard."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from ipt_platform.web import refusals
from ipt_platform.web.bench import Bench
from ipt_platform.web.pages import compare, fleet, login, pictures, run, runs, search, steer, tasks, trying
from ipt_platform.web.render import STATIC
from ipt_platform.web.security.guard import Guard
from ipt_platform.web.services import make_services
from ipt_platform.web.settings import Settings

PAGES = (fleet, runs, run, pictures, steer, compare, tasks, search, trying, login)
"""The modules whose `routes` the page has."""


def create_app(settings: Settings) -> Starlette:
    """The page; `app.state.settings` is what it was started with."""
    app = Starlette(
        routes=[
            Route("/healthz", _healthy),
            Mount("/static", _Static(directory=STATIC)),
            *(route for module in PAGES for route in _routes(module)),
        ],
        middleware=[Middleware(Guard, settings=settings, refuse=refusals.refused)],
        exception_handlers=refusals.HANDLERS,
        lifespan=_lifespan,
    )
    app.state.settings = settings
    app.state.services = make_services(settings)
    app.state.bench = Bench(settings.storage)
    # Which tasks there are is asked by whoever opens a page, so it must not wait for the pictures of others.
    app.state.offers = Bench(settings.storage, most=8, idle=60)
    return app


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    yield
    for bench in (app.state.bench, app.state.offers):
        await run_in_threadpool(bench.close)


def _routes(module: object) -> list[BaseRoute]:
    return list(getattr(module, "routes"))  # noqa: B009 - a protocol of modules


def _healthy(request: Request) -> Response:
    """That the page answers, for what watches it."""
    return PlainTextResponse("ok\n")


class _Static(StaticFiles):
    """Files that change their address with their content."""

    def file_response(self, *arguments: object, **more: object) -> Response:
        response = super().file_response(*arguments, **more)  # pyright: ignore[reportArgumentType]
        scope: Scope = arguments[2]  # pyright: ignore[reportAssignmentType]
        kept = b"v=" in scope.get("query_string", b"")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if kept else "no-cache"
        return response
