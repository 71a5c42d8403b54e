"""`kind: analyze` as a run: trains the jobs that it is made of, some at a time, and writes what they say into its run."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ipt_platform.errors import TrainingError
from ipt_platform.observe.process import Process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.job import AnalyzeJob, LearningJob
from ipt_platform.spec.load import LoadedJob, check_job
from ipt_platform.spec.members import Chain, member_chains, seeds_of
from ipt_platform.spec.source import Document
from ipt_platform.train.driver import run_training
from ipt_platform.train.exporting import led
from ipt_platform.train.slots import Slots, needed
from ipt_platform.tune.members import Crew, Outcome
from ipt_platform.tune.room import at_a_time, at_a_time_there
from ipt_platform.tune.whole import RayOf, attempt_at


@dataclass(frozen=True)
class Analysis:
    """An analysis whose jobs are over.

    Attributes:
        loaded: the resolved job, and its document.
        run: its run.
        base: what relative paths are relative to.
        outcomes: what became of its jobs.
        attempt: the attempt that writes what they say.
    """

    loaded: LoadedJob
    run: RunDir
    base: Path
    outcomes: Sequence[Outcome]
    attempt: int

    @property
    def job(self) -> AnalyzeJob:
        """The job."""
        assert isinstance(self.loaded.job, AnalyzeJob)
        return self.loaded.job

    @property
    def document(self) -> Document:
        """Its document."""
        return self.loaded.document

    @property
    def seeds(self) -> list[int]:
        """The seeds with which it was repeated."""
        return seeds_of(self.document.value)

    def writing(self) -> AbstractContextManager[None]:
        """What is made final stands in `with analysis.writing():`; RefusedError if another attempt has taken the run over."""
        return self.run.fence(self.attempt)()

    def all_finished(self) -> None:
        """Raise if one of its jobs failed.

        Raises:
            TrainingError: one did.
        """
        if failed := [outcome for outcome in self.outcomes if outcome.failure]:
            raise TrainingError(f"{failed[0].run.path}: {failed[0].failure}")


def analyze(loaded: LoadedJob, run: RunDir, base: Path, leader: Process | None, ray_of: RayOf) -> None:
    """Train what is missing, and write what came of it into the run.

    Args:
        loaded: the resolved job and its document.
        run: its run.
        base: what relative paths of the job are relative to.
        leader: the process with which it lives and ends.
        ray_of: connects to a Ray that has what is asked of it.

    Raises:
        CancelledRunError: somebody stopped it; jobs that were under way have committed a checkpoint.
        TrainingError: a job failed without which nothing can be said.
        RefusedError: another attempt took the run over, or a job has no room on the cluster.
        InfrastructureError: Ray or the storage failed.
        NotFoundError, CheckpointError, PackError, DataError, UsageError: weights or pictures cannot be used.
    """
    # only here: each of them brings along what it needs
    from ipt_platform.tune.comparison import write_comparison
    from ipt_platform.tune.interference import write_interference
    from ipt_platform.tune.rank_energy import write_rank_energy
    from ipt_platform.tune.sensitivities import write_sensitivity

    job = loaded.job
    assert isinstance(job, AnalyzeJob)
    write = {
        "sensitivity": write_sensitivity,
        "rank-energy": write_rank_energy,
        "interference": write_interference,
        "comparison": write_comparison,
    }[job.what]
    chains = member_chains(loaded.document, str(run.members), base / job.storage)
    total = sum(map(len, chains))
    room, slots = _room(chains, base, job.cluster.max_concurrent)
    with ray_of(slots) if chains else nullcontext(), attempt_at(run, base, leader, max(1, total)) as whole, led(job.name):
        if chains and os.environ.get("RAY_ADDRESS"):
            room = at_a_time_there(_largest(chains, base), job.cluster.max_concurrent)
        train = partial(run_training, base=base, leader=whole.leader, part_of=job.name)
        outcomes = Crew(whole, train, room).work(chains) if chains else []
        write(Analysis(loaded, run, base, outcomes, whole.attempt))
        whole.count(max(1, total))


def _room(chains: Sequence[Chain], base: Path, limit: int | None) -> tuple[int, Slots]:
    if not chains:
        return 1, Slots(0)
    need = _largest(chains, base)
    room = min(at_a_time(need, limit), len(chains))
    return room, need.times(room)


def _largest(chains: Sequence[Chain], base: Path) -> Slots:
    """What the most demanding of the jobs takes."""
    needs = []
    for chain in chains:
        for member in chain:
            job = check_job(member.document, base)
            assert isinstance(job, LearningJob)
            needs.append(needed(job))
    cpus, gpus = max(n.cpus for n in needs), max(n.gpus for n in needs)
    least = max(max(n.cpus * n.least / cpus, n.gpus * n.least / gpus if gpus else 0) for n in needs)
    return Slots(cpus, gpus, max(n.store_bytes for n in needs), least)
