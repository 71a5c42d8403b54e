"""The jobs that a compound job is made of, as documents: pure functions of its file.

Each is an ordinary job; `storage` is the folder of their runs, and its name, which is its run's id too, says which one it is.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from ipt_platform.spec.base import weighted
from ipt_platform.spec.compound import part_document, put
from ipt_platform.spec.source import Document, KeyPath

PLACE = "(the run)/runs"
"""In the place of the folder of the jobs' runs, which is not known before the run of the whole is."""

SNAPSHOTS = 4
"""Checkpoints of a training of all tasks in which their gradients are compared."""

TOGETHER = "all tasks"
"""The role of the training of all tasks of an interference."""


@dataclass(frozen=True)
class MemberFile:
    """One of the jobs that a compound job is made of.

    Attributes:
        id: of its run, and the name of the job.
        document: its file.
        seed: its seed.
        role: what it is for: a variant, "before", tasks.
    """

    id: str
    document: Document
    seed: int
    role: str


Chain = tuple[MemberFile, ...]
"""Jobs that go one after another, each with what the one before has made."""


def seeds_of(value: Mapping[str, Any]) -> list[int]:
    """The seeds with which an analysis is repeated."""
    return [*(value.get("seeds") or [value.get("seed", 0)])]


def member_chains(document: Document, storage: str, outer: Path) -> list[Chain]:
    """The jobs of an analysis.

    Args:
        document: a file of kind analyze.
        storage: folder of the runs of its jobs.
        outer: folder of the other runs, which its parts may name.
    """
    make = {"interference": _interference, "comparison": _variants}.get(document.value["what"], _before_and_after)
    chains = [chain for seed in seeds_of(document.value) for chain in make(document, storage, seed)]
    return [tuple(replace(member, document=_located(member.document, outer)) for member in chain) for chain in chains]


def trial_document(document: Document, storage: str, outer: Path, name: str, seed: int, values: Mapping[str, Any]) -> Document:
    """The job of a trial: the base with the values of the knobs, by dotted path.

    Raises:
        ValueError: a path leads nowhere; it is named.
    """
    found = part_document(document, ("base",), given=_given(name, storage, seed))
    if values and "tasks" in found.value:
        found.value["tasks"] = weighted(found.value["tasks"])
    lines = dict(found.lines)
    for dotted, value in values.items():
        path = tuple(int(step) if step.isdecimal() else step for step in dotted.split("."))
        missing = [path[:end] for end in range(1, len(path)) if not _leads(found.value, path[:end])]
        try:
            if path[0] == "tasks" and len(path) > 1 and path[1] not in (found.value.get("tasks") or {}):
                raise KeyError(path[1])
            put(found.value, path, list(value) if isinstance(value, tuple) else value)
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(
                f"'{dotted}' leads nowhere in base; expected the dotted path of a value, as in bias.rank"
            ) from error
        lines = {where: line for where, line in lines.items() if where[: len(path)] != path}
        at = document.lines.get(("search", "space", dotted), lines.get((), 1))
        lines |= dict.fromkeys([*missing, path], at)
    for dotted in values:
        if dotted.endswith("bias.targets"):
            _drop_ranks(found.value, dotted.split(".")[:-1])
    return _located(replace(found, lines=lines), outer)


def _leads(value: Any, path: KeyPath) -> bool:
    """Whether a key path leads to something."""
    try:
        for step in path:
            value = value[step]
    except (KeyError, IndexError, TypeError):
        return False
    return value is not None


def _drop_ranks(value: dict[str, Any], bias: Sequence[str]) -> None:
    """Forget the ranks of layer groups that this trial leaves out."""
    for key in bias:
        value = value[key]
    if isinstance(ranks := value.get("ranks"), dict):
        value["ranks"] = {group: rank for group, rank in ranks.items() if group in value["targets"]}


def _given(name: str, storage: str, seed: int) -> dict[str, Any]:
    return {"name": name, "storage": storage, "seed": seed}


def _base(document: Document) -> tuple[KeyPath, ...]:
    return (("base",),) if document.value.get("base") is not None else ()


