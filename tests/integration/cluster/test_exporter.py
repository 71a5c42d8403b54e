"""The exporter of a cluster: started by the first run that comes, there for the next one, told by both."""

import json
import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

pytestmark = pytest.mark.slow

HANG = 180
STEPS = 30
NANO = ("model.backbone=iptv2-nano", "data.carrier=local", f"train.stages=[{{steps: {STEPS}, patch: 48, images: 2}}]")


@pytest.fixture(scope="module")
def targets(workplace, tmp_path_factory):
    """The file in which the exporter says where it is; asked for before the cluster begins, whose processes are told so."""
    path = tmp_path_factory.mktemp("prometheus") / "targets.json"
    own = {"IPT_METRICS_LISTEN": "127.0.0.1:0", "IPT_METRICS_TARGETS": str(path)}
    workplace.environment |= own
    yield path
    for name in own:
        del workplace.environment[name]


def scrape(targets) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    (target,) = json.loads(targets.read_text())[0]["targets"]
    text = urllib.request.urlopen(f"http://{target}/metrics").read().decode()
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in parse(text) for s in family.samples}


def until(targets, key, value: float) -> None:
    """Wait for a series to be so much or more."""
    end = time.monotonic() + HANG
    while (found := scrape(targets)).get(key, -1) < value:
        assert time.monotonic() < end, f"{key} is {found.get(key)} and less than {value}"
        time.sleep(0.2)


def test_one_exporter_counts_for_one_run_after_the_other(workplace, targets, local):
    job = (("job", "tiny"),)
    for number in (1, 2):
        done = workplace.submit(f"counted-{number}", *NANO, "--cluster=local")
        assert done.process.returncode == 0, done.stderr

        # the last word may come a moment after the end
        until(targets, ("ipt_train_steps_total", job), number * STEPS)
        assert scrape(targets)[("ipt_train_steps_total", job)] == number * STEPS
    before = json.loads(targets.read_text())

    # seen by looking, once a minute and when a run begins
    until(targets, ("ipt_runs", (("state", "finished"),)), 1)
    found = scrape(targets)
    assert found[("ipt_train_running", job)] == found[("ipt_train_workers", job)] == 0
    assert found[("ipt_queue_jobs", (("state", "pending"),))] == 0
    assert found[("ipt_queue_oldest_seconds", ())] == 0
    assert found[("ipt_storage_free_bytes", ())] > 0
    assert json.loads(targets.read_text()) == before
