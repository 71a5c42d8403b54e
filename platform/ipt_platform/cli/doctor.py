"""`doctor`: whether this machine and a cluster can do what jobs ask of them."""

from dataclasses import asdict

import typer
from rich.console import Console

from ipt_platform.cli.cluster import Cluster
from ipt_platform.cli.output import AnyStorage, Json, emit, say
from ipt_platform.errors import ExitCode


def doctor(cluster: Cluster = None, storage: AnyStorage = "runs", as_json: Json = False) -> None:
    """Look at versions, token, storage, GPUs, shared memory, clocks and open ports, and say what to do."""
    from ipt_platform.cluster.doctor import examine
    from ipt_platform.cluster.target import find_target

    findings = examine(storage, find_target(cluster))
    bad = [each for each in findings if each.verdict == "bad"]

    def render(to: Console) -> None:
        for each in findings:
            say(to, f"{each.verdict:<4}  {each.what}: {each.found}")
            if each.advice:
                say(to, f"      -> {each.advice}")

    emit([asdict(each) for each in findings], as_json, render)
    if bad:
        raise typer.Exit(ExitCode.INFRASTRUCTURE)
