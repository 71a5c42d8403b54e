"""The checkpoints of an attempt: which one it goes on from, and those that it commits."""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ipt_platform.checkpoint.files import Content, Fence, Verified, commit, prune
from ipt_platform.checkpoint.state import load_training_state
from ipt_platform.errors import IptError, RefusedError
from ipt_platform.observe.checkpoints import newest_usable
from ipt_platform.spec.parts import CheckpointSpec
from ipt_platform.train.place import Place
from ipt_platform.train.setup import Beginning
from ipt_platform.train.uploading import Deliveries
from ipt_platform.train.whole import share_like, whole_files

log = logging.getLogger(__name__)


class Written(NamedTuple):
    """What writing a checkpoint took.

    Attributes:
        gather: seconds in which its tensors were put together.
        write: seconds in which its files were written and committed.
        size: bytes.
    """

    gather: float
    write: float
    size: int


class Keeping:
    """What a session does with checkpoints; all workers call its methods together.

    Args:
        place: where the session is.
        spec: how many are kept, and how patient to be with a store.
        fence: holds the run for this attempt.
        tell: appends an event, given its type and fields.
        waits: called while training waits for what is sent.

    Attributes:
        best: `step` and `psnr` (dB) of the best one so far; {} before there is one.
        written: what the last checkpoint took, in the worker that writes.
    """

    def __init__(self, place: Place, spec: CheckpointSpec, fence: Fence, tell: Callable[..., None], waits: Callable[[], None]):
        self.place, self.spec, self._fence, self._tell = place, spec, fence, tell
        self.best: dict[str, float] = {}
        self.written: Written | None = None
        self._verified = Verified()
        self._deliveries = Deliveries(place.run, place.attempt, spec, self._best_step, tell, waits)

    def find(self) -> Path | None:
        """The checkpoint to go on from, on this machine; the same step in all workers."""
        workers, run = self.place.workers, self.place.run
        found = self._deliveries.find(shared=workers.world > 1) if workers.first else None
        found = workers.from_first(found)
        assert found is not None
        checkpoint, damaged = found
        if checkpoint and run.mirror and not workers.first:
            # On a machine of its own a worker fetches it too.
            checkpoint, _ = newest_usable(run)
        for path, reason in damaged:
            log.warning("checkpoint %s is not usable: %s", path, reason)
            self._tell("checkpoint-damaged", checkpoint=path.name, reason=reason)
        return checkpoint

    def load(self, checkpoint: Path, beginning: Beginning) -> dict[str, Any]:
        """Bring the state of a training back to where a checkpoint was taken.

        Returns:
            What else was kept: the `progress` of its state.json.

        Raises:
            CheckpointError: it was made by another model.
        """
        state = beginning.state
        saved = load_training_state(
            checkpoint,
            state.model,
            state.average,
            state.optimizer,
            backbone=beginning.backbone,
            frozen=beginning.frozen,
            share=share_like,
        )
        progress = saved["progress"]
        state.step, state.images = saved["step"], progress["images"]
        state.seconds, state.waited = progress["seconds"], progress["waited"]
        self.best = progress["best"]
        return progress

    def commit(self, step: int, files: Mapping[str, Content], last: bool) -> None:
        """The first worker commits a checkpoint; the others wait for it, and are refused together with it.

        Args:
            step: steps done.
            files: of the checkpoint, as each worker has them; those of weights that are shared out are put together.
            last: nothing follows: wait until all of them are where the run lies.

        Raises:
            RefusedError: another attempt owns the run.
            IptError: an earlier one could not be sent (`Uploads.check`).
        """
        began = time.perf_counter()
        files = whole_files(files, keep=self.place.workers.first)
        refused, gathered = None, time.perf_counter()
        if self.place.workers.first:
            try:
                size = self._write(step, files)
                self.written = Written(gathered - began, time.perf_counter() - gathered, size)
                if last:
                    self._deliveries.finish()
            except RefusedError as error:
                refused = str(error)
        if refused := self.place.workers.from_first(refused):
            raise RefusedError(refused)

    def refused(self) -> str:
        """Why nothing more may be sent, because another attempt owns the run; "" if it may (`Deliveries.refused`)."""
        return self._deliveries.refused()

    def end(self, wait: bool) -> None:
        """Take nothing more; `wait`: first until what was committed is where the run lies, or cannot be sent."""
        if wait:
            with contextlib.suppress(IptError):
                self._deliveries.finish()
        self._deliveries.close()

    def _write(self, step: int, files: Mapping[str, Content]) -> int:
        """Commit files and remove what is not kept; gives the size of the checkpoint in bytes."""
        run = self.place.run
        committed = commit(run.checkpoints, step, files, self._fence, self.place.attempt)
        self._verified.remember(committed)
        pending = self._deliveries.take(step)
        size = sum(path.stat().st_size for path in committed.rglob("*") if path.is_file())
        prune(run.path, self.spec.keep, {*self._best_step(), *pending}, self._fence, self._verified)
        return size

    def _best_step(self) -> set[int]:
        return {int(self.best["step"])} if self.best else set()
