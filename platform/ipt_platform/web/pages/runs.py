"""The list of runs: filtered, sorted, a page at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ipt_platform.observe.status import STATES
from ipt_platform.web.render import page
from ipt_platform.web.services import services
from ipt_platform.web.statuses import DAMAGED, Row

PER_PAGE = 50
_LONGEST = 200


@dataclass(frozen=True)
class Order:
    """What a column sorts by: its heading, the key (None: not known, which comes last), and whether the most come first."""

    heading: str
    key: Callable[[Row], Any]
    down: bool = True
    number: bool = False


def _mean_psnr(row: Row) -> float | None:
    values = [value for tasks in (row.status.psnr or {}).values() for value in tasks.values()]
    return sum(values) / len(values) if values else None


ORDERS = {
    "name": Order("Run", lambda row: row.status.run_id, down=False),
    "state": Order("State", lambda row: (*STATES, DAMAGED).index(row.status.state), down=False),
    "kind": Order("Kind", lambda row: row.status.kind or None, down=False),
    "progress": Order("Step", lambda row: row.status.step / row.status.steps if row.status.steps else None),
    "eta": Order("Left", lambda row: row.status.eta, down=False, number=True),
    "speed": Order("Images/s", lambda row: row.status.images_per_second, number=True),
    "wait": Order("Data wait", lambda row: row.status.data_wait_share, number=True),
    "psnr": Order("PSNR in dB", _mean_psnr),
    "attempt": Order("Attempt", lambda row: row.status.attempt, number=True),
    "owner": Order("Owner", lambda row: row.owner or None, down=False),
    "updated": Order("Last word", lambda row: row.status.updated or None),
}
"""The columns of the list by their names in addresses."""


@dataclass(frozen=True)
class View:
    """What somebody asked for: part of a name, states, a kind, the order, and the page."""

    text: str
    states: tuple[str, ...]
    kind: str
    sort: str
    down: bool
    page: int

    def address(self, path: str, **changes: Any) -> str:
        """Where the same is shown but for these changes."""
        words = {"q": self.text, "kind": self.kind, "sort": self.sort, "down": int(self.down), "page": self.page} | changes
        pairs = [(name, str(value)) for name, value in words.items() if value not in ("", None)]
        return f"{path}?{urlencode([*pairs, *(('state', each) for each in self.states)])}"


def view_of(query: QueryParams) -> View:
    """What the query of an address asks for; what cannot be read asks for nothing."""
    sort = query.get("sort", "updated")
    sort = sort if sort in ORDERS else "updated"
    number, down = query.get("page", ""), query.get("down", "")
    return View(
        query.get("q", "")[:_LONGEST].strip(),
        tuple(each for each in STATES if each in query.getlist("state")),
        query.get("kind", "")[:_LONGEST],
        sort,
        down == "1" if down in ("0", "1") else ORDERS[sort].down,
        max(1, int(number)) if number.isdecimal() and len(number) < 10 else 1,
    )


def chosen(rows: list[Row], view: View) -> list[Row]:
    """The rows that are asked for, in order; a text with `*`, `?` or `[` is a pattern, any other a part of the name."""
    pattern = view.text if any(mark in view.text for mark in "*?[") else f"*{view.text}*"
    found = [
        row
        for row in rows
        if (not view.states or row.status.state in view.states)
        and (not view.kind or row.status.kind == view.kind)
        and fnmatchcase(row.status.run_id, pattern.lower())
    ]
    key = ORDERS[view.sort].key
    found.sort(key=lambda row: row.status.updated, reverse=True)
    known = [row for row in found if key(row) is not None]
    known.sort(key=key, reverse=view.down)
    return known + [row for row in found if key(row) is None]


def _runs(request: Request) -> Response:
    return page(request, "runs/runs.html", **_now(request))


def _part(request: Request) -> Response:
    return page(request, "runs/part.html", **_now(request))


def _now(request: Request) -> dict[str, Any]:
    found = services(request)
    rows, view = found.statuses.all(), view_of(request.query_params)
    matching = chosen(rows, view)
    pages = max(1, -(-len(matching) // PER_PAGE))
    number = min(view.page, pages)
    first = (number - 1) * PER_PAGE
    return {
        "storage": found.settings.storage,
        "view": view,
        "orders": ORDERS,
        "states": STATES,
        "kinds": sorted({row.status.kind for row in rows} - {""}),
        "rows": matching[first : first + PER_PAGE],
        "first": first,
        "matching": len(matching),
        "total": len(rows),
        "number": number,
        "pages": pages,
    }


routes = [Route("/runs", _runs), Route("/parts/runs", _part)]
