"""How every command speaks: one JSON document, or words for a person; results to stdout, everything else to stderr."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout and nothing else.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Run id, the folder of a run, or its URL s3://bucket/prefix/ID.")]
Storage = Annotated[str, typer.Option("--storage", help="Folder that holds the runs, or s3://bucket/prefix.")]
AnyStorage = Annotated[str, typer.Option("--storage", help="Folder of the runs and the registry, or s3://bucket/prefix.")]


def console(stderr: bool = False) -> Console:
    """A console for stdout or stderr as they are now: colour and width on a terminal, plain endless lines elsewhere."""
    stream = sys.stderr if stderr else sys.stdout
    plain = not stream.isatty()
    return Console(
        file=stream, highlight=False, soft_wrap=plain, no_color=plain or None, force_terminal=False if plain else None
    )


def emit(data: Any, as_json: bool, render: Callable[[Console], None]) -> None:
    """Print the result of a command.

    Args:
        data: what --json prints; numbers that JSON does not know become null.
        as_json: whether --json was given.
        render: prints the same for a person.
    """
    if as_json:
        sys.stdout.write(json.dumps(json_ready(data), indent=2, allow_nan=False, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        render(console())


def table(to: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Print a table: ruled on a terminal, aligned by spaces elsewhere (one row is one line, for grep and awk).

    Args:
        to: where to.
        columns: the headings.
        rows: one text per column; shown as it is, never read as markup.
        right: headings of the columns that are aligned to the right.
    """
    if to.is_terminal:
        ruled = Table(box=None, header_style="bold", pad_edge=False)
        for name in columns:
            ruled.add_column(name, justify="right" if name in right else "left", overflow="fold")
        for row in rows:
            ruled.add_row(*(Text(printable(cell)) for cell in row))
        to.print(ruled)
        return
    cells = [list(columns), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for row in cells:
        padded = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(row, widths, columns, strict=True)
        ]
        to.file.write("  ".join(padded).rstrip() + "\n")


def pairs(to: Console, rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values under each other, leaving out those without a value."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        if value:
            say(to, f"  {name.ljust(width)}  {value}")


def say(to: Console, text: str) -> None:
    """Print text as it is: no markup, and nothing in it can steer the terminal."""
    to.print(Text(printable(text)))


def printable(text: str) -> str:
    """The text with control characters other than tabs written out: a name or a log must not steer the terminal."""
    return "".join(char if char == "\t" or char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def json_ready(value: Any) -> Any:
    """The value with infinity and not-a-number as None, because JSON has no word for them."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {str(key): json_ready(each) for key, each in value.items()}
        case list() | tuple():
            return [json_ready(each) for each in value]
        case _:
            return value


def duration(seconds: float | None) -> str:
    """Seconds as people read them: `42s`, `3m07s`, `2h05m`, `4d03h`; "-" if unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    total = round(max(0.0, seconds))
    for big, small, units in ((86400, 3600, "dh"), (3600, 60, "hm"), (60, 1, "ms")):
        if total >= big:
            return f"{total // big}{units[0]}{total % big // small:02d}{units[1]}"
    return f"{total}s"
