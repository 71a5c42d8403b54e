"""Cancel and resume a run, for those who may; the run's events say who did."""

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ipt_platform.web.files import run_of
from ipt_platform.web.security.users import Role, User


def require(request: Request, role: Role) -> User:
    """Who asks, if they may do what this role may.

    Raises:
        HTTPException: they may not.
    """
    user: User = request.state.user
    if not user.may(role):
        raise HTTPException(403, f"{user.name} is a {user.role}; this needs a {role}")
    return user


async def _cancel(request: Request) -> Response:
    return await run_in_threadpool(_do, request, "cancel")


async def _resume(request: Request) -> Response:
    return await run_in_threadpool(_do, request, "resume")


def _do(request: Request, what: str) -> Response:
    # Ray is imported by both, which takes seconds.
    from ipt_platform.cluster.again import resume
    from ipt_platform.cluster.steer import cancel

    user = require(request, "runner")
    name = request.path_params["run"]
    run, who = run_of(request.app.state.settings, name), f"{user.name} on the page"
    if what == "cancel":
        cancel(run, who)
    else:
        resume(run, who)
    return RedirectResponse(f"/runs/{name}", 303)


routes = [
    Route("/runs/{run}/cancel", _cancel, methods=["POST"]),
    Route("/runs/{run}/resume", _resume, methods=["POST"]),
]
