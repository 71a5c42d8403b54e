"""One run: how it gets on, its curves, events, checkpoints, logs and job."""

import math
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ipt_platform.observe.events import read_events
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import UNITS, Status
from ipt_platform.observe.submitted import submitted
from ipt_platform.spec.words import LEARNING
from ipt_platform.web.charts import charts_of
from ipt_platform.web.events import in_words
from ipt_platform.web.files import MEMBER, run_of
from ipt_platform.web.logs import Asked, shown_logs
from ipt_platform.web.render import answer, page
from ipt_platform.web.services import services
from ipt_platform.web.statuses import owner_of, status_of

EVENTS = 200
MEMBERS = 200


def _run(request: Request) -> Response:
    run = _of(request)
    parts = _summary(request, run) | _records(request, run) | _checkpoints(request, run, later=False)
    return page(request, "run/run.html", curves_from=f"/runs/{_name(request)}/series", **parts)


def _part(request: Request) -> Response:
    part = request.path_params["part"]
    if part not in PARTS:
        raise HTTPException(404, f"a run has no part {part!r}")
    return page(request, f"run/{part}.html", **PARTS[part](request, _of(request)))


def _series(request: Request) -> Response:
    start, end = span_of(request)
    with services(request).series.open(_of(request)) as series:
        charts = charts_of(series, start, end)
    return answer(request, {"charts": charts})


def _job(request: Request) -> Response:
    run = _of(request)
    text = run.job.read_text(errors="replace") if run.job.is_file() else ""
    return page(request, "run/job.html", **_summary(request, run), text=text)


def _logs(request: Request) -> Response:
    run, asked = _of(request), Asked.of(request.query_params)
    return page(request, "run/logs.html", **_summary(request, run), asked=asked, **shown_logs(run, asked))


def _log_lines(request: Request) -> Response:
    run, asked = _of(request), Asked.of(request.query_params)
    return page(request, "run/log-lines.html", name=_name(request), asked=asked, **shown_logs(run, asked))


def span_of(request: Request) -> tuple[float, float]:
    """The steps that are asked for, from and to; all of them where nothing else can be read."""

    def number(name: str, default: float) -> float:
        try:
            value = float(request.query_params[name])
        except (KeyError, ValueError):
            return default
        return value if math.isfinite(value) else default

    return number("from", -math.inf), number("to", math.inf)


def _summary(request: Request, run: RunDir) -> dict[str, Any]:
    status = status_of(run)
    whole, _, member = _name(request).partition(MEMBER)
    return {
        "name": _name(request),
        "whole": whole if member else "",
        "run": run,
        "status": status,
        "owner": owner_of(run),
        "unit": UNITS.get(status.kind, "step"),
        "may_steer": request.state.user.may("runner"),
        "actions": actions_of(run, status),
        "members": _members(request, run, status),
    }


def actions_of(run: RunDir, status: Status) -> set[str]:
    """What can be asked of a run in this state: `cancel`, `checkpoint`, `end`, `resume`, `take-back`."""
    if status.state == "running":
        trains = {"checkpoint"} if status.kind in LEARNING else set()
        return {"end"} if status.kind == "evaluate" else {"cancel", *trains}
    if status.state == "created":
        return {"take-back"} if submitted(run) else set()
    return {"resume"} if status.state in ("interrupted", "failed", "cancelled") else set()


def _records(request: Request, run: RunDir) -> dict[str, Any]:
    run.refresh()
    events = read_events(run, tail=EVENTS)
    return {"name": _name(request), "events": [in_words(each) for each in reversed(events)], "most_events": EVENTS}


def _checkpoints(request: Request, run: RunDir, later: bool = True) -> dict[str, Any]:
    """The checkpoints; unless `later`, without their PSNR where that takes long to find: the page is to be seen at once."""
    found = services(request)
    shown = found.checkpoints.of(run)
    psnr: dict[int, list[tuple[str, str, float]]] = {}
    if later or found.series.known(run):
        with found.series.open(run) as series:
            curves = [(name, curve) for name, curve in series.curves.items() if name[0] == "psnr"]
            for each in shown:
                values = [(name[2], name[1], curve.at(each.step)) for name, curve in curves]
                psnr[each.step] = [(task, test_set, value) for task, test_set, value in values if value is not None]
    return {"name": _name(request), "checkpoints": shown, "psnr_at": psnr}


def _members(request: Request, run: RunDir, status: Status) -> list[Status]:
    """The runs of a search or an analysis."""
    if status.kind not in ("tune", "analyze"):
        return []
    return [row.status for row in services(request).members.of(run)[:MEMBERS]]


PARTS = {"summary": _summary, "events": _records, "checkpoints": _checkpoints}
"""The parts of the page that are asked for again and again, and what each shows."""


def _name(request: Request) -> str:
    return request.path_params["run"]


def _of(request: Request) -> RunDir:
    return run_of(request.app.state.settings, _name(request))


routes = [
    Route("/runs/{run}", _run),
    Route("/runs/{run}/series", _series),
    Route("/runs/{run}/job", _job),
    Route("/runs/{run}/logs", _logs),
    Route("/runs/{run}/parts/lines", _log_lines),
    Route("/runs/{run}/parts/{part}", _part),
]
