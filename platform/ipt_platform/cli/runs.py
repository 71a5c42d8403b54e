"""`ls` and `status RUN`: what the runs in a storage are doing, read from their files."""

from typing import Annotated, Any

import typer
from rich.console import Console

from ipt_platform.cli.live import change
from ipt_platform.cli.output import Json, Run, Storage, duration, emit, pairs, say, table
from ipt_platform.data.bad import samples_in_words
from ipt_platform.errors import UsageError
from ipt_platform.observe.events import read_events
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.runs import all_statuses
from ipt_platform.observe.status import STATES, UNITS, Status, run_status
from ipt_platform.observe.storage import find_run
from ipt_platform.spec.words import did_you_mean

_COLUMNS = ("run", "state", "step", "%", "eta", "attempt", "loss", "psnr", "updated")


def ls(
    state: Annotated[list[str] | None, typer.Option(metavar="STATE", help="Only runs in this state; repeatable.")] = None,
    kind: Annotated[list[str] | None, typer.Option(metavar="KIND", help="Only runs of this kind of job; repeatable.")] = None,
    name: Annotated[str | None, typer.Option(metavar="GLOB", help="Only runs whose id is like this: 'rain-*'.")] = None,
    sort: Annotated[str, typer.Option(help="By updated, progress or psnr, most first; or by name, state or kind.")] = "updated",
    number: Annotated[int | None, typer.Option("-n", "--number", min=1, help="The first N of them.")] = None,
    storage: Storage = "runs",
    as_json: Json = False,
) -> None:
    """List the runs, the one that spoke last first."""
    for given, known, what in ((state or (), STATES, "state"), ([sort], _ORDERS, "order")):
        for word in given:
            if word not in known:
                raise UsageError(f"there is no {what} '{word}'{did_you_mean(word, known)}")
    found = all_statuses(storage, name or "*")
    found = [each for each in found if (not state or each.state in state) and (not kind or each.kind in kind)]
    shown = _in_order(found, sort)[:number]

    def render(to: Console) -> None:
        if shown:
            table(to, _COLUMNS, [_row(each) for each in shown], right=("step", "%", "eta", "attempt"))
        elif state or kind or name:
            say(to, f"no such runs in {storage}")
        else:
            say(to, f"no runs in {storage}; `ipt-platform submit JOB` starts one")

    emit([each.to_dict() for each in shown], as_json, render)


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


def _in_order(found: list[Status], sort: str) -> list[Status]:
    """In the order that is asked for; those that are alike in it by when they last spoke."""
    latest = sorted(found, key=lambda each: each.updated, reverse=True)
    return sorted(latest, key=_ORDERS[sort])


def _mean_psnr(status: Status) -> float:
    values = [value for tasks in (status.psnr or {}).values() for value in tasks.values()]
    return sum(values) / len(values) if values else float("-inf")


_ORDERS = {
    "updated": lambda status: 0,
    "progress": lambda status: -(status.step / status.steps if status.steps else 0),
    "psnr": lambda status: -_mean_psnr(status),
    "name": lambda status: status.run_id,
    "state": lambda status: status.state,
    "kind": lambda status: status.kind,
}
"""By name of an order what is the key to sort by."""


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
        (f"{UNITS[status.kind]}s" if status.kind in UNITS else "step", progress),
        ("ETA", duration(status.eta) if status.eta is not None else ""),
        ("attempt", str(status.attempt) if status.attempt else ""),
        ("failure", status.failure),
        ("loss", _numbers(status.loss, ".4f")),
        *((f"PSNR on {name}", f"{_numbers(tasks, '.2f')} dB") for name, tasks in (status.psnr or {}).items()),
        ("speed", f"{speed:.1f} images/s" if speed is not None else ""),
        ("data wait", f"{wait:.1%} of the time" if wait is not None else ""),
        ("bad samples", _bad_samples(status.samples)),
        ("checkpoint", _checkpoint(status)),
        ("last word", status.updated),
        ("folder", run.place),
    ]


def _checkpoint(status: Status) -> str:
    if status.kind in UNITS:
        return ""
    return f"step {status.checkpoint}" if status.checkpoint is not None else "none yet"


def _bad_samples(samples: dict[str, Any] | None) -> str:
    return samples_in_words(samples["seen"], samples["bad"]) if samples and samples["bad"] else ""


def _numbers(values: dict[str, float] | None, form: str) -> str:
    return ", ".join(f"{name} {value:{form}}" for name, value in (values or {}).items())
