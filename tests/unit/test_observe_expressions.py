"""Alerts, recorded expressions and panels ask for metrics and labels that there are."""

import re
from collections.abc import Iterator

import pytest

from ipt_platform.observe.alerts import ALERTS, RECORDINGS
from ipt_platform.observe.catalogue import EXPOSED, METRICS
from ipt_platform.observe.foreign import FOREIGN
from ipt_platform.observe.grafana import DASHBOARDS
from ipt_platform.observe.grafana.model import ANNOTATIONS
from tests.promql import grouped, operands, selectors, tokens

TARGET = ("instance", "job")
"""Labels that Prometheus adds to every series of a target."""

LABELS = {
    **{name: {*metric.labels, *TARGET, *(("le",) if name.endswith("_bucket") else ())} for name, metric in EXPOSED.items()},
    **{name: set(labels) for name, labels in FOREIGN.items()},
    **{each.name: set(each.labels) for each in RECORDINGS},
}


def expressions() -> Iterator[tuple[str, str]]:
    for each in (*RECORDINGS, *ALERTS):
        yield each.name, each.expr
    for dashboard in DASHBOARDS:
        for row in dashboard.rows:
            for panel in row.panels:
                yield from ((f"{dashboard.uid}: {panel.title}", target.expr) for target in panel.targets)
    yield from ((str(each["name"]), str(each["expr"])) for each in ANNOTATIONS)


ALL = [*expressions()]
IDS = [name for name, _ in ALL]


@pytest.mark.parametrize(("name", "expr"), ALL, ids=IDS)
def test_every_metric_and_label_exists(name, expr):
    asked = [*selectors(expr)]

    assert asked
    assert [metric for metric, _ in asked if metric not in LABELS] == []
    assert [(metric, label) for metric, labels in asked for label in labels if label not in LABELS[metric]] == []
    known = set.union(*(LABELS[metric] for metric, _ in asked))
    assert grouped(expr) - known == set()


@pytest.mark.parametrize(("name", "expr"), ALL, ids=IDS)
def test_words_of_labels_are_words_that_they_can_be(name, expr):
    """A reason or a state that nobody writes would never be found."""
    for metric, body in re.findall(r"([a-z_:]+)\{([^}]*)\}", expr):
        words = EXPOSED[metric].words if metric in EXPOSED else {}
        for label, sign, text in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', body):
            asked = text.split("|") if "~" in sign else [text]
            assert not text.startswith("$") or sign == "=~"
            assert label not in words or text.startswith("$") or set(asked) <= set(words[label])


@pytest.mark.parametrize(("name", "expr"), ALL, ids=IDS)
def test_legends_and_texts_name_labels_that_the_expression_keeps(name, expr):
    targets = [t for d in DASHBOARDS for row in d.rows for panel in row.panels for t in panel.targets if t.expr == expr]
    texts = [t.legend for t in targets] + [each.summary for each in ALERTS if each.expr == expr]
    named = {label for text in texts for label in re.findall(r"{{ ?(?:\$labels\.)?([a-zA-Z]\w*) ?}}", text)}
    metrics = [metric for metric, _ in selectors(expr)]
    aggregated = re.match(r"-?(?:sum|max|min|avg|histogram_quantile)\b", expr)
    kept = grouped(expr) if aggregated else set.union(*(LABELS[metric] for metric in metrics))

    assert named - kept == set()


def test_counters_are_asked_for_their_rise_and_gauges_are_not():
    wrong = []
    for name, expr in ALL:
        parts = [text for _, text in tokens(expr)]
        for at, text in enumerate(parts):
            metric = EXPOSED.get(text)
            before = parts[at - 2 : at]
            rising = before[:1] in (["rate"], ["increase"])
            if metric is not None and rising and metric.kind == "gauge":
                wrong.append((name, text))
    assert wrong == []


def test_every_metric_is_to_be_seen_on_a_dashboard():
    """One that nobody sees need not be exported; those of recorded expressions are seen through them."""
    recorded = {each.name: {metric for metric, _ in selectors(each.expr)} for each in RECORDINGS}
    shown = {metric for dashboard in DASHBOARDS for expr in _shown(dashboard) for metric, _ in selectors(expr)}
    while more := {metric for name in shown & set(recorded) for metric in recorded[name]} - shown:
        shown |= more

    names = {EXPOSED[name].name for name in shown if name in EXPOSED}
    assert set(METRICS) - names == set()


def _shown(dashboard) -> Iterator[str]:
    yield from (target.expr for row in dashboard.rows for panel in row.panels for target in panel.targets)


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ("sum by (job) (rate(a_total[10m])) / on (job) b", [("a_total", ()), ("b", ())]),
        ('x{le="1",state=~"a|b"} offset 1h unless y:z > 20e9', [("x", ("le", "state")), ("y:z", ())]),
        ("max by (job) (time() - sum) > 1", [("sum", ())]),
    ],
)
def test_expressions_are_read_rightly(expr, found):
    assert [*selectors(expr)] == found


@pytest.mark.parametrize(
    ("expr", "parts"),
    [
        ("a > 1 and on (job) b == 1", ["a > bool 1", "b == bool 1"]),
        ("(a > 1 and c) or b", ["a > bool 1", "c", "b"]),
        ('absent(up{job="x"} == 1)', ['up { job = "x" } == bool 1']),
        ("sum by (job) ((a unless b) or c) > 0", ["sum by ( job ) ( ( a unless b ) or c ) > bool 0"]),
    ],
)
def test_conditions_are_taken_apart(expr, parts):
    assert operands(expr) == parts
