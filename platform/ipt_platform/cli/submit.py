"""`submit JOB`: run a job to its end, showing one live line."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ipt_platform.cli.job import JobFile, Overrides
from ipt_platform.cli.live import LiveLine, RunWatch
from ipt_platform.cli.output import Json, console, duration, emit, say, table
from ipt_platform.cluster.registered import register_packs
from ipt_platform.cluster.submit import prepare_run, total_steps
from ipt_platform.cluster.submit import submit as run_job
from ipt_platform.data.bad import kinds_in_words, samples_in_words
from ipt_platform.errors import CancelledRunError, InfrastructureError
from ipt_platform.evaluate.report import rows_of
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.job import RestoreJob
from ipt_platform.spec.load import load_job


def submit(
    job_file: JobFile,
    overrides: Overrides = None,
    run_id: Annotated[
        str | None, typer.Option("--run", metavar="ID", help="Id of the run; an id that exists goes on where it stopped.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a job and follow it; the same job under the same --run goes on where it stopped."""
    loaded = load_job(job_file, overrides or ())
    job, run = loaded.job, prepare_run(loaded, run_id, Path())
    notes = console(stderr=True)
    say(notes, f"run {run.id} in {run.path}")
    go_on = f"go on with: ipt-platform submit {job_file} --run {run.id}" + "".join(f" --set {each}" for each in overrides or ())
    with LiveLine(total_steps(job)) as live:
        watch = RunWatch(run, live)
        try:
            report = run_job(job, run, watch.until, Path())
        except (CancelledRunError, InfrastructureError) as error:
            raise type(error)(f"{str(error).rstrip('.')}; {go_on}") from error
    registered = register_packs(job, run, Path())
    versions = [
        {"version": str(each.version), "new": each.new, "missed": each.judgement and each.judgement.missed}
        for each in registered
    ]
    data = {"run": run.id, "path": str(run.path), "registered": versions, **report}
    if isinstance(job, RestoreJob):
        del data["registered"]
        emit(data, as_json, lambda to: _render_restored(to, run, report))
    else:
        emit(data, as_json, lambda to: _render(to, run, report, versions))


def _render(to: Console, run: RunDir, report: dict[str, Any], versions: list[dict[str, Any]]) -> None:
    rows = rows_of(report["sets"])
    if rows:
        cells = [
            (row.task, f"{row.psnr_input:.2f}", f"{row.psnr:.2f}", f"{row.gain:+.2f}", row.set, str(row.n)) for row in rows
        ]
        columns = ("task", "input dB", "restored dB", "gain", "set", "pictures")
        table(to, columns, cells, right=("input dB", "restored dB", "gain", "pictures"))
    say(to, f"{report['steps']} steps in {duration(report['seconds'])}, PSNR as {report['protocol']}: {run.report}")
    if told := report.get("samples", {}).get("bad") and samples_in_words(**report["samples"]):
        say(to, f"in training {told}; each is named in {run.events}")
    for task in report["parameters"]["bias"]:
        if run.pack(task).is_dir():
            say(to, f"bias pack of {task}: {run.pack(task)}")
    for each in versions:
        missed = "".join(f"; {reason}" for reason in each["missed"] or ())
        how = "was registered already" if not each["new"] else f"registered, gates {f'missed{missed}' if missed else 'passed'}"
        say(to, f"{each['version']} {how}")
    samples = run.samples(report["steps"])
    for row in rows:
        for picture in sorted(samples.glob(f"{row.set}-{row.task}-*.png"))[:1]:
            say(to, f"degraded | restored | clean, {row.task}: {picture}")


def _render_restored(to: Console, run: RunDir, report: dict[str, Any]) -> None:
    found = f", {report['found']:,} were there already" if report["found"] else ""
    say(to, f"{report['restored']:,} of {report['pictures']:,} pictures restored to {report['output']}{found}: {run.report}")
    for task, model in report["models"].items():
        say(to, f"{task}: {report['tasks'][task]:,} pictures, by {model['by']}")
    if kinds := {kind: len(bad) for kind, bad in report["bad"].items()}:
        say(to, f"{sum(kinds.values()):,} could not be restored ({kinds_in_words(kinds)}); the report names each")
    if report["unmatched"]:
        say(to, f"{report['unmatched']:,} were left alone: no rule of tasks matches them")
