"""The ordinary jobs of a compound one: each is given a run of its own, trained to its end, and gone on with after a kill."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from ipt_platform.errors import CancelledRunError, InfrastructureError, IptError, RefusedError
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.spec.job import LearningJob
from ipt_platform.spec.load import job_diff, load_job, loaded_job
from ipt_platform.spec.members import Chain, MemberFile
from ipt_platform.spec.source import Document
from ipt_platform.train.given import begin_run, keep_tasks, keeper, tell_created
from ipt_platform.tune.whole import Whole

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""How often it is seen whether the whole should stop."""

Train = Callable[[LearningJob, RunDir], None]
"""Trains a job in its run to its end (`train.driver.run_training`)."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its run, and why it failed ("": it is finished)."""

    member: MemberFile
    run: RunDir
    failure: str = ""


def give_run(document: Document, run: RunDir, base: Path) -> LearningJob:
    """The job of a document, in its run; one that was begun before stays as it is.

    Raises:
        SpecError: the job is wrong, or the weights that it names cannot be used.
        RefusedError: the run has another job.
        OSError: the disk is full or refuses.
    """
    loaded = loaded_job(document, base)
    job = loaded.job
    assert isinstance(job, LearningJob)
    run.path.mkdir(parents=True, exist_ok=True)
    if not run.job.exists():
        keep_tasks(job, run, base)
        begin_run(job, run, keeper(loaded, run, base))
    elif changes := job_diff(load_job(run.job, base=base, tasks=run.tasks).job, job):
        listed = "\n".join(f"  {change}" for change in changes)
        raise RefusedError(f"{run.path} was begun with another job:\n{listed}\nRemove it, or start a new run.")
    else:
        keeper(loaded, run, base)(run)
        tell_created(job, run)  # which was not done if whoever began it died just then
    return job


class Crew:
    """Trains chains of jobs, some at a time.

    Args:
        whole: the compound job.
        train: trains one of them.
        at_a_time: how many run at once.
    """

    def __init__(self, whole: Whole, train: Train, at_a_time: int):
        self.whole, self.train, self.at_a_time = whole, train, at_a_time
        self.stopping = ""
        self.running: set[RunDir] = set()
        self.asked: dict[RunDir, int] = {}

    def work(self, chains: Sequence[Chain]) -> list[Outcome]:
        """Train them all.

        Returns:
            What became of each job, in the order of the chains; what follows one that failed was not tried.

        Raises:
            CancelledRunError: somebody asked to stop; each job that was running has committed a checkpoint.
            InfrastructureError: Ray or the storage failed.
            RefusedError: another attempt took the run over.
        """
        with ThreadPoolExecutor(self.at_a_time) as pool:
            futures = [pool.submit(self._chain, chain) for chain in chains]
            waiting: set[Future[list[Outcome]]] = {*futures}
            while waiting:
                over, waiting = wait(waiting, LOOK_SECONDS, FIRST_COMPLETED)
                failures = [error for future in over if (error := future.exception())]
                self._look(failures[0] if failures else None)
        if errors := [error for future in futures if (error := future.exception())]:
            # The first that is no mere consequence of another.
            raise next((error for error in errors if not isinstance(error, CancelledRunError)), errors[0])
        if self.stopping:
            raise CancelledRunError(self.stopping)
        return [outcome for future in futures for outcome in future.result()]

    def _look(self, failure: BaseException | None) -> None:
        """Pass on that somebody wants the whole to stop, or that it must, to the jobs that are running."""
        if not self.stopping:
            try:
                self.stopping = f"another job failed: {failure}" if failure else self.whole.asked_to_stop() or ""
            except RefusedError as error:
                self.stopping = str(error)
        if not self.stopping:
            return
        for run in [*self.running]:
            attempt = run.current_attempt()
            if attempt and self.asked.get(run) != attempt:
                self.asked[run] = run.request_stop(self.stopping)

    def _chain(self, chain: Chain) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for member in chain:
            outcomes.append(self._one(member) if not outcomes or not outcomes[-1].failure else self._not_tried(member))
            self.whole.count(self.whole.done + 1)
        return outcomes

    def _not_tried(self, member: MemberFile) -> Outcome:
        return Outcome(member, self.whole.member(member.id), "the job before it in its chain failed")

    def _one(self, member: MemberFile) -> Outcome:
        run = self.whole.member(member.id)
        if self.stopping:
            raise CancelledRunError(self.stopping)
        try:
            job = give_run(member.document, run, self.whole.base)
            if run_status(run).state == "finished":
                return Outcome(member, run)
            self.whole.tell(member.id, "running")
            self.running.add(run)
            self.train(job, run)
        except (CancelledRunError, InfrastructureError, RefusedError):
            raise
        except IptError as error:
            log.warning("%s failed: %s", member.id, error)
            self.whole.tell(member.id, "failed", reason=str(error))
            return Outcome(member, run, str(error))
        finally:
            self.running.discard(run)
        self.whole.tell(member.id, "finished")
        return Outcome(member, run)
