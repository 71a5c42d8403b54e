"""The catalogue of metrics: names, units and labels as Prometheus' conventions have them."""

import re

import pytest

from ipt_platform.errors import BAD_KINDS, FailureClass
from ipt_platform.observe.catalogue import EXPOSED, KINDS, LABELS, METRICS, UNITS, Metric
from ipt_platform.observe.status import STATES

FORBIDDEN = {"run", "run_id", "trial", "trial_id", "path", "worker", "node", "le", "quantile", "instance"}
"""Labels of which there would be more without end, or that Prometheus gives itself."""

every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))


@every_metric
def test_names_end_in_their_base_unit_and_counters_in_total(metric: Metric):
    assert re.fullmatch(r"ipt_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.kind in KINDS
    assert metric.unit in UNITS
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    stem = metric.name.removesuffix("_total")
    assert next((unit for unit in UNITS if unit and stem.endswith(f"_{unit}")), "") == metric.unit


@every_metric
def test_labels_are_explained_and_bounded(metric: Metric):
    assert set(metric.labels) <= set(LABELS) - FORBIDDEN
    assert len(set(metric.labels)) == len(metric.labels)
    assert set(metric.words) <= set(metric.labels)
    assert all(words and len(set(words)) == len(words) for words in metric.words.values())
    for label in {"reason", "state", "phase", "group", "kind"} & set(metric.labels):
        assert metric.words[label], f"{label} of {metric.name} could be anything"


@every_metric
def test_help_is_one_sentence(metric: Metric):
    assert re.fullmatch(r"[A-Z1][^\n]*[^.]\.", metric.help)
    assert ". " not in metric.help


@every_metric
def test_only_histograms_have_buckets_and_these_rise(metric: Metric):
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))


def test_no_two_metrics_share_a_sample():
    assert len(EXPOSED) == sum(len(metric.exposed) for metric in METRICS.values())
    assert all(name == metric.name for name, metric in METRICS.items())


def test_words_are_those_that_the_code_uses():
    assert set(METRICS["ipt_train_restarts_total"].words["reason"]) == {*FailureClass, "resized"}
    assert METRICS["ipt_data_bad_samples_total"].words["reason"] == BAD_KINDS
    assert METRICS["ipt_runs"].words["state"] == STATES


def test_a_value_that_may_not_be_exported_is_named():
    restarts, loss = METRICS["ipt_train_restarts_total"], METRICS["ipt_train_loss"]

    assert restarts.check({"job": "a", "reason": "hang"}, 1) == ""
    assert "found job" in restarts.check({"job": "a"}, 1)
    assert "found 'boredom'" in restarts.check({"job": "a", "reason": "boredom"}, 1)
    assert "0 or more" in restarts.check({"job": "a", "reason": "hang"}, -1)
    assert loss.check({"job": "a", "task": "rain"}, float("nan")) == ""
