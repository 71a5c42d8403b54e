"""Cancel, end and resume a run and ask it for a checkpoint, for those who may; the run's events say who did."""

from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ipt_platform.errors import RefusedError
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.waiting import Patience
from ipt_platform.web.files import run_of
from ipt_platform.web.pages.run import actions_of
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


async def _steer(request: Request, what: str) -> Response:
    return await run_in_threadpool(_do, request, what)


def _do(request: Request, what: str) -> Response:
    # Ray is imported by all of them, which takes seconds; and what is ended at once may take NOW_SECONDS.
    from ipt_platform.cluster.again import resume
    from ipt_platform.cluster.checkpoint import ask_checkpoint
    from ipt_platform.cluster.steer import NOW_SECONDS, cancel, end_now

    def end(run: RunDir, who: str) -> None:
        if not actions_of(run, run_status(run, quick=True)) & {"end", "take-back"}:  # it began while somebody looked
            raise RefusedError(f"run {run.id} is not as it was shown; load its page again")
        end_now(run, who, Patience(NOW_SECONDS))

    user = require(request, "runner")
    name = request.path_params["run"]
    act = {"cancel": cancel, "checkpoint": ask_checkpoint, "end": end, "resume": resume}[what]
    act(run_of(request.app.state.settings, name), f"{user.name} on the page")
    return RedirectResponse(f"/runs/{name}", 303)


routes = [
    Route(f"/runs/{{run}}/{what}", partial(_steer, what=what), methods=["POST"])
    for what in ("cancel", "checkpoint", "end", "resume")
]
