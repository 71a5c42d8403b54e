"""What the exporter knows: the present values of the series of the catalogue, kept within bounds.

Whoever does something tells of it in reports, `(metric, labels, operation, value)`. A counter is added to, so it goes on when a
run is started anew; a gauge is set, or raised to a maximum, and belongs to one run: when a job is led again, those of the run
before are forgotten. A histogram is given what was observed.
"""

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from ipt_platform.observe.catalogue import METRICS, Kind, Metric
from ipt_platform.observe.teller import Report

OPERATIONS: dict[str, Kind] = {"add": "counter", "set": "gauge", "max": "gauge", "observe": "histogram"}
"""What can be done, and to which kind of metric."""

SAMPLES = 20_000
"""Samples in all, of which one metric may have a quarter: a histogram has one for each bucket, and two more."""

LONGEST_LABEL = 128
"""Characters."""

KEPT_AFTER_END = 24 * 3600.0
"""Seconds after the last word of a job that has ended, for which its series are kept: long enough to be started again."""

KEPT_WITHOUT_END = 7 * 24 * 3600.0
"""The same of a job that never said that it ended: an alert of it shall outlast a weekend."""

SILENT_SECONDS = 300.0
"""After which nobody leads a job any more: who does tells of it every `teller.RENEW_SECONDS`."""

_RUNNING, _WORKERS, _RANKS = "ipt_train_running", "ipt_train_workers", "ipt_train_rank_step_seconds"
_LOOK_SECONDS = 60.0


@dataclass
class _Observed:
    """A histogram: how many fell into each bucket, the last one without a bound; their sum."""

    counts: list[int]
    sum: float = 0.0

    def take(self, value: float, bounds: tuple[float, ...]) -> None:
        self.counts[bisect_left(bounds, value)] += 1
        self.sum += value


@dataclass
class _Job:
    """When a job last spoke, and whether it is known to have ended."""

    spoke: float
    ended: bool = False
    keys: set[tuple[str, tuple[str, ...]]] = field(default_factory=set)

    def has(self, name: str) -> bool:
        """Whether it has series of this metric."""
        return any(each == name for each, _ in self.keys)


