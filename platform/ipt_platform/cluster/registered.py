"""The packs of a run that has finished become versions of their tasks, where these were registered when it was given."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ipt_platform.observe.events import utc_now
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.job import AnyJob, LearningJob
from ipt_platform.spec.registered import find_registered

if TYPE_CHECKING:
    from ipt_platform.registry.trained import Trained


def register_packs(job: AnyJob, run: RunDir, base: Path) -> "list[Trained]":
    """Make the packs that a finished run has left versions of their tasks, where these were registered when it was given.

    May be done again: a pack that is a version already stays the one it is.

    Raises:
        RefusedError: a pack cannot be used in a fresh process.
        NotFoundError, PackError, TrainingError: a pack or the backbone of the run is gone, damaged, or gives values that are
            not finite.
        InfrastructureError: the storage or the index failed.
    """
    kept = {name: find_registered(run.tasks, name) for name in job.tasks} if isinstance(job, LearningJob) else {}
    versions = {name: found.version for name, found in kept.items() if found and run.pack(name).is_dir()}
    if not versions:
        return []
    # torch takes seconds to import, and the index of the registry half of one; only here does whoever submits need them
    from ipt_platform.registry.store import VARIABLE, open_registry
    from ipt_platform.registry.trained import register_pack
    from ipt_platform.restore.model import choose_device, restorers

    registry = open_registry(base / job.storage, os.environ.get(VARIABLE))
    restorer_of = restorers(choose_device("auto"))
    found = [
        register_pack(registry, run.pack(name), run.backbone, base, restorer_of, utc_now(), version)
        for name, version in versions.items()
    ]
    return [each for each in found if each]
