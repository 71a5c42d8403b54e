"""From the words of an address to a run: a name is checked before it is looked up, and never joined to a path unseen."""

from pathlib import Path

from ipt_platform.errors import NotFoundError, UsageError
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import check_run_id, find_run, is_remote
from ipt_platform.web.settings import Settings

MEMBER = ":"
"""Stands in an address between a search or an analysis and one of its runs."""


def run_of(settings: Settings, name: str) -> RunDir:
    """The run that an address names: by its id, or `ID:MEMBER` for one of the runs of a search or an analysis.

    Raises:
        NotFoundError: there is none, or the name is none of a run.
        InfrastructureError: S3 fails.
    """
    whole, mark, member = name.partition(MEMBER)
    for each in (whole, member) if mark else (whole,):  # `a:` is no second name of `a`
        try:
            check_run_id(each)
        except UsageError as error:
            raise NotFoundError(str(error)) from error
    run = _within(settings.storage, whole)
    return _within(f"{run.place}/{run.members.name}", member) if member else run


def _within(storage: str, name: str) -> RunDir:
    """The run of a storage; `find_run` also looks for a folder of this name where the page was started."""
    run = find_run(storage, name)
    if not is_remote(storage) and run.path.absolute().parent != Path(storage).absolute():
        raise NotFoundError(f"no run {name!r} in {storage}")
    return run
