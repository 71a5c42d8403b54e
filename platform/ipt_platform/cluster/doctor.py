"""Whether this machine and a cluster can do what jobs ask of them; each finding says what to do."""

import json
import secrets
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import requests

from ipt_platform.cluster.jobs import Jobs
from ipt_platform.cluster.probe import MARK, facts, trace_of
from ipt_platform.cluster.target import Target
from ipt_platform.errors import InfrastructureError, IptError
from ipt_platform.registry.files import Files
from ipt_platform.storage.paths import any_path

PATIENCE = 120.0
"""Seconds for the job that looks at a cluster; it may have to wait for a slot."""
SKEW_SECONDS = 5.0
"""By which clocks may differ: runs that were silent for two minutes count as interrupted."""
SHARED_MEMORY = 0.3
"""Share of the memory that Ray's object store takes of /dev/shm; with less there it goes to disk, and is slow."""

Verdict = Literal["good", "look", "bad"]
_LOCAL = ("127.", "::1", "::ffff:127.")
_SERVERS = ("gcs_server", "raylet", "ray::", "dashboard", "ray-dashboard")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: it.
        verdict: good; look: jobs may run, but; bad: jobs fail.
        found: what was found.
        advice: what to do ("": nothing).
    """

    what: str
    verdict: Verdict
    found: str
    advice: str = ""


def examine(storage: str, target: Target | None) -> list[Finding]:
    """Look at this machine, and at a cluster if one is given."""
    own = facts(storage)
    findings = [*_of_machine("this machine", own, storage), *_listening()]
    if target is not None:
        findings += _of_cluster(target, own, storage)
    return findings


def _of_machine(where: str, found: dict[str, Any], storage: str) -> Iterator[Finding]:
    versions = ", ".join(f"{name} {version or 'missing'}" for name, version in found["packages"].items())
    missing = [name for name, version in found["packages"].items() if not version]
    yield Finding(
        f"{where}: packages",
        "bad" if missing else "good",
        f"ipt-platform {found['platform']} in {found['package']}, Python {found['python']}, {versions}",
        f"install {', '.join(missing)} as constraints.txt pins them" if missing else "",
    )
    gpus = f"{len(found['gpus'])} GPUs ({found['gpus'][0]})" if found["gpus"] else "no GPU"
    memory, shared = found["memory_bytes"], found["shared_memory_bytes"]
    yield Finding(f"{where}: cores", "good", f"{found['cores']} cores, {memory / 2**30:.1f} GiB of memory, {gpus}")
    little = shared < SHARED_MEMORY * memory
    yield Finding(
        f"{where}: shared memory",
        "look" if little else "good",
        f"{shared / 2**30:.1f} GiB free in /dev/shm",
        f"Ray wants {SHARED_MEMORY:.0%} of the memory there, else its object store goes to disk: give the container "
        f"--shm-size={SHARED_MEMORY * memory / 2**30:.0f}g, or a volume in memory on Kubernetes"
        if little
        else "",
    )
    yield Finding(
        f"{where}: storage",
        "bad" if found["storage"] else "good",
        found["storage"] or f"{storage}: written, read, removed",
        "runs cannot be kept there; see docs/storage.md" if found["storage"] else "",
    )


def _listening() -> Iterator[Finding]:
    """Which processes of Ray on this machine answer others; metrics ask for no token."""
    try:
        open_to_all = {f"{name} on port {port}" for name, address, port in _sockets() if not address.startswith(_LOCAL)}
    except psutil.Error as error:
        yield Finding("this machine: open ports", "look", f"cannot be seen: {error}", "look as the owner of Ray's processes")
        return
    some = ", ".join(sorted(open_to_all)[:4]) + (f" and {len(open_to_all) - 4} more" if len(open_to_all) > 4 else "")
    yield Finding(
        "this machine: open ports",
        "look" if open_to_all else "good",
        f"open to other machines: {some}" if open_to_all else "no process of Ray listens to other machines",
        "Ray's metrics and torch's store answer anybody, without the token: let a firewall keep them inside the cluster"
        if open_to_all
        else "",
    )


def _of_cluster(target: Target, own: dict[str, Any], storage: str) -> Iterator[Finding]:
    where = f"cluster {target.name}"
    jobs = Jobs(target)
    try:
        version = jobs.version()
    except IptError as error:
        yield Finding(f"{where}: answers", "bad", str(error), "without it nothing can be submitted")
        return
    yield Finding(f"{where}: answers", "good", f"Ray {version} at {target.address}")
    yield _versions(f"{where}: Ray", own["packages"]["ray"], version, "jobs are written for the client's")
    yield _locked(where, target)
    try:
        there, asked = _facts_of(jobs, storage)
    except IptError as error:
        yield Finding(f"{where}: runs jobs", "bad", str(error), "see the log of the submission in Ray's dashboard")
        return
    yield from _of_machine(where, there, storage)
    yield _versions(f"{where}: Python", own["python"], there["python"], "Ray wants the same minor version on both sides")
    apart = abs(there["time"] - asked)
    yield Finding(
        f"{where}: clock",
        "look" if apart > SKEW_SECONDS else "good",
        f"{apart:.1f} s from this machine's, the job's end included",
        "times in events will be in the wrong order: let both follow a time server" if apart > SKEW_SECONDS else "",
    )
    yield Finding(
        f"{where}: shared storage",
        "good" if there["shared"] else "bad",
        "sees what was written here" if there["shared"] else f"does not see what was written here in {storage}",
        "" if there["shared"] else "runs must lie where both see them under one name: a shared folder, or s3://",
    )


def _versions(what: str, own: str, there: str, why: str) -> Finding:
    same = own.split(".")[:2] == there.split(".")[:2]
    return Finding(
        what, "good" if same else "bad", f"{there}, {own} here", "" if same else f"{why}: install one of them on both"
    )


def _locked(where: str, target: Target) -> Finding:
    """Whether somebody without the token is sent away."""
    try:
        status = requests.get(f"{target.address}/api/jobs/", timeout=10).status_code
    except requests.RequestException as error:
        found = f"whether it is asked for cannot be seen: {type(error).__name__}"
        return Finding(f"{where}: token", "look", found, "look again when the cluster answers")
    if status in (401, 403):
        return Finding(f"{where}: token", "good", "is asked for, and ours is accepted")
    return Finding(
        f"{where}: token",
        "bad",
        f"is not asked for (HTTP {status}): whoever reaches {target.address} can run anything on it",
        "start Ray with RAY_AUTH_MODE=token, and change what was stored on it",
    )


def _facts_of(jobs: Jobs, storage: str) -> tuple[dict[str, Any], float]:
    """The facts of a cluster's machine, by a job; and this machine's time after its end."""
    nonce = secrets.token_hex(8)
    files = Files(any_path(storage if "://" in storage else Path(storage).absolute()))
    files.create(trace_of(nonce), nonce.encode())
    try:
        identity = f"doctor-{nonce}"
        words = ["python", "-P", "-m", "ipt_platform.cluster.probe", str(files.root), nonce]
        jobs.submit(identity, f"exec {shlex.join(words)}", {"run": ""})
        began = time.monotonic()
        while not (found := jobs.find(identity)).over:
            if time.monotonic() - began > PATIENCE:
                jobs.stop(identity)
                raise InfrastructureError(
                    f"its job did not end within {PATIENCE:.0f} s ({found.state.lower()}: {found.message})"
                )
            time.sleep(0.3)
        asked = time.time()
        lines = [line for line in jobs.log(identity).splitlines() if line.startswith(MARK)]
        if not lines:
            raise InfrastructureError(f"its job {found.state.lower()}: {found.message}")
        return json.loads(lines[-1].removeprefix(MARK)), asked
    finally:
        files.remove([trace_of(nonce)])


def _sockets() -> Iterator[tuple[str, str, int]]:
    """Process, address and port of what Ray's processes listen on."""
    for each in psutil.net_connections("tcp"):
        if each.status == psutil.CONN_LISTEN and each.pid and each.laddr and (name := _name(each.pid)).startswith(_SERVERS):
            yield name, *each.laddr[:2]


def _name(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return ""
