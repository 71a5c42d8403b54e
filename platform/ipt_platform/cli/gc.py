"""`gc`: remove what no run needs any more."""

from typing import Annotated

import typer
from rich.console import Console

from ipt_platform.cli.output import Json, Storage, emit, say, table
from ipt_platform.observe.garbage import find_garbage


def gc(
    storage: Storage = "runs",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what was never committed, what was left half-written, and uploads that were never ended, when a day old."""
    found = find_garbage(storage)
    if not dry_run:
        for each in found:
            each.remove()
    size = sum(each.bytes for each in found)

    def render(to: Console) -> None:
        if found:
            rows = [(each.kind, f"{each.bytes:,}", each.name) for each in found]
            table(to, ("kind", "bytes", "name"), rows, right=("bytes",))
        say(to, f"{len(found)} {'would go' if dry_run else 'removed'}, {size:,} bytes, from {storage}")

    data = [{"kind": each.kind, "bytes": each.bytes, "name": each.name} for each in found]
    emit({"removed": not dry_run, "bytes": size, "garbage": data}, as_json, render)
