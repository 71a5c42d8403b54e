"""What a job takes of a cluster: so many equal processes, and what each of them needs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ipt_platform.errors import UsageError
from ipt_platform.spec.job import AnalyzeJob, EvaluateJob, LearningJob, RestoreJob, TuneJob
from ipt_platform.spec.load import LoadedJob, check_job
from ipt_platform.spec.members import PLACE, member_chains, trial_document
from ipt_platform.spec.workers import most
from ipt_platform.train.slots import needed


@dataclass(frozen=True)
class Shape:
    """Processes of a job, all alike.

    Attributes:
        processes: how many; 0: the job runs in the process that was submitted, on the head.
        cpus: CPU cores of each, those of its stream counted.
        gpus: GPUs of each.
        store_bytes: room in the object store for what the stream of each makes ahead.
        head_cpus: CPU slots that the head must offer to Ray.
        key: the key of the job file under which the GPUs of a process stand.
    """

    processes: int
    cpus: float = 0
    gpus: float = 0
    store_bytes: int = 0
    head_cpus: int = 0
    key: str = "cluster.gpus_per_worker"


@dataclass(frozen=True)
class Group:
    """Machines or pods that are alike: how many, and how many processes each of them runs."""

    replicas: int
    processes: int


def shape_of(loaded: LoadedJob, base: Path) -> Shape:
    """What a job takes; of a search or an analysis, what `cluster.max_concurrent` of its jobs take (one, where it is null).

    Args:
        loaded: the job.
        base: what relative paths of the job are relative to.

    Raises:
        SpecError: one of the jobs that it is made of is wrong.
    """
    job = loaded.job
    match job:
        case EvaluateJob():
            return Shape(0)
        case RestoreJob():
            own = job.cluster
            return Shape(own.actors, own.cpus_per_actor, own.gpus_per_actor, key="cluster.gpus_per_actor")
        case TuneJob():
            documents = [trial_document(loaded.document, PLACE, base / job.storage, "t001", job.seed, {})]
        case AnalyzeJob():
            chains = member_chains(loaded.document, PLACE, base / job.storage)
            documents = [member.document for chain in chains for member in chain]
        case _:
            return _of_learning([job])
    members = [check_job(document, base, data_here=False) for document in documents]
    one = _of_learning([member for member in members if isinstance(member, LearningJob)])
    at_a_time = job.cluster.max_concurrent or 1
    watchers = 1 if isinstance(job, TuneJob) else 0  # the actors of Tune's trials share one slot
    return Shape(one.processes * at_a_time, one.cpus, one.gpus, one.store_bytes, watchers, "base.cluster.gpus_per_worker")


def groups_of(shape: Shape, gpus: int, cpus: float = math.inf) -> list[Group]:
    """The processes spread evenly over as few machines as can hold them; without GPUs, one on each where `cpus` says nothing.

    At most two groups: so many machines with n processes, and so many with n - 1.

    Args:
        shape: what the job takes.
        gpus: GPUs of a machine.
        cpus: CPU cores of a machine.

    Raises:
        UsageError: one process alone is too large for a machine.
    """
    if not shape.processes:
        return []
    most = 1 if not shape.gpus and math.isinf(cpus) else shape.processes
    if shape.gpus:
        most = min(most, int(gpus / shape.gpus + 1e-9))
        if not most:
            raise UsageError(
                f"{shape.key}: one process asks for {shape.gpus:g} GPUs, and a machine has {gpus}; ask for at most {gpus}, and "
                f"for more processes instead"
            )
    if math.isfinite(cpus):
        most = min(most, int(cpus / shape.cpus + 1e-9))
        if not most:
            raise UsageError(f"one process of the job takes {shape.cpus:g} CPU cores, and a machine has {cpus:g}; ask for less")
    machines = math.ceil(shape.processes / most)
    fewest, larger = divmod(shape.processes, machines)
    return [group for group in (Group(larger, fewest + 1), Group(machines - larger, fewest)) if group.replicas]


def _of_learning(jobs: Sequence[LearningJob]) -> Shape:
    """What the most demanding of the jobs takes."""
    if not jobs:
        return Shape(0)
    workers = [most(job.cluster.workers) for job in jobs]
    each = [(need.cpus / n, need.gpus / n, need.store_bytes // n) for need, n in zip(map(needed, jobs), workers, strict=True)]
    cpus, gpus, store = (max(values) for values in zip(*each, strict=True))
    return Shape(max(workers), cpus, gpus, store)
