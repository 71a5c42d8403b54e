"""From what somebody says to the tasks that are applied, out of those that there are models for."""

from collections.abc import Callable
from pathlib import Path

from ipt_platform.errors import UsageError
from ipt_platform.restore.offer import Offer
from ipt_platform.restore.route.known import known_tasks
from ipt_platform.restore.route.route import Route, check_known
from ipt_platform.restore.route.store import routers_folder
from ipt_platform.restore.route.text import text_router
from ipt_platform.restore.route.vectors import read_vectors


def route_by_text(
    text: str,
    offer: Offer,
    storage: str,
    progress: Callable[[float, float], None] = lambda done, total: None,
    note: Callable[[str], None] = lambda text: None,
    embedding: Path | None = None,
) -> Route:
    """The tasks that a sentence asks for, in the order in which they are applied.

    Args:
        text: what was said.
        offer: the tasks that there are.
        storage: folder of runs, below which routers are kept.
        progress: told (steps done, steps in all) where a router must be trained first.
        note: told what else happened.
        embedding: file of word vectors, to understand words by.

    Raises:
        UsageError: it asks for nothing that a task does; the nearest tasks are named.
        NotFoundError: it asks for tasks that there is no model for; those that there are models for are named; or
            there is no such file of vectors.
        DataError: the file holds no vectors of words.
    """
    vectors = read_vectors(embedding) if embedding else None
    known = known_tasks(list(offer.specs.values()))
    router = text_router(routers_folder(storage) / "text", known, progress, note, vectors)
    route = router.route(text, offer.available)
    if not route.steps:
        near = ", ".join(map(str, route.nearest))
        raise UsageError(
            f"{text!r} asks for nothing that a task does: {route.reason}; the nearest are {near}. "
            "Say it in other words, or name a task with --task"
        )
    check_known(route, offer.available, offer.where)
    return route
