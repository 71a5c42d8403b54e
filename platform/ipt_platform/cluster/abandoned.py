"""Jobs that the exporter of metrics takes for led although their run is over: who led it was killed before he could tell.

`cancel --now` and a second Ctrl-C do so, and write the run's end down themselves. A run that was interrupted has no such end;
its job stays as it was told, for somebody is to be woken.
"""

import functools
from collections.abc import Iterable
from pathlib import Path

import yaml

from ipt_platform.errors import NotFoundError
from ipt_platform.observe.exposition import Exposition
from ipt_platform.observe.runs import all_statuses
from ipt_platform.observe.storage import is_remote
from ipt_platform.storage.prefix import prefix_at

_NOT_OVER = ("running", "interrupted")


def end_abandoned(exposition: Exposition, storages: Iterable[str]) -> None:
    """Let jobs of which nobody speaks any more have ended, if the newest run of each neither runs nor was interrupted.

    Args:
        exposition: takes them for led.
        storages: of runs, those that this machine has.

    Raises:
        IptError, OSError: as `all_statuses`, or the job of a run cannot be read.
    """
    silent = exposition.silent()
    if not silent:
        return
    runs = [(status, storage) for storage in storages for status in all_statuses(storage)]
    newest: dict[str, str] = {}
    for status, storage in sorted(runs, key=lambda run: run[0].updated, reverse=True):
        if newest.keys() >= silent:
            break
        newest.setdefault(_job_of(storage, status.run_id), status.state)
    exposition.end(job for job in silent if newest.get(job, "running") not in _NOT_OVER)


@functools.cache
def _job_of(storage: str, run_id: str) -> str:
    """The name of a run's job, which never changes; "": it cannot be told."""
    try:
        if is_remote(storage):
            data = prefix_at(storage).read(f"{run_id}/job.yaml")
        else:
            data = (Path(storage) / run_id / "job.yaml").read_bytes()
        return str(yaml.safe_load(data)["name"])
    except (NotFoundError, FileNotFoundError, yaml.YAMLError, KeyError, TypeError):
        return ""
