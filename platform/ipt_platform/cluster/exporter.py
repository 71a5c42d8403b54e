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
from urllib.parse import urlsplit

import ray
from ray.exceptions import RayError

from ipt_platform import __version__
from ipt_platform.cluster.scraping import DEFAULT_LISTEN, MetricsEntry, metrics_entry, remove_targets, write_targets
from ipt_platform.cluster.target import read_config
from ipt_platform.errors import IptError
from ipt_platform.observe.listen import Listen
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.teller import RENEW_SECONDS, Report
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

LEAVE_SECONDS = 1.0
"""At the end of a run, for a call that is under way."""


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
        """Look at a storage from now on, and at once if it is new, as long as there are not too many.

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
    with ExitStack() as introduced:
        with contextlib.suppress(RayError, ValueError):
            actor = start_exporter(entry, stays=not embedded)
            storage = run.mirror.about.storage if run.mirror else str(run.path.absolute().parent)
            targets = Path(entry.targets).expanduser() if embedded and entry.targets else None
            introduced.enter_context(_introduced(actor, storage, targets))
        yield


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


@contextlib.contextmanager
def _introduced(actor: Any, storage: str, targets: Path | None) -> Iterator[None]:
    """Tell the exporter where the run lies while the block runs.

    Args:
        actor: the exporter.
        storage: as `Exporter.know`.
        targets: its file, removed at the end, when it ends too: Prometheus would miss it. None: it stays.
    """
    over, addresses = threading.Event(), set[str]()
    thread = threading.Thread(target=_introduce, args=(actor, storage, over, addresses), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(LEAVE_SECONDS)
        if targets:
            remove_targets(targets, addresses)


def _introduce(actor: Any, storage: str, over: threading.Event, addresses: set[str]) -> None:
    """Tell the exporter where the run lies, again and again: one that Ray started anew does not know. Say where it answers.

    Args:
        actor: the exporter.
        storage: as `Exporter.know`.
        over: nothing is told any more.
        addresses: gets those at which it answers.
    """
    said = ""
    while not over.is_set():
        try:
            at = str(ray.get(actor.know.remote(storage), timeout=PATIENCE))
            addresses.add(urlsplit(at).netloc)
            level, words = logging.INFO, f"metrics are at {at}"
        except RayError as error:
            level, words = logging.WARNING, f"no metrics are exported: {error}"
        if words != said:
            log.log(level, "%s", words)
            said = words
        over.wait(RENEW_SECONDS)
