"""From a task file to a registered version: everything it names is checked, and some of its pairs are drawn to be looked at."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ipt_platform.data.bad import Bad
from ipt_platform.data.reader import ShardSet
from ipt_platform.errors import SpecError
from ipt_platform.evaluate.preview import preview
from ipt_platform.evaluate.sheet import contact_sheet
from ipt_platform.registry.catalogue import SHEET, Version
from ipt_platform.registry.freeze import freeze_sets
from ipt_platform.registry.names import NAME
from ipt_platform.registry.record import PairedShards, TaskRecord, resolved, signature_of
from ipt_platform.registry.store import Registry
from ipt_platform.spec.checks import check_task
from ipt_platform.spec.draws import draw_of_task, pairs_in
from ipt_platform.spec.source import load_yaml
from ipt_platform.spec.task import TaskSpec, load_task, task_names

PAIRS = 8
PATCH = 160
"""Pairs on the sheet, and the side of each half in pixels."""


@dataclass(frozen=True)
class Registered:
    """What became of a task file.

    Attributes:
        version: the version that holds it.
        new: whether it was made for it; else the file says what was registered already.
        bad: pictures that could not be used for the sheet.
    """

    version: Version
    new: bool
    bad: Sequence[Bad] = ()


def register_file(
    registry: Registry, path: Path, base: Path, photographs: ShardSet | None, actor: str, now: datetime
) -> Registered:
    """Register the task of a file: its next version, unless the newest one says the same.

    Args:
        registry: where to.
        path: the task file, of any name.
        base: what relative paths in it are relative to.
        photographs: clean pictures for the sheet; None for a task that reads pairs.
        actor: who registers; the owner, where the file names none.
        now: the time.

    Raises:
        SpecError: the file is wrong, or what it names is missing; every problem, with its line.
        DataError, NotFoundError, UsageError: a test set or the photographs cannot be used.
        RefusedError: somebody else registered a version meanwhile.
        InfrastructureError: the storage or the index failed.
    """
    task = check_task(path, base)
    _check_name(task, path)
    view = registry.catalogue.view(task.name)
    record = _record(task, view.next_version, base, actor, now)
    if view.versions:
        newest = registry.catalogue.version(task.name, view.versions[-1])
        if newest.record.content == record.content:
            return Registered(newest, new=False)
    draw = draw_of_task(record.task, 1, {}, base)
    made = preview([draw], photographs, seed=0, count=PAIRS, patch=PATCH)
    return Registered(registry.add_version(record, {SHEET: contact_sheet(made.pairs)}), new=True, bad=made.bad)


def _record(task: TaskSpec, version: int, base: Path, actor: str, now: datetime) -> TaskRecord:
    task = resolved(task)
    shards = pairs_in(task.pairs, base) if task.pairs else None
    return TaskRecord(
        id=secrets.token_hex(16),
        name=task.name,
        version=version,
        owner=task.owner or actor,
        created=now.isoformat(timespec="seconds"),
        signature=signature_of(task),
        task=task,
        sets=freeze_sets(task, base),
        pairs=PairedShards(shards=len(shards.shards), pictures=shards.images, digest=shards.digest) if shards else None,
    )


def _check_name(task: TaskSpec, path: Path) -> None:
    """A task that ships may be registered, to have versions and gates; but nothing else may go by its name.

    Raises:
        SpecError: something else does, or the name cannot be one.
    """
    document = load_yaml(path)
    if not NAME.fullmatch(task.name):
        raise SpecError([document.problem(("name",), f"'{task.name}' begins with no letter; registered tasks do")])
    if task.name not in task_names():
        return
    ships = resolved(load_task(task.name))
    own = resolved(task)
    if any(getattr(own, key) != getattr(ships, key) for key in ("degradation", "pairs", "evaluate", "quantize")):
        message = f"'{task.name}' is a task that ships with the platform, with other pairs than these; give yours another name"
        raise SpecError([document.problem(("name",), message)])
