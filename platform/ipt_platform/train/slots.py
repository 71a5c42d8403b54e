"""What a training job takes of a Ray."""

from collections.abc import Mapping
from dataclasses import dataclass

from ipt_platform.spec.job import LearningJob
from ipt_platform.spec.workers import fewest, most
from ipt_platform.train.shape import ahead_of

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Slots:
    """What an embedded Ray must have.

    Attributes:
        cpus: CPU slots; they are promises, so there may be more than the machine has cores.
        gpus: GPUs.
        store_bytes: room in the object store for what the streams make ahead.
        least: share of all that with which a job goes on too: one with a range of workers.
        ready: whether processes should be ready for actors before there are any. Those of Ray Train have an environment of
            their own, and can use none.
        dashboard: whether its dashboard must be there: Tune asks it which of its trials' processes have died.
    """

    cpus: float
    gpus: float = 0
    store_bytes: int = 0
    least: float = 1.0
    ready: bool = True
    dashboard: bool = False

    def times(self, number: int, dashboard: bool = False) -> "Slots":
        """For so many at a time."""
        return Slots(self.cpus * number, self.gpus * number, self.store_bytes * number, dashboard=dashboard)


def lacking(slots: Slots, have: Mapping[str, float]) -> str:
    """What a job waits for on a Ray that has too little, in words; "" where it has enough, or will do with what there is.

    Args:
        slots: what the job takes.
        have: resources of all machines of the Ray together, by Ray's names.
    """
    wants = {"CPU": slots.cpus * slots.least, "GPU": slots.gpus * slots.least}
    short = [
        f"{amount:g} {name}s, of which there are {have.get(name, 0):g}"
        for name, amount in wants.items()
        if amount > have.get(name, 0) + _ROUNDING
    ]
    return f"it waits for {' and '.join(short)}" if short else ""


def needed(job: LearningJob) -> Slots:
    """What a job takes of a Ray; one with a range of workers, with the most of them."""
    cluster, data = job.cluster, job.data
    cpus, store = (data.cpus, ahead_of(job).store_bytes) if data.carrier == "ray" else (0, 0)
    workers = most(cluster.workers)
    return Slots(
        cpus=workers * (cluster.cpus_per_worker + cpus),
        gpus=workers * cluster.gpus_per_worker,
        store_bytes=workers * store,
        least=fewest(cluster.workers) / workers,
        ready=False,
    )
