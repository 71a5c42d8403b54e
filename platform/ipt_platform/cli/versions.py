"""Versions of tasks in words: what the `task` commands print, and the same as plain values for --json."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from ipt_platform.cli.output import pairs, say, table
from ipt_platform.registry.catalogue import Catalogue, TaskView, Version
from ipt_platform.registry.history import Change

METRICS = ("psnr", "gain", "ssim")
MEASURED = ("set", "pictures", "input dB", "restored dB", "gain", "before", "SSIM", "protocol")


def described(catalogue: Catalogue, view: TaskView, version: Version) -> dict[str, Any]:
    """Everything that is known of a version, as plain values."""
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


def version_row(version: Mapping[str, Any]) -> list[str]:
    """A version as a line of a table; its numbers are the means over its test sets."""
    record, pack, verdict = version["record"], version["pack"], version["verdict"] or {"numbers": []}
    return [
        str(version["version"]),
        ", ".join(version["aliases"]) or "-",
        record["created"][:19],
        record["owner"],
        pack["lineage"]["run"] if pack else "-",
        {True: "passed", False: "missed", None: "-"}[version["passed"]],
        *(_mean(metric, verdict["numbers"]) for metric in METRICS),
    ]


def show_version(to: Console, version: Version, data: Mapping[str, Any], sheet: str) -> None:
    """Print a version."""
    record, pack, verdict = version.record, data["pack"], data["verdict"]
    say(to, f"{version}: {record.task.description}")
    pairs(
        to,
        [
            ("aliases", ", ".join(data["aliases"])),
            ("owner", record.owner),
            ("created", record.created),
            (
                "pairs from",
                f"{record.pairs.pictures} on disk" if record.pairs else degradation_in_words(record.task.degradation),
            ),
            ("enlarges", f"{record.signature.scale} times" if record.signature.scale > 1 else ""),
            ("measured on", sets_in_words(version)),
            ("gates", ", ".join(record.task.gates)),
            ("pairs to look at", sheet),
            ("instructions", "; ".join(record.task.instructions)),
        ],
    )
    if not pack:
        return
    lineage, backbone = pack["lineage"], pack["backbone"]
    pairs(
        to,
        [
            ("pack", f"rank {pack['rank']}, {pack['parameters']:,} parameters, {pack['bytes']:,} bytes"),
            ("of run", f"{lineage['run']}, attempt {lineage['attempt']}, step {lineage['step']}"),
            ("on backbone", f"{backbone['name']} {backbone['fingerprint']}"),
        ],
    )
    show_numbers(to, verdict["numbers"])
    for missed in verdict["missed"]:
        say(to, f"gate: {missed}")


def show_numbers(to: Console, numbers: Sequence[Mapping[str, Any]]) -> None:
    """Print what was measured, set by set."""
    if numbers:
        table(to, MEASURED, [_measured(each) for each in numbers], right=MEASURED[1:7])


def change_in_words(change: Change) -> str:
    """A change in one line."""
    what = {
        "promote": f"{change.alias} -> {change.version}",
        "rollback": f"{change.alias} -> {change.version} again",
        "drop": f"{change.alias} taken away",
        "remove": f"version {change.version} removed",
    }[change.action]
    forced = f" although {'; '.join(change.missed)}" if change.forced else ""
    reason = f": {change.reason}" if change.reason else ""
    return f"{change.time[:19]}  {change.actor}  {what}{forced}{reason}"


def instead(change: Change) -> str:
    """What an alias pointed to before a change, as the end of a sentence."""
    return f", instead of to {change.previous}" if change.previous else ""


def sets_in_words(version: Version) -> str:
    """The test sets of a version and their sizes."""
    protocol = f", as {version.record.task.protocol}" if version.record.sets else ""
    return ", ".join(f"{each.name} ({each.pictures} pictures)" for each in version.record.sets) + protocol


def degradation_in_words(degradation: Any) -> str:
    """The names of a degradation's steps."""
    steps = degradation.get("steps") or degradation.get("choices") or [degradation]
    names = [step.get("as") or step["name"] for step in steps]
    return (" > " if "steps" in degradation else " or ").join(names)


def _mean(metric: str, numbers: Sequence[Mapping[str, Any]]) -> str:
    if not numbers:
        return "-"
    values = [_value(metric, each) for each in numbers]
    return _shown(metric, sum(values) / len(values))


def _measured(each: Mapping[str, Any]) -> list[str]:
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
