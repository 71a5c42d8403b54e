"""A picture of one's own: dropped, restored, compared, downloaded; and forgotten."""

from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ipt_platform.data.header import probe
from ipt_platform.errors import UsageError
from ipt_platform.web.bench import Bench, Order
from ipt_platform.web.files import run_of
from ipt_platform.web.render import answer, page
from ipt_platform.web.services import services

MAX_PIXELS = 16_000_000
"""Of a picture that is tried: more takes minutes on a machine without a GPU."""

MAX_WORDS = 400
NEWEST = 200


def _page(request: Request) -> Response:
    rows = sorted(services(request).statuses.all(), key=lambda row: row.status.updated, reverse=True)
    runs = [row.status.run_id for row in rows if row.status.checkpoint is not None]
    return page(request, "trying/try.html", runs=runs[:NEWEST], may=request.state.user.may("runner"), pixels=MAX_PIXELS)


def _offer(request: Request) -> Response:
    """The tasks that a run, or the registry, has models for."""
    _require_runner(request)
    offers: Bench = request.app.state.offers
    order = offers.place({"kind": "offer", "run": _run(request)})
    if order is None or not _answered(offers, order):
        raise _busy("others are asking for tasks just now")
    if order.state != "done":
        raise UsageError(order.answer.get("refused", "the page is ending"))
    return answer(request, order.answer)


async def _order(request: Request) -> Response:
    """Begin to restore the picture that is the body of the request."""
    _require_runner(request)
    data = await request.body()
    order = await run_in_threadpool(_checked, request, data)
    return answer(request, {"id": order.id}, 202)


def _state(request: Request) -> Response:
    """What became of an order."""
    order = _bench(request).find(request.path_params["id"])
    return answer(request, {"state": order.state} | order.answer)


def _restored(request: Request) -> Response:
    """The restored picture."""
    order = _bench(request).find(request.path_params["id"])
    if not order.result:
        raise HTTPException(404, "there is no restored picture (yet)")
    return Response(order.result, media_type="image/png", headers={"Cache-Control": "no-store"})


def _forget(request: Request) -> Response:
    """Forget an order and its pictures."""
    _require_runner(request)
    _bench(request).forget(request.path_params["id"])
    return Response(status_code=204)


def _checked(request: Request, data: bytes) -> Order:
    probe(data, MAX_PIXELS)
    order = _bench(request).place({"kind": "restore", "run": _run(request)} | _wish(request.query_params), data)
    if order is None:
        raise _busy("others are trying pictures just now")
    return order


def _wish(given: Mapping[str, str]) -> dict[str, Any]:
    """How the tasks are chosen, out of `task`, `say` and `auto`.

    Raises:
        UsageError: in none of these ways, or in several.
    """
    wish = {name: given[name].strip() for name in ("task", "say", "auto") if given.get(name, "").strip()}
    if len(wish) != 1:
        raise UsageError("say in one way what to undo: name a task, say it in your own words, or leave it to the picture")
    (text,) = wish.values()
    if len(text) > MAX_WORDS:
        raise UsageError(f"that has {len(text)} characters; say it in {MAX_WORDS} at most")
    return wish


def _run(request: Request) -> str | None:
    """The run that was named, by its place; None: the registered tasks are meant."""
    name = request.query_params.get("run", "")
    return run_of(request.app.state.settings, name).place if name else None


def _answered(offers: Bench, order: Order) -> bool:
    """Whether an order has ended in time; it is not kept."""
    ended = order.ended.wait(offers.limit)
    offers.forget(order.id)
    return ended


def _busy(why: str) -> HTTPException:
    return HTTPException(503, f"{why}; try again in a minute", {"Retry-After": "30"})


def _bench(request: Request) -> Bench:
    return request.app.state.bench


def _require_runner(request: Request) -> None:
    if not request.state.user.may("runner"):
        raise HTTPException(
            403, "to restore pictures here needs the role runner; `ipt-platform restore` does it on your machine"
        )


routes = [
    Route("/try", _page),
    Route("/try", _order, methods=["POST"]),
    Route("/try/offer", _offer, methods=["POST"]),
    Route("/try/{id}", _state),
    Route("/try/{id}", _forget, methods=["DELETE"]),
    Route("/try/{id}/restored.png", _restored),
]
