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
from ipt_platform.observe.logs import Log, Sieve, choose_logs, follow_lines, tail, wanted
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import find_run
from ipt_platform.observe.waiting import goes_on


def logs(
    run: Run,
    rank: Annotated[str | None, typer.Option(help="Only this rank (a number), or `driver`; all by default.")] = None,
    attempt: Annotated[
        int | None, typer.Option(min=1, help="Of this attempt; of the newest, and of those that follow, by default.")
    ] = None,
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
    coming = follow and attempt is None and not folder.log_files(number) and goes_on(folder)
    files = {} if coming else {(number, name): path for name, path in choose_logs(folder, number, rank).items()}
    followers = {log: Follower(path, from_end=True) for log, path in files.items()}
    sieves = {log: Sieve(want) for log in files}
    tails = {log: tail(path, lines, followers[log].position if follow else None, sieves[log]) for log, path in files.items()}
    data = [{"rank": log[1], "path": str(files[log]), "lines": found} for log, found in tails.items()]

    def appeared() -> dict[Log, Path]:
        newest = attempt or folder.current_attempt(fresh=False)
        # of the attempt before the newest its last lines may be still to come
        attempts = range(max(number, newest - 1, 1), newest + 1)
        found = {(each, name): path for each in attempts for name, path in folder.log_files(each).items()}
        return {log: path for log, path in found.items() if rank in (None, log[1])}

    def render(_: Console) -> None:
        for log, found in tails.items():
            _write(found, log[1] if rank is None and (follow or len(files) > 1) else "")
        if follow:
            for log, line in follow_lines(followers, appeared, lambda: _running(folder, attempt), time.sleep):
                _write(sieves.setdefault(log, Sieve(want)).feed(line), log[1] if rank is None else "")

    emit({"run": folder.id, "attempt": number, "logs": data}, as_json, render)


def _running(run: RunDir, attempt: int | None) -> bool:
    """Whether more is to be expected, of one attempt if it was asked for."""
    return goes_on(run) and attempt in (None, run.current_attempt(fresh=False))


def _write(lines: Iterable[str], name: str) -> None:
    for line in lines:
        sys.stdout.write(f"{f'{name} | ' if name else ''}{printable(line)}\n")
    sys.stdout.flush()
