"""What becomes of a checkpoint once it is committed: of a run on S3 it goes there while training goes on, and counts there."""

from collections.abc import Callable, Collection
from pathlib import Path

from ipt_platform.checkpoint.remote import newest_commit, prune_remote, send_checkpoint
from ipt_platform.checkpoint.uploads import Uploads
from ipt_platform.errors import RefusedError
from ipt_platform.observe.checkpoints import newest_usable
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.parts import CheckpointSpec


class Deliveries:
    """Says which checkpoints an attempt has committed, after it has sent them where the run lies.

    Args:
        run: the run.
        attempt: who commits.
        spec: how many are kept, and how patient to be.
        best: the steps to keep whatever their age.
        tell: appends an event, given its type and fields.
        waits: called while training waits for what is sent.
    """

    def __init__(
        self,
        run: RunDir,
        attempt: int,
        spec: CheckpointSpec,
        best: Callable[[], Collection[int]],
        tell: Callable[..., None],
        waits: Callable[[], None],
    ):
        self.run, self.spec, self._best, self._tell = run, spec, best, tell
        self._fence = run.fence(attempt)
        self._uploads = None
        if run.mirror:
            self._uploads = Uploads(
                self._send,
                lambda step, seconds: tell("checkpoint", step=step, seconds=round(seconds, 3)),
                lambda reason, **numbers: tell("warning", reason=reason, **numbers),
                spec.patience,
                waits=waits,
            )

    def find(self, shared: bool) -> tuple[Path | None, list[tuple[Path, str]]]:
        """The checkpoint to go on from, as `newest_usable`; one that this machine alone has is sent.

        Args:
            shared: workers on other machines need it too, so wait until it is there.
        """
        checkpoint, damaged = newest_usable(self.run)
        if checkpoint and self._uploads and self.run.mirror:
            step = int(checkpoint.name.removeprefix("step-"))
            if newest_commit(self.run.mirror.remote) != step:
                self._uploads.submit(step)
            if shared:
                self._uploads.finish()
        return checkpoint, damaged

    def take(self, step: int) -> set[int]:
        """A step was committed on this machine; gives the steps that are still on their way and must stay.

        Raises:
            IptError: an earlier one could not be sent (`Uploads.check`).
        """
        if not self._uploads:
            self._tell("checkpoint", step=step)
            return set()
        self._uploads.submit(step)
        return self._uploads.pending

    def finish(self) -> None:
        """Wait until all are where the run lies.

        Raises:
            IptError: one could not be sent (`Uploads.check`).
        """
        if self._uploads:
            self._uploads.finish()

    def refused(self) -> str:
        """Why nothing more may be sent, because another attempt owns the run; "" if it may.

        Raises:
            IptError: one could not be sent for another reason.
        """
        try:
            if self._uploads:
                self._uploads.check()
        except RefusedError as error:
            return str(error)
        return ""

    def close(self) -> None:
        """Take nothing more; what was not sent stays on this machine."""
        if self._uploads:
            self._uploads.close()

    def _send(self, step: int) -> None:
        mirror = self.run.mirror
        assert mirror

        def check() -> None:
            self._fence.check(mirror.newest_attempt(fresh=True))

        send_checkpoint(mirror.remote, self.run.checkpoints / f"step-{step}", check)
        prune_remote(mirror.remote, self.spec.keep, self._best(), check)
