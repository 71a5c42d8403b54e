"""What to change in a job that needs more memory than there is."""

from ipt_platform.spec.job import LearningJob, TrainJob
from ipt_platform.spec.workers import fewest


def memory_advice(job: LearningJob, on_host: bool) -> str:
    """The knobs of a job that save memory, with their present values; those that are turned already are not named.

    Args:
        job: the job.
        on_host: whether the memory of the machine ran out, not that of a GPU.
    """
    train, cluster = job.train, job.cluster
    largest = max(train.stages, key=lambda stage: stage.images * stage.patch**2)
    fewest_now = fewest(cluster.workers)
    share = largest.images // (fewest_now * train.accumulate)
    at_a_time = f"{share} image{'s' if share > 1 else ''} of {largest.patch} x {largest.patch} at a time in each worker"
    knobs = [
        f"fewer images or a smaller patch in train.stages (now up to {largest.images} x {largest.patch} x {largest.patch})"
    ]
    if share > 1:
        knobs.append(f"a larger train.accumulate (now {train.accumulate})")
    if not train.activation_checkpointing:
        knobs.append("train.activation_checkpointing: true")
    if train.precision == "fp32" and cluster.gpus_per_worker:
        knobs.append("train.precision: bf16")
    if share > 1:
        knobs.append(f"more cluster.workers, on other machines or GPUs (now {fewest_now})")
    if isinstance(job, TrainJob) and job.train.sharding == "none" and not on_host:
        knobs.append("train.sharding: fsdp, which shares the backbone out over the workers")
    if on_host:
        knobs.append(f"less data.prefetch (now {job.data.prefetch})")
    return f"the job takes {at_a_time}; to need less, try {', '.join(knobs[:-1])}, or {knobs[-1]}"
