"""Watches over the workers, from the process of Ray's that controls them: what failed, and whether and when to try again."""

import contextlib
import functools
import random
import socket
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import WorkerGroupError
from ray.train.v2._internal.execution.callback import WorkerGroupCallback

from ipt_platform.errors import CancelledRunError, FailureClass, IptError
from ipt_platform.observe.events import failure_fields, read_events
from ipt_platform.observe.heartbeat import Silence
from ipt_platform.observe.oom import oom_kills
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import newest_commit
from ipt_platform.observe.teller import Voice
from ipt_platform.spec.job import LearningJob
from ipt_platform.train.exporting import new_teller
from ipt_platform.train.failures import Failure, cause_of
from ipt_platform.train.memory import memory_advice
from ipt_platform.train.retry import Budget, pause_seconds
from ipt_platform.train.submission import Submission

LOOK_SECONDS = 0.2
"""How often it is seen, in a pause, whether the run is asked to stop."""


class Supervisor(WorkerGroupCallback):
    """Tells of failures in a run's events, ends the job where trying again would not help, and waits before the next attempt.

    Ray's own limit on failures is off (but for preemptions): Ray counts them all, these are counted since the last checkpoint.
    An error that is raised here keeps Ray from starting new workers, unless it is a `WorkerGroupError`.

    Args:
        job: the job.
        submission: whose attempts are watched over.
        told_as: in whose name the exporter of metrics is told: the job, and whether the run is a part of it.
    """

    def __init__(self, job: LearningJob, submission: Submission, told_as: tuple[str, bool]):
        self.job, self.submission, self.told_as = job, submission, told_as
        self.budget = Budget(job.cluster.max_failures, self._newest_commit())
        self.rng = random.Random(f"{submission.run.id} {submission.before}")  # noqa: S311 - spreads restarts, keeps no secret
        self.pause = 0.0
        self.workers: list[Any] = []
        self.kills = 0
        self.silence: Silence | None = None
        self.over = False
        self.started_before, self.lost_by = False, "resized"

    @functools.cached_property
    def voice(self) -> Voice:
        """Tells the exporter of metrics; made where it is used, for the process that made this is another one."""
        return Voice(new_teller(), *self.told_as)

    # Ray's hooks

    def before_worker_group_start(self, worker_group_context: Any) -> None:
        """Wait, if workers were lost: those of the last attempt are gone by now, and nothing is reserved yet.

        Raises:
            CancelledRunError: the run is asked to stop, and no worker is there to hear it.
        """
        self.voice.set("ipt_train_workers", 0)  # nobody trains until they have started, which may wait for room
        seconds, self.pause = self.pause, 0.0
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if reason := self.submission.asked_to_stop():
                raise CancelledRunError(reason)
            time.sleep(min(left, LOOK_SECONDS))

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Begin to watch over new workers."""
        self.workers, self.kills, self.over = worker_group.get_workers(), oom_kills(), False
        limit = self.job.cluster.hang_seconds
        self.silence = Silence(self._run, limit, every=min(1.0, limit / 8))
        self.voice.set("ipt_train_workers", len(self.workers))
        if self.started_before:
            self.voice.add("ipt_train_restarts_total", 1, reason=self.lost_by)
        self.started_before, self.lost_by = True, "resized"

    def before_worker_group_shutdown(self, worker_group: Any) -> None:
        """The workers are about to end."""
        self.voice.set("ipt_train_workers", 0)

    def after_worker_group_poll_status(self, worker_group_status: Any) -> None:
        """Look at what the workers say, a few times a second.

        Raises:
            IptError: new workers would come to the same end, or there were too many failures in a row.
            WorkerGroupError: training stands still; new workers go on.
        """
        if self.over:  # those that are left have been told of already; Ray looks until all have ended
            return
        if errors := worker_group_status.errors:
            self._lost(errors, leaving=worker_group_status.get_preemption_info() is not None)
        elif self.silence is not None and self.silence.too_long():
            self._hung()

    # What follows

    def _lost(self, errors: Mapping[int, Exception], leaving: bool) -> None:
        self.over = True
        failure = cause_of(errors, self._oom_killed())
        if leaving and not failure.final:  # who is left alone when a machine goes fails too
            failure = Failure(FailureClass.PREEMPTION, failure.reason, final=False)
        self.lost_by = str(failure.kind)
        if failure.kind is FailureClass.PREEMPTION:
            if not self._made_room():
                self.submission.tell("worker-lost", failure.reason, **failure_fields(failure.error()))
            return
        self._end_or_go_on(failure)

    def _hung(self) -> None:
        self.over = True
        attempt = self._run.current_attempt()
        limit = f"{self.job.cluster.hang_seconds:g} s (cluster.hang_seconds)"
        stacks = f"logs/{attempt} hold the stacks of what could still say where it was"
        self.lost_by = str(FailureClass.HANG)
        failure = Failure(FailureClass.HANG, f"no step was made for more than {limit}; {stacks}", final=False)
        for worker in self.workers:
            # A process that is stopped answers nobody, and Ray asks politely first.
            with contextlib.suppress(RayError):
                ray.kill(worker.actor)
        self._end_or_go_on(failure)
        raise WorkerGroupError(failure.reason, {})

    def _end_or_go_on(self, failure: Failure) -> None:
        """Tell of a failure, and settle the pause after it.

        Raises:
            IptError: there is to be no other attempt.
        """
        again = not failure.final and self.budget.spend(self._newest_commit())
        if again:
            self.pause = pause_seconds(self.budget.failures, self.rng)
            fields = {"retry_seconds": round(self.pause, 3)}
        else:
            fields = {}
        self.submission.tell("worker-lost", failure.reason, **failure_fields(failure.error()), **fields)
        if not again:
            raise self._ending(failure)

    def _ending(self, failure: Failure) -> IptError:
        if failure.kind is FailureClass.OUT_OF_MEMORY:
            on_host = failure.on_host or not self.job.cluster.gpus_per_worker
            where = "memory" if on_host else "GPU memory"
            return failure.error(f"out of {where}: ", f"; {memory_advice(self.job, on_host)}")
        if failure.final:
            return failure.error()
        what = "training stood still" if failure.kind is FailureClass.HANG else "workers were lost"
        allowed = f"cluster.max_failures allows ({self.budget.limit}) without a new checkpoint in between"
        return failure.error(f"{what} more often than {allowed}; the last time: ")

    def _oom_killed(self) -> list[int]:
        """The ranks of the workers of this machine, if the kernel has killed for memory since they started."""
        if oom_kills() <= self.kills:
            return []
        return [rank for rank, worker in enumerate(self.workers) if worker.metadata.hostname == socket.gethostname()]

    @property
    def _run(self) -> RunDir:
        """The run, which is waited for as long as the job says: what workers died of may be a store that is gone."""
        run = self.submission.run
        if mirror := run.mirror:
            mirror.patience = self.job.checkpoint.patience
        return run

    def _newest_commit(self) -> int | None:
        run = self._run
        return run.mirror.insist(lambda: newest_commit(run)) if run.mirror else newest_commit(run)

    def _made_room(self) -> bool:
        """Whether the attempt has said itself that it is preempted."""
        run = self._run
        attempt = run.current_attempt()
        recent = run.mirror.insist(lambda: read_events(run, tail=64)) if run.mirror else read_events(run, tail=64)
        return any(event["type"] == "preempted" and event["attempt"] == attempt for event in recent)
