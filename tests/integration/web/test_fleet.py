"""What the first page shows of machines and alerts: those of a Prometheus that answers, fails, or is not there."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from ipt_platform.web.fleet import _node
from ipt_platform.web.settings import Settings
from tests.conftest import HANG
from tests.integration.web.conftest import HTML, client_of, write_run

SINCE = "2026-11-26T10:00:00Z"
LOW = {"alertname": "DiskLow", "severity": "warning", "instance": "a<b>"}
STALLED = {"alertname": "TrainStalled", "severity": "critical"}
ALERTS = [
    {"labels": LOW, "state": "pending", "activeAt": SINCE, "annotations": {"summary": "Make room."}},
    {"labels": STALLED, "state": "firing", "activeAt": SINCE, "annotations": {"summary": "Look at its <logs>."}},
]
ODD = (b"5", b'{"a": 1}', b'[1, "x", null]', b'[{"labels": [1]}]', b'[{"annotations": "x"}]', b'[{"labels": null}]')
"""Alerts of the wrong kind, as an answer has them."""


class Prometheus(BaseHTTPRequestHandler):
    """Answers as the API of Prometheus does."""

    answer: ClassVar[tuple[int, bytes]] = (200, b"")

    def do_GET(self):
        code, body = self.answer if self.path == "/api/v1/alerts" else (404, b"")
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args) -> None:  # noqa: A002 (as http.server spells it)
        pass


@pytest.fixture
def prometheus() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Prometheus) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def shown(url: str, storage) -> str:
    """The first page, once Prometheus was asked."""
    client = client_of(Settings(str(storage), prometheus=url))
    fleet = client.app.state.services.fleet
    end = time.monotonic() + HANG
    while fleet.alerts() == (None, ""):
        assert time.monotonic() < end
    return client.get("/", headers=HTML).text


def test_alerts_are_shown_the_firing_ones_first(prometheus, storage, monkeypatch):
    monkeypatch.setattr(Prometheus, "answer", (200, json.dumps({"data": {"alerts": ALERTS}}).encode()))

    text = shown(prometheus, storage)

    assert text.index("TrainStalled") < text.index("DiskLow")
    assert "Look at its &lt;logs&gt;." in text
    assert "instance=a&lt;b&gt;" in text


def test_no_alert_is_good_news(prometheus, storage, monkeypatch):
    monkeypatch.setattr(Prometheus, "answer", (200, b'{"data": {"alerts": []}}'))

    assert "No alert is firing" in shown(prometheus, storage)


@pytest.mark.parametrize(
    "answer",
    [(500, b""), (200, b"<html>"), (200, b"[]"), (302, b""), *((200, b'{"data": {"alerts": ' + each + b"}}") for each in ODD)],
)
def test_a_prometheus_that_does_not_answer_is_said(prometheus, storage, monkeypatch, answer):
    monkeypatch.setattr(Prometheus, "answer", answer)

    assert "does not answer" in shown(prometheus, storage)
    assert "does not answer" in shown("http://127.0.0.1:9", storage)


def test_the_first_page_tells_what_runs_waits_and_failed(client, storage):
    write_run(storage, "busy")
    write_run(storage, "lost", "failed")
    waiting = storage / "later"
    waiting.mkdir()
    (waiting / "job.yaml").write_text("kind: train\n")

    text = client.get("/", headers=HTML).text

    parts = {
        name: text.partition(f'id="{name}"')[2].partition("</section>")[0]
        for name in ("running", "waiting", "stopped", "machines")
    }
    assert "/runs/busy" in parts["running"]
    assert "/runs/later" in parts["waiting"]
    assert "it failed" in parts["stopped"]
    assert "this machine" in parts["machines"]


def test_a_machine_of_a_cluster_is_told_in_words():
    node = _node(
        {"node_name": "a", "is_head_node": True, "state": "ALIVE", "resources_total": {"CPU": 8.0, "GPU": 2.0, "memory": 4e9}}
    )

    assert (node.name, node.state, node.cores, node.gpus, node.memory) == ("a (head)", "alive", "8", "2", 4e9)
    assert _node({"node_ip": "10.0.0.1", "state": "DEAD", "state_message": "lost"}).note == "lost"