def _before_and_after(document: Document, storage: str, seed: int) -> list[Chain]:
    chain: list[MemberFile] = []
    named_before = document.value.get("before")
    start = named_before if isinstance(named_before, str) else f"{storage}/before-s{seed}"
    for role in ("before", "after"):
        if not isinstance(document.value.get(role), dict):
            continue
        given = _given(f"{role}-s{seed}", storage, seed) | ({"start": start} if role == "after" else {})
        made = part_document(document, *_base(document), (role,), given=given)
        chain.append(MemberFile(given["name"], made, seed, role))
    return [tuple(chain)] if chain else []


def _variants(document: Document, storage: str, seed: int) -> list[Chain]:
    return [_variant(document, storage, seed, name) for name in document.value["variants"]]


def _variant(document: Document, storage: str, seed: int, name: str) -> Chain:
    parts = document.value["variants"][name]
    many = isinstance(parts, list)
    places: Sequence[KeyPath] = [("variants", name, i) for i in range(len(parts))] if many else [("variants", name)]
    chain: list[MemberFile] = []
    for number, place in enumerate(places, 1):
        given = _given(f"{name}-s{seed}" + (f"-{number}" if many else ""), storage, seed)
        made = part_document(document, *_base(document), place, given=given)
        if chain:
            made.value["backbone" if made.value.get("kind") == "finetune" else "start"] = f"{storage}/{chain[-1].id}"
        chain.append(MemberFile(given["name"], made, seed, name))
    return tuple(chain)


def _interference(document: Document, storage: str, seed: int) -> list[Chain]:
    """Each task alone with twice its crops, each pair, and all together: as many crops of a step for each task or pair."""
    uses = weighted(document.value["tasks"])
    chains: list[Chain] = []
    taken: set[str] = set()

    def name_for(words: str) -> str:
        """A name that no other training has: a task may have a dash in its own."""
        name, number = words[:40].rstrip("-"), 1
        while name in taken:
            number += 1
            name = f"{words[:40].rstrip('-')}-{number}"
        taken.add(name)
        return name

    for names in [*((name,) for name in uses), *combinations(uses, 2)]:
        times = 2 // len(names)
        tasks = {name: {**uses[name], "weight": times * uses[name].get("weight", 1)} for name in names}
        chains.append(_of_tasks(document, storage, seed, role_of(*names), name_for("-".join(names)), tasks, {}))
    every = max(1, _steps(document.value["base"]) // SNAPSHOTS)
    snapshots = {"checkpoint": {"every": every, "keep": SNAPSHOTS + 1}}
    return [*chains, _of_tasks(document, storage, seed, TOGETHER, name_for("together"), uses, snapshots)]


def role_of(*tasks: str) -> str:
    """The role of the training of one or two tasks; no task has a plus in its name."""
    return "+".join(tasks)


def _of_tasks(
    document: Document,
    storage: str,
    seed: int,
    role: str,
    name: str,
    tasks: Mapping[str, Any],
    more: Mapping[str, Any],
) -> Chain:
    given = _given(f"{name}-s{seed}", storage, seed) | {"tasks": dict(tasks), **more}
    made = part_document(document, *_base(document), given=given)
    if more:
        with suppress(TypeError):  # `train` is no mapping, which the check of this job says
            put(made.value, ("train", "mode"), "synchronous")
    lines = {path: line for path, line in made.lines.items() if path[:1] != ("tasks",)} | _task_lines(document)
    return (MemberFile(given["name"], replace(made, lines=lines), seed, role),)


def _task_lines(document: Document) -> dict[KeyPath, int]:
    """Where the tasks of the file stand, as they do in a mapping."""
    tasks = document.value["tasks"]
    found = {path: line for path, line in document.lines.items() if path[:1] == ("tasks",)}
    if isinstance(tasks, list):
        found = {("tasks", tasks[path[1]]) if len(path) > 1 else path: line for path, line in found.items()}
    return found


def _steps(base: Mapping[str, Any]) -> int:
    """Steps of the stages as they stand in a file that may be wrong."""
    train = base.get("train")
    stages = train.get("stages") if isinstance(train, dict) else None
    found = [stage.get("steps") for stage in stages if isinstance(stage, dict)] if isinstance(stages, list) else []
    return sum(steps for steps in found if isinstance(steps, int))


def _located(document: Document, outer: Path) -> Document:
    """With runs that it names by their id among the other runs named by their folder."""
    for key in ("backbone", "start"):
        found = document.value.get(key)
        if isinstance(found, str) and "/" not in found and (outer / found).is_dir():
            document.value[key] = str(outer / found)
    return document
