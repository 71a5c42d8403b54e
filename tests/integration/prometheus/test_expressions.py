"""A real Prometheus finds data for every expression of every panel, alert and rule."""

import contextlib
import itertools
import re
import threading
import time
from collections.abc import Iterator

import pytest

from ipt_platform.observe.alerts import ALERTS, RECORDINGS
from ipt_platform.observe.catalogue import EXPOSED, METRICS, Metric
from ipt_platform.observe.exposition import Exposition
from ipt_platform.observe.grafana import DASHBOARDS
from ipt_platform.observe.grafana.model import ANNOTATIONS
from ipt_platform.observe.listen import Listen
from ipt_platform.observe.scraped import serving
from ipt_platform.observe.teller import Report
from tests.conftest import HANG
from tests.promql import operands, selectors

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
    return re.sub(r" offset \w+", "", expr)  # this Prometheus has no past


@contextlib.contextmanager
def exporting(*names: str) -> Iterator[str]:
    """An exporter that is told values that move as those of a training do; its address."""
    exposition, ended = Exposition("1.2.3"), threading.Event()
    told = [report for name in names for report in _reports(METRICS[name])]

    def tell() -> None:
        while True:
            now = time.time()
            exposition.apply([(name, labels, how, now if how == "set" else value) for name, labels, how, value in told])
            if ended.wait(0.2):
                return

    telling = threading.Thread(target=tell)
    with serving(exposition.registry, Listen("127.0.0.1", 0), None) as listen:
        telling.start()
        try:
            yield str(listen)
        finally:
            ended.set()
            telling.join()


def _reports(metric: Metric) -> list[Report]:
    """One for each word that its labels can be, and for one word where there may be any."""
    how, value = {"counter": ("add", 1), "gauge": ("set", 0), "histogram": ("observe", [0.3])}[metric.kind]
    words = [metric.words.get(label, (f"a-{label}",)) for label in metric.labels]
    return [(metric.name, dict(zip(metric.labels, each, strict=True)), how, value) for each in itertools.product(*words)]


def test_every_expression_gives_data(prometheus, foreign):
    by_expr = {plain(expr): name for name, expr in asked()}
    for pool in ("ray", "node", "dcgm"):
        prometheus.watch(pool, foreign)
    with exporting(*METRICS) as address:
        prometheus.watch("ipt", address)

        missing = prometheus.without_data({*by_expr})

        assert {by_expr[expr]: expr for expr in missing} == {}
        assert _rules_with_errors(prometheus) == []


SILENT = {
    "ipt_train_mfu_ratio": "there is no GPU whose peak is known",
    "ipt_train_nonfinite_total": "no step went wrong",
    "ipt_train_restarts_total": "no worker was lost",
    "ipt_checkpoint_rejected_total": "no checkpoint is damaged",
    "ipt_data_bad_samples_total": "no picture is damaged",
    "ipt_search_trials": "nothing is searched for",
    "ipt_search_best_psnr_db": "nothing is searched for",
    "ipt_registry_packs": "nothing is registered",
}
"""Of what a healthy training on a CPU does not tell."""


def test_a_training_gives_data_to_all_expressions_that_ask_for_what_it_tells(prometheus, foreign, workplace, monkeypatch):
    for pool in ("ray", "node", "dcgm"):
        prometheus.watch(pool, foreign)
    monkeypatch.setitem(workplace.environment, "IPT_METRICS_LISTEN", "127.0.0.1:0")
    monkeypatch.setitem(workplace.environment, "IPT_METRICS_TARGETS", str(prometheus.folder / "targets" / "ipt.json"))
    recorded = {each.name: each.expr for each in RECORDINGS}

    def tells(expr: str) -> bool:
        names = [name for name, _ in selectors(expr)]
        return all(tells(recorded[name]) if name in recorded else _metric(name) not in SILENT for name in names)

    by_expr = {plain(expr): name for name, expr in asked()}
    told = {expr for expr in by_expr if tells(expr)}
    long = (
        "train.stages=[{steps: 100000, patch: 48, images: 2}]",
        "evaluate.every=4",
        "checkpoint.every=2",
    )
    training = workplace.submit("watched", *long, wait=False)
    # at least the exporter answers before Prometheus is asked for long
    training.until(lambda: prometheus.query('ipt_train_steps_total{job="tiny"}'))

    missing = prometheus.without_data({*told})
    silent = {name for name in METRICS if not prometheus.query(METRICS[name].exposed[0])}
    training.interrupt()

    assert {by_expr[expr]: expr for expr in missing} == {}
    assert silent == {*SILENT}
    assert training.wait() == 7


def _metric(name: str) -> str:
    return EXPOSED[name].name if name in EXPOSED else name


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
