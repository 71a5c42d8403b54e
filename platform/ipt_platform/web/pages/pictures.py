"""What runs have restored on their way: one run through its steps, or two runs beside each other."""

import json
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ipt_platform.errors import NotFoundError
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.samples import Sample, find_sample, list_samples, read_params
from ipt_platform.web.files import MEMBER, run_of
from ipt_platform.web.panels import panels_of
from ipt_platform.web.render import answer, page
from ipt_platform.web.services import services
from ipt_platform.web.statuses import status_of

FOR_EVER = "private, max-age=31536000, immutable"
_STEP = re.compile(r"[0-9]{1,16}")
MOST_SUGGESTED = 500
"""Runs whose names are offered where one is to be typed."""


def _of_run(request: Request) -> Response:
    """The pictures of a run."""
    run = _run(request)
    name = request.path_params["run"]
    whole, _, member = name.partition(MEMBER)
    return page(
        request, "pictures/run.html", run=run, name=name, whole=whole if member else "", empty=not list_samples(run),
        known=_known(request),
    )  # fmt: skip


def _of_two(request: Request) -> Response:
    """The pictures that two runs have of the same scenes."""
    left, right = (request.query_params.get(side, "") for side in ("left", "right"))
    for name in filter(None, (left, right)):
        run_of(request.app.state.settings, name)  # a name that is none of a run is told before anything is shown
    return page(request, "pictures/two.html", left=left, right=right, known=_known(request))


def _list(request: Request) -> Response:
    """Which pictures a run has of which steps, each step with the tag of its content."""
    run = _run(request)
    found: dict[str, list[tuple[int, str]]] = {}
    for sample in list_samples(run):
        found.setdefault(sample.name, []).append((sample.step, sample.tag))
    pictures = [{"name": name, "steps": found[name]} for name in sorted(found)]
    return answer(request, {"run": request.path_params["run"], "live": _is_live(run), "pictures": pictures})


def _panel(request: Request) -> Response:
    """One of the three pictures of a triptych, as PNG."""
    run, panel = _run(request), request.path_params["panel"]
    sample = _sample(request, run)
    found = panels_of(run, sample)
    if panel not in found:
        raise NotFoundError(f"a triptych has no panel {panel!r:.40}; it has {', '.join(found)}")
    tag = f'"{sample.tag}-{panel}"'
    kept = request.query_params.get("v") == sample.tag
    headers = {"ETag": tag, "Cache-Control": FOR_EVER if kept else "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(found[panel], headers=headers, media_type="image/png")


def _params(request: Request) -> Response:
    """The parameters that made a degraded picture."""
    run = _run(request)
    data = read_params(run, _sample(request, run))
    return answer(request, {"params": _read(data) if data else None})


def _known(request: Request) -> list[str]:
    """The runs that may be compared with, newest first."""
    rows = sorted(services(request).statuses.all(), key=lambda row: row.status.updated, reverse=True)
    return [row.status.run_id for row in rows[:MOST_SUGGESTED]]


def _run(request: Request) -> RunDir:
    return run_of(request.app.state.settings, request.path_params["run"])


def _sample(request: Request, run: RunDir) -> Sample:
    """The triptych that an address names."""
    step, name = request.path_params["step"], request.path_params["name"]
    if not _STEP.fullmatch(step):
        raise NotFoundError(f"{step!r:.40} is no step of a run")
    return find_sample(run, int(step), name)


def _is_live(run: RunDir) -> bool:
    """Whether new pictures may come without anybody resuming the run."""
    return status_of(run).state not in ("finished", "failed", "cancelled")


def _read(data: bytes) -> Any:
    """What a file of parameters says; None where it says nothing that can be shown."""
    try:
        return json.loads(data, parse_constant=str)
    except (ValueError, RecursionError):
        return None


routes = [
    Route("/pictures", _of_two),
    Route("/runs/{run}/pictures", _of_run),
    Route("/runs/{run}/pictures/list", _list),
    Route("/runs/{run}/pictures/{step}/{name}/params", _params),
    Route("/runs/{run}/pictures/{step}/{name}/{panel}.png", _panel),
]