class Exposition(Collector):
    """The series, and what a scrape is given of them. Any number of threads may use it.

    Args:
        version: of the platform.
        samples: how many are kept at most.
        clock: seconds, for how long ago something was told.
    """

    def __init__(self, version: str, samples: int = SAMPLES, clock: Callable[[], float] = time.monotonic):
        self.limit, self.clock = samples, clock
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        self._lock = threading.Lock()
        self._series: dict[str, dict[tuple[str, ...], Any]] = {name: {} for name in METRICS}
        self._jobs: dict[str, _Job] = {}
        self._samples = 0
        self._looked = clock()
        own: list[Report] = [("ipt_build_info", {"version": version}, "set", 1), ("ipt_exporter_tells_total", {}, "add", 0)]
        reasons = METRICS["ipt_exporter_dropped_total"].words["reason"]
        own += [("ipt_exporter_dropped_total", {"reason": reason}, "add", 0) for reason in reasons]
        for report in own:
            self._take(report)

    def apply(self, reports: Iterable[Report]) -> None:
        """Take what one message tells; what cannot be exported is counted, and the rest is taken."""
        with self._lock:
            self._forget_old()
            self._take(("ipt_exporter_tells_total", {}, "add", 1))
            for report in reports:
                if reason := self._take(report):
                    self._take(("ipt_exporter_dropped_total", {"reason": reason}, "add", 1))

    def replace(self, name: str, values: Iterable[tuple[Mapping[str, str], float]]) -> None:
        """Let a gauge have these values, by their labels, and no others: what was seen by looking at all of it."""
        with self._lock:
            for key in list(self._series[name]):
                self._remove(name, key)
            for labels, value in values:
                if reason := self._take((name, labels, "set", value)):
                    self._take(("ipt_exporter_dropped_total", {"reason": reason}, "add", 1))

    def silent(self) -> set[str]:
        """Jobs that were last told to be led, and of which nobody speaks any more."""
        with self._lock:
            led = {job for (job,), value in self._series[_RUNNING].items() if value}
            return {job for job in led if self.clock() - self._jobs[job].spoke > SILENT_SECONDS}

    def end(self, jobs: Iterable[str]) -> None:
        """Let jobs have ended that could not tell so themselves."""
        with self._lock:
            for job in jobs:
                for name in (_RUNNING, _WORKERS):
                    if (job,) in self._series[name]:
                        self._take((name, {"job": job}, "set", 0))

    def collect(self) -> Iterator[Family]:
        """Every metric that has a value (prometheus_client's interface)."""
        with self._lock:
            self._forget_old()
            return iter([_family(METRICS[name], series) for name, series in self._series.items() if series])

    def _take(self, report: Report) -> str:
        """Why a report is dropped; "" if it was taken."""
        if _problem(report):
            return "invalid"
        name, labels, operation, value = report
        metric = METRICS[name]
        key = tuple(labels[label] for label in metric.labels)
        series = self._series[name]
        if key not in series:
            if not self._has_room(metric):
                return "series"
            starts: dict[Kind, Any] = {
                "histogram": _Observed([0] * (len(metric.buckets) + 1)),
                "counter": 0.0,
                "gauge": -math.inf,
            }
            series[key] = starts[metric.kind]
            self._samples += _weight(metric)
        if job := labels.get("job"):
            known = self._jobs.setdefault(job, _Job(self.clock()))
            known.keys.add((name, key))
            if name == _RUNNING:
                if value and (known.ended or self.clock() - known.spoke > SILENT_SECONDS):
                    self._forget_gauges(known)
                known.ended = not value
            elif name == _WORKERS and value:
                self._forget_ranks(job, value)
            known.spoke = self.clock()
        if isinstance(observed := series[key], _Observed):
            for each in value:
                observed.take(float(each), metric.buckets)
        elif operation == "add":
            series[key] += value
        elif operation == "max":
            series[key] = max(series[key], value)
        else:
            series[key] = value
        return ""

    def _has_room(self, metric: Metric) -> bool:
        weight, series = _weight(metric), self._series[metric.name]
        while (full := (len(series) + 1) * weight > self.limit // 4) or self._samples + weight > self.limit:
            # where the metric itself has too many, a job without it makes no room
            ended = (
                (known.spoke, job) for job, known in self._jobs.items() if known.ended and (not full or known.has(metric.name))
            )
            over = min(ended, default=None)
            if over is None:
                return False
            self._forget(over[1])
        return True

    def _forget_old(self) -> None:
        now = self.clock()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        for job, known in list(self._jobs.items()):
            if now - known.spoke > (KEPT_AFTER_END if known.ended else KEPT_WITHOUT_END):
                self._forget(job)

    def _forget(self, job: str) -> None:
        for name, key in self._jobs.pop(job).keys:
            self._remove(name, key)

    def _forget_gauges(self, known: _Job) -> None:
        """Forget what is true of one run of a job alone."""
        gone = {(name, key) for name, key in known.keys if METRICS[name].kind == "gauge" and name != _RUNNING}
        known.keys -= gone
        for name, key in gone:
            self._remove(name, key)

    def _forget_ranks(self, job: str, workers: float) -> None:
        """Forget what workers took that a job has no more: it would look like one that is much slower, or faster."""
        gone = [key for key in self._series[_RANKS] if key[0] == job and int(key[1]) >= workers]
        for key in gone:
            self._remove(_RANKS, key)

    def _remove(self, name: str, key: tuple[str, ...]) -> None:
        if self._series[name].pop(key, None) is not None:
            self._samples -= _weight(METRICS[name])


def _weight(metric: Metric) -> int:
    """Samples of one series of a metric."""
    return len(metric.buckets) + 3 if metric.kind == "histogram" else 1


def _problem(report: Any) -> str:
    """What is wrong with a report, which comes from another process, and maybe another version; "": nothing."""
    match report:
        case (str(name), Mapping() as labels, str(operation), value):
            pass
        case _:
            return "expected (name, labels, operation, value)"
    metric = METRICS.get(name)
    if metric is None or OPERATIONS.get(operation) != metric.kind:
        return f"no metric {name} that can be told by {operation}"
    if not all(isinstance(each, str) and 0 < len(each) <= LONGEST_LABEL and each.isprintable() for each in labels.values()):
        return "a label is no short printable text"
    values = value if operation == "observe" else [value]
    if not isinstance(values, list | tuple) or not all(isinstance(each, int | float) for each in values):
        return f"{value!r:.80} is no number"
    return next((problem for each in values or [0] if (problem := metric.check(labels, each))), "")


def _family(metric: Metric, series: Mapping[tuple[str, ...], Any]) -> Family:
    """A metric as prometheus_client writes it."""
    if metric.kind == "histogram":
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        bounds = [*(str(float(bound)) for bound in metric.buckets), "+Inf"]
        for key, observed in series.items():
            family.add_metric(key, list(zip(bounds, accumulate(observed.counts), strict=True)), observed.sum)
        return family
    made = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = made(metric.name, metric.help, labels=metric.labels)
    for key, value in series.items():
        family.add_metric(key, value)
    return family
