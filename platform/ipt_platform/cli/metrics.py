"""`metrics RUN`: what a run has reported, as a table, as curves, as CSV, or as it comes."""

import csv
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from rich.console import Console

from ipt_platform.cli.output import Json, Run, Storage, emit, json_ready, say, table
from ipt_platform.cli.sparkline import sparkline
from ipt_platform.errors import UsageError
from ipt_platform.observe.curves import Column, Report, columns_of, curve, follow_reports, in_order, reports_of
from ipt_platform.observe.jsonl import Follower
from ipt_platform.observe.metrics_log import revive
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import find_run

SHOWN = 20
_WIDTH = 9  # of a column while following, at least
_WORDS = {"bias_lr": "bias lr", "images_per_second": "images/s", "data_wait_share": "data wait"}
_FORMS = {"loss": ".4f", "lr": ".2e", "bias_lr": ".2e", "images_per_second": ".1f", "data_wait_share": ".1%", "psnr": ".2f"}


def metrics(
    run: Run,
    tail: Annotated[int | None, typer.Option("--tail", min=1, metavar="N", help="Only the last N reports.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values, every number in full.")] = False,
    storage: Storage = "runs",
    as_json: Json = False,
) -> None:
    """Show what a run has reported: losses, learning rates, speed, PSNR."""
    if follow + as_json + as_csv > 1:
        raise UsageError("give one of --follow, --csv and --json: each has another form")
    folder = find_run(storage, run)
    folder.refresh(now=True)
    follower = Follower(folder.metrics)
    reports = reports_of(map(revive, follower.poll_objects()))
    shown = reports[-(tail or (len(reports) if as_json or as_csv else SHOWN)) :]
    if as_csv:
        _write_csv(shown)
        return

    def render(to: Console) -> None:
        if shown:
            columns = columns_of(shown)
            headings = ["step", *map(_heading, columns)]
            table(to, headings, [_row(columns, report) for report in shown], right=headings)
        elif not follow:
            say(to, f"no reports yet: {run_status(folder).reason}")
        if follow:
            show_coming(to, follow_reports(folder, follower, time.sleep))
        else:
            _curves(to, reports)

    emit({"run": folder.id, "reports": [report.to_dict() for report in shown]}, as_json, render)


def _row(columns: Sequence[Column], report: Report) -> list[str]:
    cells = report.cells()
    return [str(report.step), *(format(cells[name], _FORMS[name[0]]) if name in cells else "-" for name in columns)]


def _heading(name: Column) -> str:
    return " ".join((_WORDS.get(name[0], name[0]), *name[1:]))


def _curves(to: Console, reports: Sequence[Report]) -> None:
    """A line for each curve over all reports, with its first and its last value."""
    if len(reports) < 3:
        return
    columns = [name for name in columns_of(reports) if name[0] in ("loss", "psnr", "images_per_second")]
    width = max((len(_heading(name)) for name in columns), default=0)
    say(to, "")
    for name in columns:
        values = curve(reports, name)
        first, last = (format(value, _FORMS[name[0]]) for value in (values[0], values[-1]))
        say(to, f"{_heading(name).ljust(width)}  {first} {sparkline(values)} {last}")


def show_coming(to: Console, coming: Iterable[Report]) -> None:
    """Print each report that comes, as a row; the headings again where there are other numbers than before."""
    columns: list[Column] = []
    for report in coming:
        if not columns or not report.cells().keys() <= set(columns):
            columns = in_order([*columns, *report.cells()])
            say(to, "  ".join(["step".rjust(_WIDTH), *(_heading(name).rjust(_WIDTH) for name in columns)]))
        cells = zip(_row(columns, report), ("step", *map(_heading, columns)), strict=True)
        say(to, "  ".join(cell.rjust(max(_WIDTH, len(heading))) for cell, heading in cells))


def _write_csv(reports: Sequence[Report]) -> None:
    columns = columns_of(reports)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["step", "attempt", "time", *(" ".join(name) for name in columns)])
    for report in reports:
        cells = json_ready({name: report.cells().get(name) for name in columns})
        writer.writerow([report.step, report.attempt, report.time, *cells.values()])
    sys.stdout.flush()
