"""What the exporter sees by looking now and then: runs, packs, room and the queue. Nobody tells it of these.

What cannot be seen has no series: an old number would be a lie.
"""

import asyncio
import contextlib
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ray._private.worker import global_worker
from ray.dashboard.modules.job.common import JobInfo, JobInfoStorageClient

from ipt_platform.cluster.abandoned import end_abandoned
from ipt_platform.errors import IptError
from ipt_platform.observe.catalogue import METRICS
from ipt_platform.observe.exposition import Exposition
from ipt_platform.observe.runs import all_statuses
from ipt_platform.observe.storage import is_remote
from ipt_platform.registry.counting import packs_by_task

log = logging.getLogger(__name__)

Series = Iterable[tuple[Mapping[str, str], float]]


def look(exposition: Exposition, storages: Iterable[str]) -> None:
    """Look at everything once.

    Args:
        exposition: gets what is seen.
        storages: of runs, absolute paths and URLs; those that this machine does not have are passed over.
    """
    seen = [storage for storage in storages if is_remote(storage) or Path(storage).is_dir()]
    looks: dict[str, Callable[[], Series]] = {
        "ipt_runs": lambda: _runs(seen),
        "ipt_registry_packs": lambda: _packs(seen),
        "ipt_storage_free_bytes": lambda: _room(seen),
        "ipt_queue_jobs": _queue,
    }
    for name, find in looks.items():
        exposition.replace(name, _or_nothing(find))
    with _warned():
        end_abandoned(exposition, seen)


def _or_nothing(find: Callable[[], Series]) -> list[tuple[Mapping[str, str], float]]:
    with _warned():
        return list(find())
    return []


@contextlib.contextmanager
def _warned() -> Iterator[None]:
    """Write into the log why something cannot be seen."""
    try:
        yield
    except (IptError, OSError, RuntimeError) as error:  # of Ray's client, RuntimeErrors
        log.warning("%s", error)


def _runs(storages: list[str]) -> Series:
    states = Counter(status.state for storage in storages for status in all_statuses(storage))
    return [({"state": state}, states[state]) for state in METRICS["ipt_runs"].words["state"]] if storages else []


def _packs(storages: list[str]) -> Series:
    total: Counter[str] = sum((Counter(packs_by_task(storage)) for storage in storages), Counter())
    return [({"task": task}, count) for task, count in total.items()]


def _room(storages: list[str]) -> Series:
    free = [shutil.disk_usage(storage).free for storage in storages if not is_remote(storage)]
    return [({}, min(free))] if free else []


def _queue() -> Series:
    states = Counter(str(job.status.value).lower() for job in _submitted())
    return [({"state": state}, states[state]) for state in METRICS["ipt_queue_jobs"].words["state"]]


def _submitted() -> list[JobInfo]:
    """What was submitted to Ray's Jobs API, from where Ray itself keeps it."""
    client = global_worker.gcs_client  # pyright: ignore[reportAttributeAccessIssue] (it has one once it is connected)
    return [*asyncio.run(JobInfoStorageClient(client).get_all_jobs()).values()]
