"""How many packs a registry holds, by the names of its files alone."""

from collections import Counter

from ipt_platform.registry.catalogue import ABOUT_PACK, COMMIT, TASKS
from ipt_platform.registry.files import Files
from ipt_platform.registry.store import FOLDER
from ipt_platform.storage.paths import any_path


def packs_by_task(storage: str) -> dict[str, int]:
    """The versions of each task that have a pack and count; {} where there is no registry.

    Args:
        storage: folder of the runs, or a prefix on S3.

    Raises:
        InfrastructureError, UsageError: as the storage says.
    """
    names = set(Files(any_path(storage) / FOLDER).names(TASKS))
    ends = f"/{ABOUT_PACK}"
    versions = (name.removesuffix(ends) for name in names if name.endswith(ends))
    return dict(Counter(version.split("/")[1] for version in versions if f"{version}/{COMMIT}" in names))
