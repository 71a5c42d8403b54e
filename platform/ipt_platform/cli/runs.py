"""`ls`, `status RUN` and `logs RUN`: what the runs in a storage are doing, read from their files."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ipt_platform.cli.live import change
from ipt_platform.cli.output import Json, Storage, duration, emit, pairs, printable, say, table
from ipt_platform.data.bad import samples_in_words
from ipt_platform.errors import NotFoundError, UsageError
from ipt_platform.observe.events import read_events
from ipt_platform.observe.jsonl import Follower, last_lines
from ipt_platform.observe.rundir import RunDir, find_run, list_runs
from ipt_platform.observe.status import RESTORE, Status, run_status

Run = Annotated[str, typer.Argument(metavar="RUN", help="Run id, or the folder of a run.")]
_COLUMNS = ("run", "state", "step", "%", "eta", "attempt", "loss", "psnr", "updated")


def ls(storage: Storage = "runs", as_json: Json = False) -> None:
    """List the runs, the one that spoke last first."""
    found = sorted((run_status(run) for run in list_runs(storage)), key=lambda each: each.updated, reverse=True)

    def render(to: Console) -> None:
        if not found:
            say(to, f"no runs in {storage}; `ipt-platform submit JOB` starts one")
            return
        table(to, _COLUMNS, [_row(each) for each in found], right=("step", "%", "eta", "attempt"))

    emit([each.to_dict() for each in found], as_json, render)


def status(run: Run, storage: Storage = "runs", as_json: Json = False) -> None:
    """Say how a run is getting on, and why it is in the state it is in."""
    folder = find_run(storage, run)
    now = run_status(folder)
    recent = read_events(folder, tail=8)

    def render(to: Console) -> None:
        say(to, f"{now.run_id}: {now.state}: {now.reason}")
        pairs(to, _facts(folder, now))
        for event in recent:
            say(to, f"{event.get('time', '')[:19]}  {change(event)}")

    emit({**now.to_dict(), "path": str(folder.path), "events": recent}, as_json, render)


def logs(
    run: Run,
    rank: Annotated[str | None, typer.Option(help="Only this rank (a number), or `driver`; all by default.")] = None,
    attempt: Annotated[int | None, typer.Option(min=1, help="Of this attempt; the newest by default.")] = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="Show the last N lines of each log.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    storage: Storage = "runs",
    as_json: Json = False,
) -> None:
    """Show what the processes of a run have logged."""
    if follow and as_json:
        raise UsageError("--follow has no end and --json is one document: give one of the two")
    folder = find_run(storage, run)
    number = attempt or folder.current_attempt()
    files = _choose(folder, number, rank)
    followers = {name: Follower(path, from_end=True) for name, path in files.items()}
    tails = {name: _tail(path, lines, followers[name].position if follow else None) for name, path in files.items()}
    data = [{"rank": name, "path": str(files[name]), "lines": tail} for name, tail in tails.items()]

    def appeared() -> dict[str, Path]:
        return folder.log_files(number) if rank is None else {}

    def render(_: Console) -> None:
        for name, tail in tails.items():
            _write(tail, name if rank is None and (follow or len(files) > 1) else "")
        if follow:
            for name, line in follow_lines(followers, appeared, lambda: _running(folder, number), time.sleep):
                _write([line], name if rank is None else "")

    emit({"run": folder.id, "attempt": number, "logs": data}, as_json, render)


def follow_lines(
    followers: dict[str, Follower],
    appeared: Callable[[], Mapping[str, Path]],
    running: Callable[[], bool],
    sleep: Callable[[float], None],
    period: float = 0.5,
) -> Iterator[tuple[str, str]]:
    """New `(name, line)` of growing files until `running` says no; what was written before that still comes.

    Args:
        followers: the files by name; those that appear are added.
        appeared: the files that are there by now; a new one is followed from its beginning.
        running: whether more is to be expected.
        sleep: waits so many seconds.
        period: seconds between two looks.
    """
    while True:
        more = running()
        for name, path in appeared().items():
            followers.setdefault(name, Follower(path))
        for name, follower in followers.items():
            for line in follower.poll():
                yield name, line.decode(errors="replace")
        if not more:
            return
        sleep(period)


def _row(status: Status) -> tuple[str, ...]:
    return (
        status.run_id,
        status.state,
        f"{status.step}/{status.steps}" if status.steps else str(status.step),
        f"{status.step / status.steps:.0%}" if status.steps else "-",
        duration(status.eta),
        str(status.attempt),
        _numbers(status.loss, ".4f") or "-",
        "; ".join(_numbers(tasks, ".2f") for tasks in (status.psnr or {}).values()) or "-",
        status.updated[:19] or "-",
    )


def _facts(run: RunDir, status: Status) -> list[tuple[str, str]]:
    progress = f"{status.step} of {status.steps}" if status.steps else str(status.step)
    speed = status.images_per_second
    wait = status.data_wait_share
    return [
        ("pictures" if status.kind == RESTORE else "step", progress),
        ("ETA", duration(status.eta) if status.eta is not None else ""),
        ("attempt", str(status.attempt) if status.attempt else ""),
        ("loss", _numbers(status.loss, ".4f")),
        *((f"PSNR on {name}", f"{_numbers(tasks, '.2f')} dB") for name, tasks in (status.psnr or {}).items()),
        ("speed", f"{speed:.1f} images/s" if speed is not None else ""),
        ("data wait", f"{wait:.1%} of the time" if wait is not None else ""),
        ("bad samples", _bad_samples(status.samples)),
        ("checkpoint", _checkpoint(status)),
        ("last word", status.updated),
        ("folder", str(run.path)),
    ]


def _checkpoint(status: Status) -> str:
    if status.kind == RESTORE:
        return ""
    return f"step {status.checkpoint}" if status.checkpoint is not None else "none yet"


def _bad_samples(samples: dict[str, Any] | None) -> str:
    return samples_in_words(samples["seen"], samples["bad"]) if samples and samples["bad"] else ""


def _numbers(values: dict[str, float] | None, form: str) -> str:
    return ", ".join(f"{name} {value:{form}}" for name, value in (values or {}).items())


def _choose(run: RunDir, attempt: int, rank: str | None) -> dict[str, Path]:
    files = run.log_files(attempt)
    if not files:
        raise NotFoundError(f"run {run.id} has no logs of attempt {attempt}: {run_status(run).reason}")
    if rank is None:
        return files
    if rank not in files:
        raise NotFoundError(f"attempt {attempt} of run {run.id} has no log {rank!r}; there are: {', '.join(files)}")
    return {rank: files[rank]}


def _tail(path: Path, count: int, end: int | None) -> list[str]:
    return [line.decode(errors="replace") for line in last_lines(path, count, end)]


def _running(run: RunDir, attempt: int) -> bool:
    now = run_status(run)
    return now.attempt == attempt and now.state == "running"


def _write(lines: list[str], name: str) -> None:
    for line in lines:
        sys.stdout.write(f"{f'{name} | ' if name else ''}{printable(line)}\n")
    sys.stdout.flush()
