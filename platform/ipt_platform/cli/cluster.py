"""`cluster up | down | status`: the Ray of this machine that stays, and what any cluster has and does."""

from typing import Annotated, Any

import typer
from rich.console import Console

from ipt_platform.cli.output import Json, emit, pairs, say, table
from ipt_platform.errors import NotFoundError

app = typer.Typer(name="cluster", no_args_is_help=True, add_completion=False)

Cluster = Annotated[
    str | None,
    typer.Option("--cluster", metavar="NAME", help="Cluster of the configuration file, or local; else that of RAY_ADDRESS."),
]


@app.callback()
def _cluster() -> None:
    """Start and end a Ray on this machine that stays, and look at clusters."""


@app.command()
def up(
    cpus: Annotated[float | None, typer.Option(min=1, help="Slots for CPUs; two for each core by default.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="Slots for GPUs; as many as there are by default.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the dashboard; any that is free by default.")] = 0,
    as_json: Json = False,
) -> None:
    """Start a Ray on this machine that stays: on loopback, with a token; `submit --cluster local` uses it."""
    from ipt_platform.cluster.head import start_head

    head, new = start_head(cpus, gpus, port)
    data = {"address": head.address, "new": new, "token": f"file:{head.token}", "pid": head.first.pid}

    def render(to: Console) -> None:
        say(to, f"Ray {'runs' if new else 'was running already'}: {head.address}")
        say(to, "`ipt-platform submit JOB --cluster local` submits to it, `ipt-platform cluster down` ends it")

    emit(data, as_json, render)


@app.command()
def down(
    force: Annotated[
        bool, typer.Option("--force", help="Also while jobs are running on it: they are ended, and go on when submitted again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """End the Ray of this machine."""
    from ipt_platform.cluster.head import stop_head

    head = stop_head(force)
    emit({"address": head.address, "ended": True}, as_json, lambda to: say(to, f"Ray at {head.address} was ended"))


@app.command()
def status(cluster: Cluster = None, as_json: Json = False) -> None:
    """Say what a cluster has, and what was submitted to it."""
    from ipt_platform.cluster.jobs import Jobs
    from ipt_platform.cluster.target import LOCAL, find_target

    target = find_target(cluster) or find_target(LOCAL)
    if target is None:
        raise NotFoundError("there is no cluster to look at")
    jobs = Jobs(target)
    version, nodes, submissions = jobs.version(), jobs.nodes(), jobs.all()
    alive = [node for node in nodes if node.get("state") == "ALIVE"]
    total: dict[str, float] = {}
    for node in alive:
        for name, amount in (node.get("resources_total") or {}).items():
            total[name] = total.get(name, 0) + amount
    data: dict[str, Any] = {
        "cluster": target.name,
        "address": target.address,
        "ray": version,
        "nodes": len(alive),
        "lost": len(nodes) - len(alive),
        "cpus": total.get("CPU", 0),
        "gpus": total.get("GPU", 0),
        "memory_bytes": total.get("memory", 0),
        "submissions": [
            {
                "id": each.id,
                "state": each.state,
                "run": each.run,
                "path": each.path,
                "owner": each.owner,
                "project": each.project,
            }
            for each in submissions
        ],
    }

    def render(to: Console) -> None:
        say(to, f"{target.name}: Ray {version} at {target.address}")
        lost = f", {data['lost']} lost" if data["lost"] else ""
        pairs(
            to,
            [
                ("nodes", f"{data['nodes']}{lost}"),
                ("CPU slots", f"{data['cpus']:g}"),
                ("GPUs", f"{data['gpus']:g}"),
                ("memory", f"{data['memory_bytes'] / 2**30:.1f} GiB"),
            ],
        )
        if submissions:
            rows = [(each.id, each.state.lower(), each.owner, each.project or "-", each.path or "-") for each in submissions]
            table(to, ("submission", "state", "owner", "project", "run"), rows)
        else:
            say(to, "nothing was submitted to it")

    emit(data, as_json, render)
