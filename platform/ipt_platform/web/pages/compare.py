"""Several runs beside each other: curves over each other, and what their jobs differ in."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ipt_platform.errors import IptError
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.load import Change, job_changes, read_job
from ipt_platform.web.charts import charts_over
from ipt_platform.web.files import run_of
from ipt_platform.web.pages.run import span_of
from ipt_platform.web.render import answer, page
from ipt_platform.web.services import services
from ipt_platform.web.statuses import Row, owner_of, status_of

MOST = 8


@dataclass(frozen=True)
class Difference:
    """What the job of a run differs in from that of the first, or why that cannot be said."""

    run: str
    changes: list[Change]
    problem: str = ""


def _compare(request: Request) -> Response:
    runs = _of(request)
    rows = {name: Row(status_of(run), owner_of(run)) for name, run in runs.items()}
    names = list(runs)
    differences = [_difference(name, runs[names[0]], runs[name]) for name in names[1:]]
    query = "&".join(f"run={name}" for name in names)
    return page(request, "runs/compare.html", rows=rows, differences=differences, curves_from=f"/compare/series?{query}")


def _series(request: Request) -> Response:
    start, end = span_of(request)
    return answer(request, {"charts": _charts(request, _of(request), start, end)})


def _charts(request: Request, runs: dict[str, RunDir], start: float, end: float) -> Any:
    library = services(request).series
    distinct = {run.path: run for run in runs.values()}  # who opens one twice waits for itself
    with ExitStack() as held:
        series = {path: held.enter_context(library.open(run)) for path, run in sorted(distinct.items())}
        return charts_over({name: series[run.path] for name, run in runs.items()}, start, end)


def _difference(name: str, first: RunDir, other: RunDir) -> Difference:
    try:
        return Difference(name, job_changes(read_job(first.job), read_job(other.job)))
    except IptError as error:
        return Difference(name, [], str(error))


def _of(request: Request) -> dict[str, RunDir]:
    names = list(dict.fromkeys(request.query_params.getlist("run")))
    if not 2 <= len(names) <= MOST:
        raise HTTPException(400, f"mark two to {MOST} runs to compare them; {len(names)} were given")
    return {name: run_of(request.app.state.settings, name) for name in names}


routes = [Route("/compare", _compare), Route("/compare/series", _series)]
