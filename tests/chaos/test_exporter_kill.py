"""A training on a Ray of its own with an exporter: what is scraped, and what becomes of both when the exporter is killed."""

import json
import os
import signal
import urllib.error
import urllib.request

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.status import run_status

pytestmark = pytest.mark.slow

STEPS = 60  # that are compared
CHANGES = (
    "train.schedule.final_lr_ratio=1",  # so that a step does not depend on how many follow
    "evaluate.every=30",
    f"checkpoint.every={STEPS}",
    "checkpoint.keep=1000",
)
TOKEN = "of-the-scrapes"
RUNS = ("ipt_runs", (("state", "running"),))


class Scraped:
    """The exporter of a run, as Prometheus sees it."""

    def __init__(self, targets):
        self.targets = targets

    def port(self) -> int:
        return int(json.loads(self.targets.read_text())[0]["targets"][0].rpartition(":")[2])

    def samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """{} where nobody answers."""
        try:
            address = f"http://127.0.0.1:{self.port()}/metrics"
            asked = urllib.request.Request(address, headers={"Authorization": f"Bearer {TOKEN}"})
            text = urllib.request.urlopen(asked, timeout=30).read().decode()
        except (OSError, ValueError, IndexError):
            return {}
        return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in parse(text) for s in family.samples}

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples().get((name, tuple(sorted({"job": "tiny", **labels}.items()))))

    def kill(self) -> None:
        port = self.port()
        for process in psutil.process_iter():
            try:
                if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in process.net_connections("tcp")):
                    os.kill(process.pid, signal.SIGKILL)
                    return
            except (psutil.Error, ProcessLookupError):
                continue
        raise AssertionError(f"nobody listens on {port}")


@pytest.fixture
def scraped(workplace, tmp_path, monkeypatch) -> Scraped:
    token, targets = tmp_path / "token", tmp_path / "prometheus" / "targets.json"
    token.touch(mode=0o600)
    token.write_text(f"{TOKEN}\n")
    monkeypatch.setitem(workplace.environment, "IPT_METRICS_LISTEN", "127.0.0.1:0")
    monkeypatch.setitem(workplace.environment, "IPT_METRICS_TOKEN", f"file:{token}")
    monkeypatch.setitem(workplace.environment, "IPT_METRICS_TARGETS", str(targets))
    return Scraped(targets)


def test_a_killed_exporter_comes_back_knows_everything_and_changes_nothing(workplace, weights, scraped):
    # More steps than there is time for: an exporter may take long to start. The run is stopped when all was seen.
    command = workplace.submit("scraped", *CHANGES, "train.stages=[{steps: 100000, patch: 48, images: 2}]", wait=False)
    run = workplace.run("scraped")
    command.until(scraped.targets.exists)
    command.until(lambda: scraped.value("ipt_eval_psnr_db", task="deblur", set="test"), 0.2)

    command.until(lambda: RUNS in scraped.samples(), 0.2)
    found = scraped.samples()
    step = found[("ipt_train_step", (("job", "tiny"),))]
    line = next(line for line in read_metrics(run) if line.get("step") == step and "loss" in line)
    for task, loss in line["loss"].items():
        assert found[("ipt_train_loss", (("job", "tiny"), ("task", task)))] == loss
    assert found[("ipt_train_steps_total", (("job", "tiny"),))] == step
    assert found[("ipt_train_running", (("job", "tiny"),))] == found[("ipt_train_workers", (("job", "tiny"),))] == 1
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"http://127.0.0.1:{scraped.port()}/metrics")

    scraped.kill()

    # told once, long before; the worker tells it again
    command.until(lambda: scraped.value("ipt_eval_psnr_db", task="deblur", set="test"), 0.2)
    assert (scraped.value("ipt_train_step") or 0) >= step
    # it looks at what the run tells it of again
    command.until(lambda: RUNS in scraped.samples(), 0.2)
    command.until(lambda: run_status(run).checkpoint)
    run.request_stop("enough was seen")
    assert command.wait() == 7, command.stderr
    assert not scraped.targets.exists()
    assert command.left(grace=10) == []

    workplace.environment.pop("IPT_METRICS_LISTEN")
    plain = workplace.submit("plain", *CHANGES, f"train.stages=[{{steps: {STEPS}, patch: 48, images: 2}}]")
    assert plain.process.returncode == 0, plain.stderr
    assert weights(run, STEPS) == weights(workplace.run("plain"), STEPS)
