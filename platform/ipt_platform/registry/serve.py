"""From a task that is registered to the model that restores for it."""

from dataclasses import dataclass

from torch import nn

from ipt_platform.checkpoint.backbone import load_backbone
from ipt_platform.checkpoint.load import merged_for
from ipt_platform.errors import NotFoundError
from ipt_platform.model.bias import BiasedModel
from ipt_platform.registry.backbones import find_backbone
from ipt_platform.registry.catalogue import PACK, TASKS, Catalogue, Version
from ipt_platform.registry.names import Reference
from ipt_platform.registry.pack import load_bias, read_pack
from ipt_platform.registry.record import TaskRecord
from ipt_platform.storage.paths import AnyPath

PROD = "prod"


@dataclass(frozen=True)
class Candidate:
    """A trained version of a task, wherever its parts lie: its record, the folders of its pack and of its backbone."""

    record: TaskRecord
    pack: AnyPath
    backbone: AnyPath

    def __str__(self) -> str:
        return f"{self.record.name}@{self.record.version}"

    def load(self) -> nn.Module:
        """Its model: `[B, 3, H, W] float32 in [0, 1]` to the same; bias merged, branches fused, evaluation mode.

        Raises:
            NotFoundError, PackError: the pack or the backbone is gone, damaged, or not the other's.
        """
        backbone, _ = load_backbone(self.backbone)
        bias = load_bias(read_pack(self.pack), backbone)
        return merged_for(BiasedModel(backbone, {self.record.name: bias}), self.record.name)


def choose(catalogue: Catalogue, reference: Reference) -> Version:
    """The version that restores for a task: the one that is named, else that of the alias `prod`, else the newest that passed
    its gates.

    Raises:
        NotFoundError: there is no such task, version or alias, or none that can restore; the message says why not.
        DataError: its files are damaged.
    """
    view = catalogue.known(reference.task)
    named = reference.version is not None or reference.alias is not None
    if named or PROD in view.aliases:
        exact = reference if named else Reference(reference.task, alias=PROD)
        found = catalogue.version(reference.task, catalogue.number(exact))
        if found.has_pack:
            return found
        raise NotFoundError(
            f"{found} is a record without a pack, so nothing restores with it.{_trained(catalogue, reference.task)}"
        )
    for number in reversed(view.versions):
        found = catalogue.version(reference.task, number)
        if found.has_pack and (number in view.passed or (catalogue.verdict(found) or {}).get("passed")):
            return found
    raise NotFoundError(
        f"no version of {reference.task} has passed its gates, and none is {PROD}.{_trained(catalogue, reference.task)}"
    )


def candidate(catalogue: Catalogue, version: Version) -> Candidate:
    """The parts of a version that has a pack, which are the ones that were committed.

    Raises:
        NotFoundError: it has no pack, or its backbone is gone.
        DataError: it is damaged.
    """
    record = version.record
    about = catalogue.about_pack(version)  # is the one of COMMIT, and vouches for the tensors
    pack = catalogue.files.at(f"{TASKS}/{record.name}/{record.version}/{PACK}")
    return Candidate(record, pack, find_backbone(catalogue.files, about["backbone"]["fingerprint"]))


def _trained(catalogue: Catalogue, task: str) -> str:
    """Which versions could be named instead."""
    numbers = [number for number in catalogue.known(task).versions if catalogue.version(task, number).has_pack]
    if not numbers:
        return " None has a pack yet: train one with a job of `kind: finetune`."
    named = ", ".join(f"{task}@{number}" for number in numbers[-5:])
    return f" With a pack there {'are' if len(numbers) > 1 else 'is'} {named}: name one, or promote it."
