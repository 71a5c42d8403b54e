"""Whether what a training job asks of its machines fits together: GPUs of workers, and how a backbone is shared out."""

from pathlib import Path

from ipt_platform.errors import Problem
from ipt_platform.spec.source import Document
from ipt_platform.spec.words import Sharding
from ipt_platform.spec.workers import ElasticSpec, fewest, most


def check_gpus(document: Document, base: Path, gpus: float, workers: int | ElasticSpec) -> list[Problem]:
    """Parts of GPUs: NCCL refuses two workers on one GPU, and Ray gives no one and a half."""
    where = ("cluster", "gpus_per_worker")
    if gpus > 1 and gpus != int(gpus):
        return [
            document.problem(where, f"expected a whole number above 1, found {gpus:g}; a worker computes on one GPU: use 1")
        ]
    if 0 < gpus < 1 and most(workers) > 1:
        said = f"workers that train together need a GPU each, found {gpus:g} for each of up to {most(workers)}"
        return [document.problem(where, f"{said}; use 1, or cluster.workers 1, which may share a GPU with other runs")]
    return []


def check_sharding(
    document: Document, base: Path, sharding: Sharding, compiled: bool, workers: int | ElasticSpec
) -> list[Problem]:
    """What does not combine with a backbone that is shared out over workers."""
    if sharding == "none":
        return []
    where, found = ("train", "sharding"), []
    if fewest(workers) == 1:
        end = "cluster.workers.min" if isinstance(workers, ElasticSpec) else "cluster.workers"
        said = f"fsdp shares the backbone out over workers, and {end} is 1; use 2 or more, or sharding: none"
        found.append(document.problem(where, said))
    if compiled:
        said = "fsdp puts weights together block by block, which train.compile does not follow; leave one of the two out"
        found.append(document.problem(where, said))
    return found
