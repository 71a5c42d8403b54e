"""What a session tells whoever watches over it, and what it hears from there."""

from collections.abc import Callable
from dataclasses import dataclass

from ipt_platform.observe.teller import Voice


def nothing() -> None:
    """Say and do nothing."""


@dataclass(frozen=True)
class Surroundings:
    """The ties of a session to what runs it; without any it is on its own.

    Attributes:
        alive: called in every worker whenever a step was made or a picture measured.
        notice: why this worker should make room soon, because machines are taken away; None: it need not.
        voice: tells the exporter of metrics, in the name of the job; None: nobody is told.
    """

    alive: Callable[[], None] = nothing
    notice: Callable[[], str | None] = nothing
    voice: Voice | None = None


ON_ITS_OWN = Surroundings()
