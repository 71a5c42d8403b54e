"""What two versions of a task differ in, as people would say it: degradation, data, gates, pack, numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ipt_platform.registry.catalogue import Catalogue, Version

ABSENT = "(absent)"


@dataclass(frozen=True)
class Difference:
    """One thing that two versions say differently, in words; `(absent)` where one says nothing."""

    what: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.what}: {self.before} -> {self.after}"


def compare(catalogue: Catalogue, before: Version, after: Version) -> list[Difference]:
    """What differs between two versions, in the order of a record.

    Raises:
        DataError: a file is damaged.
    """
    old, new = dict(_said(catalogue, before)), dict(_said(catalogue, after))
    return [
        Difference(what, old.get(what, ABSENT), new.get(what, ABSENT))
        for what in dict.fromkeys([*old, *new])
        if old.get(what) != new.get(what)
    ]


def _said(catalogue: Catalogue, version: Version) -> Iterator[tuple[str, str]]:
    """Everything that a version says, one thing at a time."""
    record = version.record
    task = record.task.model_dump(mode="json")
    yield from _values("description", task["description"])
    yield "owner", record.owner
    yield from _values("scale", record.signature.scale)
    yield from _values("degradation", task["degradation"])
    yield from _values("evaluate", task["evaluate"])
    yield from _values("quantize", task["quantize"])
    yield from _values("pairs", task["pairs"])
    if record.pairs:
        yield "pairs on disk", f"{record.pairs.pictures} in {record.pairs.shards} shards, {record.pairs.digest[:16]}"
    for each in record.sets:
        yield f"set {each.name}", f"{each.pictures} pictures, {each.digest[:16]}"
    yield "protocol", task["protocol"]
    for gate in record.task.thresholds:
        yield f"gate {gate.metric}", f">= {gate.least:.12g}"
    yield "margin", f"{record.task.margin:g} dB"
    for sentence in task["instructions"]:
        yield f"instruction {sentence!r}", "there"
    if version.has_pack:
        yield from _pack(catalogue, version)


def _pack(catalogue: Catalogue, version: Version) -> Iterator[tuple[str, str]]:
    about = catalogue.about_pack(version)
    lineage, backbone = about["lineage"], about["backbone"]
    yield "pack", about["sha256"][:16]
    yield "pack of run", f"{lineage['run']}, attempt {lineage['attempt']}, step {lineage['step']}"
    yield "pack's backbone", f"{backbone['name']} {backbone['fingerprint'][:23]}"
    yield from _values("pack's rank", about["rank"])
    yield "pack's layer groups", ", ".join(about["targets"])
    yield "pack's parameters", f"{about['parameters']:,}"
    for numbers in (catalogue.verdict(version) or {}).get("numbers", ()):
        for metric, unit in (("psnr", " dB"), ("psnr_input", " dB"), ("ssim", "")):
            value = numbers[metric]
            shown = "infinite" if value is None else f"{value:.{4 if metric == 'ssim' else 2}f}{unit}"
            yield f"{metric} on {numbers['set']}", shown


def _values(what: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every value inside a value by its dotted path; a draw is one value, and steps go by their names."""
    if isinstance(value, Mapping) and value and not _is_draw(value):
        for key, inner in value.items():
            yield from _values(f"{what}.{key}", inner)
    elif isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(each, Mapping) for each in value):
        names = _names(value)
        yield f"{what} in order", ", ".join(names)
        for name, inner in zip(names, value, strict=True):
            yield from _values(f"{what}.{name}", inner)
    elif value is not None and value != {}:
        yield what, _text(value)


def _is_draw(value: Mapping[str, Any]) -> bool:
    steps = any(isinstance(each, Mapping) for each in value.get("choices", ()))
    return value.keys() == {"min", "max"} or (value.keys() == {"choices"} and not steps)


def _names(steps: Sequence[Any]) -> list[str]:
    """What each step is called; the second of one name is called `rain 2`."""
    found: list[str] = []
    for step in steps:
        name = str(step.get("as") or step.get("name")) if isinstance(step, Mapping) else str(step)
        twice = sum(each.partition(" ")[0] == name for each in found)
        found.append(f"{name} {twice + 1}" if twice else name)
    return found


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{value['min']:g} to {value['max']:g}" if "min" in value else f"one of {_text(value['choices'])}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
