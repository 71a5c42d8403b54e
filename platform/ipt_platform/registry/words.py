"""Versions of tasks and changes of their aliases as plain values and in words, for whoever shows them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ipt_platform.registry.catalogue import Catalogue, TaskView, Version
from ipt_platform.registry.history import Change

METRICS = ("psnr", "gain", "ssim")
MEASURED = ("set", "pictures", "input dB", "restored dB", "gain", "before", "SSIM", "protocol")


def described(catalogue: Catalogue, view: TaskView, version: Version) -> dict[str, Any]:
    """Everything that is known of a version, as plain values.

    Raises:
        DataError: a file of it is damaged.
    """
    number = version.record.version
    verdict = catalogue.verdict(version)
    return {
        "task": view.name,
        "version": number,
        "aliases": sorted(alias for alias, held in view.aliases.items() if held == number),
        "record": version.record.model_dump(mode="json"),
        "pack": catalogue.about_pack(version) if version.has_pack else None,
        "verdict": verdict,
        "passed": number in view.passed or bool(verdict and verdict["passed"]) if version.has_pack else None,
    }


def verdict_in_words(passed: bool | None) -> str:
    """Whether the gates were passed; "-" for a version without a pack."""
    return {True: "passed", False: "missed", None: "-"}[passed]


def change_in_words(change: Change) -> str:
    """What a change did, although what, and why."""
    what = {
        "promote": f"{change.alias} -> {change.version}",
        "rollback": f"{change.alias} -> {change.version} again",
        "drop": f"{change.alias} taken away",
        "remove": f"version {change.version} removed",
    }[change.action]
    forced = f" although {'; '.join(change.missed)}" if change.forced else ""
    reason = f": {change.reason}" if change.reason else ""
    return f"{what}{forced}{reason}"


def sets_in_words(version: Version) -> str:
    """The test sets of a version and their sizes."""
    protocol = f", as {version.record.task.protocol}" if version.record.sets else ""
    return ", ".join(f"{each.name} ({each.pictures} pictures)" for each in version.record.sets) + protocol


def degradation_in_words(degradation: Any) -> str:
    """The names of a degradation's steps."""
    steps = degradation.get("steps") or degradation.get("choices") or [degradation]
    names = [step.get("as") or step["name"] for step in steps]
    return (" > " if "steps" in degradation else " or ").join(names)


def mean_in_words(metric: str, numbers: Sequence[Mapping[str, Any]]) -> str:
    """The mean of `psnr`, `gain` or `ssim` over sets; "-" where nothing was measured."""
    if not numbers:
        return "-"
    values = [_value(metric, each) for each in numbers]
    return _shown(metric, sum(values) / len(values))


def measured_in_words(each: Mapping[str, Any]) -> list[str]:
    """What was measured on one set, in the columns `MEASURED`."""
    before = _shown("psnr", _number(each["psnr_before"])) if "psnr_before" in each else "-"
    decibels = [_shown("psnr", _number(each[key])) for key in ("psnr_input", "psnr")]
    return [
        each["set"],
        str(each["n"]),
        *decibels,
        _shown("gain", _value("gain", each)),
        before,
        f"{each['ssim']:.4f}",
        each["protocol"],
    ]


def _value(metric: str, numbers: Mapping[str, Any]) -> float:
    psnr, before = _number(numbers["psnr"]), _number(numbers["psnr_input"])
    return {"psnr": psnr, "gain": 0.0 if psnr == before else psnr - before, "ssim": numbers["ssim"]}[metric]


def _number(value: float | None) -> float:
    return math.inf if value is None else value


def _shown(metric: str, value: float) -> str:
    return f"{value:.4f}" if metric == "ssim" else f"{value:+.2f}" if metric == "gain" else f"{value:.2f}"
