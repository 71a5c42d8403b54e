"""An iterator whose first item is made while its user is still busy with something else."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

Item = TypeVar("Item")

_END: Any = object()


def begun(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; the first one is asked for now, in a thread, and the others by whoever takes them.

    What goes wrong with the first is raised where it is taken.
    """
    first: Future[Item] = Future()

    def take() -> None:
        try:
            first.set_result(next(items, _END))
        except Exception as error:
            first.set_exception(error)

    # Nobody waits for it in the end: a process that is about to end may have begun what it will not use.
    threading.Thread(target=take, name="ipt-first-item", daemon=True).start()
    return _from(first, items)


def _from(first: "Future[Item]", items: Iterator[Item]) -> Iterator[Item]:
    item = first.result()
    if item is not _END:
        yield item
        yield from items
