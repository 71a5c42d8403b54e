"""Whether a version is still what was committed: every digest, nothing beside, and a pack that can be used."""

from ipt_platform.errors import IptError
from ipt_platform.registry.catalogue import COMMIT, TASKS, Catalogue
from ipt_platform.registry.probe import probe
from ipt_platform.registry.serve import candidate


def verify_version(catalogue: Catalogue, task: str, number: int) -> list[str]:
    """Everything that is wrong with a version; empty where nothing is.

    A pack is loaded on its backbone in a fresh process, where the bias without its first factor must leave the output of the
    backbone as it is, bit for bit.
    """
    place = f"{TASKS}/{task}/{number}"
    try:
        version = catalogue.version(task, number)
    except IptError as error:
        return [str(error)]
    there = {name.removeprefix(f"{place}/") for name in catalogue.files.names(place)} - {COMMIT}
    problems = [f"{name} is not listed in {COMMIT}" for name in sorted(there - version.seal.files.keys())]
    for name in version.seal.files:
        try:
            catalogue.read(task, number, version.seal, name)
        except IptError as error:
            problems.append(str(error))
    if version.has_pack and not problems:
        try:
            found = candidate(catalogue, version)
            probe(found.pack, found.backbone)
        except IptError as error:
            problems.append(str(error))
    return problems
