"""`checkpoint`, `cancel`, `resume` and `wait`: what is asked of a run that another process leads, and its end."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ipt_platform.cli.cluster import Cluster
from ipt_platform.cli.follow import Detach, lead, target_of
from ipt_platform.cli.output import Json, Run, Storage, emit, say
from ipt_platform.cluster.checkpoint import ask_checkpoint, wait_for_checkpoint
from ipt_platform.cluster.steer import NOW_SECONDS, Unbegun, committed, end_now, wait_for_stop
from ipt_platform.cluster.steer import cancel as ask
from ipt_platform.cluster.submit import resume_run
from ipt_platform.errors import ExitCode, UsageError
from ipt_platform.observe.machine import user_name
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import find_run
from ipt_platform.observe.waiting import Ended, Patience, wait_for_end

Timeout = Annotated[
    float | None, typer.Option(min=0, metavar="SECONDS", help="Wait for so long at the most; for ever by default.")
]


def cancel(
    run: Run,
    now: Annotated[bool, typer.Option("--now", help="End it at once, without a checkpoint.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Ask it to stop, and do not wait until it has.")] = False,
    timeout: Timeout = None,
    storage: Storage = "runs",
    as_json: Json = False,
) -> None:
    """Ask a run to commit a checkpoint and stop, and wait until it has."""
    if no_wait and (now or timeout is not None):
        raise UsageError("--no-wait asks and goes; leave out --now and --timeout")
    folder = find_run(storage, run)
    if now:
        ended = end_now(folder, user_name(), Patience(NOW_SECONDS if timeout is None else timeout))
    else:
        asked = ask(folder, user_name())
        if no_wait:
            data = {"run": folder.id, "path": str(folder.path), "attempt": asked.attempt, "reason": asked.reason}
            emit(data, as_json, lambda to: say(to, f"{folder.id}: attempt {asked.attempt} was asked to stop: {asked.reason}"))
            return
        ended = wait_for_stop(asked, Patience(timeout))
    steps = committed(folder)

    def render(to: Console) -> None:
        early = ", before it heard that it should stop" if ended.state == "finished" else ""
        say(to, f"{folder.id}: {ended.state}{early}: {ended.status.reason}")
        for name, step in steps.items():
            say(to, f"checkpoint of {name}: step {step}")

    emit(_data(folder, ended) | {"committed": steps}, as_json, render)
    if ended.exit_code not in (ExitCode.OK, ExitCode.CANCELLED):
        raise typer.Exit(ended.exit_code)


def checkpoint(
    run: Run,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Ask for it, and do not wait until it is there.")] = False,
    timeout: Timeout = None,
    storage: Storage = "runs",
    as_json: Json = False,
) -> None:
    """Ask a run to commit a checkpoint now and go on, and wait until it has."""
    if no_wait and timeout is not None:
        raise UsageError("--no-wait asks and goes; leave out --timeout")
    folder = find_run(storage, run)
    wanted = ask_checkpoint(folder, user_name())
    data = {"run": folder.id, "path": str(folder.path), "attempt": wanted.attempt}
    if no_wait:
        emit(data, as_json, lambda to: say(to, f"{folder.id}: attempt {wanted.attempt} was asked for a checkpoint"))
        return
    step = wait_for_checkpoint(wanted, Patience(timeout))
    emit(data | {"step": step}, as_json, lambda to: say(to, f"checkpoint of {folder.id}: step {step}"))


def resume(run: Run, cluster: Cluster = None, detach: Detach = False, storage: Storage = "runs", as_json: Json = False) -> None:
    """Go on with a run where it stopped, and follow it; its own resolved job says what it does."""
    target = target_of(cluster, detach)
    folder = find_run(storage, run)
    job = resume_run(folder, Path())
    words = ["ipt-platform", "resume", run, *(["--storage", storage] if storage != "runs" else [])]
    lead(job, folder, Path(), shlex.join(words), as_json, target, detach)


def wait(run: Run, timeout: Timeout = None, storage: Storage = "runs", as_json: Json = False) -> None:
    """Wait until a run has ended; the exit code is that of the run."""
    folder = find_run(storage, run)
    ended = wait_for_end(folder, Patience(timeout), Unbegun(folder))
    emit(_data(folder, ended), as_json, lambda to: say(to, f"{folder.id}: {ended.state}: {ended.status.reason}"))
    if ended.exit_code:
        raise typer.Exit(ended.exit_code)


def _data(run: RunDir, ended: Ended) -> dict[str, Any]:
    return {**ended.status.to_dict(), "path": str(run.path), "exit_code": ended.exit_code}
