"""Machines, and what they do: this one, those of a cluster, and what Prometheus warns of."""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil
import requests

from ipt_platform.errors import IptError
from ipt_platform.observe.machine import gpus
from ipt_platform.web.settings import Settings

log = logging.getLogger(__name__)

_PERIOD = 5.0
_PROMETHEUS_SECONDS = 5.0


@dataclass(frozen=True)
class Machine:
    """A machine: `state` is alive or dead, `cores` and `gpus` in words or numbers, memory in bytes (None: not known)."""

    name: str
    state: str
    cores: str
    load: str
    memory_used: float | None
    memory: float | None
    gpus: str
    note: str = ""


@dataclass(frozen=True)
class Alert:
    """An alert of Prometheus: `state` is firing or pending."""

    name: str
    severity: str
    state: str
    summary: str
    since: str
    labels: dict[str, str]


@dataclass
class _Asked:
    """What was found last, by somebody who asks in a thread of their own."""

    value: Any = None
    problem: str = ""
    at: float = float("-inf")
    busy: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class Fleet:
    """What the first page shows besides runs; clusters and Prometheus are asked behind the scenes: no visitor waits."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic):
        self.settings, self._clock = settings, clock
        self._nodes, self._alerts = _Asked(), _Asked()

    def here(self) -> Machine:
        """The machine that the page runs on."""
        memory = psutil.virtual_memory()
        load = os.getloadavg()[0]
        names = gpus()
        return Machine(
            "this machine",
            "alive",
            str(psutil.cpu_count() or 1),
            f"{load:.2f}",
            memory.total - memory.available,
            memory.total,
            ", ".join(names) if names else "none",
        )

    def nodes(self) -> tuple[list[Machine] | None, str]:
        """The machines of the cluster (None: none is configured, or it is still being asked), and why they are not known."""
        return self._found(self._nodes, self._ask_cluster)

    def alerts(self) -> tuple[list[Alert] | None, str]:
        """The alerts that Prometheus has (None: none is configured, or it is still being asked), and why they are not known."""
        if not self.settings.prometheus:
            return None, ""
        return self._found(self._alerts, self._ask_prometheus)

    def _found(self, asked: _Asked, ask: Callable[[], Any]) -> tuple[Any, str]:
        with asked.lock:
            if not asked.busy and self._clock() - asked.at > _PERIOD:
                asked.busy = True
                threading.Thread(target=self._ask, args=(asked, ask), daemon=True).start()
            return asked.value, asked.problem

    def _ask(self, asked: _Asked, ask: Callable[[], Any]) -> None:
        try:
            value, problem = ask(), ""
        except (IptError, requests.RequestException) as error:
            value, problem = None, str(error)
        except Exception as error:  # of any kind: others may answer what they like, and are asked again later
            log.warning("an answer that was not expected", exc_info=error)
            value, problem = None, f"what it says cannot be understood ({type(error).__name__}: {error})"
        with asked.lock:
            asked.value, asked.problem, asked.at, asked.busy = value, problem, self._clock(), False

    def _ask_cluster(self) -> list[Machine] | None:
        from ipt_platform.cluster.target import find_target

        target = find_target(self.settings.cluster)
        if target is None:
            return None
        from ipt_platform.cluster.jobs import Jobs  # takes seconds to import: it is Ray

        return [_node(each) for each in Jobs(target).nodes()]

    def _ask_prometheus(self) -> list[Alert]:
        url = f"{str(self.settings.prometheus).rstrip('/')}/api/v1/alerts"
        answer = requests.get(url, timeout=_PROMETHEUS_SECONDS, allow_redirects=False)
        answer.raise_for_status()
        return [_alert(each) for each in answer.json()["data"]["alerts"]]


def _node(node: dict[str, Any]) -> Machine:
    has = node.get("resources_total") or {}
    return Machine(
        f"{node.get('node_name') or node.get('node_ip', '?')}{' (head)' if node.get('is_head_node') else ''}",
        str(node.get("state", "?")).lower(),
        f"{has.get('CPU', 0):g}",
        "",
        None,
        has.get("memory"),
        f"{has.get('GPU', 0):g}" if has.get("GPU") else "none",
        str(node.get("state_message") or ""),
    )


def _alert(alert: dict[str, Any]) -> Alert:
    labels, words = alert.get("labels", {}), alert.get("annotations", {})
    shown = {name: str(value) for name, value in labels.items() if name not in ("alertname", "severity")}
    return Alert(
        str(labels.get("alertname", "?")),
        str(labels.get("severity", "")),
        str(alert.get("state", "")),
        str(words.get("summary") or words.get("description") or ""),
        str(alert.get("activeAt", "")),
        shown,
    )
