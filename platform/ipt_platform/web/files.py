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
    whole, _, member = name.partition(MEMBER)
    for each in (whole, member) if member else (whole,):
        try:
            check_run_id(each)
        except UsageError as error:
            raise NotFoundError(str(error)) from error
    run = find_run(settings.storage, whole)
    if not is_remote(settings.storage) and run.path.absolute().parent != Path(settings.storage).absolute():
        raise NotFoundError(
            f"no run {whole!r} in {settings.storage}"
        )  # `find_run` also looks for a folder of this name in ours
    return find_run(f"{run.place}/{run.members.name}", member) if member else run
