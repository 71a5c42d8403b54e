"""Follow a run that this command leads to its end, and show what came of it: for `submit` and `resume`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ipt_platform.cli.live import LiveLine, RunWatch
from ipt_platform.cli.output import console, duration, emit, say, table
from ipt_platform.cluster.registered import register_packs
from ipt_platform.cluster.submit import submit
from ipt_platform.cluster.target import Target, find_target
from ipt_platform.data.bad import kinds_in_words, samples_in_words
from ipt_platform.errors import CancelledRunError, InfrastructureError, UsageError
from ipt_platform.evaluate.report import rows_of
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.spec.job import AnyJob, CompoundJob, RestoreJob
from ipt_platform.train.given import total_steps

Detach = Annotated[bool, typer.Option("--detach", help="Submit to the cluster and do not follow.")]


def target_of(cluster: str | None, detach: bool) -> Target | None:
    """The cluster that a command names; None: a Ray of its own.

    Raises:
        UsageError: --detach without a cluster.
        NotFoundError, SpecError: as `cluster.target.find_target`.
    """
    target = find_target(cluster)
    if detach and target is None:
        raise UsageError(
            "--detach leaves a run to its cluster; name one with --cluster (`ipt-platform cluster up` starts one here)"
        )
    return target


def lead(
    job: AnyJob, run: RunDir, base: Path, go_on: str, as_json: bool, target: Target | None = None, detach: bool = False
) -> None:
    """Bring a run to its end under a live line, and print its report.

    Args:
        job: its job.
        run: the run.
        base: what relative paths of the job are relative to.
        go_on: the command with which it goes on after it was stopped.
        as_json: whether --json was given.
        target: the cluster that leads it; None: this command does.
        detach: whether to leave it to the cluster.

    Raises:
        IptError: as `cluster.submit.submit`, or `cluster.remote.follow`.
    """
    if target is not None and run_status(run).state != "finished":
        _lead_there(job, run, base, target, detach, as_json)
        return
    say(console(stderr=True), f"run {run.id} in {run.place}")
    with LiveLine(total_steps(job)) as live:
        watch = RunWatch(run, live)
        try:
            report = submit(job, run, watch.until, base)
        except (CancelledRunError, InfrastructureError) as error:
            raise type(error)(f"{str(error).rstrip('.')}; go on with: {go_on}") from error
    _tell(job, run, base, report, as_json)


def _lead_there(job: AnyJob, run: RunDir, base: Path, target: Target, detach: bool, as_json: bool) -> None:
    """Let a cluster bring a run to its end, and follow it there unless it is left alone."""
    from ipt_platform.cluster.remote import follow, submit_run

    own = submit_run(job, run, target, base)
    told = f"run {run.id} in {run.place}, submitted to cluster {target.name} as {own.id}"
    if detach:
        emit({"run": run.id, "path": str(run.path), **asdict(own)}, as_json, lambda to: say(to, told))
        return
    say(console(stderr=True), told)
    with LiveLine(total_steps(job)) as live:
        report = follow(run, target, own, RunWatch(run, live).until)
    _tell(job, run, base, report, as_json)


def _tell(job: AnyJob, run: RunDir, base: Path, report: dict[str, Any], as_json: bool) -> None:
    """Print what came of a run, once its packs are versions of their tasks."""
    if isinstance(job, CompoundJob):
        emit({"run": run.id, "path": str(run.path), **report}, as_json, lambda to: _render_compound(to, run))
        return
    registered = register_packs(job, run, base)
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


def _render_compound(to: Console, run: RunDir) -> None:
    for line in (run.path / "report.md").read_text().splitlines():
        say(to, line)
    say(to, f"all of it, pictures and tables: {run.path}")


def _render_restored(to: Console, run: RunDir, report: dict[str, Any]) -> None:
    found = f", {report['found']:,} were there already" if report["found"] else ""
    say(to, f"{report['restored']:,} of {report['pictures']:,} pictures restored to {report['output']}{found}: {run.report}")
    for task, model in report["models"].items():
        say(to, f"{task}: {report['tasks'][task]:,} pictures, by {model['by']}")
    if kinds := {kind: len(bad) for kind, bad in report["bad"].items()}:
        say(to, f"{sum(kinds.values()):,} could not be restored ({kinds_in_words(kinds)}); the report names each")
    if report["unmatched"]:
        say(to, f"{report['unmatched']:,} were left alone: no rule of tasks matches them")
