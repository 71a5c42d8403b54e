"""The exporter of metrics of a cluster: a named actor on its head, which whoever trains tells and Prometheus scrapes.

On a cluster the first run that comes starts it, and it stays, whatever becomes of the run. A Ray of a run's own has none unless
the configuration asks for it: one more process to start, for a run that shows its numbers itself.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from ipt_platform import __version__
from ipt_platform.cluster.scraping import DEFAULT_LISTEN, MetricsEntry, metrics_entry, write_targets
from ipt_platform.cluster.target import read_config
from ipt_platform.errors import IptError
from ipt_platform.observe.listen import Listen
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.teller import Report
from ipt_platform.spec.secret import read_secret
from ipt_platform.train.exporting import NAME, NAMESPACE

log = logging.getLogger(__name__)

HEAD = {"node:__internal_head__": 0.001}
"""What Ray's head node alone has."""

LOOK_SECONDS = 60.0
"""How often the exporter looks at storages and the queue."""

STORAGES = 16
"""How many storages it looks at."""

PATIENCE = 60.0
"""Seconds for it to start, before the log says that it did not."""


class Exporter:
    """What runs in the actor.

    Args:
        listen: ADDRESS:PORT.
        token: where the token is, on this machine; None: a scrape needs none.
        targets: file for Prometheus; None: none is written.

    Raises:
        IptError: it cannot listen there, or its token is not where it should be.
    """

    def __init__(self, listen: str, token: str | None, targets: str | None):
        # Here and not above: a process that only starts the actor does without them.
        from ipt_platform.observe.exposition import Exposition
        from ipt_platform.observe.scraped import serving

        self.exposition = Exposition(__version__)
        self._storages: list[str] = []
        self._known = threading.Event()
        self._open = ExitStack()
        secret = read_secret(token, "the exporter of metrics", "token")[0] if token else None
        self.listen = self._open.enter_context(serving(self.exposition.registry, Listen.parse(listen), secret))
        if self.listen.host in ("0.0.0.0", "::"):  # noqa: S104 - of all addresses of the machine, others use this one
            self.listen = replace(self.listen, host=ray.util.get_node_ip_address())
        if targets:
            write_targets(Path(targets).expanduser(), self.listen)
        threading.Thread(target=self._look, name="looking", daemon=True).start()

    def tell(self, reports: list[Report]) -> None:
        """Take what somebody tells."""
        self.exposition.apply(reports)

    def know(self, storage: str) -> str:
        """Look at a storage now, and from now on, as long as there are not too many.

        Args:
            storage: an absolute path, or a URL.

        Returns:
            The address at which the metrics are.
        """
        if storage not in self._storages:
            self._storages = [*self._storages, storage][-STORAGES:]
        self._known.set()
        return f"http://{self.listen}/metrics"

    def _look(self) -> None:
        from ipt_platform.cluster.looking import look

        while True:
            self._known.wait(LOOK_SECONDS)
            self._known.clear()
            try:
                look(self.exposition, self._storages)
            except Exception:  # what is told shall be there, even if nothing can be seen
                log.exception("nothing could be seen")


@contextlib.contextmanager
def exported(run: RunDir, embedded: bool) -> Iterator[None]:
    """See to it that there is an exporter while the block runs, without waiting for it; that it does not start is logged only.

    Args:
        run: whose storage it shall look at.
        embedded: whether Ray ends with the block; then an exporter must be asked for.
    """
    entry = _entry()
    if entry is None or (embedded and entry.listen is None):
        yield
        return
    with contextlib.suppress(RayError, ValueError):
        actor = start_exporter(entry, stays=not embedded)
        storage = run.mirror.about.storage if run.mirror else str(run.path.absolute().parent)
        threading.Thread(target=_introduce, args=(actor, storage), daemon=True).start()
    try:
        yield
    finally:
        if embedded and entry.targets:  # Prometheus would miss it
            with contextlib.suppress(OSError):
                Path(entry.targets).expanduser().unlink()


def start_exporter(entry: MetricsEntry, stays: bool) -> Any:
    """The exporter of the cluster that this process is connected to, started if there is none; not waited for.

    Args:
        entry: how it is reached.
        stays: whether it outlives this process.
    """
    made = ray.remote(Exporter).options(
        name=NAME,
        namespace=NAMESPACE,
        get_if_exists=True,
        lifetime="detached" if stays else "non_detached",
        num_cpus=0,
        resources=HEAD,
        max_restarts=-1,
        max_task_retries=0,
    )
    return made.remote(entry.listen or DEFAULT_LISTEN, entry.token, entry.targets)


def _entry() -> MetricsEntry | None:
    try:
        return metrics_entry(read_config().metrics)
    except IptError as error:
        log.warning("no metrics are exported: %s", error)
        return None


def _introduce(actor: Any, storage: str) -> None:
    """Tell the exporter where the run lies; say where it answers, or why it does not."""
    try:
        log.info("metrics are at %s", ray.get(actor.know.remote(storage), timeout=PATIENCE))
    except RayError as error:
        log.warning("no metrics are exported: %s", error)
