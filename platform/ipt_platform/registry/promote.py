"""Moving aliases and taking versions away: each is a change with its reason, and none happens on ground that has shifted."""

from collections.abc import Callable
from typing import Any

from ipt_platform.errors import NotFoundError, RefusedError, UsageError
from ipt_platform.registry.catalogue import TASKS, TaskView
from ipt_platform.registry.gates import Judgement
from ipt_platform.registry.history import PROTECTED, By, Change, holders
from ipt_platform.registry.names import Reference, nearest
from ipt_platform.registry.serve import Candidate, candidate
from ipt_platform.registry.store import Registry

Judge = Callable[[Candidate, Candidate | None], Judgement]
"""What judges a version against the one that it would replace."""


def promote(registry: Registry, reference: Reference, alias: str, judge: Judge, by: By, force: bool = False) -> Change | None:
    """Point an alias to a version that passes its gates.

    Args:
        registry: where the task is.
        reference: the version.
        alias: the alias.
        judge: says what the gates say.
        by: who asks, and why.
        force: whether to do it although a gate is missed; needs a reason. A pack that cannot be used is never promoted.

    Returns:
        The change; None where the alias points there already.

    Raises:
        UsageError: forced without a reason.
        NotFoundError: there is no such version, or it has no pack.
        RefusedError: a gate is missed, the pack cannot be used, or somebody has changed something meanwhile.
    """
    if force and not by.reason:
        raise UsageError("--force needs a reason, which the history keeps: add --reason 'why the gates do not matter here'")
    view = registry.catalogue.known(reference.task)
    version = registry.catalogue.version(reference.task, registry.catalogue.number(reference))
    if not version.has_pack:
        raise NotFoundError(f"{version} is a record without a pack, and nothing restores with it: promote a version with one")
    number = version.record.version
    previous = view.aliases.get(alias)
    if previous == number:
        return None
    holder = candidate(registry.catalogue, registry.catalogue.version(reference.task, previous)) if previous else None
    judgement = judge(candidate(registry.catalogue, version), holder)
    if judgement.missed and not force:
        listed = "\n".join(f"  {each}" for each in judgement.missed)
        raise RefusedError(
            f"{version} was not promoted to {alias}:\n{listed}\n"
            "Train a better one; or say why it may be served all the same, with --force --reason 'why'."
        )
    passed = {*view.passed, *([] if judgement.missed else [number])}
    change = _change(
        view, by, action="promote", alias=alias, version=number, previous=previous, forced=bool(judgement.missed),
        missed=tuple(judgement.missed), numbers=tuple(judgement.numbers), aliases={**view.aliases, alias: number},
        passed=tuple(sorted(passed)),
    )  # fmt: skip
    registry.add_change(view, change)
    return change


def rollback(registry: Registry, task: str, alias: str, by: By) -> Change:
    """Point an alias to the version that held it before; what a rollback took away is not given back by another.

    Raises:
        NotFoundError: there is no such task or alias.
        RefusedError: no version held it before, that version was removed, or somebody has changed something meanwhile.
    """
    view = _with_alias(registry, task, alias)
    stack = holders(registry.catalogue.changes(task), alias)
    if len(stack) < 2:
        raise RefusedError(f"no other version of {task} was {alias} before {task}@{view.aliases[alias]}: promote one instead")
    target = stack[-2]
    if target not in view.versions:
        raise RefusedError(f"{task}@{target}, which was {alias} before, was removed: promote another version")
    change = _change(
        view, by, action="rollback", alias=alias, version=target, previous=view.aliases[alias],
        aliases={**view.aliases, alias: target},
    )  # fmt: skip
    registry.add_change(view, change)
    return change


def drop(registry: Registry, task: str, alias: str, by: By) -> Change:
    """Take an alias away.

    Raises:
        NotFoundError: there is no such task or alias.
        RefusedError: the alias is a protected one, or somebody has changed something meanwhile.
    """
    view = _with_alias(registry, task, alias)
    if alias in PROTECTED:
        raise RefusedError(f"{alias} is protected: people restore with it. It can be moved (promote, rollback), not taken away")
    aliases = {name: version for name, version in view.aliases.items() if name != alias}
    change = _change(view, by, action="drop", alias=alias, previous=view.aliases[alias], aliases=aliases)
    registry.add_change(view, change)
    return change


def remove(registry: Registry, reference: Reference, by: By) -> Change:
    """Remove a version; its number is not used again, and the history keeps who removed it and why.

    Raises:
        NotFoundError: there is no such version.
        RefusedError: an alias points to it, or somebody has changed something meanwhile.
    """
    number = registry.catalogue.number(reference)
    view = registry.catalogue.known(reference.task)
    if held := sorted(alias for alias, version in view.aliases.items() if version == number):
        raise RefusedError(
            f"{reference} is {' and '.join(held)}: move the alias to another version first "
            f"(`ipt-platform task promote {reference.task}@N --as {held[0]}`)"
        )
    change = _change(view, by, action="remove", version=number, removed=tuple(sorted({*view.removed, number})))
    registry.add_change(view, change)
    # From here on it does not count; what a kill leaves of its files is cleared away by a rebuild.
    registry.files.remove(registry.files.names(f"{TASKS}/{reference.task}/{number}"))
    return change


def _with_alias(registry: Registry, task: str, alias: str) -> TaskView:
    view = registry.catalogue.known(task)
    if alias not in view.aliases:
        raise NotFoundError(f"{task} has no alias '{alias}'{nearest(alias, view.aliases)}")
    return view


def _change(view: TaskView, by: By, **what: Any) -> Change:
    """The change after the newest one; what is not said stays as it was."""
    standing = {"aliases": dict(view.aliases), "removed": view.removed, "passed": view.passed}
    own = {"revision": view.revision + 1, "actor": by.actor, "time": by.time.isoformat(timespec="seconds"), "reason": by.reason}
    return Change(**{**standing, **own, **what})
