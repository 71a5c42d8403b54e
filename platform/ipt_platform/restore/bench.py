"""A process that restores single pictures for another one, which has no torch: `python -m ipt_platform.restore.bench STORAGE`.

Orders come on stdin, answers go to stdout (`restore.pipe`), and nothing is written to a disk. The process ends when its stdin
does. What it was last asked to restore with stays loaded.

    {"kind": "offer", "run": ID or null}                               -> {"tasks": [...], "where": ...}
    {"kind": "restore", "run": ..., "task" | "say" | "auto": ...} + picture -> {"progress": 0 to 1} ..., {"by": ...} + PNG
                                                                       or {"left": why nothing was done}
    any of them                                                        -> {"refused": why}
"""

import os
import sys
from collections.abc import Callable
from typing import Any

from ipt_platform.errors import IptError
from ipt_platform.restore.imageio import decode_picture, encode_picture
from ipt_platform.restore.model import choose_device, find_weights
from ipt_platform.restore.pipe import receive, send
from ipt_platform.restore.route.ask import route_by_text
from ipt_platform.restore.route.auto import Auto, in_words
from ipt_platform.restore.route.blind import load_blind_router
from ipt_platform.restore.route.route import Route, by_name
from ipt_platform.restore.route.store import routers_folder
from ipt_platform.restore.run import apply_steps
from ipt_platform.restore.sources import Sources

Tell = Callable[[dict[str, Any]], None]


class Bench:
    """Restores pictures in memory.

    Args:
        storage: of runs and registry.
    """

    def __init__(self, storage: str):
        self.storage = storage
        self._last: tuple[str | None, Sources] | None = None

    def do(self, order: dict[str, Any], data: bytes, tell: Tell) -> tuple[dict[str, Any], bytes]:
        """The answer to an order.

        Raises:
            IptError: it cannot be done; the message says why.
        """
        sources = self._sources(order["run"])
        if order["kind"] == "offer":
            return {"tasks": sorted(sources.offer.available), "where": sources.offer.where}, b""
        picture = decode_picture(data)
        route = self._route(order, sources, picture.rgb, tell)
        if not route.steps:
            return {"left": in_words(route)}, b""
        tell({"note": f"restoring by {', then '.join(route.tasks)}"})
        steps = sources.steps(route.tasks)
        restored = apply_steps(picture, steps, ".png", lambda done, total: tell({"progress": done / total}))
        return {"by": sources.in_words(route)}, encode_picture(restored, ".png")

    def _route(self, order: dict[str, Any], sources: Sources, rgb: Any, tell: Tell) -> Route:
        if order.get("task"):
            return by_name([order["task"]])
        if order.get("say"):
            tell({"note": "understanding what was said"})
            return route_by_text(order["say"], sources.offer, self.storage)
        tell({"note": "looking at what is wrong with the picture"})
        return Auto(load_blind_router(routers_folder(self.storage) / "blind"), sources.offer).route(rgb)

    def _sources(self, run: str | None) -> Sources:
        """What restores; anew where the run has a newer checkpoint, and always of the registry, whose aliases may move."""
        checkpoint = str(find_weights(self.storage, run).checkpoint) if run else None
        if not checkpoint or not self._last or self._last[0] != checkpoint:
            self._last = None  # two at a time may not fit
            self._last = checkpoint, Sources(self.storage, run, choose_device("auto"))
        return self._last[1]


def main() -> None:
    """Do one order after the other until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    os.nice(10)  # a training on this machine comes first
    bench = Bench(sys.argv[1])
    while order := receive(sys.stdin.buffer):
        try:
            answer, data = bench.do(*order, lambda message: send(answers, message | {"more": True}))
        except IptError as error:
            answer, data = {"refused": str(error)}, b""
        send(answers, answer, data)


if __name__ == "__main__":
    main()
