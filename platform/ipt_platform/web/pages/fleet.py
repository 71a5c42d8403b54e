"""The first page: machines, what runs, what waits, alerts."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ipt_platform.web.render import page
from ipt_platform.web.services import services

SHOWN = 30
_RANK = {"firing": 0, "pending": 1}


def _fleet(request: Request) -> Response:
    return page(request, "fleet/fleet.html", **_now(request))


def _part(request: Request) -> Response:
    return page(request, "fleet/part.html", **_now(request))


def _now(request: Request) -> dict[str, Any]:
    found = services(request)
    rows = sorted(found.statuses.all(), key=lambda row: row.status.updated, reverse=True)
    alerts, alerts_problem = found.fleet.alerts()
    nodes, nodes_problem = found.fleet.nodes()
    running = [row for row in rows if row.status.state == "running"]
    waiting = [row for row in rows if row.status.state == "created"]
    stopped = [row for row in rows if row.status.state in ("failed", "interrupted")]
    return {
        "storage": found.settings.storage,
        "runs": len(rows),
        "running": running[:SHOWN],
        "waiting": waiting[:SHOWN],
        "stopped": stopped[:5],
        "counts": {"running": len(running), "waiting": len(waiting), "stopped": len(stopped)},
        "machines": [found.fleet.here(), *(nodes or ())],
        "nodes_problem": nodes_problem,
        "prometheus": found.settings.prometheus,
        "alerts": alerts and sorted(alerts, key=lambda each: (_RANK.get(each.state, 2), each.name)),
        "alerts_problem": alerts_problem,
        "asked": alerts is not None,
    }


routes = [Route("/", _fleet), Route("/parts/fleet", _part)]
