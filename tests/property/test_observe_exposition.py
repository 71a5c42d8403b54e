"""Whatever is told, a scrape is well-formed, holds what may be exported, and is bounded."""

import math
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

from ipt_platform.observe.catalogue import METRICS
from ipt_platform.observe.exposition import OPERATIONS, Exposition
from ipt_platform.observe.teller import Mailbox

NAMES = sorted(METRICS)
texts = st.one_of(st.text(max_size=20), st.sampled_from(['a"b', "a\\", "a\nb", "{}", "#", "\x00", "é", "\u2028"]))
numbers = st.floats(allow_nan=True, allow_infinity=True, width=64)


@st.composite
def reports(draw):
    """Reports of which most fit the catalogue."""
    metric = METRICS[draw(st.sampled_from(NAMES))]
    fitting = [operation for operation, kind in OPERATIONS.items() if kind == metric.kind]
    operation = draw(st.sampled_from(fitting if draw(st.integers(0, 9)) else [*OPERATIONS, "nonsense"]))
    labels = {
        label: draw(st.sampled_from(metric.words[label]) if label in metric.words and draw(st.integers(0, 9)) else texts)
        for label in metric.labels
    }
    value = draw(st.lists(numbers, max_size=3) if operation == "observe" else numbers)
    return (metric.name, labels, operation, value)


def scraped(exposition: Exposition) -> dict:
    families = parse(generate_latest(exposition.registry).decode())
    found = {}
    for family in families:
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


@given(st.lists(reports(), max_size=40))
def test_a_scrape_is_what_was_told_and_nothing_else(told):
    exposition = Exposition("1.0")
    exposition.apply(told)

    found = scraped(exposition)
    taken = 0
    sums, last = defaultdict(float), {}
    for name, labels, operation, value in told:
        metric = METRICS[name]
        values = value if operation == "observe" else [value]
        proper = all(0 < len(each) <= 128 and each.isprintable() for each in labels.values())
        if not proper or OPERATIONS.get(operation) != metric.kind or any(metric.check(labels, each) for each in values or [0]):
            continue
        taken += 1
        key = (name, tuple(sorted(labels.items())))
        if operation == "add":
            sums[key] += value
        elif operation == "observe":
            sums[(f"{name}_count", key[1])] += len(values)
        else:
            if name == "ipt_train_running" and value and last.get(key) == 0:  # led again: a new run
                last = {each: last[each] for each in last if dict(each[1]).get("job") != labels["job"]}
            last[key] = value if operation == "set" or key not in last else max(last[key], value)
    dropped = found[("ipt_exporter_dropped_total", (("reason", "invalid"),))]
    own = sum(
        value for (name, labels), value in sums.items() if name == "ipt_exporter_dropped_total" and labels[0][1] == "invalid"
    )
    assert math.isclose(dropped, len(told) - taken + own, rel_tol=1e-9)
    for key, value in sums.items():
        if not key[0].startswith("ipt_exporter"):
            assert math.isclose(found[key], value, rel_tol=1e-9)
    for key, value in last.items():
        assert found[key] == value or (math.isnan(found[key]) and math.isnan(value)) or key[0] == "ipt_eval_best_psnr_db"


@given(st.lists(reports(), max_size=60), st.integers(20, 60))
def test_whatever_comes_there_are_no_more_samples_than_allowed(told, limit):
    exposition = Exposition("1.0", samples=limit)
    exposition.apply(told)

    # the exporter's own are there from the beginning
    assert len(scraped(exposition)) <= limit


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.booleans()), max_size=30))
def test_a_mailbox_that_is_emptied_at_any_time_loses_no_count(words):
    box, arrived = Mailbox(), defaultdict(int)
    for job, count, told in words:
        box.put(("count", {"job": job}, "add", count))
        taken = box.take()
        if told:
            for _, labels, _, value in taken:
                arrived[labels["job"]] += value
        else:
            box.put_back(taken)
    for _, labels, _, value in box.take():
        arrived[labels["job"]] += value

    assert arrived == {job: total for job in "ab" if (total := sum(c for j, c, _ in words if j == job)) or job in arrived}
