"""Searches and analyses: which there are, and what each has found so far."""

from collections.abc import Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from ipt_platform.observe.rundir import RunDir
from ipt_platform.web.files import run_of
from ipt_platform.web.found import TYPES, Report, files_of, report_of, report_page, trials_of
from ipt_platform.web.pareto import scatter
from ipt_platform.web.render import page
from ipt_platform.web.services import services
from ipt_platform.web.statuses import status_of

KINDS = ("tune", "analyze")


def _searches(request: Request) -> Response:
    found = services(request)
    rows = [row for row in found.statuses.all() if row.status.kind in KINDS]
    rows.sort(key=lambda row: row.status.updated, reverse=True)
    return page(request, "search/searches.html", storage=found.settings.storage, rows=rows)


def _search(request: Request) -> Response:
    return page(request, "search/search.html", **_now(request))


def _part(request: Request) -> Response:
    return page(request, "search/part.html", **_now(request))


def _now(request: Request) -> dict[str, Any]:
    run, name = _of(request)
    report = report_of(run) or Report()
    members = {row.status.run_id: row.status for row in services(request).members.of(run)}
    trials = trials_of(run, report, members)
    return {
        "name": name,
        "run": run,
        "status": status_of(run),
        "paths": _paths([trial.values for trial in trials]),
        "trials": trials,
        "picture": scatter(report.trials, report.front),
        "knobs": report.knobs,
        "judged_at": report.judged_at,
        "written": report_page(run, f"/search/{name}/files"),
        "files": files_of(run),
    }


def _file(request: Request) -> Response:
    run, _ = _of(request)
    name = request.path_params["name"]
    if name not in files_of(run):
        raise HTTPException(404, f"{run.id} has no file {name!r}")
    path = run.path / name
    how = "inline" if path.suffix == ".png" else "attachment"
    return FileResponse(path, media_type=TYPES[path.suffix], filename=name, content_disposition_type=how)


def _of(request: Request) -> tuple[RunDir, str]:
    """The search or analysis of an address.

    Raises:
        NotFoundError: there is no such run.
        HTTPException: it is another kind of run.
    """
    name = request.path_params["run"]
    run = run_of(request.app.state.settings, name)
    kind = status_of(run).kind
    if kind not in KINDS:
        raise HTTPException(404, f"run {run.id} is no search and no analysis (kind: {kind or 'not known'})")
    return run, name


def _paths(values: Sequence[dict[str, str]]) -> list[str]:
    return list(dict.fromkeys(path for each in values for path in each))


routes = [
    Route("/search", _searches),
    Route("/search/{run}", _search),
    Route("/search/{run}/part", _part),
    Route("/search/{run}/files/{name}", _file),
]
