"""A run in the hands of one attempt: what an older one would make final is refused."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipt_platform.errors import RefusedError
from ipt_platform.observe.lock import locked

if TYPE_CHECKING:
    from ipt_platform.observe.rundir import RunDir


@dataclass(frozen=True)
class Fence:
    """Keeps a run in the hands of one attempt while something is made final.

    No lock holds machines apart: of a run on S3 a newer attempt on another machine can begin inside the block. So there each
    attempt has objects of its own for what it makes final, and readers look at what the newest attempt says.

    Attributes:
        run: the run.
        attempt: who asks.
        fresh: of a run on S3: look there; else what was known some seconds ago is enough, as for what stays on this machine.
    """

    run: "RunDir"
    attempt: int
    fresh: bool = True

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold the run: until the block is over, no newer attempt can begin.

        Raises:
            RefusedError: a newer attempt has begun, or the attempt's own file is gone.
            InfrastructureError: as `observe.lock.locked`.
        """
        self._check()
        with locked(self.run.lock):
            self._check()
            yield

    def _check(self) -> None:
        self.check(self.run.current_attempt(self.fresh))

    def check(self, current: int) -> None:
        """Whether the attempt owns the run, where this is the newest one.

        Raises:
            RefusedError: it does not.
        """
        if current == self.attempt:
            return
        if current < self.attempt:
            raise RefusedError(f"{self.run.path}: the file of attempt {self.attempt} is gone; was the run's folder removed?")
        newer = self.run.attempt(current)
        by = f" by {newer.process} at {newer.started}" if newer.process else ""
        raise RefusedError(
            f"attempt {self.attempt} no longer owns run {self.run.id}: attempt {current} was started{by}; "
            f"attempt {self.attempt} ends here and commits nothing more"
        )
