"""A real Prometheus finds data for every expression of every panel, alert and rule."""

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import prometheus_client
import pytest

from ipt_platform.observe.alerts import ALERTS, RECORDINGS
from ipt_platform.observe.catalogue import METRICS, Metric
from ipt_platform.observe.grafana import DASHBOARDS
from ipt_platform.observe.grafana.model import ANNOTATIONS
from tests.integration.prometheus.conftest import HANG
from tests.promql import operands

pytestmark = pytest.mark.slow

VARIABLES = {"$job": ".*", "$task": ".*", "$set": ".*", "$__rate_interval": "1m"}


def asked() -> Iterator[tuple[str, str]]:
    """Every expression with the name of who asks: as it is, or its operands where a condition would filter its series."""
    for dashboard in DASHBOARDS:
        for row in dashboard.rows:
            for panel in row.panels:
                for target in panel.targets:
                    yield f"{dashboard.uid}: {panel.title}", target.expr.removesuffix(" or vector(0)")
    yield from ((each.name, each.expr) for each in RECORDINGS)
    yield from ((each.name, part) for each in ALERTS for part in operands(each.expr))
    yield from ((each["name"], part) for each in ANNOTATIONS for part in operands(each["expr"]))


def plain(expr: str) -> str:
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return expr


@contextlib.contextmanager
def exporting(*names: str) -> Iterator[str]:
    """Metrics of the catalogue with values that move as those of a training do; the address that tells them."""
    registry, ended = prometheus_client.CollectorRegistry(), threading.Event()
    kept = [(METRICS[name], _kept(METRICS[name], registry)) for name in names]

    def move() -> None:
        while not ended.wait(0.2):
            tell()

    def tell() -> None:
        for metric, one in ((metric, each) for metric, every in kept for each in every):
            if metric.kind == "counter":
                one.inc()
            elif metric.kind == "gauge":
                one.set(time.time())
            else:
                one.observe(0.3)

    tell()
    server, thread = prometheus_client.start_http_server(0, "127.0.0.1", registry)
    moving = threading.Thread(target=move)
    moving.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        ended.set()
        moving.join()
        server.shutdown()
        thread.join()
        server.server_close()


def _kept(metric: Metric, registry: prometheus_client.CollectorRegistry) -> list[Any]:
    """One series for each word that its labels can be, and for one word where there may be any."""
    kinds = {"counter": prometheus_client.Counter, "gauge": prometheus_client.Gauge, "histogram": prometheus_client.Histogram}
    buckets = {"buckets": metric.buckets} if metric.kind == "histogram" else {}
    whole = kinds[metric.kind](metric.name, metric.help, metric.labels, registry=registry, **buckets)
    words = [metric.words.get(label, (f"a-{label}",)) for label in metric.labels]
    return [whole.labels(*each) for each in itertools.product(*words)] if words else [whole]


def test_every_expression_gives_data(prometheus, foreign):
    by_expr = {plain(expr): name for name, expr in asked()}
    for pool in ("ray", "node", "dcgm"):
        prometheus.watch(pool, foreign)
    with exporting(*METRICS) as address:
        prometheus.watch("ipt", address)

        missing = prometheus.without_data({*by_expr})

        assert {by_expr[expr]: expr for expr in missing} == {}
        assert _rules_with_errors(prometheus) == []


def test_a_label_job_of_ours_is_kept(prometheus):
    with exporting("ipt_train_step") as address:
        prometheus.watch("ipt", address)

        assert prometheus.without_data({'ipt_train_step{job="a-job",exported_job=""}', 'up{job="ipt"} == 1'}) == set()


def _rules_with_errors(prometheus) -> list[tuple[str, str]]:
    end = time.monotonic() + HANG
    while True:
        rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        assert len(rules) == len(RECORDINGS) + len(ALERTS)
        if all(rule["health"] != "unknown" for rule in rules) or time.monotonic() > end:
            return [(rule["name"], rule.get("lastError", "")) for rule in rules if rule["health"] != "ok"]
        time.sleep(0.2)
