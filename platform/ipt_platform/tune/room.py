"""How many jobs have room beside each other on the Ray that they share."""

import os

import ray
import torch
from ray._private.worker import get_dashboard_url

from ipt_platform.errors import RefusedError
from ipt_platform.train.slots import Slots


def at_a_time(need: Slots, limit: int | None) -> int:
    """How many jobs an embedded Ray should have room for: as many as the machine's cores and GPUs carry, at least one."""
    found = min(
        len(os.sched_getaffinity(0)) // need.cpus, torch.cuda.device_count() // need.gpus if need.gpus else float("inf")
    )
    return max(1, min(int(found), limit or int(found)))


def check_dashboard() -> None:
    """That the Ray that this process is connected to has a dashboard.

    Raises:
        RefusedError: it has none; Tune asks it which processes of its trials have died, and would wait for ever.
    """
    if not get_dashboard_url():
        raise RefusedError(
            f"the Ray at {os.environ.get('RAY_ADDRESS')} runs without its dashboard, and a search would wait for ever for it; "
            "start it with `ray start --head --include-dashboard=true`"
        )


def at_a_time_there(need: Slots, limit: int | None) -> int:
    """How many jobs the Ray that this process is connected to has room for.

    Raises:
        RefusedError: not even one.
    """
    there = ray.cluster_resources()
    times = min(there.get("CPU", 0) / need.cpus, there.get("GPU", 0) / need.gpus if need.gpus else float("inf")) + 1e-9
    found = max(int(times), int(times >= need.least))
    if not found:
        raise RefusedError(
            f"one of the jobs takes {need.cpus * need.least:g} CPUs and {need.gpus * need.least:g} GPUs, and the cluster has "
            f"{there.get('CPU', 0):g} and "
            f"{there.get('GPU', 0):g}: it would wait for ever. Ask for less under base.cluster, or add machines."
        )
    return min(found, limit or found)
