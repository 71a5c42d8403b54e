"""What is wrong with a compound job beyond its schema: keys that do not fit together, and the jobs that it is made of."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from ipt_platform.errors import Problem, SpecError
from ipt_platform.spec.analyze import keys_problems
from ipt_platform.spec.members import PLACE, member_chains, trial_document
from ipt_platform.spec.ordering import parse_ordering
from ipt_platform.spec.source import Document, KeyPath
from ipt_platform.spec.words import LEARNING

CheckMember = Callable[[Document], Any]
"""Checks the document of an ordinary job, and gives the job; raises SpecError."""

UNSEARCHED = ("apiVersion", "kind", "name", "storage", "seed", "evaluate", "checkpoint", "cluster")
MEASURED = ("comparison", "interference")
"""Analyses that compare what trainings measure at their end."""


def compound_problems(document: Document, refused: Collection[KeyPath], base: Path, check: CheckMember) -> list[Problem]:
    """Every problem of a compound job that the schema does not see.

    Args:
        document: the file, its scale laid over it.
        refused: key paths of the schema's errors; what hangs on them is not looked at.
        base: what relative paths are relative to.
        check: checks one of the jobs.
    """
    value = document.value
    outer = base / value["storage"] if isinstance(value.get("storage"), str) else base / "runs"
    wrong = {path[0] for path in refused if path}
    find = _tune if value["kind"] == "tune" else _analyze
    return list(dict.fromkeys(find(document, wrong, outer, check)))


def _analyze(document: Document, wrong: Collection[Any], outer: Path, check: CheckMember) -> Iterator[Problem]:
    value = document.value
    if "what" in wrong or "what" not in value:
        return
    keys = keys_problems(value)
    yield from (document.problem((key,), sentence) for key, sentence in keys)
    if isinstance(value.get("claims"), list) and not {"claims", "variants"} & {*wrong}:
        yield from _claims(document)
    if value["what"] == "interference" and "tasks" not in wrong and len(value.get("tasks") or ()) < 2:
        yield document.problem(("tasks",), "one task helps or hurts no other; name at least two")
    if not keys and not {"base", "before", "after", "variants", "tasks", "seed", "seeds"} & {*wrong}:
        kinds = {"comparison": LEARNING}.get(value["what"], ("train",))
        for chain in member_chains(document, PLACE, outer):
            for member in chain:
                yield from _member(member.document, check, kinds)
            if value["what"] in MEASURED and not _at(chain[-1].document.value, "evaluate", "sets"):
                message = f"what: {value['what']} compares PSNR on test sets: name at least one"
                yield chain[-1].document.problem(("evaluate", "sets"), message)
            if isinstance(value.get("after"), dict):
                yield from _of_after(document, chain[-1].document.value)
                if value.get("compress") is not None and not _at(chain[-1].document.value, "evaluate", "sets"):
                    message = "compress is measured by PSNR on test sets: name at least one"
                    yield chain[-1].document.problem(("evaluate", "sets"), message)


def _of_after(document: Document, after: dict[str, Any]) -> Iterator[Problem]:
    """What an analysis wants to know of tasks that the training after which it looks does not have."""
    tasks = [name for name in _items(after.get("tasks")) if isinstance(name, str)]
    task = document.value.get("task")
    if task is not None and (task not in tasks or _at(after, "train", "mode") == "mixed"):
        message = f"the training of `after` has no bias for '{task}'; it trains {', '.join(tasks)}, and has biases where it is "
        yield document.problem(("task",), f"{message}synchronous")
    for position, name in enumerate(_items(_at(document.value, "transplant", "tasks"))):
        if name not in tasks:
            message = f"'{name}' is no task of the training of `after`: {', '.join(tasks)}"
            yield document.problem(("transplant", "tasks", position), message)


def _at(value: Any, *path: str) -> Any:
    """What a key path of a file that may be wrong leads to; None where it leads nowhere."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _items(value: Any) -> list[Any]:
    """The items of a list or the keys of a mapping; of anything else, which the schema refuses, none."""
    return [*value] if isinstance(value, list | dict) else []


def _claims(document: Document) -> Iterator[Problem]:
    known = document.value.get("variants") or {}
    for position, claim in enumerate(document.value["claims"]):
        try:
            names, _ = parse_ordering(claim)
        except ValueError as error:
            yield document.problem(("claims", position), str(error))
            continue
        if unknown := [name for name in names if name not in known]:
            message = f"'{unknown[0]}' is none of the variants: {', '.join(known)}"
            yield document.problem(("claims", position), message)


def _tune(document: Document, wrong: Collection[Any], outer: Path, check: CheckMember) -> Iterator[Problem]:
    if not {"search", "seed"} & {*wrong}:
        yield from _repeats(document)
    if {"base", "seed"} & {*wrong} or "base" not in document.value:
        return
    seed = document.value.get("seed", 0)
    told = list(_member(trial_document(document, PLACE, outer, "t001", seed, {}), check, LEARNING))
    yield from told
    if told or "search" in wrong or "search" not in document.value:
        return
    space = document.value["search"]["space"]
    for dotted, knob in space.items():
        if dotted.split(".")[0] in UNSEARCHED:
            message = "this is no knob: trials would not be measured alike, or not fit beside each other"
            yield document.problem(("search", "space", dotted), message)
            continue
        for values in _extremes(knob):
            try:
                trial = trial_document(document, PLACE, outer, "t001", seed, {dotted: values})
            except ValueError as error:
                yield document.problem(("search", "space", dotted), str(error))
                break
            if found := list(_member(trial, check, LEARNING)):
                yield from found
                break
    yield from _reports(document)


def _repeats(document: Document) -> Iterator[Problem]:
    """Whether a repetition would be the search's own training once more."""
    seed = document.value.get("seed", 0)
    for position, other in enumerate(_at(document.value, "search", "repeat") or ()):
        if other == seed:
            message = f"seed {seed} is the search's own, with which every trial is trained; name further seeds"
            yield document.problem(("search", "repeat", position), message)


def _extremes(knob: dict[str, Any]) -> list[Any]:
    """Values of a knob that say whether it can be set at all."""
    if "choices" in knob:
        return [*knob["choices"]]
    return [[*knob["subsets"]]] if "subsets" in knob else [knob["min"], knob["max"]]


def _reports(document: Document) -> Iterator[Problem]:
    """Whether trials say how good they are, and early enough for a scheduler."""
    value = document.value
    evaluate = value["base"].get("evaluate")
    evaluate = evaluate if isinstance(evaluate, dict) else {}
    if not evaluate.get("sets"):
        yield document.problem(("base", "evaluate", "sets"), "trials are compared by PSNR on test sets: name at least one")
    if value["search"].get("scheduler", "asha") == "asha" and not evaluate.get("every"):
        message = (
            "scheduler asha compares trials while they train: say after how many steps each is measured (or scheduler: none)"
        )
        yield document.problem(("base", "evaluate", "every"), message)


def _member(document: Document, check: CheckMember, kinds: Collection[str]) -> list[Problem]:
    """What is wrong with one of the jobs."""
    kind = document.value.get("kind")
    if kind not in kinds:
        shown = "nothing" if kind is None else f"{kind!r}"
        return [
            document.problem(("kind",), f"expected kind {' or '.join(kinds)} for the jobs of which this is made, found {shown}")
        ]
    try:
        check(document)
    except SpecError as error:
        return error.problems
    return []
