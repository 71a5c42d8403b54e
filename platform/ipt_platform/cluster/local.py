"""The Ray that lives as long as one command: loopback only, with a token of its own, its files in a folder of its own."""

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private import node, ray_constants

from ipt_platform.cluster.folder import session_folder
from ipt_platform.errors import InfrastructureError
from ipt_platform.train.pace import NOTICE_SECONDS, POLL_SECONDS, START_SECONDS
from ipt_platform.train.slots import Slots

log = logging.getLogger(__name__)

TRIES = 3
"""Of starting a Ray: Ray gives a slow machine 30 seconds and no more, and a port may be taken between looking and using it."""

LEAST_STORE_BYTES = 128 << 20
"""Of an embedded Ray's object store: for what Ray itself passes around."""

LOOPBACK = "127.0.0.1"
# With a node of this address Ray's servers listen on loopback alone; with any other one, be it 127.0.0.2, on all addresses. But
# Ray replaces it by the machine's address on the network, unless it is told, as it assumes on other systems than Linux, that
# its nodes are all on this machine.
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": POLL_SECONDS,
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": NOTICE_SECONDS,
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": START_SECONDS,
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's metric ports answer anybody; an embedded Ray has nobody to tell.
    "RAY_enable_metrics_collection": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    # All of the object store from the beginning: else its pages are made one after another, at the cost of whoever writes to
    # them first, and a run's memory grows until the last of them was used.
    "RAY_preallocate_plasma_memory": "1",
    # Ray's workers step back by 15 behind everything else; here they are what the user waits for.
    "RAY_worker_niceness": "0",
}


class _Lone(node.Node):
    """Starts the processes of a Ray that nobody joins, without three of Ray's that are there for others.

    They copy what workers print to whoever has started Ray, ask a cloud for machines, and answer for the dashboard that is off.
    """

    def start_log_monitor(self) -> None:
        """Not here."""

    def start_monitor(self) -> None:
        """Not here."""

    def start_api_server(self, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
        """The dashboard, if it is wanted."""
        if include_dashboard:
            super().start_api_server(include_dashboard=include_dashboard, raise_on_failure=raise_on_failure)


@contextlib.contextmanager
def _lone(embedded: bool) -> Iterator[None]:
    """Ray starts only what such a Ray needs."""
    whole = node.Node
    if embedded:
        node.Node = _Lone
    try:
        yield
    finally:
        node.Node = whole


@contextlib.contextmanager
def connected(slots: Slots, log: Path, folder: Path | None = None) -> Iterator[None]:
    """Be connected to Ray: to the cluster of RAY_ADDRESS, else to one that starts and ends here.

    Args:
        slots: what an embedded Ray must have.
        log: where what Ray says goes.
        folder: where the files of an embedded Ray go; by default a new folder that is removed at the end.

    Raises:
        InfrastructureError: the cluster cannot be reached, or Ray does not start.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    with contextlib.ExitStack() as stack:
        stack.enter_context(_logged_to(log))
        settings: dict[str, Any] = {}
        if not os.environ.get("RAY_ADDRESS"):
            settings = _embedded(slots, folder or stack.enter_context(session_folder(log.with_name("ray"))).path)
        stack.callback(ray.shutdown)
        _start(settings)
        yield


def _embedded(slots: Slots, folder: Path) -> dict[str, Any]:
    """What starts a Ray of our own instead of finding one."""
    # With the mode unset, a local Ray asks for a token; a token in the environment keeps it from writing one to the home
    # folder. Set here, the mode would come too late: Ray reads it when it is imported.
    os.environ.pop("RAY_AUTH_MODE", None)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.update(ALONE)
    # It asks whether the machine will be taken away; from a Ray that nobody else knows, nobody takes it.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    if not slots.ready:
        os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
    ray_constants.ENABLE_RAY_CLUSTER = False  # which it has read when it was imported
    return {
        "address": "local",
        "num_cpus": max(1, round(slots.cpus + 0.499)),
        "num_gpus": round(slots.gpus) if slots.gpus else None,
        "object_store_memory": LEAST_STORE_BYTES + slots.store_bytes,
        "include_dashboard": slots.dashboard,
        "dashboard_host": "127.0.0.1",
        "_temp_dir": str(folder),
        "_node_ip_address": LOOPBACK,
    }


def _start(settings: dict[str, Any]) -> None:
    """Connect to Ray; one of our own is tried again if it does not come up.

    Raises:
        InfrastructureError: it cannot be reached, or does not start.
    """
    address = os.environ.get("RAY_ADDRESS")
    where = f"at RAY_ADDRESS={address} cannot be reached" if address else "did not start on this machine"
    for left in reversed(range(TRIES if settings else 1)):
        before = _descendants()
        try:
            with _lone(embedded=bool(settings)):
                ray.init(log_to_driver=False, logging_format=_FORMAT, **settings)
            return
        except Exception as error:  # Ray raises of every kind, bare ones too
            if not left:
                raise InfrastructureError(f"Ray {where}: {error}") from error
            log.warning("Ray %s: %s; trying again", where, error)
        ray.shutdown()
        # What came up of it Ray ends with this process, and not before.
        for process in (processes := _descendants() - before):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes)


def _descendants() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


@contextlib.contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter(_FORMAT))
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data", "ray.train", "ray.tune")]
    before = [(each.handlers[:], each.propagate, each.level) for each in loggers]
    for each in loggers:
        each.handlers, each.propagate = [handler] if each.name == "ray" else [], each.name != "ray"
        each.setLevel(logging.INFO)
    try:
        yield
    finally:
        for each, (handlers, propagate, level) in zip(loggers, before, strict=True):
            each.handlers, each.propagate = handlers, propagate
            each.setLevel(level)
        handler.close()
