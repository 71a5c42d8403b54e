"""`logs RUN`: what the processes of a run have logged, all of it or what is asked for, so far or as it comes."""

import sys
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ipt_platform.cli.output import Json, Run, Storage, emit, printable
from ipt_platform.errors import UsageError
from ipt_platform.observe.jsonl import Follower
from ipt_platform.observe.logs import Sieve, choose_logs, follow_lines, tail, wanted
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import find_run


def logs(
    run: Run,
    rank: Annotated[str | None, typer.Option(help="Only this rank (a number), or `driver`; all by default.")] = None,
    attempt: Annotated[int | None, typer.Option(min=1, help="Of this attempt; the newest by default.")] = None,
    level: Annotated[str | None, typer.Option(help="Only records of this level and above: debug, info, warning, ...")] = None,
    grep: Annotated[str | None, typer.Option(metavar="REGEX", help="Only records in which this is found.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only records since then, or the last 15m, 2h.")] = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="Show the last N lines of each log.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    storage: Storage = "runs",
    as_json: Json = False,
) -> None:
    """Show what the processes of a run have logged."""
    if follow and as_json:
        raise UsageError("--follow has no end and --json is one document: give one of the two")
    want = wanted(level, grep, since, datetime.now().astimezone())
    folder = find_run(storage, run)
    number = attempt or folder.current_attempt()
    files = choose_logs(folder, number, rank)
    followers = {name: Follower(path, from_end=True) for name, path in files.items()}
    sieves = {name: Sieve(want) for name in files}
    tails = {
        name: tail(path, lines, followers[name].position if follow else None, sieves[name]) for name, path in files.items()
    }
    data = [{"rank": name, "path": str(files[name]), "lines": found} for name, found in tails.items()]

    def appeared() -> dict[str, Path]:
        return folder.log_files(number) if rank is None else {}

    def render(_: Console) -> None:
        for name, found in tails.items():
            _write(found, name if rank is None and (follow or len(files) > 1) else "")
        if follow:
            for name, line in follow_lines(followers, appeared, lambda: _running(folder, number), time.sleep):
                _write(sieves.setdefault(name, Sieve(want)).feed(line), name if rank is None else "")

    emit({"run": folder.id, "attempt": number, "logs": data}, as_json, render)


def _running(run: RunDir, attempt: int) -> bool:
    now = run_status(run)
    return now.attempt == attempt and now.state == "running"


def _write(lines: Iterable[str], name: str) -> None:
    for line in lines:
        sys.stdout.write(f"{f'{name} | ' if name else ''}{printable(line)}\n")
    sys.stdout.flush()
