"""The Ray that lives as long as one command: loopback only, with a token of its own, its files in a folder of its own."""

import contextlib
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ray

from ipt_platform.train.driver import POLL_SECONDS

OBJECT_STORE_BYTES = 256 << 20

_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": POLL_SECONDS,
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's metric ports answer anybody; an embedded Ray has nobody to tell.
    "RAY_enable_metrics_collection": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}


@contextlib.contextmanager
def connected(cpus: float, gpus: float, log: Path) -> Iterator[None]:
    """Be connected to Ray: to the cluster of RAY_ADDRESS, else to one that starts and ends here.

    Args:
        cpus: CPU slots an embedded Ray must have; slots are promises, so it may have more than the machine has cores.
        gpus: GPUs it must have.
        log: where what Ray says goes.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in _ENVIRONMENT.items()})
    with _logged_to(log):
        if os.environ.get("RAY_ADDRESS"):
            ray.init(log_to_driver=False, configure_logging=False)
            try:
                yield
            finally:
                ray.shutdown()
            return
        # With the mode unset, a local Ray asks for a token; a token in the environment keeps it from writing one to the home
        # folder. Set here, the mode would come too late: Ray reads it when it is imported.
        os.environ.pop("RAY_AUTH_MODE", None)
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # Unix sockets below it must stay under 108 bytes, so the folder's path is short.
        folder = Path(tempfile.mkdtemp(prefix="ipt-"))
        try:
            ray.init(
                address="local",
                num_cpus=max(1, round(cpus + 0.499)),
                num_gpus=round(gpus) if gpus else None,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                _temp_dir=str(folder),
                _node_ip_address="127.0.0.1",
            )
            yield
        finally:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
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
