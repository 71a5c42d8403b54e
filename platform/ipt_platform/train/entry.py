"""What Ray Train is given to run in each worker.

Ray's controller, and whoever starts it, hold no more than this function's name. What trains, and torch with it, is imported in
the workers alone; a lone worker has its stream begin before that, for both take seconds, and of different processes.
"""

import contextlib
from pathlib import Path
from typing import Any

from ipt_platform.train.early import Early


def train_worker(config: dict[str, Any]) -> None:
    """Run this worker's session; see `worker.train_worker`."""
    early = _early(config)
    from ipt_platform.train.worker import train_worker as train

    train(config, early)


def _early(config: dict[str, Any]) -> Early | None:
    """The stream of a worker that has no other, begun; None: it has others, or the session will find what is wrong."""
    import ray.train

    from ipt_platform.data.begun import begun
    from ipt_platform.data.stream import ray_stream
    from ipt_platform.errors import IptError
    from ipt_platform.observe.checkpoints import newest_usable, step_of
    from ipt_platform.observe.storage import run_at
    from ipt_platform.spec.job import JOB, LearningJob
    from ipt_platform.train.batches import batch_maker
    from ipt_platform.train.shape import schedule_of

    job = JOB.validate_python(config["job"])
    assert isinstance(job, LearningJob)
    if ray.train.get_context().get_world_size() > 1 or job.data.carrier != "ray":
        return None
    with contextlib.suppress(IptError, OSError):
        run = run_at(Path(config["run"]), config["storage"])
        checkpoint, _ = newest_usable(run)
        start, stop = step_of(checkpoint), schedule_of(job).total_steps
        maker = batch_maker(job, Path(config["base"]), 0, 1, run.tasks)
        return Early(start, stop, begun(ray_stream(maker, start, stop, cpus=job.data.cpus, prefetch=job.data.prefetch)))
    return None
