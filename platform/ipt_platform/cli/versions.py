"""Versions of tasks as the `task` commands print them."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from ipt_platform.cli.output import pairs, say, table
from ipt_platform.registry.catalogue import Version
from ipt_platform.registry.history import Change
from ipt_platform.registry.words import (
    MEASURED,
    METRICS,
    change_in_words,
    degradation_in_words,
    mean_in_words,
    measured_in_words,
    sets_in_words,
    verdict_in_words,
)


def version_row(version: Mapping[str, Any]) -> list[str]:
    """A version as a line of a table; its numbers are the means over its test sets."""
    record, pack, verdict = version["record"], version["pack"], version["verdict"] or {"numbers": []}
    return [
        str(version["version"]),
        ", ".join(version["aliases"]) or "-",
        record["created"][:19],
        record["owner"],
        pack["lineage"]["run"] if pack else "-",
        verdict_in_words(version["passed"]),
        *(mean_in_words(metric, verdict["numbers"]) for metric in METRICS),
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
        table(to, MEASURED, [measured_in_words(each) for each in numbers], right=MEASURED[1:7])


def change_line(change: Change) -> str:
    """A change in one line."""
    return f"{change.time[:19]}  {change.actor}  {change_in_words(change)}"


def instead(change: Change) -> str:
    """What an alias pointed to before a change, as the end of a sentence."""
    return f", instead of to {change.previous}" if change.previous else ""
