"""The checkpoint from which a run goes on, wherever the run is kept."""

from pathlib import Path

from ipt_platform.checkpoint.manifest import newest
from ipt_platform.checkpoint.remote import fetch_newest
from ipt_platform.observe.lock import locked
from ipt_platform.observe.rundir import RunDir

_FETCHING = ".fetching.lock"
_PATIENCE = 3600.0


def step_of(checkpoint: Path | None) -> int:
    """The steps that were done when a checkpoint was taken; 0: there is none."""
    return int(checkpoint.name.removeprefix("step-")) if checkpoint else 0


def newest_usable(run: RunDir) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The newest usable checkpoint of a run, on this machine; one on S3 is fetched unless it is here.

    Returns:
        Its folder (None: the run has none), and `(folder, reason)` of each newer one that is damaged or uncommitted.

    Raises:
        InfrastructureError, UsageError: as S3 says.
    """
    mirror = run.mirror
    if not mirror:
        return newest(run.path)
    with locked(run.path / _FETCHING, _PATIENCE):
        return mirror.insist(lambda: fetch_newest(mirror.remote, run.path))
