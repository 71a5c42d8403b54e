"""The shape of a job: its stages, the workers that can share them, and how far their streams run ahead. Without torch."""

from ipt_platform.data.ahead import Ahead, processes_of
from ipt_platform.data.pairs import largest_room
from ipt_platform.data.plan import Schedule, Stage
from ipt_platform.spec.job import LearningJob
from ipt_platform.spec.workers import most, possible_counts


def schedule_of(job: LearningJob) -> Schedule:
    """The stages of a job."""
    return Schedule(tuple(Stage(stage.steps, stage.patch, stage.images) for stage in job.train.stages))


def ahead_of(job: LearningJob) -> Ahead:
    """How far the stream of one worker runs ahead of it; of a range of workers, where there are the most."""
    weights = {name: use.weight for name, use in job.tasks.items()}
    room = largest_room(schedule_of(job), weights, most(job.cluster.workers))
    return Ahead.of(room, processes_of(job.data.cpus), job.data.prefetch)


def counts_of(job: LearningJob) -> tuple[int, ...]:
    """The numbers of workers that a job may train with, ascending; each can share every step equally."""
    return possible_counts(job.cluster.workers, (stage.images for stage in job.train.stages), job.train.accumulate)
