"""The states of all runs of a storage, on a disk or on S3."""

from fnmatch import fnmatchcase
from pathlib import Path

from ipt_platform.observe.status import Status, as_it_is_now, run_status
from ipt_platform.observe.storage import is_remote, list_runs
from ipt_platform.observe.summary import read_all
from ipt_platform.storage.prefix import prefix_at


def all_statuses(storage: str | Path, like: str = "*") -> list[Status]:
    """The state of every run of a storage whose id is like this, by name; on S3 what each run's owner last said of it, some
    seconds old; on a disk from the ends of its files (`quick` of `run_status`).

    Raises:
        UsageError: the storage is none, or S3 does not let us.
        InfrastructureError: S3 fails.
    """
    if not is_remote(storage):
        return [run_status(run, quick=True) for run in list_runs(storage) if fnmatchcase(run.id, like)]
    told = read_all(prefix_at(str(storage)))
    return [as_it_is_now(*known) for run_id, known in sorted(told.items()) if fnmatchcase(run_id, like)]
